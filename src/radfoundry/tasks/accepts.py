"""What images a fitted model may be asked about: those like the ones it learned from; others are refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from radfoundry.records import EncoderSpec, Series
from radfoundry.tasks.examples import fact_of
from radfoundry.volume import Volume

# How far beyond what taught the model an image may lie, as a factor on both sides.
SPACING_FACTOR = 2.0
EXTENT_FACTOR = 1.5
SHARE_OF_IMAGE = 0.001
FACTS = ("sequence", "body_part")
Ranges = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Accepts:
    """The images that taught a model, as limits for new ones.

    `facts`: header facts with the values that occurred; `silent`: facts that may be missing. `spacing_mm` and
    `extent_mm` are (smallest, largest) allowed for the finest, middle and coarsest (shortest, middle, longest) axis,
    None where the teaching images stated none; then `size_pixels` does the same for the picture's sides.
    """

    modality: tuple[str, ...]
    dimensions: int
    facts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    spacing_mm: Ranges | None = None
    extent_mm: Ranges | None = None
    size_pixels: Ranges | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Accepts:
        """The inverse of `to_dict`."""
        ranges = {
            name: None if values.get(name) is None else tuple((float(low), float(high)) for low, high in values[name])
            for name in ("spacing_mm", "extent_mm", "size_pixels")
        }
        facts = {name: tuple(found) for name, found in values.get("facts", {}).items()}
        return cls(
            tuple(values["modality"]), int(values["dimensions"]), facts, tuple(values.get("silent", ())), **ranges
        )


def learned_from(series: Sequence[Series], *, spec: EncoderSpec, wanted: Iterable[str] = ()) -> Accepts:
    """The limits that a model's teaching series set; `wanted` names further header facts they were chosen by."""
    modality = sorted({item.acquisition.modality for item in series if item.acquisition.modality})
    facts: dict[str, tuple[str, ...]] = {}
    silent = []
    for name in dict.fromkeys((*FACTS, *wanted)):
        found = [fact_of(item, name) for item in series]
        known = {str(value) for value in found if value is not None}
        # The name of a body part is free text: only where everybody states it does it say something.
        if not known or (name == "body_part" and None in found):
            continue
        facts[name] = tuple(sorted(known))
        if None in found or name == "body_part":
            silent.append(name)
    placed = [item for item in series if "no-geometry" not in item.repairs]
    whole = len(placed) == len(series)
    return Accepts(
        modality=tuple(modality) or spec.modality,
        dimensions=spec.dimensions,
        facts=facts,
        silent=tuple(silent),
        spacing_mm=_ranges([_spacing(item) for item in placed], SPACING_FACTOR) if whole else None,
        extent_mm=_ranges([_extent(item) for item in placed], EXTENT_FACTOR) if whole else None,
        size_pixels=None if whole else _ranges([_pixels(item) for item in series], EXTENT_FACTOR),
    )


def refusal(series: Series, accepts: Accepts, spec: EncoderSpec) -> str:
    """Why a series is outside what the model learned from, or nothing when it is inside."""
    modality = series.acquisition.modality
    if modality is not None and modality not in accepts.modality:
        return f"modality {modality} is not {' or '.join(accepts.modality)}"
    if (series.shape[3] == 1) != (accepts.dimensions == 2):
        return "a 2D image, and the model reads volumes" if accepts.dimensions == 3 else "a volume, not a 2D image"
    for name, values in accepts.facts.items():
        found = fact_of(series, name)
        if found is None and name not in accepts.silent:
            said = f"; if it is one, say {name}={values[0]}" if name == "sequence" else ""
            return f"its {words(name)} is not known; the model reads {', '.join(values)}{said}"
        if found is not None and str(found).casefold() not in [value.casefold() for value in values]:
            return f"{words(name)} {found} is not {' or '.join(values)}"
    if "no-geometry" in series.repairs and spec.spacing_mm is not None:
        return "its pixel size in mm is not known"
    size = _outside("size", _pixels(series), accepts.size_pixels, unit="pixels")
    if size or "no-geometry" in series.repairs:
        return size
    return _outside("voxel spacing", _spacing(series), accepts.spacing_mm) or _outside(
        "extent", _extent(series), accepts.extent_mm
    )


def emptiness(volume: Volume) -> str:
    """Why an image holds nothing to judge, or nothing when it does."""
    array = volume.array
    if not np.isfinite(array).all():
        return "it holds values that are no numbers"
    lowest, highest = float(array.min()), float(array.max())
    if lowest == highest:
        return f"the image is empty: every voxel is {lowest:g}"
    if float((array != lowest).mean()) < SHARE_OF_IMAGE:
        return f"the image is empty: all but {(array != lowest).mean():.2%} of its voxels are {lowest:g}"
    return ""


def words(name: str) -> str:
    """A fact's name as a person reads it."""
    return name.replace("_", " ")


def _spacing(series: Series) -> list[float]:
    flat = series.shape[3] == 1
    return sorted(series.spacing_mm[: 2 if flat else 3])


def _extent(series: Series) -> list[float]:
    axes = 2 if series.shape[3] == 1 else 3
    return sorted(n * step for n, step in zip(series.shape[1 : 1 + axes], series.spacing_mm[:axes], strict=True))


def _pixels(series: Series) -> list[float]:
    return sorted(float(n) for n in series.shape[1:3])


def _ranges(rows: Sequence[Sequence[float]], factor: float) -> Ranges | None:
    if not rows or len({len(row) for row in rows}) > 1:
        return None
    return tuple((min(column) / factor, max(column) * factor) for column in zip(*rows, strict=True))


def _outside(what: str, found: Sequence[float], allowed: Ranges | None, *, unit: str = "mm") -> str:
    if allowed is None or len(allowed) != len(found):
        return ""
    inside = all(low <= value <= high for value, (low, high) in zip(found, allowed, strict=True))
    if inside:
        return ""
    shown = " x ".join(f"{value:.3g}" for value in found)
    limits = " x ".join(f"{low:.3g}-{high:.3g}" for low, high in allowed)
    return f"{what} {shown} {unit} is outside {limits} {unit}"
