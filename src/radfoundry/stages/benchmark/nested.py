"""Encoders x questions x pipelines with nested folds: leaderboard, effects of choices, optimism of the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from radfoundry import runs
from radfoundry.records import InputError, Predictions, Run
from radfoundry.stages.benchmark.settings import Config, Progress


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Every pipeline of every encoder on every question, choices made on inner folds, all on the same patients.

    What is finished is kept inside the cohort: the same call after an interruption goes on and gives the same numbers.
    """
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import untrained
    from radfoundry.stages.benchmark import asking
    from radfoundry.tasks import nested, nested_board, nested_pages, pages

    cohort = cohorts.open_cohort(config.cohort)
    plan = asking.plan(config, [cohort], progress=progress)
    rows, truth, notes = _rows(config, plan)
    folder = None if cohort.path is None else Path(cohort.path) / "cache" / "nested"
    found = nested.evaluate(
        rows, plan.pipelines, design=plan.design, folder=folder, workers=config.workers, progress=progress
    )
    if not found:
        raise InputError("no pipeline answers any question", where="choices.head", remedy="add linear to choices.head")
    board = nested_board.board(found, truth, plan.pipelines, draws=config.draws, seed=config.seed)
    made = nested_board.effects(board, plan.pipelines)
    named = [one.name for one in plan.sources]
    pairs = [(one, other) for one in named[: len(config.encoders)] for other in named[len(config.encoders) :]]
    with runs.writing("benchmark", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs["cohort"] = cohort.fingerprint
        writer.inputs.update({f"encoder {one.name}": one.table.fingerprint for one in plan.sources})
        writer.metrics.update(nested_pages.numbers(board, plan.pipelines, made, pairs))
        writer.notes += [*notes, *untrained.remarks(*config.encoders, *config.against)]
        _write_scores(found, truth, plan.pipelines[0], writer.folder / "scores.parquet")
        blocks = nested_pages.blocks(board, plan.pipelines, made, seed=config.seed)
        blocks.insert(1, pages.people(cohort))
        if config.permute_labels:
            blocks[0]["paragraphs"].append("The answers were dealt out to other patients: this is a negative control.")
        blocks.append(pages.thumbnails(cohort, writer.folder))
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished


def _rows(config: Config, plan: Any) -> tuple[list[Any], dict[str, tuple[str, Predictions]], list[str]]:
    """Rows of every question and source, its cases' truth, and a note for every question too small for folds."""
    from radfoundry.tasks import nested

    found, truth, notes = [], {}, list(plan.notes)
    for task, answers in plan.questions.values():
        made = plan.rows(task, answers, config)
        try:
            nested.fold_numbers(made[0].rows, kind=task.kind, folds=config.folds, seed=config.seed)
        except InputError as error:
            if len(plan.questions) == 1:
                raise
            notes.append(f"{task.name} was not asked: {error}")
            continue
        found += made
        truth[task.name] = (task.kind, nested.cases_of(made[0].rows))
        if len(truth[task.name][1]) < len(answers):
            notes.append(f"{task.name}: {len(answers) - len(truth[task.name][1])} exams not readable by all")
    if not found:
        raise InputError("no question has enough patients for folds", where="tasks", remedy="use fewer folds")
    return found, truth, notes


def _write_scores(found: Any, truth: Any, base: Any, path: Path) -> None:
    """One row per encoder, question, pipeline, repeat and case: every score out of sample, with its fold."""
    import pandas as pd

    from radfoundry.tasks.probe import numbered

    tables = []
    for (encoder, task, pipeline), one in found.items():
        cases = truth[task][1]
        for repeat, (score, fold) in enumerate(zip(one.score, one.fold, strict=True)):
            columns: dict[str, Any] = {"encoder": encoder, "task": task, "pipeline": pipeline.named(base)}
            columns |= {"repeat": repeat, "fold": fold, "case": cases.case, "patient": cases.patient}
            tables.append(pd.DataFrame(columns | numbered("target", cases.target) | numbered("score", score)))
    with runs.atomic(path) as partial:
        pd.concat(tables, ignore_index=True).to_parquet(partial, index=False)
