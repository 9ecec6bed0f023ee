"""Detection: learn to mark findings from boxes, beside the same network that learns from image labels alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.data import mask_remarks
from radfoundry.records import Cohort, Estimate, InputError, Run, counted
from radfoundry.stages.adapt.settings import Config, Progress

SCRATCH, PLACES = "trunk", "places"
HEADS = (PLACES, SCRATCH)
TUNED = {"steps": int, "batch": int, "rate": float}
BOXES, LABELS = "boxes", "image-labels"
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
FEWEST_TESTED = 3


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is to be learned, on which images, and how."""

    config: Config
    cohort: Cohort
    task: Any
    encoder: Any
    spec: Any
    parts: Mapping[str, list[Any]]
    fit: Any
    left_out: int


@dataclass(frozen=True, eq=False)
class _Tested:
    """Models, and what each said about the images of each tested part."""

    models: Mapping[str, Any]
    said: Mapping[str, Mapping[str, list[Any]]]
    tables: Mapping[str, Estimate]
    curves: Mapping[str, Any]
    budget: Sequence[Mapping[str, Any]]


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Teach, mark the held-out patients' images, measure; write a predictor, marks, numbers and pictures."""
    asked = _asked(config)
    tested = _tested(asked, progress)
    with runs.writing("adapt", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs["cohort"] = asked.cohort.fingerprint
        writer.metrics.update(tested.tables)
        writer.notes += _notes(asked)
        _write_marks(asked, tested, writer.folder)
        _write_predictor(asked, tested, writer.folder)
        runs.write_json(writer.folder / "blocks.json", _blocks(asked, tested, writer.folder))
    return writer.finished


def _asked(config: Config) -> _Asked:
    """Everything that can be refused, refused before anything is learned."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.tasks import detect, detect_fit, detect_simulated

    task = registry.build("tasks", config.task.name, **config.task.options)
    head = config.head.name if config.head else PLACES
    if head not in HEADS:
        raise registry.unknown("head", head, HEADS, where="head", remedy="places of an encoder, or trunk from scratch")
    if config.ladder or config.rung in ("adapter",):
        raise InputError("detect has no ladder and no adapters", remedy="use rung=frozen, head or full")
    for name in config.tune:
        if name not in TUNED:
            raise registry.unknown("option", name, TUNED, where="tune")
    values: dict[str, Any] = {name: TUNED[name](value) for name, value in config.tune.items()}
    fit = detect_fit.Fit(**values, seed=config.seed)
    if config.cohort == detect_simulated.NAME:
        cohort = detect_simulated.cohort(task.simulate, seed=config.seed)
        task, split = replace(task, boxes="boxes"), detect_simulated.SPLIT
    else:
        cohort, split = cohorts.open_cohort(config.cohort), config.split
    found = detect.sources(cohort, task, config.train_on)
    encoder = None if head == SCRATCH else _encoder(config)
    spec = detect.spec_of(task, encoder, [series for _, series, _ in found])
    divide = detect.Divide(split, config.folds, config.seed)
    findings = {case.patient for case, _, boxes in found if len(boxes)}
    parts = detect.divided(cohort, [case for case, _, _ in found], divide, findings=findings)
    made = _framed(found, parts, (spec, cohort.path))
    left_out = len(cohort.cases) - len({case.key for case, _, _ in found})
    return _Asked(config, cohort, task, encoder, spec, made, fit, left_out)


def _encoder(config: Config) -> Any:
    from radfoundry.nets import embedding

    encoder = embedding.open_encoder(config.encoder)
    if not hasattr(encoder, "parameters"):
        raise InputError(f"{config.encoder.name} gives no places", where="encoder", remedy="choose another encoder")
    return encoder.eval()


def _framed(found: Any, parts: Mapping[str, set[str]], how: tuple[Any, str | None]) -> dict[str, list[Any]]:
    """The images of each part as the detector reads them; refuses images outside the encoder's spec."""
    from radfoundry.nets.embedding import refusal
    from radfoundry.tasks import detect

    spec, folder = how
    made: dict[str, list[Any]] = {name: [] for name in parts}
    for case, series, boxes in found:
        reason = refusal(series, spec)
        if reason:
            raise InputError(
                f"{spec.name}: {reason}",
                where=f"series {series.key}",
                remedy="choose another encoder",
                finding="modality",
            )
        name = next((part for part, keys in parts.items() if case.key in keys), None)
        if name is not None:
            framed = detect.framed(series, spec, folder)
            made[name].append(detect.Example(series, case.key, case.patient, framed, boxes))
    return made


def _tested(asked: _Asked, progress: Progress | None) -> _Tested:
    from radfoundry.tasks import detect_measures

    train = asked.parts["train"]
    if asked.config.permute_labels:
        train = _dealt(train, np.random.default_rng(asked.config.seed))
    made: dict[str, Any] = {BOXES: np.ones(len(train), bool)}
    if asked.task.compare:
        made[LABELS] = np.zeros(len(train), bool)
    models = {name: _taught(asked, train, boxed, name, progress) for name, boxed in made.items()}
    said: dict[str, dict[str, list[Any]]] = {}
    metrics: dict[str, Estimate] = {}
    curves = {}
    margin, seed, called = asked.task.margin, asked.config.seed, asked.config.called
    for part in ("test", "external"):
        examples = asked.parts[part]
        if not examples:
            continue
        said[part] = {name: _said(asked, model, examples, name) for name, model in models.items()}
        tables = {}
        for name, marked in said[part].items():
            tables[name], curves[f"{name}, {part}"] = detect_measures.measures(
                examples, marked, margin=margin, seed=seed
            )
        if asked.task.compare:
            gap = detect_measures.differences(examples, said[part][BOXES], said[part][LABELS], margin=margin)
            tables[f"{BOXES}-minus-{LABELS}"] = gap
        metrics |= detect_measures.named(tables, part=part, called=called)
    return _Tested(models, said, metrics, curves, _budget(asked, train, progress))


def _dealt(train: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """The same images with boxes of other patients, on purpose."""
    order = rng.permutation(len(train))
    return [replace(example, boxes=train[other].boxes) for example, other in zip(train, order, strict=True)]


def _taught(asked: _Asked, train: Sequence[Any], boxed: np.ndarray, name: str, progress: Progress | None) -> Any:
    import copy

    from radfoundry.nets import detector
    from radfoundry.tasks import detect_fit

    model = detector.new(
        copy.deepcopy(asked.encoder),
        channels=asked.spec.channels,
        flat=asked.spec.dimensions == 2,
        frozen=asked.config.rung in ("frozen", "head"),
        seed=asked.config.seed,
    )
    detect_fit.teach(model, detect_fit.ready(model, train), asked.fit, boxed=boxed, name=name, progress=progress)
    return model


def _said(asked: _Asked, model: Any, examples: Sequence[Any], name: str) -> list[Any]:
    from radfoundry.tasks import detect_fit

    return [detect_fit.marks(model, one, most=asked.task.most, by_image=name == LABELS) for one in examples]


def _budget(asked: _Asked, train: Sequence[Any], progress: Progress | None) -> list[dict[str, Any]]:
    """The same sum spent on boxes and on image labels in several ways, each tested where the patients are outside."""
    from radfoundry.tasks import detect_measures

    paid = asked.task.budget
    rows = []
    for share in SHARES if paid else ():
        boxed = int(share * paid["cost"] / paid["box"])
        labelled = int((paid["cost"] - boxed * paid["box"]) / paid["image"])
        if boxed + labelled > len(train):
            labelled = max(len(train) - boxed, 0)
        chosen = list(train[: boxed + labelled])
        if len(chosen) < asked.fit.batch // 2 or not any(one.present for one in chosen):
            continue
        model = _taught(asked, chosen, np.arange(len(chosen)) < boxed, f"{boxed} boxes", progress)
        examples = asked.parts["external"] or asked.parts["test"]
        name = BOXES if boxed else LABELS
        marked = _said(asked, model, examples, name)
        found, _ = detect_measures.measures(examples, marked, margin=asked.task.margin, seed=asked.config.seed)
        rows.append({"boxed": boxed, "labelled": labelled, "auroc": found["auroc"], "jafroc": found["jafroc"]})
    return rows


def _notes(asked: _Asked) -> list[str]:
    counts = ", ".join(f"{len(examples)} {part}" for part, examples in asked.parts.items() if examples)
    notes = [f"images: {counts}"]
    normal = sum(not example.present for examples in asked.parts.values() for example in examples)
    notes += [f"{counted(normal, 'image')} taken as without finding (no box, or an empty mask)"] if normal else []
    tested = asked.parts["test"]
    bare = sum(not example.present for example in tested)
    if not normal:
        notes.append(
            "every image has a finding: how well images without one are recognised cannot be told (an empty mask, the "
            "label normal or task.unmarked=normal brings some in)"
        )
    elif min(bare, len(tested) - bare) < FEWEST_TESTED:
        notes.append(
            f"of the tested images {bare} are without finding and {len(tested) - bare} with one: too few of a kind to "
            "judge by; name a split (radfoundry split), or take fewer folds"
        )
    notes += [] if asked.task.boxes else mask_remarks.orphaned(asked.cohort)
    if asked.left_out:
        said = counted(asked.left_out, "case")
        notes.append(f"{said} without boxes or mask left out (task.unmarked=normal counts them)")
    return notes


def _write_marks(asked: _Asked, tested: _Tested, folder: Path) -> None:
    import pandas as pd

    rows = []
    for part, by_model in tested.said.items():
        for name, said in by_model.items():
            for example, marked in zip(asked.parts[part], said, strict=True):
                for rating, box in zip(marked.ratings, marked.boxes, strict=True):
                    edges = dict(zip(("x0", "y0", "z0", "x1", "y1", "z1"), box.tolist(), strict=True))
                    rows.append({"case": example.case, "part": part, "by": name, "rating": float(rating), **edges})
    with runs.atomic(folder / "marks.csv") as partial:
        pd.DataFrame(rows).to_csv(partial, index=False, float_format="%.6g")


def _write_predictor(asked: _Asked, tested: _Tested, folder: Path) -> None:
    from radfoundry.tasks import accepts, detect_predictor, predictor

    config, train = asked.config, asked.parts["train"]
    limits = accepts.learned_from([one.series for one in train], spec=asked.spec, wanted=config.train_on)
    about = {
        "trained": {
            "cohort": asked.cohort.fingerprint,
            "patients": len({one.patient for one in train}),
            "cases": len({one.case for one in train}),
            "series": len(train),
            "how": f"detector on {asked.spec.name}, rung {config.rung}",
        },
        "metrics": {
            name.partition("/")[2]: value for name, value in tested.tables.items() if name.startswith(f"{BOXES}/")
        },
        "intended_use": config.intended_use or "Research on images like those below; not for decisions about patients.",
        "control": "the boxes were dealt to other patients on purpose" if config.permute_labels else "",
        "versions": runs.versions(),
    }
    found = detect_predictor.Finder(
        tested.models[BOXES], asked.spec, asked.encoder, asked.task.most, limits, runs.plain(about)
    )
    detect_predictor.write(found, folder / predictor.FOLDER, component=config.encoder, pack=config.pack)


def _blocks(asked: _Asked, tested: _Tested, folder: Path) -> list[dict[str, Any]]:
    from radfoundry.tasks import detect_pages, pages

    part = "external" if asked.parts["external"] else "test"
    examples, said = asked.parts[part], tested.said[part][BOXES]
    cut = detect_pages.cut_of(said, examples)
    shown = [
        _summary(asked, tested, part),
        detect_pages.pictures(folder, examples, said, cut=cut),
        detect_pages.curves(tested.curves),
        pages.people(asked.cohort),
        pages.numbers("Results", tested.tables, note="A mark hits a lesion when its middle lies in the true box."),
    ]
    return [*shown, detect_pages.budget(tested.budget)] if tested.budget else shown


def _summary(asked: _Asked, tested: _Tested, part: str) -> dict[str, Any]:
    end = "".join(f"-{word}" for word in (part if part != "test" else "", asked.config.called) if word)
    own = {name: tested.tables[f"{BOXES}/{name}{end}"] for name in ("sensitivity-at-1", "jafroc", "auroc")}
    people = "of another hospital" if part == "external" else "it had not seen"
    count = len({one.patient for one in asked.parts[part]})
    how = "taught from scratch" if asked.encoder is None else f"on {asked.spec.name}"
    lines = [
        f"A detector {how} marked the images of {counted(count, 'patient')} {people}. "
        f"With one false mark an image it found {own['sensitivity-at-1']} of the lesions; JAFROC {own['jafroc']}, "
        f"AUROC {own['auroc']}.",
    ]
    if asked.task.compare:
        named = {"the AUROC": "auroc", "JAFROC": "jafroc"}
        gaps = {shown: tested.tables[f"{BOXES}-minus-{LABELS}/{name}{end}"] for shown, name in named.items()}
        said = " and ".join(f"{shown} by {gap.text(3)}" for shown, gap in gaps.items() if gap.defined)
        lines.append(
            f"The same network taught by image labels alone: boxes change {said or 'nothing that is defined'}."
        )
    if asked.config.permute_labels:
        lines.append("The boxes were dealt out to other patients on purpose: this is a negative control.")
    return {"kind": "text", "title": "Summary", "paragraphs": lines}
