"""`radfoundry adapt`: fit a head on a frozen encoder's features and say how well it answers, with its doubt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import Field

from radfoundry import runs
from radfoundry.config import Component, Settings
from radfoundry.records import Run


class Config(Settings):
    """Which question to ask of which features, who teaches and who is tested."""

    cohort: str = Field(description="cohort folder made by radfoundry ingest")
    task: Component = Field(description="question: lesion-present, age, or classify/regress with target=LABEL")
    encoder: Component = Field(default=Component(name="vit3d-tiny"), description="encoder name or checkpoint path")
    head: Component | None = Field(
        default=None, description="logistic, ridge or knn; chosen by the question if left out"
    )
    train_on: dict[str, list[str] | str] = Field(
        default={}, description="series that teach, e.g. train_on.sequence=T2w"
    )
    test_on: dict[str, list[str] | str] | None = Field(default=None, description="series that are tested; as train_on")
    split: str | None = Field(default=None, description="named split with parts train and test; else folds")
    folds: int = Field(default=5, ge=2, description="folds between patients when no split is named")
    permute_labels: bool = Field(default=False, description="deal the answers out to other patients (negative control)")
    seed: int = Field(default=0, ge=0, description="seed of folds, bootstrap and permutation")
    to: str | None = Field(default=None, description="run folder to write")


def run(config: Config, *, progress: Callable[[str, int, int], None] | None = None) -> Run:
    """Embed, fit inside the training patients, predict out of sample, measure, and write a report's content."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding
    from radfoundry.tasks import heads, measure, pages, probe, questions

    cohort = cohorts.open_cohort(config.cohort)
    task, truth = questions.answers(cohort, questions.named(config.task))
    if config.permute_labels:
        patients = {case.key: case.patient for case in cohort.cases}
        truth = questions.permuted(truth, patients, rng=np.random.default_rng(config.seed))
    head = heads.named(config.head, task.kind)
    table = embedding.embed(cohort, embedding.open_encoder(config.encoder), progress=progress)
    design = probe.design(config.train_on, config.test_on, split=config.split, folds=config.folds, seed=config.seed)
    found = probe.probe(cohort, table, task=task, truth=truth, head=head, design=design)
    metrics = measure.measure(found.predictions, task, seed=config.seed)
    plain = measure.trivial(found.predictions, task, seed=config.seed)
    with runs.writing("adapt", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(cohort=cohort.fingerprint, encoder=table.fingerprint, preparation=table.plan)
        writer.metrics.update({**metrics, **plain})
        writer.notes += found.notes
        probe.write_predictions(found.predictions, writer.folder / "predictions.parquet")
        probe.save_head(found, writer.folder, task=task, encoder=table.encoder, fingerprint=table.fingerprint)
        main = next(iter(metrics))
        blocks: list[dict[str, Any]] = [
            {
                "kind": "text",
                "title": "Summary",
                "paragraphs": [
                    f"{task.about} A {head.name} head on frozen features of {table.encoder} was tested on "
                    f"{len(np.unique(found.predictions.patient))} patients it had not seen: "
                    f"{pages.label(main)} {metrics[main]}.",
                    "The answers were dealt out to other patients on purpose: this is a negative control."
                    if config.permute_labels
                    else "The interval says how much this number could move with other patients of the same kind.",
                ],
            },
            pages.people(cohort, found.predictions),
            pages.numbers("Results", {**metrics, **plain}, note=task.about),
            *pages.curves({table.encoder: found.predictions}, task),
            pages.feature_map(table, truth, title=f"Features of {table.encoder}", seed=config.seed),
            pages.thumbnails(cohort, writer.folder),
        ]
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished
