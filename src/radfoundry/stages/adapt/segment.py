"""Outlining: learn from masks on an encoder's features, beside a U-Net of the cohort's own plan from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.config import Component
from radfoundry.data import mask_remarks, masks
from radfoundry.records import Case, Cohort, Estimate, InputError, Run, counted
from radfoundry.stages.adapt.settings import Config, Progress

DECODERS = ("light", "multi-block", "unet")
RUNGS = {"frozen": "frozen", "head": "frozen", "adapter": "adapter", "full": "full"}
TUNED = ("steps", "batch", "rate", "inside", "mirror")
DRAWN, TRUE, UNET = "drawn", "true", "unet"


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is to be learned, from whom, and how."""

    config: Config
    cohort: Cohort
    task: Any
    parts: Any
    plan: Any
    encoder: Any
    decoder: str
    begun: Any

    def plan_of(self, name: str) -> Any:
        """The plan a model follows: ours is cut to the levels of the weights it begins with."""
        return self.begun.plan if name == self.decoder else self.plan


@dataclass(frozen=True, eq=False)
class _Tested:
    """What came out on the tested images: scores by model, rows of measures, and the images for pictures."""

    scores: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    classes: Sequence[np.ndarray]


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Plan, teach the segmenter and its comparator, outline the held-out patients; write a predictor of each."""
    asked = _asked(config)
    models = _taught(asked, progress)
    tested = _tested(asked, models, progress)
    metrics, limits = _numbers(asked, tested)
    with runs.writing("adapt", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs["cohort"] = asked.cohort.fingerprint
        writer.metrics.update(metrics)
        writer.notes += _notes(asked)
        runs.write_json(writer.folder / "plan.json", asked.begun.plan.to_dict())
        _write_tables(tested, writer.folder)
        _write_predictors(asked, models, metrics, writer.folder)
        runs.write_json(writer.folder / "blocks.json", _blocks(asked, tested, metrics, limits, writer.folder))
    return writer.finished


def _asked(config: Config) -> _Asked:
    """Everything that can be refused, refused before anything is learned."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding
    from radfoundry.tasks import segment, segment_predictor, segment_simulated

    task = registry.build("tasks", config.task.name, **config.task.options)
    decoder = config.head.name if config.head else DECODERS[0]
    options = config.head.options if config.head else {}
    if decoder not in DECODERS:
        raise registry.unknown("decoder", decoder, DECODERS, where="head")
    for name in set(options) - {"start"}:
        raise registry.unknown("option", name, ("start",), where="head")
    if config.ladder:
        raise InputError("segment has no ladder", remedy="compare runs with rung=frozen, adapter and full")
    _tuning(config)
    if config.cohort == segment_simulated.NAME:
        cohort = segment_simulated.cohort(task.simulate, seed=config.seed)
    else:
        cohort = cohorts.open_cohort(config.cohort)
    sides = segment.Sides(config.train_on, config.test_on, config.split, config.folds, config.seed)
    parts = segment.parts(cohort, task, sides)
    plan = segment.planned(parts, task, seed=config.seed)
    encoder = None
    if decoder != UNET:
        encoder = embedding.open_encoder(config.encoder)
        if hasattr(encoder, "eval"):
            encoder.eval()
        segment_predictor.refuse_unlike(plan, encoder.spec)
    begun = segment_predictor.beginning(plan, decoder, options.get("start"))
    return _Asked(config, cohort, task, parts, plan, encoder, decoder, begun)


def _tuning(config: Config) -> Any:
    from radfoundry.train.dense import Fit
    from radfoundry.train.dense_augment import Change

    for name in config.tune:
        if name not in TUNED:
            raise registry.unknown("option", name, TUNED, where="tune")
    mirror = config.tune.get("mirror", False)
    if not isinstance(mirror, bool):
        raise InputError(f"mirror={mirror}", where="tune", remedy="true or false")
    kinds = {"steps": int, "batch": int, "rate": float, "inside": float}
    values: dict[str, Any] = {name: kinds[name](value) for name, value in config.tune.items() if name in kinds}
    return Fit(**values, change=Change(mirror=mirror), seed=config.seed)


def _taught(asked: _Asked, progress: Progress | None) -> dict[str, Any]:
    """The segmenter (under its decoder's name) and the U-Net, on the same patches in the same order."""
    import torch

    from radfoundry.tasks import segment, segment_predictor
    from radfoundry.train import dense

    config, plan = asked.config, asked.plan
    made = [
        segment.ready(pair.image.load(), plan, segment.classes_of(pair, asked.parts.labels, asked.task.several))
        for pair in asked.parts.train
    ]
    patients = [pair.patient for pair in asked.parts.train]
    if config.permute_labels:
        made = segment.dealt(made, patients, rng=np.random.default_rng(config.seed))
    examples = [
        dense.Drawn(torch.from_numpy(item.array), torch.from_numpy(item.classes), who)
        for item, who in zip(made, patients, strict=True)
    ]
    fit = _tuning(config)
    models = {}
    for name in dict.fromkeys((asked.decoder, UNET)):
        model = segment_predictor.new_model(
            asked.plan_of(name),
            asked.encoder,
            decoder=name,
            rung=RUNGS[config.rung],
            seed=config.seed,
            start=asked.begun.start,
        )
        dense.fit(model, examples, plan.patch, fit, name=name, progress=progress)
        models[name] = model
    return models


def _tested(asked: _Asked, models: Mapping[str, Any], progress: Progress | None) -> _Tested:
    """Outline every tested image by every model and hold it against the true mask on the image's own grid."""
    from radfoundry.tasks import segment, segment_measures, segment_scores

    cases = {case.key: case for case in asked.cohort.cases}
    labels = asked.parts.labels
    rows: list[dict[str, Any]] = []
    scored: dict[str, list[Any]] = {name: [] for name in models}
    kept = []
    for number, pair in enumerate(asked.parts.test, start=1):
        volume = pair.image.load()
        truth = segment.classes_of(pair, labels, asked.task.several)
        found = {name: _outliner(asked, name, model).outline(volume) for name, model in models.items()}
        for name, classes in found.items():
            numbers = segment_scores.score(
                truth, classes, labels, spacing_mm=volume.spacing_mm, tolerance_mm=asked.task.tolerance_mm
            )
            scored[name].append((pair.case, pair.patient, numbers))
        fat = segment_measures.fat_image(cases[pair.case], volume)
        by = {TRUE: truth, DRAWN: found[asked.decoder], **({UNET: found[UNET]} if asked.decoder != UNET else {})}
        for who, classes in by.items():
            measured = segment_measures.measures(classes, labels, spacing_mm=volume.spacing_mm, fat=fat)
            key = {"case": pair.case, "patient": pair.patient, "image": pair.image.key}
            rows += [{**key, "structure": name, "by": who, **values} for name, values in measured.items()]
        kept.append(found[asked.decoder])
        if progress is not None:
            progress("outline", number, len(asked.parts.test))
    scores = {name: segment_scores.together(found, labels) for name, found in scored.items()}
    return _Tested(scores, segment_measures.with_growth(rows, cases), kept)


def _outliner(asked: _Asked, name: str, model: Any, about: Mapping[str, Any] | None = None) -> Any:
    from radfoundry.tasks import accepts, segment_predictor

    encoder = asked.encoder if name != UNET else None
    taught = [pair.image for pair in asked.parts.train]
    spec = segment_predictor.spec_of(asked.plan, encoder)
    limits = accepts.learned_from(taught, spec=spec, wanted=asked.config.train_on)
    rung = RUNGS[asked.config.rung] if name != UNET else "scratch"
    return segment_predictor.Outliner(asked.plan_of(name), model, encoder, name, rung, limits, about or {})


def _numbers(asked: _Asked, tested: _Tested) -> tuple[dict[str, Estimate], dict[str, Any]]:
    from radfoundry.tasks import segment_measures, segment_scores

    seed = asked.config.seed
    ours = tested.scores[asked.decoder]
    found = segment_scores.metrics(ours, seed=seed)
    if asked.decoder != UNET:
        other = tested.scores[UNET]
        found |= segment_scores.metrics(other, prefix=segment_scores.COMPARATOR, seed=seed)
        names = (segment_scores.OURS, segment_scores.COMPARATOR)
        found |= segment_scores.differences(ours, other, names=names, seed=seed)
    found |= segment_measures.left_empty(tested.rows, drawn=DRAWN, true=TRUE)
    agreed, limits = segment_measures.agreement(tested.rows, first=DRAWN, second=TRUE)
    found |= agreed
    if asked.config.called:
        found = {f"{name}-{asked.config.called}": value for name, value in found.items()}
    return found, limits


def _notes(asked: _Asked) -> list[str]:
    from radfoundry.tasks import segment_pages

    test = asked.parts.test
    left = len({case.key for case in asked.cohort.cases} - {pair.case for pair in (*asked.parts.train, *test)})
    people = counted(len({pair.patient for pair in test}), "patient")
    notes = [f"tested on {counted(len(test), 'image')} of {people} ({asked.parts.how})"]
    notes += [] if asked.plan.spacing_mm else [segment_pages.NO_SIZE]
    notes += [f"the light decoder began fresh: {asked.begun.why}"] if asked.begun.why else []
    notes += masks.empty_notes(asked.parts.empty, asked.task.empty)
    seen = asked.plan.fingerprint
    notes += mask_remarks.rare_values(seen["images"], seen["images_with"], named=bool(asked.task.labels))
    notes += mask_remarks.several_volumes((*asked.parts.train, *test)) + mask_remarks.orphaned(asked.cohort)
    notes += mask_remarks.on_both_sides(asked.parts.train, test)
    return notes + (
        [f"{counted(left, 'exam')} not used, without a mask on an image or with an empty one"] if left else []
    )


def _write_tables(tested: _Tested, folder: Path) -> None:
    import pandas as pd

    from radfoundry.tasks import segment_scores

    named = {name: segment_scores.table({name: found}) for name, found in tested.scores.items()}
    tables = {"scores": [row for rows in named.values() for row in rows], "measures": list(tested.rows)}
    for name, rows in tables.items():
        with runs.atomic(folder / f"{name}.csv") as partial:
            pd.DataFrame(rows).to_csv(partial, index=False, float_format="%.6g")


def _called(asked: _Asked, name: str) -> str:
    from radfoundry.nets.outline_start import BUNDLED

    begun = name == asked.decoder and asked.begun.start == BUNDLED
    return f"{name}, beginning with the bundled weights" if begun else name


def _write_predictors(asked: _Asked, models: Mapping[str, Any], metrics: Mapping[str, Estimate], folder: Path) -> None:
    """`predictor/` holds the segmenter, `comparator/` the U-Net; each is a predictor of its own."""
    from radfoundry.tasks import predictor, segment_predictor
    from radfoundry.tasks.cautions import COMPARATOR_GAP

    config, train = asked.config, asked.parts.train
    own = {name: value for name, value in metrics.items() if "/" not in name or name.startswith(COMPARATOR_GAP)}
    other = {name.removeprefix("unet/"): value for name, value in metrics.items() if name.startswith("unet/")}
    for place, name, numbers in (
        (predictor.FOLDER, asked.decoder, own),
        ("comparator", UNET, other),
    ):
        if place == "comparator" and asked.decoder == UNET:
            continue
        about = {
            "trained": {
                "cohort": asked.cohort.fingerprint,
                "patients": len({pair.patient for pair in train}),
                "cases": len({pair.case for pair in train}),
                "series": len(train),
                "how": f"{_called(asked, name)}, {asked.parts.how}",
            },
            "metrics": numbers,
            "intended_use": config.intended_use
            or "Research on images like those below; not for decisions about patients.",
            "control": "the masks were dealt to other patients on purpose" if config.permute_labels else "",
            "versions": runs.versions(),
        }
        made = _outliner(asked, name, models[name], runs.plain(about))
        component: Component | None = config.encoder if name != UNET else None
        segment_predictor.write(made, folder / place, component=component, pack=config.pack)


def _blocks(
    asked: _Asked, tested: _Tested, metrics: Mapping[str, Estimate], limits: Mapping[str, Any], folder: Path
) -> list[dict[str, Any]]:
    from radfoundry.tasks import pages, segment, segment_pages, segment_scores

    suffix = f"-{asked.config.called}" if asked.config.called else ""
    plain = {name.removesuffix(suffix): value for name, value in metrics.items()}
    ours = tested.scores[asked.decoder]
    shown = {}
    for name, place in segment_scores.ranked(ours).items():
        pair = asked.parts.test[place]
        truth = segment.classes_of(pair, asked.parts.labels, asked.task.several)
        caption = f"{name}: Dice {ours.of_image('dice')[place]:.2f}"
        shown[name] = (pair.image.load(), truth, tested.classes[place], caption)
    called = "The U-Net" if asked.decoder == UNET else f"A {asked.decoder} decoder on {asked.encoder.spec.name}"
    control = asked.config.permute_labels
    tested_on = replace(asked.cohort, cases=tuple(_only(asked.cohort.cases, {pair.case for pair in asked.parts.test})))
    return [
        segment_pages.summary(called, plain, tested=len(asked.parts.test), control=control),
        segment_pages.pictures(folder, shown, placed=asked.plan.spacing_mm is not None),
        pages.people(tested_on),
        pages.numbers("Results", plain, note=asked.task.about),
        *segment_pages.measure_blocks(limits),
        segment_pages.plan_facts(asked.begun.plan),
        segment_pages.score_table(segment_scores.table(tested.scores)),
    ]


def _only(cases: Sequence[Case], keys: set[str]) -> list[Case]:
    return [case for case in cases if case.key in keys]
