"""How many cases for an interval as narrow as wished: AUROC, sensitivity, specificity, Dice and other means."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.special import ndtri, stdtrit

from radfoundry.records import InputError
from radfoundry.stats.inputs import choice, interval_level
from radfoundry.stats.proportions import wilson_limits

LARGEST = 10_000_000


@dataclass(frozen=True)
class SampleSize:
    """How many cases (and of them how many with the finding) give an interval no wider than asked.

    `half_width` is the half-width really expected with that many; `patients` differs from `cases` only when each
    patient gives several rows.
    """

    cases: int
    positives: int
    patients: int
    half_width: float
    method: str


def cases_for_auroc(
    expected: float,
    *,
    half_width: float,
    prevalence: float = 0.5,
    level: float = 0.95,
    variance: str = "hanley-mcneil",
) -> SampleSize:
    """Cases for an AUROC whose interval reaches at most `half_width` to each side.

    Args:
        expected: the AUROC one expects, above 0.5 and below 1.
        half_width: the wished half-width of the interval.
        prevalence: share of cases with the finding in the sample.
        level: confidence level.
        variance: "hanley-mcneil" (exponential scores) or "binormal" (Obuchowski; cautious for high areas).

    Sources: Hanley & McNeil, Radiology 1982;143:29; Obuchowski, Stat Methods Med Res 1998;7:371.

    >>> size = cases_for_auroc(0.85, half_width=0.05, prevalence=0.3)
    >>> size.cases, size.positives
    (339, 102)
    """
    if not 0.5 < expected < 1:
        raise InputError(f"expected AUROC is {expected}", remedy="give a number above 0.5 and below 1")
    choice(variance, ("hanley-mcneil", "binormal"), "variance")
    formula = hanley_mcneil_variance if variance == "hanley-mcneil" else binormal_variance
    z = float(ndtri(0.5 + interval_level(level) / 2))

    def reach(cases: int) -> float:
        positives = max(round(cases * prevalence), 1)
        return z * math.sqrt(formula(expected, positives, max(cases - positives, 1)))

    _shares(half_width, prevalence)
    cases = _smallest(reach, half_width, least=4)
    title = {"hanley-mcneil": "Hanley-McNeil", "binormal": "binormal (Obuchowski)"}[variance]
    return SampleSize(cases, max(round(cases * prevalence), 1), cases, reach(cases), title)


def hanley_mcneil_variance(area: float, positives: int, negatives: int) -> float:
    """The variance of an empirical AUROC under exponential scores.

    >>> round(hanley_mcneil_variance(0.8, 40, 60) ** 0.5, 4)
    0.0474
    """
    both_beat, beat_both = area / (2 - area), 2 * area**2 / (1 + area)
    above = area * (1 - area) + (positives - 1) * (both_beat - area**2) + (negatives - 1) * (beat_both - area**2)
    return above / (positives * negatives)


def binormal_variance(area: float, positives: int, negatives: int) -> float:
    """Obuchowski's variance of an AUROC under equal-variance normal scores."""
    a = float(ndtri(area)) * 1.414
    factor = 0.0099 * math.exp(-(a**2) / 2)
    ratio = negatives / positives
    return factor * ((5 * a**2 + 8) + (a**2 + 8) / ratio) / positives


def cases_for_sensitivity(
    expected: float,
    *,
    half_width: float,
    prevalence: float = 0.5,
    rows_per_patient: float = 1.0,
    correlation: float = 0.0,
    level: float = 0.95,
) -> SampleSize:
    """Cases so that the Wilson interval of a sensitivity is at most twice `half_width` wide.

    Args:
        expected: the sensitivity one expects.
        half_width: half the wished total width (Wilson's interval is not symmetric).
        prevalence: share of rows with the finding; for a specificity give the share without it.
        rows_per_patient: mean number of positive rows (lesions) a patient gives.
        correlation: how alike rows of one patient are, 0 to 1; the count grows by 1 + (rows - 1) x correlation.
        level: confidence level.

    >>> cases_for_sensitivity(0.9, half_width=0.05, prevalence=0.5).positives
    141
    """
    if not 0 <= expected <= 1 or not 0 <= correlation <= 1 or rows_per_patient < 1:
        raise InputError("expected and correlation lie in 0 to 1, rows_per_patient is 1 or more", remedy="correct them")
    _shares(half_width, prevalence)
    effect = 1 + (rows_per_patient - 1) * correlation

    def reach(positives: int) -> float:
        low, high = wilson_limits(expected * positives / effect, positives / effect, level=level)
        return float(high - low) / 2

    positives = _smallest(reach, half_width, least=1)
    cases = math.ceil(positives / prevalence - 1e-9)
    patients = math.ceil(cases / rows_per_patient - 1e-9)
    return SampleSize(cases, positives, patients, reach(positives), f"Wilson, design effect {effect:.2f}")


def cases_for_mean(
    spread: float, *, half_width: float, rows_per_patient: float = 1.0, correlation: float = 0.0, level: float = 0.95
) -> SampleSize:
    """Cases for a mean (Dice, millimetres, years) whose interval reaches at most `half_width` to each side.

    `spread` is the standard deviation between cases, from a pilot; Dice of small lesions often has 0.15 to 0.25.

    >>> cases_for_mean(0.12, half_width=0.02).cases
    141
    """
    if not spread > 0 or not 0 <= correlation <= 1 or rows_per_patient < 1:
        raise InputError("spread must be positive, correlation in 0 to 1, rows_per_patient 1 or more", remedy="correct")
    _shares(half_width, 0.5)
    effect = 1 + (rows_per_patient - 1) * correlation

    def reach(cases: int) -> float:
        patients = max(cases / rows_per_patient, 2)
        return float(stdtrit(patients - 1, 0.5 + interval_level(level) / 2)) * spread * math.sqrt(effect / cases)

    cases = _smallest(reach, half_width, least=2)
    patients = math.ceil(cases / rows_per_patient - 1e-9)
    return SampleSize(cases, 0, patients, reach(cases), f"Student's t, design effect {effect:.2f}")


def _shares(half_width: float, prevalence: float) -> None:
    if not half_width > 0:
        raise InputError(f"half_width is {half_width}", remedy="give a positive half-width")
    if not 0 < prevalence < 1:
        raise InputError(f"prevalence is {prevalence}", remedy="give a share strictly between 0 and 1")


def _smallest(reach: Callable[[int], float], wanted: float, *, least: int) -> int:
    """The smallest number whose half-width, and that of all larger ones as far as rounding allows, is small enough."""
    low, high = least, least
    while reach(high) > wanted:
        low, high = high, high * 2
        if high > LARGEST:
            raise InputError(f"more than {LARGEST:,} cases would be needed", remedy="accept a wider interval")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reach(middle) <= wanted else (middle + 1, high)
    return low
