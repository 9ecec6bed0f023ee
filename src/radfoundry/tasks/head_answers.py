"""What a fitted head says: plain arrays in, scores out, without the library that fitted them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]
CLASSES = ("multiclass", "ordinal")


def answer(name: str, kind: str, strength: float, arrays: Arrays, scaled: np.ndarray) -> np.ndarray:
    """Scores of (n, width) scaled features.

    The probability of class 1 (binary), of every class (multiclass, ordinal) or of every finding (multilabel), the
    quantity (regression), or the log relative risk (survival).
    """
    if name == "knn":
        return _neighbours(arrays, scaled, kind=kind, count=int(strength))
    raw = RAW[name](arrays, scaled)
    if kind == "ordinal":
        return ordinal_shares(raw[:, 0], arrays["thresholds"]) if "thresholds" in arrays else softmax(raw)
    if kind in ("regression", "survival"):
        return raw[:, 0]
    if kind == "binary":
        return logistic(raw[:, 0])
    return logistic(raw) if kind == "multilabel" else softmax(raw)


def logistic(raw: np.ndarray) -> np.ndarray:
    """The logistic curve, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * raw))


def softmax(raw: np.ndarray) -> np.ndarray:
    """(n, classes) probabilities that add up to one."""
    raised = np.exp(raw - raw.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def ordinal_shares(place: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(n, classes) probabilities of ordered classes from a place on one line and the borders between classes.

    Source: McCullagh, J R Stat Soc B 1980;42:109 (proportional odds).
    """
    below = logistic(thresholds[None] - place[:, None])
    edges = np.concatenate([np.zeros((len(place), 1)), below, np.ones((len(place), 1))], axis=1)
    return np.maximum(np.diff(edges, axis=1), 1e-12)


def _linear(arrays: Arrays, scaled: np.ndarray) -> np.ndarray:
    return scaled @ arrays["weights"].T + arrays["offset"]


def _machine(arrays: Arrays, scaled: np.ndarray) -> np.ndarray:
    """Support vectors with a Gaussian kernel, one column of coefficients per output."""
    support = arrays["support"]
    squared = _squared(scaled, support)
    return np.exp(-float(arrays["gamma"][0]) * squared) @ arrays["coefficients"] + arrays["offset"]


def forest(arrays: Arrays, scaled: np.ndarray) -> np.ndarray:
    """A sum of small trees; nodes are rows of (trees, nodes) tables and leaves point to themselves."""
    feature, threshold = arrays["feature"].astype(int), arrays["threshold"]
    left, right, value = arrays["left"].astype(int), arrays["right"].astype(int), arrays["value"]
    output = arrays["output"].astype(int)
    raw = np.tile(arrays["start"], (len(scaled), 1))
    # Trees were grown on single precision, so borders are compared in it.
    rows, single = np.arange(len(scaled)), scaled.astype(np.float32)
    for tree in range(len(feature)):
        node = np.zeros(len(scaled), int)
        for _ in range(int(arrays["depth"][0])):
            goes_left = single[rows, feature[tree, node]] <= threshold[tree, node]
            node = np.where(goes_left, left[tree, node], right[tree, node])
        raw[:, output[tree]] += value[tree, node]
    return raw


def _squared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.maximum((first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None] - 2 * first @ second.T, 0)


def _neighbours(arrays: Arrays, scaled: np.ndarray, *, kind: str, count: int) -> np.ndarray:
    distance = np.sqrt(_squared(scaled, arrays["features"]))
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :count]
    weight = 1 / (np.take_along_axis(distance, nearest, axis=1) + 1e-9)
    weight /= weight.sum(axis=1, keepdims=True)
    mixed = (arrays["answers"][nearest] * weight[:, :, None]).sum(axis=1)
    if kind == "regression":
        return mixed[:, 0]
    mixed = np.clip(mixed, 0, 1)  # weights add up to one only within rounding
    return mixed[:, 1] if kind == "binary" else mixed


RAW: dict[str, Callable[[Arrays, np.ndarray], np.ndarray]] = {
    "logistic": _linear,
    "ridge": _linear,
    "ordinal": _linear,
    "cox": _linear,
    "svm": _machine,
    "boosting": forest,
}
