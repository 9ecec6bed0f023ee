"""What a cut-off does to cases: sensitivity, predictive values and the rest, with intervals and a trivial rival."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, Predictions
from radfoundry.stats.bootstrap import Weighted, bootstrap_many
from radfoundry.stats.inputs import Seed, as_predictions, binary_columns, interval_level
from radfoundry.stats.proportions import clustered_proportion
from radfoundry.stats.weighted import Prepared, ratio

Counts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def confusion_measures(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    threshold: float = 0.5,
    level: float = 0.95,
    rng: Seed = 0,
) -> dict[str, Estimate]:
    """Every measure of a cut-off, beside the prevalence and what always giving the more frequent answer would score.

    Shares of cases (sensitivity, specificity, predictive values, accuracy) get Wilson intervals, clustered when
    patients repeat; balanced accuracy, F1, Youden's J and the Matthews correlation come from 2,000 draws of patients.
    A measure without cases to count is undefined with the reason.

    Args:
        data: predictions, or (n,) targets 0/1.
        score: (n,) scores; a case is called positive when its score is at or above the threshold.
        patient: (n,) patient names where rows of one patient repeat.
        threshold: the cut-off; choose it on other data (see `operating.choose_operating_point`).
        level: confidence level.
        rng: seed or generator of the draws.

    >>> table = confusion_measures([0, 0, 0, 1, 1], [0.1, 0.2, 0.7, 0.6, 0.9])
    >>> print(table["sensitivity"], "|", table["specificity"])
    1.00 (0.34-1.00) | 0.67 (0.21-0.94)
    """
    found = as_predictions(data, score, patient=patient)
    interval_level(level)
    drawn = bootstrap_many(drawn_measures(threshold), found, level=level, rng=rng)
    return confusion_from_draws(found, drawn, threshold=threshold, level=level)


def confusion_from_draws(
    found: Predictions, drawn: Mapping[str, Estimate], *, threshold: float, level: float
) -> dict[str, Estimate]:
    """The measures of `confusion_measures` when those of `drawn_measures` have been bootstrapped already."""
    truth, values = binary_columns(found)
    table = _shares(truth, values >= threshold, found.patient, level=level)
    for name, estimate in drawn.items():
        # Draws from a table without errors never show one, so the interval would have no width.
        flat = estimate.defined and estimate.low == estimate.high
        table[name] = replace(estimate, low=math.nan, high=math.nan, note="no draw differs") if flat else estimate
    trivial = max(float(truth.mean()), 1 - float(truth.mean()))
    table["accuracy"] = replace(table["accuracy"], note=f"always the frequent answer scores {trivial:.2f}")
    return table


def _shares(truth: np.ndarray, called: np.ndarray, patient: np.ndarray, *, level: float) -> dict[str, Estimate]:
    """The measures that are a share of some group of rows."""
    groups: dict[str, tuple[np.ndarray, np.ndarray, str]] = {
        "sensitivity": (truth, called, "no positive case"),
        "specificity": (~truth, ~called, "no negative case"),
        "positive_predictive_value": (called, truth, "nothing was called positive"),
        "negative_predictive_value": (~called, ~truth, "nothing was called negative"),
        "accuracy": (np.ones_like(truth), called == truth, "no case"),
        "prevalence": (np.ones_like(truth), truth, "no case"),
    }
    table = {}
    for name, (group, hit, reason) in groups.items():
        if group.any():
            table[name] = clustered_proportion(hit[group], patient[group], level=level, name=name)
        else:
            table[name] = Estimate.undefined(reason, method="Wilson", level=level)
    return table


def drawn_measures(threshold: float) -> dict[str, Weighted]:
    """Balanced accuracy, F1, Youden's J and Matthews correlation at a cut-off, as weighted statistics."""
    formulas: dict[str, Callable[[Counts], np.ndarray]] = {
        "balanced_accuracy": _balanced_accuracy,
        "f1": _f1,
        "youden": lambda counts: 2 * _balanced_accuracy(counts) - 1,
        "matthews": _matthews,
    }
    return {name: at_threshold(name, threshold, formula) for name, formula in formulas.items()}


def at_threshold(name: str, threshold: float, formula: Callable[[Counts], np.ndarray]) -> Weighted:
    """A statistic of the four counts (true positive, false positive, false negative, true negative) at a cut-off."""

    def prepare(data: Predictions) -> Prepared:
        truth, score = binary_columns(data)
        called = score >= threshold
        cells = np.stack([truth & called, ~truth & called, truth & ~called, ~truth & ~called], axis=1).astype(float)

        def value(weights: np.ndarray) -> np.ndarray:
            hit, alarm, miss, rest = (weights @ cells).T
            return formula((hit, alarm, miss, rest))

        return value

    return Weighted(name, prepare)


def _balanced_accuracy(counts: Counts) -> np.ndarray:
    hit, alarm, miss, rest = counts
    return (ratio(hit, hit + miss) + ratio(rest, rest + alarm)) / 2


def _f1(counts: Counts) -> np.ndarray:
    hit, alarm, miss, _ = counts
    return ratio(2 * hit, 2 * hit + alarm + miss)


def _matthews(counts: Counts) -> np.ndarray:
    """Undefined (not 0) when one row or column of the table is empty."""
    hit, alarm, miss, rest = counts
    below = (hit + alarm) * (hit + miss) * (rest + alarm) * (rest + miss)
    return ratio(hit * rest - alarm * miss, np.sqrt(below))


def matthews_correlation(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    threshold: float = 0.5,
    level: float = 0.95,
    rng: Seed = 0,
) -> Estimate:
    """How well call and truth go together, from -1 to 1, using all four counts of the table.

    Undefined when all cases have one truth or all got one call.

    Source: Matthews, Biochim Biophys Acta 1975;405:442.

    >>> round(matthews_correlation([0, 0, 1, 1], [0.1, 0.7, 0.6, 0.9]).value, 3)
    0.577
    """
    found = as_predictions(data, score, patient=patient)
    return bootstrap_many({"matthews": drawn_measures(threshold)["matthews"]}, found, level=level, rng=rng)["matthews"]


def balanced_accuracy(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    threshold: float = 0.5,
    level: float = 0.95,
    rng: Seed = 0,
) -> Estimate:
    """The mean of sensitivity and specificity, 0.5 for any rule that ignores the image.

    >>> balanced_accuracy([0, 0, 1, 1], [0.1, 0.7, 0.6, 0.9]).value
    0.75
    """
    found = as_predictions(data, score, patient=patient)
    statistic = drawn_measures(threshold)["balanced_accuracy"]
    return bootstrap_many({"balanced": statistic}, found, level=level, rng=rng)["balanced"]
