"""The log-rank test: whether groups differ in when the event happens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, ndtri

from radfoundry.records import Estimate, InputError
from radfoundry.stats.follow_up import follow_up
from radfoundry.stats.inputs import interval_level


@dataclass(frozen=True)
class LogRank:
    """The test with what it compares: events observed in each group, and expected if the groups were one.

    `hazard_ratio` (second group against first, Peto's estimate) is defined for two groups only; its p-value is
    that of the test.
    """

    groups: tuple[str, ...]
    n: tuple[int, ...]
    observed: tuple[float, ...]
    expected: tuple[float, ...]
    chi_square: float
    degrees: int
    p_value: float
    hazard_ratio: Estimate


def log_rank(
    time: ArrayLike,
    event: ArrayLike,
    group: ArrayLike,
    *,
    strata: ArrayLike | None = None,
    level: float = 0.95,
) -> LogRank:
    """Compare the timing of events between two or more groups.

    Args:
        time: (n,) follow-up.
        event: (n,) 1 when the event happened, 0 when censored.
        group: (n,) names of groups.
        strata: (n,) names; groups are compared within strata only (for example within sites).
        level: confidence level of the hazard ratio.

    Undefined (NaN p-value) when there is no event, or nothing to compare within any stratum.

    Source: Mantel 1966; Peto & Peto 1972; hazard ratio: Yusuf et al. 1985 (one-step estimate).

    >>> test = log_rank([1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 0], list("aaabbb"))
    >>> round(test.chi_square, 2), test.observed
    (5.05, (3.0, 2.0))
    """
    times, events = follow_up(time, event)
    names, place = np.unique(np.asarray(group), return_inverse=True)
    if len(place) != len(times):
        raise InputError(f"{len(times)} times for {len(place)} groups", remedy="name the group of every patient")
    if len(names) < 2:
        raise InputError("there is only one group", remedy="give at least two groups")
    layer = np.zeros(len(times), int) if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]
    observed, expected = np.zeros(len(names)), np.zeros(len(names))
    variance = np.zeros((len(names), len(names)))
    for stratum in np.unique(layer):
        rows = layer == stratum
        parts = _one_stratum(times[rows], events[rows], place[rows], len(names))
        observed, expected, variance = observed + parts[0], expected + parts[1], variance + parts[2]
    chi_square, degrees = _chi_square(observed - expected, variance)
    p_value = float(chdtrc(degrees, chi_square)) if degrees else math.nan
    return LogRank(
        tuple(str(name) for name in names),
        tuple(int(count) for count in np.bincount(place)),
        tuple(observed.tolist()),
        tuple(expected.tolist()),
        chi_square,
        degrees,
        p_value,
        _hazard_ratio(observed - expected, variance, (len(times), p_value, interval_level(level))),
    )


def _one_stratum(
    time: np.ndarray, event: np.ndarray, place: np.ndarray, groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observed and expected events of each group and the hypergeometric covariance, summed over event times."""
    moments = np.unique(time[event])
    if len(moments) == 0:
        return np.zeros(groups), np.zeros(groups), np.zeros((groups, groups))
    member = place[:, None] == np.arange(groups)
    # (times, groups): the sorted times of each group say how many are still at risk.
    at_risk = np.stack(
        [(member[:, g].sum() - np.searchsorted(np.sort(time[member[:, g]]), moments)) for g in range(groups)], axis=1
    ).astype(float)
    slot = np.searchsorted(moments, time[event])
    happened = np.zeros((len(moments), groups))
    np.add.at(happened, (slot, place[event]), 1.0)
    total, deaths = at_risk.sum(axis=1), happened.sum(axis=1)
    share = at_risk / total[:, None]
    factor = np.where(total > 1, deaths * (total - deaths) / np.maximum(total - 1, 1), 0.0)
    covariance = np.diag((factor[:, None] * share).sum(axis=0)) - (share * factor[:, None]).T @ share
    return happened.sum(axis=0), (deaths[:, None] * share).sum(axis=0), covariance


def _chi_square(difference: np.ndarray, variance: np.ndarray) -> tuple[float, int]:
    """The quadratic form over all groups but one; groups that never were at risk add nothing."""
    used = np.diag(variance) > 1e-12
    degrees = int(used.sum()) - 1
    if degrees < 1:
        return math.nan, 0
    kept = np.nonzero(used)[0][1:]
    part = difference[kept]
    return float(part @ np.linalg.solve(variance[np.ix_(kept, kept)], part)), degrees


def _hazard_ratio(difference: np.ndarray, variance: np.ndarray, about: tuple[int, float, float]) -> Estimate:
    n, p_value, level = about
    method = "hazard ratio (Peto)"
    if len(difference) != 2 or variance[1, 1] <= 0:
        reason = "more than two groups" if len(difference) != 2 else "nothing to compare"
        return Estimate.undefined(reason, n=n, method=method, level=level)
    value = float(difference[1] / variance[1, 1])
    half = float(ndtri((1 + level) / 2)) / math.sqrt(float(variance[1, 1]))
    note = "p of the log-rank test"
    return Estimate(math.exp(value), math.exp(value - half), math.exp(value + half), level, method, n, note, p_value)
