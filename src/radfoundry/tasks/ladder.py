"""The ladder: from a constant answer to a fully tuned encoder, the choice made inside the training patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort, InputError, Predictions, Task
from radfoundry.tasks import baselines, finish, heads
from radfoundry.tasks.examples import Examples, Learner, by_case, examples
from radfoundry.tasks.probe import Design, Pooled, Probe, class_count, everybody, finished, in_order, pairs, remarks
from radfoundry.tasks.tuned import Tuning
from radfoundry.tasks.tuning import Tuned
from radfoundry.tasks.views import Views

CHOSEN = "chosen"
RUNGS = ("frozen", "head", "adapter", "full")
WITHOUT = ("trivial", "header", "radiomics", "scratch")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Candidate:
    """One step of the ladder; `may_win`: whether it may be chosen (the header baseline only stands beside)."""

    name: str
    learner: Learner
    may_win: bool = True

    @property
    def foundation(self) -> bool:
        """Whether it uses what the encoder had learned before."""
        return self.name not in WITHOUT


@dataclass(frozen=True, eq=False)
class Climb:
    """Out-of-sample answers of every candidate and of the choice, and the final fit of the one chosen on everybody.

    `choices` counts how often each was chosen in the outer folds; `losses` are those of the inner folds of the final
    choice, by name.
    """

    found: Mapping[str, Predictions]
    choice: Probe
    name: str
    choices: Mapping[str, int]
    losses: Mapping[str, float]


def candidates(
    cohort: Cohort,
    views: Views,
    task: Task,
    *,
    tuning: Tuning,
    rungs: Sequence[str] = RUNGS,
    covariates: Sequence[str] = (),
) -> list[Candidate]:
    """The ladder for one question, simplest first; rungs left out of `rungs` are not tried.

    `covariates` are labels that the header baseline uses beside the header. Trivial, header and radiomics always stand
    beside; from scratch beside any rung that tunes.
    """
    unknown = [name for name in rungs if name not in RUNGS]
    if unknown:
        raise InputError(f"unknown rung {unknown[0]!r}", remedy=f"known: {', '.join(RUNGS)}", finding="unknown-name")
    kind, target = task.kind, task.target
    usual = heads.named(None, kind)
    header = baselines.header_features(cohort, without=(target, *target.split(",")), also=covariates)
    found = [
        Candidate("trivial", baselines.Constant()),
        Candidate("header", baselines.Measured("header", usual, header, views), may_win=False),
        Candidate("radiomics", baselines.Measured("radiomics", usual, baselines.Radiomics(), views)),
    ]
    if "frozen" in rungs:
        others = [heads.knn(), heads.svm(), heads.boosting()]
        pooled = [usual, *(head for head in others if kind in head.kinds)]
        found += [Candidate(f"frozen-{head.name}", Pooled(head)) for head in pooled]
    tuned = {"head": ["head"], "adapter": ["lora", "mona"], "full": ["partial", "full"]}
    names = [name for rung in ("head", "adapter", "full") if rung in rungs for name in tuned[rung]]
    if any(name != "head" for name in names):
        if not any(True for _ in getattr(views.encoder, "parameters", tuple)()):
            raise InputError(
                f"{views.encoder.spec.name} has no weights to tune",
                remedy="take another encoder, or climb without tuning: rungs=[frozen]",
                finding="no-weights",
            )
        names.append("scratch")
    for name in names:
        found.append(Candidate(name, Tuned(replace(tuning, rung=name), views)))
    return found


@dataclass(frozen=True, eq=False)
class Asked:
    """A question about a cohort, with the table of features and the images behind it."""

    cohort: Cohort
    embeddings: Embeddings
    views: Views
    task: Task
    truth: Mapping[str, Any]


def climb(asked: Asked, steps: Sequence[Candidate], *, design: Design, progress: Progress | None = None) -> Climb:
    """Fit every candidate in every outer fold; choose by held-out training patients; test on the rest.

    The choice is the simplest candidate whose loss is within one standard error (of the paired difference) of the
    smallest (Breiman et al. 1984, section 3.4.3). Tested patients take no part in it.
    """
    cohort, truth, kind = asked.cohort, asked.truth, asked.task.kind
    table, views = asked.embeddings, asked.views
    learn = examples(table, truth, design.train_on, name="train_on", views=views)
    tested = examples(table, truth, design.test_on, name="test_on", views=views)
    classes = class_count(kind, truth)
    parts = pairs(cohort, learn, tested, kind=kind, design=design)
    final = everybody(parts, learn, kind=kind, design=design)
    total, done = (len(parts) + 1) * len(steps), 0
    found: dict[str, list[Predictions]] = {step.name: [] for step in steps}
    said: list[finish.Answers] = []
    names: list[str] = []
    for teaching, testing in [*parts, (final, None)]:
        fits = {}
        for step in steps:
            fits[step.name] = step.learner.fit(teaching, kind=kind, classes=classes)
            done += 1
            if progress:
                progress("ladder", done, total)
        losses = {step.name: inner_losses(teaching, fits[step.name], kind) for step in steps}
        name = choose(losses, [step.name for step in steps if step.may_win])
        if testing is None:
            break
        for step in steps:
            found[step.name].append(by_case([(testing, fits[step.name].predict(testing))]))
        names.append(name)
        said.append(finish.finish(found[name][-1].score, finished(teaching, fits[name], kind, design)))
    predictions, answers = in_order([found[name][fold] for fold, name in enumerate(names)], said)
    fitted = fits[name]
    how = finished(final, fitted, kind, design)
    notes = remarks(cohort, truth, predictions, design, folds=len(parts))
    probe = Probe(predictions, answers, fitted, how, final, notes)
    each = {step: in_order(rows, [])[0] for step, rows in found.items()}
    means = {step: float(values.mean()) for step, values in losses.items() if values is not None}
    return Climb(
        {**each, CHOSEN: predictions}, probe, name, {step: names.count(step) for step in sorted({*names})}, means
    )


def inner_losses(rows: Examples, fitted: Any, kind: str) -> np.ndarray | None:
    """How wrong each held-out training case was answered after calibration; None if none was held out."""
    if fitted.held_out is None:
        return None
    held = by_case([(rows, fitted.held_out)])
    said = held.score
    if kind in ("binary", "multiclass", "ordinal", "multilabel"):
        # Machines rank without saying probabilities: everybody is calibrated before the losses are compared.
        said = finish.finish(said, finish.choose(held, kind)).value
    return heads.row_losses(kind, held.target, said)


def choose(losses: Mapping[str, np.ndarray | None], order: Sequence[str]) -> str:
    """The first of `order` (simplest first) whose loss is within one standard error of the smallest.

    >>> choose({"plain": np.array([1.0, 1.0, 1.1]), "rich": np.array([0.9, 1.1, 0.9])}, ["plain", "rich"])
    'plain'
    """
    known = {name: values for name in order if (values := losses[name]) is not None}
    if not known:
        raise InputError("no candidate could be judged inside the training patients", remedy="add patients")
    best = min(known, key=lambda name: float(known[name].mean()))
    for name, values in known.items():
        gap = values - known[best]
        error = float(gap.std(ddof=1)) / np.sqrt(len(gap)) if len(gap) > 1 else 0.0
        if float(gap.mean()) <= error:
            return name
    return best


def verdict(found: Climb, gaps: Mapping[str, Any], *, metric: str) -> str:
    """Whether a foundation model was worth it, in one sentence."""
    if found.name in WITHOUT:
        return f"A foundation model is not worth it here: {found.name} was chosen on held-out training patients."
    beaten = [name for name, gap in gaps.items() if gap.defined and gap.low > 0]
    baselines_here = list(gaps)
    if len(beaten) == len(baselines_here):
        return (
            f"{found.name} was chosen, and it beats {', '.join(baselines_here)} in {metric}: each interval excludes 0."
        )
    missed = ", ".join(name for name in baselines_here if name not in beaten)
    return f"{found.name} was chosen, but these patients do not show that it beats {missed} in {metric}."
