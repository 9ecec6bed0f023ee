"""One figure for each kind of question that is higher for better answers, for many weightings of the cases at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from radfoundry.records import Predictions
from radfoundry.stats import weighted
from radfoundry.tasks import heads, measure

Prepared = Callable[[np.ndarray], np.ndarray]
NAMES = {"regression": "skill", "survival": "concordance"}


def figure_name(kind: str) -> str:
    """What the figure of a kind of question is called: auroc, concordance or skill."""
    return NAMES.get(kind, "auroc")


def figure(kind: str, found: Predictions) -> Prepared:
    """From weights (draws, n) of the cases to the figure of each draw, NaN where it is undefined.

    auroc: of yes-or-no; the mean one-against-rest of classes and grades; the mean of findings. concordance: Harrell's.
    skill: 1 minus the mean absolute error over that of always giving the median, so 0 is no better than not looking.
    """
    if kind == "regression":
        return _skill(found)
    if kind == "survival":
        return _concordance(found)
    if kind == "multilabel":
        return measure.MACRO_AUROC.prepare(found)
    if kind == "binary":
        return weighted.weighted_auroc.prepare(found)
    return _mean_area(found)


def whole(kind: str, found: Predictions) -> float:
    """The figure of all cases.

    >>> whole("regression", Predictions.of([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]))
    1.0
    """
    if kind in heads.CLASSES and len(np.unique(found.target)) < 2:
        return float("nan")
    return float(figure(kind, found)(np.ones((1, len(found))))[0])


def _mean_area(found: Predictions) -> Prepared:
    parts = [weighted.weighted_auroc.prepare(measure.one_class(found, int(name))) for name in np.unique(found.target)]

    def mean(weights: np.ndarray) -> np.ndarray:
        areas = np.array([part(weights) for part in parts])
        known = ~np.isnan(areas)
        return weighted.ratio(np.where(known, areas, 0).sum(axis=0), known.sum(axis=0).astype(float))

    return mean


def _skill(found: Predictions) -> Prepared:
    truth = found.target.astype(float)
    error, without = np.abs(found.score - truth), np.abs(truth - np.median(truth))
    return lambda weights: 1 - weighted.ratio(weights @ error, weights @ without)


def _concordance(found: Predictions) -> Prepared:
    """The share of comparable pairs of drawn patients in which the higher risk had the event first; ties count half."""
    time, event = found.target[:, 0], found.target[:, 1] > 0
    later = (time[:, None] < time[None]) | ((time[:, None] == time[None]) & ~event[None])
    pairs = (event[:, None] & later).astype(float)
    better = pairs * ((found.score[:, None] > found.score[None]) + 0.5 * (found.score[:, None] == found.score[None]))

    def share(weights: np.ndarray) -> np.ndarray:
        good = np.einsum("dj,dj->d", weights @ better, weights)
        return weighted.ratio(good, np.einsum("dj,dj->d", weights @ pairs, weights))

    return share
