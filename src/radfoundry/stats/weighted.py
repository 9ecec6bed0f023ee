"""Metrics as functions of row weights: sort once, then thousands of bootstrap draws in a few matrix operations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from radfoundry.records import Predictions
from radfoundry.stats.bootstrap import Weighted
from radfoundry.stats.inputs import binary_columns, finite_numbers

Prepared = Callable[[np.ndarray], np.ndarray]


class Ladder:
    """Rows sorted by score from high to low with ties grouped: the steps every ranking metric climbs."""

    def __init__(self, truth: np.ndarray, score: np.ndarray) -> None:
        self.order = np.argsort(-score, kind="stable")
        ordered = score[self.order]
        self.start = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self.threshold = ordered[self.start]
        self.positive = truth[self.order]

    def steps(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight of positives and of negatives on each step, both (draws, steps)."""
        ordered = weights[:, self.order]
        positive = ordered * self.positive
        negative = ordered - positive
        if len(self.start) == len(self.order):
            return positive, negative
        return np.add.reduceat(positive, self.start, axis=1), np.add.reduceat(negative, self.start, axis=1)

    def climbed(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positives and negatives scoring at or above each step, both (draws, steps)."""
        positive, negative = self.steps(weights)
        return positive.cumsum(axis=1), negative.cumsum(axis=1)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide part by whole, giving NaN instead of a warning where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole != 0)


def _auroc(data: Predictions) -> Prepared:
    ladder = Ladder(*binary_columns(data))

    def area(weights: np.ndarray) -> np.ndarray:
        positive, negative = ladder.steps(weights)
        above = positive.cumsum(axis=1)
        beaten = np.einsum("ds,ds->d", negative, above - positive / 2)
        return ratio(beaten, above[:, -1] * negative.sum(axis=1))

    return area


def _average_precision(data: Predictions) -> Prepared:
    ladder = Ladder(*binary_columns(data))

    def area(weights: np.ndarray) -> np.ndarray:
        positive, negative = ladder.steps(weights)
        found = positive.cumsum(axis=1)
        called = found + negative.cumsum(axis=1)
        precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
        return ratio(np.einsum("ds,ds->d", positive, precision), found[:, -1])

    return area


def _brier(data: Predictions) -> Prepared:
    truth, score = binary_columns(data)
    error = (score - truth) ** 2
    return lambda weights: ratio(weights @ error, weights.sum(axis=1))


def weighted_mean(name: str, of_row: Callable[[Predictions], np.ndarray]) -> Weighted:
    """A statistic that is the mean of something each row has, for example its absolute error."""

    def prepare(data: Predictions) -> Prepared:
        values = np.asarray(of_row(data), float)
        return lambda weights: ratio(weights @ values, weights.sum(axis=1))

    return Weighted(name, prepare)


def weighted_share(
    name: str, within: Callable[[Predictions], np.ndarray], hit: Callable[[Predictions], np.ndarray]
) -> Weighted:
    """A statistic that is the share of hits within a group of rows, for example positives called positive."""

    def prepare(data: Predictions) -> Prepared:
        group = np.asarray(within(data), float)
        counted = group * np.asarray(hit(data), float)
        return lambda weights: ratio(weights @ counted, weights @ group)

    return Weighted(name, prepare)


weighted_auroc = Weighted("AUROC", _auroc)
weighted_average_precision = Weighted("average precision", _average_precision)
weighted_brier = Weighted("Brier score", _brier)
weighted_mean_score = weighted_mean("mean", lambda data: finite_numbers(data.score, "score"))
