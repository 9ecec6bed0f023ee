"""JAFROC: one figure for free-response data, its jackknife interval, and the paired test between two readers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr, stdtrit

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import choice, clusters, interval_level
from radfoundry.stats.marks import Marks

FIGURES = ("afroc", "afroc1", "wafroc", "wafroc1", "highest")


def jafroc(marks: Marks, *, figure: str = "wafroc", level: float = 0.95) -> Estimate:
    """The chance that a lesion is rated above the surest false mark of a case: 1 is perfect, unmarked ties count half.

    Args:
        marks: rated marks; see `Marks.of`.
        figure: "afroc" compares every lesion with the surest false mark of every normal case; "afroc1" takes false
            marks of all cases (for sets without normal cases); "wafroc" and "wafroc1" give every case with lesions
            the same weight, so that one patient with many lesions does not rule; "highest" uses only the surest
            mark of each case (the ROC area inferred from marks, which ignores where they lie).
        level: confidence level.

    Interval by leaving out one patient at a time, with Student's t. Undefined (NaN) without lesions or without
    cases to take false marks from. A reader who marks nothing scores 0.5.

    Source: Chakraborty & Berbaum 2004, Med Phys 31:2313; weights: Chakraborty 2017, Observer Performance
    Methods for Diagnostic Imaging (DOI 10.1201/9781351228190).

    >>> marks = Marks.of(["a", "b", "c"], [3, 2, 1], [0, 0, -1], lesions={"a": 1, "b": 2, "c": 0, "d": 0})
    >>> jafroc(marks, figure="afroc").value.__round__(3)
    0.75
    """
    method = f"{choice(figure, FIGURES, 'figure')}, jackknife"
    interval_level(level)
    n = len(marks.cases)
    reason = _reason(marks, figure)
    if reason:
        return Estimate.undefined(reason, n=n, method=method, level=level)
    value, left_out = jackknife(marks, figure=figure)
    return _from_pseudovalues(value, left_out, (n, method, level), test=False)


def jafroc_difference(
    first: Sequence[Marks], second: Sequence[Marks], *, figure: str = "wafroc", level: float = 0.95
) -> Estimate:
    """First minus second, averaged over the same readers reading the same cases, with a paired interval and p-value.

    One `Marks` a reader in each list (a list of one compares two detectors). Readers are taken as fixed: the
    conclusion holds for these readers and new patients. For new readers too, give `jafroc_table` to
    `mrmc.compare_arms`.
    """
    figures, left_out = _study([first, second], figure)
    value = float((figures[0] - figures[1]).mean())
    differences = (left_out[0] - left_out[1]).mean(axis=0)
    method = f"difference in {figure}, jackknife, {len(first)} fixed readers"
    return _from_pseudovalues(value, differences, (len(first[0].cases), method, interval_level(level)), test=True)


def jafroc_table(arms: Sequence[Sequence[Marks]], *, figure: str = "wafroc") -> tuple[np.ndarray, np.ndarray]:
    """Figures of merit (arms, readers) and their covariance over cases, for `mrmc.compare_arms`.

    The covariance is (arms x readers) square with readers varying fastest, from leaving out one patient at a time.

    Source: Hillis, Obuchowski, Schartz & Berbaum 2005, Stat Med 24:1579.
    """
    figures, left_out = _study(arms, figure)
    rows = left_out.reshape(figures.size, -1)
    centred = rows - rows.mean(axis=1, keepdims=True)
    patients = rows.shape[1]
    return figures, centred @ centred.T * (patients - 1) / patients


def jackknife(marks: Marks, *, figure: str = "wafroc") -> tuple[float, np.ndarray]:
    """The figure of all patients, and the figure without each patient in order of name (NaN where undefined)."""
    choice(figure, FIGURES, "figure")
    reason = _reason(marks, figure)
    if reason:
        raise InputError(reason, remedy=f"{figure} needs lesions and cases to take false marks from")
    false_case, false_rating, hit_case, hit_rating, weight = _sides(marks, figure)
    group, patients = clusters(marks.patient)
    # Sums over pairs; a patient leaves with all pairs that any of its cases is part of.
    of_false, of_hit = _won_against(false_rating, hit_rating, weight)
    by_false = np.bincount(group[false_case], of_false, minlength=patients)
    by_hit = np.bincount(group[hit_case], of_hit, minlength=patients)
    own = _within_patients(group[false_case], group[hit_case], (false_rating, hit_rating, weight), patients)
    total = float(of_hit.sum())
    controls = np.bincount(group[false_case], minlength=patients).astype(float)
    weights = np.bincount(group[hit_case], weight, minlength=patients)
    whole = (controls.sum() - controls) * (weights.sum() - weights)
    left = total - by_false - by_hit + own
    without = np.divide(left, whole, out=np.full(patients, np.nan), where=whole > 1e-12)
    return float(total / (controls.sum() * weights.sum())), without


def _won_against(false: np.ndarray, lesion: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every false side the weight of lesions rated above it, and for every lesion what it wins; ties count half."""
    order = np.argsort(lesion, kind="stable")
    beyond = np.concatenate([np.cumsum(weight[order][::-1])[::-1], [0.0]])
    ranked = lesion[order]
    sides = [beyond[np.searchsorted(ranked, false, side=side)] for side in ("left", "right")]
    below = np.sort(false)
    counts = [np.searchsorted(below, lesion, side=side) for side in ("left", "right")]
    return (sides[0] + sides[1]) / 2, weight * (counts[0] + counts[1]) / 2


def _within_patients(
    of_false: np.ndarray, of_hit: np.ndarray, ratings: tuple[np.ndarray, np.ndarray, np.ndarray], patients: int
) -> np.ndarray:
    """(patients,) what a patient's lesions win against the same patient's false sides."""
    false, lesion, weight = ratings
    order = np.argsort(of_hit, kind="stable")
    start = np.searchsorted(of_hit[order], np.arange(patients + 1))
    count = (start[1:] - start[:-1])[of_false]
    row = np.repeat(np.arange(len(false)), count)
    step = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    column = order[start[of_false][row] + step]
    won = (lesion[column] > false[row]) + 0.5 * (lesion[column] == false[row])
    return np.bincount(of_false[row], won * weight[column], minlength=patients)


def _sides(marks: Marks, figure: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cases and ratings of the false side and of the lesion side, and the weight of each lesion."""
    normal = np.nonzero(marks.lesions == 0)[0]
    if figure == "highest":
        diseased, highest = np.nonzero(marks.lesions)[0], marks.highest()
        return normal, highest[normal], diseased, highest[diseased], np.ones(len(diseased))
    controls = np.arange(len(marks.cases)) if figure.endswith("1") else normal
    case, rating = marks.lesion_ratings()
    weight = 1 / marks.lesions[case] if figure.startswith("w") else np.ones(len(case))
    return controls, marks.highest_false()[controls], case, rating, weight


def _reason(marks: Marks, figure: str) -> str:
    if marks.lesions.sum() == 0:
        return "no case has a lesion"
    if not figure.endswith("1") and (marks.lesions > 0).all():
        return "every case has a lesion" + ("" if figure == "highest" else f"; use figure='{figure}1'")
    return ""


def _study(arms: Sequence[Sequence[Marks]], figure: str) -> tuple[np.ndarray, np.ndarray]:
    """(arms, readers) figures and (arms, readers, patients) figures without each patient, of one crossed study."""
    readers = {len(arm) for arm in arms}
    if len(readers) != 1 or 0 in readers:
        raise InputError("arms have different numbers of readers", remedy="every reader reads every arm")
    truth = arms[0][0]
    for marks in (marks for arm in arms for marks in arm):
        alike = np.array_equal(marks.cases, truth.cases) and np.array_equal(marks.lesions, truth.lesions)
        if not alike or not np.array_equal(marks.patient, truth.patient):
            raise InputError("readers read different cases or lesions", remedy="give every reader the same truth")
    found = [[jackknife(marks, figure=figure) for marks in arm] for arm in arms]
    figures = np.array([[value for value, _ in arm] for arm in found])
    return figures, np.array([[left for _, left in arm] for arm in found])


def _from_pseudovalues(value: float, left_out: np.ndarray, about: tuple[int, str, float], *, test: bool) -> Estimate:
    n, method, level = about
    defined = left_out[~np.isnan(left_out)]
    patients = len(defined)
    if patients < 2:
        return Estimate(value, level=level, method=method, n=n, note="too few patients for an interval")
    error = float(np.sqrt((patients - 1) / patients * ((defined - defined.mean()) ** 2).sum()))
    half = float(stdtrit(patients - 1, (1 + level) / 2)) * error
    p_value = (2 * float(stdtr(patients - 1, -abs(value) / error)) if error > 0 else 1.0) if test else None
    note = "p for no difference" if test else ""
    return Estimate(value, value - half, value + half, level, method, n, note, p_value)
