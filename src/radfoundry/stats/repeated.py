"""Measuring the same patients again: paired t, repeated-measures analysis of variance, and repeatability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri, fdtr, fdtrc, ncfdtr, stdtr, stdtrit

from radfoundry.records import Estimate
from radfoundry.stats.inputs import interval_level
from radfoundry.stats.ratings import complete_table, joined, paired_columns, two_way_squares


def paired_t(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Estimate:
    """The mean difference first minus second of paired measurements, with Student's interval and p-value.

    Undefined (NaN) with fewer than two pairs; without spread there is a value and no interval.

    >>> print(paired_t([1.83, 0.50, 1.62, 2.48], [0.88, 0.65, 0.60, 2.05]))
    0.56 (-0.30 to 1.43)
    """
    one, two = paired_columns(first, second)
    difference, n = one - two, len(one)
    tail = (1 + interval_level(level)) / 2
    method = "paired t"
    if n < 2:
        return Estimate.undefined("fewer than two pairs", n=n, method=method, level=level)
    value, error = float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(n))
    if error == 0:
        return Estimate(value, level=level, method=method, n=n, note="all differences are equal")
    half = float(stdtrit(n - 1, tail)) * error
    p_value = 2 * float(stdtr(n - 1, -abs(value / error)))
    return Estimate(value, value - half, value + half, level, method, n, "p for no difference", p_value)


@dataclass(frozen=True)
class RepeatedMeasures:
    """A repeated-measures analysis of variance: the F test under three assumptions about sphericity.

    `effect` is partial eta squared (share of the spread within patients that the conditions explain) with the
    interval of a noncentral F; its p-value is the Greenhouse-Geisser one, which is the one to report.
    """

    effect: Estimate
    f_ratio: float
    degrees: tuple[float, float]
    p_uncorrected: float
    p_greenhouse_geisser: float
    p_huynh_feldt: float
    epsilon_greenhouse_geisser: float
    epsilon_huynh_feldt: float
    means: tuple[Estimate, ...]


def repeated_measures(values: ArrayLike, *, level: float = 0.95) -> RepeatedMeasures:
    """Whether the mean differs between conditions that every patient went through, such as scans over time.

    Args:
        values: (patients, conditions); patients with a missing value are left out and counted in the note.
        level: confidence level.

    Undefined effect (NaN) with fewer than three patients or without spread.

    Source: Greenhouse & Geisser 1959; Huynh & Feldt 1976; effect interval: Steiger 2004, Psychol Methods 9:164.
    """
    table, note = complete_table(values)
    n, conditions = table.shape
    interval_level(level)
    method = "repeated measures, Greenhouse-Geisser"
    means = tuple(_mean(column, level) for column in table.T)
    rest, between = two_way_squares(table)[3:1:-1] if n >= 3 else (0.0, 0.0)
    if rest <= 0:
        reason = "fewer than three patients" if n < 3 else "no spread left over"
        effect = Estimate.undefined(joined(reason, note), n=n, method=method, level=level)
        return RepeatedMeasures(effect, *_NO_TEST, means)
    ratio = between / rest
    degrees = conditions - 1, (n - 1) * (conditions - 1)
    geisser, feldt = _epsilons(table)
    p_plain, p_geisser, p_feldt = (
        float(fdtrc(degrees[0] * epsilon, degrees[1] * epsilon, ratio)) for epsilon in (1, geisser, feldt)
    )
    share = ratio * degrees[0] / (ratio * degrees[0] + degrees[1])
    low, high = _effect_limits(ratio, degrees, n, level)
    effect = Estimate(share, low, high, level, method, n, joined("p for equal means", note), p_geisser)
    return RepeatedMeasures(effect, ratio, degrees, p_plain, p_geisser, p_feldt, geisser, feldt, means)


_NO_TEST = (math.nan, (math.nan, math.nan), math.nan, math.nan, math.nan, math.nan, math.nan)


def _mean(column: np.ndarray, level: float) -> Estimate:
    return paired_t(column, np.zeros(len(column)), level=level)


def _epsilons(table: np.ndarray) -> tuple[float, float]:
    """How far the conditions' covariance is from spherical: 1 is spherical, 1/(conditions - 1) the worst."""
    n, conditions = table.shape
    covariance = np.cov(table, rowvar=False)
    centred = covariance - covariance.mean(axis=0) - covariance.mean(axis=1)[:, None] + covariance.mean()
    degrees = conditions - 1
    geisser = float(np.trace(centred) ** 2 / (degrees * (centred**2).sum()))
    feldt = (n * degrees * geisser - 2) / (degrees * (n - 1 - degrees * geisser))
    # Estimates above 1 are noise: nothing is more spherical than a sphere.
    return min(geisser, 1.0), min(feldt, 1.0) if feldt > 0 else 1.0


def _effect_limits(ratio: float, degrees: tuple[int, int], n: int, level: float) -> tuple[float, float]:
    from scipy.optimize import brentq

    def centre(share: float) -> float:
        if fdtr(*degrees, ratio) < share:
            return 0.0
        top = 10 * (ratio * degrees[0] + 10)
        return float(brentq(lambda shift: ncfdtr(*degrees, shift, ratio) - share, 0, top))

    tail = (1 - level) / 2
    low, high = (shift / (shift + degrees[1] + degrees[0] + 1) for shift in (centre(1 - tail), centre(tail)))
    return low, high


@dataclass(frozen=True)
class Repeatability:
    """What a measurement does when nothing changes: spread within patients and the change that exceeds it.

    `within_sd` is in the unit measured, `coefficient` (1.96 √2 times it) is the smallest difference between two
    measurements of one patient that 95 % of true repeats stay below; `within_cv` is the same spread as a share.
    """

    within_sd: Estimate
    coefficient: Estimate
    within_cv: Estimate
    degrees: int


def repeatability(values: ArrayLike, *, level: float = 0.95) -> Repeatability:
    """How much a measurement varies when an unchanged patient is measured again (test-retest).

    Args:
        values: (patients, repeats); NaN where a patient has fewer repeats. Patients with one value are left out.
        level: confidence level; intervals are exact (chi-squared) for normal errors.

    The coefficient of variation is the root mean of each patient's variance over squared mean, and undefined when
    a patient's mean is 0 or negative. All undefined (NaN) when no patient was measured twice.

    Source: Bland & Altman 1996, BMJ 312:1654; QIBA, Obuchowski & Bullen 2018, Stat Methods Med Res 27:3139.

    >>> print(repeatability([[10.0, 10.4], [12.1, 11.5], [9.0, 9.2], [15.3, 14.9]]).coefficient)
    0.83 (0.50-2.39)
    """
    table = np.asarray(values, float)
    table = table.reshape(len(table), -1)
    size = (~np.isnan(table)).sum(axis=1)
    table, size = table[size > 1], size[size > 1]
    degrees, n = int((size - 1).sum()), len(size)
    interval_level(level)
    if degrees < 1:
        nothing = Estimate.undefined("no patient was measured twice", n=n, level=level)
        return Repeatability(nothing, nothing, nothing, degrees)
    means = np.nanmean(table, axis=1)
    squares = np.nansum((table - means[:, None]) ** 2, axis=1)
    tail = (1 - level) / 2
    factors = [math.sqrt(degrees / float(chdtri(degrees, 1 - share))) for share in (1 - tail, tail)]

    def scaled(value: float, method: str) -> Estimate:
        return Estimate(value, value * factors[0], value * factors[1], level, f"{method}, chi-squared", n)

    spread = math.sqrt(squares.sum() / degrees)
    within = scaled(spread, "within-patient standard deviation")
    coefficient = scaled(1.959963984540054 * math.sqrt(2) * spread, "repeatability coefficient")
    if (means <= 0).any():
        variation = Estimate.undefined("a patient's mean is 0 or negative", n=n, level=level)
    else:
        share = math.sqrt(float((squares / means**2).sum()) / degrees)
        variation = scaled(share, "within-patient coefficient of variation")
    return Repeatability(within, coefficient, variation, degrees)
