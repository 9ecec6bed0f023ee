"""Which features a head gets to see: chosen inside the training patients by one of a few well-known rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from radfoundry.records import InputError
from radfoundry.tasks import heads

SELECTIONS = ("none", "f-test", "mutual-information", "mrmr", "l1", "rfe", "pca")
BINS = 5
Choose = Callable[[np.ndarray], np.ndarray]


def select(name: str, scaled: np.ndarray, answer: np.ndarray, *, kind: str, keep: int) -> Choose:
    """A function from (n, width) features to the (n, keep) that are kept, learned from these rows.

    f-test: analysis of variance or correlation. mutual-information: of ranks in five equal parts. mrmr: greatest F
    over the mean absolute correlation with those taken before (Ding & Peng 2005). l1: largest weights of a linear head
    with an L1 penalty. rfe: the smaller half of a linear head's weights dropped, again and again (Guyon 2002). pca: the
    directions of greatest spread. All but pca need one answer per row (classes or a quantity).
    """
    width = scaled.shape[1]
    if name == "none" or (keep >= width and name != "pca"):
        return lambda features: features
    if name == "pca":
        return _directions(scaled, keep)
    if kind not in (*heads.CLASSES, "regression"):
        raise InputError(
            f"selection {name} does not work for a {kind} question", where="choices.selection", remedy="use none or pca"
        )
    order = RULES[name](scaled, answer, kind != "regression", keep)
    columns = np.sort(order[:keep])
    return lambda features: features[:, columns]


def _directions(scaled: np.ndarray, keep: int) -> Choose:
    centre = scaled.mean(axis=0)
    _, _, rows = np.linalg.svd(scaled - centre, full_matrices=False)
    kept = rows[:keep].T
    return lambda features: (features - centre) @ kept


def _f(scaled: np.ndarray, answer: np.ndarray, classes: bool) -> np.ndarray:
    """(width,) F of analysis of variance between classes, or of the correlation with a quantity."""
    spread = scaled.var(axis=0)
    if classes:
        between = np.zeros(scaled.shape[1])
        values = np.unique(answer)
        for value in values:
            rows = scaled[answer == value]
            between += len(rows) * (rows.mean(axis=0) - scaled.mean(axis=0)) ** 2
        within = np.maximum(len(scaled) * spread - between, 1e-12)
        return np.where(spread > 1e-12, between / within * (len(scaled) - len(values)) / (len(values) - 1), 0.0)
    away = answer - answer.mean()
    part = (scaled - scaled.mean(axis=0)).T @ away / len(answer)
    squared = np.where(spread > 1e-12, part**2 / np.maximum(spread * answer.var(), 1e-12), 0.0)
    return squared / np.maximum(1 - squared, 1e-12) * (len(answer) - 2)


def _by_f(scaled: np.ndarray, answer: np.ndarray, classes: bool, _keep: int) -> np.ndarray:
    return np.argsort(-_f(scaled, answer, classes), kind="stable")


def _by_information(scaled: np.ndarray, answer: np.ndarray, classes: bool, _keep: int) -> np.ndarray:
    """Mutual information of ranks in equal parts with the answer, and F where it is the same."""
    place = np.argsort(np.argsort(scaled, axis=0, kind="stable"), axis=0, kind="stable") * BINS // len(scaled)
    ranked = np.argsort(np.argsort(answer, kind="stable"), kind="stable") * BINS // len(answer)
    known = np.unique(answer, return_inverse=True)[1] if classes else ranked
    members = (known[:, None] == np.arange(known.max() + 1)).astype(float)
    total = np.zeros(scaled.shape[1])
    for part in range(BINS):
        joint = (place == part).T @ members / len(scaled)
        apart = joint.sum(axis=1, keepdims=True) * members.mean(axis=0)
        total += np.where(joint > 0, joint * np.log(np.maximum(joint, 1e-12) / np.maximum(apart, 1e-12)), 0).sum(axis=1)
    return np.lexsort((-_f(scaled, answer, classes), -np.round(total, 12)))


def _by_relevance(scaled: np.ndarray, answer: np.ndarray, classes: bool, keep: int) -> np.ndarray:
    """Relevance over redundancy: each next feature has a large F and little in common with those taken before."""
    relevance = _f(scaled, answer, classes)
    spread = scaled.std(axis=0)
    unit = (scaled - scaled.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
    taken = [int(np.argmax(relevance))]
    shared = np.zeros(len(relevance))
    while len(taken) < keep:
        shared += np.abs(unit.T @ unit[:, taken[-1]]) / len(unit)
        worth = relevance / np.maximum(shared / len(taken), 1e-3)
        worth[taken] = -np.inf
        taken.append(int(np.argmax(worth)))
    return np.array(taken)


def _by_penalty(scaled: np.ndarray, answer: np.ndarray, classes: bool, _keep: int) -> np.ndarray:
    from sklearn.linear_model import Lasso, LogisticRegression

    if classes:
        # scikit-learn 1.8 gave the penalty another name.
        penalty: dict[str, Any] = {"l1_ratio": 1.0} if _renamed() else {"penalty": "l1"}
        model = LogisticRegression(solver="liblinear", C=0.5, max_iter=200, **penalty)
        values = np.unique(answer)
        targets = [answer == values[-1]] if len(values) == 2 else [answer == value for value in values]
        size = np.sum([np.abs(model.fit(scaled, target).coef_[0]) for target in targets], axis=0)
    else:
        size = np.abs(Lasso(alpha=0.05 * max(float(answer.std()), 1e-9), max_iter=2000).fit(scaled, answer).coef_)
    # Weights that are all zero say nothing about their order: F does.
    return np.lexsort((-_f(scaled, answer, classes), -size))


def _renamed() -> bool:
    import sklearn

    return tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= (1, 8)


def _by_elimination(scaled: np.ndarray, answer: np.ndarray, classes: bool, keep: int) -> np.ndarray:
    left = np.arange(scaled.shape[1])
    targets = [answer == value for value in np.unique(answer)] if classes else [answer]
    while len(left) > keep:
        size = np.sum([_ridge_size(scaled[:, left], np.asarray(target, float)) for target in targets], axis=0)
        left = left[np.argsort(-size, kind="stable")[: max(keep, len(left) // 2)]]
    return left


def _ridge_size(part: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Squared weights of a ridge fit, by the smaller of its two equal systems."""
    away = part - part.mean(axis=0)
    kernel = away @ away.T
    kernel[np.diag_indices_from(kernel)] += len(part)
    return (away.T @ np.linalg.solve(kernel, target - target.mean())) ** 2


RULES: dict[str, Callable[[np.ndarray, np.ndarray, bool, int], np.ndarray]] = {
    "f-test": _by_f,
    "mutual-information": _by_information,
    "mrmr": _by_relevance,
    "l1": _by_penalty,
    "rfe": _by_elimination,
}
