"""The question `localise`: where in a scan does an anatomical place or structure lie, in RAS mm of the scan?"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from radfoundry.data import masks
from radfoundry.records import Case, Cohort, InputError, Series, Task, counted
from radfoundry.volume import Geometry, points_to_voxels, points_to_world

KIND = "place"
METRICS = ("error-mm", "within-10-mm")
AXES = ("x_mm", "y_mm", "z_mm")
OUTSIDE_MM = 20.0  # a place this far beyond the edge may still be meant; further out its numbers are of another frame
CENTRE, LOW, HIGH = 0, 1, 2
MOST_CUT = 0.45


@dataclass(frozen=True)
class Localise(Task):
    """The question with where the true places come from and how they are judged.

    `structure` are the values of a mask whose centre is asked for; empty with a landmark of the labels.
    """

    landmark: str = ""
    structure: tuple[int, ...] = ()
    near_mm: float = 40.0
    within_mm: float = 10.0
    cut: float = 0.0
    simulate: Mapping[str, Any] = field(default_factory=dict)

    @property
    def boxed(self) -> bool:
        """Whether a box is answered beside the point."""
        return not self.landmark


def build(
    *,
    target: str | None = None,
    structure: int | list[int] | None = None,
    near_mm: float = 40.0,
    within_mm: float = 10.0,
    cut: float = 0.0,
    simulate: Mapping[str, Any] | None = None,
) -> Localise:
    """Where does a place or a structure lie, in RAS mm of the scan?

    `target` names a landmark of the labels: the columns `NAME_x_mm`, `NAME_y_mm` and `NAME_z_mm`. Without it the
    centre of a mask is asked for, and its box: of the values `structure`, by default of all that is outlined.
    `near_mm` is how near places of the scan must lie to vote in the second round; `within_mm` what counts as found.
    `cut` takes up to this share of each axis off either end of every scan at random, as other fields of view would:
    where the place lies in the scan then says little.
    With cohort=simulated exams are made on the way, as `simulate` says (name of a cohort, cases, truth, its options).
    """
    if target and structure is not None:
        raise InputError("target and structure are both given", where="task", remedy="a landmark or a mask, not both")
    for name, value in (("near_mm", near_mm), ("within_mm", within_mm)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise InputError(f"{value!r}", where=f"task.{name}", remedy="give a length above 0 mm")
    if isinstance(cut, bool) or not isinstance(cut, int | float) or not 0 <= cut <= MOST_CUT:
        raise InputError(f"{cut!r}", where="task.cut", remedy=f"give a share from 0 to {MOST_CUT}")
    if simulate is not None and not isinstance(simulate, Mapping):
        raise InputError(f"{simulate!r} is not a mapping", where="task.simulate", remedy="write {name: value, …}")
    values = (structure,) if isinstance(structure, int) else tuple(structure or ())
    if any(isinstance(value, bool) or not isinstance(value, int) or value < 1 for value in values):
        raise InputError(f"{structure!r}", where="task.structure", remedy="give whole numbers from 1")
    what = target or (f"structure {', '.join(map(str, values))}" if values else "the outlined structure")
    return Localise(
        "localise",
        target or "mask",
        KIND,
        unit="image",
        metrics=METRICS,
        about=f"Where is {what.replace('_', ' ')}?",
        landmark=target or "",
        structure=values,
        near_mm=float(near_mm),
        within_mm=float(within_mm),
        cut=float(cut),
        simulate=dict(simulate or {}),
    )


@dataclass(frozen=True, eq=False)
class Asked:
    """One image and the truth about it in RAS mm: `points` `(1, 3)`, or `(3, 3)` with the low and high corner of a box.

    `centre_mm` `(3,)` is the middle of the scan.
    """

    series: Series
    case: str
    patient: str
    points: np.ndarray
    centre_mm: np.ndarray


def asked(cohort: Cohort, task: Localise, wanted: Mapping[str, Any]) -> tuple[list[Asked], list[str]]:
    """Every image with a true place, in order of patient, and remarks on what was left out.

    Refuses a cohort in which nobody has the place, a place that is no number, and one that lies outside the scans.
    """
    found, notes = _from_labels(cohort, task, wanted) if task.landmark else _from_masks(cohort, task, wanted)
    unplaced = [item for item in found if "no-geometry" in item.series.repairs]
    if unplaced:
        notes.append(f"{counted(len(unplaced), 'image')} of unknown pixel size left out")
        found = [item for item in found if "no-geometry" not in item.series.repairs]
    if not found:
        raise InputError(
            f"no image with a known place of {task.target}{': ' + notes[0] if notes else ''}",
            where=cohort.path or "cohort",
            remedy="check train_on, and that the images state their pixel size",
            finding="no-places",
        )
    return sorted(found, key=lambda item: (item.patient, item.case, item.series.key)), notes


def _from_labels(cohort: Cohort, task: Localise, wanted: Mapping[str, Any]) -> tuple[list[Asked], list[str]]:
    places = {case.key: place for case in cohort.cases if (place := _place(case, task.landmark)) is not None}
    if not places:
        labels = sorted({name for case in cohort.cases for name in case.labels})
        there = [name.removesuffix(f"_{AXES[0]}") for name in labels if name.endswith(f"_{AXES[0]}")]
        raise InputError(
            f"no case has {', '.join(f'{task.landmark}_{axis}' for axis in AXES)}",
            where=f"landmark {task.landmark}",
            remedy=f"landmarks here: {', '.join(there) or 'none'}; add some with radfoundry label",
            finding="no-labels",
        )
    found, outside, notes = [], [], []
    for case in cohort.cases:
        if case.key not in places:
            continue
        for series in case.series:
            if masks.is_mask(series) or not masks.is_wanted(series, wanted):
                continue
            geometry = masks.geometry_of(series, cohort.path)
            if beyond_mm(geometry, places[case.key]) > OUTSIDE_MM:
                outside.append(series.key)
            else:
                found.append(Asked(series, case.key, case.patient, places[case.key][None], middle_mm(geometry)))
    if outside and len(outside) >= len(found):
        raise InputError(
            f"it lies outside {len(outside)} of {len(outside) + len(found)} scans",
            where=f"landmark {task.landmark}",
            remedy="give RAS mm of the scan (DICOM counts x and y the other way round: change their signs)",
            finding="outside",
        )
    missing = len(cohort.cases) - len(places)
    notes += [f"{counted(missing, 'exam')} without the landmark left out"] if missing else []
    notes += [f"{counted(len(outside), 'scan')} left out whose landmark lies outside"] if outside else []
    return found, notes


def _place(case: Case, landmark: str) -> np.ndarray | None:
    """(3,) RAS mm of a landmark, None where it is not labelled."""
    raw = [case.labels.get(f"{landmark}_{axis}") for axis in AXES]
    absent = [value is None or (isinstance(value, float) and math.isnan(value)) for value in raw]
    if all(absent):
        return None
    try:
        place = np.array([float(value) for value in raw])  # ty: ignore[invalid-argument-type]
    except (TypeError, ValueError):
        place = np.array([math.nan])
    if not np.isfinite(place).all():
        shown = ", ".join(repr(value) for value in raw)
        raise InputError(
            f"({shown}) is no place", where=f"case {case.key}, landmark {landmark}", remedy="give three numbers in mm"
        )
    return place


def _from_masks(cohort: Cohort, task: Localise, wanted: Mapping[str, Any]) -> tuple[list[Asked], list[str]]:
    found, without = [], 0
    drawn_on = masks.pairs(cohort, wanted=wanted)
    for pair in drawn_on:
        drawn = [points for mask in pair.masks if (points := box_points(mask, task.structure)) is not None]
        if not drawn:
            without += 1
            continue
        geometry = masks.geometry_of(pair.image, cohort.path)
        points = np.mean(drawn, axis=0)
        found.append(Asked(pair.image, pair.case, pair.patient, points, middle_mm(geometry)))
    if not found:
        first = [pair.masks[0] for pair in drawn_on]
        values = sorted({int(v) for mask in first for v in np.unique(masks.mask_values(mask, may_be_empty=True))})
        raise InputError(
            f"no mask has the value {', '.join(map(str, task.structure))}",
            where="task.structure",
            remedy=f"values here: {', '.join(str(value) for value in values if value)}",
            finding="label",
        )
    left = len(cohort.cases) - len({pair.case for pair in drawn_on})
    notes = [f"{counted(left, 'exam')} without a mask left out"] if left else []
    return found, notes + ([f"{counted(without, 'image')} whose mask lacks the structure left out"] if without else [])


def box_points(mask: Series, structure: Sequence[int]) -> np.ndarray | None:
    """(3, 3) RAS mm of a structure: centre of mass, low and high corner of its box; None where it is not there."""
    values = masks.mask_values(mask, may_be_empty=True)
    drawn = np.isin(values, structure) if structure else values > 0
    if not drawn.any():
        return None
    affine = mask.load().affine
    places = points_to_world(affine, np.argwhere(drawn))
    half = np.abs(affine[:3, :3]).sum(axis=1) / 2  # the box goes round voxels, not through their middles
    return np.stack([places.mean(axis=0), places.min(axis=0) - half, places.max(axis=0) + half])


def middle_mm(geometry: Geometry) -> np.ndarray:
    """(3,) RAS mm of the middle of a grid."""
    return points_to_world(geometry.affine, (np.array(geometry.shape)[None] - 1) / 2)[0]


def beyond_mm(geometry: Geometry, place_mm: np.ndarray) -> float:
    """How far a place lies beyond the edge of a grid along the worst axis; 0 inside.

    >>> beyond_mm(Geometry((10, 10, 10), np.diag([2.0, 2.0, 2.0, 1.0])), np.array([23.0, 5.0, 5.0]))
    4.0
    """
    voxel = points_to_voxels(geometry.affine, np.asarray(place_mm, float)[None])[0]
    over = np.maximum(np.maximum(-0.5 - voxel, voxel - (np.array(geometry.shape) - 0.5)), 0)
    return float((over * geometry.spacing_mm).max())


def cut(item: Asked, share: float, *, seed: int) -> Asked:
    """The same image with up to `share` of each axis taken off either end at random, the place kept inside.

    Seed and image decide how much; an axis of one slice stays.
    """
    volume = item.series.load()
    key = int.from_bytes(hashlib.sha256(item.series.key.encode()).digest()[:4], "big")
    rng = np.random.default_rng([seed, key])
    sizes = np.array(volume.shape)
    place = points_to_voxels(volume.affine, item.points[:1])[0]
    taken = np.where(sizes > 1, rng.uniform(0, share, (2, 3)) * sizes, 0).astype(int)
    low = np.clip(np.minimum(taken[0], np.floor(place).astype(int)), 0, None)
    high = np.clip(np.minimum(taken[1], sizes - 1 - np.ceil(place).astype(int)), 0, None)
    left = volume.crop(low, sizes - low - high)
    series = replace(item.series, shape=left.array.shape, content="", loader=lambda _series: left)
    return replace(item, series=series, centre_mm=middle_mm(left.geometry))


def folds(patients: Sequence[str], count: int, *, seed: int) -> dict[str, int]:
    """The fold of each patient, whatever the order they come in."""
    names = sorted(set(patients))
    if len(names) < max(count, 4):
        raise InputError(
            f"{counted(len(names), 'patient')} with a known place, {count} folds",
            where="folds",
            remedy="give at least 4 patients and no more folds than patients",
            finding="few-patients",
        )
    order = np.random.default_rng(seed).permutation(len(names))
    return {names[place]: int(turn % count) for turn, place in enumerate(order)}


def dealt(items: Sequence[Asked], *, rng: np.random.Generator) -> list[Asked]:
    """The same images with the place where another patient has it in the scan: what a negative control learns from."""
    owners = sorted({item.patient for item in items})
    shift = int(rng.integers(1, len(owners))) if len(owners) > 1 else 0
    order = rng.permutation(len(owners))
    names = [owners[place] for place in order]
    other = {name: names[(turn + shift) % len(names)] for turn, name in enumerate(names)}
    first: dict[str, Asked] = {}
    for item in items:
        first.setdefault(item.patient, item)
    given = [first[other[item.patient]] for item in items]
    return [
        replace(item, points=source.points - source.centre_mm + item.centre_mm)
        for item, source in zip(items, given, strict=True)
    ]
