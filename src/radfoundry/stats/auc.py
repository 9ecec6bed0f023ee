"""Area under the ROC curve with DeLong's variance: exact with ties, valid when patients repeat, paired and unpaired."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, ndtri, stdtr, stdtrit

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.bootstrap import bootstrap
from radfoundry.stats.inputs import (
    as_predictions,
    binary_columns,
    choice,
    clusters,
    interval_level,
    one_class_note,
    same_cases,
)
from radfoundry.stats.roc import RocCurve, roc_curve
from radfoundry.stats.weighted import weighted_auroc

__all__ = [
    "Placements",
    "RocCurve",
    "auroc",
    "auroc_difference",
    "cluster_covariance",
    "placements",
    "roc_curve",
    "score_limits",
]

METHODS = ("delong", "delong-logit", "score", "bootstrap")


@dataclass(frozen=True)
class Placements:
    """The area and what each case adds to it: for a positive the share of negatives it beats, and the reverse.

    `value` is the area; `influence` is (n,), each row's centred contribution divided by its class size.
    """

    value: float
    influence: np.ndarray
    truth: np.ndarray


def auroc(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    level: float = 0.95,
    method: str = "delong-logit",
) -> Estimate:
    """How often a case with the finding scores higher than one without (ties count half), with its interval.

    When patients have several rows the variance is the clustered one, so lesions or slices of one patient are not
    counted as independent. Perfect separation has no DeLong variance; it gets the score interval and says so.

    Args:
        data: predictions, or (n,) targets 0/1.
        score: (n,) scores, larger meaning more likely positive.
        patient: (n,) patient names where rows of one patient repeat.
        level: confidence level.
        method: "delong" (symmetric, as R's pROC prints it), "delong-logit" (the same variance on the logit scale:
            stays within 0 and 1 and covers better in small samples), "score" (Newcombe) or "bootstrap"
            (2,000 draws of patients, BCa).

    Sources: DeLong et al., Biometrics 1988;44:837; Obuchowski, Biometrics 1997;53:567 (clusters);
    Newcombe, Stat Med 2006;25:559, method 5 (score).

    >>> print(auroc([0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.35, 0.3, 0.8, 0.9]))
    0.78 (0.17-0.98)
    """
    found = as_predictions(data, score, patient=patient)
    interval_level(level)
    choice(method, METHODS, "method")
    truth, values = binary_columns(found)
    note = one_class_note(truth)
    if note:
        return Estimate.undefined(note, n=len(found), method=_title(method, found), level=level)
    if method == "bootstrap":
        return bootstrap(weighted_auroc, found, level=level)
    parts = placements(truth, values)
    group, count = clusters(found.patient)
    variance = cluster_covariance([parts], group, count)[0, 0]
    low, high, how, remark = _limits(parts, variance, (group, count), method=method, level=level)
    title = _title(how, found)
    return Estimate(parts.value, low, high, level=level, method=title, n=len(found), note=remark)


def auroc_difference(
    first: Predictions, second: Predictions, *, level: float = 0.95, paired: bool = True, method: str = "delong"
) -> Estimate:
    """First area minus second, with the interval and the p-value for "no difference".

    Paired (the default) means both predictors read the same cases, and their correlation is used; unpaired means
    two independent groups of cases. Patients with several rows are handled as clusters in both.

    Source: DeLong et al., Biometrics 1988;44:837; Obuchowski, Biometrics 1997;53:567.

    >>> truth = [0, 0, 0, 0, 1, 1, 1, 1]
    >>> a = Predictions.of(truth, [1, 2, 3, 6, 4, 5, 7, 8])
    >>> b = Predictions.of(truth, [1, 5, 3, 6, 2, 4, 7, 8])
    >>> print(auroc_difference(a, b))
    0.19 (-0.14 to 0.52)
    """
    interval_level(level)
    choice(method, ("delong",), "method")
    if paired:
        same_cases(first, second)
    sides = [binary_columns(first), binary_columns(second)]
    n = len(first) if paired else len(first) + len(second)
    title = f"{'paired' if paired else 'unpaired'} {_title('delong', first)}"
    note = one_class_note(sides[0][0]) or one_class_note(sides[1][0])
    if note:
        return Estimate.undefined(note, n=n, method=title, level=level)
    parts = [placements(truth, values) for truth, values in sides]
    if paired:
        matrix = cluster_covariance(parts, *clusters(first.patient))
        variance = matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1]
    else:
        alone = [
            cluster_covariance([part], *clusters(side.patient))[0, 0]
            for part, side in zip(parts, (first, second), strict=True)
        ]
        variance = alone[0] + alone[1]
    independent = _patients(first) if paired else _patients(first) + _patients(second)
    quantile = wide_quantile(level, independent, n)
    return _difference(parts[0].value - parts[1].value, variance, quantile=quantile, level=level, title=title, n=n)


def _patients(data: Predictions) -> int:
    return len(np.unique(data.patient))


def wide_quantile(level: float, patients: int, rows: int) -> tuple[float, float]:
    """The two-sided quantile and its degrees of freedom: normal for independent rows, Student's t with clusters.

    With few clusters a normal interval is too narrow; simulated coverage rises from 93 to 95 % with 16 patients.
    """
    freedom = math.inf if patients == rows else max(patients - 1, 1)
    share = 0.5 + level / 2
    return float(ndtri(share) if math.isinf(freedom) else stdtrit(freedom, share)), freedom


def _difference(
    value: float, variance: float, *, quantile: tuple[float, float], level: float, title: str, n: int
) -> Estimate:
    """A symmetric interval and two-sided p-value around a difference."""
    if math.isnan(variance):
        return Estimate(value, method=title, n=n, level=level, note="fewer than two patients in one class")
    spread = math.sqrt(max(variance, 0.0))
    # Identical rankings differ by exactly nothing; rounding may leave a variance of 1e-17.
    if spread < 1e-9:
        if abs(value) > 1e-12:
            return Estimate(value, level=level, method=title, n=n, note="no variance between cases to judge it by")
        note = "the two rank the cases alike"
        return Estimate(value, value, value, level=level, method=title, n=n, note=note, p_value=1.0)
    reach, freedom = quantile[0] * spread, quantile[1]
    p_value = float(2 * stdtr(freedom, -abs(value) / spread))
    note = "p for no difference"
    return Estimate(value, value - reach, value + reach, level=level, method=title, n=n, note=note, p_value=p_value)


def placements(truth: np.ndarray, score: np.ndarray) -> Placements:
    """Every case's share of the area, in O(n log n); ties count half, exactly.

    Args:
        truth: (n,) booleans, both present.
        score: (n,) numbers.

    >>> placements(np.array([False, True]), np.array([0.1, 0.1])).value
    0.5
    """
    positive, negative = score[truth], score[~truth]
    beaten = _halves(np.sort(negative), positive)
    missed = 2 * len(positive) - _halves(np.sort(positive), negative)
    pairs = 2 * len(positive) * len(negative)
    value = float(beaten.sum()) / pairs
    influence = np.empty(len(score))
    influence[truth] = (beaten / (2 * len(negative)) - value) / len(positive)
    influence[~truth] = (missed / (2 * len(positive)) - value) / len(negative)
    return Placements(value, influence, truth)


def _halves(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Twice the number of ordered values below each value, counting ties once: whole numbers, so exact."""
    return np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")


def cluster_covariance(parts: list[Placements], group: np.ndarray, count: int) -> np.ndarray:
    """(k, k) covariance of k areas of the same cases, patients being the independent units (Obuchowski 1997).

    With one row per patient this is DeLong's covariance. NaN where a class has fewer than two patients.
    """
    truth = parts[0].truth
    positive = np.stack([np.bincount(group[truth], part.influence[truth], count) for part in parts])
    negative = np.stack([np.bincount(group[~truth], part.influence[~truth], count) for part in parts])
    with_positive, with_negative = len(np.unique(group[truth])), len(np.unique(group[~truth]))
    if min(with_positive, with_negative) < 2:
        return np.full((len(parts), len(parts)), math.nan)
    cross = positive @ negative.T
    return (
        positive @ positive.T * with_positive / (with_positive - 1)
        + negative @ negative.T * with_negative / (with_negative - 1)
        + (cross + cross.T) * count / (count - 1)
    )


def _limits(
    parts: Placements, variance: float, patients: tuple[np.ndarray, int], *, method: str, level: float
) -> tuple[float, float, str, str]:
    """Lower and upper limit, the method really used and a remark."""
    value, group, count = parts.value, *patients
    z = wide_quantile(level, count, len(group))[0]
    if method == "score" or value in (0.0, 1.0) or math.isnan(variance):
        # A cluster counts as one case here, which is cautious when its rows differ.
        sizes = len(np.unique(group[parts.truth])), len(np.unique(group[~parts.truth]))
        remark = "fewer than two patients in one class" if math.isnan(variance) else "perfect separation"
        remark = "" if method == "score" else f"{remark}: no DeLong variance"
        return (*score_limits(value, *sizes, level=level), "score", remark)
    spread = math.sqrt(max(variance, 0.0))
    if method == "delong-logit":
        centre, reach = float(logit(value)), z * spread / (value * (1 - value))
        return float(expit(centre - reach)), float(expit(centre + reach)), method, ""
    return max(value - z * spread, 0.0), min(value + z * spread, 1.0), method, ""


def score_limits(value: float, positives: int, negatives: int, *, level: float = 0.95) -> tuple[float, float]:
    """Newcombe's score-like limits for an area (method 5): defined even when the separation is perfect.

    >>> [round(limit, 3) for limit in score_limits(1.0, 20, 20)]
    [0.899, 1.0]
    """
    if not 0.0 <= value <= 1.0:
        raise InputError(f"an area of {value} is outside 0 and 1", remedy="give an AUROC")
    from scipy.optimize import brentq

    z, balance = float(ndtri(0.5 + level / 2)), (positives + negatives) / 2 - 1

    def distance(area: float) -> float:
        extra = balance * ((1 - area) / (2 - area) + area / (1 + area))
        variance = area * (1 - area) * (1 + extra) / (positives * negatives)
        return (area - value) ** 2 - z * z * variance

    # At an area of 0 or 1 the variance vanishes, so the root looked for lies just beside it.
    low = 0.0 if value == 0 else float(brentq(distance, 0.0, min(value, 1 - 1e-12)))
    high = 1.0 if value == 1 else float(brentq(distance, max(value, 1e-12), 1.0))
    return low, high


def _title(method: str, found: Predictions) -> str:
    """The method's name as a report prints it."""
    names = {"delong": "DeLong", "delong-logit": "DeLong, logit scale", "score": "Newcombe score", "bootstrap": ""}
    repeated = len(np.unique(found.patient)) < len(found)
    return names[method] + (", clustered by patient" if repeated else "")
