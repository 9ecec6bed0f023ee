"""Numbers for answers: each kind of question with its metrics, its prevalence and the trivial answer beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from radfoundry.records import Estimate, Predictions, Task
from radfoundry.stats import (
    auc,
    bootstrap,
    calibration,
    comparisons,
    concordance_index,
    multiclass,
    proportions,
    recalibration,
    regression,
    weighted,
)
from radfoundry.tasks import rating
from radfoundry.tasks.finish import Answers

DRAWS = 2000
HALF = "a constant score ranks nobody"


def measure(predictions: Predictions, task: Task, *, seed: int = 0) -> dict[str, Estimate]:
    """All default metrics of a question with their intervals, clustered by patient; the first one is the main one."""
    return MEASURES[task.kind](predictions, task, seed)


def _binary(predictions: Predictions, _task: Task, seed: int) -> dict[str, Estimate]:
    return {
        "auroc": auc.auroc(predictions),
        "auroc-bootstrap": auc.auroc(predictions, method="bootstrap"),
        "brier": calibration.brier_score(predictions, rng=seed),
    }


def _quantity(predictions: Predictions, task: Task, seed: int) -> dict[str, Estimate]:
    if "srcc" in task.metrics:
        return rating.measure(predictions, seed=seed)
    return {
        "mae": regression.mean_absolute_error(predictions, rng=seed),
        "r2": regression.r_squared(predictions, rng=seed),
    }


def _grades(predictions: Predictions, task: Task, seed: int) -> dict[str, Estimate]:
    called = Predictions(
        predictions.case, predictions.patient, predictions.target, grade(predictions.score), predictions.site
    )
    return {
        "quadratic-kappa": multiclass.quadratic_kappa(called, rng=seed),
        "grades-off": regression.mean_absolute_error(called, rng=seed),
        **_one_against_rest(predictions, task, seed),
    }


def grade(shares: np.ndarray) -> np.ndarray:
    """(n, grades) probabilities to the middle grade of each row's distribution, which is least far off on average."""
    return (np.cumsum(shares, axis=1) < 0.5).sum(axis=1).astype(float)


def _findings(predictions: Predictions, task: Task, seed: int) -> dict[str, Estimate]:
    if task.unit == "questions":
        return _closed(predictions, task, seed)
    found = multiclass.label_areas(predictions, names=task.target.split(","))
    each = {f"auroc-{name}": values["auroc"] for name, values in found.per_class.items()}
    return {"macro-auroc": found.overall["macro_auroc"], "micro-auroc": found.overall["micro_auroc"], **each}


def closed_answers(predictions: Predictions, task: Task) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For every closed question the true and the given answer, as numbers of its possible answers."""
    columns: dict[str, list[int]] = {}
    for place, name in enumerate(task.target.split(",")):
        columns.setdefault(name.partition("=")[0], []).append(place)
    return {
        name: (predictions.target[:, places].argmax(axis=1), predictions.score[:, places].argmax(axis=1))
        for name, places in columns.items()
    }


def _closed(predictions: Predictions, task: Task, _seed: int) -> dict[str, Estimate]:
    """The share of right answers, over all questions and for each, beside that of always giving the usual answer."""
    found, right, usual = {}, [], []
    for name, (true, given) in closed_answers(predictions, task).items():
        right.append(true == given)
        usual.append(true == np.bincount(true).argmax())
        found[f"accuracy-{name}"] = proportions.clustered_proportion(right[-1], predictions.patient, name=name)
    patient = np.tile(predictions.patient, len(right))
    together = {"accuracy": right, "usual-answer": usual}
    overall = {
        key: proportions.clustered_proportion(np.concatenate(hits), patient, name=key) for key, hits in together.items()
    }
    return overall | found


def _survival(predictions: Predictions, _task: Task, _seed: int) -> dict[str, Estimate]:
    time, event = predictions.target.T
    risk, patient = predictions.score, predictions.patient
    uno = concordance_index.concordance_index(time, event, risk, patient=patient, weighting="uno")
    return {
        "concordance": concordance_index.concordance_index(time, event, risk, patient=patient),
        "concordance-uno": uno,
    }


def finished(predictions: Predictions, answers: Answers, task: Task, *, seed: int = 0) -> dict[str, Estimate]:
    """How good the finished answers are: calibrated Brier score, the frozen cut-off, what the interval holds."""
    if task.kind == "binary":
        return _called(predictions, answers, seed=seed)
    if task.kind == "regression" and not np.isnan(answers.low).any():
        inside = (predictions.target >= answers.low) & (predictions.target <= answers.high)
        return {"interval-holds": proportions.clustered_proportion(inside, predictions.patient, name="inside")}
    if task.kind in ("multiclass", "ordinal"):
        right = answers.called == predictions.target
        return {"accuracy": proportions.clustered_proportion(right, predictions.patient, name="right")}
    return {}


def _called(predictions: Predictions, answers: Answers, *, seed: int) -> dict[str, Estimate]:
    found: dict[str, Estimate] = {}
    if not np.isnan(answers.low).all():
        mended = Predictions(predictions.case, predictions.patient, predictions.target, answers.value, predictions.site)
        found["brier-calibrated"] = calibration.brier_score(mended, rng=seed)
        found["calibration-in-the-large"] = recalibration.calibration_in_the_large(mended)
    if (answers.called >= 0).all():
        for name, side in (("sensitivity", 1), ("specificity", 0)):
            rows = predictions.target == side
            hit = answers.called[rows] == side
            found[name] = proportions.clustered_proportion(hit, predictions.patient[rows], name=name)
    return found


def trivial(predictions: Predictions, task: Task, *, seed: int = 0) -> dict[str, Estimate]:
    """What an answer that never looks at the image gets: prevalence, and the metric of the constant answer.

    For a quantity the constant is the median of the tested truth, which flatters it a little.
    """
    n = len(predictions)
    exact = Estimate(0.5, 0.5, 0.5, method="by definition", n=n, note=HALF)
    if task.kind == "regression":
        constant = np.full(n, float(np.median(predictions.target)))
        flat = Predictions(predictions.case, predictions.patient, predictions.target, constant, predictions.site)
        return {"trivial-mae": regression.mean_absolute_error(flat, rng=seed)}
    if task.kind == "survival":
        share = proportions.clustered_proportion(predictions.target[:, 1] > 0, predictions.patient, name="events")
        return {"events": share, "trivial-concordance": exact}
    if task.kind == "multilabel":
        shares = {
            f"prevalence-{name}": proportions.clustered_proportion(column > 0, predictions.patient, name=name)
            for name, column in zip(task.target.split(","), predictions.target.T, strict=True)
        }
        # Closed questions are judged by right answers; no AUROC stands beside them.
        return shares if task.unit == "questions" else {**shares, "trivial-auroc": exact}
    values, counts = np.unique(predictions.target, return_counts=True)
    chosen, name = (1, "prevalence") if task.kind == "binary" else (values[counts.argmax()], "share-of-largest-class")
    share = proportions.clustered_proportion(predictions.target == chosen, predictions.patient, name=name)
    return {name: share, "trivial-auroc": exact}


def difference(first: Predictions, second: Predictions, task: Task, *, seed: int = 0) -> dict[str, Estimate]:
    """How much better the first answers than the second, case by case: positive is better, whatever the metric."""
    if task.kind == "binary":
        return {"auroc": auc.auroc_difference(first, second)}
    if task.kind == "regression":
        if "srcc" in task.metrics:
            return {"srcc": rating.srcc_difference([first], [second], seed=seed)}
        return {"mae": regression.regression_difference(second, first, measure="mean_absolute_error", rng=seed)}
    if task.kind == "survival":
        time, event = first.target.T
        risks = (first.score, second.score)
        gap = concordance_index.concordance_difference(time, event, risks, patient=first.patient)
        return {"concordance": gap}
    if task.kind == "ordinal":
        off = [np.abs(grade(found.score) - found.target) for found in (second, first)]
        return {"grades-off": comparisons.mean_difference(off[0], off[1], patient=first.patient)}
    if task.kind == "multilabel":
        gap = bootstrap.bootstrap_difference(MACRO_AUROC, first, second, draws=DRAWS, rng=seed)
        return {"macro-auroc": gap}
    gap = bootstrap.bootstrap_difference(MEAN_AUROC, first, second, draws=DRAWS, rng=seed)
    return {"auroc-one-against-rest": gap}


def _one_against_rest(predictions: Predictions, _task: Task, seed: int) -> dict[str, Estimate]:
    mean = bootstrap.bootstrap(MEAN_AUROC, predictions, draws=DRAWS, rng=seed)
    each = {
        f"auroc-class-{int(name)}": auc.auroc(one_class(predictions, int(name)))
        for name in np.unique(predictions.target)
    }
    return {"auroc-one-against-rest": mean, **each}


def by_class_name(numbers: Mapping[str, Estimate], classes: Sequence[str]) -> dict[str, Estimate]:
    """The same numbers, those of one class under its name: `auroc-class-1` becomes `auroc-benign`.

    Names that two classes share after spaces and capitals are gone stay numbers.

    >>> list(by_class_name({"auroc-class-1": Estimate(0.9), "mae": Estimate(1.0)}, ["benign", "Well known"]))
    ['auroc-well-known', 'mae']
    """
    words = [re.sub(r"[^\w.+]+", "-", str(name).strip().lower()) for name in classes]

    def named(found: re.Match[str]) -> str:
        place = int(found.group(1))
        known = place < len(words) and words[place] and words.count(words[place]) == 1
        return f"auroc-{words[place]}" if known else found.group(0)

    return {re.sub(r"auroc-class-(\d+)", named, name): value for name, value in numbers.items()}


def one_class(predictions: Predictions, number: int) -> Predictions:
    """The yes-or-no question whether a case is of one class, with that class's score."""
    target = (predictions.target == number).astype(int)
    score = predictions.score[:, number]
    return Predictions(predictions.case, predictions.patient, target, score, predictions.site)


def _mean_auroc(data: Predictions) -> Callable[[np.ndarray], np.ndarray]:
    """The unweighted mean of one-against-rest AUROCs (Hand and Till 2001 discuss it), for all draws at once."""
    parts = [weighted.weighted_auroc.prepare(one_class(data, int(name))) for name in np.unique(data.target)]
    return lambda weights: np.mean([part(weights) for part in parts], axis=0)


def _macro_auroc(data: Predictions) -> Callable[[np.ndarray], np.ndarray]:
    """The unweighted mean of the findings' AUROCs, for all draws at once."""
    parts = []
    for column in range(data.score.shape[1]):
        if len(np.unique(data.target[:, column])) == 2:
            one = Predictions(data.case, data.patient, data.target[:, column], data.score[:, column], data.site)
            parts.append(weighted.weighted_auroc.prepare(one))
    return lambda weights: np.nanmean([part(weights) for part in parts], axis=0)


MEAN_AUROC = bootstrap.Weighted("mean one-against-rest AUROC", _mean_auroc)
MACRO_AUROC = bootstrap.Weighted("mean AUROC of findings", _macro_auroc)
MEASURES: dict[str, Callable[[Predictions, Task, int], dict[str, Estimate]]] = {
    "binary": _binary,
    "multiclass": _one_against_rest,
    "ordinal": _grades,
    "multilabel": _findings,
    "regression": _quantity,
    "survival": _survival,
}
