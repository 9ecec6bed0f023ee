"""Detection: the question, images with their boxes on the grid a detector reads, and who teaches and who is tested."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry
from radfoundry.data import boxes as box_data
from radfoundry.data import prepare
from radfoundry.data.masks import is_mask, mask_values, pairs
from radfoundry.nets.embedding import plan_for
from radfoundry.records import Case, Cohort, EncoderSpec, InputError, Series, Task
from radfoundry.tasks import questions
from radfoundry.volume import Volume

KIND = "detection"
METRICS = ("auroc", "jafroc", "froc-mean", "sensitivity-at-1", "average-precision")
UNMARKED = ("refuse", "normal")
PARTS = ("train", "test", "external")
TRUNK = "trunk"
COSTS = ("cost", "box", "image")


@dataclass(frozen=True)
class Detect(Task):
    """The question with where its boxes come from and what the detector is compared with."""

    boxes: str | None = None
    unmarked: str = "refuse"
    compare: bool = True
    most: int = 5
    margin: float = 0.0
    smallest_voxels: int = 1
    side: int = 128
    spacing_mm: float = 3.0
    budget: Mapping[str, float] = field(default_factory=dict)
    simulate: Mapping[str, Any] = field(default_factory=dict)


def build(
    *,
    boxes: str | None = None,
    unmarked: str = "refuse",
    compare: bool | Mapping[str, float] = True,
    marks: Mapping[str, float] | None = None,
    grid: Mapping[str, float] | None = None,
    simulate: Mapping[str, Any] | None = None,
) -> Detect:
    """Where are the findings? Boxes from a label, or around the connected parts of masks.

    `boxes` names a label that holds `x0 y0 x1 y1; …` in pixels of the image, or `normal`; without it the masks of the
    cohort are taken. `unmarked=normal` says that images without mask or label have no finding (else they are left
    out). `compare` teaches the same network from image labels alone beside it; as `{cost, box, image}` it also
    compares ways of spending one sum on boxes and on image labels. `marks`: at most `most` per image; one within
    `margin` voxels of a box hits it; parts of masks below `smallest_voxels` are ignored. `grid` (`side` pixels, or
    `spacing_mm` of volumes) is that of a detector without encoder. With cohort=simulated films are made on the way.
    """
    if unmarked not in UNMARKED:
        raise InputError(f"unmarked={unmarked!r}", where="task", remedy=f"one of {', '.join(UNMARKED)}")
    size = _numbers("grid", grid, {"side": 128, "spacing_mm": 3.0})
    marked = _numbers("marks", marks, {"most": 5, "margin": 0.0, "smallest_voxels": 1})
    paid = {} if isinstance(compare, bool) else dict(compare)
    if paid and (set(paid) != set(COSTS) or min(paid.values()) <= 0):
        raise InputError(f"{paid}", where="task.compare", remedy=f"give {', '.join(COSTS)}, each above 0")
    return Detect(
        "detect",
        boxes or "mask",
        KIND,
        unit="image",
        metrics=METRICS,
        about="Where are the findings?",
        boxes=boxes,
        unmarked=unmarked,
        compare=bool(compare),
        most=max(1, int(marked["most"])),
        margin=marked["margin"],
        smallest_voxels=int(marked["smallest_voxels"]),
        side=max(8, int(size["side"])),
        spacing_mm=size["spacing_mm"],
        budget=paid,
        simulate=dict(simulate or {}),
    )


def _numbers(name: str, given: Mapping[str, float] | None, usual: Mapping[str, float]) -> dict[str, float]:
    """The usual numbers with those that were given; refuses other keys and negative numbers."""
    for key, value in (given or {}).items():
        if key not in usual:
            raise registry.unknown("key", key, usual, where=f"task.{name}")
        if not value >= 0 or (key == "spacing_mm" and not value > 0):
            raise InputError(f"{key}={value}", where=f"task.{name}", remedy="give a number of 0 or more")
    return {**usual, **{key: float(value) for key, value in (given or {}).items()}}


@dataclass(frozen=True, eq=False)
class Framed:
    """An image on the grid a detector reads, and the matrix from its own voxel numbers to those of the grid."""

    array: np.ndarray
    step: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True, eq=False)
class Example:
    """One image: whose it is, how it is read, and its true boxes in its own voxels `(n, 6)`."""

    series: Series
    case: str
    patient: str
    framed: Framed
    boxes: np.ndarray

    @property
    def present(self) -> bool:
        """Whether there is any finding."""
        return len(self.boxes) > 0


def spec_of(task: Detect, encoder: Any, series: Sequence[Series]) -> EncoderSpec:
    """The encoder's spec, or one for a detector from scratch made from what the images are."""
    if encoder is not None:
        return encoder.spec
    flat = all(item.shape[3] == 1 for item in series)
    kinds = tuple(sorted({item.acquisition.modality or "OT" for item in series}))
    if flat:
        shape, options = (task.side, task.side, 1), {"fit": "letterbox"}
        return EncoderSpec(TRUNK, kinds, "RAS", None, shape, "zscore", 1, 2, options=options)
    spacing = (task.spacing_mm, task.spacing_mm, task.spacing_mm)
    return EncoderSpec(TRUNK, kinds, "RAS", spacing, None, "percentile", 1, 3)


def framed(series: Series, spec: EncoderSpec, folder: str | None = None) -> Framed:
    """An image as the detector reads it, with the matrix that leads there from its own voxels."""
    volume = series.load()
    return _letterboxed(volume, spec) if spec.dimensions == 2 else _resampled(series, volume, spec, folder)


def _letterboxed(volume: Volume, spec: EncoderSpec) -> Framed:
    """Pictures keep the order of their pixels, so that boxes can be read on them as they are."""
    from radfoundry.nets.picture_size import to_size

    if spec.shape is None:
        raise InputError(f"{spec.name} has no picture size", where="encoder", remedy="choose another 2D encoder")
    ready = prepare.prepare(volume, replace(plan_for(spec), orientation=None, spacing_mm=None, shape=None))
    array = np.repeat(ready.array.mean(axis=0, keepdims=True).astype(np.float32), spec.channels, axis=0)
    wanted, had = spec.shape, volume.shape
    ratio = min(n / size for n, size in zip(wanted[:2], had[:2], strict=True))
    step = np.eye(4)
    for axis in range(2):
        size = max(1, round(had[axis] * ratio))
        scale = size / had[axis]
        step[axis, axis] = scale
        # Edges go to edges: voxel numbers name centres.
        step[axis, 3] = (scale - 1) / 2 + (wanted[axis] - size) // 2
    # What is filled up is air for a trunk; an encoder gets zeros, as it was taught.
    air = np.float32(array.min()) if spec.name == TRUNK else np.float32(0)
    return Framed(to_size(array - air, wanted, "letterbox") + air, step, volume.affine)


def _resampled(series: Series, volume: Volume, spec: EncoderSpec, folder: str | None) -> Framed:
    cache = None if folder is None else Path(folder) / "cache"
    ready = prepare.prepared(series, plan_for(spec), cache=cache)
    array = np.repeat(ready.array.mean(axis=0, keepdims=True).astype(np.float32), spec.channels, axis=0)
    return Framed(array, np.linalg.solve(ready.affine, volume.affine), volume.affine)


def sources(cohort: Cohort, task: Detect, wanted: Mapping[str, Any]) -> list[tuple[Case, Series, np.ndarray]]:
    """Every image that has an answer, with its boxes in its own voxels.

    Refuses boxes outside the image, masks on no image's grid, and a cohort in which no image has a box.
    """
    found = []
    masked = any(is_mask(item) for item in cohort.series) and not task.boxes
    drawn = {pair.image.key: pair.masks for pair in pairs(cohort)} if masked else {}
    for case in cohort.cases:
        images = [item for item in case.series if not is_mask(item) and _is_wanted(item, wanted)]
        for series in images:
            boxes = _labelled(case, series, images, task) if task.boxes else _masked(drawn.get(series.key, ()), task)
            if boxes is not None:
                where = f"case {case.key}, {task.boxes or 'mask'}"
                found.append((case, series, box_data.check_inside(boxes, series.shape[1:], where=where)))
    if task.boxes and not any(task.boxes in case.labels for case in cohort.cases):
        raise questions.no_label(cohort, where=f"task.boxes={task.boxes}", name=task.boxes)
    if not any(len(boxes) for _, _, boxes in found):
        raise InputError(
            "no image has a box",
            where=cohort.path or "cohort",
            remedy="name the label with task.boxes=LABEL, or ingest masks=[PATTERN]",
            finding="no-boxes",
        )
    return sorted(found, key=lambda item: (item[0].patient, item[0].key, item[1].key))


def _is_wanted(series: Series, wanted: Mapping[str, Any]) -> bool:
    facts = {"sequence": series.sequence, "modality": series.acquisition.modality, "site": series.site}
    return all(facts.get(key) in ([value] if isinstance(value, str) else value) for key, value in wanted.items())


def _labelled(case: Case, series: Series, images: Sequence[Series], task: Detect) -> np.ndarray | None:
    text = case.labels.get(task.boxes or "")
    if text is None:
        return np.zeros((0, 6)) if task.unmarked == "normal" else None
    if len(images) > 1:
        raise InputError(
            f"has {len(images)} images and one label of boxes",
            where=f"case {case.key}",
            remedy="keep one, for example train_on.sequence=chest-pa",
            finding="many",
        )
    return box_data.parse_boxes(str(text), where=f"case {case.key}, {task.boxes}")


def _masked(masks: Sequence[Series], task: Detect) -> np.ndarray | None:
    """Boxes around what the masks on an image show; an empty mask says that nothing is there."""
    if not masks:
        return np.zeros((0, 6)) if task.unmarked == "normal" else None
    drawn = np.max([mask_values(item, may_be_empty=True) > 0 for item in masks], axis=0)
    return box_data.boxes_of_mask(drawn, fewest_voxels=task.smallest_voxels)


@dataclass(frozen=True)
class Divide:
    """Who teaches and who is tested: a named split with parts train, test and, if there, external; or one fold."""

    split: str | None
    folds: int
    seed: int


def divided(
    cohort: Cohort, cases: Sequence[Case], divide: Divide, *, findings: Collection[str] = ()
) -> dict[str, set[str]]:
    """Case keys of each part; patients never in two. Refuses a split without training or tested cases.

    `findings` are the patients with a box: a fold holds as large a share of them as there is among all.
    """
    keys = {case.key for case in cases}
    if divide.split is not None:
        parts = {name: {case.key for case in cohort.part(divide.split, name).cases} & keys for name in PARTS}
    else:
        held = _held({case.patient for case in cases}, set(findings), divide)
        tested = {case.key for case in cases if case.patient in held}
        parts = {"train": keys - tested, "test": tested, "external": set()}
    for name in ("train", "test"):
        if not parts[name]:
            raise InputError(f"no case with boxes in part {name}", where="split", remedy="see radfoundry split")
    return parts


def _held(patients: set[str], findings: set[str], divide: Divide) -> set[str]:
    """One fold of the patients, drawn from those with a finding and those without in equal shares."""
    rng = np.random.default_rng(divide.seed)
    groups = [sorted(patients & findings), sorted(patients - findings)]
    wanted = max(len(patients) // divide.folds, 1)
    share = [len(group) / max(len(patients), 1) for group in groups]
    held: set[str] = set()
    for group, part in zip(groups, share, strict=True):
        count = round(wanted * part) if len(group) < 2 else min(max(round(wanted * part), 1), len(group) - 1)
        held |= {group[place] for place in rng.permutation(len(group))[:count]}
    return held
