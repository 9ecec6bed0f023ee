"""What harmonisation has to show: sites can no longer be told apart, and a site never seen is answered better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from radfoundry.records import Estimate, InputError, Predictions, counted
from radfoundry.stats import auc, bootstrap, multiclass, weighted
from radfoundry.tasks import heads

STRENGTH = 0.1  # of the logistic head: fixed, so that before and after differ in nothing but the features
DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Rows:
    """One row per series: its site, its patient, and its answer (or none where no question is asked)."""

    site: np.ndarray
    patient: np.ndarray
    answer: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(np.unique(self.site))
        if count < 2:
            raise InputError(
                f"{count} site: nothing to compare", remedy="choose by=model or another header fact", finding="one-site"
            )


@dataclass(frozen=True, eq=False)
class Part:
    """One turn: who teaches, who is tested, and who of the tested site may be looked at without answers."""

    teaching: np.ndarray
    tested: np.ndarray
    looked_at: np.ndarray


# From a turn to features of all rows, with everything that is learned learned from `teaching` (and, where a method
# has to know a site, from the unlabelled `looked_at`).
FeaturesOf = Callable[[Part], np.ndarray]


def patient_turns(rows: Rows, *, folds: int, seed: int) -> list[Part]:
    """Folds between patients: each row is tested once by what other patients taught, whatever their site."""
    fold = _folds(rows.patient, folds, seed)
    nobody = np.zeros(len(fold), bool)
    return [Part(fold != number, fold == number, nobody) for number in range(folds)]


def site_turns(rows: Rows, *, folds: int, seed: int) -> list[Part]:
    """Leave one site out: rows of a site are tested by what other sites and other patients taught.

    The patients of the left-out site come in folds; while one is tested, the others may be looked at without their
    answers. A patient who was scanned at several sites never teaches while being tested.
    """
    fold = _folds(rows.patient, folds, seed)
    turns = []
    for site in np.unique(rows.site):
        here = rows.site == site
        for number in range(folds):
            tested = here & (fold == number)
            if tested.any():
                taught = ~here & ~np.isin(rows.patient, rows.patient[tested])
                turns.append(Part(taught, tested, here & ~np.isin(rows.patient, rows.patient[tested])))
    return turns


def _folds(patient: np.ndarray, folds: int, seed: int) -> np.ndarray:
    names = np.unique(patient)
    if len(names) < 2 * folds:
        raise InputError(
            f"{counted(len(names), 'patient is', 'patients are')} too few for {folds} folds",
            remedy="add patients or use fewer folds",
            finding="too-few",
        )
    order = np.random.default_rng(seed).permutation(len(names)) % folds
    return order[np.searchsorted(names, patient)]


def site_predictions(rows: Rows, features_of: FeaturesOf, *, folds: int = 2, seed: int = 0) -> Predictions:
    """Which site made each row, guessed by a logistic head that other patients taught; scores `(n, sites)`."""
    names, number = np.unique(rows.site, return_inverse=True)
    score = np.zeros((len(number), len(names)))
    for part in patient_turns(rows, folds=folds, seed=seed):
        score[part.tested] = _answered(features_of(part), number, rows.patient, part, kind="multiclass")
    return Predictions.of(number, score, patient=rows.patient, site=rows.site)


def site_accuracy(predictions: Predictions, *, seed: int = 0) -> Estimate:
    """Balanced accuracy of a guess at the site, interval over patients; chance is one over the number of sites."""
    sites = predictions.score.shape[1]
    found = multiclass.class_measures(predictions, rng=seed).overall["balanced_accuracy"]
    return replace(found, note=f"chance is {1 / sites:.2f}")


def site_accuracy_difference(after: Predictions, before: Predictions, *, seed: int = 0) -> Estimate:
    """How much less well sites are told apart than before: after minus before, paired over patients."""
    return bootstrap.bootstrap_difference(BALANCED, after, before, draws=DRAWS, rng=seed)


def left_out_predictions(rows: Rows, features_of: FeaturesOf, *, folds: int = 2, seed: int = 0) -> Predictions:
    """Answers for every row by a head that never saw its site nor its patient; refuses rows without answers."""
    if rows.answer is None:
        raise InputError("no question was asked", remedy="give task=")
    score = np.zeros(len(rows.answer))
    for part in site_turns(rows, folds=folds, seed=seed):
        score[part.tested] = _answered(features_of(part), rows.answer, rows.patient, part, kind="binary")
    return Predictions.of(rows.answer, score, patient=rows.patient, site=rows.site)


def left_out_measures(predictions: Predictions, *, seed: int = 0) -> dict[str, Estimate]:
    """`auroc`: over all sites with one threshold; `auroc-within-sites`: the mean over sites, each with its own."""
    return {
        "auroc": auc.auroc(predictions),
        "auroc-within-sites": bootstrap.bootstrap(WITHIN, predictions, draws=DRAWS, rng=seed, method="percentile"),
    }


def left_out_differences(after: Predictions, before: Predictions, *, seed: int = 0) -> dict[str, Estimate]:
    """What harmonising changed about the answers: after minus before, paired over patients."""
    within = bootstrap.bootstrap_difference(WITHIN, after, before, draws=DRAWS, rng=seed)
    return {"auroc": auc.auroc_difference(after, before), "auroc-within-sites": within}


def _answered(features: np.ndarray, answer: np.ndarray, patient: np.ndarray, part: Part, *, kind: str) -> np.ndarray:
    teach, head = part.teaching, heads.logistic(strengths=(STRENGTH,))
    classes = int(answer.max()) + 1
    fitted = heads.fit(head, features[teach], answer[teach], patient[teach], kind=kind, classes=classes)
    return fitted.predict(features[part.tested])


def _balanced(data: Predictions) -> Callable[[np.ndarray], np.ndarray]:
    right = (data.score.argmax(axis=1) == data.target).astype(float)
    members = [(data.target == name).astype(float) for name in np.unique(data.target)]

    def mean(weights: np.ndarray) -> np.ndarray:
        return np.mean([weighted.ratio(weights @ (right * one), weights @ one) for one in members], axis=0)

    return mean


def _within(data: Predictions) -> Callable[[np.ndarray], np.ndarray]:
    owners = np.asarray(data.site)
    rows = [np.flatnonzero(owners == name) for name in np.unique(owners)]
    parts = [weighted.weighted_auroc.prepare(data.take(one)) for one in rows]
    return lambda weights: np.mean([part(weights[:, one]) for part, one in zip(parts, rows, strict=True)], axis=0)


BALANCED = bootstrap.Weighted("balanced accuracy of the site", _balanced)
WITHIN = bootstrap.Weighted("mean AUROC within sites", _within)
