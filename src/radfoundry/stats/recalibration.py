"""Mending probabilities on validation data: temperature, Platt's line, isotonic steps; and measuring the slope."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_softmax, logit, ndtri, softmax

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.calibration import probabilities
from radfoundry.stats.inputs import (
    as_predictions,
    binary_columns,
    clusters,
    finite_numbers,
    interval_level,
    one_class_note,
)

# A probability of exactly 0 or 1 has no logit; one part in a million is kept away from both.
EDGE = 1e-6


@dataclass(frozen=True)
class Line:
    """Logit of the mended probability = slope x score + intercept; a temperature T is slope 1/T on logits."""

    slope: float
    intercept: float
    on_logits: bool
    method: str
    n: int

    def apply(self, score: ArrayLike) -> np.ndarray:
        """(n,) mended probabilities of (n,) scores of the same kind as the ones fitted."""
        values = finite_numbers(score, "score")
        return expit(self.slope * (_logits(values) if self.on_logits else values) + self.intercept)


@dataclass(frozen=True)
class Steps:
    """A rising staircase from score to probability; between fitted scores straight lines, flat beyond the ends."""

    score: tuple[float, ...]
    probability: tuple[float, ...]
    method: str
    n: int

    def apply(self, score: ArrayLike) -> np.ndarray:
        """(n,) mended probabilities of (n,) scores."""
        return np.interp(finite_numbers(score, "score"), self.score, self.probability)


@dataclass(frozen=True)
class Temperature:
    """One temperature for all classes: probabilities = softmax(logits / temperature); the ranking never changes."""

    temperature: float
    n: int

    def apply(self, logits: ArrayLike) -> np.ndarray:
        """(n, k) probabilities of (n, k) logits."""
        return softmax(np.asarray(logits, float) / self.temperature, axis=1)


def _logits(probability: np.ndarray) -> np.ndarray:
    return logit(np.clip(probability, EDGE, 1 - EDGE))


def _both_classes(found: Predictions) -> None:
    note = one_class_note(binary_columns(found)[0])
    if note:
        raise InputError(note, remedy="fit on cases with and without the finding")


def fit_temperature(validation: Predictions | ArrayLike, score: ArrayLike | None = None) -> Line:
    """Soften (or sharpen) probabilities by one number, the temperature, chosen on validation data.

    Source: Guo et al., ICML 2017 (maximum likelihood of softmax(logits / T)), here for two classes.

    >>> fit = fit_temperature([0, 1, 0, 1], [0.01, 0.99, 0.99, 0.99])
    >>> fit.slope < 1
    True
    """
    found = as_predictions(validation, score)
    _both_classes(found)
    truth, probability = probabilities(found)
    slope = _fit_slope(_logits(probability), truth)
    return Line(slope, 0.0, True, f"temperature {1 / slope:.3g}", len(truth))


def _fit_slope(logits: np.ndarray, truth: np.ndarray) -> float:
    """The slope through 0 with the largest likelihood; refused when larger, or smaller than 0, would be better."""
    from scipy.optimize import minimize_scalar

    signed = np.where(truth, logits, -logits)

    def loss(log_slope: float) -> float:
        return float(np.logaddexp(0, -math.exp(log_slope) * signed).mean())

    if (signed >= 0).all():
        raise InputError(
            "0.5 separates the classes perfectly, so no temperature fits", remedy="use more validation cases"
        )
    if signed.mean() <= 0:
        raise InputError("the probabilities run against the truth", remedy="turn the score round, or use fit_platt")
    best = minimize_scalar(loss, bounds=(-12, 12), method="bounded", options={"xatol": 1e-9})
    return math.exp(float(best.x))


def fit_class_temperature(target: ArrayLike, logits: ArrayLike) -> Temperature:
    """One temperature for several classes. target: (n,) class numbers; logits: (n, k).

    >>> fit_class_temperature([0, 1, 1, 0], [[4.0, 0], [0, 4.0], [4.0, 0], [4.0, 0]]).temperature > 1
    True
    """
    from scipy.optimize import minimize_scalar

    values, classes = np.asarray(logits, float), np.asarray(target)
    if values.ndim != 2 or len(values) != len(classes) or classes.dtype.kind not in "iub":
        raise InputError("need (n, k) logits and n class numbers", remedy="number the classes from 0")
    rows = np.arange(len(classes))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(values / math.exp(log_temperature), axis=1)[rows, classes.astype(int)].mean())

    best = minimize_scalar(loss, bounds=(-7, 7), method="bounded", options={"xatol": 1e-9})
    return Temperature(math.exp(float(best.x)), len(classes))


def fit_platt(validation: Predictions | ArrayLike, score: ArrayLike | None = None, *, on_logits: bool = False) -> Line:
    """Turn any score into a probability with a fitted S-curve; the targets are pulled in slightly against overfitting.

    Args:
        validation: predictions with both classes, or (n,) targets 0/1; scores may be on any scale.
        score: (n,) scores beside plain targets.
        on_logits: the scores are probabilities and the line is fitted on their logits.

    Source: Platt, Advances in Large Margin Classifiers 1999;61; Lin et al., Mach Learn 2007;68:267.

    >>> fit = fit_platt([0, 0, 1, 1], [-2.0, 1.0, -1.0, 2.0])
    >>> bool(fit.apply([-3.0])[0] < fit.apply([3.0])[0])
    True
    """
    found = as_predictions(validation, score)
    _both_classes(found)
    truth, values = probabilities(found) if on_logits else binary_columns(found)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    pulled = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, intercept, _ = logistic_line(_logits(values) if on_logits else values, pulled)
    return Line(slope, intercept, on_logits, "Platt", len(truth))


def logistic_line(x: np.ndarray, y: np.ndarray, *, steps: int = 100) -> tuple[float, float, np.ndarray]:
    """Slope, intercept and (2, 2) inverse information of y ~ expit(slope x + intercept), by damped Newton steps.

    y may lie anywhere in 0 to 1. Refused when no finite line fits (perfect separation).
    """
    _refuse_separated(x, y)
    centre, scale = float(x.mean()), float(x.std())
    design = np.stack([(x - centre) / scale, np.ones_like(x)], axis=1)
    line = np.zeros(2)

    def loss(values: np.ndarray) -> float:
        linear = design @ values
        return float((np.logaddexp(0, linear) - y * linear).sum())

    now = loss(line)
    for _ in range(steps):
        fitted = expit(design @ line)
        gradient = design.T @ (fitted - y)
        information = design.T @ (design * (fitted * (1 - fitted))[:, None]) + 1e-12 * np.eye(2)
        move = np.linalg.solve(information, gradient)
        share = 1.0
        while loss(line - share * move) > now + 1e-12 and share > 1e-6:
            share /= 2
        line, before, now = line - share * move, now, loss(line - share * move)
        if abs(before - now) < 1e-12 and float(np.abs(gradient).max()) < 1e-8:
            break
    else:
        raise InputError("the logistic line does not settle", remedy="check the scores for extreme values")
    turn = np.array([[1 / scale, 0.0], [-centre / scale, 1.0]])
    return float(line[0] / scale), float(line[1] - line[0] * centre / scale), turn @ np.linalg.inv(information) @ turn.T


def _refuse_separated(x: np.ndarray, y: np.ndarray) -> None:
    """One score has a finite logistic line exactly when the classes overlap by more than one value."""
    if x.min() == x.max():
        raise InputError("all scores are equal, so no line fits", remedy="give scores that vary")
    if np.isin(y, (0, 1)).all():
        up, down = x[y == 1], x[y == 0]
        if up.min() >= down.max() or down.min() >= up.max():
            raise InputError("the scores separate the classes perfectly, so no line fits", remedy="use more cases")


def fit_isotonic(validation: Predictions | ArrayLike, score: ArrayLike | None = None) -> Steps:
    """Turn any score into a probability that only assumes "higher score, not less likely" (pool adjacent violators).

    Needs more validation cases than a line does: with fewer than a few hundred it overfits.

    Source: Zadrozny & Elkan, KDD 2002;694; Barlow et al., Statistical Inference under Order Restrictions, 1972.

    >>> fit_isotonic([0, 1, 0, 1], [1.0, 2.0, 3.0, 4.0]).apply([1.0, 2.5, 4.0]).tolist()
    [0.0, 0.5, 1.0]
    """
    found = as_predictions(validation, score)
    _both_classes(found)
    truth, values = binary_columns(found)
    levels, place = np.unique(values, return_inverse=True)
    weight = np.bincount(place).astype(float)
    blocks: list[list[float]] = []
    for total, count in zip(np.bincount(place, truth), weight, strict=True):
        blocks.append([float(total), float(count), 1])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    steps = np.repeat([total / count for total, count, _ in blocks], [int(width) for *_, width in blocks])
    return Steps(tuple(levels.tolist()), tuple(steps.tolist()), "isotonic", len(truth))


def calibration_slope(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Whether probabilities are too extreme (slope below 1, overfitted) or too timid (above 1).

    Logistic regression of the outcome on the logit of the probability; the variance is the sandwich over patients.

    Source: Cox, Biometrika 1958;45:562; Van Calster et al., BMC Med 2019;17:230.

    >>> calibration_slope([0, 1, 0, 1, 1, 0], [0.2, 0.3, 0.4, 0.6, 0.8, 0.7]).n
    6
    """
    found = as_predictions(data, score, patient=patient)
    truth, probability = probabilities(found)
    title, note = "logistic slope, sandwich by patient", one_class_note(truth)
    if note:
        return Estimate.undefined(note, n=len(truth), method=title, level=level)
    x = _logits(probability)
    try:
        slope, intercept, bread = logistic_line(x, truth.astype(float))
    except InputError as error:
        return Estimate.undefined(error.what, n=len(truth), method=title, level=level)
    residual = truth - expit(slope * x + intercept)
    group, count = clusters(found.patient)
    pieces = np.stack([np.bincount(group, residual * x, count), np.bincount(group, residual, count)])
    variance = (bread @ (pieces @ pieces.T) @ bread)[0, 0] * count / max(count - 1, 1)
    reach = float(ndtri(0.5 + interval_level(level) / 2)) * math.sqrt(float(variance))
    return Estimate(slope, slope - reach, slope + reach, level=level, method=title, n=len(truth), note="1 is ideal")


def calibration_in_the_large(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Observed share minus mean probability: above 0 the model says too little, below 0 too much.

    >>> round(calibration_in_the_large([0, 0, 1, 1], [0.2, 0.4, 0.5, 0.7]).value, 3)
    0.05
    """
    from radfoundry.stats.comparisons import mean_difference

    found = as_predictions(data, score, patient=patient)
    truth, probability = probabilities(found)
    return mean_difference(truth.astype(float), probability, patient=found.patient, level=level)
