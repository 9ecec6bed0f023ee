"""Fitting heads: scikit-learn where it has the model, our own likelihood where it has not; plain arrays come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.records import InputError
from radfoundry.tasks.head_answers import logistic, ordinal_shares

NEVER = -30.0  # the offset of a class that no training patient had: it can never win
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Asked:
    """The kind of question, how many classes it has, and whether every class weighs the same, however rare."""

    kind: str
    classes: int = 2
    balanced: bool = False


def fit_arrays(name: str, scaled: np.ndarray, answers: np.ndarray, asked: Asked, *, strength: float) -> Arrays:
    """The arrays of one head fitted at one strength to (n, width) scaled features and their answers.

    answers: (n,) class numbers or quantities, (n, findings) of 0/1, or (n, 2) times and events.
    """
    kind, classes = asked.kind, asked.classes
    if name == "knn":
        return {"features": scaled, "answers": _remembered(answers, kind, classes)}
    if name == "ordinal":
        return _ordinal(scaled, answers.astype(int), strength=strength, classes=classes)
    if name == "cox":
        return _cox(scaled, answers, strength=strength)
    if kind == "multilabel":
        return _each_finding(name, scaled, answers, strength=strength, balanced=asked.balanced)
    if name == "svm":
        return _machine(scaled, answers, asked, strength=strength)
    if name == "boosting":
        return _forest(scaled, answers, asked, strength=strength)
    return _linear(name, scaled, answers, asked, strength=strength)


def _remembered(answers: np.ndarray, kind: str, classes: int) -> np.ndarray:
    if kind in ("regression", "multilabel"):
        return answers.reshape(len(answers), -1).astype(float)
    return np.eye(max(2, classes))[answers.astype(int)]


def _linear(name: str, scaled: np.ndarray, answers: np.ndarray, asked: Asked, *, strength: float) -> Arrays:
    from sklearn.linear_model import LogisticRegression, Ridge

    if name == "ridge":
        estimator: Any = Ridge(alpha=strength)
    else:
        weight = "balanced" if asked.balanced else None
        estimator = LogisticRegression(max_iter=2000, C=strength, class_weight=weight)
    estimator.fit(scaled, answers)
    weights, offset = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
    if asked.kind not in ("multiclass", "ordinal"):
        return {"weights": weights, "offset": offset}
    return _every_class(weights, offset, estimator.classes_.astype(int), max(2, asked.classes))


def _every_class(weights: np.ndarray, offset: np.ndarray, seen: np.ndarray, classes: int) -> Arrays:
    """One row per class of the question."""
    if len(seen) == 2:  # scikit-learn writes two classes as one row
        weights, offset = np.vstack([-weights, weights]) / 2, np.concatenate([-offset, offset]) / 2
    full, shift = np.zeros((classes, weights.shape[1])), np.full(classes, NEVER)
    full[seen], shift[seen] = weights, offset
    return {"weights": full, "offset": shift}


def _each_finding(name: str, scaled: np.ndarray, answers: np.ndarray, *, strength: float, balanced: bool) -> Arrays:
    """One yes-or-no head per finding; a finding that is the same for all keeps its share."""
    weights, offsets = np.zeros((answers.shape[1], scaled.shape[1])), np.zeros(answers.shape[1])
    for column, answer in enumerate(answers.T):
        share = answer.mean()
        if share in (0, 1):
            offsets[column] = NEVER if share == 0 else -NEVER
            continue
        one = fit_arrays(name, scaled, answer, Asked("binary", balanced=balanced), strength=strength)
        weights[column], offsets[column] = one["weights"][0], one["offset"][0]
    return {"weights": weights, "offset": offsets}


def _machine(scaled: np.ndarray, answers: np.ndarray, asked: Asked, *, strength: float) -> Arrays:
    from sklearn.svm import SVC, SVR

    kind, classes, balanced = asked.kind, asked.classes, asked.balanced
    gamma = 1.0 / scaled.shape[1]
    columns, offsets, support = [], [], np.zeros(len(scaled), bool)
    targets = [answers] if kind in ("binary", "regression") else [(answers == k).astype(int) for k in range(classes)]
    centre, spread = (answers.mean(), max(float(answers.std()), 1e-9)) if kind == "regression" else (0.0, 1.0)
    for target in targets:
        if kind != "regression" and len(np.unique(target)) < 2:
            columns.append(np.zeros(len(scaled)))
            offsets.append(NEVER)
            continue
        if kind == "regression":
            machine: Any = SVR(C=strength, gamma=gamma).fit(scaled, (answers - centre) / spread)
        else:
            machine = SVC(C=strength, gamma=gamma, class_weight="balanced" if balanced else None).fit(scaled, target)
        column = np.zeros(len(scaled))
        column[machine.support_] = machine.dual_coef_[0] * spread
        support[machine.support_] = True
        columns.append(column)
        offsets.append(float(machine.intercept_[0]) * spread + centre)
    return {
        "support": scaled[support],
        "coefficients": np.stack(columns, axis=1)[support],
        "offset": np.array(offsets),
        "gamma": np.array([gamma]),
    }


def _forest(scaled: np.ndarray, answers: np.ndarray, asked: Asked, *, strength: float) -> Arrays:
    """Gradient boosting (Friedman 2001) with shallow trees on random subsets of patients and features."""
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    kind, classes, balanced = asked.kind, asked.classes, asked.balanced
    grow = GradientBoostingRegressor if kind == "regression" else GradientBoostingClassifier
    options: Any = {"max_depth": 2, "subsample": 0.7, "max_features": "sqrt", "random_state": 0}
    estimator: Any = grow(n_estimators=int(strength), **options)
    weight = None
    if balanced and kind != "regression":
        counts = np.bincount(answers.astype(int), minlength=classes)
        weight = len(answers) / (np.maximum(counts, 1) * (counts > 0).sum())[answers.astype(int)]
    estimator.fit(scaled, answers, sample_weight=weight)
    trees = [(tree.tree_, column) for row in estimator.estimators_ for column, tree in enumerate(row)]
    seen = np.arange(1) if kind in ("regression", "binary") else estimator.classes_.astype(int)
    several = len(estimator.estimators_[0]) > 1
    arrays = _tree_tables(trees, rate=estimator.learning_rate)
    output = seen[arrays["output"]] if several else np.zeros(len(trees), int)
    start = np.full(1 if kind in ("regression", "binary") else max(2, classes), NEVER)
    first = estimator.predict(scaled[:1]) if kind == "regression" else estimator.decision_function(scaled[:1])
    grown = _grown(arrays, scaled[:1], several)
    if several or kind in ("regression", "binary"):
        start[seen] = np.ravel(first) - grown
        return {**arrays, "output": output, "start": start}
    # Two of several classes were seen: scikit-learn grows one row of trees for the second of them.
    start[seen] = [0.0, float(np.ravel(first)[0] - grown[0])]
    return {**arrays, "output": np.full(len(trees), seen[1]), "start": start}


def _grown(arrays: Arrays, scaled: np.ndarray, several: bool) -> np.ndarray:
    """What the trees alone add for one row."""
    from radfoundry.tasks.head_answers import forest as grow

    columns = int(arrays["output"].max()) + 1 if several else 1
    output = arrays["output"] if several else np.zeros(len(arrays["output"]), int)
    return grow({**arrays, "output": output, "start": np.zeros(columns)}, scaled)[0]


def _tree_tables(trees: list[tuple[Any, int]], *, rate: float) -> Arrays:
    """Every tree as one row of tables; a leaf's children are the leaf itself, so that walking on changes nothing."""
    nodes = max(tree.node_count for tree, _ in trees)
    shape = (len(trees), nodes)
    tables = {name: np.zeros(shape) for name in ("feature", "threshold", "left", "right", "value")}
    for row, (tree, _) in enumerate(trees):
        here, count = np.arange(tree.node_count), tree.node_count
        leaf = tree.children_left < 0
        tables["feature"][row, :count] = np.where(leaf, 0, tree.feature)
        tables["threshold"][row, :count] = tree.threshold
        tables["left"][row, :count] = np.where(leaf, here, tree.children_left)
        tables["right"][row, :count] = np.where(leaf, here, tree.children_right)
        tables["value"][row, :count] = tree.value[:, 0, 0] * rate
    depth = max(tree.max_depth for tree, _ in trees)
    return {**tables, "output": np.array([column for _, column in trees]), "depth": np.array([max(depth, 1)])}


def _ordinal(scaled: np.ndarray, answers: np.ndarray, *, strength: float, classes: int) -> Arrays:
    """Proportional odds with an L2 penalty; strength is the inverse of the penalty, as in the logistic head."""
    from scipy.optimize import minimize

    width = scaled.shape[1]
    rows = np.arange(len(answers))
    shares = np.cumsum(np.bincount(answers, minlength=classes) + 0.5)[:-1]
    levels = shares / (len(answers) + 0.5 * classes)
    borders = np.log(levels / (1 - levels))
    start = np.concatenate([np.zeros(width), borders[:1], np.log(np.maximum(np.diff(borders), 1e-3))])

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights, thresholds = values[:width], _borders(values[width:])
        place = scaled @ weights
        below = logistic(thresholds[None] - place[:, None])
        slope = np.pad(below * (1 - below), ((0, 0), (1, 1)))
        share = ordinal_shares(place, thresholds)[rows, answers]
        upper, lower = slope[rows, answers + 1] / share, slope[rows, answers] / share
        at_border = np.zeros(classes - 1)
        np.add.at(at_border, np.minimum(answers, classes - 2), np.where(answers < classes - 1, -upper, 0))
        np.add.at(at_border, np.maximum(answers - 1, 0), np.where(answers > 0, lower, 0))
        onwards = np.cumsum(at_border[::-1])[::-1]
        gaps = onwards[1:] * np.exp(values[width + 1 :])
        gradient = np.concatenate([scaled.T @ (upper - lower) + weights / strength, onwards[:1], gaps])
        return -float(np.log(share).sum()) + float(weights @ weights) / (2 * strength), gradient

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    weights, thresholds = found.x[:width], _borders(found.x[width:])
    return {"weights": weights[None], "offset": np.zeros(1), "thresholds": thresholds}


def _borders(values: np.ndarray) -> np.ndarray:
    """The first border and the logarithms of the gaps after it, as rising borders."""
    return np.cumsum(np.concatenate([values[:1], np.exp(values[1:])]))


def _cox(scaled: np.ndarray, answers: np.ndarray, *, strength: float) -> Arrays:
    """Proportional hazards with an L2 penalty of `strength` (Cox 1972; Breslow's rule for ties)."""
    from scipy.optimize import minimize

    time, event = answers[:, 0], answers[:, 1] > 0
    if not event.any():
        raise InputError("no training patient had the event", remedy="check the event column", finding="one-class")
    order = np.argsort(-time, kind="stable")
    rows, time, event = scaled[order], time[order], event[order]
    last = np.searchsorted(-time, -time, side="right") - 1  # everyone whose time is at least as long

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        risk = rows @ weights
        raised = np.exp(risk - risk.max())
        total = np.cumsum(raised)[last]
        value = -float((risk - risk.max() - np.log(total))[event].sum()) + strength * float(weights @ weights) / 2
        shares = np.zeros(len(time))
        np.add.at(shares, last[event], 1 / total[event])
        at_risk = np.cumsum(shares[::-1])[::-1]
        return value, rows.T @ (raised * at_risk - event) + strength * weights

    found = minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return {"weights": found.x[None], "offset": np.zeros(1)}
