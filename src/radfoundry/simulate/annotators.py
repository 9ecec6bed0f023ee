"""People who draw outlines: each with a bias, a shaky boundary, misses and false outlines, all of known size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radfoundry.records import InputError


@dataclass(frozen=True)
class Annotator:
    """How somebody outlines: `bias_mm` outwards (negative: too small), `shake_mm` of smooth boundary error,
    `miss_rate` of whole lesions left out, `invent_rate` of scans with an outline of nothing.
    """

    name: str = "annotator"
    bias_mm: float = 0.0
    shake_mm: float = 0.0
    smoothness_mm: float = 4.0
    miss_rate: float = 0.0
    invent_rate: float = 0.0

    def __post_init__(self) -> None:
        if self.shake_mm < 0 or self.smoothness_mm <= 0:
            raise InputError("the shake of a boundary is at least 0 and its smoothness positive", where=self.name)
        if not (0 <= self.miss_rate <= 1 and 0 <= self.invent_rate <= 1):
            raise InputError("miss and invention rates are shares from 0 to 1", where=self.name)


PANEL = (
    Annotator("accurate", shake_mm=0.3),
    Annotator("generous", bias_mm=1.2, shake_mm=0.6),
    Annotator("shaky", shake_mm=1.8, smoothness_mm=3.0),
    Annotator("careless", shake_mm=0.8, miss_rate=0.2, invent_rate=0.1),
)


def outline(
    mask: np.ndarray, annotator: Annotator, *, spacing_mm: tuple[float, ...], rng: np.random.Generator
) -> np.ndarray:
    """One annotator's version of a true mask, 2D or 3D booleans of the same shape.

    The boundary moves along its distance map by the bias plus a smooth random field whose standard deviation is
    the shake; misses and inventions are drawn per connected lesion and per image. Nothing is drawn outside the
    image. With no errors the mask comes back unchanged.
    """
    from scipy import ndimage

    truth = np.asarray(mask, dtype=bool)
    if truth.ndim != len(spacing_mm):
        raise InputError(f"{len(spacing_mm)} spacings for a mask of {truth.ndim} axes")
    labelled, count = ndimage.label(truth)
    kept = np.zeros_like(truth)
    for number in range(1, count + 1):
        if rng.random() >= annotator.miss_rate:
            kept |= labelled == number
    if rng.random() < annotator.invent_rate:
        kept |= _invention(truth.shape, spacing_mm, rng)
    if not kept.any() or (annotator.bias_mm == 0 and annotator.shake_mm == 0):
        return kept
    inside = ndimage.distance_transform_edt(kept, sampling=spacing_mm)
    outside = ndimage.distance_transform_edt(~kept, sampling=spacing_mm)
    # Both maps count from voxel centres; half a voxel less each puts zero on the boundary between them.
    half = min(spacing_mm) / 2
    signed = np.where(kept, -(inside - half), outside - half)
    field = np.zeros(truth.shape)
    if annotator.shake_mm:
        field = ndimage.gaussian_filter(
            rng.standard_normal(truth.shape), [annotator.smoothness_mm / s for s in spacing_mm]
        )
        field *= annotator.shake_mm / max(float(field.std()), 1e-9)
    return signed < annotator.bias_mm + field


def _invention(shape: tuple[int, ...], spacing_mm: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    centre = [rng.uniform(0.25, 0.75) * size for size in shape]
    radius = rng.uniform(2.5, 6.0)
    away = sum(
        ((axis - middle) * spacing) ** 2
        for axis, middle, spacing in zip(
            np.ogrid[tuple(slice(size) for size in shape)], centre, spacing_mm, strict=True
        )
    )
    return np.asarray(away <= radius**2)
