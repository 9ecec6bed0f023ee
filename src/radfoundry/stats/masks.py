"""What every comparison of two masks does first: check them, crop them, and say what emptiness means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError

BOTH_EMPTY = "both masks are empty: a true negative, there is nothing to overlap or measure"
REFERENCE_EMPTY = "the reference mask is empty"
PREDICTED_EMPTY = "the predicted mask is empty"


def mask_pair(reference: ArrayLike, predicted: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two masks as boolean arrays of one shape; labels other than 0 and 1 are refused.

    >>> [mask.tolist() for mask in mask_pair([0, 1], [1.0, 1.0])]
    [[False, True], [True, True]]
    """
    return _on_one_grid(_as_mask(reference, "reference"), _as_mask(predicted, "predicted"))


def label_pair(reference: ArrayLike, predicted: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two label maps as integer arrays of one shape."""
    return _on_one_grid(_as_labels(reference, "reference"), _as_labels(predicted, "predicted"))


def _on_one_grid(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if first.shape != second.shape:
        raise InputError(
            f"the reference has shape {first.shape}, the prediction {second.shape}",
            remedy="resample the prediction to the grid of the reference",
            finding="shape-mismatch",
        )
    return first, second


def voxel_size(spacing_mm: Sequence[float] | np.ndarray, dimensions: int) -> np.ndarray:
    """The spacing of a grid in mm, one positive number an axis; anything else is refused.

    >>> voxel_size((3.0, 0.7, 0.7), 3).tolist()
    [3.0, 0.7, 0.7]
    """
    spacing = np.asarray(spacing_mm, float)
    if spacing.shape != (dimensions,):
        raise InputError(
            f"spacing_mm has {spacing.size} numbers for {dimensions} axes", remedy="give one spacing in mm an axis"
        )
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise InputError(f"spacing_mm is {spacing.tolist()}", remedy="give positive lengths in mm")
    return spacing


def empty_reason(reference: np.ndarray, predicted: np.ndarray) -> str:
    """Which of the two masks is empty, in words; an empty string when neither is."""
    has_reference, has_predicted = bool(reference.any()), bool(predicted.any())
    if has_reference and has_predicted:
        return ""
    if has_reference:
        return PREDICTED_EMPTY
    return REFERENCE_EMPTY if has_predicted else BOTH_EMPTY


def single(value: float, method: str, note: str = "one pair of masks") -> Estimate:
    """The estimate of one pair of masks: a value that has no interval of its own."""
    return Estimate(float(value), method=method, n=1, note=note)


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around the true voxels, one slice an axis; the mask must not be empty."""
    box: list[slice] = []
    for axis in range(mask.ndim):
        # Each axis is cut before the next is looked at, so that later looks are cheaper.
        view = mask[tuple(box)]
        others = tuple(other for other in range(mask.ndim) if other != axis)
        hit = np.flatnonzero(view.any(axis=others))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)


def _as_mask(mask: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(mask)
    if values.dtype.kind == "b":
        return values
    if values.dtype.kind not in "iuf" or not ((values == 0) | (values == 1)).all():
        raise InputError(
            f"the {name} mask holds values other than 0 and 1",
            remedy="compare one structure at a time, for example labels == 3",
            finding="not-a-mask",
        )
    return values.astype(bool)


def _as_labels(labels: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(labels)
    if values.dtype.kind in "biu":
        return values.astype(np.int64, copy=False)
    if values.dtype.kind != "f" or not np.array_equal(values, np.round(values)):
        raise InputError(f"the {name} labels are not whole numbers", remedy="resample labels with nearest neighbour")
    return values.astype(np.int64)
