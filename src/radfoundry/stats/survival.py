"""Kaplan-Meier: the share of patients without the event over time, its quantiles and its restricted mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from radfoundry.records import Estimate, InputError
from radfoundry.stats.follow_up import follow_up, risk_table
from radfoundry.stats.inputs import choice, interval_level

INTERVALS = ("log-log", "log", "plain")


@dataclass(frozen=True, eq=False)
class KaplanMeier:
    """A survival curve with pointwise limits at every distinct time; it is constant between times.

    `error` is Greenwood's standard error of the logarithm of survival. Limits are NaN where survival is 1 (no event
    so far) or 0 (nobody left).
    """

    time: np.ndarray
    at_risk: np.ndarray
    events: np.ndarray
    censored: np.ndarray
    survival: np.ndarray
    error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    level: float
    interval: str
    n: int

    def at(self, time: float) -> Estimate:
        """Survival at one time; undefined (NaN) beyond the last time anyone was followed."""
        method = f"Kaplan-Meier at {time:g}, {self.interval}"
        if time < 0:
            raise InputError(f"time is {time}", remedy="give a time of 0 or more")
        if time > self.time[-1] and self.survival[-1] > 0:
            return Estimate.undefined(
                f"follow-up ended at {self.time[-1]:g}", n=self.n, method=method, level=self.level
            )
        place = int(np.searchsorted(self.time, time, side="right")) - 1
        value = float(self.survival[place]) if place >= 0 else 1.0
        low, high = (float(self.low[place]), float(self.high[place])) if place >= 0 else (math.nan, math.nan)
        note = "no event so far" if value == 1 else "everyone had the event" if value == 0 else ""
        return Estimate(value, low, high, self.level, method, self.n, note)

    def quantile(self, share: float = 0.5) -> Estimate:
        """The time by which this share of patients has had the event; 0.5 is the median survival time.

        Limits are where the limits of the curve cross the same height (Brookmeyer & Crowley 1982); an upper limit
        that is never reached is infinite. Undefined (NaN) when the curve stays above.
        """
        if not 0 < share < 1:
            raise InputError(f"share is {share}", remedy="give a share between 0 and 1")
        method = f"Kaplan-Meier time to {share:g}, {self.interval}"
        value, low, high = (self._crossing(curve, 1 - share) for curve in (self.survival, self.low, self.high))
        if math.isinf(value):
            reason = f"fewer than {share:.0%} had the event by the end of follow-up ({self.time[-1]:g})"
            return Estimate.undefined(reason, n=self.n, method=method, level=self.level)
        note = "the upper limit lies beyond follow-up" if math.isinf(high) else ""
        return Estimate(value, low, high, self.level, method, self.n, note)

    @property
    def median(self) -> Estimate:
        """Median survival time."""
        return self.quantile(0.5)

    def _crossing(self, curve: np.ndarray, height: float) -> float:
        """The first time at or below a height; halfway along the step when the curve lies exactly on it."""
        reached = np.nonzero(curve <= height + 1e-12)[0]
        if len(reached) == 0:
            return math.inf
        first = int(reached[0])
        if abs(float(curve[first]) - height) < 1e-12:
            below = np.nonzero(curve < height - 1e-12)[0]
            last = int(below[0]) if len(below) else len(self.time) - 1
            return float(self.time[first] + self.time[last]) / 2
        return float(self.time[first])

    def restricted_mean(self, limit: float) -> Estimate:
        """The mean time without the event up to `limit` (the area under the curve), with a normal interval.

        Undefined (NaN) when follow-up ends before `limit`.

        Source: Irwin 1949; Royston & Parmar 2013, BMC Med Res Methodol 13:152.
        """
        method = f"restricted mean to {limit:g}"
        if limit <= 0:
            raise InputError(f"limit is {limit}", remedy="give a time above 0")
        if limit > self.time[-1] and self.survival[-1] > 0:
            return Estimate.undefined(
                f"follow-up ended at {self.time[-1]:g}", n=self.n, method=method, level=self.level
            )
        inside = self.time < limit
        knots = np.concatenate([[0.0], self.time[inside], [limit]])
        pieces = np.diff(knots) * np.concatenate([[1.0], self.survival[inside]])
        left = pieces[::-1].cumsum()[::-1][1:]
        events, at_risk = self.events[inside], self.at_risk[inside]
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(at_risk > events, events / (at_risk * (at_risk - events)), 0.0)
        value, error = float(pieces.sum()), math.sqrt(float((left**2 * step).sum()))
        half = float(ndtri((1 + self.level) / 2)) * error
        note = "" if error > 0 else "no event before the limit"
        low, high = (value - half, min(value + half, limit)) if error > 0 else (math.nan, math.nan)
        return Estimate(value, low, high, self.level, method, self.n, note)


def kaplan_meier(time: ArrayLike, event: ArrayLike, *, interval: str = "log-log", level: float = 0.95) -> KaplanMeier:
    """The share of patients without the event at every time, counting those lost to follow-up while they were there.

    Args:
        time: (n,) follow-up in any unit, from 0.
        event: (n,) True or 1 when the event happened at that time, False or 0 when follow-up ended without it.
        interval: limits on the "log-log" scale (stay within 0..1, best for few patients), "log" (R's default) or
            "plain" (may leave 0..1 and is cut there).
        level: confidence level of the pointwise limits.

    Source: Kaplan & Meier 1958; error: Greenwood 1926; scales: Kalbfleisch & Prentice 1980.

    >>> curve = kaplan_meier([6, 6, 6, 7, 10, 13, 16, 22, 23], [1, 1, 1, 1, 0, 1, 1, 1, 1])
    >>> print(curve.at(12), curve.median)
    0.56 (0.20-0.80) 13.00 (6.00-22.00)
    """
    times, events = follow_up(time, event)
    choice(interval, INTERVALS, "interval")
    table = risk_table(times, events)
    survival = np.cumprod(1 - table.events / table.at_risk)
    # The product of survivors leaves rounding dust where everyone has had the event.
    survival[table.at_risk == table.events] = 0.0
    left = table.at_risk - table.events
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.where(left > 0, table.events / (table.at_risk * left), np.nan)
    error = np.sqrt(np.cumsum(greenwood))
    low, high = _limits(survival, error, interval, interval_level(level))
    return KaplanMeier(
        table.time, table.at_risk, table.events, table.censored, survival, error, low, high, level, interval, len(times)
    )


def _limits(survival: np.ndarray, error: np.ndarray, interval: str, level: float) -> tuple[np.ndarray, np.ndarray]:
    half = float(ndtri((1 + level) / 2)) * error
    inner = (survival > 0) & (survival < 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if interval == "plain":
            low, high = survival * (1 - half), survival * (1 + half)
        elif interval == "log":
            low, high = survival * np.exp(-half), survival * np.exp(half)
        else:
            reach = half / np.abs(np.log(survival))
            low, high = survival ** np.exp(reach), survival ** np.exp(-reach)
    return np.where(inner, np.clip(low, 0, 1), np.nan), np.where(inner, np.clip(high, 0, 1), np.nan)
