"""Numbers for answers: each kind of question with its metrics, its prevalence and the trivial answer beside it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from radfoundry.records import Estimate, Predictions, Task
from radfoundry.stats import auc, bootstrap, calibration, regression

DRAWS = 2000


def measure(predictions: Predictions, task: Task, *, seed: int = 0) -> dict[str, Estimate]:
    """All default metrics of a question with their intervals, clustered by patient."""
    if task.kind == "binary":
        return {
            "auroc": auc.auroc(predictions),
            "auroc-bootstrap": bootstrap.bootstrap(bootstrap.AUROC, predictions, draws=DRAWS, rng=seed),
            "brier": calibration.brier(predictions, rng=seed),
        }
    if task.kind == "multiclass":
        return _one_against_rest(predictions)
    return {
        "mae": regression.mean_absolute_error(predictions, rng=seed),
        "r2": regression.r_squared(predictions, rng=seed),
    }


def trivial(predictions: Predictions, task: Task, *, seed: int = 0) -> dict[str, Estimate]:
    """What an answer that never looks at the image gets: prevalence, and the metric of the constant answer.

    For a quantity the constant is the mean of the tested truth, which flatters it a little.
    """
    n = len(np.unique(predictions.patient))
    if task.kind == "regression":
        constant = np.full(len(predictions), float(np.median(predictions.target)))
        flat = Predictions(predictions.case, predictions.patient, predictions.target, constant, predictions.site)
        error = regression.mean_absolute_error(flat, rng=seed)
        return {"trivial-mae": error}
    shares = np.array([(predictions.target == value).mean() for value in np.unique(predictions.target)])
    largest = float(shares.max()) if task.kind == "multiclass" else float((predictions.target == 1).mean())
    name = "share-of-largest-class" if task.kind == "multiclass" else "prevalence"
    low, high = _wilson(largest, n)
    exact = Estimate(0.5, 0.5, 0.5, method="by definition", n=n, note="a constant score")
    return {name: Estimate(largest, low, high, method="Wilson", n=n), "trivial-auroc": exact}


def difference(first: Predictions, second: Predictions, task: Task, *, seed: int = 0) -> dict[str, Estimate]:
    """How much better the first answers than the second, case by case: positive is better, whatever the metric."""
    if task.kind == "binary":
        return {"auroc": auc.auroc_difference(first, second)}
    if task.kind == "multiclass":
        one = {name: _one_class(first, name) for name in np.unique(first.target)}
        other = {name: _one_class(second, name) for name in np.unique(first.target)}
        each = [auc.auroc_difference(one[name], other[name]) for name in one]
        return {"auroc-one-against-rest": _mean(each, "mean of paired differences (DeLong), classes as independent")}
    less = regression.mean_absolute_error_difference(second, first, rng=seed)
    return {"mae": less}


def _one_against_rest(predictions: Predictions) -> dict[str, Estimate]:
    classes = np.unique(predictions.target)
    each = {f"auroc-class-{int(name)}": auc.auroc(_one_class(predictions, name)) for name in classes}
    mean = _mean(list(each.values()), "mean over classes (DeLong), classes as independent")
    return {"auroc-one-against-rest": mean, **each}


def _one_class(predictions: Predictions, name: Any) -> Predictions:
    target = (predictions.target == name).astype(int)
    return Predictions(predictions.case, predictions.patient, target, predictions.score[:, int(name)], predictions.site)


def _mean(parts: list[Estimate], method: str) -> Estimate:
    value = float(np.mean([part.value for part in parts]))
    half = math.sqrt(sum(((part.high - part.low) / 2) ** 2 for part in parts)) / len(parts)
    return Estimate(value, value - half, value + half, method=method, n=max(part.n for part in parts))


def _wilson(share: float, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson 1927: the score interval of a proportion."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
