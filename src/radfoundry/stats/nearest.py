"""The distance from every point of one surface to another, exact and fast when the surfaces lie close."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

# Looking a point up in a shell costs about 5 ns, a tree query 1-2 µs: past this many look-ups a point the tree wins.
LOOKUPS_PER_POINT = 150
# Neighbours looked at before the tree takes over: a ball of about six voxels, an ellipsoid for thick slices.
NEIGHBOURS = 900
# Lengths that differ by rounding alone are one length.
ROUNDING = 1e-9
# A tree that is asked once is not worth balancing.
TREE = {"balanced_tree": False, "compact_nodes": False}


def nearest_distances(
    source: np.ndarray,
    target: np.ndarray,
    spacing_mm: np.ndarray,
    *,
    share: float = 1.0,
    within_mm: float = np.inf,
) -> np.ndarray:
    """Distance in mm from each true voxel of `source` to the nearest true voxel of `target`, in C order of `source`.

    The neighbourhood of every point is searched in shells of growing distance; what is still unmatched after
    that goes to a k-d tree. Either way the distance is exact: the shells change the time and nothing else.

    Args:
        source: boolean array, not empty.
        target: boolean array of the same shape, not empty.
        spacing_mm: one length an axis.
        share: stop when this share of the points (the nearest ones) is known; the others come back as infinity.
        within_mm: points farther than this may come back as infinity.
    """
    shells, reach, limit = _shells(tuple(float(length) for length in spacing_mm), float(within_mm))
    width = [(cells, cells) for cells in reach]
    # Files are often read in Fortran order; flat places below count in C order.
    padded = np.pad(np.ascontiguousarray(target), width)
    # Flat places are found many times faster than coordinates, which only the tree needs.
    places = np.flatnonzero(np.pad(np.ascontiguousarray(source), width))
    strides = np.cumprod([1, *padded.shape[:0:-1]])[::-1]
    distance = np.full(len(places), np.inf)
    needed = int(np.ceil(share * (len(places) - 1))) + 1
    rest, exhausted = _search_shells(distance, (places, padded.ravel()), shells, strides, needed)
    settled = len(places) - len(rest) >= needed or (exhausted and within_mm <= limit)
    if not settled:
        from scipy.spatial import KDTree

        tree = KDTree(_coordinates(np.flatnonzero(padded), padded.shape) * spacing_mm, **TREE)
        distance[rest] = tree.query(_coordinates(places[rest], padded.shape) * spacing_mm)[0]
    return distance


def _search_shells(
    distance: np.ndarray,
    where: tuple[np.ndarray, np.ndarray],
    shells: list[tuple[float, np.ndarray]],
    strides: np.ndarray,
    needed: int,
) -> tuple[np.ndarray, bool]:
    """Write the distances found into `distance`; the points still unmatched, and whether all shells were searched.

    `where` is the flat place of every point and the flat target mask.
    """
    place, flat = where
    rest = np.arange(len(place))
    budget = LOOKUPS_PER_POINT * len(place)
    for length, offsets in shells:
        steps = offsets @ strides
        hit = flat.take(place + steps[0])
        for step in steps[1:]:
            hit |= flat.take(place + step)
        if hit.any():
            distance[rest[hit]] = length
            rest, place = rest[~hit], place[~hit]
        budget -= len(rest) * len(offsets)
        if len(distance) - len(rest) >= needed or budget < 0:
            return rest, False
    return rest, True


def _coordinates(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(np.unravel_index(places, shape), axis=1)


@lru_cache(maxsize=64)
def _shells(
    spacing_mm: tuple[float, ...], within_mm: float
) -> tuple[list[tuple[float, np.ndarray]], tuple[int, ...], float]:
    """Neighbour offsets by distance, nearest first; the voxels they reach along each axis; the length they reach."""
    ball = math.pi if len(spacing_mm) == 2 else 4 / 3 * math.pi
    reachable = (NEIGHBOURS * math.prod(spacing_mm) / ball) ** (1 / len(spacing_mm))
    limit = min(reachable, within_mm) * (1 + ROUNDING)
    reach = tuple(int(limit / length) for length in spacing_mm)
    axes = np.meshgrid(*[np.arange(-cells, cells + 1) for cells in reach], indexing="ij")
    offsets = np.stack(axes, -1).reshape(-1, len(reach))
    squared = ((offsets * np.array(spacing_mm)) ** 2).sum(axis=1)
    order = np.argsort(squared, kind="stable")
    order = order[squared[order] <= limit**2]
    offsets, squared = offsets[order], squared[order]
    breaks = np.flatnonzero(np.diff(squared) > ROUNDING * squared[-1]) + 1
    lengths = np.sqrt(squared[np.concatenate([[0], breaks])])
    return list(zip(lengths.tolist(), np.split(offsets, breaks), strict=True)), reach, limit
