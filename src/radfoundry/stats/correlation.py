"""Correlation with its interval: Pearson for straight lines, Spearman and Kendall for order."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from radfoundry.records import Estimate
from radfoundry.stats.influence import from_influence, limits
from radfoundry.stats.inputs import choice, interval_level
from radfoundry.stats.ratings import paired_columns

KINDS = ("pearson", "spearman", "kendall")


def correlation(
    first: ArrayLike,
    second: ArrayLike,
    *,
    kind: str = "pearson",
    patient: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """How closely two measurements move together, -1..1; high correlation is not agreement (see `bland_altman`).

    Args:
        first, second: (n,) paired measurements.
        kind: "pearson", "spearman" (of ranks) or "kendall" (tau-b).
        patient: (n,) names; pairs of one patient are not treated as independent (Pearson and Spearman only use
            them; then no p-value is given).
        level: confidence level.

    Interval on the Fisher scale: 1/(n-3) for Pearson, (1 + r²/2)/(n-3) for Spearman (Bonett & Wright 2000), and
    0.437/(n-4) for Kendall (Fieller 1957). The p-value is for "no association" (t; exact or normal for Kendall).
    Undefined (NaN) with fewer than five pairs or when one side is constant.

    >>> print(correlation([1, 2, 3, 4, 5, 6], [1.1, 1.9, 3.2, 3.9, 5.1, 5.8]))
    1.00 (0.97-1.00)
    """
    one, two = paired_columns(first, second)
    n = len(one)
    title = f"{choice(kind, KINDS, 'kind').capitalize()} correlation"
    interval_level(level)
    reason = "fewer than five pairs" if n < 5 else "one side is constant" if min(np.ptp(one), np.ptp(two)) == 0 else ""
    if reason:
        return Estimate.undefined(reason, n=n, method=title, level=level)
    if patient is not None and kind != "kendall":
        return _clustered(one, two, kind, patient, level)
    value, p_value = _value(one, two, kind)
    error = {
        "pearson": math.sqrt(1 / (n - 3)),
        "spearman": math.sqrt((1 + value**2 / 2) / (n - 3)),
        "kendall": math.sqrt(0.437 / (n - 4)),
    }[kind]
    # `limits` wants the error of the value itself; on the Fisher scale it is divided by 1 - r².
    low, high = limits(value, error * (1 - value**2), level=level, scale="fisher")
    note = "" if math.isfinite(low) else "no interval: the association is perfect"
    return Estimate(value, low, high, level, f"{title}, Fisher", n, note, p_value)


def _value(one: np.ndarray, two: np.ndarray, kind: str) -> tuple[float, float]:
    from scipy.stats import kendalltau, pearsonr, spearmanr

    function = {"pearson": pearsonr, "spearman": spearmanr, "kendall": kendalltau}[kind]
    found = function(one, two)
    return float(np.clip(found.statistic, -1, 1)), float(found.pvalue)


def _clustered(one: np.ndarray, two: np.ndarray, kind: str, patient: ArrayLike, level: float) -> Estimate:
    from scipy.stats import rankdata

    if kind == "spearman":
        one, two = rankdata(one), rankdata(two)
    first, second = ((side - side.mean()) / side.std() for side in (one, two))
    value = float((first * second).mean())
    influence = (first * second - value * (first**2 + second**2) / 2) / len(one)
    method = f"{kind.capitalize()} correlation, clustered, Fisher"
    return from_influence(value, influence, patient=patient, level=level, scale="fisher", method=method)


def correlation_difference(first: Estimate, second: Estimate, *, level: float = 0.95) -> Estimate:
    """The difference of two Pearson correlations from independent groups, with its interval and test.

    Source: Zou 2007, Psychol Methods 12:399 (limits recovered from the two intervals); test: Fisher 1921.
    """
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    error = math.sqrt(1 / (first.n - 3) + 1 / (second.n - 3))
    z = (math.atanh(first.value) - math.atanh(second.value)) / error
    n = first.n + second.n
    return Estimate(value, low, high, level, "difference of correlations", n, "", 2 * float(ndtr(-abs(z))))
