"""Change over time: how large it is, how sure, and whether it exceeds what measuring twice would give anyway."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import choice, finite_numbers, interval_level
from radfoundry.stats.proportions import proportion
from radfoundry.stats.ratings import paired_columns
from radfoundry.stats.repeated import Repeatability

ERRORS = ("absolute", "relative")


@dataclass(frozen=True)
class Change:
    """One patient's change between two measurements with its uncertainty.

    `absolute` is after minus before in the unit measured, `relative` after / before - 1. `call` is "increase" or
    "decrease" when the interval of the change excludes 0, else "within measurement error".
    """

    absolute: Estimate
    relative: Estimate
    call: str


def change(before: float, after: float, *, error: float, kind: str = "absolute", level: float = 0.95) -> Change:
    """Whether one patient's measurement really changed, given how much it varies when nothing changes.

    Args:
        before, after: the two measurements, for example volumes in ml.
        error: spread of repeated measurements of an unchanged patient, from `repeatability`: the within-patient
            standard deviation in the unit measured ("absolute"), or the coefficient of variation ("relative").
        kind: "absolute" (the error is the same for all sizes) or "relative" (it grows with size; both measurements
            must be positive and the change is judged on the logarithm).
        level: confidence level.

    The relative change is undefined (NaN) when the first measurement is not positive. The p-value is for "no change".
    The interval takes the error as known: it should come from at least 35 patients measured twice.

    Source: Obuchowski & Bullen 2018, Stat Methods Med Res 27:3139; Jacobson & Truax 1991 (reliable change).

    >>> found = change(10.0, 13.0, error=0.1, kind="relative")
    >>> print(found.relative, found.call)
    0.30 (-0.01 to 0.71) within measurement error
    """
    if not (math.isfinite(before) and math.isfinite(after)):
        raise InputError(f"measurements are {before} and {after}", remedy="give two finite numbers")
    if not (math.isfinite(error) and error > 0):
        raise InputError(f"error is {error}", remedy="give the within-patient spread, above 0")
    half = float(ndtri((1 + interval_level(level)) / 2)) * math.sqrt(2) * error
    if choice(kind, ERRORS, "kind") == "relative":
        return _relative_change(before, after, (error, half, level))
    value = after - before
    p_value = 2 * float(ndtr(-abs(value) / (math.sqrt(2) * error)))
    absolute = Estimate(value, value - half, value + half, level, "change", 1, "p for no change", p_value)
    if before > 0:
        # Ratio limits from the absolute ones hold the first value fixed, so they are only approximate.
        low, high = _fieller(before, after, error, level)
        relative = Estimate(after / before - 1, low, high, level, "relative change (Fieller)", 1, "", p_value)
    else:
        relative = Estimate.undefined("the first measurement is not positive", n=1, level=level)
    return Change(absolute, relative, _call(absolute))


def _relative_change(before: float, after: float, about: tuple[float, float, float]) -> Change:
    error, half, level = about
    if before <= 0 or after <= 0:
        raise InputError("a relative error needs positive measurements", remedy="use kind='absolute'")
    # A coefficient of variation c is a standard deviation of sqrt(log(1 + c²)) on the logarithm.
    half *= math.sqrt(math.log1p(error**2)) / error
    value = math.log(after / before)
    p_value = 2 * float(ndtr(-abs(value) * float(ndtri((1 + level) / 2)) / half))
    shares = [math.expm1(number) for number in (value, value - half, value + half)]
    relative = Estimate(*shares, level, "relative change (log)", 1, "p for no change", p_value)
    absolute = Estimate(*(before * share for share in shares), level, "change (log)", 1, "p for no change", p_value)
    return Change(absolute, relative, _call(relative))


def _fieller(before: float, after: float, error: float, level: float) -> tuple[float, float]:
    """Limits of after / before - 1 when both carry the same error; NaN when the first could be 0."""
    squared = float(ndtri((1 + level) / 2)) ** 2 * error**2
    denominator = before**2 - squared
    if denominator <= 0:
        return math.nan, math.nan
    root = math.sqrt((before * after) ** 2 - denominator * (after**2 - squared))
    return (before * after - root) / denominator - 1, (before * after + root) / denominator - 1


def _call(estimate: Estimate) -> str:
    if estimate.low > 0:
        return "increase"
    return "decrease" if estimate.high < 0 else "within measurement error"


@dataclass(frozen=True, eq=False)
class ReliableChange:
    """Calls over a group: each patient's change over its error, and the shares called changed.

    `index` is the change divided by the standard error of a difference; beyond 1.96 it is called. Without any true
    change 2.5 % would be called in either direction.
    """

    index: np.ndarray
    calls: tuple[str, ...]
    increased: Estimate
    decreased: Estimate
    smallest_detectable: float


def reliable_change(
    before: ArrayLike,
    after: ArrayLike,
    *,
    error: float | Repeatability,
    practice: float = 0.0,
    level: float = 0.95,
) -> ReliableChange:
    """Which patients changed by more than measurement error, and what share of the group that is.

    Args:
        before, after: (n,) paired measurements.
        error: within-patient standard deviation, or the result of `repeatability`.
        practice: change expected without any true change (a scanner upgrade, practice in a test), subtracted first.
        level: confidence level; also sets the cut, so that 1 - level of unchanged patients are called.

    Source: Jacobson & Truax 1991, J Consult Clin Psychol 59:12.

    >>> found = reliable_change([10, 12, 9, 11], [10.4, 15.5, 8.8, 7.2], error=0.8)
    >>> found.calls, found.increased.value
    (('within measurement error', 'increase', 'within measurement error', 'decrease'), 0.25)
    """
    one, two = paired_columns(before, after)
    spread = error.within_sd.value if isinstance(error, Repeatability) else float(error)
    if not (math.isfinite(spread) and spread > 0):
        raise InputError(f"error is {spread}", remedy="give the within-patient standard deviation, above 0")
    cut = float(ndtri((1 + interval_level(level)) / 2))
    index = (two - one - practice) / (math.sqrt(2) * spread)
    up, down = index > cut, index < -cut
    words = np.where(up, "increase", np.where(down, "decrease", "within measurement error"))
    return ReliableChange(
        index,
        tuple(words.tolist()),
        proportion(int(up.sum()), len(index), level=level, name="share increased"),
        proportion(int(down.sum()), len(index), level=level, name="share decreased"),
        cut * math.sqrt(2) * spread,
    )


def doubling_time(
    volumes: Sequence[float] | np.ndarray,
    times: Sequence[float] | np.ndarray,
    *,
    error: float,
    level: float = 0.95,
) -> Estimate:
    """The time in which a volume doubles, from two or more measurements, in the unit of `times`.

    A straight line through the logarithms; negative when the volume shrinks (then it is the time to halve). The
    interval turns over the limits of the growth rate; when these include no growth the doubling time has no finite
    limit on that side, and the note says so.

    Args:
        volumes: (m,) positive volumes.
        times: (m,) increasing times.
        error: coefficient of variation of repeated measurements (see `repeatability`).
        level: confidence level.

    Source: Schwartz 1961; error of the slope: least squares with a known error.

    >>> print(doubling_time([1.0, 2.0, 4.0], [0, 100, 200], error=0.1))
    100.00 (83.37-124.91)
    """
    rate = growth_rate(volumes, times, error=error, level=level)
    method = "doubling time"
    value = math.log(2) / rate.value if rate.value else math.inf
    if rate.low <= 0 <= rate.high:
        edge = math.log(2) / (rate.high if value > 0 else rate.low) if rate.low < rate.high else math.inf
        low, high = (edge, math.inf) if value > 0 else (-math.inf, edge)
        return Estimate(value, low, high, level, method, rate.n, "no growth cannot be ruled out", rate.p_value)
    low, high = sorted((math.log(2) / rate.low, math.log(2) / rate.high))
    return Estimate(value, low, high, level, method, rate.n, "", rate.p_value)


def growth_rate(
    volumes: Sequence[float] | np.ndarray,
    times: Sequence[float] | np.ndarray,
    *,
    error: float,
    level: float = 0.95,
) -> Estimate:
    """Growth of the logarithm of a volume per unit of time, with the interval that its measurement error gives."""
    sizes, moments = finite_numbers(volumes, "volumes"), finite_numbers(times, "times")
    if len(sizes) != len(moments) or len(sizes) < 2:
        raise InputError(f"{len(sizes)} volumes at {len(moments)} times", remedy="give two or more of each")
    if (sizes <= 0).any() or (np.diff(moments) <= 0).any():
        raise InputError("volumes must be positive and times must increase", remedy="sort them by time")
    if not (math.isfinite(error) and error > 0):
        raise InputError(f"error is {error}", remedy="give the coefficient of variation, above 0")
    centred = moments - moments.mean()
    square = float((centred**2).sum())
    value = float((centred * np.log(sizes)).sum() / square)
    spread = math.sqrt(math.log1p(error**2) / square)
    half = float(ndtri((1 + interval_level(level)) / 2)) * spread
    p_value = 2 * float(ndtr(-abs(value) / spread))
    return Estimate(value, value - half, value + half, level, "growth of log volume", len(sizes), "p for none", p_value)
