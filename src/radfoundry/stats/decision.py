"""Decision curves: whether acting on the model does more good than treating everybody or nobody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import InputError, Predictions
from radfoundry.stats.bootstrap import draw_weights
from radfoundry.stats.calibration import probabilities
from radfoundry.stats.inputs import Seed, as_predictions, interval_level

DRAWS = 1000


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit (true positives per case, false ones charged at the odds of the threshold) along thresholds.

    All arrays are (thresholds,): `net_benefit` of the model with pointwise `low` and `high`; `treat_all`; and
    `advantage` over the better of treating all and none (which is 0), with `advantage_low` and `advantage_high`.
    """

    thresholds: np.ndarray
    net_benefit: np.ndarray
    low: np.ndarray
    high: np.ndarray
    treat_all: np.ndarray
    advantage: np.ndarray
    advantage_low: np.ndarray
    advantage_high: np.ndarray
    level: float
    n: int


def decision_curve(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    thresholds: ArrayLike | None = None,
    level: float = 0.95,
    rng: Seed = 0,
) -> DecisionCurve:
    """The net benefit of acting when the model's probability reaches a threshold, for many thresholds.

    Args:
        data: predictions, or (n,) targets 0/1.
        score: (n,) calibrated probabilities.
        patient: (n,) patient names where rows of one patient repeat.
        thresholds: (k,) probabilities at which one would act, strictly between 0 and 1; 0.01 to 0.99 by default.
        level: confidence level of the pointwise bands (1,000 draws of patients).
        rng: seed or generator.

    Source: Vickers & Elkin, Med Decis Making 2006;26:565.

    >>> decision_curve([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], thresholds=[0.5]).net_benefit.tolist()
    [0.5]
    """
    found = as_predictions(data, score, patient=patient)
    tail = (1 - interval_level(level)) / 2
    truth, probability = probabilities(found)
    places = np.linspace(0.01, 0.99, 99) if thresholds is None else np.atleast_1d(np.asarray(thresholds, float))
    if places.ndim != 1 or not ((places > 0) & (places < 1)).all():
        raise InputError(
            "thresholds must lie strictly between 0 and 1", remedy="for example np.linspace(0.05, 0.5, 10)"
        )
    odds = places / (1 - places)
    called = (probability[:, None] >= places).astype(float)
    gain = called * (truth[:, None] - (~truth)[:, None] * odds)
    everybody = truth[:, None] - (~truth)[:, None] * odds
    weights = draw_weights(found.patient, draws=DRAWS, rng=rng)
    weights /= weights.sum(axis=1, keepdims=True)
    benefit, treat_all = gain.mean(axis=0), everybody.mean(axis=0)
    drawn = weights @ gain
    rival = np.maximum(weights @ everybody, 0.0)
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    worse, better = np.quantile(drawn - rival, [tail, 1 - tail], axis=0)
    advantage = benefit - np.maximum(treat_all, 0.0)
    return DecisionCurve(places, benefit, low, high, treat_all, advantage, worse, better, level, len(truth))
