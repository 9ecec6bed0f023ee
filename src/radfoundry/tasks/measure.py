"""Numbers for answers: each kind of question with its metrics, its prevalence and the trivial answer beside it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from radfoundry.records import Estimate, Predictions, Task
from radfoundry.stats import auc, bootstrap, calibration, proportions, regression, weighted

DRAWS = 2000


def measure(predictions: Predictions, task: Task, *, seed: int = 0) -> dict[str, Estimate]:
    """All default metrics of a question with their intervals, clustered by patient."""
    if task.kind == "binary":
        return {
            "auroc": auc.auroc(predictions),
            "auroc-bootstrap": auc.auroc(predictions, method="bootstrap"),
            "brier": calibration.brier_score(predictions, rng=seed),
        }
    if task.kind == "multiclass":
        return _one_against_rest(predictions, seed=seed)
    return {
        "mae": regression.mean_absolute_error(predictions, rng=seed),
        "r2": regression.r_squared(predictions, rng=seed),
    }


def trivial(predictions: Predictions, task: Task, *, seed: int = 0) -> dict[str, Estimate]:
    """What an answer that never looks at the image gets: prevalence, and the metric of the constant answer.

    For a quantity the constant is the median of the tested truth, which flatters it a little.
    """
    if task.kind == "regression":
        constant = np.full(len(predictions), float(np.median(predictions.target)))
        flat = Predictions(predictions.case, predictions.patient, predictions.target, constant, predictions.site)
        return {"trivial-mae": regression.mean_absolute_error(flat, rng=seed)}
    values, counts = np.unique(predictions.target, return_counts=True)
    chosen, name = (1, "prevalence") if task.kind == "binary" else (values[counts.argmax()], "share-of-largest-class")
    share = proportions.clustered_proportion(predictions.target == chosen, predictions.patient, name=name)
    exact = Estimate(0.5, 0.5, 0.5, method="by definition", n=share.n, note="a constant score ranks nobody")
    return {name: share, "trivial-auroc": exact}


def difference(first: Predictions, second: Predictions, task: Task, *, seed: int = 0) -> dict[str, Estimate]:
    """How much better the first answers than the second, case by case: positive is better, whatever the metric."""
    if task.kind == "binary":
        return {"auroc": auc.auroc_difference(first, second)}
    if task.kind == "multiclass":
        gap = bootstrap.bootstrap_difference(MEAN_AUROC, first, second, draws=DRAWS, rng=seed)
        return {"auroc-one-against-rest": gap}
    return {"mae": regression.regression_difference(second, first, measure="mean_absolute_error", rng=seed)}


def _one_against_rest(predictions: Predictions, *, seed: int) -> dict[str, Estimate]:
    mean = bootstrap.bootstrap(MEAN_AUROC, predictions, draws=DRAWS, rng=seed)
    each = {
        f"auroc-class-{int(name)}": auc.auroc(one_class(predictions, int(name)))
        for name in np.unique(predictions.target)
    }
    return {"auroc-one-against-rest": mean, **each}


def one_class(predictions: Predictions, number: int) -> Predictions:
    """The yes-or-no question whether a case is of one class, with that class's score."""
    target = (predictions.target == number).astype(int)
    score = predictions.score[:, number]
    return Predictions(predictions.case, predictions.patient, target, score, predictions.site)


def _mean_auroc(data: Predictions) -> Callable[[np.ndarray], np.ndarray]:
    """The unweighted mean of one-against-rest AUROCs (Hand and Till 2001 discuss it), for all draws at once."""
    parts = [weighted.weighted_auroc.prepare(one_class(data, int(name))) for name in np.unique(data.target)]
    return lambda weights: np.mean([part(weights) for part in parts], axis=0)


MEAN_AUROC = bootstrap.Weighted("mean one-against-rest AUROC", _mean_auroc)
