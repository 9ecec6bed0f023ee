"""Clinical covariates as numbers: age, sex and labels of the exam, with a mark for what is not known."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from radfoundry import registry
from radfoundry.records import Case, InputError

SLOT = "covariates"
PERSONAL = ("age_years", "sex")
MOST_WORDS = 12


@dataclass(frozen=True)
class Column:
    """One number made from one covariate: its value, whether it is a certain word, or whether it is not known."""

    name: str
    form: str
    word: str = ""
    usual: float = 0.0

    def of(self, case: Case | None) -> float:
        """The number for one exam; what is not known is as usual."""
        value = None if case is None else value_of(case, self.name)
        if self.form == "unknown":
            return float(value is None)
        if self.form == "word":
            return float(value is not None and str(value) == self.word)
        return self.usual if value is None else _number(value, self.usual)


@dataclass(frozen=True)
class Columns:
    """What was learned of covariates on the training patients: which there are, and what is usual."""

    names: tuple[str, ...]
    columns: tuple[Column, ...]

    def table(self, cases: Sequence[Case | None]) -> tuple[np.ndarray, np.ndarray]:
        """(exams, columns) numbers, and (exams,) whether any covariate is known."""
        table = np.array([[column.of(case) for column in self.columns] for case in cases], float)
        known = [any(case is not None and value_of(case, name) is not None for name in self.names) for case in cases]
        return table.reshape(len(cases), len(self.columns)), np.array(known, bool)

    def to_list(self) -> list[dict[str, Any]]:
        """Plain values for JSON."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_list(cls, values: Sequence[Mapping[str, Any]]) -> Columns:
        """The inverse of `to_list`."""
        columns = tuple(Column(**dict(value)) for value in values)
        return cls(tuple(dict.fromkeys(column.name for column in columns)), columns)


def value_of(case: Case, name: str) -> Any:
    """A covariate of an exam, None where it is not known; a label stands in where the header states no age or sex.

    >>> value_of(Case("a", "a", labels={"sex": "F"}), "sex")
    'F'
    """
    value = getattr(case, name) if name in PERSONAL else None
    if value is None:
        value = case.labels.get(name)
    return None if isinstance(value, float) and math.isnan(value) else value


def learn(names: Sequence[str], cases: Sequence[Case]) -> Columns:
    """The columns of covariates, learned on the training exams; numbers as they are, words one column each.

    >>> cases = [Case("a", "a", age_years=40.0, sex="F"), Case("b", "b", age_years=60.0, sex="M"), Case("c", "c")]
    >>> columns = learn(["age_years"], cases)
    >>> columns.table(cases)[0].tolist()
    [[0.0, 40.0], [0.0, 60.0], [1.0, 50.0]]
    """
    columns: list[Column] = []
    for name in dict.fromkeys(names):
        values = [value_of(case, name) for case in cases]
        known = [value for value in values if value is not None]
        if len(known) < len(values) and known:
            columns.append(Column(name, "unknown"))
        if known and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
            columns.append(Column(name, "number", usual=float(np.median(known))))
            continue
        words, counts = np.unique([str(value) for value in known], return_counts=True)
        frequent = words[np.argsort(-counts, kind="stable")][:MOST_WORDS]
        columns += [Column(name, "word", word=str(word)) for word in frequent]
    return Columns(tuple(dict.fromkeys(names)), tuple(columns))


def check(names: Sequence[str], cases: Sequence[Case], *, target: str) -> None:
    """Refuse covariates that nobody has, and those that are the answer itself."""
    asked = {re.split("[=>]", part)[0].strip() for part in target.split(",")}
    for name in names:
        if name in asked:
            raise InputError(
                "it is the answer itself", where=f"covariate {name}", remedy="leave it out", finding="leak"
            )
        if all(value_of(case, name) is None for case in cases):
            known = {*PERSONAL, *(label for case in cases for label in case.labels)} - {name}
            raise registry.unknown("covariate", name, known, remedy="add it with radfoundry label")


def _number(value: Any, usual: float) -> float:
    return float(value) if isinstance(value, (int, float)) else usual
