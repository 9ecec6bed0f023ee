"""Masks of a cohort beside the images they were drawn on: found, paired by geometry, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from radfoundry.data.cohort import volume_path
from radfoundry.data.store import volume_geometry
from radfoundry.records import Case, Cohort, InputError, Series, counted
from radfoundry.volume import Geometry, Volume

MODALITY = "SEG"
MOST_LABELS = 254
ROUNDING_VOXELS = 0.05
WHICH = "which file it is: radfoundry ingest SOURCE --to COHORT --trace"
SET_ASIDE = f"set it aside (radfoundry label COHORT TABLE --on series, columns series and use, false); {WHICH}"
Labels = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Pair:
    """An image and the masks drawn on its own grid (one for each annotator; mostly one)."""

    case: str
    patient: str
    image: Series
    masks: tuple[Series, ...]


def is_mask(series: Series) -> bool:
    """Whether a series is a segmentation."""
    return series.acquisition.modality == MODALITY


def geometry_of(series: Series, folder: str | None) -> Geometry:
    """Where a series lies, without reading its voxels when it is stored in a cohort."""
    if folder is not None and volume_path(folder, series.key).is_file():
        return volume_geometry(volume_path(folder, series.key))
    return series.load().geometry


def pairs(cohort: Cohort, *, wanted: Mapping[str, Sequence[str] | str] | None = None) -> list[Pair]:
    """Every image of a cohort with the masks of the same exam on the same grid, in order of patient and case.

    `wanted` keeps images by header facts, for example `{"sequence": "T2w"}`. Exams without a mask are left out, and
    so are masks without an image (which may have been refused on reading). Refuses a cohort without a mask on an
    image, and a mask whose grid is that of no image of its exam, by name.
    """
    found: list[Pair] = []
    orphans: list[Series] = []
    for case in cohort.cases:
        masks = [series for series in case.series if is_mask(series)]
        if masks and len(masks) == len(case.series):
            orphans += masks
        elif masks:
            found += _of_case(case, masks, wanted or {}, cohort.path)
    if not found and orphans:
        raise InputError(
            f"no image has a mask: {counted(len(orphans), 'mask')} in exams that hold no image",
            where=cohort.path or "cohort",
            remedy="give image and mask the same patient and case in the pattern, or see which images were refused "
            "(radfoundry ingest SOURCE --to COHORT --explain)",
            finding="no-masks",
        )
    if not found:
        raise InputError(
            "no image has a mask",
            where=cohort.path or "cohort",
            remedy="ingest segmentations with masks=[PATTERN]; train_on must leave the images they were drawn on",
            finding="no-masks",
        )
    return sorted(found, key=lambda pair: (pair.patient, pair.case, pair.image.key))


def _of_case(
    case: Case, masks: Sequence[Series], wanted: Mapping[str, Sequence[str] | str], folder: str | None
) -> list[Pair]:
    images = [series for series in case.series if not is_mask(series)]
    places = {series.key: geometry_of(series, folder) for series in (*images, *masks)}
    for mask in masks:
        if not any(same_grid(places[mask.key], places[image.key]) for image in images):
            raise InputError(
                f"its grid is that of no image of exam {case.key}: {_differs(mask, images, places)}",
                where=f"mask {mask.key}",
                remedy=f"resample the mask to the image it was drawn on, or {SET_ASIDE}",
                finding="geometry",
            )
    found = []
    for image in images:
        if not is_wanted(image, wanted):
            continue
        own = tuple(mask for mask in masks if same_grid(places[mask.key], places[image.key]))
        if own:
            found.append(Pair(case.key, case.patient, image, own))
    return found


def same_grid(one: Geometry, other: Geometry) -> bool:
    """Whether two grids are one but for the rounding of headers: nowhere apart by more than a twentieth of a voxel.

    Programs store one affine as a matrix, as a quaternion, or in single precision; what they lose is far below that.
    """
    step = float(np.linalg.norm(one.affine[:3, :3], axis=0).min())
    return one.matches(other, tolerance_mm=max(ROUNDING_VOXELS * step, 1e-3))


def _differs(mask: Series, images: Sequence[Series], places: Mapping[str, Geometry]) -> str:
    """What about the grid is different, said of the nearest image."""
    own = places[mask.key]
    same = [image for image in images if places[image.key].shape == own.shape]
    if not same:
        other = places[images[0].key]
        return f"shape {'x'.join(map(str, own.shape))} against {'x'.join(map(str, other.shape))} of {images[0].key}"
    return f"the affine differs from that of {same[0].key}"


def is_wanted(series: Series, wanted: Mapping[str, Sequence[str] | str]) -> bool:
    """Whether a series has the header facts asked for, for example `{"sequence": ["T1w", "T2w"]}`."""
    for name, values in wanted.items():
        found = getattr(series, name, None) or getattr(series.acquisition, name, None)
        allowed = [values] if isinstance(values, str) else list(values)
        if found is None or str(found).casefold() not in [str(value).casefold() for value in allowed]:
            return False
    return True


def mask_values(series: Series, *, may_be_empty: bool = False) -> np.ndarray:
    """(I, J, K) whole numbers of a mask; refuses shares, colours, negative values and, unless allowed, nothing."""
    volume = series.load()
    where = f"mask {series.key}"
    array = volume.array
    if len(array) > 1 and (array == array[:1]).all():
        array = array[:1]
    if len(array) != 1:
        raise InputError(f"{len(array)} channels", where=where, remedy=f"give one label map; {WHICH}", finding="mask")
    values = array[0]
    exact = values.dtype.kind in "uib"
    whole = values if exact else np.rint(values)
    if not ((exact or np.abs(values - whole).max() <= 1e-4) and whole.min() >= 0):
        raise InputError(
            "its values are not whole numbers from 0",
            where=where,
            remedy=f"give labels, not shares; {WHICH}",
            finding="mask",
        )
    if not may_be_empty and not whole.any():
        raise InputError("the mask is empty", where=where, remedy=SET_ASIDE, finding="empty-mask")
    return whole.astype(np.int32)


def with_empty(found: Sequence[Pair], how: str) -> tuple[list[Pair], list[Pair]]:
    """The pairs to go on with, and those of which every mask is empty; `how` is leave-out, keep or refuse."""
    empty = [pair for pair in found if not any(mask_values(mask, may_be_empty=True).any() for mask in pair.masks)]
    if how == "refuse" and empty:
        raise InputError(
            f"the mask is empty (so for {len(empty)} of {counted(len(found), 'image')})",
            where=f"mask {empty[0].masks[0].key}",
            remedy=f"task.empty=leave-out or keep, or {SET_ASIDE}",
            finding="empty-mask",
        )
    if how == "leave-out":
        left = {id(pair) for pair in empty}
        return [pair for pair in found if id(pair) not in left], empty
    return list(found), empty


def empty_notes(count: int, how: str) -> list[str]:
    """What to say about images whose mask is empty."""
    if not count:
        return []
    if how == "keep":
        said = "nothing is to be outlined there; Dice is 0 where something was, else not defined and left out of means"
        return [f"{counted(count, 'image')} with an empty mask kept: {said}"]
    return [
        f"{counted(count, 'image')} with an empty mask left out (task.empty=keep counts them as nothing to outline)"
    ]


def labels_found(masks: Sequence[Series]) -> Labels:
    """Every value of some masks as a label of its own, named by its number; refuses masks that are all empty."""
    seen = {mask.key: {int(v) for v in np.unique(mask_values(mask, may_be_empty=True))} - {0} for mask in masks}
    values = sorted(set().union(*seen.values()))
    if not values:
        raise InputError("every mask is empty", where="masks", remedy="give masks of structures", finding="empty-mask")
    if len(values) > MOST_LABELS:
        most = max(seen, key=lambda key: len(seen[key]))
        raise InputError(
            f"{len(values)} different values, {len(seen[most])} of them in mask {most}",
            where="masks",
            remedy=f"name those meant with task.labels; an image may have been taken for a mask; {WHICH}",
        )
    return {str(value): (value,) for value in values}


def labels_named(given: Mapping[str, int | Sequence[int]]) -> Labels:
    """Labels as a person names them: `{liver: 1, kidneys: [2, 3]}`; refuses 0, doubles and nothing at all.

    >>> labels_named({"hippocampus": [1, 2]})
    {'hippocampus': (1, 2)}
    """
    found = {str(name): (value,) if isinstance(value, int) else tuple(value) for name, value in given.items()}
    values = [value for part in found.values() for value in part]
    if not values or any(not isinstance(value, int) or value < 1 for value in values) or len(set(values)) < len(values):
        raise InputError(
            f"{dict(given)} does not name labels",
            where="task.labels",
            remedy="give whole numbers from 1, each once, for example {liver: 1, kidneys: [2, 3]}",
        )
    return found


def classes_of(series: Series, labels: Labels, *, may_be_empty: bool = False) -> np.ndarray:
    """(I, J, K) `uint8` classes of a mask: 0 background, then the labels in their order.

    Refuses a value that no label names and, unless it may be empty, a mask that holds none of them.
    """
    values = mask_values(series, may_be_empty=may_be_empty)
    classes = np.zeros(values.shape, np.uint8)
    for index, parts in enumerate(labels.values(), start=1):
        classes[np.isin(values, parts)] = index
    missing = sorted({int(value) for value in np.unique(values[(classes == 0) & (values > 0)])})
    if missing:
        raise InputError(
            f"value {missing[0]} is not among the labels of the plan ({', '.join(labels)})",
            where=f"mask {series.key}",
            remedy=f"name it in task.labels, or mend the mask; {WHICH}",
            finding="label",
        )
    return classes


def as_label_map(classes: np.ndarray, labels: Labels) -> np.ndarray:
    """Classes as the values they were drawn with; of several values of one label the first."""
    table = np.zeros(len(labels) + 1, np.int32)
    table[1:] = [parts[0] for parts in labels.values()]
    return table[classes].astype(np.uint8 if table.max() < 256 else np.int16)


def resampled(classes: np.ndarray, image: Volume, grid: Geometry, count: int) -> np.ndarray:
    """Classes drawn on an image's grid, read off at another grid: the class with the largest interpolated share."""
    from radfoundry.data.resample import resample_to

    here = Volume.of(np.zeros(image.shape, np.float32), image.affine)
    if same_grid(here.geometry, grid):
        return classes
    best = np.full(grid.shape, -1.0, np.float32)
    found = np.zeros(grid.shape, np.uint8)
    for index in range(count + 1):
        drawn = here.with_array((classes == index).astype(np.float32))
        share = resample_to(drawn, grid, order=1, antialias=False, outside=float(index == 0)).array[0]
        found = np.where(share > best + 1e-6, np.uint8(index), found)
        best = np.maximum(best, share)
    return found
