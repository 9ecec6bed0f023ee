"""Boxes or image labels: which kind of annotation, or which mix, reaches a target for the least money."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError
from radfoundry.stats.curve_points import FAMILY_ERROR, draw_variance
from radfoundry.stats.inputs import Seed, at_least, finite_numbers, generator, interval_level
from radfoundry.stats.label_budget import HORIZON, CurveForecast, capped_quantiles
from radfoundry.stats.learning_curves import LineSums

_EXPONENTS = np.geomspace(0.05, 1.5, 16)
# How many image labels one box is worth.
_EXCHANGE = np.geomspace(0.25, 64.0, 17)


@dataclass(frozen=True)
class CostComparison:
    """The cost of a target with each kind of annotation, and the chance that the second is cheaper.

    Costs are medians over redrawn experiments with their intervals, cut at ten times the labels seen.
    `second_cheaper` counts repetitions in which only the second reaches the target, too.
    """

    first: Estimate
    second: Estimate
    second_cheaper: Estimate


def compare_costs(
    first: CurveForecast,
    second: CurveForecast,
    target: float,
    *,
    cost_each: tuple[float, float],
    level: float = 0.95,
) -> CostComparison:
    """Compare two kinds of annotation (for example image labels and boxes) by the cost of reaching a target AUROC.

    Args:
        first, second: forecasts of the two learning curves.
        target: the AUROC wanted, judged on the same validation set.
        cost_each: cost of one annotated case of each kind, in any one currency or in minutes.
        level: confidence level.
    """
    interval_level(level)
    if min(cost_each) <= 0:
        raise InputError(f"costs {cost_each}", remedy="give costs above 0")
    costs, caps = [], []
    for curve, price in zip((first, second), cost_each, strict=True):
        sizes, most = np.ceil(curve.sizes_for(target)), HORIZON * float(curve.points.size[-1])
        costs.append(np.where(sizes <= most, sizes * price, np.inf))
        caps.append(most * price)
    count = min(len(cost) for cost in costs)
    ahead = np.concatenate([costs[1][:count] < costs[0][:count]])
    known = np.isfinite(costs[0][:count]) | np.isfinite(costs[1][:count])
    title = "over redrawn experiments of both kinds"
    if not known.any():
        chance = Estimate.undefined("neither kind reaches the target", n=count, method=title, level=level)
    else:
        note = f"a probability; in {int(known.sum())} of {count} repetitions at least one kind reaches the target"
        chance = Estimate(float(ahead[known].mean()), method=title, n=count, note=note)
    one, other = (cost_estimate(cost, level, cap=cap) for cost, cap in zip(costs, caps, strict=True))
    return CostComparison(one, other, chance)


def cost_estimate(values: np.ndarray, level: float, *, cap: float, name: str = "cost") -> Estimate:
    """Median and quantiles of costs that may be infinite; undefined when most are."""
    title = f"{name}, median and quantiles over redrawn experiments"
    if np.isinf(values).mean() > 0.5:
        return Estimate.undefined("target not reached", n=len(values), method=title, level=level)
    return capped_quantiles(values, cap=cap, level=level, method=title)


@dataclass(frozen=True, eq=False)
class MixedForecast:
    """AUC as a function of boxes and image labels together, fitted to redrawn scores.

    Two forms compete: "exchange" (one box is worth so many image labels) and "product" (boxes and labels each remove
    a share of the error); `form`, `shape`, `ceiling` and `drop` are one per repetition, row 0 the data as they were.
    """

    boxes: np.ndarray
    labels: np.ndarray
    form: np.ndarray
    shape: np.ndarray
    ceiling: np.ndarray
    drop: np.ndarray
    lack_of_fit: float

    def predict(self, boxes: ArrayLike, labels: ArrayLike) -> np.ndarray:
        """(repetitions, mixes) expected AUC of each mix."""
        b, m = (np.atleast_1d(np.asarray(side, dtype=float)) for side in (boxes, labels))
        x = np.where(
            self.form[:, None] == 0,
            _exchange(b, m, self.shape),
            _product(b, m, self.shape),
        )
        return self.ceiling[:, None] - self.drop[:, None] * x


@dataclass(frozen=True)
class MixPlan:
    """The cheapest mix for a target: boxes, image labels and cost with intervals, and the chance that any does."""

    boxes: Estimate
    labels: Estimate
    cost: Estimate
    reachable: Estimate
    decision: str


def _exchange(boxes: np.ndarray, labels: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """(shapes, mixes): falls with image labels plus boxes times their worth."""
    return (1.0 + labels[None, :] + shape[:, :1] * boxes[None, :]) ** -shape[:, 1:]


def _product(boxes: np.ndarray, labels: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """(shapes, mixes): falls with each kind on its own."""
    return (1.0 + boxes[None, :]) ** -shape[:, :1] * (1.0 + labels[None, :]) ** -shape[:, 1:]


def mixed_forecast(
    boxes: ArrayLike, labels: ArrayLike, scores: ArrayLike, *, draws: int = 300, rng: Seed = 0
) -> MixedForecast:
    """Fit AUC against numbers of boxes and of image labels.

    Args:
        boxes, labels: (mixes,) how many cases had boxes, and how many had image labels only.
        scores: (repeats, mixes) AUROC of each repeated training, at least two.
        draws: redrawn experiments.
        rng: seed or generator.
    """
    b, m = finite_numbers(boxes, "boxes"), finite_numbers(labels, "labels")
    table = np.atleast_2d(np.asarray(scores, dtype=float))
    if table.shape[1] != len(b) or len(b) != len(m) or len(table) < 2:
        raise InputError(
            f"{len(b)} mixes, scores {table.shape}", remedy="give (repeats, mixes) with two repeats or more"
        )
    if len(b) < 5 or np.linalg.matrix_rank(np.stack([np.ones_like(b), b, m])) < 3:
        raise InputError("boxes and labels vary too little", remedy="measure five mixes or more, varying both kinds")
    source = generator(rng)
    error = np.sqrt(draw_variance(table) / len(table) + FAMILY_ERROR**2)
    mean = table.mean(axis=0)
    chosen = source.integers(0, len(table), (at_least(draws, 20, "draws"), len(table)))
    widen = np.sqrt(len(table) / (len(table) - 1))
    redrawn = mean + widen * (table[chosen].mean(axis=1) - mean)
    redrawn += FAMILY_ERROR * source.standard_normal(redrawn.shape)
    values = np.vstack([mean, redrawn])
    exchange = np.array([(worth, power) for worth in _EXCHANGE for power in _EXPONENTS])
    product = np.array([(one, other) for one in np.r_[0, _EXPONENTS] for other in np.r_[0, _EXPONENTS]])
    fits = [_fit(x(b, m, shape), values, error, shape) for x, shape in ((_exchange, exchange), (_product, product))]
    form = np.argmin(np.stack([fit[3] for fit in fits]), axis=0)
    shape, ceiling, drop, loss = (np.where(_like(form, one), other, one) for one, other in zip(*fits, strict=True))
    return MixedForecast(b, m, form, shape, ceiling, drop, float(loss[0]) / max(len(b) - 4, 1))


def _like(form: np.ndarray, values: np.ndarray) -> np.ndarray:
    return (form == 1)[:, None] if values.ndim == 2 else form == 1


def _fit(
    x: np.ndarray, values: np.ndarray, error: np.ndarray, grid: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shape, ceiling, drop and loss of the best shape for every row of values."""
    weights = np.broadcast_to(error**-2.0, values.shape)
    sums = LineSums.of(x, values, weights)
    ceiling, drop, loss = sums.solve(0.5, 1.0)
    rows, best = np.arange(len(values)), np.argmin(loss, axis=1)
    return grid[best], ceiling[rows, best], drop[rows, best], loss[rows, best]


def cheapest_mix(
    curve: MixedForecast,
    target: float,
    *,
    cost_each: tuple[float, float],
    limits: tuple[int, int],
    level: float = 0.95,
) -> MixPlan:
    """The mix of boxes and image labels that reaches a target AUROC for the least cost.

    Args:
        curve: from `mixed_forecast`.
        target: the AUROC wanted.
        cost_each: cost of one case with boxes, and of one with an image label.
        limits: how many of each can be had at most; extrapolation is cut at ten times what was measured.
        level: confidence level.
    """
    interval_level(level)
    if min(cost_each) <= 0 or min(limits) < 0:
        raise InputError(f"costs {cost_each}, limits {limits}", remedy="give costs above 0 and limits of 0 or more")
    sides = [
        np.unique(np.r_[0, np.geomspace(1, max(min(limit, HORIZON * seen.max()), 1), 33).round()])
        for limit, seen in zip(limits, (curve.boxes, curve.labels), strict=True)
    ]
    boxes, labels = (grid.ravel() for grid in np.meshgrid(*sides, indexing="ij"))
    allowed = (boxes <= limits[0]) & (labels <= limits[1])
    price = np.where(allowed, cost_each[0] * boxes + cost_each[1] * labels, np.inf)
    cost = np.where(curve.predict(boxes, labels) >= target, price, np.inf)
    best = cost.argmin(axis=1)
    least = cost[np.arange(len(cost)), best][1:]
    reached = np.isfinite(least)
    title = f"share of {len(least)} redrawn experiments"
    reachable = Estimate(float(reached.mean()), method=title, n=len(least), note="a probability, so without interval")
    numbers = [
        cost_estimate(np.where(reached, side[best[1:]], np.inf), level, cap=float(side.max()), name=name)
        for side, name in ((boxes, "boxes"), (labels, "image labels"))
    ]
    decision = "not reachable with these annotations"
    if reachable.value >= 0.5:
        # The plan as a whole is the data's own optimum, not a mixture of medians.
        own = best[0] if np.isfinite(cost[0, best[0]]) else best[1:][reached][0]
        decision = f"about {boxes[own]:g} boxes and {labels[own]:g} image labels; measure again halfway"
    if curve.lack_of_fit > 3:
        decision += " (the curve fits these points poorly)"
    return MixPlan(
        numbers[0], numbers[1], cost_estimate(least, level, cap=float(price[allowed].max())), reachable, decision
    )
