"""Not worse, or the same: verdicts on a difference against a margin named beforehand."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtr, ndtri

from radfoundry.records import Estimate, InputError


@dataclass(frozen=True)
class Verdict:
    """What a difference and a margin allow one to say. `shown` is the claim proved; `text` says it in words."""

    shown: bool
    text: str
    margin: float
    difference: Estimate
    p_value: float


def non_inferiority(difference: Estimate, *, margin: float, larger_is_better: bool = True) -> Verdict:
    """Whether the new method is shown to be worse by less than the margin.

    The claim holds when the confidence limit on the bad side lies within the margin, at one-sided error
    (1 - level) / 2. The p-value reads the standard error off the half of the interval on that side.

    Args:
        difference: new minus old, with an interval.
        margin: the largest loss one would accept, positive, in the unit of the difference, fixed beforehand.
        larger_is_better: False for errors, where smaller is better.

    Source: ICH E9, 1998; Piaggio et al., JAMA 2012;308:2594.

    >>> non_inferiority(Estimate(-0.01, -0.04, 0.02), margin=0.05).text
    'not inferior: the loss is below 0.05'
    """
    _check(difference, margin)
    worst = difference.low if larger_is_better else -difference.high
    value = difference.value if larger_is_better else -difference.value
    z = float(ndtri(0.5 + difference.level / 2))
    p_value = _p_beyond(value + margin, (value - worst) / z)
    if worst > 0:
        text = "superior: the interval excludes no difference"
    elif worst > -margin:
        text = f"not inferior: the loss is below {margin:g}"
    else:
        text = f"not shown: a loss of {-worst:.3g} cannot be excluded (margin {margin:g})"
    return Verdict(worst > -margin, text, margin, difference, p_value)


def equivalence(difference: Estimate, *, margin: float) -> Verdict:
    """Whether two methods are shown to differ by less than the margin in either direction (two one-sided tests).

    The interval used is the one at level 1 - 2 x 0.05 when `difference` was made at 0.90; a wider interval makes
    the claim stricter. The p-value is the larger of the two one-sided ones.

    Source: Schuirmann, J Pharmacokinet Biopharm 1987;15:657.

    >>> equivalence(Estimate(0.01, -0.02, 0.04, level=0.9), margin=0.05).shown
    True
    """
    _check(difference, margin)
    z = float(ndtri(0.5 + difference.level / 2))
    below = _p_beyond(difference.value + margin, (difference.value - difference.low) / z)
    above = _p_beyond(margin - difference.value, (difference.high - difference.value) / z)
    shown = difference.low > -margin and difference.high < margin
    if shown:
        text = f"equivalent within {margin:g}"
    else:
        largest = max(abs(difference.low), abs(difference.high))
        text = f"not shown: a difference of {largest:.3g} cannot be excluded (margin {margin:g})"
    return Verdict(shown, text, margin, difference, max(below, above))


def _check(difference: Estimate, margin: float) -> None:
    if not margin > 0:
        raise InputError(f"margin is {margin}", remedy="give a positive margin fixed before looking")
    if math.isnan(difference.low) or math.isnan(difference.high):
        raise InputError("the difference has no interval", remedy=difference.note or "estimate it with an interval")


def _p_beyond(distance: float, spread: float) -> float:
    """One-sided p-value that the true distance is 0 or less."""
    if spread <= 0:
        return 0.0 if distance > 0 else 1.0
    return float(ndtr(-distance / spread))
