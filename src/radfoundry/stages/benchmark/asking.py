"""What nested evaluation and evaluation outside have in common: questions, sources of features, rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.config import Component
from radfoundry.records import Cohort, InputError, Task, counted
from radfoundry.stages.benchmark.settings import Config, Progress
from radfoundry.stages.benchmark.titles import distinct
from radfoundry.tasks import nested_sources, questions
from radfoundry.tasks.nested import Design, Rows
from radfoundry.tasks.nested_pipeline import RUNGS, Pipeline, grid
from radfoundry.tasks.tuned import Tuning

KINDS = ("binary", "multiclass", "ordinal", "multilabel", "regression", "survival")


@dataclass(frozen=True, eq=False)
class Plan:
    """Questions with their truth, sources of features by name, pipelines, and what could not be asked."""

    cohort: Cohort
    questions: Mapping[str, tuple[Task, Mapping[str, Any]]]
    sources: Sequence[nested_sources.Source]
    pipelines: Sequence[Pipeline]
    design: Design
    notes: tuple[str, ...]

    def rows(self, task: Task, truth: Mapping[str, Any], config: Config) -> list[Rows]:
        """The rows of one question from every source, of the same cases."""
        wanted = {fact: [said] if isinstance(said, str) else list(said) for fact, said in config.train_on.items()}
        how = tuning(config)
        made = [nested_sources.rows_of(one, task, truth, wanted=wanted, tuning=how) for one in self.sources]
        return nested_sources.shared_cases(made)


def joined(first: Cohort, second: Cohort) -> Cohort:
    """Two cohorts as one, for reading only; refused when a patient is in both."""
    shared = set(first.patients) & set(second.patients)
    if shared:
        raise InputError(
            f"{counted(len(shared), 'patient is', 'patients are')} in both cohorts",
            where="test.path",
            remedy="test on others",
            finding="leak",
        )
    taken = {case.key for case in first.cases} & {case.key for case in second.cases}
    if taken:
        raise InputError(
            f"{counted(len(taken), 'exam')} of one cohort with a key of the other", where="test.path", finding="leak"
        )
    return Cohort(first.cases + second.cases, runs.digest([first.fingerprint, second.fingerprint]))


def plan(config: Config, cohorts: Sequence[Cohort], *, progress: Progress | None = None) -> Plan:
    """Check the settings, settle every question and embed; a question that cannot be asked is recorded as a note.

    Refuses when no question is left.
    """
    cohort = cohorts[0] if len(cohorts) == 1 else joined(*cohorts)
    pipelines = grid(config.choices, crossed=config.crossed)
    tuning(config)
    components = [*config.encoders, *config.against]
    names = distinct(components)
    asked, notes = _questions(config, cohort)
    sources: list[nested_sources.Source] = []
    # Encoders come first: header and radiomics are taken from the series that they read.
    last = (nested_sources.HEADER, nested_sources.RADIOMICS)
    for name, component in sorted(zip(names, components, strict=True), key=lambda pair: pair[1].name in last):
        among = sources[0].table.series if sources else ()
        sources.append(nested_sources.open_source(cohorts, component, name=name, among=among, progress=progress))
    sources.sort(key=lambda one: names.index(one.name))
    rungs = [one.head for one in pipelines if one.head in RUNGS]
    if rungs and not any(nested_sources.tunable(one.encoder) for one in sources):
        raise InputError(
            f"{rungs[0]} needs an encoder with weights to tune", where="choices.head", remedy="leave it out"
        )
    design = Design(config.folds, config.repeats, config.inner_folds, config.seed)
    return Plan(cohort, asked, sources, pipelines, design, tuple(notes))


def _questions(config: Config, cohort: Cohort) -> tuple[dict[str, tuple[Task, Mapping[str, Any]]], list[str]]:
    components: list[Component] = list(config.tasks) or ([config.task] if config.task else [])
    found: dict[str, tuple[Task, Mapping[str, Any]]] = {}
    notes: list[str] = []
    for component in components:
        named = questions.named(component)
        if named.kind not in (*KINDS, "classes") or named.unit in ("visits", "change"):
            raise InputError(f"{named.name} is not answered by a head", where="tasks", remedy="ask it on its own")
        if named.name in found:
            raise InputError(f"{named.name} is asked twice", where="tasks", remedy="name each question once")
        try:
            task, truth = questions.answers(cohort, named)
        except InputError as error:
            if len(components) == 1:
                raise
            notes.append(f"{named.name} was not asked: {error}")
            continue
        if config.permute_labels:
            patients = {case.key: case.patient for case in cohort.cases}
            truth = questions.permuted(truth, patients, rng=np.random.default_rng(config.seed))
        found[named.name] = (task, truth)
    if not found:
        raise InputError("no question can be asked", where="tasks", remedy=notes[0], finding="no-labels")
    return found, notes


def tuning(config: Config) -> Tuning:
    """The settings of rungs among the heads; refuses options there are not."""
    known = [name for name in Tuning.__dataclass_fields__ if name not in ("rung", "seed")]
    for name in config.tune:
        if name not in known:
            raise registry.unknown("option", name, known, where="tune")
    kinds = {name: type(getattr(Tuning("head"), name)) for name in known}
    return Tuning("head", seed=config.seed, **{name: kinds[name](value) for name, value in config.tune.items()})
