"""What a prior is worth: the same question to whole images, and to a region where the anatomy is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from radfoundry.nets import embedding
from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort, Estimate, InputError, Predictions, Task
from radfoundry.tasks import measure, priors
from radfoundry.tasks.probe import Design, probe

PRIOR, WHOLE, WRONG = "prior", "whole", "wrong"


def numbers(
    cohort: Cohort,
    inside: Embeddings,
    encoder: Any,
    prior: priors.Prior,
    learner: Any,
    asked: tuple[Task, Mapping[str, Any], Design, Predictions],
) -> dict[str, Estimate]:
    """The main number of whole images and of a wrong prior, and the prior minus each, paired by patient.

    inside: the features from inside the prior; asked: the question, the truth, the design, and what was said from
    inside. Keys: `whole/METRIC`, `prior-minus-whole/METRIC`, and where `wrong_mm` is given the same for `wrong`
    and `wrong-minus-whole/METRIC`.
    """
    task, truth, design, said = asked
    tables = {WHOLE: _same_series(embedding.embed(cohort, encoder), inside)}
    if prior.wrong_mm is not None:
        away = priors.embed_inside(cohort, encoder, prior, shift_mm=prior.wrong_mm)
        tables[WRONG] = _same_series(away, inside)
    found: dict[str, Estimate] = {}
    others = {}
    for name, table in tables.items():
        other = others[name] = probe(cohort, table, task=task, truth=truth, head=learner, design=design).predictions
        main, value = next(iter(measure.measure(other, task, seed=design.seed).items()))
        found[f"{name}/{main}"] = value
        gaps = measure.difference(said, other, task, seed=design.seed)
        found |= {f"{PRIOR}-minus-{name}/{metric}": gap for metric, gap in gaps.items()}
    if WRONG in others:
        gaps = measure.difference(others[WRONG], others[WHOLE], task, seed=design.seed)
        found |= {f"{WRONG}-minus-{WHOLE}/{metric}": gap for metric, gap in gaps.items()}
    return found


def _same_series(table: Embeddings, wanted: Embeddings) -> Embeddings:
    """The rows of a table that another has, in its order; refused where one is missing."""
    place = {series.key: row for row, series in enumerate(table.series)}
    missing = [series.key for series in wanted.series if series.key not in place]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(wanted.series)} series hold nothing of it",
            where="prior.wrong_mm",
            remedy="move the wrong prior less far",
        )
    rows = [place[series.key] for series in wanted.series]
    return replace(table, series=wanted.series, vectors=table.vectors[rows])
