"""DICOM files gathered into series, and a series read as one volume with its place in the patient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from radfoundry.data.dicom_enhanced import frames_of
from radfoundry.data.dicom_header import Instance, acquisition, refused
from radfoundry.data.dicom_mosaic import tiles_of
from radfoundry.data.dicom_pixels import (
    PROJECTIONS,
    fitting_type,
    inverted,
    modality_table,
    stored_pixels,
    windowed,
)
from radfoundry.data.dicom_pydicom import read_dataset
from radfoundry.data.dicom_stack import ORIENTATION_TOLERANCE, Plane, Stack, stack
from radfoundry.data.reading import ReadSeries, Repair
from radfoundry.data.sources import open_source
from radfoundry.records import Acquisition, InputError
from radfoundry.volume import Volume

NO_REPAIR = Repair()
CROSS_SECTIONS = frozenset(("MR", "CT", "PT", "NM"))
QUANTITATIVE = frozenset(("CT", "PT"))


def group_instances(instances: Iterable[Instance]) -> list[tuple[Instance, ...]]:
    """Files that belong to one image series each, in a fixed order.

    Split by SeriesInstanceUID and then by slice orientation, echo, image type (magnitude, phase, localiser …)
    and kind of pixel. Time points and b-values stay together: they become channels. Projection images and
    other images without a place in the patient are a series each.
    """
    groups: dict[tuple[Any, ...], list[list[Instance]]] = {}
    for instance in sorted(instances, key=_order):
        key: tuple[Any, ...] = (
            instance.study_uid or "",
            instance.series_uid or instance.path,
            instance.modality or "",
            instance.photometric or "",
            instance.samples,
            instance.image_type or (),
            instance.echo_number or 0,
            round(instance.echo_time_ms or 0.0, 3),
            instance.enhanced,
            instance.mosaic,
        )
        if instance.position is None or instance.orientation is None or instance.modality in PROJECTIONS:
            key = (*key, instance.path, instance.member)
        _place(groups.setdefault(key, []), instance)
    return [tuple(group) for clusters in groups.values() for group in clusters]


def _order(instance: Instance) -> tuple[Any, ...]:
    return (
        instance.study_uid or "",
        instance.series_number if instance.series_number is not None else -1,
        instance.series_uid or "",
        instance.instance_number if instance.instance_number is not None else -1,
        instance.path,
        instance.member,
    )


def _place(clusters: list[list[Instance]], instance: Instance) -> None:
    """Put an instance beside those of the same orientation (within the tolerance)."""
    for cluster in clusters:
        first = cluster[0].orientation
        if first is None or instance.orientation is None or len(first) != len(instance.orientation):
            same = first == instance.orientation
        else:
            same = max(abs(a - b) for a, b in zip(first, instance.orientation, strict=True)) <= ORIENTATION_TOLERANCE
        if same:
            cluster.append(instance)
            return
    clusters.append([instance])


def load_series(
    instances: Sequence[Instance], *, repair: Repair = NO_REPAIR, keep_text: bool = False, window: bool = False
) -> ReadSeries:
    """One group of `group_instances` as a volume (C, I, J, K) in RAS mm.

    I runs along the rows of the stored image, J along its columns, K along the slices in the direction of the
    right-hand normal; nothing is flipped or reoriented, the affine says where every voxel lies. C holds time
    points, b-values or red, green and blue, named in `channels`. Values are the header's: rescaled (HU for CT),
    MONOCHROME1 turned bright-for-dark except where numbers have a unit (CT, PET), `window=True` applies the display
    window of projection images. An irregular series is refused by a name in FINDINGS unless `repair` says what to do.
    """
    if not instances:
        raise InputError("no files to read", finding="empty-folder", remedy="give at least one file")
    first = instances[0]
    where = f"series of {first.source}"
    if len(instances) == 1 and is_flat(first):
        return _flat(first, repair=repair, keep_text=keep_text, window=window)
    planes = [plane for index, instance in enumerate(instances) for plane in _expand(instance, index)]
    ordered = stack(planes, repair, where)
    if len(ordered.offsets) < repair.minimum_slices:
        told = f"{len(ordered.offsets)} slices, fewer than {repair.minimum_slices}"
        raise refused("too-few-slices", told, where)
    array, channels = _named(_filled(ordered, list(instances), where), ordered)
    _refuse_repeats(ordered, array, repair, where)
    array, mended = finite(array, repair, where)
    volume = _mended(Volume(array, ordered.affine, _units(ordered.planes[0][0].instance), channels), ordered)
    return ReadSeries(volume, _stated(ordered, keep_text), (*ordered.repairs, *mended))


def _expand(instance: Instance, index: int) -> list[Plane]:
    """The planes of one file: one, or one per frame of an enhanced file, or one per tile of a mosaic."""
    if not instance.enhanced and not instance.mosaic:
        return [Plane(instance, index, frame) for frame in range(instance.frames)]
    with open_source(instance.source) as stream:
        dataset = read_dataset(stream, instance.source)
    if instance.mosaic:
        return [Plane(tile, index, 0, number) for number, tile in enumerate(tiles_of(instance, dataset))]
    return [Plane(frame, index, number) for number, frame in enumerate(frames_of(instance, dataset))]


def is_flat(first: Instance) -> bool:
    """Whether a file is a picture (or film) without a place in the patient: projections, captures, ultrasound."""
    if first.enhanced or first.mosaic:
        return False
    return first.modality in PROJECTIONS or first.position is None or first.orientation is None or first.frames > 1


def _values(instance: Instance, *, keep_stored: bool = False) -> tuple[np.ndarray, Any]:
    """Pixels of one file (frames, rows, columns[, 3]) before rescaling, MONOCHROME1 already turned."""
    with open_source(instance.source) as stream:
        pixels, dataset = stored_pixels(instance, stream)
        if keep_stored and dataset is None:
            dataset = read_dataset(stream, instance.source)
    if instance.photometric == "MONOCHROME1" and instance.modality not in QUANTITATIVE:
        pixels = inverted(pixels, instance)
    return pixels, dataset


def rescaled(pixels: np.ndarray, instance: Instance, kind: np.dtype) -> np.ndarray:
    """Stored numbers times slope plus intercept, in the given type."""
    slope, intercept = _rescale(instance)
    if slope == 1 and intercept == 0:
        return pixels.astype(kind, copy=False)
    wide = np.float64 if kind.kind == "f" else np.int64
    with np.errstate(over="ignore", invalid="ignore"):  # a slope beyond float32 gives voxels that are refused later
        return (pixels.astype(wide) * wide(slope) + wide(intercept)).astype(kind)


def _rescale(instance: Instance) -> tuple[float, float]:
    slope = instance.rescale_slope
    return (1.0 if slope is None or slope == 0 else slope), instance.rescale_intercept or 0.0


def _filled(ordered: Stack, files: list[Instance], where: str) -> np.ndarray:
    """All planes in one array (C, I, J, K) or (C, I, J, K, 3) for colour; every file is opened once."""
    places: dict[int, list[tuple[int, int, Plane]]] = {}
    for channel, planes in enumerate(ordered.planes):
        for index, plane in enumerate(planes):
            places.setdefault(plane.file, []).append((channel, index, plane))
    array: np.ndarray | None = None
    item = ordered.planes[0][0].instance
    grid = (len(ordered.planes), item.columns, item.rows, len(ordered.planes[0]))
    for number, wanted in places.items():
        pixels, _ = _values(files[number])
        for channel, index, plane in wanted:
            picture = _picture(pixels, plane, files[number])
            kind = fitting_type(picture, *_rescale(plane.instance))
            picture = np.swapaxes(rescaled(picture, plane.instance, kind), 0, 1)
            if array is None:
                array = np.empty((*grid, *picture.shape[2:]), dtype=kind)
            if picture.shape != array.shape[1:3] + array.shape[4:]:
                raise refused("mixed-matrix", "slices differ in their number of colours", where)
            if kind != array.dtype:
                array = array.astype(np.promote_types(kind, array.dtype))
            array[:, :, :, index][channel] = picture
    if array is None:
        raise refused("empty-axis", "holds no slices", where)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _picture(pixels: np.ndarray, plane: Plane, file: Instance) -> np.ndarray:
    """The pixels of one plane: a frame, or the tile of a mosaic."""
    rows, columns = plane.instance.rows, plane.instance.columns
    if not file.mosaic:
        return pixels[plane.frame]
    row, column = divmod(plane.tile, file.columns // columns)
    return pixels[0, row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]


def _named(array: np.ndarray, ordered: Stack) -> tuple[np.ndarray, tuple[str, ...]]:
    if array.ndim == 4:
        return array, ordered.channels
    colours = ("red", "green", "blue")
    names = [f"{name} {colour}".strip() for name in ordered.channels or ("",) for colour in colours]
    return np.moveaxis(array, -1, 1).reshape(-1, *array.shape[1:4]), tuple(names)


def _refuse_repeats(ordered: Stack, array: np.ndarray, repair: Repair, where: str) -> None:
    """Volumes that nothing tells apart and whose voxels are equal are one volume sent twice, not time points."""
    if len(ordered.planes) != 2 or not ordered.channels[0].startswith("time") or len(array) != 2:
        return
    if repair.duplicates == "refuse" and array[0].size > 1 and np.array_equal(array[0], array[1]) and np.ptp(array):
        raise refused("duplicate-slices", "all slices occur twice with the same pixels", where)


def _units(item: Instance) -> str:
    if item.modality == "CT" and item.rescale_slope is not None and item.rescale_type in (None, "HU"):
        return "HU"
    return "arbitrary"


def _mended(volume: Volume, ordered: Stack) -> Volume:
    from radfoundry.data.dicom_repair import resampled_slices, straightened

    if not np.array_equal(ordered.offsets, np.arange(len(ordered.offsets))):
        volume = resampled_slices(volume, ordered.offsets)
    return straightened(volume, ordered.tilt_mm) if ordered.tilt_mm.any() else volume


def finite(array: np.ndarray, repair: Repair, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The array when all its voxels are numbers; others are refused, or become 0 when told so."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array, ()
    if repair.nan != "zero":
        raise refused("nan-voxels", "some voxels are not finite numbers", where)
    return np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0), ("nan-voxels",)


def _stated(ordered: Stack, keep_text: bool) -> Acquisition:
    """The acquisition of a series: what its first slice says, with the largest b-value of all channels."""
    items = [channel[0].instance for channel in ordered.planes]
    b_values = [item.b_value for item in items if item.b_value is not None]
    echoes = {item.echo_time_ms for item in items}
    item = replace(
        items[0],
        b_value=max(b_values) if b_values else None,
        echo_time_ms=items[0].echo_time_ms if len(echoes) == 1 else None,
    )
    return acquisition(item, keep_text=keep_text)


def _flat(first: Instance, *, repair: Repair, keep_text: bool, window: bool) -> ReadSeries:
    """A picture or film: K = 1, frames and colours as channels."""
    where = str(first.source)
    affine, repairs = flat_affine(first, repair, where)
    projection = first.modality in PROJECTIONS
    pixels, dataset = _values(first, keep_stored=projection)
    if projection and dataset is not None and "ModalityLUTSequence" in dataset:
        pixels = modality_table(pixels, dataset, where)
    else:
        pixels = rescaled(pixels, first, fitting_type(pixels, *_rescale(first)))
    if window and projection and dataset is not None:
        pixels = windowed(pixels, dataset, where)
    pixels, mended = finite(pixels.astype(np.float32) if pixels.dtype == np.float64 else pixels, repair, where)
    array = np.swapaxes(pixels, 1, 2)
    names = tuple(f"frame {index + 1}" for index in range(len(array))) if len(array) > 1 else ()
    if array.ndim == 4:
        array = np.moveaxis(array, -1, 1).reshape(-1, *array.shape[1:3])
        names = tuple(f"{n} {c}".strip() for n in names or ("",) for c in ("red", "green", "blue"))
    volume = Volume(np.ascontiguousarray(array[..., None]), affine, _units(first), names)
    return ReadSeries(volume, acquisition(first, keep_text=keep_text), (*repairs, *mended))


def flat_affine(first: Instance, repair: Repair, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Where a picture lies: its pixel spacing, and the directions its header names (else left and posterior).

    A cross-section that does not say where it lies, or a multi-frame one without functional groups, is refused
    unless told to be a mere picture.
    """
    if first.modality in CROSS_SECTIONS and repair.geometry != "image":
        what = "frames without their places" if first.frames > 1 else "a slice without a position in the patient"
        raise refused("no-geometry", f"holds {what}", where)
    directions = {"L": (-1, 0, 0), "R": (1, 0, 0), "P": (0, -1, 0), "A": (0, 1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
    named = [directions.get(word[:1]) for word in first.patient_orientation or ()]
    axes = [np.array(axis, dtype=float) for axis in named if axis is not None]
    if len(axes) != 2 or np.dot(axes[0], axes[1]) != 0:
        axes = [np.array([-1.0, 0, 0]), np.array([0, -1.0, 0])]
    spacing = first.pixel_spacing or first.imager_pixel_spacing
    repairs = ("no-geometry",) if first.modality in CROSS_SECTIONS else ()
    if spacing is None or len(spacing) != 2 or min(spacing) <= 0:
        if repair.geometry != "image":
            raise refused("no-geometry", "states no distance between pixels", where)
        spacing, repairs = (1.0, 1.0), ("no-geometry",)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = axes[0] * spacing[1], axes[1] * spacing[0]
    affine[:3, 2] = np.cross(axes[0], axes[1])
    return affine, repairs
