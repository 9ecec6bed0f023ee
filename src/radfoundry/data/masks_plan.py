"""From a cohort's fingerprint to a plan: voxel size, patch, grey values and the sizes of a U-Net."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from radfoundry.data.masks import Labels, Pair, classes_of
from radfoundry.data.prepare import Plan
from radfoundry.records import InputError

FORMAT = 1
MOST_VOXELS = 300_000_000
VOXELS = 110_592  # 48³: what a step of two images takes about a second for on one core
FEWEST_CELLS = 4
FIRST_WIDTH, LARGEST_WIDTH = 24, 192
FOLD_FROM = 16
THICK_FROM = 2.0
CLIPPED = (0.5, 99.5)
Three = tuple[int, int, int]


@dataclass(frozen=True)
class Fingerprint:
    """What the training images and their masks are like; everything a plan is made from.

    `spacing_mm` and `shape` are medians, `largest_shape` the 95th percentile along each axis; `grey` are percentiles,
    mean and deviation of the grey values inside the structures; `share` how much of an image each label takes,
    `images_with` in how many images it is.
    """

    images: int
    patients: int
    modality: tuple[str, ...]
    dimensions: int
    placed: bool
    spacing_mm: tuple[float, float, float]
    shape: tuple[float, float, float]
    largest_shape: tuple[float, float, float]
    grey: Mapping[str, float]
    share: Mapping[str, float]
    images_with: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SegmentPlan:
    """How a cohort is outlined: voxel size, patch, grey values, levels; written as `plan.json` beside every result."""

    labels: Mapping[str, tuple[int, ...]]
    dimensions: int
    spacing_mm: tuple[float, float, float] | None
    patch: Three
    whole: bool
    intensity: str
    intensity_options: Mapping[str, float]
    widths: tuple[int, ...]
    strides: tuple[Three, ...]
    fold: Three
    orientation: str | None = "RAS"
    fingerprint: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """Labels and background."""
        return len(self.labels) + 1

    @property
    def preparation(self) -> Plan:
        """How an image is made ready."""
        return Plan(self.orientation, self.spacing_mm, None, self.intensity, dict(self.intensity_options))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SegmentPlan:
        """The inverse of `to_dict`; refuses other formats and missing parts."""
        if values.get("format") != FORMAT:
            raise InputError(f"plan format {values.get('format')} is not {FORMAT}", remedy="fit it again")
        try:
            return cls(
                labels={str(name): tuple(int(n) for n in parts) for name, parts in values["labels"].items()},
                dimensions=int(values["dimensions"]),
                spacing_mm=None if values["spacing_mm"] is None else _three(values["spacing_mm"], float),
                patch=_three(values["patch"], int),
                whole=bool(values["whole"]),
                intensity=str(values["intensity"]),
                intensity_options=dict(values["intensity_options"]),
                widths=tuple(int(n) for n in values["widths"]),
                strides=tuple(_three(step, int) for step in values["strides"]),
                fold=_three(values["fold"], int),
                orientation=values["orientation"],
                fingerprint=dict(values["fingerprint"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"the plan is damaged ({error})", remedy="fit it again", finding="damaged") from None


def _three(values: Sequence[Any], kind: Any) -> tuple[Any, Any, Any]:
    first, second, third = (kind(value) for value in values)
    return (first, second, third)


def fingerprint(pairs: Sequence[Pair], labels: Labels, *, rng: np.random.Generator) -> Fingerprint:
    """Look at every training image once: grid, grey values inside the structures, and how large these are."""
    spacings, shapes, greys = [], [], []
    counts, present = np.zeros(len(labels) + 1), np.zeros(len(labels) + 1, int)
    placed = all("no-geometry" not in pair.image.repairs for pair in pairs)
    flat = all(pair.image.shape[3] == 1 for pair in pairs)
    for pair in pairs:
        volume = pair.image.load()
        turned = volume if flat else volume.reorient("RAS")
        spacings.append(turned.spacing_mm)
        shapes.append(turned.shape)
        classes = classes_of(pair.masks[0], labels, may_be_empty=True)
        here = np.bincount(classes.ravel(), minlength=len(counts))
        counts, present = counts + here, present + (here > 0)
        inside = volume.array.mean(axis=0)[classes > 0]
        greys.append(rng.choice(inside, min(len(inside), 2000), replace=False))
    if not flat and any(pair.image.shape[3] == 1 for pair in pairs):
        raise InputError("volumes and 2D images together", where="masks", remedy="keep one kind with train_on")
    grey = np.concatenate(greys).astype(float)
    if not len(grey):
        raise InputError("every mask to learn from is empty", where="masks", remedy="give masks of structures")
    low, high = np.percentile(grey, CLIPPED)
    return Fingerprint(
        images=len(pairs),
        patients=len({pair.patient for pair in pairs}),
        modality=tuple(sorted({pair.image.acquisition.modality or "unknown" for pair in pairs})),
        dimensions=2 if flat else 3,
        placed=placed,
        spacing_mm=_three(np.median(spacings, axis=0), float),
        shape=_three(np.median(shapes, axis=0), float),
        largest_shape=_three(np.percentile(shapes, 95, axis=0), float),
        grey={"low": float(low), "high": float(high), "mean": float(grey.mean()), "deviation": float(grey.std())},
        share={name: float(counts[n] / counts.sum()) for n, name in enumerate(labels, start=1)},
        images_with={name: int(present[n]) for n, name in enumerate(labels, start=1)},
    )


def plan(
    seen: Fingerprint,
    labels: Labels,
    *,
    spacing_mm: Sequence[float] | None = None,
    voxels: int = VOXELS,
    fold: bool = True,
    width: int = FIRST_WIDTH,
) -> SegmentPlan:
    """The plan that a fingerprint asks for.

    Voxel size: the median, unless given. Patch: the whole image where it has at most `voxels` voxels, else its longest
    sides (in mm) are cut until it has. Grey values: CT is cut to the percentiles seen inside the structures, all else
    is brought to mean 0 and deviation 1. Levels: halved while at least 4 cells are left, thick slices later than the
    others. `fold` lets the first level work on blocks of two voxels; `width` is the number of its channels.

    Source: the rules follow Isensee et al., Nature Methods 2021 (nnU-Net), for much smaller patches.
    """
    flat = seen.dimensions == 2
    chosen = seen.spacing_mm if spacing_mm is None else _three(spacing_mm, float)
    ratio = np.array(seen.spacing_mm) / np.array(chosen)
    largest = np.maximum(1, np.rint(np.array(seen.largest_shape) * ratio)).astype(int)
    if math.prod(largest.tolist()) > MOST_VOXELS:
        raise InputError(
            f"images of {' x '.join(map(str, largest))} voxels of {' x '.join(f'{step:g}' for step in chosen)} mm",
            where="plan",
            remedy="give a larger task.plan.spacing_mm, or crop the images",
            finding="memory",
        )
    steps = _three([2 if fold and n >= FOLD_FROM else 1 for n in largest], int)
    patch = largest.copy()
    while math.prod(patch.tolist()) > voxels:
        # The side that reaches furthest in mm gives way first, so that the patch stays about a cube of tissue.
        axis = int(np.argmax(np.where(patch > 2 * FEWEST_CELLS, patch * np.array(chosen), 0)))
        if patch[axis] <= 2 * FEWEST_CELLS:
            break
        patch[axis] -= max(1, patch[axis] // 16)
    strides = _strides(patch // np.array(steps), np.array(chosen), flat=flat)
    total = np.array(steps) * np.prod(np.array(strides).reshape(-1, 3), axis=0).astype(int)
    rounded = np.maximum(total, (np.ceil if (patch == largest).all() else np.round)(patch / total).astype(int) * total)
    ct = seen.modality == ("CT",)
    span = {"center_hu": (seen.grey["low"] + seen.grey["high"]) / 2, "width_hu": seen.grey["high"] - seen.grey["low"]}
    return SegmentPlan(
        labels={name: tuple(parts) for name, parts in labels.items()},
        dimensions=seen.dimensions,
        spacing_mm=chosen if seen.placed else None,
        patch=_three(rounded, int),
        whole=bool((rounded >= largest).all()),
        intensity="window" if ct else "zscore",
        intensity_options={name: max(1.0, value) if name == "width_hu" else value for name, value in span.items()}
        if ct
        else {},
        widths=tuple(min(LARGEST_WIDTH, width * 2**level) for level in range(len(strides) + 1)),
        strides=strides,
        fold=steps,
        orientation=None if flat else "RAS",
        fingerprint=asdict(seen),
    )


def _strides(cells: np.ndarray, spacing_mm: np.ndarray, *, flat: bool) -> tuple[Three, ...]:
    """Halvings between levels: of every axis that has cells to spare and is not much coarser than the finest."""
    cells, spacing = cells.copy(), spacing_mm.copy()
    found: list[Three] = []
    while len(found) < 3:
        finest = spacing[:2].min() if flat else spacing.min()
        can = (cells >= 2 * FEWEST_CELLS) & (spacing < THICK_FROM * finest)
        if flat:
            can[2] = False
        if not can.any():
            break
        step = np.where(can, 2, 1)
        found.append(_three(step.tolist(), int))
        cells, spacing = cells // step, spacing * step
    return tuple(found) or ((1, 1, 1),)
