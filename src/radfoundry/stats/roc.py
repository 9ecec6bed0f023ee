"""The ROC curve with a band around it, and readings along it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import InputError, Predictions
from radfoundry.stats.bootstrap import Sampler
from radfoundry.stats.inputs import (
    Seed,
    as_predictions,
    binary_columns,
    choice,
    generator,
    interval_level,
    one_class_note,
)
from radfoundry.stats.weighted import Ladder

BAND_DRAWS = 1000


@dataclass(frozen=True)
class RocCurve:
    """Sensitivity against false-positive rate, every step of it, with a band at each step.

    All arrays are (steps,), from (0, 0) with threshold infinity to (1, 1). A case counts as called when its score
    is at or above the threshold. `band` says what `low` and `high` promise; `n` is the number of rows.
    """

    false_positive_rate: np.ndarray
    sensitivity: np.ndarray
    thresholds: np.ndarray
    low: np.ndarray
    high: np.ndarray
    band: str
    level: float
    n: int


def roc_curve(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    level: float = 0.95,
    band: str = "pointwise",
    rng: Seed = 0,
) -> RocCurve:
    """The ROC curve with a bootstrap band for sensitivity at each false-positive rate; patients are drawn, not rows.

    Args:
        data: predictions, or (n,) targets 0/1; both classes must be there.
        score: (n,) scores.
        patient: (n,) patient names where rows of one patient repeat.
        level: confidence level of the band.
        band: "pointwise" (each place covers on its own) or "simultaneous" (the whole curve lies inside at once).
        rng: seed or generator of the 1,000 draws.

    >>> curve = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> curve.sensitivity.tolist(), curve.false_positive_rate.tolist()
    ([0.0, 0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5, 1.0])
    """
    found = as_predictions(data, score, patient=patient)
    interval_level(level)
    choice(band, ("pointwise", "simultaneous"), "band")
    truth, values = binary_columns(found)
    note = one_class_note(truth)
    if note:
        raise InputError(note, remedy="a ROC curve needs cases with and without the finding")
    ladder = Ladder(truth, values)
    sensitivity, alarms = (side[0] for side in rates(ladder, np.ones((1, len(truth)))))
    sampler = Sampler.of(found.patient)
    weights = sampler.weights(sampler.positions(generator(rng), BAND_DRAWS))
    drawn = sensitivity_at(*rates(ladder, weights), places=alarms)
    low, high = _band(
        sensitivity, drawn[~np.isnan(drawn).any(axis=1)], simultaneous=band == "simultaneous", level=level
    )
    thresholds = np.r_[np.inf, ladder.threshold]
    return RocCurve(alarms, sensitivity, thresholds, low, high, f"{band}, bootstrap by patient", level, len(truth))


def rates(ladder: Ladder, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sensitivity and false-positive rate at each threshold, both (draws, steps + 1), beginning at 0.

    NaN rows where a draw holds one class only.
    """
    sides = []
    for side in ladder.climbed(weights):
        total = side[:, -1:]
        share = np.divide(side, total, out=np.full_like(side, np.nan), where=total > 0)
        sides.append(np.concatenate([np.where(total > 0, 0.0, np.nan), share], axis=1))
    return sides[0], sides[1]


def sensitivity_at(sensitivity: np.ndarray, alarms: np.ndarray, *, places: np.ndarray) -> np.ndarray:
    """(draws, places) sensitivity at given false-positive rates, straight lines between steps, top of vertical steps.

    >>> sensitivity_at(np.array([[0, 0.5, 1.0]]), np.array([[0, 0, 1.0]]), places=np.array([0.0, 0.5])).tolist()
    [[0.5, 0.75]]
    """
    result = np.full((len(alarms), len(places)), np.nan)
    for row, (up, right) in enumerate(zip(sensitivity, alarms, strict=True)):
        if np.isnan(up[0]) or np.isnan(right[0]):
            continue
        # Rates are ratios of counts: without the slack 0.3 and 3/10 could fall on two sides of a step.
        left = np.searchsorted(right, places + 1e-12, side="right") - 1
        after = np.minimum(left + 1, len(right) - 1)
        width = right[after] - right[left]
        share = np.divide(places - right[left], width, out=np.zeros(len(places)), where=width > 0)
        result[row] = up[left] + np.clip(share, 0, 1) * (up[after] - up[left])
    return result


def _band(curve: np.ndarray, drawn: np.ndarray, *, simultaneous: bool, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge: quantiles at each place, or the curve plus and minus a common multiple of its spread."""
    tail = (1 - level) / 2
    if not simultaneous:
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        return np.minimum(low, curve), np.maximum(high, curve)
    spread = drawn.std(axis=0, ddof=1)
    # Where draws hardly differ a tiny spread would set the multiple for the whole curve.
    scale = np.where(spread > 0, np.maximum(spread, spread.max() * 0.1), 0.0)
    distance = np.divide(np.abs(drawn - curve), scale, out=np.zeros_like(drawn), where=scale > 0)
    reach = np.quantile(distance.max(axis=1), level)
    return np.clip(curve - reach * scale, 0, 1), np.clip(curve + reach * scale, 0, 1)
