"""Learning curves: families of curves of AUC against the number of labels, fitted to many redrawn curves at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from radfoundry.records import InputError
from radfoundry.stats.inputs import choice, finite_numbers

FAMILIES = ("power", "probit-power", "mmf", "last-value")
_EXPONENTS = np.geomspace(0.05, 2.0, 48)
# MMF: the size at which half of the rise is done, relative to the smallest and largest size seen, and the steepness.
_HALF_SIZES = np.geomspace(0.05, 30.0, 24)
_STEEPNESS = np.geomspace(0.4, 2.5, 8)
_CLIP = 1e-4
# How strongly an exponent far from 1/2, the rate of most estimators, must be earned by the data (log scale).
_PRIOR_EXPONENT, _PRIOR_SPREAD = 0.5, 1.0


@dataclass(frozen=True, eq=False)
class CurveFit:
    """Fitted curves of one family: score = link(ceiling - drop * shape(n)), one per row of the data given.

    `ceiling`, `drop` and `loss` are (curves,); `shape` is (curves, 2): exponent, or half size and steepness, or the
    last size.
    `loss` is the weighted sum of squares, in units of the points' own variance.
    """

    family: str
    ceiling: np.ndarray
    drop: np.ndarray
    shape: np.ndarray
    loss: np.ndarray

    def predict(self, size: ArrayLike) -> np.ndarray:
        """(curves, sizes) expected scores.

        >>> sizes = np.array([5, 8, 12, 18, 25, 35, 50])
        >>> fit = fit_curves("power", sizes, [0.85 - 0.6 * sizes**-0.6], np.full(7, 0.01))
        >>> round(float(fit.predict([200])[0, 0]), 2)
        0.83
        """
        sizes = np.atleast_1d(np.asarray(size, dtype=float))
        inner = self.ceiling[:, None] - self.drop[:, None] * _falling(self.family, sizes, self.shape)
        return ndtr(inner) if self.family == "probit-power" else inner

    def size_for(self, target: float) -> np.ndarray:
        """(curves,) number of labels at which each curve reaches the target; infinite where it never does."""
        aim = float(ndtri(target)) if self.family == "probit-power" else target
        gap = self.ceiling - aim
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            level = gap / self.drop
            if self.family == "mmf":
                found = self.shape[:, 0] * (1 / level - 1) ** (1 / self.shape[:, 1])
            else:
                found = level ** (-1 / self.shape[:, 0])
        # Without a rise the target is met wherever the curve was seen: of the last value that is the last size.
        found = np.where(self.drop > 0, found, self.shape[:, 0] if self.family == "last-value" else 1.0)
        found = np.where((self.family == "mmf") & (level >= 1) & (self.drop > 0), 1.0, found)
        return np.where(gap > 0, np.maximum(found, 1.0), np.inf)


def fit_curves(family: str, size: ArrayLike, score: ArrayLike, error: ArrayLike) -> CurveFit:
    """Fit one family to one or many curves with the same sizes, by weighted least squares.

    Args:
        family: "power" (AUC = a - b n^-c), "probit-power" (the same in probit AUC), "mmf" (Morgan-Mercer-Flodin)
            or "last-value" (no growth beyond the last point).
        size: (sizes,) numbers of labels, growing.
        score: (curves, sizes) AUCs.
        error: (sizes,) standard error of each point; weights are 1/error².

    The ceiling is kept within 0.5 and 1 and the drop at or above 0; the exponents are searched on a fixed grid, so
    that the best fit cannot be missed by a bad start, with a weak preference for 1/2. Sources: Figueroa et al., BMC
    Med Inform Decis Mak 2012;12:8 (weighted power law); Mohr et al., ECML PKDD 2022 (families compared).
    """
    choice(family, FAMILIES, "family")
    sizes, errors = finite_numbers(size, "size"), finite_numbers(error, "error")
    values = np.atleast_2d(np.asarray(score, dtype=float))
    if values.shape[1] != len(sizes) or len(errors) != len(sizes):
        raise InputError(
            f"{len(sizes)} sizes, {values.shape[1]} scores, {len(errors)} errors", remedy="give one of each per size"
        )
    if (np.diff(sizes) <= 0).any() or sizes[0] <= 0 or (errors <= 0).any():
        raise InputError("sizes must grow from above 0 and errors be above 0", remedy="average repeated sizes first")
    if family == "last-value":
        last = values[:, -1]
        loss = (((values - last[:, None]) / errors) ** 2).sum(axis=1)
        return CurveFit(family, last.copy(), np.zeros(len(last)), np.full((len(last), 2), sizes[-1]), loss)
    weights = np.broadcast_to(errors**-2.0, values.shape)
    limits = (0.5, 1.0)
    if family == "probit-power":
        inner = ndtri(np.clip(values, _CLIP, 1 - _CLIP))
        # Delta method: an error in AUC is an error in probit divided by the normal density there.
        density = np.exp(-(np.clip(inner, -2.5, 2.5) ** 2) / 2) / np.sqrt(2 * np.pi)
        weights, values, limits = weights * density**2, inner, (0.0, float(ndtri(1 - _CLIP)))
    return _search(family, sizes, values, weights, limits)


def _shapes(family: str, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(grid, 2) shape parameters, and the penalty of each."""
    if family == "mmf":
        half = np.geomspace(sizes[0] * _HALF_SIZES[0], sizes[-1] * _HALF_SIZES[-1], len(_HALF_SIZES))
        grid = np.array([(h, d) for h in half for d in _STEEPNESS])
        return grid, (np.log(grid[:, 1]) / _PRIOR_SPREAD) ** 2
    grid = np.stack([_EXPONENTS, np.ones_like(_EXPONENTS)], axis=1)
    return grid, (np.log(_EXPONENTS / _PRIOR_EXPONENT) / _PRIOR_SPREAD) ** 2


def _falling(family: str, sizes: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """(shapes, sizes) of what falls from high to 0 as labels grow."""
    if family == "mmf":
        return 1 / (1 + (sizes[None, :] / shape[:, :1]) ** shape[:, 1:])
    return sizes[None, :] ** -shape[:, :1]


def _search(
    family: str, sizes: np.ndarray, values: np.ndarray, weights: np.ndarray, limits: tuple[float, float]
) -> CurveFit:
    """Solve for ceiling and drop exactly at every shape of the grid, and keep each curve's best."""
    grid, penalty = _shapes(family, sizes)
    x = _falling(family, sizes, grid)
    sums = LineSums.of(x, values, weights)
    ceiling, drop, loss = sums.solve(*limits)
    best = np.argmin(loss + penalty, axis=1)
    rows = np.arange(len(values))
    return CurveFit(family, ceiling[rows, best], drop[rows, best], grid[best], loss[rows, best])


@dataclass(frozen=True)
class LineSums:
    """Weighted sums of a line's least squares: of 1, x, x², y, xy and y², each (curves, shapes) or (curves, 1)."""

    one: np.ndarray
    x: np.ndarray
    xx: np.ndarray
    y: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, values: np.ndarray, weights: np.ndarray) -> LineSums:
        """The sums of (curves, points) values with weights along every (shapes, points) x."""
        weighted = weights * values
        return cls(
            weights.sum(axis=1)[:, None],
            weights @ x.T,
            weights @ (x * x).T,
            weighted.sum(axis=1)[:, None],
            weighted @ x.T,
            (weighted * values).sum(axis=1)[:, None],
        )

    def loss(self, ceiling: np.ndarray, drop: np.ndarray) -> np.ndarray:
        """Weighted squares left by ceiling - drop * x."""
        return (
            self.yy
            + ceiling * (ceiling * self.one - 2 * self.y)
            + drop * (drop * self.xx + 2 * self.xy - 2 * ceiling * self.x)
        )

    def solve(self, low: float, high: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best ceiling within the limits and drop >= 0; the optimum lies inside or on one of three edges."""
        spread = self.one * self.xx - self.x**2
        with np.errstate(divide="ignore", invalid="ignore"):
            free_drop = (self.x * self.y - self.one * self.xy) / spread
        free = (self.y + free_drop * self.x) / self.one
        inside = (free >= low) & (free <= high) & (free_drop >= 0) & np.isfinite(free_drop)
        flat = np.broadcast_to(np.clip(self.y / self.one, low, high), self.x.shape)
        ceiling, drop = flat.copy(), np.zeros(self.x.shape)
        loss = self.loss(ceiling, drop)
        for edge in (low, high):
            edge_drop = np.maximum((edge * self.x - self.xy) / self.xx, 0.0)
            edge_loss = self.loss(np.full_like(loss, edge), edge_drop)
            better = edge_loss < loss
            ceiling, drop = np.where(better, edge, ceiling), np.where(better, edge_drop, drop)
            loss = np.where(better, edge_loss, loss)
        ceiling, drop = np.where(inside, free, ceiling), np.where(inside, free_drop, drop)
        loss = np.where(inside, self.loss(np.where(inside, free, 0.0), np.where(inside, free_drop, 0.0)), loss)
        return ceiling, drop, np.maximum(loss, 0.0)


def model_weights(
    size: ArrayLike, score: ArrayLike, error: ArrayLike, *, families: Sequence[str] = FAMILIES, left_out: int = 2
) -> np.ndarray:
    """(curves, families) how much each family is believed: by how well it foresees the last points from the earlier.

    Each family is fitted without its last 1 .. `left_out` points and predicts them; the weight falls with the squared
    error in units of the points' variance. With fewer than three points left, all families weigh alike.
    """
    sizes, values = np.asarray(size, dtype=float), np.atleast_2d(np.asarray(score, dtype=float))
    errors = np.asarray(error, dtype=float)
    misses = np.zeros((len(values), len(families)))
    for place, family in enumerate(families):
        for away in range(1, left_out + 1):
            kept = len(sizes) - away
            if kept < 3:
                continue
            fit = fit_curves(family, sizes[:kept], values[:, :kept], errors[:kept])
            missed = (fit.predict(sizes[kept:]) - values[:, kept:]) / errors[kept:]
            misses[:, place] += (missed**2).mean(axis=1)
    belief = np.exp(-(misses - misses.min(axis=1, keepdims=True)) / 2)
    return belief / belief.sum(axis=1, keepdims=True)
