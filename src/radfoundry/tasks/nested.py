"""Nested evaluation: every pipeline answers out of sample, and the choice among them is made inside the training part.

The design follows Varma & Simon, BMC Bioinformatics 2006;7:91: what is chosen on inner folds is judged on outer ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.data import pool
from radfoundry.records import InputError, Predictions, counted
from radfoundry.tasks import heads, nested_figures
from radfoundry.tasks.examples import Examples, by_case
from radfoundry.tasks.nested_pipeline import RUNGS, Data, Pipeline, learn

Progress = Callable[[str, int, int], None]
FORMAT = 1


@dataclass(frozen=True)
class Design:
    """Outer folds between patients, how often they are drawn anew, and the inner folds of every choice."""

    folds: int = 5
    repeats: int = 1
    inner_folds: int = 4
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Rows:
    """One question asked of one encoder's features: the rows, the kind of question, and a name for what they are."""

    encoder: str
    task: str
    kind: str
    classes: int
    rows: Examples
    mark: str
    learners: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Outcome:
    """Out-of-sample scores of one pipeline: (repeats, cases) or (repeats, cases, k); (repeats, folds) inner figures.

    `fold` (repeats, cases) says which fold tested a case; an inner figure is NaN where nothing could be held out.
    """

    score: np.ndarray
    inner: np.ndarray
    fold: np.ndarray


@dataclass(frozen=True, eq=False)
class Job:
    """One pipeline for one question of one encoder, and the file that keeps what came of it."""

    asked: Rows
    pipeline: Pipeline
    design: Design
    file: str | None


def evaluate(
    asked: Sequence[Rows],
    pipelines: Sequence[Pipeline],
    *,
    design: Design,
    folder: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[tuple[str, str, Pipeline], Outcome]:
    """Every pipeline for every question of every encoder, by (encoder, task, pipeline).

    With a `folder` each finished one is kept there under a name made of everything it depends on: an interrupted call
    goes on where it stopped, with the same numbers. Left out are pipelines whose head does not answer a kind of
    question, and rungs of features without weights.
    """
    jobs = [
        Job(one, pipeline, design, None if folder is None else str(folder / f"{_mark(one, pipeline, design)}.npz"))
        for one in asked
        for pipeline in pipelines
        if answers(one, pipeline)
    ]
    found: dict[tuple[str, str, Pipeline], Outcome] = {}
    todo = []
    for job in jobs:
        kept = _read(job.file)
        if kept is None:
            todo.append(job)
        else:
            found[_key(job)] = kept
    for job, outcome in _answers(todo, workers):
        found[_key(job)] = outcome
        if progress:
            progress("evaluate", len(found), len(jobs))
    return {_key(job): found[_key(job)] for job in jobs}


def answers(asked: Rows, pipeline: Pipeline) -> bool:
    """Whether a pipeline's head answers this kind of question and, for rungs, has an encoder with weights to tune."""
    return pipeline.answers(asked.kind) and (pipeline.head not in RUNGS or pipeline.head in asked.learners)


def _key(job: Job) -> tuple[str, str, Pipeline]:
    return job.asked.encoder, job.asked.task, job.pipeline


def _answers(jobs: Sequence[Job], workers: int) -> Iterable[tuple[Job, Outcome]]:
    """Light jobs over processes; jobs that tune an encoder one after another in this process."""
    light = [replace(job, asked=_without_views(job.asked)) for job in jobs if job.pipeline.head not in RUNGS]
    wanted = min(pool.worker_count(workers), len(light))
    for answer in pool.each(run_job, light, workers=wanted if len(light) > 3 else 1):
        if answer.error is not None:
            raise answer.error
        if answer.result is not None:
            yield answer.task, answer.result
    for job in jobs:
        if job.pipeline.head in RUNGS:
            yield job, run_job(job)


def _without_views(asked: Rows) -> Rows:
    return replace(asked, rows=replace(asked.rows, views=None), learners={})


def run_job(job: Job) -> Outcome:
    """Fit one pipeline in every outer fold of every repeat, and keep what came of it."""
    from threadpoolctl import threadpool_limits

    design, rows = job.design, job.asked.rows
    scores, inner, placed = [], [], []
    with threadpool_limits(limits=1):
        for repeat in range(design.repeats):
            seed = design.seed + 1000 * repeat
            fold = fold_numbers(rows, kind=job.asked.kind, folds=design.folds, seed=seed)
            score, figures = _one_repeat(job, fold, seed)
            tested = by_case([(rows, score)])
            scores.append(tested.score)
            inner.append(figures)
            placed.append(by_case([(rows, fold.astype(float))]).score.round().astype(int))
    outcome = Outcome(np.stack(scores), np.stack(inner), np.stack(placed))
    if job.file is not None:
        with runs.atomic(job.file) as partial, partial.open("wb") as handle:
            np.savez(handle, score=outcome.score, inner=outcome.inner, fold=outcome.fold)
    return outcome


def _one_repeat(job: Job, fold: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    asked, rows = job.asked, job.asked.rows
    score: np.ndarray | None = None
    figures = np.full(int(fold.max()) + 1, np.nan)
    for number in range(len(figures)):
        teaching, tested = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        said, held_out = fit_fold(asked, job.pipeline, teaching, tested, design=job.design, seed=seed)
        score = np.zeros((len(rows), *said.shape[1:])) if score is None else score
        score[tested] = said
        if held_out is not None:
            figures[number] = nested_figures.whole(asked.kind, by_case([(rows.take(teaching), held_out)]))
    if score is None:
        raise InputError("no fold was tested", where=f"task {asked.task}", finding="too-few")
    return score, figures


def fit_fold(
    asked: Rows, pipeline: Pipeline, teaching: np.ndarray, tested: np.ndarray, *, design: Design, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Fit a pipeline on some rows: what it says of others, and of its own held-out ones (None: nothing held out)."""
    rows = asked.rows
    if pipeline.head in RUNGS:
        if pipeline.head not in asked.learners:
            raise InputError(
                f"{asked.encoder} has no weights to tune", where="choices.head", remedy="leave it out", finding="rung"
            )
        fitted = asked.learners[pipeline.head].fit(rows.take(teaching), kind=asked.kind, classes=asked.classes)
        return fitted.predict(rows.take(tested)), fitted.held_out
    data = Data(rows.features, rows.answer, rows.patient, asked.kind, asked.classes).take(teaching)
    learned = learn(pipeline, data, inner_folds=design.inner_folds, seed=seed)
    return learned.predict(rows.features[tested]), learned.held_out


def fold_numbers(rows: Examples, *, kind: str, folds: int, seed: int) -> np.ndarray:
    """(n,) the outer fold of each row: whole patients, classes and events spread evenly.

    Folds depend on patients, answers and seed alone, so that every encoder meets the same ones. Fewer folds than asked
    for where the rarest answer has fewer patients; refused below two.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    patients, first, place = np.unique(rows.patient, return_index=True, return_inverse=True)
    answer = rows.answer[first]
    strata = answer if kind in heads.CLASSES else answer[:, 1].astype(int) if kind == "survival" else None
    count = min(folds, len(patients))
    if strata is not None:
        count = min(count, int(np.unique(strata, return_counts=True)[1].min()))
    if count < 2:
        raise InputError(
            f"{counted(len(patients), 'patient')} cannot be cut into folds that each hold every class: the rarest "
            f"has {count}",
            remedy="add patients of the rare class, or empty its cells to leave it out",
            finding="too-few",
        )
    splitter = (KFold if strata is None else StratifiedKFold)(count, shuffle=True, random_state=seed)
    number = np.zeros(len(patients), int)
    for fold, (_, tested) in enumerate(splitter.split(patients, strata)):
        number[tested] = fold
    return number[place.reshape(-1)]


def cases_of(rows: Examples) -> Predictions:
    """One row per case in the order of `Outcome.score`, its truth and patient; the score is empty."""
    return by_case([(rows, np.zeros(len(rows)))])


def _mark(asked: Rows, pipeline: Pipeline, design: Design) -> str:
    return runs.digest([FORMAT, asked.mark, vars(pipeline), vars(design), _sklearn()])


def _sklearn() -> str:
    return runs.versions().get("scikit-learn", "")


def mark_of(rows: Examples, *parts: Any) -> str:
    """A name for rows of features and answers: the same name means the same numbers in the same order."""
    import hashlib

    seen = hashlib.sha256()
    for column in (rows.features, rows.answer):
        seen.update(np.ascontiguousarray(column, dtype=float).tobytes())
    return runs.digest([seen.hexdigest(), rows.case.tolist(), rows.patient.tolist(), *parts])


def _read(file: str | None) -> Outcome | None:
    """What an earlier call left, or nothing; a file that cannot be read counts as nothing."""
    if file is None or not Path(file).is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as kept:
            return Outcome(kept["score"], kept["inner"], kept["fold"])
    except (OSError, ValueError, KeyError, EOFError):
        return None
