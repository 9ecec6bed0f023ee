"""Heads on frozen features: scikit-learn fits them on the training patients, plain arrays remember them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from radfoundry import registry
from radfoundry.config import Component
from radfoundry.records import InputError

LOGISTIC_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
RIDGE_STRENGTHS = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
NEIGHBOURS = (1, 3, 5, 9, 15, 25)


@dataclass(frozen=True)
class Head:
    """What kind of head to fit and which strengths to choose from, inside the training patients."""

    name: str
    strengths: tuple[float, ...]
    kinds: tuple[str, ...]
    inner_folds: int = 4


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A fitted head as plain arrays: it can be written as safetensors and answers without scikit-learn."""

    name: str
    kind: str
    strength: float
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(n, width) features to scores: the probability of class 1, of each class (n, classes), or the quantity."""
        scaled = (np.asarray(features, dtype=float) - self.arrays["mean"]) / self.arrays["spread"]
        if self.name == "knn":
            return self._neighbours(scaled)
        raw = scaled @ self.arrays["weights"].T + self.arrays["offset"]
        if self.kind == "regression":
            return raw[:, 0]
        if self.kind == "binary":
            return 1 / (1 + np.exp(-raw[:, 0]))
        raised = np.exp(raw - raw.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    def _neighbours(self, scaled: np.ndarray) -> np.ndarray:
        remembered, answers = self.arrays["features"], self.arrays["answers"]
        squared = (scaled**2).sum(axis=1)[:, None] + (remembered**2).sum(axis=1)[None] - 2 * scaled @ remembered.T
        distance = np.sqrt(np.maximum(squared, 0))
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : int(self.strength)]
        weight = 1 / (np.take_along_axis(distance, nearest, axis=1) + 1e-9)
        weight /= weight.sum(axis=1, keepdims=True)
        mixed = (answers[nearest] * weight[:, :, None]).sum(axis=1)
        return mixed[:, 1] if self.kind == "binary" else mixed[:, 0] if self.kind == "regression" else mixed


def logistic(*, strengths: Sequence[float] = LOGISTIC_STRENGTHS, inner_folds: int = 4) -> Head:
    """Logistic regression with an L2 penalty; strength is scikit-learn's C. For classes."""
    return Head("logistic", tuple(strengths), ("binary", "multiclass"), inner_folds)


def ridge(*, strengths: Sequence[float] = RIDGE_STRENGTHS, inner_folds: int = 4) -> Head:
    """Linear regression with an L2 penalty; strength is scikit-learn's alpha. For quantities."""
    return Head("ridge", tuple(strengths), ("regression",), inner_folds)


def knn(*, strengths: Sequence[float] = NEIGHBOURS, inner_folds: int = 4) -> Head:
    """The most similar training images answer, nearer ones louder; strength is how many. For both."""
    return Head("knn", tuple(strengths), ("binary", "multiclass", "regression"), inner_folds)


def named(component: Component | None, kind: str) -> Head:
    """The head a setting names, or the usual one for this kind of question."""
    if component is None:
        component = Component(name="ridge" if kind == "regression" else "logistic")
    return registry.build("heads", component.name, **component.options)


def fit(
    head: Head, features: np.ndarray, answers: np.ndarray, patients: np.ndarray, *, kind: str, classes: int = 2
) -> FittedHead:
    """Choose the strength by cross-validation between patients, then fit on all the training rows.

    features (n, width), answers (n,), patients (n,); kind is binary, multiclass (with `classes` answers) or
    regression. Refuses a head that does not answer this kind of question, one class, and fewer than two patients.
    """
    if kind not in head.kinds:
        fits = {"regression": "ridge or knn"}.get(kind, "logistic or knn")
        raise InputError(
            f"head {head.name} does not answer a {kind} question", remedy=f"use head={fits}", finding="head"
        )
    owners = np.unique(patients)
    if len(owners) < 2:
        raise InputError(f"{len(owners)} training patient", remedy="a head needs at least two", finding="too-few")
    if kind != "regression" and len(np.unique(answers)) < 2:
        raise InputError("the training patients all have one class", remedy="check the split", finding="one-class")
    from threadpoolctl import threadpool_limits

    mean, spread = features.mean(axis=0), features.std(axis=0)
    scaled = (features - mean) / np.where(spread > 1e-9, spread, 1.0)
    allowed = [value for value in head.strengths if head.name != "knn" or value <= len(answers) * 0.7] or [1]
    # These problems are small: more than one linear-algebra thread costs ten times what it saves.
    with threadpool_limits(limits=1):
        strength = _choose(head, scaled, answers, patients, kind=kind, allowed=allowed)
        arrays = _fit_arrays(head.name, scaled, answers, kind=kind, strength=strength, classes=classes)
    arrays |= {"mean": mean, "spread": np.where(spread > 1e-9, spread, 1.0)}
    return FittedHead(head.name, kind, float(strength), arrays)


def _choose(
    head: Head, scaled: np.ndarray, answers: np.ndarray, patients: np.ndarray, *, kind: str, allowed: Sequence[float]
) -> float:
    from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold

    if len(allowed) == 1:
        return allowed[0]
    folds = min(head.inner_folds, len(np.unique(patients)))
    if kind != "regression":
        smallest = min(len(np.unique(patients[answers == value])) for value in np.unique(answers))
        folds = min(folds, smallest)
    if folds < 2:
        return allowed[len(allowed) // 2]
    splitter = GroupKFold(folds) if kind == "regression" else StratifiedGroupKFold(folds)
    estimator, option = _estimator(head.name, kind)
    scoring = {"binary": "neg_log_loss", "multiclass": "neg_log_loss"}.get(kind, "neg_mean_absolute_error")
    search = GridSearchCV(estimator, {option: list(allowed)}, scoring=scoring, cv=splitter, refit=False)
    search.fit(scaled, answers, groups=patients)
    return search.best_params_[option]


def _estimator(name: str, kind: str) -> tuple[Any, str]:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    if name == "logistic":
        return LogisticRegression(max_iter=2000), "C"
    if name == "ridge":
        return Ridge(), "alpha"
    nearest = KNeighborsRegressor if kind == "regression" else KNeighborsClassifier
    return nearest(weights="distance", algorithm="brute"), "n_neighbors"


def _fit_arrays(
    name: str, scaled: np.ndarray, answers: np.ndarray, *, kind: str, strength: float, classes: int
) -> dict[str, np.ndarray]:
    classes = 0 if kind == "regression" else max(2, classes)
    if name == "knn":
        remembered = np.eye(classes)[answers.astype(int)] if classes else answers[:, None].astype(float)
        return {"features": scaled, "answers": remembered}
    estimator, option = _estimator(name, kind)
    estimator.set_params(**{option: strength}).fit(scaled, answers)
    weights, offset = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
    if kind != "multiclass":
        return {"weights": weights, "offset": offset}
    return _every_class(weights, offset, estimator.classes_.astype(int), classes)


def _every_class(weights: np.ndarray, offset: np.ndarray, seen: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """One row per class of the question; a class that no training patient had can never win."""
    if len(seen) == 2:  # scikit-learn writes two classes as one row
        weights, offset = np.vstack([-weights, weights]) / 2, np.concatenate([-offset, offset]) / 2
    full, shift = np.zeros((classes, weights.shape[1])), np.full(classes, -30.0)
    full[seen], shift[seen] = weights, offset
    return {"weights": full, "offset": shift}
