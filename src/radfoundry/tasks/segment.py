"""The question `segment`: which voxels belong to which structure? Images, masks, a plan and a held-out part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from radfoundry import registry
from radfoundry.data import masks, masks_plan
from radfoundry.data.masks import Labels, Pair
from radfoundry.data.masks_plan import SegmentPlan
from radfoundry.data.prepare import prepare
from radfoundry.nets.encoder_maps import Sizes
from radfoundry.nets.unet_inference import labels_on
from radfoundry.records import Cohort, InputError, Task, counted
from radfoundry.tasks.consensus import fused
from radfoundry.volume import Volume

KIND = "segmentation"
METRICS = ("dice", "hd95_mm", "surface_dice")
PLANNED = ("spacing_mm", "voxels", "width", "fold")
SEVERAL = ("refuse", "majority", "staple", "first")
EMPTY = ("leave-out", "keep", "refuse")


@dataclass(frozen=True)
class Segment(Task):
    """The question with what decides the plan."""

    labels: Mapping[str, int | Sequence[int]] = field(default_factory=dict)
    spacing_mm: tuple[float, ...] | None = None
    voxels: int = masks_plan.VOXELS
    width: int = masks_plan.FIRST_WIDTH
    fold: bool = True
    several: str = "refuse"
    empty: str = "leave-out"
    tolerance_mm: float = 1.0
    simulate: Mapping[str, Any] = field(default_factory=dict)


def build(
    *,
    labels: Mapping[str, int | list[int]] | None = None,
    plan: Mapping[str, Any] | None = None,
    several: str = "refuse",
    empty: str = "leave-out",
    tolerance_mm: float = 1.0,
    simulate: Mapping[str, Any] | None = None,
) -> Segment:
    """Where are the structures that somebody outlined? (series of modality SEG on the grid of an image).

    `labels` names the values that count, for example `{liver: 1, kidneys: [2, 3]}`; by default every value is one.
    `plan` overrides parts of the plan: `spacing_mm`, `voxels` (of a patch), `width` (channels of the first level) and
    `fold`. `several` says what to do where an image has several masks: refuse, majority, staple or first.
    `empty` says what to do where the mask is empty: leave-out, keep (nothing is to be outlined there) or refuse.
    `tolerance_mm` is that of the surface Dice.
    With cohort=simulated the exams are made on the way, as `simulate` says (name of a cohort, cases, its options).
    """
    for name, given in (("labels", labels), ("plan", plan), ("simulate", simulate)):
        if given is not None and not isinstance(given, Mapping):
            raise InputError(f"{given!r} is not a mapping", where=f"task.{name}", remedy="write {name: value, …}")
    chosen = dict(plan or {})
    unknown = sorted(set(chosen) - set(PLANNED))
    if unknown:
        raise InputError(f"unknown key {unknown[0]!r}", where="task.plan", remedy=f"known: {', '.join(PLANNED)}")
    spacing_mm = chosen.get("spacing_mm")
    if several not in SEVERAL:
        raise InputError(f"several={several!r}", where="task", remedy=f"use one of {', '.join(SEVERAL)}")
    if empty not in EMPTY:
        raise registry.unknown("way", str(empty), EMPTY, where="task.empty")
    if not np.isfinite(tolerance_mm) or tolerance_mm < 0:
        raise InputError(f"tolerance_mm={tolerance_mm}", where="task", remedy="give a length of 0 mm or more")
    if spacing_mm is not None and not _are_lengths(spacing_mm):
        raise InputError(f"spacing_mm={spacing_mm}", where="task.plan", remedy="give three positive lengths")
    voxels = whole(chosen.get("voxels", masks_plan.VOXELS), name="task.plan.voxels", least=512)
    width = whole(chosen.get("width", masks_plan.FIRST_WIDTH), name="task.plan.width", least=4)
    masks.labels_named(labels) if labels else None
    return Segment(
        "segment",
        "mask",
        KIND,
        unit="image",
        metrics=METRICS,
        about="Which voxels belong to which structure?",
        labels=dict(labels or {}),
        spacing_mm=None if spacing_mm is None else tuple(spacing_mm),
        voxels=voxels,
        width=width,
        fold=bool(chosen.get("fold", True)),
        several=several,
        empty=empty,
        tolerance_mm=float(tolerance_mm),
        simulate=dict(simulate or {}),
    )


def whole(value: Any, *, name: str, least: int) -> int:
    """A whole number of at least `least`; refused by its name."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{value!r}", where=name, remedy=f"give a whole number from {least}")
    return value


def _are_lengths(values: Any) -> bool:
    return (
        isinstance(values, Sequence)
        and len(values) == 3
        and all(isinstance(value, int | float) and value > 0 for value in values)
    )


@dataclass(frozen=True, eq=False)
class Parts:
    """The pairs that teach and those that are tested, with the labels that count, and how many masks are empty."""

    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    labels: Labels
    how: str
    empty: int = 0


@dataclass(frozen=True)
class Sides:
    """Which images teach and which are tested: header facts, and a named split or one of `folds` parts held out."""

    train_on: Mapping[str, Any] = field(default_factory=dict)
    test_on: Mapping[str, Any] | None = None
    split: str | None = None
    folds: int = 5
    seed: int = 0


def parts(cohort: Cohort, task: Segment, sides: Sides) -> Parts:
    """Who teaches and who is tested, by patient: a named split, or one fold of `folds` held out.

    Refuses a part without masks, and fewer than two patients on either side.
    """
    taught, bare = masks.with_empty(masks.pairs(cohort, wanted=sides.train_on), task.empty)
    tested = taught
    if sides.test_on is not None:
        tested, more = masks.with_empty(masks.pairs(cohort, wanted=sides.test_on), task.empty)
        bare += more
    empty = len({pair.image.key for pair in bare})
    train, test, how = _divided(cohort, taught, tested, sides)
    everybody = len({pair.patient for pair in (*taught, *tested)})
    for side, chosen in (("train", train), ("test", test)):
        count = len({pair.patient for pair in chosen})
        if count < 2:
            left = (
                f" ({counted(empty, 'image')} with an empty mask left out)" if empty and task.empty == EMPTY[0] else ""
            )
            raise InputError(
                f"{counted(count, 'patient')} with masks to {side} on, of {everybody}{left}",
                where=f"split {sides.split}" if sides.split else f"{sides.folds} folds",
                remedy="at least two on either side; give more masks or another split",
                finding="few-patients",
            )
    chosen = [_one_mask(pair, task.several) for pair in train]
    held = [_one_mask(pair, task.several) for pair in test]
    named = masks.labels_named(task.labels) if task.labels else masks.labels_found([m for p in chosen for m in p.masks])
    for mask in (mask for pair in held for mask in pair.masks):
        masks.classes_of(mask, named, may_be_empty=True)  # a value that nobody taught is said before the teaching
    return Parts(tuple(chosen), tuple(held), named, how, empty)


def _divided(
    cohort: Cohort, taught: Sequence[Pair], tested: Sequence[Pair], sides: Sides
) -> tuple[list[Pair], list[Pair], str]:
    split, folds = sides.split, sides.folds
    if split is not None:
        inside = {name: {case.key for case in cohort.part(split, name).cases} for name in ("train", "test")}
        train = [pair for pair in taught if pair.case in inside["train"]]
        test = [pair for pair in tested if pair.case in inside["test"]]
        shared = {pair.patient for pair in train} & {pair.patient for pair in test}
        if shared:
            raise InputError(f"patient {min(shared)} is on both sides", where=f"split {split}", finding="leak")
        return train, test, f"split {split}"
    names = sorted({pair.patient for pair in (*taught, *tested)})
    order = np.random.default_rng(sides.seed).permutation(len(names))
    held = {names[index] for index in order[: max(1, round(len(names) / folds))]}
    train = [pair for pair in taught if pair.patient not in held]
    return train, [pair for pair in tested if pair.patient in held], f"one of {folds} parts of the patients held out"


def _one_mask(pair: Pair, several: str) -> Pair:
    if len(pair.masks) == 1 or several in ("majority", "staple"):
        return pair
    if several == "first":
        return replace(pair, masks=pair.masks[:1])
    raise InputError(
        f"{len(pair.masks)} masks lie on image {pair.image.key}",
        where=f"mask {pair.masks[1].key}",
        remedy="say task.several=majority, staple or first, or tell exams apart at ingest with (?P<case>…)",
        finding="several-masks",
    )


def planned(found: Parts, task: Segment, *, seed: int) -> SegmentPlan:
    """The plan of the training part."""
    seen = masks_plan.fingerprint(found.train, found.labels, rng=np.random.default_rng(seed))
    return masks_plan.plan(
        seen, found.labels, spacing_mm=task.spacing_mm, voxels=task.voxels, fold=task.fold, width=task.width
    )


def sizes_of(plan: SegmentPlan) -> Sizes:
    """What the networks need to know of a plan."""
    return Sizes(plan.classes, plan.widths, plan.strides, plan.fold)


@dataclass(frozen=True, eq=False)
class Ready:
    """An image made ready: grey values (1, I, J, K) on the plan's grid, its classes there, and where it came from."""

    array: np.ndarray
    classes: np.ndarray | None
    grid: Volume
    source: Volume


def ready(volume: Volume, plan: SegmentPlan, classes: np.ndarray | None = None) -> Ready:
    """Bring an image, and its classes if known, to the plan's grid; colours and time points are averaged."""
    mean = volume.with_array(volume.array.mean(axis=0, keepdims=True).astype(np.float32))
    prepared = prepare(mean, plan.preparation)
    drawn = None if classes is None else masks.resampled(classes, volume, prepared.geometry, len(plan.labels))
    return Ready(np.ascontiguousarray(prepared.array, np.float32), drawn, prepared, volume)


def classes_of(pair: Pair, labels: Labels, several: str = "refuse") -> np.ndarray:
    """The true classes of a pair on the image's own grid; of several masks their fusion."""
    drawn = [masks.classes_of(mask, labels, may_be_empty=True) for mask in pair.masks]
    if len(drawn) == 1:
        return drawn[0]
    return fused(np.stack(drawn), len(labels), by=several)


def on_source(scores: Any, made: Ready) -> np.ndarray:
    """Labels of the highest score on the grid of the image as it was given, whatever its direction."""
    source, grid = made.source, made.grid
    step = np.linalg.solve(grid.affine, source.affine)
    order = np.abs(step[:3, :3]).argmax(axis=0)  # for each axis of the source the one of the plan's grid
    places: list[np.ndarray] = [np.zeros(1)] * 3
    for axis, along in enumerate(order):
        places[along] = step[along, 3] + step[along, axis] * np.arange(source.shape[axis])
    flips = [step[along, axis] < 0 for axis, along in enumerate(order)]
    rising = [np.sort(axis) for axis in places]
    found = labels_on(scores, rising).transpose(order)
    for axis, flipped in enumerate(flips):
        if flipped:
            found = np.flip(found, axis)
    return np.ascontiguousarray(found)


def dealt(made: Sequence[Ready], patients: Sequence[str], *, rng: np.random.Generator) -> list[Ready]:
    """The same images with the masks of other patients, stretched to fit: what a negative control learns from."""
    owners = sorted(set(patients))
    shift = int(rng.integers(1, len(owners))) if len(owners) > 1 else 0
    other = {owner: owners[(place + shift) % len(owners)] for place, owner in enumerate(owners)}
    first = {patient: index for index, patient in reversed(list(enumerate(patients)))}
    result = []
    for item, patient in zip(made, patients, strict=True):
        source = made[first[other[patient]]].classes
        if source is None or item.classes is None:
            raise InputError("no masks to deal out", where="permute_labels")
        spots = [
            np.minimum((np.arange(n) + 0.5) * have / n, have - 1).astype(int)
            for n, have in zip(item.classes.shape, source.shape, strict=True)
        ]
        result.append(replace(item, classes=np.ascontiguousarray(source[np.ix_(*spots)])))
    return result
