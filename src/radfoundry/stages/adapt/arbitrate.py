"""Generalist with specialists: an arbiter weighs the votes of finished runs, its own look and similar cases."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.records import Cohort, Estimate, InputError, Run, counted
from radfoundry.stages.adapt.settings import Config, Progress


@dataclass(frozen=True, eq=False)
class _Asked:
    """What was decided and by whom."""

    cohort: Cohort
    task: Any
    question: Any
    classes: tuple[str, ...]
    encoder: Any
    table: Any
    rows: Any
    specialists: list[Any]
    found: Any
    fitted: Any
    evidence: Any


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Gather votes, fit the arbiter between patients, probe it with votes turned against it; log every conflict."""
    asked = _asked(config, progress)
    from radfoundry.tasks import arbiter, arbiter_measures, probe

    metrics = arbiter_measures.measure(asked.found, seed=config.seed)
    parts = getattr(asked.fitted.arbiter, "parts", None)
    rows = arbiter.conflicts(
        asked.found.evidence,
        asked.found.decided,
        parts(asked.found.evidence) if parts else None,
        asked.found.case.tolist(),
    )
    with runs.writing("adapt", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(cohort=asked.cohort.fingerprint, encoder=asked.table.fingerprint)
        writer.metrics.update(metrics)
        writer.notes += [f"{item.name}: {item.how}" for item in asked.specialists]
        writer.notes.append(f"specialists disagree about {len(rows)} of {counted(len(asked.found.case), 'case')}")
        probe.write_predictions(_predictions(asked), writer.folder / "predictions.parquet")
        _write_conflicts(rows, writer.folder)
        if all(item.folder for item in asked.specialists):
            _write_predictor(config, asked, metrics, writer.folder)
        else:
            writer.notes.append("no predictor was written: a specialist that is a table cannot be asked again")
        runs.write_json(writer.folder / "blocks.json", _blocks(asked, metrics, rows))
    return writer.finished


def _asked(config: Config, progress: Progress | None) -> _Asked:
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding
    from radfoundry.tasks import arbiter_case, arbiter_votes, heads, questions
    from radfoundry.tasks.examples import examples

    if config.ladder or config.rung != "frozen":
        raise InputError("arbitrate is answered from frozen features", remedy="use rung=frozen without ladder")
    if config.split is not None:
        raise InputError("arbitrate is tested by folds", where="split", remedy="use folds=5 without split")
    task = registry.build("tasks", config.task.name, **config.task.options)
    cohort = cohorts.open_cohort(config.cohort)
    question, truth = questions.answers(cohort, questions.classify(target=task.target))
    if question.kind != "binary":
        raise InputError(f"{task.target} is no yes-or-no label", where="task.target", remedy="arbitrate yes or no")
    classes = questions.class_names(cohort, question)
    if config.permute_labels:
        owners = {case.key: case.patient for case in cohort.cases}
        truth = questions.permuted(truth, owners, rng=np.random.default_rng(config.seed))
    specialists = arbiter_votes.gather(task.specialists, cohort)
    encoder = embedding.open_encoder(config.encoder)
    table = embedding.embed(cohort, encoder, progress=progress)
    wanted = {fact: [said] if isinstance(said, str) else list(said) for fact, said in config.train_on.items()}
    rows = examples(table, truth, wanted, name="train_on")
    names = tuple(item.name for item in specialists)
    cases = arbiter_case.cases_of(rows, names, lambda keys: arbiter_votes.matrix(specialists, keys))
    head = heads.named(config.head, "binary")
    found = arbiter_case.decide(cases, task, head, folds=config.folds, seed=config.seed)
    fitted, evidence = arbiter_case.fit(cases, task, head, seed=config.seed)
    return _Asked(cohort, task, question, classes, encoder, table, rows, specialists, found, fitted, evidence)


def _predictions(asked: _Asked) -> Any:
    from radfoundry.records import Predictions

    site = {case.key: case.site or "unknown" for case in asked.cohort.cases}
    found = asked.found
    return Predictions.of(
        found.target, found.decided, patient=found.patient, case=found.case, site=[site[key] for key in found.case]
    )


def _write_conflicts(rows: list[dict[str, Any]], folder: Path) -> None:
    import pandas as pd

    with runs.atomic(folder / "conflicts.csv") as partial:
        pd.DataFrame(rows, columns=None if rows else ["case", "decision", "reason"]).to_csv(partial, index=False)


def _write_predictor(config: Config, asked: _Asked, metrics: Mapping[str, Estimate], folder: Path) -> None:
    """The generalist as a predictor, with copies of the specialists', the arbiter and the record that binds them."""
    from dataclasses import replace

    from radfoundry.tasks import accepts, arbiter_fit, finish, predictor
    from radfoundry.tasks.probe import FittedPooled

    fitted = asked.fitted
    place = folder / predictor.FOLDER
    series = [asked.table.series[row] for row in asked.rows.row]
    about = {
        "trained": {
            "cohort": asked.cohort.fingerprint,
            "patients": len(np.unique(fitted.teaching.patient)),
            "cases": len(fitted.teaching.case),
            "series": len(series),
            "how": f"{asked.task.arbiter} over {len(asked.specialists)} specialists, {config.folds} folds",
        },
        "metrics": dict(metrics),
        "intended_use": config.intended_use or "Research on images like those below; not for decisions about patients.",
        "control": "the answers were dealt to other patients on purpose" if config.permute_labels else "",
        "versions": runs.versions(),
        "arbiter": {
            "kind": asked.task.arbiter,
            "specialists": [item.name for item in asked.specialists],
            "neighbours": asked.task.neighbours,
        },
    }
    task = replace(asked.question, name="arbitrate", kind="arbitration")
    limits = accepts.learned_from(series, spec=asked.encoder.spec, wanted=config.train_on)
    model = predictor.Predictor(
        task, asked.classes, asked.encoder, FittedPooled(fitted.generalist, None), finish.Finish("arbitration"),
        limits, runs.plain(about),
    )  # fmt: skip
    predictor.write(model, place, component=config.encoder, pack=config.pack)
    for number, item in enumerate(asked.specialists):
        shutil.copytree(item.folder, place / "specialists" / str(number))
    cases = {"features": fitted.teaching.features, "answer": fitted.teaching.answer.astype(np.int64)}
    arbiter_fit.write(fitted.arbiter, place / "arbiter.safetensors", arrays=cases)


def _blocks(asked: _Asked, metrics: Mapping[str, Estimate], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from radfoundry.tasks import arbiter, arbiter_measures, pages

    found = asked.found
    gain = metrics["arbiter-minus-mean-vote"]
    paragraphs = [
        f"{asked.question.about} An arbiter ({asked.task.arbiter}) hears {len(asked.specialists)} specialists, a head "
        f"on {asked.table.encoder} and the share of yes among similar cases. AUROC {metrics['auroc-arbiter']}; the "
        f"mean of the votes {metrics['auroc-mean-vote']}; difference {gain}.",
        f"The specialists disagree about {len(rows)} of {counted(len(found.case), 'case')}.",
    ]
    if "lost-under-opposite" in metrics:
        paragraphs.append(
            "When the best specialist says the opposite of what it saw, the arbiter loses "
            f"{metrics['lost-under-opposite']} of its AUROC; the difference to the mean of the same votes is then "
            f"{metrics['arbiter-minus-mean-vote-under-opposite']}."
        )
    blocks: list[dict[str, Any]] = [
        {"kind": "text", "title": "Summary", "paragraphs": paragraphs},
        pages.people(asked.cohort, _predictions(asked)),
        pages.numbers("Results", metrics),
        *pages.curves(
            {arbiter_measures.ARBITER: found.of(found.decided), arbiter_measures.MEAN: found.of(found.mean)},
            asked.question,
        ),
    ]
    if isinstance(asked.fitted.arbiter, arbiter.Stacker):
        blocks.append(
            {
                "kind": "table",
                "title": "Who is listened to",
                "note": "Share: what independent judges of this kind would get; copies of one judge share one weight.",
                "columns": [{"key": key, "label": key} for key in ("source", "share", "weight")],
                "rows": arbiter.table_of(asked.fitted.arbiter, asked.evidence.sources),
            }
        )
    shown = ("case", "decision", "reason")
    blocks.append(
        {
            "kind": "table",
            "title": "Conflicts",
            "note": "The first 50; all with every vote are in conflicts.csv.",
            "columns": [{"key": key, "label": key} for key in shown],
            "rows": [{key: str(row[key]) for key in shown} for row in rows[:50]],
        }
    )
    return blocks
