"""What the answer to a patient-level question leaves behind: a predictor, an encoder, tables and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.records import Cohort, Estimate, Task, counted
from radfoundry.stages.adapt.settings import Config


@dataclass(frozen=True, eq=False)
class Asked:
    """Everything an answer came from, and what it was."""

    cohort: Cohort
    task: Task
    classes: tuple[str, ...]
    encoder: Any
    table: Any
    found: Any
    learner: str
    climb: Any = None
    beside: Any = None
    gaps: Mapping[str, Estimate] = field(default_factory=dict)


def write_contributions(asked: Asked, folder: Path) -> None:
    """What each image of each exam added, as a table for people and with every bit."""
    if asked.beside is None or asked.beside.added is None:
        return
    import pandas as pd

    from radfoundry.tasks import contributions

    table = pd.DataFrame(contributions.table(asked.beside.added))
    with runs.atomic(folder / f"{contributions.NAME}.csv") as partial:
        table.to_csv(partial, index=False, float_format="%.6g")


def write_predictor(config: Config, asked: Asked, numbers: Mapping[str, Estimate], folder: Path) -> None:
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
            "how": f"{asked.learner}, tested by {tested}",
        },
        "metrics": dict(numbers),
        "intended_use": config.intended_use or "Research on images like those below; not for decisions about patients.",
        "control": "the answers were dealt to other patients on purpose" if config.permute_labels else "",
        "versions": runs.versions(),
    }
    wanted = {**config.train_on}
    if asked.beside is not None:
        from radfoundry.tasks import slots

        wanted |= dict.fromkeys(slots.facts_of(found.fitted.by), "")
    limits = accepts.learned_from(taught, spec=asked.encoder.spec, wanted=wanted)
    model = predictor.Predictor(
        asked.task, asked.classes, asked.encoder, found.fitted, found.finish, limits, runs.plain(about), _prior(config)
    )
    predictor.write(model, folder / predictor.FOLDER, component=config.encoder, pack=config.pack)


def write_encoder(config: Config, asked: Asked, folder: Path) -> None:
    """The encoder as a rung that frees its weights left it, as a checkpoint of its own for other steps."""
    from radfoundry.tasks.tuned import FREE

    fitted = asked.found.fitted
    if getattr(fitted, "tuning", None) is not None and fitted.tuning.rung in FREE:
        from radfoundry.train import state

        state.save_encoder(config.encoder, fitted.network.encoder, {}, folder / "encoder.safetensors")


def _prior(config: Config) -> Any:
    from radfoundry.tasks import priors

    return None if config.prior is None else priors.named(config.prior)


def blocks(
    config: Config, asked: Asked, metrics: Mapping[str, Estimate], plain: Mapping[str, Estimate]
) -> list[dict[str, Any]]:
    """The page: the summary, who was asked about, the numbers and the curves."""
    from radfoundry.tasks import ladder_pages, pages

    found, task = asked.found, asked.task
    people = pages.people(asked.cohort, found.predictions)
    if asked.climb is not None:
        gaps = {key: value for key, value in metrics.items() if "-minus-" in key}
        own = {key: value for key, value in metrics.items() if key not in gaps}
        summary, *rest = ladder_pages.blocks(asked.climb, task, own, gaps)
        return [_controlled(summary, config), people, *rest, pages.numbers("Without looking at the image", plain)]
    main = next(iter(metrics))
    summary = {
        "kind": "text",
        "title": "Summary",
        "paragraphs": [
            f"{task.about} {_what(asked, config)} was tested on "
            f"{counted(len(np.unique(found.predictions.patient)), 'patient')} it had not seen: "
            f"{pages.label(main)} {metrics[main]}.",
            "The interval says how much this number could move with other patients of the same kind.",
        ],
    }
    fused = []
    if asked.beside is not None:
        from radfoundry.tasks import fusion_pages

        summary, metrics, fused = fusion_pages.blocks(asked.beside, summary, metrics)
    return [
        _controlled(summary, config),
        people,
        *fused,
        pages.numbers("Results", {**metrics, **plain}, note=task.about),
        *pages.curves({asked.table.encoder: found.predictions}, task),
    ]


def _what(asked: Asked, config: Config) -> str:
    if asked.beside is not None:
        images = ", ".join(asked.found.fitted.slots)
        return f"{asked.learner.capitalize()} of {images} on frozen features of {asked.table.encoder}"
    if config.rung == "frozen":
        return f"A {asked.learner} head on frozen features of {asked.table.encoder}"
    return f"{asked.table.encoder}, rung {config.rung} ({asked.learner}),"


def _controlled(summary: dict[str, Any], config: Config) -> dict[str, Any]:
    """The summary, which says so where the answers were permuted."""
    if not config.permute_labels:
        return summary
    said = "The answers were dealt out to other patients on purpose: this is a negative control."
    return {**summary, "paragraphs": [*summary["paragraphs"][:-1], said]}
