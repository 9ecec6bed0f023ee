"""Registration of pairs of patients by an encoder's features, judged by how far their structures overlap."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.records import Cohort, InputError, Run, counted
from radfoundry.stages.adapt.settings import Config, Progress

PLAIN = "mind"


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Bring pairs of patients together and measure the overlap of their structures; nothing is learned."""
    import pandas as pd

    from radfoundry.data import masks
    from radfoundry.tasks import align, pages, per_case

    if config.ladder or config.rung != "frozen" or config.head is not None:
        raise InputError("align learns nothing", remedy="use rung=frozen without ladder and head")
    task = registry.build("tasks", config.task.name, **config.task.options)
    cohort = _cohort(config, task)
    encoder = _encoder(config)
    found, empty = masks.with_empty(masks.pairs(cohort, wanted=config.train_on), "leave-out")
    labels = align.labels_of(found, task)
    chosen = align.partners(found, task.pairs, np.random.default_rng(config.seed))
    _readable(chosen, encoder)
    stranger = config.permute_labels
    rows = align.align(chosen, labels, encoder=encoder, task=task, stranger=stranger, progress=progress)
    metrics = align.measure(rows)
    with runs.writing("adapt", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs["cohort"] = cohort.fingerprint
        named = {f"{name}-{config.called}" if config.called else name: value for name, value in metrics.items()}
        writer.metrics.update(named)
        writer.notes += [f"{counted(len(empty), 'image')} with an empty mask left out"] if empty else []
        with runs.atomic(writer.folder / "overlaps.csv") as partial:
            pd.DataFrame([asdict(row) for row in rows]).to_csv(partial, index=False, float_format="%.6g")
        per_case.write(align.per_exam(rows), writer.folder)
        lines = [
            f"{counted(len(rows), 'patient was', 'patients were each')} brought onto another one "
            f"({task.options.model}, compared by "
            f"{config.encoder.name}); {', '.join(labels)} overlapped by {metrics['overlap']} (mean Dice), before by "
            f"{metrics['overlap-before']}.",
            "Every patient is the fixed image once and moves once, so pairs are not quite independent of one another.",
        ]
        if stranger:
            lines.append("The masks that moved were those of third patients on purpose: this is a negative control.")
        blocks = [{"kind": "text", "title": "Summary", "paragraphs": lines}, pages.numbers("Results", metrics)]
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished


def _cohort(config: Config, task: Any) -> Cohort:
    from radfoundry.data import cohort as cohorts
    from radfoundry.tasks import segment_simulated

    if config.cohort == segment_simulated.NAME:
        return segment_simulated.cohort(task.simulate, seed=config.seed)
    return cohorts.open_cohort(config.cohort)


def _encoder(config: Config) -> Any:
    """The encoder asked for, or None for the descriptor that needs none."""
    from radfoundry.nets import embedding

    if config.encoder.name == PLAIN:
        if config.encoder.options:
            raise InputError(f"{PLAIN} takes no options", where="encoder", finding="options")
        return None
    return embedding.open_encoder(config.encoder)


def _readable(chosen: Any, encoder: Any) -> None:
    from radfoundry.nets import embedding

    for fixed, _, _ in chosen:
        if fixed.image.shape[3] == 1:
            raise InputError(
                "is a 2D image", where=f"image {fixed.image.key}", remedy="registration needs volumes", finding="2d"
            )
        if encoder is None:
            continue
        reason = embedding.refusal(fixed.image, encoder.spec)
        if reason:
            raise InputError(reason, where=fixed.image.key, remedy=f"choose another encoder, or encoder={PLAIN}")
