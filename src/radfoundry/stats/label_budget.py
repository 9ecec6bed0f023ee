"""How many labels: the chance of reaching a target, an interval for the number, and what to label next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from radfoundry.records import Estimate, InputError
from radfoundry.stats.curve_points import CurvePoints
from radfoundry.stats.inputs import Seed, at_least, generator, interval_level
from radfoundry.stats.learning_curves import FAMILIES, CurveFit, fit_curves, model_weights
from radfoundry.stats.proportions import proportion

# Beyond ten times the largest size seen an extrapolated curve is a guess.
HORIZON = 10.0


@dataclass(frozen=True, eq=False)
class CurveForecast:
    """A learning curve with all its doubt: every family fitted to every redrawn experiment.

    `belief` is (repetitions, families); row 0 of everything is the experiment as it was. `picked` is the family each
    repetition follows, drawn by its belief, so that intervals hold the doubt about the family too.
    """

    points: CurvePoints
    fits: tuple[CurveFit, ...]
    belief: np.ndarray
    picked: np.ndarray

    @property
    def families(self) -> dict[str, float]:
        """How much each family is believed."""
        return {fit.family: float(self.belief[0, place]) for place, fit in enumerate(self.fits)}

    def at(self, size: ArrayLike, *, level: float = 0.95) -> tuple[Estimate, ...]:
        """The expected score at each size: families averaged by belief, interval over redrawn experiments."""
        sizes = np.atleast_1d(np.asarray(size, dtype=float))
        cube = np.stack([fit.predict(sizes) for fit in self.fits])
        value = self.belief[0] @ cube[:, 0]
        drawn = cube[self.picked[1:], np.arange(1, len(self.picked))]
        limits = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        far = self.points.size[-1] * HORIZON
        title = "families averaged by foresight; bootstrap over draws and validation"
        return tuple(
            Estimate(
                float(v), float(min(low, v)), float(max(high, v)), level=level, method=title, n=len(self.points.size),
                note="" if n <= far else f"beyond {HORIZON:g} times the largest size seen: a guess",
            )
            for n, v, low, high in zip(sizes, value, *limits, strict=True)
        )  # fmt: skip

    def sizes_for(self, target: float) -> np.ndarray:
        """(repetitions,) labels needed for the target in each redrawn experiment; infinite where never.

        Never less than the smallest size measured: nothing is known before it.
        """
        table = np.maximum(np.stack([fit.size_for(target) for fit in self.fits]), self.points.size[0])
        return table[self.picked[1:], np.arange(1, len(self.picked))]


@dataclass(frozen=True)
class LabelPlan:
    """What to do about a target.

    `reachable`: the chance that the target is reached within ten times the labels there are. `labels`: the number
    needed, with its interval (cut at ten times the labels there are, which the note says); undefined when not
    reachable.
    `next_round`: how many labels to have after the next round, or None. `expected`: the score to expect then.
    """

    target: float
    decision: str
    reachable: Estimate
    labels: Estimate
    next_round: int | None
    expected: Estimate
    families: dict[str, float]


def forecast(
    points: CurvePoints, *, families: tuple[str, ...] = FAMILIES, draws: int = 1000, rng: Seed = 0
) -> CurveForecast:
    """Fit several families of curves to the points and to many redrawn versions of the experiment.

    Each redrawn experiment draws labelled subsets and validation cases together; bootstrapping the subsets alone
    misses the error that all points share through one validation set.

    Args:
        points: from `score_points` or `case_points`.
        families: which curves to consider.
        draws: redrawn experiments.
        rng: seed or generator.

    >>> from radfoundry.stats.curve_points import score_points
    >>> sizes = np.tile([5, 10, 20, 40], 3)
    >>> curve = forecast(score_points(sizes, 0.9 - 0.5 * sizes**-0.5 + np.repeat([0, 0.01, -0.01], 4)), draws=100)
    >>> 0.80 < curve.at(80)[0].value < 0.86
    True
    """
    source = generator(rng)
    drawn = points.redrawn(at_least(draws, 20, "draws"), source)
    scores = np.vstack([points.score, np.clip(drawn, 0.0, 1.0)])
    error = points.error
    fits = tuple(fit_curves(family, points.size, scores, error) for family in families)
    belief = model_weights(points.size, scores, error, families=families)
    pick = (source.random((len(scores), 1)) > belief.cumsum(axis=1)).sum(axis=1)
    return CurveForecast(points, fits, belief, np.minimum(pick, len(families) - 1))


def plan_labels(curve: CurveForecast, target: float, *, level: float = 0.95, margin: float = 0.0) -> LabelPlan:
    """Whether a target AUROC is within reach, roughly how many labels it takes, and how many to label next.

    Never one bare number: inverting a flat curve is ill-conditioned, so label in rounds of at most twice what there
    is, measure again and replan. Below an even chance of reaching the target within ten times the labels seen the
    answer is "not reachable".

    Args:
        curve: a forecast.
        target: the AUROC wanted.
        level: confidence level.
        margin: added to the target, to plan on the safe side of a curve that may be too hopeful.

    Sources: Figueroa et al., BMC Med Inform Decis Mak 2012;12:8; Mahmood et al., CVPR 2022 (rounds, margin).
    """
    interval_level(level)
    if not 0.5 < target + margin < 1:
        raise InputError(f"a target of {target} with margin {margin}", remedy="give an AUROC between 0.5 and 1")
    seen = float(curve.points.size[-1])
    needed = curve.sizes_for(target + margin)
    within = needed <= seen * HORIZON
    reachable = replace(
        proportion(int(within.sum()), len(needed), level=level, name="chance"),
        method=f"share of {len(needed)} redrawn experiments",
        note=f"within {HORIZON:g} times the {seen:g} labels seen; the interval is that of the redrawing alone",
    )
    labels = _labels(needed, seen, reachable.value, level)
    if reachable.value < 0.5:
        decision = "not reachable with this encoder"
        return LabelPlan(target, decision, reachable, labels, None, curve.at(seen, level=level)[0], curve.families)
    half = float(np.median(needed))
    if half <= seen:
        decision, size = "reached with the labels there are, as far as can be told", None
    else:
        size = math.ceil(min(2 * seen, half))
        decision = f"label up to {size}, measure again and replan"
    at_next = curve.at(size or seen, level=level)[0]
    return LabelPlan(target, decision, reachable, labels, size, at_next, curve.families)


def average_chance(chances: Sequence[float], *, of: str, level: float = 0.95) -> Estimate:
    """The mean of several chances of reaching a target, with Student's interval from how they differ.

    For a negative control: one dealing of the answers can look learnable by luck, the mean of several hardly.

    >>> print(average_chance([0.0, 0.1, 0.3, 0.2], of="dealings"))
    0.15 (0.00-0.36)
    """
    values = np.asarray(chances, dtype=float)
    count = at_least(len(values), 2, of)
    reach = float(stdtrit(count - 1, 0.5 + interval_level(level) / 2)) * float(values.std(ddof=1)) / math.sqrt(count)
    mean = float(values.mean())
    low, high = max(mean - reach, 0.0), min(mean + reach, 1.0)
    return Estimate(mean, low, high, level=level, method=f"mean chance over {count} {of}, t interval", n=count)


def _labels(needed: np.ndarray, seen: float, chance: float, level: float) -> Estimate:
    title = "labels for the target, median and quantiles over redrawn experiments"
    if chance < 0.5:
        note = f"target not reached within {HORIZON:g} times the {seen:g} labels seen in most redrawn experiments"
        return Estimate.undefined(note, n=len(needed), method=title, level=level)
    return capped_quantiles(np.ceil(needed), cap=seen * HORIZON, level=level, method=title)


def capped_quantiles(values: np.ndarray, *, cap: float, level: float, method: str) -> Estimate:
    """Median and interval of numbers that may be infinite; limits beyond the cap are cut there and the note says so.

    A report has to be able to print the upper limit, and "500 or more" is what is known of it.
    """
    # "lower" and "higher" keep infinities from being mixed with numbers.
    low, value = (float(np.quantile(values, share, method="lower")) for share in ((1 - level) / 2, 0.5))
    high = float(np.quantile(values, (1 + level) / 2, method="higher"))
    note = "" if high <= cap else f"upper limit {cap:g} or more, perhaps never"
    return Estimate(min(value, cap), low, min(high, cap), level=level, method=method, n=len(values), note=note)


def forecast_difference(first: CurveForecast, second: CurveForecast, *, level: float = 0.95) -> Estimate:
    """First minus second forecast at twice the smaller of their largest sizes, over paired redrawn experiments.

    Paired means that both forecasts were made with the same seed from points of the same draws and cases; otherwise
    the interval is that of independent experiments.
    """
    size = 2 * min(float(curve.points.size[-1]) for curve in (first, second))
    drawn, values = [], []
    for curve in (first, second):
        cube = np.stack([fit.predict([size])[:, 0] for fit in curve.fits], axis=1)
        # The averaged curve, not one picked family: picking apart in both would add noise that no one asked about.
        averaged = (curve.belief * cube).sum(axis=1)
        values.append(float(averaged[0]))
        drawn.append(averaged[1:])
    count = min(len(side) for side in drawn)
    limits = np.quantile(drawn[0][:count] - drawn[1][:count], [(1 - level) / 2, (1 + level) / 2])
    title = f"forecast at n = {size:g}, bootstrap over draws and validation"
    value = values[0] - values[1]
    return Estimate(
        value, float(min(limits[0], value)), float(max(limits[1], value)), level=level, method=title, n=count
    )


def foresight(
    points: CurvePoints, *, left_out: int = 2, draws: int = 300, rng: Seed = 0, level: float = 0.95
) -> Estimate:
    """How much closer a forecast without the last points comes to the last score than simply keeping the latest does.

    Above zero the curve can be extrapolated; around zero it is flat or noisy and should not be.

    Args:
        points: measured points, at least three more than `left_out`.
        left_out: how many of the last points the forecast does not see.
        draws, rng: redrawn experiments.
        level: confidence level.
    """
    kept = len(points.size) - at_least(left_out, 1, "left_out")
    at_least(kept, 3, "points left")
    scores = np.vstack([points.score, points.redrawn(at_least(draws, 20, "draws"), generator(rng))])
    sizes, error = points.size[:kept], points.error[:kept]
    belief = model_weights(sizes, scores[:, :kept], error)
    ahead = [fit_curves(name, sizes, scores[:, :kept], error).predict(points.size[-1:])[:, 0] for name in FAMILIES]
    guess = (belief * np.stack(ahead, axis=1)).sum(axis=1)
    gain = np.abs(scores[:, kept - 1] - scores[:, -1]) - np.abs(guess - scores[:, -1])
    low, high = np.quantile(gain[1:], [(1 - level) / 2, (1 + level) / 2])
    title = f"error of the last score kept minus error of the forecast, n = {points.size[-1]:g} from {sizes[-1]:g}"
    value = float(gain[0])
    return Estimate(
        value, float(min(low, value)), float(max(high, value)), level=level, method=title, n=len(points.size)
    )
