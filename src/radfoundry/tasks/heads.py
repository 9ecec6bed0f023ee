"""Heads on frozen features: scikit-learn fits them on the training patients, plain arrays remember them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from radfoundry import registry
from radfoundry.config import Component
from radfoundry.records import InputError
from radfoundry.tasks.head_answers import answer
from radfoundry.tasks.head_fitting import Asked, fit_arrays

LOGISTIC_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
RIDGE_STRENGTHS = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
NEIGHBOURS = (1, 3, 5, 9, 15, 25)
MACHINE_STRENGTHS = (0.1, 1.0, 10.0)
TREES = (25, 100)
USUAL = {"regression": "ridge", "survival": "cox", "ordinal": "ordinal"}
CLASSES = ("binary", "multiclass", "ordinal")


@dataclass(frozen=True)
class Head:
    """What kind of head to fit and which strengths to choose from, inside the training patients."""

    name: str
    strengths: tuple[float, ...]
    kinds: tuple[str, ...]
    inner_folds: int = 4
    balanced: bool = False


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A fitted head as plain arrays: it can be written as safetensors and answers without scikit-learn.

    `held_out` are the scores of the training rows from fits that had not seen them (None where there were too few
    patients for that): what calibration and cut-offs may be chosen on.
    """

    name: str
    kind: str
    strength: float
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    held_out: np.ndarray | None = None

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(n, width) features to scores.

        The probability of class 1, of each class or finding (n, classes), the quantity, or the log relative risk.
        """
        scaled = (np.asarray(features, dtype=float) - self.arrays["mean"]) / self.arrays["spread"]
        return answer(self.name, self.kind, self.strength, self.arrays, scaled)


def logistic(*, strengths: Sequence[float] = LOGISTIC_STRENGTHS, inner_folds: int = 4, balanced: bool = False) -> Head:
    """Logistic regression with an L2 penalty; strength is scikit-learn's C. For classes and lists of findings."""
    return Head("logistic", tuple(strengths), (*CLASSES, "multilabel"), inner_folds, balanced)


def ridge(*, strengths: Sequence[float] = RIDGE_STRENGTHS, inner_folds: int = 4) -> Head:
    """Linear regression with an L2 penalty; strength is scikit-learn's alpha. For quantities."""
    return Head("ridge", tuple(strengths), ("regression",), inner_folds)


def knn(*, strengths: Sequence[float] = NEIGHBOURS, inner_folds: int = 4) -> Head:
    """The most similar training images answer, nearer ones louder; strength is how many. For classes and quantities."""
    return Head("knn", tuple(strengths), (*CLASSES, "multilabel", "regression"), inner_folds)


def svm(*, strengths: Sequence[float] = MACHINE_STRENGTHS, inner_folds: int = 4, balanced: bool = False) -> Head:
    """A support vector machine with a Gaussian kernel as wide as the features are many; strength is its C.

    For classes its scores rank but are no probabilities until they are calibrated.
    """
    return Head("svm", tuple(strengths), (*CLASSES, "regression"), inner_folds, balanced)


def boosting(*, strengths: Sequence[float] = TREES, inner_folds: int = 4, balanced: bool = False) -> Head:
    """Gradient boosting of shallow trees; strength is how many trees. For classes and quantities."""
    return Head("boosting", tuple(strengths), (*CLASSES, "regression"), inner_folds, balanced)


def ordinal(*, strengths: Sequence[float] = LOGISTIC_STRENGTHS, inner_folds: int = 4) -> Head:
    """Proportional odds: one line through the features, cut into ordered classes. For grades."""
    return Head("ordinal", tuple(strengths), ("ordinal",), inner_folds)


def cox(*, strengths: Sequence[float] = RIDGE_STRENGTHS, inner_folds: int = 4) -> Head:
    """Cox regression with an L2 penalty, chosen by concordance. For time to an event."""
    return Head("cox", tuple(strengths), ("survival",), inner_folds)


def named(component: Component | None, kind: str) -> Head:
    """The head a setting names, or the usual one for this kind of question."""
    if component is None:
        component = Component(name=USUAL.get(kind, "logistic"))
    return registry.build("heads", component.name, **component.options)


def fit(
    head: Head, features: np.ndarray, answers: np.ndarray, patients: np.ndarray, *, kind: str, classes: int = 2
) -> FittedHead:
    """Choose the strength by cross-validation between patients, then fit on all the training rows.

    features (n, width), patients (n,), answers (n,) for kinds binary, multiclass and ordinal (with `classes`
    answers) and regression; (n, findings) for multilabel, (n, 2) times and events for survival. Refuses a head that
    does not answer this kind of question, one class, and fewer than two patients.
    """
    check_fit(head.name, head.kinds, answers, patients, kind=kind)
    from threadpoolctl import threadpool_limits

    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    scaled = (features - mean) / spread
    allowed = [value for value in head.strengths if head.name != "knn" or value <= len(answers) * 0.7] or [1]
    # These problems are small: more than one linear-algebra thread costs ten times what it saves.
    with threadpool_limits(limits=1):
        asked = Asked(kind, classes, head.balanced)
        strength, held_out = _choose(replace(head, strengths=tuple(allowed)), scaled, answers, patients, asked)
        arrays = fit_arrays(head.name, scaled, answers, asked, strength=strength)
    return FittedHead(head.name, kind, float(strength), arrays | {"mean": mean, "spread": spread}, held_out)


def check_fit(name: str, kinds: Sequence[str], answers: np.ndarray, patients: np.ndarray, *, kind: str) -> None:
    """Refuse what no head can be fitted to: another kind of question, one class, one patient."""
    if kind not in kinds:
        fits = {"regression": "ridge or knn", "survival": "cox", "ordinal": "ordinal"}.get(kind, "logistic or knn")
        raise InputError(f"head {name} does not answer a {kind} question", remedy=f"use head={fits}", finding="head")
    owners = np.unique(patients)
    if len(owners) < 2:
        raise InputError(f"{len(owners)} training patient", remedy="a head needs at least two", finding="too-few")
    if kind in CLASSES and len(np.unique(answers)) < 2:
        raise InputError("the training patients all have one class", remedy="check the split", finding="one-class")


def inner_parts(answers: np.ndarray, patients: np.ndarray, *, kind: str, folds: int) -> list[np.ndarray]:
    """Rows held out in each inner fold: whole patients, classes spread evenly; empty when there are too few."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    folds = min(folds, len(np.unique(patients)))
    stratified = kind in CLASSES or kind == "survival"
    strata = answers[:, 1].astype(int) if kind == "survival" else answers
    if stratified:
        folds = min(folds, *(len(np.unique(patients[strata == value])) for value in np.unique(strata)))
    if folds < 2:
        return []
    splitter = StratifiedGroupKFold(folds) if stratified else GroupKFold(folds)
    return [held for _, held in splitter.split(answers, strata, groups=patients)]


def _choose(
    head: Head, scaled: np.ndarray, answers: np.ndarray, patients: np.ndarray, asked: Asked
) -> tuple[float, np.ndarray | None]:
    """The strength with the smallest loss on held-out patients, and the scores these patients then got."""
    parts = inner_parts(answers, patients, kind=asked.kind, folds=head.inner_folds)
    if not parts:
        return head.strengths[len(head.strengths) // 2], None
    best, chosen, kept = np.inf, head.strengths[0], None
    for strength in head.strengths:
        scores, total = None, []
        for held in parts:
            learn = np.setdiff1d(np.arange(len(answers)), held)
            if asked.kind in CLASSES and len(np.unique(answers[learn])) < 2:
                continue
            usable = min(strength, len(learn)) if head.name == "knn" else strength
            arrays = fit_arrays(head.name, scaled[learn], answers[learn], asked, strength=usable)
            said = answer(head.name, asked.kind, usable, arrays, scaled[held])
            scores = np.full((len(answers), *said.shape[1:]), np.nan) if scores is None else scores
            scores[held] = said
            total.append(row_losses(asked.kind, answers[held], said).mean())
        if total and float(np.mean(total)) < best - 1e-12:
            best, chosen, kept = float(np.mean(total)), strength, scores
    complete = kept is not None and not np.isnan(kept).any()
    return chosen, kept if complete else None


def row_losses(kind: str, answers: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How wrong each row's score is: log loss for classes, absolute error, share of pairs put the wrong way round."""
    if kind == "regression":
        return np.abs(scores - answers)
    if kind == "survival":
        return _discordant(answers[:, 0], answers[:, 1] > 0, scores)
    clipped = np.clip(scores, 1e-12, 1 - 1e-12)
    if kind in ("multiclass", "ordinal"):
        return -np.log(clipped[np.arange(len(answers)), answers.astype(int)])
    losses = -np.where(answers > 0, np.log(clipped), np.log1p(-clipped))
    return losses if losses.ndim == 1 else losses.mean(axis=1)


def _discordant(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """For each row the share of its comparable pairs in which the higher risk did not have the event first."""
    # Of two equal times the event came first and the censored patient was still there.
    later = (time[:, None] < time[None]) | ((time[:, None] == time[None]) & ~event[None])
    earlier = event[:, None] & later
    wrong = earlier * ((risk[:, None] < risk[None]) + 0.5 * (risk[:, None] == risk[None]))
    pairs = earlier.sum(axis=0) + earlier.sum(axis=1)
    return np.where(pairs > 0, (wrong.sum(axis=0) + wrong.sum(axis=1)) / np.maximum(pairs, 1), 0.5)
