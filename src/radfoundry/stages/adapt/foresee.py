"""The later state from the first visit: learned from patients seen twice, beside the answers that need no image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.records import Cohort, Estimate, InputError, Run, Task, counted
from radfoundry.stages.adapt.settings import Config, Progress

MOST_SHOWN = 40


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Learn how a label changes, foresee it for patients who did not teach, measure error and intervals."""
    import pandas as pd

    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding
    from radfoundry.tasks import foresee, foresee_measures, heads, per_case, probe

    if config.ladder or config.rung != "frozen":
        raise InputError("foresee is answered from frozen features", remedy="use rung=frozen without ladder")
    task = registry.build("tasks", config.task.name, **config.task.options)
    head = heads.named(config.head, "regression")
    cohort = cohorts.open_cohort(config.cohort)
    known = foresee.pairs(cohort, task)
    if config.permute_labels:
        known = foresee_measures.dealt(known, np.random.default_rng(config.seed))
    encoder = embedding.open_encoder(config.encoder)
    table = embedding.embed(cohort, encoder, progress=progress)
    design = probe.design(config.train_on, config.test_on, split=config.split, folds=config.folds, seed=config.seed)
    found = foresee_measures.answer(cohort, table, known, task=task, head=head, design=design)
    metrics = foresee_measures.measure(found, task, seed=config.seed)
    with runs.writing("adapt", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(cohort=cohort.fingerprint, encoder=table.fingerprint)
        named = {f"{name}-{config.called}" if config.called else name: value for name, value in metrics.items()}
        writer.metrics.update(named)
        rows = foresee_measures.table(found)
        with runs.atomic(writer.folder / "foreseen.csv") as partial:
            pd.DataFrame(rows).to_csv(partial, index=False, float_format="%.6g")
        per_case.write(foresee_measures.per_exam(found), writer.folder)
        parts = (cohort, encoder, table, task, found)
        _write_predictor(config, parts, metrics, writer.folder)
        runs.write_json(writer.folder / "blocks.json", _blocks(config, parts, metrics, rows))
    return writer.finished


def _write_predictor(config: Config, parts: tuple[Any, ...], metrics: Mapping[str, Estimate], folder: Path) -> None:
    from radfoundry.tasks import accepts, foresee, predictor
    from radfoundry.tasks.finish import Finish
    from radfoundry.tasks.probe import FittedPooled

    cohort, encoder, table, task, found = parts
    taught = [table.series[row] for row in found.training.row]
    patients = len(np.unique(found.training.patient))
    days = float(np.median([pair.days for pair in found.pairs]))
    about = {
        "trained": {
            "cohort": cohort.fingerprint,
            "patients": patients,
            "cases": len(set(found.training.case.tolist())),
            "series": len(taught),
            "how": f"first visits of patients seen twice, tested by {config.split or f'{config.folds} folds'}",
        },
        "metrics": dict(metrics),
        "intended_use": config.intended_use or "Research on images like those below; not for decisions about patients.",
        "control": "the changes were dealt to other patients on purpose" if config.permute_labels else "",
        "versions": runs.versions(),
        "foresee": {
            "target": task.target,
            "measured": task.measured,
            "level": task.level,
            "days": days,
            **foresee.to_dict(found.final),
        },
    }
    when = "with its value" if task.measured else "without its value"
    asked = Task(
        f"foresee-{task.target}",
        task.target,
        foresee.KIND,
        about=f"What will {task.target} be {days:.0f} days after this visit ({when} at this visit)?",
    )
    limits = accepts.learned_from(taught, spec=encoder.spec, wanted=config.train_on)
    fitted = FittedPooled(found.final.head, None)
    finish = Finish("regression", patients=patients)
    model = predictor.Predictor(asked, (), encoder, fitted, finish, limits, runs.plain(about))
    predictor.write(model, folder / predictor.FOLDER, component=config.encoder, pack=config.pack)


def _blocks(
    config: Config, parts: tuple[Any, ...], metrics: Mapping[str, Estimate], rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    from radfoundry.tasks import pages

    cohort, _, table, task, _ = parts
    asked: Cohort = cohort
    paragraphs = [
        f"{task.target} at the next visit was foreseen from the first visit alone for "
        f"{counted(len(rows), 'patient')} who did not "
        f"teach ({table.encoder}). Mean error {metrics['mae']}; saying that nothing changes "
        f"{metrics['mae-no-change']}, saying the mean change {metrics['mae-mean-change']}.",
        f"The interval of {task.level:.0%} held the later value in {metrics['interval-coverage']} of patients.",
    ]
    if task.measured:
        gain = metrics["gain-on-first-value"]
        paragraphs.append(f"What the image adds to the value measured at the first visit: {gain} less error.")
    if config.permute_labels:
        paragraphs.append("The changes were dealt out to other patients on purpose: this is a negative control.")
    shown = {
        "kind": "table",
        "title": "Patients",
        "note": f"The first {MOST_SHOWN}; all are in foreseen.csv.",
        "columns": [{"key": key, "label": key} for key in rows[0]],
        "rows": [
            {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()}
            for row in rows[:MOST_SHOWN]
        ],
    }
    note = "Gains are paired by patient; positive means less error than the simple answer."
    summary = {"kind": "text", "title": "Summary", "paragraphs": paragraphs}
    return [summary, pages.people(asked), pages.numbers("Results", metrics, note=note), shown]
