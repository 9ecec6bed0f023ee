"""What a mask measures: volume, surface, fat fraction and growth, and whether two ways of outlining agree on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from radfoundry.data.masks import Labels
from radfoundry.records import Case, Estimate, InputError, Series
from radfoundry.stats.bland_altman import BlandAltman, bland_altman
from radfoundry.stats.icc import icc
from radfoundry.stats.proportions import clustered_proportion
from radfoundry.stats.surface_elements import surface_elements
from radfoundry.volume import Volume

FAT_FRACTION = ("fat-fraction", "PDFF", "Dixon-fat-fraction")
FAT, WATER = ("Dixon-fat", "fat"), ("Dixon-water", "water")
LEAST_IN_ERODED = 8
FEWEST_FOR_ICC = 3


def measures(
    classes: np.ndarray, labels: Labels, *, spacing_mm: Sequence[float], fat: np.ndarray | None = None
) -> dict[str, dict[str, float]]:
    """Structure -> measures of its mask on the image's own grid.

    In 3D `volume_ml` (voxels times voxel size) and `surface_cm2` (of the surface through the midpoints between inside
    and outside voxels); in 2D `area_cm2` and `outline_cm`. `fat_fraction` is the mean of `fat` (I, J, K) over the mask
    without its outermost voxels, NaN where there is no such image. All are NaN for an empty mask, but the volume 0.

    >>> found = measures(np.ones((10, 10, 10), np.uint8), {"cube": (1,)}, spacing_mm=(1.0, 1.0, 1.0))
    >>> found["cube"]["volume_ml"]
    1.0
    """
    result = {}
    flat = classes.shape[2] == 1
    spacing = np.asarray(spacing_mm, float)
    for index, name in enumerate(labels, start=1):
        mask = classes == index
        count = int(mask.sum())
        drawn = mask[:, :, 0] if flat else mask
        size = float(surface_elements(drawn, spacing[: drawn.ndim])[1].sum()) if count else float("nan")
        if flat:
            found = {"area_cm2": count * float(spacing[:2].prod()) / 100, "outline_cm": size / 10}
        else:
            found = {"volume_ml": count * float(spacing.prod()) / 1000, "surface_cm2": size / 100}
        found["fat_fraction"] = float("nan") if fat is None else _inside(fat, mask)
        result[name] = found
    return result


def _inside(fat: np.ndarray, mask: np.ndarray) -> float:
    """The mean over a mask without its border, where half a voxel of a neighbour would count; whole if it is thin."""
    from scipy import ndimage

    inner = ndimage.binary_erosion(mask, structure=np.ones((3, 3, 1), bool))
    chosen = inner if inner.sum() >= LEAST_IN_ERODED else mask
    values = fat[chosen]
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def fat_image(case: Case, like: Volume) -> np.ndarray | None:
    """The share of fat (I, J, K) from 0 to 1 of an exam on the grid of an image, or None where it was not measured.

    A fat-fraction series (per cent or share), else F / (W + F) of a Dixon pair.
    """
    by_name = {str(series.sequence): series for series in case.series if series.sequence}
    whole = _first(by_name, FAT_FRACTION, like)
    if whole is not None:
        return whole / 100 if np.nanmax(whole) > 1.5 else whole
    fat, water = _first(by_name, FAT, like), _first(by_name, WATER, like)
    if fat is None or water is None:
        return None
    total = fat + water
    return np.where(total > 0, fat / np.maximum(total, 1e-6), np.nan)


def _first(by_name: Mapping[str, Series], names: Sequence[str], like: Volume) -> np.ndarray | None:
    for name in names:
        if name in by_name:
            volume = by_name[name].load()
            if volume.geometry.matches(like.geometry):
                return volume.array.mean(axis=0).astype(float)
    return None


def with_growth(rows: Sequence[Mapping[str, Any]], cases: Mapping[str, Case]) -> list[dict[str, Any]]:
    """The rows with `growth_ml` and `growth_percent` since the patient's last earlier exam with the same structure.

    Both are NaN at the first visit, and the second where there was nothing before.
    """
    volume = {(row["case"], row["structure"], row["by"]): row.get("volume_ml", np.nan) for row in rows}
    result = []
    for row in rows:
        case = cases.get(row["case"])
        earlier = [key for key in (case.priors if case else ()) if (key, row["structure"], row["by"]) in volume]
        before = max(earlier, key=lambda key: cases[key].date or "", default=None)
        now, then = row.get("volume_ml", np.nan), np.nan
        if before is not None:
            then = volume[(before, row["structure"], row["by"])]
        percent = 100 * (now - then) / then if then > 0 else np.nan
        result.append({**row, "growth_ml": now - then, "growth_percent": percent})
    return result


def left_empty(rows: Sequence[Mapping[str, Any]], *, drawn: str, true: str) -> dict[str, Estimate]:
    """`left-empty`: of the images on which nothing is to be outlined, the share on which nothing was; else no key.

    `drawn` and `true` are values of the column `by`. Dice does not tell this: it is not defined where both are empty.
    """
    sizes: dict[tuple[str, str, str], float] = {}
    for row in rows:
        key = (row["patient"], row["image"], row["by"])
        sizes[key] = sizes.get(key, 0.0) + row.get("volume_ml", row.get("area_cm2", np.nan))
    bare = [(who, image) for (who, image, by), size in sizes.items() if by == true and size == 0]
    if not bare:
        return {}
    right = [float(sizes[(who, image, drawn)] == 0) for who, image in bare]
    return {"left-empty": clustered_proportion(right, [who for who, _ in bare])}


def agreement(
    rows: Sequence[Mapping[str, Any]], *, first: str, second: str
) -> tuple[dict[str, Estimate], dict[str, BlandAltman]]:
    """How far `first` and `second` (values of the column `by`) agree: ICC(2,1) and Bland-Altman of every measure.

    Keys are `icc-MEASURE-STRUCTURE` and `bias-MEASURE-STRUCTURE`; the second table holds the whole Bland-Altman
    results. Measures with fewer than three images that both know are left out.
    """
    known = [row for row in rows if row["by"] in (first, second)]
    if not known:
        raise InputError("no measures to compare", where="agreement")
    names = [key for key, value in known[0].items() if isinstance(value, float) and not key.startswith("growth_p")]
    numbers: dict[str, Estimate] = {}
    limits: dict[str, BlandAltman] = {}
    for structure in dict.fromkeys(row["structure"] for row in known):
        for name in names:
            pairs = _paired([row for row in known if row["structure"] == structure], name, (first, second))
            if len(pairs) < FEWEST_FOR_ICC:
                continue
            values = np.array([pair[1:] for pair in pairs], float)
            key = f"{name}-{structure}"
            # Several images of one patient are averaged: the ICC knows one row a subject.
            patients = sorted({pair[0] for pair in pairs})
            mean = np.array([values[[pair[0] == who for pair in pairs]].mean(axis=0) for who in patients])
            if len(mean) >= FEWEST_FOR_ICC and np.ptp(mean) > 0:
                numbers[f"icc-{key}"] = icc(mean)
            found = bland_altman(values[:, 0], values[:, 1], subject=np.array([pair[0] for pair in pairs]))
            numbers[f"bias-{key}"] = found.bias
            limits[key] = found
    return numbers, limits


def _paired(rows: Sequence[Mapping[str, Any]], name: str, by: tuple[str, str]) -> list[tuple[str, float, float]]:
    values: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        values.setdefault((row["patient"], row["image"]), {})[row["by"]] = row[name]
    return [
        (patient, found[by[0]], found[by[1]])
        for (patient, _), found in sorted(values.items())
        if all(np.isfinite(found.get(side, np.nan)) for side in by)
    ]
