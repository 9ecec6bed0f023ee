"""From single slices to one grid: order, channels, spacing and the affine, with every irregularity named."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.data.dicom_affine import axes_of, fitted, position_of, well_oriented
from radfoundry.data.dicom_header import Instance, refused
from radfoundry.data.reading import Repair

SAME_POSITION_MM = 0.01
ORIENTATION_TOLERANCE = 2e-3
CHANNEL_LABELS: tuple[tuple[str, Callable[[Any], str]], ...] = (
    ("image_type", lambda words: "/".join(words[2:])),
    ("b_value", "b={:g} s/mm2".format),
    ("echo_time_ms", "echo {:g} ms".format),
    ("temporal_position", "time {}".format),
)


@dataclass(frozen=True, eq=False)
class Plane:
    """One slice of one file: its header record, which file, which frame of it and, in a mosaic, which tile."""

    instance: Instance
    file: int
    frame: int = 0
    tile: int = 0


@dataclass(frozen=True, eq=False)
class Stack:
    """Planes in order: `planes[channel][slice]`, the exact affine (LPS to RAS done), and what was mended.

    `distances_mm` are the slices' places along the third axis, in units of its affine column from the first.
    """

    planes: list[list[Plane]]
    affine: np.ndarray
    offsets: np.ndarray
    repairs: tuple[str, ...]
    tilt_mm: np.ndarray
    channels: tuple[str, ...]


def stack(planes: Sequence[Plane], repair: Repair, where: str) -> Stack:
    """Order planes into channels and slices and fit their affine; irregular ones are refused unless repaired."""
    planes, mended = _one_matrix(list(planes), repair, where)
    _check_geometry(planes, where)
    _, _, normal = axes_of(planes[0].instance)
    along = np.array([np.dot(normal, position_of(plane.instance)) for plane in planes])
    columns = _same_place(planes, along)
    columns, dropped = _without_duplicates(columns, repair, where)
    channels, incomplete = _channels(columns, repair, where)
    first = channels[0]
    affine, offsets, tilt_mm, uneven = fitted(
        [plane.instance for plane in first], axes_of(first[0].instance), repair, where
    )
    repairs = tuple(name for name in (mended, dropped, incomplete, *uneven) if name)
    return Stack(channels, affine, offsets, repairs, tilt_mm, channel_names(channels))


def _one_matrix(planes: list[Plane], repair: Repair, where: str) -> tuple[list[Plane], str]:
    sizes = Counter((p.instance.rows, p.instance.columns, p.instance.pixel_spacing) for p in planes)
    if len(sizes) == 1:
        return planes, ""
    if repair.mixed != "largest":
        told = ", ".join(f"{count} of {size[1]} x {size[0]}" for size, count in sizes.most_common(4))
        raise refused("mixed-matrix", f"slices differ in matrix or pixel size ({told})", where)
    kept = max(sizes, key=lambda size: (sizes[size], size[0] * size[1]))
    chosen = [p for p in planes if (p.instance.rows, p.instance.columns, p.instance.pixel_spacing) == kept]
    return chosen, "mixed-matrix"


def _check_geometry(planes: Sequence[Plane], where: str) -> None:
    first = planes[0].instance
    for plane in planes:
        item = plane.instance
        if item.position is None or len(item.position) != 3 or item.orientation is None or len(item.orientation) != 6:
            raise refused("no-geometry", "states no position in the patient", where)
        if np.abs(np.subtract(item.orientation, first.orientation or ())).max() > ORIENTATION_TOLERANCE:
            raise refused("mixed-orientation", "slices of one file point in different directions", where)
    if not well_oriented(first.orientation):
        raise refused("affine", "the image orientation is not two perpendicular unit vectors", where)
    spacing = first.pixel_spacing
    if spacing is None or len(spacing) != 2 or min(spacing) <= 0:
        raise refused("no-geometry", "states no distance between pixels", where)


def _same_place(planes: Sequence[Plane], along: np.ndarray) -> list[list[Plane]]:
    """Planes gathered by their place along the normal, in the direction of the normal."""
    order = np.argsort(along, kind="stable")
    columns: list[list[Plane]] = []
    last = -math.inf
    for index in order:
        if along[index] - last > SAME_POSITION_MM:
            columns.append([])
            last = float(along[index])
        columns[-1].append(planes[index])
    return columns


def _moment(plane: Plane) -> tuple[int | float | str, ...]:
    """What orders the images of one place in time: temporal position, then the order of acquisition."""
    item = plane.instance
    return (
        item.temporal_position or 0,
        item.instance_number if item.instance_number is not None else math.inf,
        item.acquisition_number or 0,
        item.acquisition_time or "",
        plane.file,
        plane.frame,
    )


def _identity(plane: Plane) -> tuple[object, ...]:
    """Two planes of one place with the same identity are one image sent twice."""
    item = plane.instance
    if plane.frame or item.enhanced:
        return (item.sop_uid, plane.frame)
    return (
        item.instance_number,
        item.acquisition_number,
        item.temporal_position,
        item.b_value,
        item.gradient,
        item.trigger_time,
        item.acquisition_time,
        item.content_time,
    )


def _without_duplicates(columns: list[list[Plane]], repair: Repair, where: str) -> tuple[list[list[Plane]], str]:
    counts = Counter(len(column) for column in columns)
    usual = counts.most_common(1)[0][0]
    repeated = sum(len(column) - len(_unique(column, "first")) for column in columns)
    lone = usual == 1 and len(counts) > 1 and not repeated
    if not repeated and not lone:
        return columns, ""
    if repair.duplicates not in ("first", "last"):
        several = sum(len(column) > 1 for column in columns)
        raise refused("duplicate-slices", f"{several} of {len(columns)} slice positions occur more than once", where)
    kept = [_unique(column, repair.duplicates) for column in columns]
    if lone:
        pick = 0 if repair.duplicates == "first" else -1
        kept = [[sorted(column, key=_moment)[pick]] for column in kept]
    return kept, "duplicate-slices"


def _unique(column: list[Plane], keep: str) -> list[Plane]:
    ordered = sorted(column, key=_moment, reverse=keep == "last")
    seen: dict[object, Plane] = {}
    uids: set[tuple[object, ...]] = set()
    for plane in ordered:
        uid = (plane.instance.sop_uid or plane.file, plane.frame, plane.tile)
        if uid not in uids and _identity(plane) not in seen:
            seen[_identity(plane)] = plane
        uids.add(uid)
    return sorted(seen.values(), key=_moment)


def _contents(plane: Plane) -> tuple[object, ...]:
    """What all slices of one channel must share."""
    item = plane.instance
    return (item.temporal_position, item.b_value, item.gradient, item.echo_time_ms, item.image_type)


def _channels(columns: list[list[Plane]], repair: Repair, where: str) -> tuple[list[list[Plane]], str]:
    """Turn `columns[slice]` into `channels[channel][slice]`, the same contents in every slice of a channel."""
    counts = [len(column) for column in columns]
    ordered = [sorted(column, key=_moment) for column in columns]
    if min(counts) == max(counts) and _consistent(ordered):
        return _transposed(ordered), ""
    by_contents = [sorted(column, key=lambda plane: (repr(_contents(plane)), _moment(plane))) for column in columns]
    if min(counts) == max(counts) and _consistent(by_contents):
        return sorted(_transposed(by_contents), key=lambda channel: min(map(_moment, channel))), ""
    if repair.incomplete != "drop":
        what = (
            f"{min(counts)} to {max(counts)} images at each of {len(counts)} slice positions do not form whole volumes"
        )
        raise refused("incomplete-volume", what, where)
    kept = _common(ordered)
    if not kept or not kept[0]:
        raise refused("incomplete-volume", "no volume is complete", where)
    return _transposed(kept), "incomplete-volume"


def _transposed(columns: list[list[Plane]]) -> list[list[Plane]]:
    return [list(channel) for channel in zip(*columns, strict=True)]


def _consistent(columns: list[list[Plane]]) -> bool:
    return all(
        len({_contents(column[index]) for column in columns}) == 1 for index in range(min(len(c) for c in columns))
    )


def _common(columns: list[list[Plane]]) -> list[list[Plane]]:
    """At every place only the contents that occur equally often at all places, else the first few of each."""
    tallies = [Counter(map(_contents, column)) for column in columns]
    if len(set().union(*tallies)) > 1:
        allowed = {key: min(tally[key] for tally in tallies) for key in tallies[0]}
    else:
        allowed = {next(iter(tallies[0])): min(len(column) for column in columns)}
    kept = []
    for column in columns:
        left = dict(allowed)
        chosen = []
        for plane in column:
            if left.get(_contents(plane), 0) > 0:
                left[_contents(plane)] -= 1
                chosen.append(plane)
        kept.append(chosen)
    return kept if _consistent(kept) else []


def channel_names(channels: list[list[Plane]]) -> tuple[str, ...]:
    """What tells the channels apart, for example `b=1000 s/mm2` or `time 3`; numbered where nothing does."""
    if len(channels) == 1:
        return ()
    items = [channel[0].instance for channel in channels]
    labels = [""] * len(items)
    for name, form in CHANNEL_LABELS:
        values = [getattr(item, name) for item in items]
        if len(set(values)) > 1 and len(set(labels)) < len(labels):
            added = [form(value) if value is not None else f"no {name}" for value in values]
            labels = [f"{label} {word}".strip() for label, word in zip(labels, added, strict=True)]
    if len(set(labels)) == len(labels):
        return tuple(labels)
    return tuple(f"{label} #{number}" if label else f"time {number}" for number, label in enumerate(labels, start=1))
