"""Marks that a reader or a detector set on images, and which true lesion each of them hit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import InputError
from radfoundry.stats.inputs import finite_numbers

MISS = -1


@dataclass(frozen=True, eq=False)
class Marks:
    """Free-response data: rated marks on cases, each on a lesion or beside all of them.

    `case` is the place of each mark's case in `cases`, `lesion` the number of the lesion it hit (0, 1, ... within the
    case) or -1; `lesions` counts the true lesions of every case and `patient` groups cases that are not independent.
    A lesion hit twice keeps its highest rating; the other mark counts neither as hit nor as false.
    """

    case: np.ndarray
    rating: np.ndarray
    lesion: np.ndarray
    cases: np.ndarray
    lesions: np.ndarray
    patient: np.ndarray

    @classmethod
    def of(
        cls,
        case: ArrayLike,
        rating: ArrayLike,
        lesion: ArrayLike,
        *,
        lesions: Mapping[Any, int],
        patient: Mapping[Any, Any] | None = None,
    ) -> Marks:
        """Marks from columns, one row a mark.

        Args:
            case: (marks,) names.
            rating: (marks,) confidence, higher is surer.
            lesion: (marks,) number of the lesion hit within its case from 0, or -1 for a mark beside all lesions.
            lesions: every case read, also those without a mark, and how many lesions it truly has.
            patient: case -> patient; by default every case is a patient of its own.

        >>> Marks.of(["a", "a", "b"], [0.9, 0.2, 0.4], [0, -1, -1], lesions={"a": 1, "b": 0, "c": 2}).lesions.tolist()
        [1, 0, 2]
        """
        names, counts = np.array([str(name) for name in lesions]), np.array(list(lesions.values()), int)
        if len(names) == 0 or (counts < 0).any():
            raise InputError("no cases, or a negative count of lesions", remedy="name every case with its lesions")
        place = {name: index for index, name in enumerate(names.tolist())}
        of_mark = [str(name) for name in np.asarray(case).tolist()]
        unknown = sorted(set(of_mark) - set(place))
        if unknown:
            raise InputError(f"marks on unknown case {unknown[0]}", remedy="name every case in `lesions`")
        where = np.array([place[name] for name in of_mark], int)
        ratings, hit = finite_numbers(rating, "rating"), np.asarray(lesion).astype(int)
        if not len(where) == len(ratings) == len(hit):
            raise InputError("case, rating and lesion have different lengths", remedy="give one of each a mark")
        if ((hit < MISS) | (hit >= counts[where])).any():
            raise InputError("a mark hits a lesion that its case does not have", remedy="number lesions from 0")
        groups = names if patient is None else np.array([str(patient[name]) for name in lesions])
        kept = _highest_hits(where, ratings, hit)
        return cls(where[kept], ratings[kept], hit[kept], names, counts, groups)

    @property
    def false(self) -> np.ndarray:
        """(marks,) True for marks beside all lesions."""
        return self.lesion == MISS

    def highest_false(self) -> np.ndarray:
        """(cases,) the highest rating of a mark beside all lesions; minus infinity where there is none."""
        return _highest(self.case[self.false], self.rating[self.false], len(self.cases))

    def highest(self) -> np.ndarray:
        """(cases,) the highest rating of any mark; minus infinity where there is none."""
        return _highest(self.case, self.rating, len(self.cases))

    def lesion_ratings(self) -> tuple[np.ndarray, np.ndarray]:
        """The case and the rating of every true lesion; minus infinity for lesions nobody marked."""
        start = np.concatenate([[0], np.cumsum(self.lesions)])
        rating = np.full(int(start[-1]), -np.inf)
        hits = ~self.false
        rating[start[self.case[hits]] + self.lesion[hits]] = self.rating[hits]
        return np.repeat(np.arange(len(self.cases)), self.lesions), rating


def _highest(case: np.ndarray, rating: np.ndarray, cases: int) -> np.ndarray:
    found = np.full(cases, -np.inf)
    np.maximum.at(found, case, rating)
    return found


def _highest_hits(case: np.ndarray, rating: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    """Rows to keep, in order: every false mark, and of several marks on one lesion the highest."""
    order = np.lexsort((-rating, lesion, case))
    same = (np.diff(case[order]) == 0) & (np.diff(lesion[order]) == 0) & (lesion[order][1:] != MISS)
    repeated = order[1:][same]
    return np.setdiff1d(np.arange(len(case)), repeated)


def box_overlap(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """(n, m) intersection over union of boxes given by their two opposite corners.

    Boxes are (n, 4) as x0, y0, x1, y1 or (n, 6) as x0, y0, z0, x1, y1, z1, with the second corner larger. Use mm, or
    pixels where pixels are square.

    >>> box_overlap([[0, 0, 2, 2]], [[1, 0, 3, 2], [5, 5, 6, 6]]).round(3).tolist()
    [[0.333, 0.0]]
    """
    one, two = as_boxes(first), as_boxes(second)
    if one.shape[1] != two.shape[1]:
        raise InputError("2D boxes are compared with 3D ones", remedy="give both in the same dimensions")
    half = one.shape[1] // 2
    low = np.maximum(one[:, None, :half], two[None, :, :half])
    high = np.minimum(one[:, None, half:], two[None, :, half:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    sizes = [(boxes[:, half:] - boxes[:, :half]).prod(axis=1) for boxes in (one, two)]
    return shared / (sizes[0][:, None] + sizes[1][None, :] - shared)


def as_boxes(boxes: ArrayLike) -> np.ndarray:
    """Boxes as (n, 4) or (n, 6) floats; no box at all is (0, 4)."""
    found = np.asarray(boxes, float)
    if found.size == 0:
        return np.zeros((0, found.shape[1] if found.ndim == 2 and found.shape[1] in (4, 6) else 4))
    if found.ndim != 2 or found.shape[1] not in (4, 6):
        raise InputError(f"boxes have shape {found.shape}", remedy="give (n, 4) or (n, 6): lower corner, upper corner")
    half = found.shape[1] // 2
    if not np.isfinite(found).all() or (found[:, half:] <= found[:, :half]).any():
        raise InputError("a box is empty or upside down", remedy="give the lower corner first, then the upper one")
    return found


def hits_by_rank(closeness: np.ndarray, rating: np.ndarray, threshold: float) -> np.ndarray:
    """(marks,) lesion hit by each mark or -1: the surest mark chooses first among lesions not yet taken.

    `closeness` is (marks, lesions), larger is better; a mark may only take a lesion at or above `threshold`. A mark
    whose best lesion is taken already is given to it all the same (a second hit, which `Marks.of` then drops).
    """
    hit = np.full(len(rating), MISS)
    if closeness.shape[1] == 0:
        return hit
    taken = np.zeros(closeness.shape[1], bool)
    for mark in np.argsort(-rating, kind="stable"):
        allowed = closeness[mark] >= threshold
        free = allowed & ~taken
        if allowed.any():
            options = free if free.any() else allowed
            hit[mark] = int(np.argmax(np.where(options, closeness[mark], -np.inf)))
            taken[hit[mark]] = True
    return hit


def marks_from_boxes(
    predicted: Sequence[ArrayLike],
    rating: Sequence[ArrayLike],
    truth: Sequence[ArrayLike],
    *,
    threshold: float = 0.5,
    cases: Sequence[Any] | None = None,
    patient: Mapping[Any, Any] | None = None,
) -> Marks:
    """Marks from boxes, one entry a case: a mark hits the free lesion of largest IoU at or above the threshold.

    For lesions given as points use `marks_from_points`. The surest mark chooses first.
    """
    tables = [
        box_overlap(boxes, lesions)
        if len(np.asarray(lesions)) and len(np.asarray(boxes))
        else np.zeros((len(np.asarray(boxes)), len(np.asarray(lesions))))
        for boxes, lesions in zip(predicted, truth, strict=True)
    ]
    return _from_tables(tables, rating, threshold, cases, patient)


def marks_from_points(
    predicted: Sequence[ArrayLike],
    rating: Sequence[ArrayLike],
    truth: Sequence[ArrayLike],
    *,
    radius_mm: float,
    cases: Sequence[Any] | None = None,
    patient: Mapping[Any, Any] | None = None,
) -> Marks:
    """Marks from points in mm, one entry a case: a mark hits the nearest free lesion within the radius."""
    if not radius_mm > 0:
        raise InputError(f"radius_mm is {radius_mm}", remedy="give a length above 0 mm")
    tables = []
    for points, lesions in zip(predicted, truth, strict=True):
        one, two = np.asarray(points, float), np.asarray(lesions, float)
        apart = one.reshape(len(one), 1, -1) - two.reshape(1, len(two), -1) if one.size and two.size else None
        tables.append(np.zeros((len(one), len(two))) if apart is None else -np.sqrt((apart**2).sum(axis=-1)))
    return _from_tables(tables, rating, -radius_mm, cases, patient)


def _from_tables(
    tables: list[np.ndarray],
    rating: Sequence[ArrayLike],
    threshold: float,
    cases: Sequence[Any] | None,
    patient: Mapping[Any, Any] | None,
) -> Marks:
    names = list(range(len(tables))) if cases is None else list(cases)
    ratings = [finite_numbers(column, "rating") if len(np.asarray(column)) else np.zeros(0) for column in rating]
    if not len(names) == len(tables) == len(ratings):
        raise InputError("cases, marks and ratings have different lengths", remedy="give one entry a case each")
    hits = [hits_by_rank(table, column, threshold) for table, column in zip(tables, ratings, strict=True)]
    of_mark = [name for name, column in zip(names, ratings, strict=True) for _ in column]
    return Marks.of(
        np.array(of_mark, dtype=str),
        np.concatenate(ratings) if ratings else np.zeros(0),
        np.concatenate(hits) if hits else np.zeros(0, int),
        lesions={name: table.shape[1] for name, table in zip(names, tables, strict=True)},
        patient=patient,
    )
