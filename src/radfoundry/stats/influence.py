"""Standard errors from what each row contributes, summed within patients, and limits on a sensible scale."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, ndtri, stdtrit

from radfoundry.records import Estimate
from radfoundry.stats.inputs import clusters, interval_level

SCALES: dict[str, tuple[Callable[[float], float], Callable[[float], float], Callable[[float], float]]] = {
    # name: forward, derivative of forward, backward
    "plain": (float, lambda value: 1.0, float),
    "log": (math.log, lambda value: 1 / value, math.exp),
    "logit": (lambda value: float(logit(value)), lambda value: 1 / (value * (1 - value)), lambda x: float(expit(x))),
    "fisher": (math.atanh, lambda value: 1 / (1 - value**2), math.tanh),
}


def clustered_error(influence: np.ndarray, patient: ArrayLike | None = None) -> tuple[float, int]:
    """The standard error of a statistic from the influence of each row, and the number of independent patients.

    `influence` is (n,): how much the statistic moves when a row gains weight, so that they sum to about 0. Rows of
    one patient are added before squaring, which is what makes the error right for rows that are not independent.

    Source: infinitesimal jackknife, Efron 1982; clustered form: Liang & Zeger 1986.
    """
    if patient is None:
        sums, count = influence, len(influence)
    else:
        group, count = clusters(patient)
        sums = np.bincount(group, influence, minlength=count)
    if count < 2:
        return math.nan, count
    return math.sqrt(float((sums**2).sum()) * count / (count - 1)), count


def limits(
    value: float, error: float, *, level: float = 0.95, scale: str = "plain", degrees: float = math.inf
) -> tuple[float, float]:
    """Limits around a value from its standard error, symmetric on a scale and carried back from it.

    With finite `degrees` of freedom Student's t replaces the normal. NaN when the value sits on the edge of the
    scale (a correlation of 1, a share of 0), where the scale has no error.

    >>> [round(limit, 3) for limit in limits(0.5, 0.1, scale="logit")]
    [0.313, 0.687]
    """
    upper = (1 + interval_level(level)) / 2
    quantile = float(ndtri(upper) if math.isinf(degrees) else stdtrit(degrees, upper))
    forward, derivative, backward = SCALES[scale]
    try:
        centre, half = forward(value), quantile * error * derivative(value)
    except (ValueError, ZeroDivisionError):
        return math.nan, math.nan
    if not math.isfinite(centre) or not math.isfinite(half):
        return math.nan, math.nan
    return backward(centre - half), backward(centre + half)


def from_influence(
    value: float,
    influence: np.ndarray,
    *,
    patient: ArrayLike | None = None,
    level: float = 0.95,
    scale: str = "plain",
    method: str = "",
) -> Estimate:
    """An estimate whose interval comes from the influence of each row; see `clustered_error` and `limits`."""
    error, count = clustered_error(influence, patient)
    low, high = limits(value, error, level=level, scale=scale, degrees=count - 1 if count > 1 else math.inf)
    note = "" if patient is None else f"{count} patients"
    if math.isnan(low):
        note = "no interval: the value lies on the edge of its scale" if count > 1 else "no interval: one patient"
    return Estimate(value, low, high, level=level, method=method, n=len(influence), note=note)
