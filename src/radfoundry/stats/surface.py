"""How far apart two surfaces lie: Hausdorff percentile, mean distance, and the share of surface within tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import choice
from radfoundry.stats.masks import BOTH_EMPTY, bounding_box, empty_reason, mask_pair, single, voxel_size
from radfoundry.stats.nearest import ROUNDING, nearest_distances
from radfoundry.stats.surface_elements import surface_elements

DEFINITIONS = ("voxels", "areas")


@dataclass(frozen=True)
class Surfaces:
    """Two surfaces on one cropped grid: where they are, and how much surface each element stands for."""

    reference: np.ndarray
    predicted: np.ndarray
    reference_weight: np.ndarray
    predicted_weight: np.ndarray
    spacing_mm: np.ndarray

    def distances(self, *, share: float = 1.0, within_mm: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
        """Distances in mm from the reference to the prediction and back, one an element; see `nearest_distances`."""
        if "all_distances" in self.__dict__:
            return self.all_distances
        return (
            nearest_distances(self.reference, self.predicted, self.spacing_mm, share=share, within_mm=within_mm),
            nearest_distances(self.predicted, self.reference, self.spacing_mm, share=share, within_mm=within_mm),
        )

    @cached_property
    def all_distances(self) -> tuple[np.ndarray, np.ndarray]:
        """Every distance both ways, computed once."""
        return (
            nearest_distances(self.reference, self.predicted, self.spacing_mm),
            nearest_distances(self.predicted, self.reference, self.spacing_mm),
        )


def surfaces(reference: np.ndarray, predicted: np.ndarray, spacing_mm: np.ndarray, definition: str) -> Surfaces:
    """The two surfaces under a definition; both masks must be non-empty booleans of one shape.

    "voxels": inside voxels with a face neighbour outside (the border of the image counts as outside), each of
    weight 1. "areas": blocks of voxels that the surface crosses, weighted by its area in mm² there.
    """
    box = bounding_box(reference | predicted)
    first, second = np.ascontiguousarray(reference[box]), np.ascontiguousarray(predicted[box])
    if choice(definition, DEFINITIONS, "definition") == "areas":
        (where_first, area_first), (where_second, area_second) = (
            surface_elements(mask, spacing_mm) for mask in (first, second)
        )
        return Surfaces(where_first, where_second, area_first[where_first], area_second[where_second], spacing_mm)
    edges = boundary(first), boundary(second)
    weights = [np.ones(int(edge.sum())) for edge in edges]
    return Surfaces(*edges, *weights, spacing_mm)


def boundary(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask with a face neighbour outside it; beyond the image everything is outside.

    >>> boundary(np.ones((3, 3), bool)).astype(int).tolist()
    [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    inner = np.zeros_like(mask)
    core = (slice(1, -1),) * mask.ndim
    inner[core] = mask[core]
    for axis in range(mask.ndim):
        for start in (0, 2):
            shifted = list(core)
            shifted[axis] = slice(start, mask.shape[axis] - 2 + start)
            inner[core] &= mask[tuple(shifted)]
    return mask & ~inner


def hausdorff(
    reference: ArrayLike,
    predicted: ArrayLike,
    *,
    spacing_mm: Sequence[float],
    percentile: float = 95.0,
    definition: str = "voxels",
) -> Estimate:
    """The distance in mm within which 95 % of either surface finds the other (HD95).

    The larger of the two directed percentiles (reference to prediction, prediction to reference), each with linear
    interpolation. Undefined (NaN) when either mask is empty: there is no distance to nothing.

    Args:
        reference: 2D or 3D mask of 0 and 1.
        predicted: mask of the same shape.
        spacing_mm: voxel size, one length an axis.
        percentile: 100 gives the Hausdorff distance itself.
        definition: "voxels" counts boundary voxels; "areas" weights surface elements by area; see `surfaces`.

    Source: Huttenlocher et al. 1993; area weights: Nikolov et al. 2018 (arXiv 1809.04430).

    >>> first, second = np.zeros((2, 8, 8), bool)
    >>> first[2:4, 2:4], second[2:4, 4:6] = True, True
    >>> hausdorff(first, second, spacing_mm=(1.0, 0.5)).value
    1.0
    """
    if not 0 < percentile <= 100:
        raise InputError(f"percentile is {percentile}", remedy="give a number above 0 and up to 100")
    pair = _surfaces_or_reason(reference, predicted, spacing_mm, definition)
    return _hausdorff(pair, percentile, definition)


def mean_surface_distance(
    reference: ArrayLike, predicted: ArrayLike, *, spacing_mm: Sequence[float], definition: str = "voxels"
) -> Estimate:
    """The mean distance in mm between the two surfaces, both ways pooled (ASSD).

    Undefined (NaN) when either mask is empty. Arguments as in `hausdorff`.

    Source: Yeghiazaryan & Voiculescu 2018 (average symmetric surface distance, pooled over both surfaces).
    """
    return _mean_distance(_surfaces_or_reason(reference, predicted, spacing_mm, definition), definition)


def surface_dice(
    reference: ArrayLike,
    predicted: ArrayLike,
    *,
    spacing_mm: Sequence[float],
    tolerance_mm: float,
    definition: str = "voxels",
) -> Estimate:
    """The share of both surfaces that lies within a tolerance of the other (surface Dice, NSD).

    0 when exactly one mask is empty; undefined (NaN) when both are.

    Args:
        reference: 2D or 3D mask of 0 and 1.
        predicted: mask of the same shape.
        spacing_mm: voxel size, one length an axis.
        tolerance_mm: the largest distance that still counts as agreement, usually the variation between readers.
        definition: "voxels" counts boundary voxels (the default of most toolkits); "areas" weights surface elements
            by their area (the original definition, right for anisotropic voxels).

    Source: Nikolov et al. 2018 (arXiv 1809.04430); voxel form: Seidlitz et al. 2022 (arXiv 2111.05408).
    """
    pair = _surfaces_or_reason(reference, predicted, spacing_mm, definition)
    return _surface_dice(pair, _tolerance(tolerance_mm), definition)


def surface_scores(
    reference: ArrayLike,
    predicted: ArrayLike,
    *,
    spacing_mm: Sequence[float],
    tolerance_mm: float,
    definition: str = "voxels",
) -> dict[str, Estimate]:
    """HD95, mean surface distance and surface Dice of one pair of masks, with every distance measured once."""
    pair = _surfaces_or_reason(reference, predicted, spacing_mm, definition)
    # The mean needs every distance, so it comes first and the other two reuse what it measured.
    mean = _mean_distance(pair, definition)
    return {
        "hd95_mm": _hausdorff(pair, 95.0, definition),
        "assd_mm": mean,
        "surface_dice": _surface_dice(pair, _tolerance(tolerance_mm), definition),
    }


def _surfaces_or_reason(
    reference: ArrayLike, predicted: ArrayLike, spacing_mm: Sequence[float], definition: str
) -> Surfaces | str:
    """The two surfaces, or the reason why there are not two."""
    choice(definition, DEFINITIONS, "definition")
    first, second = mask_pair(reference, predicted)
    spacing = voxel_size(spacing_mm, first.ndim)
    if first.ndim not in (2, 3):
        raise InputError(f"masks have {first.ndim} axes", remedy="give 2D or 3D masks, one structure at a time")
    return empty_reason(first, second) or surfaces(first, second, spacing, definition)


def _tolerance(tolerance_mm: float) -> float:
    if not (np.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise InputError(f"tolerance_mm is {tolerance_mm}", remedy="give a length of 0 mm or more")
    return float(tolerance_mm)


def _hausdorff(pair: Surfaces | str, percentile: float, definition: str) -> Estimate:
    method = f"Hausdorff distance, percentile {percentile:g}, {definition}, mm"
    if isinstance(pair, str):
        return Estimate.undefined(pair, n=1, method=method)
    if definition == "voxels":
        there, back = pair.distances(share=percentile / 100)
        return single(max(_percentile(there, percentile), _percentile(back, percentile)), method)
    there, back = pair.all_distances
    first = _weighted_percentile(there, pair.reference_weight, percentile)
    return single(max(first, _weighted_percentile(back, pair.predicted_weight, percentile)), method)


def _percentile(distances: np.ndarray, percentile: float) -> float:
    # The unknown far ones are infinite; only the two order statistics around the percentile are looked at.
    place = percentile / 100 * (len(distances) - 1)
    low = int(np.floor(place))
    high = min(low + 1, len(distances) - 1) if place > low else low
    ordered = np.partition(distances, [low, high])
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))


def _weighted_percentile(distances: np.ndarray, weights: np.ndarray, percentile: float) -> float:
    """The smallest distance that covers this share of the surface."""
    order = np.argsort(distances, kind="stable")
    covered = np.cumsum(weights[order]) / weights.sum()
    return float(distances[order][min(np.searchsorted(covered, percentile / 100), len(order) - 1)])


def _mean_distance(pair: Surfaces | str, definition: str) -> Estimate:
    method = f"average symmetric surface distance, {definition}, mm"
    if isinstance(pair, str):
        return Estimate.undefined(pair, n=1, method=method)
    weights = np.concatenate([pair.reference_weight, pair.predicted_weight])
    return single(float(np.average(np.concatenate(pair.all_distances), weights=weights)), method)


def _surface_dice(pair: Surfaces | str, tolerance_mm: float, definition: str) -> Estimate:
    method = f"surface Dice at {tolerance_mm:g} mm, {definition}"
    if isinstance(pair, str):
        return Estimate.undefined(pair, n=1, method=method) if pair == BOTH_EMPTY else single(0.0, method, pair)
    there, back = pair.distances(within_mm=tolerance_mm)
    limit = tolerance_mm * (1 + ROUNDING)
    covered = pair.reference_weight[there <= limit].sum() + pair.predicted_weight[back <= limit].sum()
    return single(covered / (pair.reference_weight.sum() + pair.predicted_weight.sum()), method)
