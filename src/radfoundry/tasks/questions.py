"""Clinical questions: which label of the cohort answers them, of what kind it is, and who has an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from radfoundry import registry
from radfoundry.config import Component
from radfoundry.records import Case, Cohort, InputError, Task

KINDS = ("binary", "multiclass", "regression")
METRICS = {"binary": ("auroc",), "multiclass": ("auroc-one-against-rest",), "regression": ("mae", "r2")}
MOST_CLASSES = 20
YES_NO = ({"0", "1"}, {"0.0", "1.0"}, {"no", "yes"}, {"false", "true"}, {"absent", "present"}, {"negative", "positive"})


def lesion_present() -> Task:
    """Is there a lesion? (label `lesion_present` of the simulated brain cohorts)."""
    return Task("lesion-present", "lesion_present", "binary", metrics=METRICS["binary"], about="Is there a lesion?")


def age() -> Task:
    """How old is the patient, in years? (label `age_years`)."""
    return Task("age", "age_years", "regression", metrics=METRICS["regression"], about="How old is the patient?")


def classify(*, target: str) -> Task:
    """Which class does the label `target` name? Two values make a yes-or-no question, more a choice."""
    return Task(f"classify-{target}", target, "classes", about=f"Which {target}?")


def regress(*, target: str) -> Task:
    """How large is the label `target`?"""
    return Task(
        f"regress-{target}", target, "regression", metrics=METRICS["regression"], about=f"How large is {target}?"
    )


def named(component: Component) -> Task:
    """The question a setting names."""
    return registry.build("tasks", component.name, **component.options)


def value_of(case: Case, target: str) -> Any:
    """A case's answer: a label, or one of age, sex and site; None when nobody wrote it down."""
    value = case.labels.get(target)
    if value is None and target in ("age_years", "sex", "site"):
        value = getattr(case, target)
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def answers(cohort: Cohort, task: Task) -> tuple[Task, dict[str, Any]]:
    """The task with its kind settled, and the truth by case key, as numbers a head can learn.

    Binary answers become 0 and 1, classes become 0, 1, 2 … in sorted order (named in `about`). Refuses a
    label nobody has, one that is the same for everybody, and text where a number is asked for.
    """
    where = f"label {task.target}"
    raw = {case.key: value_of(case, task.target) for case in cohort.cases}
    known = {key: value for key, value in raw.items() if value is not None}
    if not known:
        labels = sorted({name for case in cohort.cases for name in case.labels})
        raise InputError(
            "no case has it",
            where=where,
            remedy=f"labels here: {', '.join(labels) or 'none'}; add some with radfoundry label",
            finding="no-labels",
        )
    if len({str(value) for value in known.values()}) == 1:
        only = next(iter(known.values()))
        raise InputError(
            f"all {len(known)} cases have the same value {only!r}",
            where=where,
            remedy="a question needs cases of both answers; check the label table",
            finding="one-class",
        )
    if task.kind == "regression":
        return task, {key: _number(value, where) for key, value in known.items()}
    return _classes(task, known)


def _classes(task: Task, known: Mapping[str, Any]) -> tuple[Task, dict[str, Any]]:
    names = sorted({str(value) for value in known.values()}, key=_sortable)
    if len(names) > MOST_CLASSES:
        raise InputError(
            f"{len(names)} different values are too many classes",
            where=f"label {task.target}",
            remedy="use task regress for a quantity",
            finding="many-classes",
        )
    kind = "binary" if len(names) == 2 else "multiclass"
    if task.kind == "binary" and kind != "binary":
        raise InputError(f"{len(names)} values where two are expected", where=f"label {task.target}")
    coded = [f"{index} = {name}" for index, name in enumerate(names) if str(index) != name]
    about = f"{task.about} ({', '.join(coded)})" if coded else task.about
    settled = Task(task.name, task.target, kind, task.unit, METRICS[kind], about)
    return settled, {key: names.index(str(value)) for key, value in known.items()}


def class_names(cohort: Cohort, task: Task) -> tuple[str, ...]:
    """The names behind the numbers of a question about classes, in their order; empty for other questions."""
    if task.kind not in ("binary", "multiclass"):
        return ()
    values = {str(value) for case in cohort.cases if (value := value_of(case, task.target)) is not None}
    return tuple(sorted(values, key=_sortable))


def _sortable(name: str) -> tuple[int, float, str]:
    lowered = name.lower()
    for pair in YES_NO:
        if lowered in pair:
            return (0, float(lowered in ("1", "1.0", "yes", "true", "present", "positive")), name)
    return (1, 0.0, name)


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{value!r} is not a number", where=where, remedy="use task classify for names") from None
    if not math.isfinite(number):
        raise InputError(f"{value!r} is not finite", where=where, remedy="leave the cell empty if it is unknown")
    return number


def permuted(truth: Mapping[str, Any], patients: Mapping[str, str], *, rng: np.random.Generator) -> dict[str, Any]:
    """The same answers dealt out to other patients: what is left of a result then was never in the images.

    Cases of one patient move together when they carry the same answer, so that the permuted labels are as
    clustered as the real ones.
    """
    keys = sorted(truth)
    by_patient: dict[str, list[str]] = {}
    for key in keys:
        by_patient.setdefault(patients[key], []).append(key)
    owners = sorted(by_patient)
    order = rng.permutation(len(owners))
    dealt: dict[str, Any] = {}
    for owner, source in zip(owners, order, strict=True):
        given = [truth[key] for key in by_patient[owners[source]]]
        for index, key in enumerate(by_patient[owner]):
            dealt[key] = given[index % len(given)]
    return dealt
