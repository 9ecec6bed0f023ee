"""What stands beside one rung: other rungs on the same folds, and what each encoder still knows of another question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from radfoundry import registry
from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort, Estimate, InputError, Predictions, Task
from radfoundry.stats import comparisons, proportions
from radfoundry.tasks import heads, measure, tuned
from radfoundry.tasks.examples import Examples, Learner, by_case, examples
from radfoundry.tasks.fusion_beside import Watched
from radfoundry.tasks.probe import Design, Pooled, Probe, class_count, pairs, probe
from radfoundry.tasks.tuned import FittedTuned, Tuning
from radfoundry.tasks.tuning import Tuned
from radfoundry.tasks.views import Views

FROZEN, HEAD = "frozen", "head"
STEPS = (FROZEN, HEAD, *tuned.ADAPTED, *tuned.FREE)
BALANCED, PLAIN = "balanced", "plain"
BEFORE, REMOVED, REMEMBERED = "before", "removed", "remembered"
HALF = 0.5
Answered = tuple[Probe, Sequence[tuple[Examples, Any]]]


@dataclass(frozen=True, eq=False)
class Asked:
    """A question about a cohort, with the table of features, the images behind it, and who teaches."""

    cohort: Cohort
    table: Embeddings
    views: Views
    task: Task
    truth: Mapping[str, Any]
    design: Design


def learner_named(word: str, asked: Asked, tuning: Tuning) -> Learner:
    """A rung by its name; with `-balanced` behind it batches hold the classes equally often, with `-plain` not."""
    name, _, how = word.partition("-")
    if name not in STEPS:
        raise registry.unknown("rung", name, STEPS, where="beside")
    if how not in ("", BALANCED, PLAIN) or (how and name == FROZEN):
        raise registry.unknown("way", how, (BALANCED, PLAIN), where=f"beside={word}")
    if name == FROZEN:
        return Pooled(heads.named(None, asked.task.kind))
    changed = {} if not how else {"balanced": how == BALANCED, "weighted": False}
    return Tuned(replace(tuning, rung=name, **changed), asked.views)


def answered(asked: Asked, learner: Learner) -> Answered:
    """The answers of one rung out of sample, and what was fitted fold by fold with the rows it was asked about."""
    watched = Watched(learner, asked.views)
    found = probe(asked.cohort, asked.table, task=asked.task, truth=asked.truth, head=watched, design=asked.design)
    return replace(found, fitted=found.fitted.inner), tuple(watched.asked)


def numbers(found: Mapping[str, Answered], task: Task, *, seed: int) -> dict[str, Estimate]:
    """The main number of every rung but the first, and the first minus each, paired by patient.

    `NAME/METRIC` and `FIRST-minus-NAME/METRIC`; for yes-or-no questions also `recall`, the share of those with the
    answer yes whose raw probability is a half or more.
    """
    first, *others = found
    made: dict[str, Estimate] = {}
    mine = found[first][0].predictions
    if task.kind == "binary":
        made[f"{first}/recall"] = _recall(mine)
    for name in others:
        said = found[name][0].predictions
        main, value = next(iter(measure.measure(said, task, seed=seed).items()))
        made[f"{name}/{main}"] = value
        gaps = measure.difference(mine, said, task, seed=seed)
        made |= {f"{first}-minus-{name}/{key}": gap for key, gap in gaps.items()}
        if task.kind == "binary":
            made[f"{name}/recall"] = _recall(said)
            made[f"{first}-minus-{name}/recall"] = _recall_gap(mine, said)
    return made


def _recall(found: Predictions) -> Estimate:
    there = found.target == 1
    return proportions.clustered_proportion(found.score[there] >= HALF, found.patient[there], name="recall")


def _recall_gap(first: Predictions, second: Predictions) -> Estimate:
    there = first.target == 1
    hits = [(said.score[there] >= HALF).astype(float) for said in (first, second)]
    return comparisons.mean_difference(hits[0], hits[1], patient=first.patient[there])


def remembered(
    asked: Asked, found: Mapping[str, Answered], *, task: Task, truth: Mapping[str, Any]
) -> dict[str, Estimate]:
    """How well another question is still answered through encoders that have learned the first one.

    Its head is fitted fold by fold on the features of the encoder as given, of all patients that may teach, and never
    again. `before/METRIC-remembered` asks the encoder as given, `NAME/METRIC-remembered` after the rung has learned;
    `before-minus-NAME` is what was forgotten, `FIRST-minus-NAME` what the first rung keeps more, both paired.
    `removed-minus-before/features`: the largest change of any feature after the first rung's adapters are taken out.
    """
    heads_by_fold = _source_heads(asked, task, truth)
    rows_by_fold = [_known(rows, truth) for rows, _ in next(iter(found.values()))[1]]
    said = {BEFORE: _through(heads_by_fold, rows_by_fold, [rows.features for rows in rows_by_fold])}
    for name, (_, folds) in found.items():
        seen = [_features(fit, rows, asked.views) for (_, fit), rows in zip(folds, rows_by_fold, strict=True)]
        said[name] = _through(heads_by_fold, rows_by_fold, seen)
    seed = asked.design.seed
    made: dict[str, Estimate] = {}
    for name, predictions in said.items():
        main, value = next(iter(measure.measure(predictions, task, seed=seed).items()))
        made[f"{name}/{main}-{REMEMBERED}"] = value
    first = next(iter(found))
    for one, other in [*((BEFORE, name) for name in found), *((first, name) for name in list(found)[1:])]:
        gaps = measure.difference(said[one], said[other], task, seed=seed)
        made |= {f"{one}-minus-{other}/{key}-{REMEMBERED}": gap for key, gap in gaps.items()}
    change = _after_removal(found[first][1][0], asked.views)
    if change is not None:
        method = "largest difference of any feature of the first fold's tested images"
        made[f"{REMOVED}-minus-{BEFORE}/features"] = Estimate(change, change, change, method=method)
    return made


def _source_heads(asked: Asked, task: Task, truth: Mapping[str, Any]) -> list[Any]:
    """The other question's head of every fold, on features of the encoder as given; few labels are not few here."""
    design = replace(asked.design, labelled=0)
    learn = examples(asked.table, asked.truth, design.train_on, name="train_on", views=asked.views)
    tested = examples(asked.table, asked.truth, design.test_on, name="test_on", views=asked.views)
    head, classes = Pooled(heads.named(None, task.kind)), class_count(task.kind, truth)
    parts = pairs(asked.cohort, learn, tested, kind=asked.task.kind, design=design)
    return [head.fit(_known(teaching, truth), kind=task.kind, classes=classes) for teaching, _ in parts]


def _known(rows: Examples, truth: Mapping[str, Any]) -> Examples:
    """The rows whose case has an answer to the other question, with that answer."""
    kept = rows.take(np.array([case in truth for case in rows.case.tolist()]))
    if not len(kept):
        raise InputError("no tested patient has an answer", where="remember", remedy="name another question")
    return replace(kept, answer=np.array([truth[case] for case in kept.case.tolist()]))


def _through(fitted: Sequence[Any], rows: Sequence[Examples], seen: Sequence[np.ndarray]) -> Predictions:
    """What the heads say of features, fold by fold."""
    parts = [
        (own, head.predict(replace(own, features=values))) for head, own, values in zip(fitted, rows, seen, strict=True)
    ]
    return by_case(parts)


def _features(fitted: Any, rows: Examples, views: Views) -> np.ndarray:
    """(rows, width) pooled features of the encoder as it is after learning."""
    changed = isinstance(fitted, FittedTuned) and fitted.tuning.rung != HEAD
    return encoded(fitted.network.encoder, rows, views) if changed else rows.features


def encoded(encoder: Any, rows: Examples, views: Views) -> np.ndarray:
    """(rows, width) pooled features of the images behind rows, sixteen at a time."""
    parts = [rows.row[start : start + 16] for start in range(0, len(rows), 16)]
    with torch.no_grad():
        found = [encoder.encode(views.images(part)).pooled.float().numpy() for part in parts]
    return np.concatenate(found).astype(float)


def _after_removal(fold: tuple[Examples, Any], views: Views) -> float | None:
    """How much any feature differs once a copy's adapters are taken out; None where the rung has none."""
    rows, fitted = fold
    if not isinstance(fitted, FittedTuned) or fitted.tuning.rung not in tuned.ADAPTED:
        return None
    copied = tuned.restore(*fitted.state(), views.encoder)
    if copied.network.added is None:
        return None
    copied.network.added.remove()
    before, after = (encoded(encoder, rows, views) for encoder in (views.encoder, copied.network.encoder))
    return float(np.abs(before - after).max())
