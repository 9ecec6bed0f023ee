"""One row per exam and one place per kind of image: which slot a series fills, and what is missing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from radfoundry import registry
from radfoundry.records import Acquisition, Case, InputError, Series
from radfoundry.tasks.covariates import SLOT, Columns
from radfoundry.tasks.examples import Examples, fact_of

BY = {
    "sequence": "sequence",
    "plane": "plane",
    "view": "view_position",
    "laterality": "laterality",
    "contrast": "contrast_agent",
    "modality": "modality",
}
AGENT = "contrast"  # which agent it was differs between hospitals
LATERAL = ("LL", "RL")  # a lateral film is one view, whichever side lies at the detector
JOINED = "+"


@dataclass(frozen=True, eq=False)
class Exams:
    """One row per exam.

    features: slot to (exams, width); present: (exams, slots) booleans; answer (exams, …), case and patient (exams,);
    group (rows,): the exam that each series belongs to. Features of an absent slot are 0 and mean nothing.
    """

    slots: tuple[str, ...]
    features: Mapping[str, np.ndarray]
    present: np.ndarray
    answer: np.ndarray
    case: np.ndarray
    patient: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.case)

    def take(self, keep: np.ndarray) -> Exams:
        """The exams of an index array; series are no longer told."""
        features = {name: values[keep] for name, values in self.features.items()}
        return replace(
            self,
            features=features,
            present=self.present[keep],
            answer=self.answer[keep],
            case=self.case[keep],
            patient=self.patient[keep],
            group=np.zeros(0, int),
        )

    def seen(self, name: str) -> np.ndarray:
        """(exams, width) features of a slot, 0 where it is absent, so that nothing there can be read."""
        there = self.present[:, self.slots.index(name)]
        return np.where(there[:, None], self.features[name], 0)

    def without(self, name: str) -> Exams:
        """The same exams as if nobody had the slot of that name."""
        present = self.present.copy()
        present[:, self.slots.index(name)] = False
        return replace(self, present=present)

    def missing(self) -> list[str]:
        """For each exam the slots it lacks, in words; empty where it has all."""
        return [
            ", ".join(name for name, there in zip(self.slots, row, strict=True) if not there) for row in self.present
        ]


def facts_of(by: str) -> tuple[str, ...]:
    """The facts of a series that decide its slot; `by` joins them with a plus sign, as in `sequence+plane`.

    >>> facts_of("laterality+view")
    ('laterality', 'view_position')
    """
    words = [word.strip() for word in by.split(JOINED)]
    known = {*BY, *Acquisition.__dataclass_fields__, "site"}
    for word in words:
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
            raise registry.unknown("fact", word, near or BY, where="fuse.by", remedy="or any header field")
    return tuple(BY.get(word, word) for word in words)


def slot_of(series: Series, facts: Sequence[str]) -> str | None:
    """The name of a series' slot, or None where it states none of the facts."""
    said = [_said(series, fact) for fact in facts]
    return " ".join(str(value) for value in said if value is not None) or None


def _said(series: Series, fact: str) -> Any:
    value = fact_of(series, fact)
    if fact == BY["contrast"] and value is not None:
        return AGENT
    return "lateral" if fact == BY["view"] and value in LATERAL else value


def names(rows: Examples, by: str, *, least: int = 2) -> tuple[str, ...]:
    """The slots that at least so many patients of these rows fill, in order of their name.

    Refuses rows of which none states what slots are told by.
    """
    found: dict[str, set[str]] = {}
    for slot, patient in zip(_slots(rows, facts_of(by)), rows.patient, strict=True):
        if slot is not None:
            found.setdefault(slot, set()).add(str(patient))
    kept = tuple(sorted(slot for slot, patients in found.items() if len(patients) >= least))
    if not kept:
        raise _unstated(by)
    return kept


def check(cases: Iterable[Case], by: str) -> None:
    """Refuse a fact that no series of these exams states, before anything is worked out from their images."""
    facts = facts_of(by)
    if all(slot_of(series, facts) is None for case in cases for series in case.series):
        raise _unstated(by)


def _unstated(by: str) -> InputError:
    return InputError(
        f"no series states its {by}",
        where="fuse.by",
        remedy=f"use one of {', '.join(BY)}; by modality all images of a modality are one kind",
        finding="no-slots",
    )


def gather(rows: Examples, by: str, slots: Sequence[str], *, columns: Columns | None = None) -> Exams:
    """Rows as exams: features of series in the same slot are averaged, so that their order does not matter.

    Series in none of the slots are not looked at. With `columns` the covariates fill a slot of their own.
    """
    cases, first, group = np.unique(rows.case, return_index=True, return_inverse=True)
    filled = np.array([slot or "" for slot in _slots(rows, facts_of(by))], object)
    features, present = {}, []
    for slot in slots:
        if slot == SLOT:
            continue
        mine = np.flatnonzero(filled == slot)
        # Sums depend on their order in the last digits: rows are added in the order of their keys.
        mine = mine[np.argsort(rows.series[mine], kind="stable")]
        total = np.zeros((len(cases), rows.features.shape[1]))
        np.add.at(total, group[mine], rows.features[mine])
        count = np.bincount(group[mine], minlength=len(cases))
        features[slot] = total / np.maximum(count, 1)[:, None]
        present.append(count > 0)
    if SLOT in slots:
        if columns is None:
            raise InputError("no covariates were learned", where="fuse", remedy="name covariates")
        features[SLOT], there = columns.table([rows.views.cases.get(str(case)) for case in cases])
        present.append(there)
    answer, patient = rows.answer[first], rows.patient[first]
    return Exams(tuple(slots), features, np.stack(present, axis=1), answer, cases, patient, group)


def _slots(rows: Examples, facts: Sequence[str]) -> list[str | None]:
    if rows.views is None:
        raise InputError("these rows came without their series", remedy="give views")
    series: Sequence[Any] = rows.views.series
    return [slot_of(series[int(row)], facts) for row in rows.row]
