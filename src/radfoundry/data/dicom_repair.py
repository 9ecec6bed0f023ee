"""Repairs of a stack that was told to be mended: missing or uneven slices, and a tilted gantry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from radfoundry.volume import Volume


def resampled_slices(volume: Volume, offsets: np.ndarray) -> Volume:
    """Slices at whole steps from slices at the given offsets (in steps, ascending), by linear blending.

    A slice that already lies at a whole step is copied unchanged.
    """
    targets = np.arange(round(float(offsets[-1])) + 1, dtype=float)
    upper = np.clip(np.searchsorted(offsets, targets - 1e-6), 1, len(offsets) - 1)
    lower = upper - 1
    share = np.clip((targets - offsets[lower]) / (offsets[upper] - offsets[lower]), 0.0, 1.0)
    share[np.abs(share - 1) < 1e-6], share[np.abs(share) < 1e-6] = 1.0, 0.0
    below, above = volume.array[..., lower], volume.array[..., upper]
    return replace(volume, array=_rounded(below * (1 - share) + above * share, volume.array.dtype))


def straightened(volume: Volume, drift_mm: np.ndarray) -> Volume:
    """Slices shifted in their plane so that a sheared stack stands upright; the grid grows to keep every voxel.

    `drift_mm` is how far each slice lies from the one before it along the first and second axis. New voxels
    hold the volume's smallest value; between voxels values are interpolated linearly.
    """
    count = volume.shape[2]
    array, affine = volume.array.astype(np.float64), volume.affine.copy()
    fill = float(volume.array.min())
    for axis in (0, 1):
        step = float(drift_mm[axis]) / volume.spacing_mm[axis]
        shifts = step * np.arange(count)
        before = int(np.ceil(max(0.0, -shifts.min()) - 1e-9))
        after = int(np.ceil(max(0.0, shifts.max()) - 1e-9))
        affine[:3, 3] -= affine[:3, axis] * before
        array = _shifted(array, axis + 1, shifts + before, array.shape[axis + 1] + before + after, fill)
    return replace(volume, array=_rounded(array, volume.array.dtype), affine=affine)


def _shifted(array: np.ndarray, axis: int, shifts: np.ndarray, size: int, fill: float) -> np.ndarray:
    moved = np.moveaxis(array, axis, 0)
    result = np.full((size, *moved.shape[1:]), fill)
    places = np.arange(size)
    for index, shift in enumerate(shifts):
        from_place = places - shift
        low = np.floor(from_place + 1e-9).astype(int)
        share = np.clip(from_place - low, 0.0, 1.0)
        inside = (low >= 0) & (low < len(moved)) & ((low + 1 < len(moved)) | (share < 1e-6))
        low, share = low[inside], share[inside]
        high = np.minimum(low + 1, len(moved) - 1)
        weight = share.reshape(-1, *([1] * (moved.ndim - 2)))
        result[inside, ..., index] = moved[low, ..., index] * (1 - weight) + moved[high, ..., index] * weight
    return np.moveaxis(result, 0, axis)


def _rounded(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    return values.astype(kind) if kind.kind == "f" else np.rint(values).astype(kind)
