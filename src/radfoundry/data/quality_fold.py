"""Fold-over (wrap): the body leaves the field of view at one edge and comes back at the edge that faces it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from radfoundry.records import Estimate

DEPTH = 2  # lines at each edge that are averaged
FEWEST_LIT = 12  # places along an edge that have to be bright at both edges
SURE = 0.6  # correlation of detail from which on it is one line going on
DETAIL_VOXELS = 8.0  # what is wider than this along the edge is shape, not detail


def fold_share(image: np.ndarray, body: np.ndarray) -> float:
    """How much of the body folds over in one slice `(I, J)`, the worse of both directions; 0 where none does.

    A folded image is periodic: what leaves at one edge goes on at the other, so the lines at two edges that face each
    other show the same detail. A body that is merely cut off shows different things there. The brightness that both
    edges share, over the body's, averaged along the edge, times how surely their detail correlates.

    >>> rng = np.random.default_rng(0)
    >>> wide = ndimage.gaussian_filter(rng.normal(100, 40, (40, 60)), 1.5)
    >>> folded = wide[:, 10:50].copy()
    >>> folded[:, -10:] += wide[:, :10]
    >>> folded[:, :10] += wide[:, 50:]
    >>> lit = np.ones((40, 40), bool)
    >>> bool(fold_share(folded, lit) > 0.8 and fold_share(folded, lit) > 1.5 * fold_share(wide[:, 10:50], lit))
    True
    """
    level = float(np.median(image[body])) if body.any() else 0.0
    return max((_along(np.moveaxis(image, axis, 0), np.moveaxis(body, axis, 0), level) for axis in (0, 1)), default=0.0)


def _along(image: np.ndarray, body: np.ndarray, level: float) -> float:
    first, last = (image[edge].mean(axis=0).astype(np.float64) for edge in (slice(DEPTH), slice(-DEPTH, None)))
    lit = body[:DEPTH].any(axis=0) & body[-DEPTH:].any(axis=0)
    if level <= 0 or lit.sum() < FEWEST_LIT:
        return 0.0
    agreement = _correlation(_detail(first)[lit], _detail(last)[lit])
    shared = float(np.where(lit, np.minimum(first, last), 0.0).mean()) / level
    return shared * float(np.clip(agreement / SURE, 0.0, 1.0))


def over_slices(shares: Sequence[float]) -> Estimate:
    """The mean over slices, since a body may fold in some alone; its interval draws slices."""
    kept = np.array([share for share in shares if np.isfinite(share)])
    method = "mean of slices, bootstrap"
    if not len(kept):
        return Estimate.undefined("no slice shows enough of the body", n=0, method=method)
    if len(kept) < 3:
        return Estimate(float(kept.mean()), method=method, n=len(kept), note="too few slices for an interval")
    drawn = kept[np.random.default_rng(0).integers(len(kept), size=(400, len(kept)))].mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(float(kept.mean()), float(low), float(high), method=method, n=len(kept))


def _detail(line: np.ndarray) -> np.ndarray:
    return line - ndimage.gaussian_filter1d(line, DETAIL_VOXELS, mode="nearest")


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    spread = float(first.std() * second.std())
    return float(((first - first.mean()) * (second - second.mean())).mean()) / spread if spread > 0 else 0.0
