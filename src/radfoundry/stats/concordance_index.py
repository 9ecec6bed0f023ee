"""The C-index: how often the patient with the higher predicted risk has the event first (Harrell, Uno)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from radfoundry.records import Estimate, InputError
from radfoundry.stats.follow_up import follow_up, still_followed
from radfoundry.stats.influence import clustered_error, from_influence, limits
from radfoundry.stats.inputs import choice, finite_numbers

WEIGHTINGS = ("harrell", "uno")
# Events times patients compared at once; 4 million comparisons are a few MB.
BLOCK = 4_000_000


@dataclass(frozen=True)
class _Pairs:
    """Concordance with, for each patient, how much it would move if that patient gained weight."""

    value: float
    influence: np.ndarray


def concordance_index(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    *,
    patient: ArrayLike | None = None,
    weighting: str = "harrell",
    level: float = 0.95,
) -> Estimate:
    """The share of comparable pairs in which the patient with the higher risk has the event first; 0.5 is chance.

    Args:
        time: (n,) follow-up.
        event: (n,) 1 when the event happened, 0 when censored.
        risk: (n,) predicted risk, higher means earlier; equal risks count one half.
        patient: (n,) names; rows of one patient are not treated as independent.
        weighting: "harrell" (every comparable pair counts once; the value depends on how long patients were
            followed) or "uno" (pairs weighted by the inverse squared share not yet censored, which removes that;
            its late weights are large, so end follow-up with `follow_up.censor_at` while many are still followed).
        level: confidence level.

    A pair is comparable when the earlier of the two times is an event; two events at one time are not compared.
    Interval on the logit scale from the infinitesimal jackknife (for "uno" with the weights taken as known).
    Undefined (NaN) when no pair is comparable.

    Source: Harrell et al. 1982; Uno et al. 2011, Stat Med 30:1105; error: Therneau & Watson 2015 (Mayo TR 85).

    >>> print(concordance_index([2, 4, 5, 7, 9, 11], [1, 1, 0, 1, 1, 0], [0.9, 0.5, 0.7, 0.6, 0.2, 0.3]))
    0.75 (0.30-0.95)
    """
    found = _concordance(time, event, risk, weighting)
    method = f"{weighting.capitalize()}'s C, infinitesimal jackknife"
    if isinstance(found, str):
        return Estimate.undefined(found, n=len(np.atleast_1d(np.asarray(time))), method=method, level=level)
    return from_influence(found.value, found.influence, patient=patient, level=level, scale="logit", method=method)


def concordance_difference(
    time: ArrayLike,
    event: ArrayLike,
    risks: tuple[ArrayLike, ArrayLike],
    *,
    patient: ArrayLike | None = None,
    weighting: str = "harrell",
    level: float = 0.95,
) -> Estimate:
    """The C-index of the first risk minus that of the second on the same patients, with a paired interval and p-value.

    Arguments as in `concordance_index`; `risks` are two columns (n,).
    """
    first, second = (_concordance(time, event, risk, weighting) for risk in risks)
    method = f"difference in {weighting.capitalize()}'s C, paired"
    n = len(np.atleast_1d(np.asarray(time)))
    if isinstance(first, str) or isinstance(second, str):
        reason = first if isinstance(first, str) else str(second)
        return Estimate.undefined(reason, n=n, method=method, level=level)
    value = first.value - second.value
    error, _ = clustered_error(first.influence - second.influence, patient)
    low, high = limits(value, error, level=level)
    if not error > 0:
        return Estimate(value, level=level, method=method, n=n, note="the two risks order every pair alike")
    p_value = 2 * float(ndtr(-abs(value) / error))
    return Estimate(value, low, high, level, method, n, "p for no difference", p_value)


def _concordance(time: ArrayLike, event: ArrayLike, risk: ArrayLike, weighting: str) -> _Pairs | str:
    """The concordance, or the reason why there is none."""
    times, events = follow_up(time, event)
    risks = finite_numbers(risk, "risk")
    if len(risks) != len(times):
        raise InputError(f"{len(times)} times for {len(risks)} risks", remedy="give one risk a patient")
    weight = np.ones(len(times))
    if choice(weighting, WEIGHTINGS, "weighting") == "uno":
        followed = still_followed(times, events).before(times)[0]
        weight = np.divide(1.0, followed**2, out=np.zeros(len(times)), where=followed > 0)
    good, pairs = np.zeros(len(times)), np.zeros(len(times))
    for rows, comparable, better in _blocks(times, events, risks):
        comparable *= weight[rows, None]
        better *= comparable
        pairs += comparable.sum(axis=0)
        good += better.sum(axis=0)
        pairs[rows] += comparable.sum(axis=1)
        good[rows] += better.sum(axis=1)
    # Every pair was counted for both of its members.
    total = pairs.sum() / 2
    if total == 0:
        return "no pair of patients can be compared"
    value = float(good.sum() / 2 / total)
    return _Pairs(value, (good - value * pairs) / total)


def _blocks(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Patients with the event against everyone, in blocks: where comparable, and 1, 0.5 or 0 for the risks."""
    earlier = np.nonzero(event)[0]
    step = max(1, BLOCK // len(time))
    for start in range(0, len(earlier), step):
        rows = earlier[start : start + step]
        own, theirs = time[rows, None], time[None, :]
        comparable = ((theirs > own) | ((theirs == own) & ~event[None, :])).astype(float)
        better = (risk[rows, None] > risk[None, :]) + 0.5 * (risk[rows, None] == risk[None, :])
        yield rows, comparable, better
