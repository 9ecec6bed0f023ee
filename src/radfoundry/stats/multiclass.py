"""More than two answers: several classes of which one is true, or several findings that may all be there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.auc import auroc, placements, wide_quantile
from radfoundry.stats.bootstrap import Weighted, bootstrap_many
from radfoundry.stats.inputs import Seed, as_predictions, clusters, interval_level, one_class_note, one_column
from radfoundry.stats.weighted import Prepared, ratio


@dataclass(frozen=True)
class ClassTable:
    """Measures per class and over classes. `per_class[name][measure]` and `overall[measure]` are estimates."""

    per_class: dict[str, dict[str, Estimate]]
    overall: dict[str, Estimate]


def label_areas(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    level: float = 0.95,
) -> ClassTable:
    """AUROC of every finding (multilabel) or every class against the rest, with macro and micro averages.

    Args:
        data: predictions, or targets: (n, k) of 0/1, or (n,) class names for one-against-the-rest.
        score: (n, k) scores, one column for each finding or, in sorted order, each class.
        patient: (n,) patient names where rows of one patient repeat.
        names: k names of the columns.
        level: confidence level.

    The macro average leaves out columns without both classes and says how many; its variance adds each patient's
    contribution over all columns, so correlated findings are not counted as independent. The micro average pools
    all cells of a patient as one cluster; it mixes differences between findings with those between patients.

    >>> result = label_areas([[0, 1], [1, 0], [1, 1], [0, 0]], [[0.1, 0.8], [0.9, 0.3], [0.6, 0.7], [0.2, 0.4]])
    >>> result.overall["macro_auroc"].value
    1.0
    """
    found = as_predictions(data, score, patient=patient)
    interval_level(level)
    scores = found.score.reshape(len(found), -1)
    truth, labels = _one_hot(found.target, scores.shape[1], names)
    per_class = {
        label: {"auroc": auroc(truth[:, k], scores[:, k], patient=found.patient, level=level)}
        for k, label in enumerate(labels)
    }
    overall = {
        "macro_auroc": _macro(truth, scores, found.patient, level=level),
        "micro_auroc": auroc(
            truth.ravel(), scores.ravel(), patient=np.repeat(found.patient, scores.shape[1]), level=level
        ),
    }
    return ClassTable(per_class, overall)


def _one_hot(target: np.ndarray, columns: int, names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """(n, k) booleans and k labels, from 0/1 columns or from class names."""
    if names is not None and len(names) != columns:
        raise InputError(f"{len(names)} names for {columns} columns of scores", remedy="give one name per column")
    if target.ndim == 2 and target.shape[1] > 1:
        if target.shape[1] != columns:
            raise InputError(
                f"target has {target.shape[1]} columns, score {columns}", remedy="give one score column per finding"
            )
        if not np.isin(target, (0, 1)).all():
            raise InputError(
                "multilabel targets must be 0 or 1", remedy="map the findings to 0 (absent) and 1 (present)"
            )
        return target.astype(bool), list(names or (str(k) for k in range(columns)))
    values = one_column(target, "target")
    kinds = np.unique(values)
    # Whole-number targets name columns directly, so a class that is missing from the test does not shift the others.
    if values.dtype.kind in "iu" and kinds.min() >= 0 and kinds.max() < columns:
        kinds = np.arange(columns)
    if len(kinds) != columns:
        raise InputError(f"{len(kinds)} classes in target, {columns} score columns", remedy="number the classes from 0")
    return values[:, None] == kinds, list(names or (str(kind) for kind in kinds))


def _macro(truth: np.ndarray, scores: np.ndarray, patient: np.ndarray, *, level: float) -> Estimate:
    """The mean area over columns with both classes, with the variance of patients' summed contributions."""
    usable = [k for k in range(truth.shape[1]) if not one_class_note(truth[:, k])]
    title, n = "DeLong influence, macro, logit scale", len(truth)
    if not usable:
        return Estimate.undefined("no column has both classes", n=n, method=title, level=level)
    parts = [placements(truth[:, k], scores[:, k]) for k in usable]
    value = float(np.mean([part.value for part in parts]))
    group, count = clusters(patient)
    influence = np.mean([part.influence for part in parts], axis=0)
    summed = np.bincount(group, influence, count)
    left = truth.shape[1] - len(usable)
    note = f"{left} of {truth.shape[1]} columns have one class only" if left else ""
    if value in (0.0, 1.0) or count < 3:
        note = "; ".join(
            part for part in (note, "perfect separation" if value in (0.0, 1.0) else "too few patients") if part
        )
        return Estimate(value, level=level, method=title, n=n, note=note)
    spread = math.sqrt(count / (count - 1) * float((summed**2).sum()))
    reach = wide_quantile(level, count, n)[0] * spread / (value * (1 - value))
    low, high = expit(logit(value) - reach), expit(logit(value) + reach)
    return Estimate(value, float(low), float(high), level=level, method=title, n=n, note=note)


def hand_till_area(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    level: float = 0.95,
    rng: Seed = 0,
) -> Estimate:
    """The multiclass AUROC that does not depend on how frequent the classes are: mean over all pairs of classes.

    Source: Hand & Till, Mach Learn 2001;45:171. Interval: percentile bootstrap, stratified by class.

    >>> scores = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.3, 0.2, 0.5]]
    >>> hand_till_area([0, 1, 2, 0, 1, 2], scores).value
    1.0
    """
    found = as_predictions(data, score, patient=patient)
    statistic = Weighted("Hand-Till", _hand_till)
    return bootstrap_many({"": statistic}, found, level=level, rng=rng, method="stratified percentile")[""]


def _hand_till(data: Predictions) -> Prepared:
    from radfoundry.stats.weighted import weighted_auroc

    scores = data.score.reshape(len(data), -1)
    truth, _ = _one_hot(data.target, scores.shape[1], None)
    pairs = [(i, j) for i in range(scores.shape[1]) for j in range(scores.shape[1]) if i != j]
    prepared = []
    for i, j in pairs:
        rows = np.flatnonzero(truth[:, i] | truth[:, j])
        if not len(rows):
            continue
        pair = Predictions.of(truth[rows, i].astype(int), scores[rows, i], patient=data.patient[rows])
        prepared.append((rows, weighted_auroc.prepare(pair)))

    def mean(weights: np.ndarray) -> np.ndarray:
        return np.mean([area(weights[:, rows]) for rows, area in prepared], axis=0)

    return mean


def class_measures(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    level: float = 0.95,
    rng: Seed = 0,
) -> ClassTable:
    """What the most probable class gets right, per class and over classes, from one set of 2,000 draws of patients.

    Args:
        data: predictions, or (n,) class numbers 0 to k-1 (any sorted class names when all classes occur).
        score: (n, k) scores, of which the largest is the answer; or (n,) answers in the target's own terms.
        patient: (n,) patient names where rows of one patient repeat.
        names: k class names.
        level: confidence level.
        rng: seed or generator.

    Per class: sensitivity, positive_predictive_value, f1. Overall: accuracy (beside the share of the most frequent
    class), balanced_accuracy, macro_f1, matthews, kappa, quadratic_kappa.

    >>> round(class_measures([0, 1, 2, 2], [0, 1, 1, 2]).overall["accuracy"].value, 2)
    0.75
    """
    found = as_predictions(data, score, patient=patient)
    truth, answer, labels = _codes(found, names)
    size = len(labels)
    statistics: dict[tuple[str, str], Weighted] = {}
    cells = _cells(truth, answer, size)
    for k, label in enumerate(labels):
        for measure, formula in PER_CLASS.items():
            statistics[label, measure] = _from_table(cells, lambda table, k=k, f=formula: f(table, k))
    for measure, formula in OVERALL.items():
        statistics["", measure] = _from_table(cells, formula)
    keys = {f"{label}\n{measure}": (label, measure) for label, measure in statistics}
    drawn = bootstrap_many({key: statistics[pair] for key, pair in keys.items()}, found, level=level, rng=rng)
    per_class: dict[str, dict[str, Estimate]] = {label: {} for label in labels}
    overall: dict[str, Estimate] = {}
    for key, (label, measure) in keys.items():
        place = per_class[label] if label else overall
        place[measure] = drawn[key]
    most = np.bincount(truth, minlength=size).max() / len(truth)
    overall["quadratic_kappa"] = replace(overall["quadratic_kappa"], note="for classes in an order only")
    overall["accuracy"] = replace(overall["accuracy"], note=f"always the most frequent class scores {most:.2f}")
    return ClassTable(per_class, overall)


def quadratic_kappa(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    level: float = 0.95,
    method: str = "bca",
    rng: Seed = 0,
) -> Estimate:
    """Agreement of ordered grades with the truth beyond chance; an error of two grades weighs four times one of one.

    Targets and answers are whole-number grades. Undefined when both are constant.

    Source: Cohen, Psychol Bull 1968;70:213.

    >>> round(quadratic_kappa([0, 1, 2, 3], [0, 1, 2, 2]).value, 3)
    0.875
    """
    found = as_predictions(data, score, patient=patient)
    truth, answer = (np.asarray(column, float).reshape(-1) for column in (found.target, found.score))
    if len(truth) != len(answer) or (truth % 1).any() or (answer % 1).any():
        raise InputError("grades must be whole numbers, one per case", remedy="round the scores to grades first")
    lowest = int(min(truth.min(), answer.min()))
    size = int(max(truth.max(), answer.max())) - lowest + 1
    cells = _cells(truth.astype(int) - lowest, answer.astype(int) - lowest, size)
    statistic = _from_table(cells, _quadratic_kappa)
    return bootstrap_many({"": statistic}, found, level=level, method=method, rng=rng)[""]


def _codes(found: Predictions, names: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Class numbers of truth and answer, and the class names."""
    target = one_column(found.target, "target")
    if found.score.ndim == 2 and found.score.shape[1] > 1:
        truth, labels = _one_hot(target, found.score.shape[1], names)
        return truth.argmax(axis=1), found.score.argmax(axis=1), labels
    kinds, codes = np.unique(np.r_[target, one_column(found.score, "score")], return_inverse=True)
    if names is not None and len(names) != len(kinds):
        raise InputError(f"{len(names)} names for {len(kinds)} classes", remedy="give one name per class")
    shown = [f"{kind:g}" if isinstance(kind, float) else str(kind) for kind in kinds.tolist()]
    return codes[: len(target)], codes[len(target) :], list(names or shown)


def _cells(truth: np.ndarray, answer: np.ndarray, size: int) -> np.ndarray:
    """(n, size²): which cell of the table (truth, answer) each row falls into."""
    return (truth * size + answer)[:, None] == np.arange(size * size)


def _from_table(cells: np.ndarray, formula: Callable[[np.ndarray], np.ndarray]) -> Weighted:
    """A statistic of the (draws, truth, answer) tables."""
    member, size = cells.astype(float), math.isqrt(cells.shape[1])
    return Weighted("table", lambda _: lambda weights: formula((weights @ member).reshape(-1, size, size)))


def _kappa(table: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """1 - observed / expected disagreement under a (k, k) weight of each kind of disagreement."""
    total = table.sum(axis=(1, 2))
    expected = table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None, :]
    return 1 - ratio((table * weight).sum(axis=(1, 2)) * total, (expected * weight).sum(axis=(1, 2)))


def _quadratic_kappa(table: np.ndarray) -> np.ndarray:
    grades = np.arange(table.shape[1])
    return _kappa(table, (grades[:, None] - grades) ** 2)


def _matthews(table: np.ndarray) -> np.ndarray:
    """The multiclass generalisation (Gorodkin, Comput Biol Chem 2004;28:367)."""
    total, right = table.sum(axis=(1, 2)), np.trace(table, axis1=1, axis2=2)
    true, said = table.sum(axis=2), table.sum(axis=1)
    below = (total**2 - (said**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1))
    return ratio(right * total - (true * said).sum(axis=1), np.sqrt(np.maximum(below, 0)))


def _f1(table: np.ndarray, k: int) -> np.ndarray:
    return ratio(2 * table[:, k, k], table[:, k].sum(axis=1) + table[:, :, k].sum(axis=1))


def _mean_defined(columns: list[np.ndarray]) -> np.ndarray:
    """The mean over classes that occur; NaN when none does."""
    stacked = np.stack(columns)
    known = ~np.isnan(stacked)
    return ratio(np.where(known, stacked, 0).sum(axis=0), known.sum(axis=0).astype(float))


PER_CLASS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "sensitivity": lambda table, k: ratio(table[:, k, k], table[:, k].sum(axis=1)),
    "positive_predictive_value": lambda table, k: ratio(table[:, k, k], table[:, :, k].sum(axis=1)),
    "f1": _f1,
}
OVERALL: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": lambda table: ratio(np.trace(table, axis1=1, axis2=2), table.sum(axis=(1, 2))),
    "balanced_accuracy": lambda t: _mean_defined([ratio(t[:, k, k], t[:, k].sum(axis=1)) for k in range(t.shape[1])]),
    "macro_f1": lambda table: _mean_defined([_f1(table, k) for k in range(table.shape[1])]),
    "matthews": _matthews,
    "kappa": lambda table: _kappa(table, 1 - np.eye(table.shape[1])),
    "quadratic_kappa": _quadratic_kappa,
}
