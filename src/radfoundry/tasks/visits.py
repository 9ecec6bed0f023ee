"""Two visits as one row: what an exam looks like, and how it has changed since the patient's last one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort, InputError

VISITS, CHANGE = "visits", "change"
PAIRED = (VISITS, CHANGE)


def last_visits(cohort: Cohort) -> dict[str, str]:
    """Each exam's last earlier exam of the same patient, by date; exams without one are left out."""
    date = {case.key: case.date or "" for case in cohort.cases}
    found = {}
    for case in cohort.cases:
        priors = [key for key in case.priors if key in date]
        if priors:
            found[case.key] = max(priors, key=lambda key: (date[key], key))
    return found


def paired(cohort: Cohort, table: Embeddings) -> Embeddings:
    """Every series that the last visit has too (same sequence and plane), as its features and their change.

    Series without a partner are listed in `refused`. Refuses a cohort in which no patient has two dated exams.
    """
    before = last_visits(cohort)
    of_case: dict[tuple[str, Any, Any], list[int]] = {}
    for row, series in enumerate(table.series):
        of_case.setdefault((series.case, series.sequence, series.plane), []).append(row)
    kept, vectors, refused = [], [], list(table.refused)
    for row, series in enumerate(table.series):
        partners = of_case.get((before.get(series.case, ""), series.sequence, series.plane), [])
        if not partners:
            refused.append((series.key, "the patient has no earlier exam with such a series"))
            continue
        earlier = table.vectors[partners].mean(axis=0)
        kept.append(series)
        vectors.append(np.concatenate([table.vectors[row], table.vectors[row] - earlier]))
    if not kept:
        raise InputError(
            "no patient has two dated exams with the same kind of series",
            where=cohort.path or "cohort",
            remedy="give both visits; their dates order them",
            finding="no-visits",
        )
    plan = f"{table.plan}-visits"
    return replace(table, series=tuple(kept), vectors=np.stack(vectors), refused=tuple(refused), plan=plan)


def changes(cohort: Cohort, values: Mapping[str, float]) -> dict[str, float]:
    """Each exam's value minus that of the last visit; exams without either are left out."""
    before = last_visits(cohort)
    return {
        case: float(value) - float(values[before[case]]) for case, value in values.items() if before.get(case) in values
    }
