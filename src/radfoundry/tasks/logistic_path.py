"""Logistic regression at several strengths at once: one decomposition of the features, then Newton steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STEPS, TOLERANCE, HALVINGS = 60, 1e-8, 30


def logistic_path(
    features: np.ndarray, answer: np.ndarray, strengths: Sequence[float], *, balanced: bool = False
) -> list[tuple[np.ndarray, float]]:
    """Weights (width,) and offset of logistic regression with an L2 penalty, one pair per strength (scikit-learn's C).

    features (n, width), answer (n,) of 0 and 1, both present. The answer is that of a fit at each strength alone; with
    fewer rows than features it is found in the space that the rows span, which holds it (the representer theorem,
    Kimeldorf & Wahba 1970), and every strength starts where the one before ended.

    >>> pairs = logistic_path(np.array([[-1.0], [0.5], [1.0], [-0.2]]), np.array([0, 1, 1, 1]), (1.0,))
    >>> pairs[0][0].shape, round(pairs[0][1], 2) > 0
    ((1,), True)
    """
    left, sizes, right = np.linalg.svd(features, full_matrices=False)
    kept = sizes > sizes[0] * 1e-12 if len(sizes) else np.zeros(0, bool)
    inside = np.column_stack([left[:, kept] * sizes[kept], np.ones(len(features))])
    truth = answer.astype(float)
    share = truth.mean()
    weight = np.where(truth > 0, 0.5 / share, 0.5 / (1 - share)) if balanced else np.ones(len(truth))
    found: list[tuple[np.ndarray, float]] = [(np.zeros(0), 0.0)] * len(strengths)
    place = np.zeros(inside.shape[1])
    for number in np.argsort(strengths):
        place = _newton(inside, truth, weight * float(strengths[number]), place)
        found[number] = (right[kept].T @ place[:-1], float(place[-1]))
    return found


def _newton(inside: np.ndarray, truth: np.ndarray, weight: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The minimum of half the squared weights plus the weighted log loss, by Newton steps halved until they help."""
    penalty = np.ones(len(start))
    penalty[-1] = 0.0
    place, value = start, _loss(inside, truth, weight, start, penalty)
    for _ in range(STEPS):
        chance = 0.5 * (1 + np.tanh(0.5 * (inside @ place)))
        slope = inside.T @ (weight * (chance - truth)) + penalty * place
        if np.abs(slope).max() < TOLERANCE * max(1.0, float(weight.sum())):
            break
        curve = inside.T @ (inside * (weight * chance * (1 - chance))[:, None])
        curve[np.diag_indices_from(curve)] += penalty + 1e-12
        step = np.linalg.solve(curve, slope)
        for _ in range(HALVINGS):
            ahead = _loss(inside, truth, weight, place - step, penalty)
            if ahead <= value:
                break
            step = step / 2
        if value - ahead <= 1e-14 * max(1.0, abs(value)):
            break
        place, value = place - step, ahead
    return place


def softmax_path(
    features: np.ndarray, answer: np.ndarray, strengths: Sequence[float], *, classes: int, balanced: bool = False
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (seen, width) and offsets (seen,) of multinomial logistic regression, one pair per strength.

    answer (n,) holds class numbers 0 … classes - 1, each at least once. Newton steps as in `logistic_path`; meant for
    few rows and classes, since the curvature is a square of rows times classes.
    """
    left, sizes, right = np.linalg.svd(features, full_matrices=False)
    kept = sizes > sizes[0] * 1e-12
    inside = np.column_stack([left[:, kept] * sizes[kept], np.ones(len(features))])
    truth = np.eye(classes)[answer]
    weight = len(answer) / (classes * truth.sum(axis=0))[answer] if balanced else np.ones(len(answer))
    found: list[tuple[np.ndarray, np.ndarray]] = [(np.zeros(0), np.zeros(0))] * len(strengths)
    place = np.zeros((inside.shape[1], classes))
    for number in np.argsort(strengths):
        place = _softmax_newton(inside, truth, weight * float(strengths[number]), place)
        found[number] = (place[:-1].T @ right[kept], place[-1])
    return found


def _softmax_newton(inside: np.ndarray, truth: np.ndarray, weight: np.ndarray, start: np.ndarray) -> np.ndarray:
    rows, classes = start.shape
    penalty = np.ones((rows, 1))
    penalty[-1] = 1e-9  # only differences of offsets matter; this picks those that add up to zero
    place, (value, chance) = start, _softmax_loss(inside, truth, weight, start, penalty)
    for _ in range(STEPS):
        slope = inside.T @ (weight[:, None] * (chance - truth)) + penalty * place
        if np.abs(slope).max() < TOLERANCE * max(1.0, float(weight.sum())):
            break
        curve = np.zeros((rows, classes, rows, classes))
        for one in range(classes):
            for other in range(classes):
                spread = chance[:, one] * ((one == other) - chance[:, other]) * weight
                curve[:, one, :, other] = inside.T @ (inside * spread[:, None])
        flat = curve.reshape(rows * classes, rows * classes)
        flat[np.diag_indices_from(flat)] += np.repeat(penalty[:, 0], classes)
        step = np.linalg.solve(flat, slope.reshape(-1)).reshape(rows, classes)
        for _ in range(HALVINGS):
            ahead, chance_ahead = _softmax_loss(inside, truth, weight, place - step, penalty)
            if ahead <= value:
                break
            step = step / 2
        if value - ahead <= 1e-14 * max(1.0, abs(value)):
            break
        place, value, chance = place - step, ahead, chance_ahead
    return place


def _softmax_loss(
    inside: np.ndarray, truth: np.ndarray, weight: np.ndarray, place: np.ndarray, penalty: np.ndarray
) -> tuple[float, np.ndarray]:
    raw = inside @ place
    raised = np.exp(raw - raw.max(axis=1, keepdims=True))
    total = raised.sum(axis=1, keepdims=True)
    surprise = np.log(total[:, 0]) + raw.max(axis=1) - (raw * truth).sum(axis=1)
    return float(weight @ surprise + 0.5 * (penalty * place**2).sum()), raised / total


def _loss(inside: np.ndarray, truth: np.ndarray, weight: np.ndarray, place: np.ndarray, penalty: np.ndarray) -> float:
    raw = inside @ place
    return float(weight @ (np.logaddexp(0, raw) - truth * raw) + 0.5 * (penalty * place) @ place)
