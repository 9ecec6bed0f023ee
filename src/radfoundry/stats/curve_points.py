"""Measured points of a learning curve: scores at growing numbers of labels, redrawn with draws and cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import InputError, Predictions
from radfoundry.stats.bootstrap import draw_weights, patient_strata
from radfoundry.stats.inputs import at_least, binary_columns, finite_numbers
from radfoundry.stats.weighted import weighted_auroc

# No family of curves is exact: points miss the true curve by about one AUC point even with endless data. Chosen on
# half of the public curves in docs/plan-labels.md and checked on the other half.
FAMILY_ERROR = 0.01


class CurvePoints(Protocol):
    """Points of one learning curve that can be redrawn: sizes, mean scores and their errors, each (sizes,)."""

    @property
    def size(self) -> np.ndarray:
        """Numbers of labels, growing."""
        ...

    @property
    def score(self) -> np.ndarray:
        """Mean AUROC at each size."""
        ...

    @property
    def error(self) -> np.ndarray:
        """Standard error of each mean."""
        ...

    def redrawn(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, sizes) scores of as many imagined repetitions of the whole experiment."""
        ...


@dataclass(frozen=True, eq=False)
class ScorePoints:
    """Points known by their scores alone: one row per draw of the labelled subset, one column per size.

    `validation_error` is (sizes,), the standard error that the finite validation set adds; since all sizes share
    that set, half of its variance is taken as common to all points.
    """

    size: np.ndarray
    table: np.ndarray
    validation_error: np.ndarray

    @property
    def draws(self) -> int:
        """How many subsets were drawn at each size."""
        return len(self.table)

    @property
    def score(self) -> np.ndarray:
        """Mean over draws."""
        return self.table.mean(axis=0)

    @property
    def error(self) -> np.ndarray:
        """Standard error of each mean, validation and family error included."""
        return np.sqrt(draw_variance(self.table) / self.draws + self.validation_error**2 + FAMILY_ERROR**2)

    def redrawn(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Redraw the subsets (whole rows, so that nested sizes stay together) and add the validation error."""
        means = _redrawn_means(self.table, rng.integers(0, self.draws, (count, self.draws)))
        common, own = rng.standard_normal((count, 1)), rng.standard_normal((count, len(self.size)))
        return means + self.validation_error * (common + own) / np.sqrt(2) + _family_noise(means.shape, rng)


@dataclass(frozen=True, eq=False)
class CasePoints:
    """Points known by every validation case's score: (draws, sizes, cases), with the truth and patient of each case.

    The same validation cases judge every point, so they are redrawn once for all points together.
    """

    size: np.ndarray
    scores: np.ndarray
    validation: Predictions

    @property
    def draws(self) -> int:
        """How many subsets were drawn at each size."""
        return len(self.scores)

    @property
    def table(self) -> np.ndarray:
        """(draws, sizes) AUROCs."""
        return self._areas(np.ones((1, len(self.validation))))[0]

    @property
    def score(self) -> np.ndarray:
        """Mean AUROC over draws."""
        return self.table.mean(axis=0)

    @property
    def error(self) -> np.ndarray:
        """Standard error of each mean from draws and validation cases together."""
        table, rng = self.table, np.random.default_rng(0)
        cases = self._areas(self._weights(200, rng)).mean(axis=1).var(axis=0)
        return np.sqrt(draw_variance(table) / self.draws + cases + FAMILY_ERROR**2)

    def redrawn(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Redraw validation patients and labelled subsets together."""
        areas = self._areas(self._weights(count, rng))
        chosen = rng.integers(0, self.draws, (count, self.draws))
        means = np.stack([_redrawn_means(area, row[None])[0] for area, row in zip(areas, chosen, strict=True)])
        return means + _family_noise(means.shape, rng)

    def _weights(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return draw_weights(self.validation.patient, draws=count, rng=rng, strata=patient_strata(self.validation))

    def _areas(self, weights: np.ndarray) -> np.ndarray:
        """(weightings, draws, sizes) AUROCs."""
        found = np.empty((len(weights), self.draws, len(self.size)))
        for draw, place in np.ndindex(self.draws, len(self.size)):
            case = Predictions.of(self.validation.target, self.scores[draw, place], patient=self.validation.patient)
            found[:, draw, place] = weighted_auroc.prepare(case)(weights)
        return found


def score_points(
    size: ArrayLike, score: ArrayLike, *, draw: ArrayLike | None = None, validation: tuple[int, int] | None = None
) -> ScorePoints:
    """Learning-curve points from a table with one row per measured AUROC.

    Args:
        size: (rows,) number of labels.
        score: (rows,) AUROC.
        draw: (rows,) name of the labelled subset; nested subsets share a name over sizes. Without it the rows of a
            size are numbered as they come.
        validation: numbers of positive and negative validation cases, for the error of a finite validation set.

    Refuses fewer than three sizes, and draws that miss a size. Source of the validation error: Hanley & McNeil,
    Radiology 1982;143:29.

    >>> points = score_points([5, 10, 20, 5, 10, 20], [0.6, 0.7, 0.75, 0.62, 0.69, 0.77], validation=(50, 200))
    >>> points.draws, points.score.round(3).tolist()
    (2, [0.61, 0.695, 0.76])
    """
    sizes, scores = finite_numbers(size, "n"), finite_numbers(score, "score")
    if len(sizes) != len(scores):
        raise InputError(f"{len(sizes)} sizes and {len(scores)} scores", remedy="give one score per size")
    if ((scores < 0) | (scores > 1)).any():
        raise InputError("an AUROC outside 0 and 1", remedy="give AUROCs as shares, not percentages")
    different = np.unique(sizes)
    if len(different) < 3 or different[0] <= 0:
        raise InputError(f"{len(different)} sizes", remedy="measure at three or more growing numbers of labels")
    names = _numbered(sizes) if draw is None else np.asarray(draw).astype(str)
    draws = np.unique(names)
    table = np.full((len(draws), len(different)), np.nan)
    table[np.searchsorted(draws, names), np.searchsorted(different, sizes)] = scores
    if np.isnan(table).any() or len(sizes) != table.size:
        row, column = np.argwhere(np.isnan(table))[0] if np.isnan(table).any() else (0, 0)
        place = f"draw {draws[row]}, n = {different[column]:g}"
        raise InputError("each draw must be scored once at each size", where=place, remedy="complete or drop the draw")
    error = np.zeros(len(different)) if validation is None else _validation_error(table.mean(axis=0), validation)
    if validation is None and len(draws) == 1:
        raise InputError(
            "one score per size says nothing about its error",
            remedy="give several draws, or the numbers of positive and negative validation cases",
        )
    return ScorePoints(different, table, error)


def case_points(
    size: ArrayLike, scores: ArrayLike, truth: ArrayLike, *, patient: ArrayLike | None = None
) -> CasePoints:
    """Learning-curve points from the scores of one fixed validation set after each training.

    Args:
        size: (sizes,) numbers of labels, growing.
        scores: (draws, sizes, cases) scores of the validation cases.
        truth: (cases,) 0/1.
        patient: (cases,) names where patients repeat.
    """
    sizes, cube = finite_numbers(size, "n"), np.asarray(scores, dtype=float)
    if cube.ndim != 3 or cube.shape[1] != len(sizes) or len(sizes) < 3 or (np.diff(sizes) <= 0).any():
        raise InputError(
            f"scores have shape {cube.shape} for {len(sizes)} sizes",
            remedy="give (draws, sizes, cases), 3+ growing sizes",
        )
    finite_numbers(cube.reshape(-1), "scores")
    validation = Predictions.of(np.asarray(truth), cube[0, 0], patient=None if patient is None else np.asarray(patient))
    states, _ = binary_columns(validation)
    if states.all() or not states.any():
        raise InputError("the validation set has one class only", remedy="add cases of the other class")
    return CasePoints(sizes, cube, validation)


def draw_variance(table: np.ndarray) -> np.ndarray:
    """(sizes,) variance between draws, kept from falling below a quarter of the usual by luck; 0 for one draw."""
    if len(table) < 2:
        return np.zeros(table.shape[1])
    variance = table.var(axis=0, ddof=1)
    return np.maximum(variance, 0.25 * np.median(variance))


def _redrawn_means(table: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(count, sizes) means of redrawn rows, widened because few draws redrawn vary too little."""
    mean, rows = table.mean(axis=0), len(table)
    widen = np.sqrt(rows / (rows - 1)) if rows > 1 else 1.0
    return mean + widen * (table[chosen].mean(axis=1) - mean)


def _family_noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return FAMILY_ERROR * rng.standard_normal(shape)


def _numbered(sizes: np.ndarray) -> np.ndarray:
    """The rows of each size numbered in order."""
    names = np.empty(len(sizes), dtype=int)
    for value in np.unique(sizes):
        rows = np.flatnonzero(sizes == value)
        names[rows] = np.arange(len(rows))
    return names.astype(str)


def _validation_error(area: np.ndarray, validation: tuple[int, int]) -> np.ndarray:
    positives, negatives = (at_least(count, 2, "validation cases of a class") for count in validation)
    inner = np.clip(area, 0.01, 0.99)
    above = inner / (2 - inner) - inner**2
    below = 2 * inner**2 / (1 + inner) - inner**2
    variance = inner * (1 - inner) + (positives - 1) * above + (negatives - 1) * below
    return np.sqrt(variance / (positives * negatives))


def nested_subsets(
    truth: ArrayLike, sizes: ArrayLike, *, draws: int, negatives_per_positive: float, rng: np.random.Generator
) -> list[list[np.ndarray]]:
    """Row numbers of growing labelled subsets, each containing the smaller ones of its draw: [draw][size] -> rows.

    Args:
        truth: (cases,) 0/1 of the cases that could be labelled.
        sizes: numbers of positives, growing.
        draws: independent orders.
        negatives_per_positive: negatives taken for each positive, for example 5.
        rng: generator.
    """
    states = np.asarray(truth).astype(bool)
    counts = np.asarray(sizes, dtype=int)
    needed = np.ceil(counts * negatives_per_positive).astype(int)
    positives, negatives = np.flatnonzero(states), np.flatnonzero(~states)
    if counts.size == 0 or (np.diff(counts) <= 0).any() or counts[-1] > len(positives) or needed[-1] > len(negatives):
        raise InputError(
            f"{counts[-1] if counts.size else 0} positives and {needed[-1] if counts.size else 0} negatives asked",
            where=f"{len(positives)} positives and {len(negatives)} negatives",
            remedy="give growing sizes that the cohort can fill",
        )
    found = []
    for _ in range(at_least(draws, 1, "draws")):
        up, down = rng.permutation(positives), rng.permutation(negatives)
        found.append([np.concatenate([up[:p], down[:q]]) for p, q in zip(counts, needed, strict=True)])
    return found
