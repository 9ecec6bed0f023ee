"""`radfoundry pretrain`: teach an encoder from images alone, on simulated patients without end or on a cohort."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from radfoundry import registry, runs
from radfoundry.config import Component, Settings
from radfoundry.records import Cohort, Estimate, InputError, Run, counted

if TYPE_CHECKING:
    from radfoundry.train.checks import Checks
    from radfoundry.train.feeding import Data
    from radfoundry.train.learner import Learner
    from radfoundry.train.loop import Course
    from radfoundry.train.processes import Place

# What may differ between a run and its continuation.
FREE = frozenset(
    ("to", "steps", "minutes", "workers", "device", "devices", "shard", "save_minutes", "log_steps", "check_steps")
)
ENCODER = "encoder.safetensors"
TOKENISER = "tokeniser.json"


class TextSize(Settings):
    """Who reads the reports; left alone when training goes on from a checkpoint with a text side."""

    encoder: str = Field(
        default="own",
        description="own: learned with the images; sentences: a frozen sentence encoder (extra text); or its folder",
    )
    width: int = Field(default=128, ge=8, description="length of a word's and a report's vector")
    depth: int = Field(default=2, ge=1, description="layers")
    length: int = Field(default=128, ge=8, description="tokens of a report; what is beyond is cut off")
    tokens: int = Field(default=512, ge=300, description="different tokens on simulated reports; 1024 on a cohort's")


class Crops(Settings):
    """The crops an encoder learns from; what is left out comes from the encoder's spec or the simulator."""

    size: int | None = Field(default=None, ge=8, description="voxels a side; the encoder's own if left out")
    spacing_mm: tuple[float, float] | None = Field(default=None, description="range of voxel sizes; the encoder's own")
    views: int = Field(default=2, ge=1, description="sequences of every patient")
    shift: int = Field(
        default=0,
        ge=0,
        description="voxels that simulated views of a patient may lie apart; of a "
        "cohort's pictures: pixels each is moved by at most",
    )
    protocols: list[str] | None = Field(default=None, description="sequences to draw from; seven common ones")
    lesion_rate: float = Field(default=0.5, ge=0, le=1, description="share of patients with a lesion")
    patients: int | None = Field(
        default=None, ge=1, description="so many simulated ones, shown again and again; else without end"
    )


class Config(Settings):
    """What to teach, with which objectives, on what, and for how long."""

    encoder: Component = Field(default=Component(name="vit3d-tiny"), description="encoder name, or checkpoint to go on")
    objectives: list[Component] = Field(
        default=[Component(name="contrast"), Component(name="masked"), Component(name="translate")],
        description="objectives with weight and options (radfoundry list objectives)",
    )
    cohort: str | None = Field(default=None, description="cohort folder to learn from beside simulated patients")
    simulated: float = Field(default=0.5, ge=0, le=1, description="with a cohort: share of batches that are simulated")
    split: str | None = Field(default=None, description="named split of the cohort; its part train is learned from")
    crops: Crops = Field(default=Crops(), description="size, spacing_mm, views, shift, protocols, lesion_rate")
    batch: int = Field(default=16, ge=1, description="patients a step, all processes together")
    accumulate: int = Field(default=1, ge=1, description="micro-batches a step is cut into")
    steps: int | None = Field(default=None, ge=1, description="optimiser steps; or give minutes")
    minutes: float | None = Field(default=None, gt=0, description="time to train; or give steps")
    learning_rate: float = Field(default=1e-3, gt=0, description="highest learning rate")
    weight_decay: float = Field(default=0.05, ge=0, description="pull of weights towards 0")
    warmup_steps: int = Field(default=50, ge=0, description="steps until the learning rate is reached")
    clip_norm: float = Field(default=1.0, gt=0, description="longest gradient that is taken")
    average: float = Field(default=0.999, ge=0, lt=1, description="decay of the slow average that is kept as result")
    precision: Literal["auto", "fp32", "bf16"] = Field(default="auto", description="auto is bf16 on a GPU")
    compiled: bool = Field(default=False, description="compile the encoder's blocks")
    device: str = Field(default="auto", description="cpu, cuda, or auto")
    devices: int = Field(default=1, ge=1, description="processes on this machine, started through torchrun")
    shard: bool = Field(default=False, description="spread the weights over the processes (FSDP2)")
    workers: int = Field(default=0, ge=0, description="processes that make crops ahead; 0 makes them on the device")
    check_steps: int = Field(default=250, ge=0, description="steps between live checks; 0 for none")
    check_patients: int = Field(default=64, ge=8, description="held-out patients the live checks ask")
    stop_on: str | None = Field(default=None, description="end when this probe stops improving, and keep its best")
    patience: int = Field(default=5, ge=1, description="checks without improvement until then")
    save_minutes: float = Field(default=5.0, gt=0, description="minutes between states on disk")
    log_steps: int = Field(default=10, ge=1, description="steps between lines of the log")
    reports: bool = Field(default=False, description="write a report for every patient; align, guided … need it")
    shuffle_reports: bool = Field(default=False, description="give everybody another one's report (negative control)")
    text: TextSize = Field(default=TextSize(), description="reports: width, depth, length, tokens of the text encoder")
    frozen: bool = Field(default=False, description="the encoder stays as it is; only what meets it learns")
    shuffle_partners: bool = Field(default=False, description="the last view is somebody else's (negative control)")
    shuffle_teacher: bool = Field(default=False, description="relate: the teacher saw other patients (control)")
    gains: int = Field(default=0, ge=0, description="held-out patients asked before and after; 0 leaves it out")
    beside: dict[str, str] = Field(default={}, description="gains: other encoders to ask, by the name to give them")
    seed: int = Field(default=0, ge=0, description="seed of weights, patients and masks")
    to: str | None = Field(default=None, description="run folder; give the same one again to go on")


def run(config: Config, *, progress: Callable[..., None] | None = None) -> Run:
    """Train until `steps` or `minutes` are over and write `encoder.safetensors`, the log and the content of a report.

    An interrupted run goes on where it was left when the same command is given again.
    """
    from radfoundry.train import processes

    require_budget(config)
    folder = folder_of(config)
    if config.devices > 1 and "WORLD_SIZE" not in os.environ:
        _launch(config, folder)
        return runs.read(folder)
    with processes.joined(config.device) as place:
        course, checks = _train(config, folder, place, progress)
        return _finish(config, folder, course, checks)


def require_budget(config: Config) -> None:
    """Refuse a run without an end."""
    if config.steps is None and config.minutes is None:
        raise InputError("how long to train is not said", where="pretrain", remedy="set steps=1000 or minutes=20")


def folder_of(config: Config) -> Path:
    """The run's folder: the one asked for, else an unfinished one of the same settings, else a new one."""
    named = Path("runs") / f"pretrain-{fingerprint(config)[:8]}"
    folder = Path(config.to) if config.to else named
    if not (folder / runs.RECORD).exists():
        return folder
    if config.to:
        raise InputError(
            "already exists", where=str(folder), remedy="choose another --to or remove it", finding="exists"
        )
    return runs.free_folder(named.name)


def _launch(config: Config, folder: Path) -> None:
    """Start this command once for every device through torchrun and wait; the first process shows the progress."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = folder / ".settings.json"
    runs.write_json(asked, {**config.model_dump(mode="json"), "to": str(folder)})
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={config.devices}"]
    try:
        ended = subprocess.run([*torchrun, "-m", "radfoundry", "pretrain", str(asked)], stdout=subprocess.DEVNULL)
    finally:
        asked.unlink()
    if ended.returncode:
        raise InputError(
            f"a training process ended with code {ended.returncode}",
            where=str(folder),
            remedy="see the lines above; the same command goes on from the last saved state",
            finding="process",
        )


def fingerprint(config: Config) -> str:
    """The name of the settings that decide the numbers; how long and on what machine are left out."""
    return runs.digest(config.model_dump(mode="json", exclude=set(FREE)))


def _train(config: Config, folder: Path, place: Place, progress: Callable[..., None] | None) -> tuple[Course, Checks]:
    from radfoundry.train import loop, sources

    model, data = build(config, place)
    if config.shuffle_teacher:
        for objective in model.objectives.values():
            if hasattr(objective, "shuffled"):
                setattr(objective, "shuffled", True)  # noqa: B010 (a module's attributes are not typed)
    if config.shuffle_partners:
        data = dataclasses.replace(data, source=sources.Parted(data.source))
    course = loop.begin(model, loop_plan(config, place), place=place, folder=folder, settings=fingerprint(config))
    if data.tokeniser is not None and place.first:
        data.tokeniser.save(folder / TOKENISER)
    checks = held_out(config, data, course)
    return loop.run(course, data.source, check=checks, progress=progress), checks


def build(config: Config, place: Place) -> tuple[Learner, Data]:
    """The encoder with its objectives, and what it learns from."""
    from radfoundry.nets import embedding
    from radfoundry.train import feeding, learner, scene

    encoder = embedding.open_encoder(config.encoder)
    scene.require_trainable(encoder)
    encoder.to(place.device)
    plan = crop_plan(config, encoder.spec)
    data = feeding.data_of(config, plan, encoder.spec, place)
    reader = feeding.reader_of(config, data)
    facts = feeding.facts_of(data, config.text.width if reader is None else reader.width)
    shapes = scene.shapes_of(encoder, plan.size, views=plan.views, protocols=len(plan.protocols), **facts)
    made = learner.build(encoder, shapes, config.objectives, seed=config.seed, text=reader, begun=data.begun)
    return made.lock(remember=config.crops.patients is not None) if config.frozen else made, data


def forecast(config: Config) -> list[str]:
    """What the run will take here, from a trial of a few steps; nothing is written."""
    from radfoundry.train import forecast as forecasts
    from radfoundry.train import processes

    require_budget(config)
    with processes.joined(config.device) as place:
        model, data = build(config, place)
        plan = loop_plan(config, place)
        found = forecasts.trial(model, data.source, plan, place=place)
    return forecasts.spoken(found, plan, patients=config.batch, device=place.device)


def held_out(config: Config, data: Data, course: Course) -> Checks:
    """Live checks on simulated patients of another seed; a new run is asked once before it learns."""
    from radfoundry.train import checks, processes

    alone = processes.Place(device=course.place.device)
    seed = config.seed + checks.HELD_OUT_SEED
    apart = dataclasses.replace(data.simulated, seed=seed, size=8, place=alone, shuffled=False)
    made = checks.prepare(
        apart,
        patients=config.check_patients,
        every=config.check_steps,
        stop_on=config.stop_on,
        patience=config.patience,
    )
    if data.shelf is not None and len(data.shelf.sites) > 1 and config.check_steps:
        from radfoundry.train.cohort_source import FromCohort

        crops = FromCohort(data.shelf, 8, 1, seed, alone)
        made.of_cohort = [crops.batch(step) for step in range(-(-config.check_patients // 8))]
        made.chance_site = data.shelf.largest_site
    made.tokeniser = data.tokeniser
    made.resume(course.folder, up_to=course.at.step)
    if not made.history and course.at.step == 0:
        made(0, course)
    return made


def loop_plan(config: Config, place: Place) -> Any:
    """The part of the settings that the loop needs."""
    from radfoundry.train import loop

    names = ("steps", "minutes", "accumulate", "learning_rate", "weight_decay", "warmup_steps", "clip_norm", "average")
    names = (*names, "shard", "compiled", "workers", "save_minutes", "log_steps")
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if place.device.startswith("cuda") else "fp32"
    return loop.Plan(precision=precision, **{name: getattr(config, name) for name in names})


def crop_plan(config: Config, spec: Any) -> Any:
    """What crops the simulator makes: the encoder's own size and spacing unless the settings say otherwise."""
    from radfoundry.simulate import stream
    from radfoundry.simulate.protocols import PROTOCOLS

    if spec.dimensions == 2 and config.crops.size is not None:
        raise InputError("pictures are learned whole", where="crops.size", remedy="leave it out")
    size = config.crops.size or (min(spec.shape[: spec.dimensions]) if spec.shape else 48)
    spacing = config.crops.spacing_mm or ((spec.spacing_mm[0],) * 2 if spec.spacing_mm else (1.5, 2.5))
    protocols = tuple(config.crops.protocols or stream.DEFAULT_PROTOCOLS)
    unknown = [name for name in protocols if name not in PROTOCOLS]
    if unknown:
        raise registry.unknown("protocol", unknown[0], PROTOCOLS, where="crops.protocols")
    return stream.CropPlan(
        size=size,
        spacing_mm=spacing,
        views=config.crops.views,
        protocols=protocols,
        lesion_rate=config.crops.lesion_rate,
    )


def _finish(config: Config, folder: Path, course: Course, checks: Checks) -> Run:
    """The slow average as the result, its log, a report's content and a record of the run."""
    from radfoundry.nets import aligned
    from radfoundry.train import state

    weights = {name: _whole(value) for name, value in (checks.best_weights or course.trained.average.weights).items()}
    side = state.text_side_of(course.learner)
    if not course.place.first:
        return Run(str(folder), "pretrain", {}, config.seed)
    writer = runs.RunWriter(folder=folder)
    state.save_encoder(config.encoder, course.learner.encoder, weights, folder / ENCODER)
    if side is not None and checks.tokeniser is not None:
        aligned.save(side, checks.tokeniser, folder / aligned.FILE)
    writer.metrics["steps"] = Estimate(course.at.step, course.at.step, course.at.step, method="counted")
    for name, value in (course.history[-1]["terms"] if course.history else {}).items():
        writer.metrics[f"last-{name}"] = Estimate(value, method="mean of the last steps", note="one run, one seed")
    if config.gains:
        writer.metrics.update(gained(config, folder))
    if checks.history:
        last = {name: value for name, value in checks.history[-1].items() if isinstance(value, Estimate)}
        writer.metrics.update({f"probe-{name}": value for name, value in last.items()})
    writer.notes += [f"alarm {name}: {text}" for name, text in checks.alarms.items()]
    if course.at.skipped:
        writer.notes.append(f"{course.at.skipped} steps moved nothing: their gradient was not finite")
    if course.stopped:
        writer.notes.append(f"stopped early: {course.stopped}")
    if config.cohort is not None:
        from radfoundry.data import cohort as cohorts

        cohort = cohorts.open_cohort(config.cohort)
        writer.inputs["cohort"] = cohort.fingerprint
        writer.notes += _silent(config, cohort)
    _write_blocks(config, folder, course, checks)
    writer.unstable |= {"log.jsonl", "checks.jsonl", "state.safetensors", "blocks.json", "losses.png", "probes.png"}
    return runs.finish(writer, "pretrain", config.model_dump(mode="json", exclude={"to"}), seed=config.seed)


def _silent(config: Config, cohort: Cohort) -> list[str]:
    """How many exams took no part for want of a report."""
    taught = cohort if config.split is None else cohort.part(config.split, "train")
    left = sum(not any(text.strip() for text in case.reports) for case in taught.cases) if config.reports else 0
    return [f"{counted(left, 'exam')} without a report left out (reports=false takes all)"] if left else []


def gained(config: Config, folder: Path) -> dict[str, Estimate]:
    """The encoder as it began, as it is saved, and those beside it, on simulated patients that no training shows."""
    from radfoundry.nets import checkpoint, embedding
    from radfoundry.train import gains
    from radfoundry.train.checks import HELD_OUT_SEED
    from radfoundry.train.processes import Place
    from radfoundry.train.sources import Simulated

    encoders = {"pretrain": checkpoint.load(folder / ENCODER), "start": embedding.open_encoder(config.encoder)}
    encoders |= {name: embedding.open_encoder(Component(name=known)) for name, known in config.beside.items()}
    spec = encoders["pretrain"].spec
    plan = dataclasses.replace(crop_plan(config, spec), views=max(2, config.crops.views))
    source = Simulated(plan, 8, config.seed + HELD_OUT_SEED, spec.intensity, Place())
    return gains.measured([source.batch(step) for step in range(-(-config.gains // 8))], encoders)


def _write_blocks(config: Config, folder: Path, course: Course, checks: Checks) -> None:
    """What the page of the run shows."""
    from radfoundry.train import curves

    named = ", ".join(part.name for part in config.objectives)
    kind = "simulated patients" if config.cohort is None else "samples"
    said = (
        f"The encoder {config.encoder.name} learned {course.at.step} steps ({course.at.seconds / 60:.1f} minutes on "
        f"{course.place.device}) from {course.at.step * config.batch} {kind}, by {named}. "
    )
    said += (
        "The checks below were made on simulated patients; nothing here was measured on real ones."
        if checks.history
        else "What it can do was not asked here."
    )
    paragraphs = [said, *(f"Alarm, {name}: {text}." for name, text in checks.alarms.items())]
    blocks: list[dict[str, Any]] = [{"kind": "text", "title": "Summary", "paragraphs": paragraphs}]
    blocks += curves.speed(course.history, batch=config.batch)
    example = checks.held_out[0] if checks.held_out else None
    blocks += curves.blocks(course.history, checks.history, example, folder)
    runs.write_json(folder / "blocks.json", blocks)


def _whole(value: Any) -> Any:
    from radfoundry.train.state import whole

    return whole(value).cpu()
