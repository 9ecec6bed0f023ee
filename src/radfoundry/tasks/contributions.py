"""What each image of a patient added to the answer: exact Shapley values over every subset of images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from radfoundry.records import Estimate, InputError
from radfoundry.stats import comparisons
from radfoundry.tasks.examples import Examples
from radfoundry.tasks.fusion import FittedFused
from radfoundry.tasks.fusion_heads import to_open

MOST_SLOTS = 6
NAME = "contributions"
SCALES = {
    "binary": "log odds",
    "multilabel": "log odds",
    "multiclass": "log probability",
    "ordinal": "log probability",
    "survival": "log risk",
}


@dataclass(frozen=True, eq=False)
class Contributions:
    """Exam by exam: the answer with nothing, what each slot added, and the answer with all that was there.

    parts: (slots, exams) or (slots, exams, classes); nothing and answer: (exams,) or (exams, classes); all on the
    scale named by `scale`. `missing` names what an exam lacked; such a slot added exactly 0.
    """

    slots: tuple[str, ...]
    case: np.ndarray
    patient: np.ndarray
    target: np.ndarray
    nothing: np.ndarray
    parts: np.ndarray
    answer: np.ndarray
    missing: tuple[str, ...]
    scale: str


def shapley(values: np.ndarray) -> np.ndarray:
    """(players, …) what each player adds on average over all orders of arrival, from the worth of every subset.

    values: (2 ** players, …), where bit p of the place says whether player p is in the subset. What players add sums
    to the worth of all minus that of none. Source: Shapley, A value for n-person games, 1953.

    >>> shapley(np.array([0.0, 1.0, 2.0, 3.0])).tolist()
    [1.0, 2.0]
    """
    count = len(values).bit_length() - 1
    if len(values) != 2**count:
        raise InputError(f"{len(values)} subsets", remedy="give the worth of each of the 2 ** players subsets")
    added = np.zeros((count, *values.shape[1:]))
    for subset in range(len(values)):
        size = subset.bit_count()
        for player in range(count):
            if not subset >> player & 1:
                weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
                added[player] += weight * (values[subset | 1 << player] - values[subset])
    return added


def contributions(fitted: FittedFused, rows: Examples) -> Contributions:
    """What each slot added to the answers about these rows' exams; refuses more than MOST_SLOTS slots."""
    exams, count = fitted.exams(rows), len(fitted.slots)
    if count > MOST_SLOTS:
        raise InputError(f"{count} slots have {2**count} subsets", remedy=f"use at most {MOST_SLOTS}", finding="slots")
    values = []
    for subset in range(2**count):
        allowed = np.array([bool(subset >> place & 1) for place in range(count)])
        values.append(to_open(fitted.kind, fitted.scores(replace(exams, present=exams.present & allowed))))
    worth = np.stack(values)
    scale = SCALES.get(fitted.kind, "the quantity's own unit")
    return Contributions(
        fitted.slots, exams.case, exams.patient, exams.answer, worth[0], shapley(worth), worth[-1],
        tuple(exams.missing()), scale,
    )  # fmt: skip


def together(found: Sequence[Contributions]) -> Contributions:
    """Several folds as one, in order of the case's name; a slot that a fold did not know added 0 there."""
    slots = tuple(sorted({name for part in found for name in part.slots}))
    case = np.concatenate([part.case for part in found])
    order = np.argsort(case, kind="stable")
    parts = np.concatenate([_in_slots(part, slots) for part in found], axis=1)[:, order]
    missing = [said for part in found for said in part.missing]
    names = ("patient", "target", "nothing", "answer")
    columns = {name: np.concatenate([getattr(part, name) for part in found])[order] for name in names}
    said = tuple(missing[place] for place in order)
    return Contributions(slots=slots, case=case[order], parts=parts, missing=said, scale=found[0].scale, **columns)


def _in_slots(part: Contributions, slots: Sequence[str]) -> np.ndarray:
    full = np.zeros((len(slots), *part.parts.shape[1:]))
    for name, values in zip(part.slots, part.parts, strict=True):
        full[slots.index(name)] = values
    return full


def table(found: Contributions) -> dict[str, Any]:
    """As columns: case, patient, missing, nothing, one per slot (and class), answer."""
    from radfoundry.tasks.probe import numbered

    columns: dict[str, Any] = {"case": found.case, "patient": found.patient, "missing": list(found.missing)}
    columns |= numbered("nothing", found.nothing)
    for name, values in zip(found.slots, found.parts, strict=True):
        columns |= numbered(name, values)
    return columns | numbered("answer", found.answer)


def sizes(found: Contributions) -> dict[str, Estimate]:
    """How much each slot moves an answer on average, whichever way, with its interval between patients."""
    sizes = {}
    for name, values in zip(found.slots, np.abs(found.parts), strict=True):
        mean = values.reshape(len(found.case), -1).mean(axis=1)
        sizes[f"contribution-{name}"] = comparisons.mean_amount(mean, patient=found.patient)
    return sizes


def blocks(found: Contributions, sizes: Mapping[str, Estimate]) -> list[dict[str, Any]]:
    """How much each slot moves answers, as a forest; for a yes-or-no question also which way, for whom."""
    rows = [
        {"label": name.removeprefix("contribution-"), "estimate": value.to_dict()}
        for name, value in sorted(sizes.items(), key=lambda item: -item[1].value)
        if value.defined
    ]
    note = f"Mean size of what each adds to an answer ({found.scale}), out of sample; 95 % intervals between patients."
    shown = [
        {"kind": "forest", "title": "What each image adds", "rows": rows, "reference": 0.0, "note": note}
        | {"axis": f"mean size, {found.scale}"}
    ]
    if found.scale == SCALES["binary"] and found.parts.ndim == 2 and found.target.ndim == 1:
        shown.append(_which_way(found))
    return shown


def _which_way(found: Contributions) -> dict[str, Any]:
    rows = []
    for name, values in zip(found.slots, found.parts, strict=True):
        row: dict[str, Any] = {"name": name}
        for key, side in (("yes", 1), ("no", 0)):
            mine = np.flatnonzero(found.target == side)
            row[key] = comparisons.mean_difference(
                values[mine], np.zeros(len(mine)), patient=found.patient[mine]
            ).to_dict()
        rows.append(row)
    return {
        "kind": "table",
        "title": "Which way each image pushes",
        "note": f"Mean of what it adds ({found.scale}); above 0 towards yes. Case by case in {NAME}.csv.",
        "columns": [
            {"key": "name", "label": "image"},
            {"key": "yes", "label": "patients with the finding"},
            {"key": "no", "label": "patients without"},
        ],
        "rows": rows,
    }
