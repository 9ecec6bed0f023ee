"""Intervals from leaving one patient out at a time, on the scale where a measure's doubt is even on both sides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, stdtrit

from radfoundry.records import Estimate, Predictions
from radfoundry.stats.bootstrap import Sampler, Statistic, prepare
from radfoundry.stats.inputs import choice, interval_level


@dataclass(frozen=True)
class Scale:
    """Where the interval is symmetric: `forward` leads there, `back` returns.

    With `slope` the spread is measured on the measure's own scale and carried over. It is for scales that a single
    patient left out can push to infinity (an average precision of 1).
    """

    forward: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[float], float] | None = None


SCALES = {
    "plain": Scale(lambda value: value, lambda place: place),
    "logit": Scale(logit, expit, lambda value: 1 / (value * (1 - value))),
    "log": Scale(np.log, np.exp),
    "log of the rest": Scale(lambda value: np.log(1 - value), lambda place: 1 - np.exp(place)),
}


def jackknife(
    statistic: Statistic, data: Predictions, *, scale: str = "plain", level: float = 0.95, units: int | None = None
) -> Estimate:
    """A measure with an interval from leaving out one patient at a time; no draws, so the same every time.

    Args:
        statistic: a function of predictions giving one number, best a `bootstrap.Weighted` one.
        data: predictions; all rows of a patient are left out together (above 500 patients, one in 500 each turn).
        scale: "plain", "logit" (shares), "log" (errors in a unit) or "log of the rest" (shares explained, 1 - value).
        level: confidence level.
        units: how many patients the measure rests on when not all count alike, for Student's t.

    The interval is NaN when the measure has no spread or stops being defined without one of the patients.

    Source: Efron & Stein, Ann Stat 1981;9:586 (the jackknife's variance is not too small on average).

    >>> from radfoundry.stats.weighted import weighted_mean_score
    >>> print(jackknife(weighted_mean_score, Predictions.of([0, 0, 0, 0], [1.0, 2.0, 3.0, 4.0])))
    2.50 (0.45-4.55)
    """
    interval_level(level)
    chosen = SCALES[choice(scale, tuple(SCALES), "scale")]
    sampler, of_weights = Sampler.of(data.patient), prepare(statistic, data)
    value = float(of_weights(np.ones((1, len(data))))[0])
    patients = f"jackknife of {sampler.count} patients"
    title = patients if scale == "plain" else f"{patients}, {scale} scale"
    if math.isnan(value):
        reason = "the statistic is undefined for these rows"
        return Estimate.undefined(reason, n=len(data), method=title, level=level)
    frame = Estimate(value, level=level, n=len(data), method=title)
    if sampler.count < 2:
        return _without(frame, "one patient says nothing about others")
    left_out = np.concatenate([of_weights(weights) for weights in sampler.left_out()])
    if np.isnan(left_out).any():
        return _without(frame, "undefined without one of the patients")
    return _interval(frame, left_out, chosen, freedom=max((units or sampler.count) - 1, 1))


def _interval(frame: Estimate, left_out: np.ndarray, scale: Scale, *, freedom: int) -> Estimate:
    """Student's interval around the value on its scale, brought back."""
    with np.errstate(divide="ignore"):
        centre = float(scale.forward(np.array([frame.value]))[0])
        moved = left_out if scale.slope else scale.forward(left_out)
    if not math.isfinite(centre) or not np.isfinite(moved).all():
        return _without(frame, "at the end of its scale, where patients do not differ enough to judge the doubt")
    turns = len(moved)
    spread = math.sqrt(float(((moved - moved.mean()) ** 2).sum()) * (turns - 1) / turns)
    spread *= scale.slope(frame.value) if scale.slope else 1.0
    if spread == 0:
        return _without(frame, "patients do not differ at all")
    reach = float(stdtrit(freedom, 0.5 + frame.level / 2)) * spread
    ends = scale.back(np.array([centre - reach, centre + reach]))
    return Estimate(
        frame.value, float(ends.min()), float(ends.max()), level=frame.level, method=frame.method, n=frame.n
    )


def _without(frame: Estimate, reason: str) -> Estimate:
    """The value alone, with the reason why it has no interval."""
    return Estimate(frame.value, level=frame.level, method=frame.method, n=frame.n, note=reason)
