"""`radfoundry adapt`: fit a head on a frozen encoder's features and say how well it answers, with its doubt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from radfoundry import runs
from radfoundry.config import Component, Settings
from radfoundry.records import Cohort, Estimate, Run, Task

Progress = Callable[[str, int, int], None]


class Config(Settings):
    """Which question to ask of which features, who teaches and who is tested."""

    cohort: str = Field(description="cohort folder made by radfoundry ingest")
    task: Component = Field(description="question (radfoundry list tasks), e.g. classify with task.target=LABEL")
    encoder: Component = Field(default=Component(name="vit3d-tiny"), description="encoder name or checkpoint path")
    head: Component | None = Field(
        default=None, description="radfoundry list heads; chosen by the question if left out"
    )
    train_on: dict[str, list[str] | str] = Field(
        default={}, description="series that teach, e.g. train_on.sequence=T2w"
    )
    test_on: dict[str, list[str] | str] | None = Field(default=None, description="series that are tested; as train_on")
    split: str | None = Field(default=None, description="named split with parts train and test; else folds")
    folds: int = Field(default=5, ge=2, description="folds between patients when no split is named")
    cut_off: Component = Field(
        default=Component(name="youden"),
        description="how the cut-off is chosen: youden, or sensitivity, specificity or cost with cut_off.wanted=NUMBER",
    )
    intended_use: str = Field(default="", description="one sentence for the predictor's card")
    pack: bool = Field(default=True, description="copy an encoder that came from a file into the predictor")
    permute_labels: bool = Field(default=False, description="deal the answers out to other patients (negative control)")
    seed: int = Field(default=0, ge=0, description="seed of folds, bootstrap and permutation")
    to: str | None = Field(default=None, description="run folder to write")


@dataclass(frozen=True, eq=False)
class _Asked:
    """Everything an answer came from."""

    cohort: Cohort
    task: Task
    classes: tuple[str, ...]
    encoder: Any
    table: Any
    found: Any
    learner: str


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Embed, fit inside the training patients, predict out of sample, measure; write a predictor and a report."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding
    from radfoundry.tasks import heads, measure, pages, probe, questions

    cohort = cohorts.open_cohort(config.cohort)
    task, truth = questions.answers(cohort, questions.named(config.task))
    classes = questions.class_names(cohort, task)
    if config.permute_labels:
        patients = {case.key: case.patient for case in cohort.cases}
        truth = questions.permuted(truth, patients, rng=np.random.default_rng(config.seed))
    head = heads.named(config.head, task.kind)
    encoder = embedding.open_encoder(config.encoder)
    table = embedding.embed(cohort, encoder, progress=progress)
    found = probe.probe(cohort, table, task=task, truth=truth, head=head, design=_design(config))
    asked = _Asked(cohort, task, classes, encoder, table, found, head.name)
    metrics = measure.measure(found.predictions, task, seed=config.seed)
    metrics |= measure.finished(found.predictions, found.answers, task, seed=config.seed)
    plain = measure.trivial(found.predictions, task, seed=config.seed)
    with runs.writing("adapt", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(cohort=cohort.fingerprint, encoder=table.fingerprint, preparation=table.plan)
        writer.metrics.update({**metrics, **plain})
        writer.notes += found.notes
        probe.write_predictions(found.predictions, writer.folder / "predictions.parquet", answers=found.answers)
        _write_predictor(config, asked, {**metrics, **plain}, writer.folder)
        blocks = _blocks(config, asked, metrics, plain)
        blocks.append(pages.feature_map(table, truth, title=f"Features of {table.encoder}", seed=config.seed))
        blocks.append(pages.thumbnails(cohort, writer.folder))
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished


def _design(config: Config) -> Any:
    from radfoundry.tasks import probe

    made = probe.design(config.train_on, config.test_on, split=config.split, folds=config.folds, seed=config.seed)
    return probe.with_cut_off(made, config.cut_off)


def _write_predictor(config: Config, asked: _Asked, numbers: Mapping[str, Estimate], folder: Path) -> None:
    """The final fit as a folder of its own that `radfoundry predict` reads."""
    from radfoundry.tasks import accepts, predictor

    found, table = asked.found, asked.table
    taught = [table.series[row] for row in found.training.row]
    tested = f"split {config.split}" if config.split else f"{config.folds} folds between patients"
    about = {
        "trained": {
            "cohort": asked.cohort.fingerprint,
            "patients": found.training_patients,
            "cases": len(set(found.training.case.tolist())),
            "series": len(taught),
            "how": f"head {asked.learner}, tested by {tested}",
        },
        "metrics": dict(numbers),
        "intended_use": config.intended_use or "Research on images like those below; not for decisions about patients.",
        "control": "the answers were dealt to other patients on purpose" if config.permute_labels else "",
        "versions": runs.versions(),
    }
    limits = accepts.learned_from(taught, spec=asked.encoder.spec, wanted=config.train_on)
    model = predictor.Predictor(
        asked.task, asked.classes, asked.encoder, found.fitted, found.finish, limits, runs.plain(about)
    )
    predictor.write(model, folder / predictor.FOLDER, component=config.encoder, pack=config.pack)


def _blocks(
    config: Config, asked: _Asked, metrics: Mapping[str, Estimate], plain: Mapping[str, Estimate]
) -> list[dict[str, Any]]:
    from radfoundry.tasks import pages

    main, found, task = next(iter(metrics)), asked.found, asked.task
    return [
        {
            "kind": "text",
            "title": "Summary",
            "paragraphs": [
                f"{task.about} A {asked.learner} head on frozen features of {asked.table.encoder} was tested on "
                f"{len(np.unique(found.predictions.patient))} patients it had not seen: "
                f"{pages.label(main)} {metrics[main]}.",
                "The answers were dealt out to other patients on purpose: this is a negative control."
                if config.permute_labels
                else "The interval says how much this number could move with other patients of the same kind.",
            ],
        },
        pages.people(asked.cohort, found.predictions),
        pages.numbers("Results", {**metrics, **plain}, note=task.about),
        *pages.curves({asked.table.encoder: found.predictions}, task),
    ]
