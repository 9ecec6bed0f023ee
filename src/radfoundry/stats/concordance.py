"""Agreement on a scale: Kendall's W for rankings of many readers, Lin's concordance for two measurements."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, fdtri

from radfoundry.records import Estimate
from radfoundry.stats.influence import from_influence
from radfoundry.stats.inputs import interval_level
from radfoundry.stats.ratings import complete_table, joined, paired_columns, two_way_squares


def kendall_w(ratings: ArrayLike, *, level: float = 0.95) -> Estimate:
    """How alike readers order the same cases: 1 is one order for all, 0 is none.

    Args:
        ratings: (cases, readers), ranked within each reader with ties shared and corrected for; cases with a
            missing rating are left out and counted in the note.
        level: confidence level.

    The p-value is Friedman's test of "no common order". The interval reads W as the reliability of ranks: with
    F = (m-1) W / (1-W) for m readers, the limits of F carry over. Undefined (NaN) with fewer than three cases or
    when every reader gives only ties.

    Source: Kendall & Babington Smith 1939; ties: Siegel & Castellan 1988.

    >>> kendall_w([[1, 1, 2], [2, 3, 1], [3, 2, 3], [4, 4, 4]]).text()
    '0.78 (0.35-0.98)'
    """
    from scipy.stats import rankdata

    table, note = complete_table(ratings)
    cases, readers = table.shape
    interval_level(level)
    method = f"Kendall's W of {readers} readers, F interval"
    if cases < 3 or (np.ptp(table, axis=0) == 0).all():
        reason = "fewer than three cases" if cases < 3 else "every reader ties all cases"
        return Estimate.undefined(joined(reason, note), n=cases, method=method, level=level)
    ranks = np.stack([rankdata(column) for column in table.T], axis=1)
    sums = ranks.sum(axis=1)
    ties = sum(
        float((size**3 - size).sum()) for size in (np.unique(column, return_counts=True)[1] for column in ranks.T)
    )
    spread = 12 * float(((sums - sums.mean()) ** 2).sum())
    value = min(1.0, spread / (readers**2 * (cases**3 - cases) - readers * ties))
    p_value = float(chdtrc(cases - 1, readers * (cases - 1) * value))
    if math.isclose(value, 1.0):
        return Estimate(
            1.0, level=level, method=method, n=cases, note=joined("one order for all", note), p_value=p_value
        )
    between, _, _, rest = two_way_squares(ranks)
    degrees = cases - 1, (cases - 1) * (readers - 1)
    tail = (1 - level) / 2
    ratios = (
        between / rest / fdtri(*degrees, 1 - tail),
        between / rest * fdtri(*degrees[::-1], 1 - tail),
    )
    low, high = (float(max(0.0, ratio / (ratio + readers - 1))) for ratio in ratios)
    return Estimate(value, low, high, level, method, cases, note, p_value)


def lin_concordance(
    first: ArrayLike, second: ArrayLike, *, patient: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """How close pairs of measurements lie to the line of identity: correlation times a penalty for bias.

    Args:
        first, second: (n,) paired measurements in the same unit.
        patient: (n,) names; pairs of one patient are not treated as independent.
        level: confidence level.

    Interval on the Fisher scale from the influence of each pair, which needs no normal distribution. Undefined
    (NaN) with fewer than five pairs or when both sides are one constant.

    Source: Lin 1989, Biometrics 45:255; influence: the statistic is a smooth function of five means.

    >>> print(lin_concordance([1.0, 2.1, 3.2, 3.9, 5.3, 6.0], [1.2, 2.0, 3.0, 4.3, 5.0, 6.2]))
    0.99 (0.95-1.00)
    """
    one, two = paired_columns(first, second)
    n, method = len(one), "Lin's concordance correlation, Fisher"
    interval_level(level)
    apart = float(one.mean() - two.mean())
    whole = float(one.var() + two.var() + apart**2)
    if n < 5 or whole == 0:
        reason = "fewer than five pairs" if n < 5 else "both sides are one constant"
        return Estimate.undefined(reason, n=n, method=method, level=level)
    a, b = one - one.mean(), two - two.mean()
    value = float(2 * (a * b).mean() / whole)
    # Derivatives of 2 cov / (var + var + bias²): each pair moves the covariance and the denominator.
    influence = (2 * a * b - value * (a**2 + b**2 + 2 * apart * (a - b) + apart**2)) / whole / n
    influence -= influence.mean()
    return from_influence(value, influence, patient=patient, level=level, scale="fisher", method=method)
