"""Follow-up times and events, checked once, and the counts at every time that all survival statistics start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import InputError
from radfoundry.stats.inputs import finite_numbers, true_or_false


@dataclass(frozen=True)
class RiskTable:
    """At each distinct time: how many were still followed, had the event, and were lost to follow-up there."""

    time: np.ndarray
    at_risk: np.ndarray
    events: np.ndarray
    censored: np.ndarray


def follow_up(time: ArrayLike, event: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) of at least 0 and events (n,) as booleans (True: happened; False: censored)."""
    times, events = finite_numbers(time, "time"), true_or_false(event, "event")
    if len(times) != len(events):
        raise InputError(f"{len(times)} times and {len(events)} events", remedy="give one of each a patient")
    if len(times) == 0:
        raise InputError("no patients", remedy="give at least one time")
    if (times < 0).any():
        raise InputError(f"{int((times < 0).sum())} times are negative", remedy="count from the start of follow-up")
    return times, events


def censor_at(time: ArrayLike, event: ArrayLike, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Follow-up as if the study had ended at `limit`: whoever was there still is censored at that time.

    >>> [part.tolist() for part in censor_at([3.0, 8.0], [1, 1], 5.0)]
    [[3.0, 5.0], [True, False]]
    """
    times, events = follow_up(time, event)
    if not limit > 0:
        raise InputError(f"limit is {limit}", remedy="give a time above 0")
    return np.minimum(times, limit), events & (times < limit)


def risk_table(time: np.ndarray, event: np.ndarray, weight: np.ndarray | None = None) -> RiskTable:
    """Counts (or sums of weights) at every distinct time; those censored at a time are still at risk for it."""
    weights = np.ones(len(time)) if weight is None else weight
    times, place = np.unique(time, return_inverse=True)
    events = np.bincount(place, weights * event, minlength=len(times))
    censored = np.bincount(place, weights * ~event, minlength=len(times))
    leaving = events + censored
    at_risk = leaving[::-1].cumsum()[::-1]
    return RiskTable(times, at_risk, events, censored)


def still_followed(time: np.ndarray, event: np.ndarray, weights: np.ndarray | None = None) -> CensoringCurve:
    """The Kaplan-Meier curve of not yet being censored, for one or many weightings (draws, n) of the patients."""
    table = np.ones((1, len(time))) if weights is None else weights
    order = np.argsort(time, kind="stable")
    times, start = np.unique(time[order], return_index=True)
    ordered = table[:, order]
    leaving = np.add.reduceat(ordered, start, axis=1)
    events = np.add.reduceat(ordered * event[order], start, axis=1)
    at_risk = leaving[:, ::-1].cumsum(axis=1)[:, ::-1]
    # Events at a time leave before those censored at it, so they are not at risk of censoring.
    exposed = at_risk - events
    kept = 1 - np.divide(leaving - events, exposed, out=np.zeros_like(exposed), where=exposed > 0)
    return CensoringCurve(times, np.cumprod(kept, axis=1))


@dataclass(frozen=True)
class CensoringCurve:
    """The share not yet censored: (draws, times) at the distinct times."""

    time: np.ndarray
    share: np.ndarray

    def before(self, moments: np.ndarray) -> np.ndarray:
        """(draws, moments) the share just before each moment, the weight denominator of an event there."""
        return self._at(np.searchsorted(self.time, moments, side="left"))

    def at(self, moments: np.ndarray) -> np.ndarray:
        """(draws, moments) the share at each moment, those censored at it already gone."""
        return self._at(np.searchsorted(self.time, moments, side="right"))

    def _at(self, place: np.ndarray) -> np.ndarray:
        padded = np.concatenate([np.ones((len(self.share), 1)), self.share], axis=1)
        return padded[:, place]
