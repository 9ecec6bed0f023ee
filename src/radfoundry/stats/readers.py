"""A fully crossed reader study: every reader reads every case in every arm (for example without and with AI)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import InputError
from radfoundry.stats.inputs import finite_numbers, true_or_false


@dataclass(frozen=True, eq=False)
class ReaderStudy:
    """Ratings of R readers for C cases in A arms, beside the truth.

    `ratings` is (arms, readers, cases), larger meaning more suspicious; `truth` is (cases,) booleans;
    `patient` is (cases,) names, so that several lesions or sides of one patient are not counted as independent.
    Refuses missing ratings: the analyses here need every reader to have read every case in every arm.

    >>> study = ReaderStudy.of([[[1, 2, 5], [2, 1, 4]]], [0, 0, 1], arms=["unaided"])
    >>> study.ratings.shape, study.readers
    ((1, 2, 3), ('reader 1', 'reader 2'))
    """

    ratings: np.ndarray
    truth: np.ndarray
    arms: tuple[str, ...]
    readers: tuple[str, ...]
    patient: np.ndarray

    @classmethod
    def of(
        cls,
        ratings: ArrayLike,
        truth: ArrayLike,
        *,
        arms: Sequence[str] | None = None,
        readers: Sequence[str] | None = None,
        patient: ArrayLike | None = None,
    ) -> ReaderStudy:
        """A study from an (arms, readers, cases) array; (readers, cases) is taken as one arm."""
        table = np.asarray(ratings, dtype=float)
        table = table[None] if table.ndim == 2 else table
        if table.ndim != 3:
            raise InputError(f"ratings have shape {table.shape}", remedy="give (arms, readers, cases)")
        finite_numbers(table.reshape(-1), "ratings")
        states = true_or_false(truth, "truth")
        if len(states) != table.shape[2]:
            raise InputError(
                f"truth has {len(states)} cases, the ratings {table.shape[2]}", remedy="one truth per case"
            )
        group = np.arange(len(states)).astype(str) if patient is None else np.asarray(patient).astype(str)
        if len(group) != len(states):
            raise InputError(f"patient has {len(group)} rows, truth {len(states)}", remedy="one patient per case")
        return cls(
            ratings=table,
            truth=states,
            arms=_names(arms, table.shape[0], "arm"),
            readers=_names(readers, table.shape[1], "reader"),
            patient=group,
        )

    @property
    def clustered(self) -> bool:
        """Whether some patient has more than one case."""
        return len(np.unique(self.patient)) < len(self.patient)

    def part(self, cases: np.ndarray) -> ReaderStudy:
        """The study restricted to some cases, named by a mask or by indices."""
        return ReaderStudy(self.ratings[:, :, cases], self.truth[cases], self.arms, self.readers, self.patient[cases])


def _names(given: Sequence[str] | None, count: int, kind: str) -> tuple[str, ...]:
    if given is None:
        return tuple(f"{kind} {index + 1}" for index in range(count))
    names = tuple(str(name) for name in given)
    if len(names) != count or len(set(names)) != count:
        raise InputError(
            f"{len(set(names))} different {kind} names for {count} {kind}s", remedy=f"name each {kind} once"
        )
    return names


def from_rows(
    arm: ArrayLike,
    reader: ArrayLike,
    case: ArrayLike,
    rating: ArrayLike,
    *,
    truth: ArrayLike,
    patient: ArrayLike | None = None,
) -> ReaderStudy:
    """A reader study from a table with one row per reading; arms, readers and cases keep their order of appearance.

    Args:
        arm, reader, case: (rows,) names.
        rating: (rows,) numbers, larger meaning more suspicious.
        truth: (rows,) 0/1, the same in every row of a case.
        patient: (rows,) names, the same in every row of a case.

    Refuses readings that are missing, given twice, or that disagree about a case's truth, naming the first.

    >>> study = from_rows(["a", "a"], ["r", "r"], ["1", "2"], [1, 5], truth=[0, 1])
    >>> study.ratings.tolist()
    [[[1.0, 5.0]]]
    """
    arms, readers, cases = (_coded(column) for column in (arm, reader, case))
    ratings = finite_numbers(rating, "rating")
    shape = (len(arms[0]), len(readers[0]), len(cases[0]))
    if not len(arms[1]) == len(readers[1]) == len(cases[1]) == len(ratings):
        raise InputError("the columns have different lengths", remedy="give one row per reading")
    flat = np.ravel_multi_index((arms[1], readers[1], cases[1]), shape)
    counts = np.bincount(flat, minlength=int(np.prod(shape)))
    _complete(counts.reshape(shape), (arms[0], readers[0], cases[0]))
    table = np.empty(counts.size)
    table[flat] = ratings
    states = _per_case(true_or_false(truth, "truth"), cases, "truth")
    group = None if patient is None else _per_case(np.asarray(patient).astype(str), cases, "patient")
    return ReaderStudy.of(table.reshape(shape), states, arms=arms[0], readers=readers[0], patient=group)


def _coded(column: ArrayLike) -> tuple[list[str], np.ndarray]:
    """The different names in order of appearance, and the number of each row's name."""
    values = np.asarray(column).astype(str)
    names, first, index = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(names), dtype=int)
    place[order] = np.arange(len(names))
    return [str(name) for name in names[order]], place[index.reshape(-1)]


def _complete(counts: np.ndarray, names: tuple[list[str], list[str], list[str]]) -> None:
    for wrong, word in ((counts == 0, "missing"), (counts > 1, "given twice")):
        if wrong.any():
            arm, reader, case = (int(item[0]) for item in np.nonzero(wrong))
            place = f"arm {names[0][arm]}, reader {names[1][reader]}, case {names[2][case]}"
            remedy = "keep the cases that every reader read once in every arm, and say how many were left out"
            raise InputError(
                f"{int(wrong.sum())} readings are {word}", where=place, remedy=remedy, finding="not-crossed"
            )


def _per_case(column: np.ndarray, cases: tuple[list[str], np.ndarray], name: str) -> np.ndarray:
    """One value per case; refused when the rows of a case disagree."""
    values = np.empty(len(cases[0]), dtype=column.dtype)
    values[cases[1]] = column
    wrong = np.flatnonzero(values[cases[1]] != column)
    if len(wrong):
        case = cases[0][cases[1][wrong[0]]]
        raise InputError(f"{name} differs between rows", where=f"case {case}", remedy=f"give one {name} per case")
    return values
