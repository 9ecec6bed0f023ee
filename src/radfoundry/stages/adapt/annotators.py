"""Several annotators: learn from all their masks by doubt, by vote, by STAPLE or by one at a time; compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.records import Estimate, InputError, Run, counted
from radfoundry.stages.adapt.settings import Config, Progress

TUNED = ("steps", "batch", "rate")
OURS = "uncertain"


@dataclass(frozen=True, eq=False)
class _Pictures:
    """What is learned from and tested on: prepared images, masks of every annotator, the truth or its stand-in."""

    train: Sequence[Any]
    test: Sequence[tuple[str, Any]]
    truth: Sequence[np.ndarray]
    wrong: Sequence[np.ndarray]
    sizes: Any
    patch: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    known: bool
    inputs: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Teach one network a way, the same steps for each, and hold their masks of unseen images against the truth."""
    task = registry.build("tasks", config.task.name, **config.task.options)
    fit = _tuning(config)
    made = _simulated(task, config) if config.cohort == "simulated" else _of_cohort(task, config)
    models = {name: _taught(name, task, made, fit, progress) for name in task.methods}
    scores = {name: _scored(model, made) for name, model in models.items()}
    metrics = _numbers(scores, models[OURS], made, config.seed)
    with runs.writing("adapt", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(made.inputs)
        writer.metrics.update(metrics)
        writer.notes += made.notes
        if not made.known:
            writer.notes.append(f"the truth is not known: tested against the masks fused by {task.several}")
        _write_scores(scores, writer.folder)
        runs.write_json(
            writer.folder / "blocks.json", _blocks(models, made, metrics, writer.folder, control=config.permute_labels)
        )
    return writer.finished


def _tuning(config: Config) -> Any:
    from radfoundry.train.dense import Fit

    for name in config.tune:
        if name not in TUNED:
            raise registry.unknown("option", name, TUNED, where="tune")
    values: dict[str, Any] = {"batch": 8, "inside": 0.5, **config.tune}
    values |= {name: int(values[name]) for name in ("steps", "batch") if name in values}
    return Fit(**values, seed=config.seed)


def _simulated(task: Any, config: Config) -> _Pictures:
    """Phantoms with known outlines; with permuted labels every annotator outlines another picture."""
    import torch

    from radfoundry.nets.encoder_maps import Sizes
    from radfoundry.simulate.annotators import PANEL, Annotator
    from radfoundry.tasks.annotators_simulated import SIDE, phantoms
    from radfoundry.train.dense import Drawn

    asked = dict(task.simulate)
    panel = [Annotator(f"accurate {n}", shake_mm=0.3) for n in range(4)] if asked.get("accurate") else PANEL
    counts = int(asked.get("train", 60)), int(asked.get("test", 40))
    found = phantoms(sum(counts), degraded=float(asked.get("degraded", 0.25)), panel=panel, seed=config.seed)
    train, test = found[: counts[0]], found[counts[0] :]
    dealt = np.roll(np.arange(len(train)), 1) if config.permute_labels else np.arange(len(train))
    drawn = [
        Drawn(torch.from_numpy(item.image), torch.from_numpy(train[other].drawn))
        for item, other in zip(train, dealt, strict=True)
    ]
    wrong = [item.drawn != item.truth[None] for item in train]
    sizes = Sizes(2, (task.width, 2 * task.width, 4 * task.width), ((2, 2, 1), (2, 2, 1)), (2, 2, 1))
    tested = [(f"p{n:04d}", torch.from_numpy(item.image)) for n, item in enumerate(test)]
    return _Pictures(drawn, tested, [item.truth for item in test], wrong, sizes, (SIDE, SIDE, 1), (1.0, 1.0, 1.0), True)


def _of_cohort(task: Any, config: Config) -> _Pictures:
    """Images of a cohort with several masks each; the fused masks of the tested ones stand in for the truth."""
    import torch

    from radfoundry.data import cohort as cohorts
    from radfoundry.data import masks
    from radfoundry.tasks import segment
    from radfoundry.train.dense import Drawn

    if config.permute_labels:
        raise InputError(
            "masks of a cohort are not dealt out here",
            where="permute_labels",
            remedy="use cohort=simulated, or task=segment",
            finding="no-control",
        )
    question = segment.build(several=task.several, plan={"width": task.width})
    sides = segment.Sides(config.train_on, config.test_on, config.split, config.folds, config.seed)
    cohort = cohorts.open_cohort(config.cohort)
    parts = segment.parts(cohort, question, sides)
    single = [pair for pair in parts.train if len(pair.masks) < 2]
    if single:
        raise InputError(
            "one mask lies on it", where=f"image {single[0].image.key}", remedy="ingest every annotator's mask"
        )
    plan = segment.planned(parts, question, seed=config.seed)
    train = []
    for pair in parts.train:
        drawn = [masks.classes_of(mask, parts.labels, may_be_empty=True) for mask in pair.masks]
        made = [segment.ready(pair.image.load(), plan, classes) for classes in drawn]
        labels = np.stack([item.classes for item in made if item.classes is not None])
        train.append(Drawn(torch.from_numpy(made[0].array), torch.from_numpy(labels), pair.patient))
    tested, truth = [], []
    for pair in parts.test:
        fused = segment.classes_of(pair, parts.labels, task.several)
        item = segment.ready(pair.image.load(), plan, fused)
        if item.classes is not None:
            tested.append((pair.patient, torch.from_numpy(item.array)))
            truth.append(item.classes)
    spacing = plan.spacing_mm or (1.0, 1.0, 1.0)
    notes = tuple(masks.empty_notes(parts.empty, question.empty))
    inputs = {"cohort": cohort.fingerprint}
    return _Pictures(train, tested, truth, (), segment.sizes_of(plan), plan.patch, spacing, False, inputs, notes)


def _taught(name: str, task: Any, made: _Pictures, fit: Any, progress: Progress | None) -> Any:
    import torch

    from radfoundry.nets import decoders
    from radfoundry.tasks.consensus import FUSIONS, fused
    from radfoundry.train import dense, dense_annotators

    if name == OURS:
        rule = dense_annotators.Uncertain(task.heads)
        return dense_annotators.fit_uncertain(made.train, made.sizes, made.patch, fit, rule, progress)
    examples = made.train
    if name in FUSIONS:
        labels = made.sizes.classes - 1
        examples = [
            dense.Drawn(item.image, torch.from_numpy(fused(item.labels.numpy(), labels, by=name)), item.patient)
            for item in made.train
        ]
    model = decoders.unet(made.sizes, seed=fit.seed)
    dense.fit(model, examples, made.patch, fit, name=name, progress=progress)
    return model


def _scored(model: Any, made: _Pictures) -> Any:
    from radfoundry.tasks import segment_scores

    labels = {str(n): (n,) for n in range(1, made.sizes.classes)}
    rows = []
    for (patient, image), truth in zip(made.test, made.truth, strict=True):
        drawn = _drawn(model, image, made)
        values = segment_scores.score(truth, drawn, labels, spacing_mm=made.spacing_mm, tolerance_mm=1.0)
        rows.append((patient, patient, values))
    return segment_scores.together(rows, labels)


def _drawn(model: Any, image: Any, made: _Pictures) -> np.ndarray:
    from radfoundry.nets.unet_inference import Reading, scores_of

    how = Reading(made.patch, made.sizes.classes, made.sizes.widths[0])
    return scores_of(model, image, how).argmax(dim=0).numpy().astype(np.uint8)


def _numbers(scores: Mapping[str, Any], model: Any, made: _Pictures, seed: int) -> dict[str, Estimate]:
    """Means of every way, ours minus each other on the same images, and what the doubt is worth."""
    from radfoundry.tasks import segment_scores

    found: dict[str, Estimate] = {}
    for name, table in scores.items():
        found |= segment_scores.metrics(table, prefix=name, seed=seed)
        if name != OURS:
            found |= segment_scores.differences(scores[OURS], table, names=(OURS, name), seed=seed)
    return found | (_doubt_numbers(model, made, seed) if made.known else {})


def _doubt_numbers(model: Any, made: _Pictures, seed: int) -> dict[str, Estimate]:
    """Does the doubt find the wrong voxels of each mask, and does it rank the annotators?"""
    import torch

    from radfoundry.stats.segmentation import over_cases
    from radfoundry.tasks.annotators import doubted, order_agrees

    areas, doubts, errors = [], [], []
    for item, wrong in zip(made.train, made.wrong, strict=True):
        with torch.no_grad():
            _, _, features = model.both(item.image[None])
            doubt = model.doubt(features, item.labels[None])[0].numpy()
        each = [doubted(one, bad) for one, bad in zip(doubt, wrong, strict=True)]
        kept = [value for value in each if not np.isnan(value)]
        areas.append(float(np.mean(kept)) if kept else float("nan"))
        doubts.append(doubt.reshape(len(doubt), -1).mean(axis=1))
        errors.append(wrong.reshape(len(wrong), -1).mean(axis=1))
    order = order_agrees(np.mean(doubts, axis=0), np.mean(errors, axis=0))
    note = "one order of the annotators; no interval"
    return {
        "doubt-auroc": over_cases(areas, rng=seed),
        "annotator-order": Estimate(
            order, method="Kendall's tau of mean doubt and true error", n=len(made.train), note=note
        ),
    }


def _write_scores(scores: Mapping[str, Any], folder: Path) -> None:
    import pandas as pd

    from radfoundry.tasks import segment_scores

    with runs.atomic(folder / "scores.csv") as partial:
        pd.DataFrame(segment_scores.table(scores)).to_csv(partial, index=False, float_format="%.6g")


def _blocks(
    models: Mapping[str, Any], made: _Pictures, metrics: Mapping[str, Estimate], folder: Path, *, control: bool
) -> list[dict[str, Any]]:
    from radfoundry.tasks import pages, segment_pages
    from radfoundry.volume import Volume

    lines = [
        f"Networks learned from {counted(len(made.train), 'image')} with {len(made.train[0].labels)} masks each and "
        "outlined "
        f"{len(made.test)} others. Mean Dice by doubt: {metrics[f'{OURS}/dice']}.",
        *(
            f"Minus learning by {name}: {metrics[f'{OURS}-minus-{name}/dice'].text(3)}."
            for name in models
            if name != OURS
        ),
        *(["Every annotator outlined another picture on purpose: this is a negative control."] if control else []),
        "The idea is UMA-Net's (arXiv 2304.00466); its equations are not published, these are an interpretation.",
    ]
    shown = {}
    for place, ((_, image), truth) in enumerate(zip(made.test[:4], made.truth, strict=False), start=1):
        drawn = _drawn(models[OURS], image, made)
        volume = Volume(image.numpy(), np.diag([-1.0, -1.0, 1.0, 1.0]))
        shown[str(place)] = (volume, truth, drawn, f"tested image {place}")
    picture = {**segment_pages.pictures(folder, shown), "title": "Tested images, learned by doubt"}
    return [
        {"kind": "text", "title": "Summary", "paragraphs": lines},
        picture,
        pages.numbers("Results", metrics),
    ]
