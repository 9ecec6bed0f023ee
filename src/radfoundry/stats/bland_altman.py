"""Bland-Altman: the bias between two measurements and the limits within which most differences lie, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri, nctdtrit, ndtri, stdtrit

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import choice, clusters, interval_level
from radfoundry.stats.ratings import paired_columns

SCALES = ("difference", "percent", "ratio")
INTERVALS = ("exact", "approximate")


@dataclass(frozen=True)
class BlandAltman:
    """Bias and limits of agreement with their intervals, and the points of the plot.

    `slope` is the change of the difference with the mean (proportional bias). On the "ratio" scale bias and limits
    are ratios first / second and `difference` holds logarithms.
    """

    bias: Estimate
    lower_limit: Estimate
    upper_limit: Estimate
    slope: Estimate
    mean: np.ndarray
    difference: np.ndarray
    scale: str


def bland_altman(
    first: ArrayLike,
    second: ArrayLike,
    *,
    subject: ArrayLike | None = None,
    scale: str = "difference",
    interval: str = "exact",
    level: float = 0.95,
) -> BlandAltman:
    """How far a second way of measuring may lie from a first, for 95 of 100 patients.

    Args:
        first, second: (n,) paired measurements; the difference is first minus second.
        subject: (n,) names; with repeated pairs of a subject the spread within and between subjects is kept apart.
        scale: "difference" in the unit measured; "percent" of the mean of the two; "ratio" first / second through
            logarithms (both must be positive), for differences that grow with size.
        interval: "exact" (noncentral t, Carkeet 2015) or "approximate" (Bland & Altman 1999) intervals of the
            limits; with repeated pairs always recovered variances (MOVER, Zou 2013).
        level: confidence level of the intervals around bias and limits; the limits always span 95 % of differences.

    Undefined (NaN) with fewer than three subjects.

    Source: Bland & Altman 1986, 1999; Carkeet 2015, Optom Vis Sci 92:e71; Zou 2013, Stat Methods Med Res 22:630.

    >>> found = bland_altman([10.1, 12.3, 9.8, 14.2, 11.0], [9.8, 12.9, 9.1, 13.7, 10.6])
    >>> print(found.bias, "|", found.upper_limit)
    0.26 (-0.36 to 0.88) | 1.25 (0.72-3.27)
    """
    one, two = paired_columns(first, second)
    choice(interval, INTERVALS, "interval")
    interval_level(level)
    mean, difference = _on_scale(one, two, choice(scale, SCALES, "scale"))
    names = np.arange(len(one)) if subject is None else np.asarray(subject)
    group, count = clusters(names)
    repeated = count < len(one)
    if count < 3:
        nothing = Estimate.undefined(f"{count} subjects; at least 3 are needed", n=count, level=level)
        return BlandAltman(nothing, nothing, nothing, nothing, mean, difference, scale)
    spread = _Spread.repeated(difference, group, count) if repeated else _Spread.single(difference)
    bias, lower, upper = _estimates(spread, interval, level)
    slope = _slope(mean, difference, group if repeated else None, level)
    if scale == "ratio":
        bias, lower, upper = (_exponential(estimate) for estimate in (bias, lower, upper))
    return BlandAltman(bias, lower, upper, slope, mean, difference, scale)


def _on_scale(one: np.ndarray, two: np.ndarray, scale: str) -> tuple[np.ndarray, np.ndarray]:
    mean = (one + two) / 2
    if scale == "difference":
        return mean, one - two
    if scale == "percent":
        if (mean == 0).any():
            raise InputError("a pair has the mean 0", remedy="use scale='difference'")
        return mean, 100 * (one - two) / mean
    if (one <= 0).any() or (two <= 0).any():
        raise InputError("ratios need positive measurements", remedy="use scale='difference'")
    return np.sqrt(one * two), np.log(one) - np.log(two)


@dataclass(frozen=True)
class _Spread:
    """Bias, total variance of a difference, and the two variances it is made of with their degrees of freedom."""

    bias: float
    of_means: float
    within_part: float
    subjects: int
    within_degrees: int

    @property
    def total(self) -> float:
        return self.of_means + self.within_part

    @classmethod
    def single(cls, difference: np.ndarray) -> _Spread:
        return cls(float(difference.mean()), float(difference.var(ddof=1)), 0.0, len(difference), 0)

    @classmethod
    def repeated(cls, difference: np.ndarray, group: np.ndarray, count: int) -> _Spread:
        """Variance of the subjects' means, plus what the means hide of the variance within subjects."""
        size = np.bincount(group, minlength=count)
        means = np.bincount(group, difference, minlength=count) / size
        degrees = len(difference) - count
        within = float(((difference - means[group]) ** 2).sum() / degrees)
        hidden = 1 - float((1 / size).mean())
        return cls(float(means.mean()), float(means.var(ddof=1)), hidden * within, count, degrees)


def _estimates(spread: _Spread, interval: str, level: float) -> tuple[Estimate, Estimate, Estimate]:
    """Bias and both limits of agreement with their intervals."""
    n, wide = spread.subjects, float(ndtri(0.975))
    deviation, error = math.sqrt(spread.total), math.sqrt(spread.of_means / n)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * error
    bias = Estimate(spread.bias, spread.bias - half, spread.bias + half, level, "mean difference, t interval", n)
    if spread.within_degrees:
        method, (inner, outer) = "repeated pairs, MOVER", _mover(spread, level)
    elif interval == "exact":
        method, (inner, outer) = "exact (noncentral t)", _exact(n, deviation, level)
    else:
        method, (inner, outer) = "approximate (t)", _approximate(n, deviation, level)
    title = f"limit of agreement, {method}"
    # Both limits mirror each other, so one pair of distances from the bias serves both.
    upper = Estimate(spread.bias + wide * deviation, spread.bias + inner, spread.bias + outer, level, title, n)
    lower = Estimate(spread.bias - wide * deviation, spread.bias - outer, spread.bias - inner, level, title, n)
    return bias, lower, upper


def _exact(n: int, deviation: float, level: float) -> tuple[float, float]:
    """Distances from the bias to the interval around the upper limit: quantiles of the noncentral t."""
    centre, root = float(ndtri(0.975)) * math.sqrt(n), math.sqrt(n)
    tail = (1 - level) / 2
    low, high = (float(nctdtrit(n - 1, centre, share)) * deviation / root for share in (tail, 1 - tail))
    return low, high


def _approximate(n: int, deviation: float, level: float) -> tuple[float, float]:
    wide = float(ndtri(0.975))
    error = deviation * math.sqrt(1 / n + wide**2 / (2 * (n - 1)))
    half = float(stdtrit(n - 1, (1 + level) / 2)) * error
    return wide * deviation - half, wide * deviation + half


def _mover(spread: _Spread, level: float) -> tuple[float, float]:
    """Limits from the variance components' own limits, recovered for their sum and then for bias plus 1.96 sd."""
    tail, n, wide = (1 - level) / 2, spread.subjects, float(ndtri(0.975))

    def factors(degrees: int) -> tuple[float, float]:
        low, high = (float(degrees / chdtri(degrees, 1 - share)) for share in (1 - tail, tail))
        return 1 - low, high - 1

    (down_means, up_means), (down_within, up_within) = factors(n - 1), factors(spread.within_degrees)
    low = spread.total - math.hypot(spread.of_means * down_means, spread.within_part * down_within)
    high = spread.total + math.hypot(spread.of_means * up_means, spread.within_part * up_within)
    deviation = math.sqrt(spread.total)
    shift = float(stdtrit(n - 1, 1 - tail)) * math.sqrt(spread.of_means / n)
    inner = wide * deviation - math.hypot(shift, wide * (deviation - math.sqrt(max(low, 0.0))))
    outer = wide * deviation + math.hypot(shift, wide * (math.sqrt(high) - deviation))
    return inner, outer


def _slope(mean: np.ndarray, difference: np.ndarray, group: np.ndarray | None, level: float) -> Estimate:
    """Slope of the difference on the mean, with an error that allows for unequal spread and repeated subjects."""
    from radfoundry.stats.influence import from_influence

    centred = mean - mean.mean()
    square = float((centred**2).sum())
    if square == 0:
        return Estimate.undefined("all means are equal", n=len(mean), method="slope", level=level)
    value = float((centred * difference).sum() / square)
    left = difference - difference.mean() - value * centred
    # Division by (1 - leverage) is the HC3 correction: small samples otherwise look too certain.
    leverage = 1 / len(mean) + centred**2 / square
    influence = centred * left / (square * (1 - leverage))
    method = "proportional bias: slope on the mean, robust"
    return from_influence(value, influence, patient=group, level=level, method=method)


def _exponential(estimate: Estimate) -> Estimate:
    value, low, high = (math.exp(number) for number in (estimate.value, estimate.low, estimate.high))
    return replace(estimate, value=value, low=low, high=high, method=f"{estimate.method}, as a ratio")
