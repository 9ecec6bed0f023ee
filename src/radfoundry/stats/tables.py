"""The common metrics of a table of cases, chosen by what the columns hold: for one file, one command, one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.auc import auroc
from radfoundry.stats.bootstrap import Statistic, bootstrap_many
from radfoundry.stats.calibration import beside_prevalence, calibration_error
from radfoundry.stats.classification import confusion_from_draws, drawn_measures
from radfoundry.stats.inputs import binary_columns, true_or_false
from radfoundry.stats.multiclass import class_measures, label_areas
from radfoundry.stats.recalibration import calibration_slope
from radfoundry.stats.regression import regression_measures
from radfoundry.stats.roc_readings import average_precision
from radfoundry.stats.weighted import weighted_brier


@dataclass(frozen=True)
class MetricRow:
    """One line of a metrics table: which group of cases, which measure, and its estimate."""

    group: str
    metric: str
    estimate: Estimate


@dataclass(frozen=True)
class MetricTable:
    """The metrics of a file: `kind` is what the columns were taken for, `rows` the estimates in printing order."""

    kind: str
    rows: tuple[MetricRow, ...]
    level: float

    def text(self, digits: int = 2) -> str:
        """The table as aligned text, one metric a line, every number with its interval and its number of cases."""
        lines = [
            (row.group, row.metric, row.estimate.text(digits), f"n={row.estimate.n}", row.estimate.note)
            for row in self.rows
        ]
        widths = [max((len(line[column]) for line in lines), default=0) for column in range(4)]
        shown = ["  ".join(part.ljust(width) for part, width in zip(line, widths, strict=False)) for line in lines]
        whole = [f"{left}  {line[4]}".strip() for left, line in zip(shown, lines, strict=True)]
        return "\n".join([f"{self.kind}, {self.level:.0%} intervals", *(line.rstrip() for line in whole)])

    def to_dicts(self) -> list[dict[str, Any]]:
        """Plain rows for JSON or a data frame: group, metric and the fields of the estimate."""
        return [{"group": row.group, "metric": row.metric, **row.estimate.to_dict()} for row in self.rows]


def metric_table(
    columns: Mapping[str, Sequence[Any] | np.ndarray],
    *,
    target: str,
    score: str | Sequence[str],
    patient: str | None = None,
    by: str | None = None,
    options: Mapping[str, float] | None = None,
) -> MetricTable:
    """The usual metrics of a table, each with its interval, over all cases and in each group of one column.

    Args:
        columns: name -> column, as read from a CSV or Parquet file (a pandas frame works too).
        target: column with the truth. 0/1 or two words with one score: binary. Words or small whole numbers with
            several score columns: classes. Anything else that is a number: regression.
        score: score column, or one column for each class in sorted order.
        patient: column of patient names; without it every row counts as a patient.
        by: column whose groups get their own block of lines.
        options: `threshold` (0.5) for binary calls, `level` (0.95), `seed` (0).

    Rows with an empty target or score are refused by count, never dropped silently.

    >>> file = {"truth": [0, 0, 0, 1, 1, 1], "model": [0.1, 0.3, 0.6, 0.4, 0.8, 0.9]}
    >>> print(metric_table(file, target="truth", score="model").rows[0].estimate)
    0.89 (0.26-0.99)
    """
    settings = {"threshold": 0.5, "level": 0.95, "seed": 0.0, **(options or {})}
    unknown = sorted(set(settings) - {"threshold", "level", "seed"})
    if unknown:
        raise InputError(f"unknown option {', '.join(unknown)}", remedy="choose from threshold, level, seed")
    kind, data = _predictions(columns, target=target, score=score, patient=patient)
    blocks: list[tuple[str, Predictions]] = [("all", data)]
    if by is not None:
        groups = _column(columns, by).astype(str)
        blocks += [(f"{by}={name}", data.take(groups == name)) for name in np.unique(groups)]
    measure = {"binary": _binary, "classes": _classes, "regression": _regression}[kind]
    rows = [
        MetricRow(group, name, estimate) for group, part in blocks for name, estimate in measure(part, settings).items()
    ]
    return MetricTable(kind, tuple(rows), settings["level"])


def _column(columns: Mapping[str, Any], name: str) -> np.ndarray:
    if name not in columns:
        known = ", ".join(str(key) for key in columns)
        raise InputError(f"no column {name!r}", remedy=f"columns here: {known}")
    return np.asarray(columns[name])


def _predictions(
    columns: Mapping[str, Any], *, target: str, score: str | Sequence[str], patient: str | None
) -> tuple[str, Predictions]:
    """What the columns hold and the predictions made from them."""
    names = [score] if isinstance(score, str) else list(score)
    truth = _column(columns, target)
    scores = np.stack([_numbers(_column(columns, name), name) for name in names], axis=1)
    people = None if patient is None else _column(columns, patient)
    _refuse_empty(truth, target)
    if len(names) > 1:
        return "classes", Predictions.of(_whole(truth), scores, patient=people)
    if len(scores) == 0:
        raise InputError("the table has no rows", remedy="give at least one case")
    kinds = np.unique(truth)
    if truth.dtype.kind == "b" or (truth.dtype.kind in "iuf" and np.isin(kinds, (0, 1)).all()):
        return "binary", Predictions.of(true_or_false(truth, target).astype(int), scores[:, 0], patient=people)
    if truth.dtype.kind in "iuf":
        return "regression", Predictions.of(truth.astype(float), scores[:, 0], patient=people)
    if len(kinds) != 2:
        raise InputError(
            f"column {target} has {len(kinds)} words and one score column",
            remedy="give one score column per class, or a 0/1 target",
        )
    words = "/".join(str(kind) for kind in kinds)
    raise InputError(f"column {target} holds {words}", remedy="say which is positive by mapping the words to 0 and 1")


def _numbers(column: np.ndarray, name: str) -> np.ndarray:
    try:
        return column.astype(float)
    except (TypeError, ValueError) as error:
        raise InputError(f"column {name} does not hold numbers", remedy="name a score column") from error


def _refuse_empty(truth: np.ndarray, target: str) -> None:
    empty = (
        sum(value is None or value == "" or value != value for value in truth.tolist())
        if truth.dtype.kind in "OU"
        else 0
    )
    if empty:
        raise InputError(f"{empty} of {len(truth)} rows of {target} are empty", remedy="drop them and say so")


def _whole(truth: np.ndarray) -> np.ndarray:
    """Whole numbers stored as floats are class numbers."""
    is_whole = truth.dtype.kind == "f" and not (truth % 1).any()
    return truth.astype(int) if is_whole or truth.dtype.kind == "b" else truth


def _binary(data: Predictions, settings: Mapping[str, float]) -> dict[str, Estimate]:
    """All measures that need draws share one set of them."""
    level, seed, threshold = settings["level"], int(settings["seed"]), settings["threshold"]
    truth, score = binary_columns(data)
    probable = bool(((score >= 0) & (score <= 1)).all())
    statistics: dict[str, Statistic] = {**drawn_measures(threshold)}
    if probable:
        statistics["brier_score"] = weighted_brier
    drawn = bootstrap_many(statistics, data, level=level, rng=seed)
    cut = confusion_from_draws(data, {k: drawn[k] for k in drawn_measures(threshold)}, threshold=threshold, level=level)
    table = {"auroc": auroc(data, level=level)}
    table["average_precision"] = average_precision(data, level=level)
    table.update({name: cut[name] for name in SHOWN})
    if probable:
        table["brier_score"] = beside_prevalence(drawn["brier_score"], truth)
        table["calibration_error"] = calibration_error(data, level=level, rng=seed)
        table["calibration_slope"] = calibration_slope(data, level=level)
    return table


SHOWN = (
    "sensitivity",
    "specificity",
    "positive_predictive_value",
    "negative_predictive_value",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "matthews",
    "prevalence",
)


def _classes(data: Predictions, settings: Mapping[str, float]) -> dict[str, Estimate]:
    level, seed = settings["level"], int(settings["seed"])
    areas = label_areas(data, level=level)
    measures = class_measures(data, level=level, rng=seed)
    table = dict(areas.overall)
    table.update({name: value for name, value in measures.overall.items() if name != "quadratic_kappa"})
    for label in areas.per_class:
        table[f"auroc {label}"] = areas.per_class[label]["auroc"]
        table[f"sensitivity {label}"] = measures.per_class[label]["sensitivity"]
    return table


def _regression(data: Predictions, settings: Mapping[str, float]) -> dict[str, Estimate]:
    return regression_measures(data, level=settings["level"], rng=int(settings["seed"]))
