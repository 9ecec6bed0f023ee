"""Clinical questions: which label of the cohort answers them, of what kind it is, and who has an answer."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from radfoundry import registry
from radfoundry.config import Component
from radfoundry.records import Case, Cohort, InputError, Task, counted
from radfoundry.tasks import rating, visits
from radfoundry.tasks.visits import CHANGE, VISITS

KINDS = ("binary", "multiclass", "ordinal", "multilabel", "regression", "survival", "similar")
METRICS = {
    "binary": ("auroc",),
    "multiclass": ("auroc-one-against-rest",),
    "ordinal": ("quadratic-kappa", "grades-off"),
    "multilabel": ("macro-auroc",),
    "regression": ("mae", "r2"),
    "rating": ("srcc", "plcc", "rmse"),
    "survival": ("concordance",),
    "similar": ("recall@5",),
}
QUESTIONS = "questions"  # the unit of a list of closed questions: columns are `label=answer`
MOST_CLASSES = 20
FEW_CLASSES = 5
UNKNOWN = ("", "?", "unknown", "not stated", "not known")
YES_NO = ({"0", "1"}, {"0.0", "1.0"}, {"no", "yes"}, {"false", "true"}, {"absent", "present"}, {"negative", "positive"})


def lesion_present() -> Task:
    """Is there a lesion? (label `lesion_present` of the simulated brain cohorts)."""
    return Task("lesion-present", "lesion_present", "binary", metrics=METRICS["binary"], about="Is there a lesion?")


def age() -> Task:
    """How old is the patient, in years? (label `age_years`)."""
    return Task("age", "age_years", "regression", metrics=METRICS["regression"], about="How old is the patient?")


def classify(*, target: str | list[str], ordered: bool | list[str] = False) -> Task:
    """Which class does the label `target` name? Two values make a yes-or-no question, more a choice.

    A list of labels asks for each of them at once, yes or no. `ordered` makes grades of the classes, in the order of
    their numbers or as listed.
    """
    if not isinstance(target, str):
        _without_comma(*target)
        names = ",".join(target)
        about = f"Which of {', '.join(target)}?"
        return Task(f"classify-{'-'.join(target)}", names, "multilabel", metrics=METRICS["multilabel"], about=about)
    if ordered:
        named_order = "" if ordered is True else f" ({' < '.join(str(name) for name in ordered)})"
        about = f"Which grade of {target}?{named_order}"
        return Task(f"grade-{target}", target, "ordinal", metrics=METRICS["ordinal"], about=about)
    return Task(f"classify-{target}", target, "classes", about=f"Which {target}?")


def regress(*, target: str) -> Task:
    """How large is the label `target`?"""
    return Task(
        f"regress-{target}", target, "regression", metrics=METRICS["regression"], about=f"How large is {target}?"
    )


def rate(*, target: str = "quality") -> Task:
    """How good is the image? Judged by how well the order and the values agree with the scores of people."""
    return Task(f"rate-{target}", target, "regression", metrics=rating.METRICS, about=f"How high is {target}?")


def survive(*, time: str, event: str) -> Task:
    """When does it happen? `time` is the label with the follow-up, `event` the one that says whether it happened."""
    _without_comma(time, event)
    about = f"How soon does {event} come, in the unit of {time}?"
    return Task(f"survive-{event}", f"{time},{event}", "survival", metrics=METRICS["survival"], about=about)


def progress(*, target: str, change: bool = False) -> Task:
    """What has become of the patient since the last visit? Both visits are looked at.

    `target` is a label of the later exam; with `change` it is how much the label has changed between the two.
    """
    about = f"How much has {target} changed since the last visit?" if change else f"{target}, seen with the last visit?"
    kind, unit = ("regression", CHANGE) if change else ("classes", VISITS)
    metrics = METRICS["regression"] if change else ()
    return Task(f"progress-{target}", target, kind, unit, metrics, about)


def answer(*, targets: list[str]) -> Task:
    """Closed questions about one image: each label of `targets` is a question, its values are the possible answers."""
    _without_comma(*targets)
    about = f"{', '.join(f'{name}?' for name in targets)} (each from a closed set of answers)"
    return Task("answer", ",".join(targets), "multilabel", QUESTIONS, METRICS["multilabel"], about)


def _without_comma(*names: str) -> None:
    """Refuse names that would be taken for two: a question joins the names of its labels by commas."""
    for name in names:
        if "," in name:
            raise InputError(
                "a question about several labels cannot take a name with a comma",
                where=f"label {name}",
                remedy="rename the column and label again",
            )


def similar(*, target: str) -> Task:
    """Which other patients look like this one? Judged by whether they share the label `target`."""
    about = f"Do the most similar images of other patients share {target}?"
    return Task(f"similar-{target}", target, "similar", metrics=METRICS["similar"], about=about)


def named(component: Component) -> Task:
    """The question a setting names."""
    return registry.build("tasks", component.name, **component.options)


def value_of(case: Case, target: str) -> Any:
    """A case's answer: a label, or one of age, sex and site; None when nobody wrote it down.

    `LABEL>NUMBER` asks whether a number lies above a limit: 1 or 0.

    >>> value_of(Case("a", "a", labels={"severity": 0.4}), "severity>0.3")
    1
    """
    name, above, limit = target.partition(">")
    if above:
        known = value_of(case, name.strip())
        border = _number(limit, f"limit of label {name.strip()}")
        return None if known is None else int(_number(known, f"label {name.strip()}") > border)
    value = case.labels.get(target)
    if value is None and target in ("age_years", "sex", "site"):
        value = getattr(case, target)
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, str) and value.strip().casefold() in UNKNOWN:
        return None
    return value


def answers(cohort: Cohort, task: Task) -> tuple[Task, dict[str, Any]]:
    """The task with its kind settled, and the truth by case key, as numbers a head can learn.

    Binary answers become 0 and 1, classes 0, 1, 2 … in sorted order (named in `about`), lists of findings and times
    with events arrays. Refuses a label nobody has, one that is the same for everybody, and text where a number is
    asked for.
    """
    if task.kind == "survival":
        return task, _survival(cohort, task)
    if task.kind == "multilabel":
        return _closed(cohort, task) if task.unit == QUESTIONS else (task, _findings(cohort, task))
    known = _known(cohort, task.target)
    where = f"label {task.target}"
    if task.kind == "regression":
        if all(isinstance(value, bool) for value in known.values()):
            raise InputError("is yes or no, not a quantity", where=where, remedy="use task classify")
        numbers = {key: _number(value, where) for key, value in known.items()}
        if task.unit == CHANGE:
            numbers = visits.changes(cohort, numbers)
            if len({round(value, 9) for value in numbers.values()}) < 2:
                raise InputError("no change between visits is known", where=where, remedy="label both visits")
        return task, numbers
    if task.unit == VISITS:
        later = visits.last_visits(cohort)
        known = {key: value for key, value in known.items() if key in later}
        if len({str(value) for value in known.values()}) < 2:
            raise InputError("exams with an earlier visit do not have two answers", where=where, finding="one-class")
    return _classes(task, known)


def _known(cohort: Cohort, target: str) -> dict[str, Any]:
    """The answers there are, by case; refused when there are none or all are the same."""
    where = f"label {target}"
    raw = {case.key: value_of(case, target) for case in cohort.cases}
    known = {key: value for key, value in raw.items() if value is not None}
    if not known:
        raise no_label(cohort, where=where, name=target)
    if len({str(value) for value in known.values()}) == 1:
        only = next(iter(known.values()))
        raise InputError(
            f"all {counted(len(known), 'case has', 'cases have')} the same value {only!r}",
            where=where,
            remedy="a question needs cases of both answers; check the label table",
            finding="one-class",
        )
    return known


def no_label(cohort: Cohort, *, where: str, name: str) -> InputError:
    """The error for a label that no case has: it names the nearest one, written with other capitals or misspelt."""
    labels = sorted({name for case in cohort.cases for name in case.labels})
    folded = {label.casefold(): label for label in labels}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.7)
    meant = f"did you mean {folded[near[0]]!r}? " if near else ""
    said = f"{meant}labels here: {registry.listed(labels, most=12)}; add some with radfoundry label"
    return InputError("no case has it", where=where, remedy=said, finding="no-labels")


def _survival(cohort: Cohort, task: Task) -> dict[str, Any]:
    time_name, event_name = task.target.split(",")
    times, events = _known(cohort, time_name), _known(cohort, event_name)
    found = {}
    for key in times.keys() & events.keys():
        time = _number(times[key], f"label {time_name}")
        event = _sortable(str(events[key]))
        if time < 0 or event[0] != 0:
            bad = f"{time_name}={times[key]!r}" if time < 0 else f"{event_name}={events[key]!r}"
            raise InputError(f"{bad} for a case", where=f"task {task.name}", remedy="give times from 0, events 0 or 1")
        found[key] = np.array([time, event[1]])
    if not found:
        raise InputError("no case has both time and event", where=f"task {task.name}", finding="no-labels")
    return dict(sorted(found.items()))


def _findings(cohort: Cohort, task: Task) -> dict[str, Any]:
    """(findings,) 0 or 1 for every case in which all of them are known."""
    columns = {}
    for name in task.target.split(","):
        coded = {key: _sortable(str(value)) for key, value in _known(cohort, name).items()}
        if any(code[0] != 0 for code in coded.values()):
            raise InputError("not a yes-or-no label", where=f"label {name}", remedy="use 0 and 1, or ask it alone")
        columns[name] = {key: code[1] for key, code in coded.items()}
    return _complete(columns, task)


def _closed(cohort: Cohort, task: Task) -> tuple[Task, dict[str, Any]]:
    """One column per question and possible answer, 1 for the true one."""
    columns: dict[str, dict[str, float]] = {}
    for name in task.target.split(","):
        known = _known(cohort, name)
        kinds = sorted({str(value) for value in known.values()}, key=_sortable)
        if len(kinds) > MOST_CLASSES:
            raise InputError(
                f"{len(kinds)} different answers are too many for a closed question",
                where=f"label {name}",
                remedy=f"use task.name=regress for a quantity; at most {MOST_CLASSES} answers are taken",
                finding="many-classes",
            )
        for kind in kinds:
            columns[f"{name}={kind}"] = {key: float(str(value) == kind) for key, value in known.items()}
    settled = Task(task.name, ",".join(columns), task.kind, task.unit, task.metrics, task.about)
    return settled, _complete(columns, task)


def _complete(columns: Mapping[str, Mapping[str, float]], task: Task) -> dict[str, Any]:
    shared = sorted(set.intersection(*(set(column) for column in columns.values())))
    if not shared:
        raise InputError("no case has all labels", where=f"task {task.name}", remedy="ask fewer at once")
    return {key: np.array([column[key] for column in columns.values()]).astype(int) for key in shared}


def _classes(task: Task, known: Mapping[str, Any]) -> tuple[Task, dict[str, Any]]:
    names = _in_order(task, known)
    amounts = len(names) > FEW_CLASSES and 2 * len(names) > len(known) and _numeric(known.values())
    if len(names) > MOST_CLASSES or amounts:
        raise InputError(
            f"{len(names)} different values of {len(known)} cases are too many classes",
            where=f"label {task.target}",
            remedy=f"use task regress for a quantity, or ask for {task.target}>NUMBER",
            finding="many-classes",
        )
    kind = task.kind if task.kind in ("ordinal", "similar") else "binary" if len(names) == 2 else "multiclass"
    if task.kind == "binary" and kind != "binary":
        raise InputError(f"{len(names)} values where two are expected", where=f"label {task.target}")
    coded = [f"{index} = {name}" for index, name in enumerate(names) if str(index) != name]
    asked = f"{task.target}: yes or no?" if task.kind == "classes" and set(names) in YES_NO else task.about
    about = f"{asked} ({', '.join(coded)})" if coded else asked
    settled = Task(task.name, task.target, kind, task.unit, METRICS[kind], about)
    return settled, {key: names.index(str(value)) for key, value in known.items()}


def _numeric(values: Iterable[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _in_order(task: Task, known: Mapping[str, Any]) -> list[str]:
    """The classes, sorted, or for grades in the order their question names."""
    names = sorted({str(value) for value in known.values()}, key=_sortable)
    listed = re.search(r"\(([^()]* < [^()]*)\)", task.about)
    if task.kind != "ordinal" or listed is None:
        return sorted(names, key=_as_number) if task.kind == "ordinal" else names
    order = listed[1].split(" < ")
    missing = [name for name in names if name not in order]
    if missing:
        raise InputError(f"grade {missing[0]!r} is not in ordered", where=f"label {task.target}", remedy="list all")
    return order


def _as_number(name: str) -> tuple[int, float, str]:
    try:
        return (0, float(name), name)
    except ValueError:
        return _sortable(name)


def class_names(cohort: Cohort, task: Task) -> tuple[str, ...]:
    """The names behind the numbers of a question about classes, in their order; empty for other questions."""
    if task.kind == "multilabel":
        return tuple(task.target.split(","))
    if task.kind not in ("binary", "multiclass", "ordinal"):
        return ()
    known = {case.key: value for case in cohort.cases if (value := value_of(case, task.target)) is not None}
    return tuple(_in_order(task, known))


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
