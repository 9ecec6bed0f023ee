"""Masks as DICOM segmentation objects that refer to the images they were drawn on; needs the `dicom` extra."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from radfoundry.data.masks import Labels
from radfoundry.records import InputError
from radfoundry.runs import atomic
from radfoundry.volume import Volume, points_to_voxels

TAGS = (
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
)
NEAR = 0.02  # voxels
# What a patient's image must state (empty where not known), and de-identified files often leave out.
EMPTY_ALLOWED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
NEEDED = ("StudyInstanceUID", "FrameOfReferenceUID")
TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Slice:
    """One DICOM image: its file and where the centre of each pixel lies, as RAS mm = corner + row, column steps."""

    path: Path
    corner_mm: tuple[float, ...]
    row_step_mm: tuple[float, ...]
    column_step_mm: tuple[float, ...]
    rows: int
    columns: int


def available() -> bool:
    """Whether the library that writes segmentation objects is installed."""
    try:
        metadata.version("highdicom")
    except metadata.PackageNotFoundError:
        return False
    return True


def slices_in(paths: Sequence[str | Path]) -> dict[str, list[Slice]]:
    """The single-frame DICOM images below some paths, by series; other files are passed over."""
    found: dict[str, list[Slice]] = {}
    files = [file for path in paths for file in _files(Path(path))]
    for file in files:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
        except (InvalidDicomError, OSError):
            continue
        made = _slice(file, header)
        if made is not None:
            found.setdefault(str(header.SeriesInstanceUID), []).append(made)
    return found


def _files(path: Path) -> list[Path]:
    return sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]


def _slice(file: Path, header: Any) -> Slice | None:
    if any(name not in header for name in TAGS[:-1]) or int(header.get("NumberOfFrames", 1) or 1) > 1:
        return None
    directions = np.array([float(value) for value in header.ImageOrientationPatient]).reshape(2, 3) @ TO_RAS
    down, across = (float(value) for value in header.PixelSpacing)
    corner = np.array([float(value) for value in header.ImagePositionPatient]) @ TO_RAS
    # The first direction is that of a row, along which the column number grows.
    return Slice(
        file,
        tuple(corner.tolist()),
        tuple((directions[1] * down).tolist()),
        tuple((directions[0] * across).tolist()),
        int(header.Rows),
        int(header.Columns),
    )


def places(image: Slice, volume: Volume) -> np.ndarray | None:
    """(rows, columns, 3) voxel numbers of every pixel of a slice in a volume, or None where it is not part of it."""
    steps = np.array([image.row_step_mm, image.column_step_mm])
    corners = np.array([[0, 0], [image.rows - 1, 0], [0, image.columns - 1], [image.rows - 1, image.columns - 1]])
    ends = points_to_voxels(volume.affine, np.array(image.corner_mm) + corners @ steps)
    inside = (ends > -NEAR).all() and (ends < np.array(volume.shape) - 1 + NEAR).all()
    if not inside or np.abs(ends - np.rint(ends)).max() > NEAR:
        return None
    spots = np.stack(np.meshgrid(np.arange(image.rows), np.arange(image.columns), indexing="ij"), axis=-1)
    found = points_to_voxels(volume.affine, np.array(image.corner_mm) + spots.reshape(-1, 2) @ steps)
    return np.rint(found).astype(int).reshape(image.rows, image.columns, 3)


def source_of(volume: Volume, groups: Mapping[str, Sequence[Slice]]) -> list[Slice]:
    """The DICOM series that a volume was read from: same grid and same grey values; empty where there is none."""
    voxels = int(np.prod(volume.shape))
    for group in groups.values():
        if sum(item.rows * item.columns for item in group) != voxels:
            continue
        spots = places(group[len(group) // 2], volume)
        if spots is None or any(places(item, volume) is None for item in (group[0], group[-1])):
            continue
        seen = pydicom.dcmread(group[len(group) // 2].path)
        values = seen.pixel_array * float(seen.get("RescaleSlope", 1)) + float(seen.get("RescaleIntercept", 0))
        own = volume.array[0][tuple(spots.reshape(-1, 3).T)].reshape(values.shape[:2])
        if values.ndim == 2 and np.allclose(values, own, atol=1e-2 * max(1.0, float(np.abs(own).max()))):
            return list(group)
    return []


def write_segmentation(
    classes: np.ndarray, volume: Volume, source: Sequence[Slice], labels: Labels, path: Path, *, model: str
) -> None:
    """Write classes (I, J, K) as a DICOM segmentation of the series `source`; it is read back and compared.

    One binary segment a label, each named as the label. Patient and study are those of the images, as DICOM demands:
    the file is as identifying as they are. Refuses to write without the `dicom` extra, an empty mask, and a series
    that does not fill the volume.
    """
    if not available():
        raise InputError(
            "highdicom is not installed", where=path.name, remedy="pip install radfoundry[dicom]", finding="extra"
        )
    if not classes.any():
        raise InputError("the mask is empty", where=path.name, finding="empty-mask")
    frames = _frames(classes, volume, source, path.name)
    images = [_completed(pydicom.dcmread(item.path), path.name) for item in source]
    made = _segmentation(frames, images, labels, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as partial:
        made.save_as(partial)
    again = read_segmentation(path, volume, source, labels)
    if not np.array_equal(again, classes):
        path.unlink()
        raise InputError("it did not read back as it was written", where=path.name, finding="dicom-seg")


def _completed(image: Any, where: str) -> Any:
    """An image with the attributes of its patient and study that may be empty but must be there."""
    lacking = next((name for name in NEEDED if not image.get(name)), None)
    if lacking:
        raise InputError(f"the images state no {lacking}", where=where, finding="dicom-seg")
    for name in EMPTY_ALLOWED:
        if name not in image:
            setattr(image, name, "")
    return image


def _frames(classes: np.ndarray, volume: Volume, source: Sequence[Slice], where: str) -> np.ndarray:
    """(slices, rows, columns) classes in the order of the source images."""
    frames = []
    filled = np.zeros(classes.shape, bool)
    for item in source:
        spots = places(item, volume)
        if spots is None:
            raise InputError(f"{item.path.name} lies outside the volume", where=where, finding="geometry")
        index = tuple(spots.reshape(-1, 3).T)
        frames.append(classes[index].reshape(item.rows, item.columns))
        filled[index] = True
    if not filled.all():
        raise InputError("the series does not fill the volume", where=where, finding="geometry")
    return np.stack(frames).astype(np.uint8)


def _segmentation(frames: np.ndarray, images: list[Any], labels: Labels, model: str) -> Any:
    highdicom, seg = (importlib.import_module(name) for name in ("highdicom", "highdicom.seg"))
    from pydicom.sr.codedict import codes

    version = metadata.version("radfoundry")
    how = highdicom.AlgorithmIdentificationSequence(
        name=model[:60], version=version, family=codes.DCM.ArtificialIntelligence
    )
    segments = [
        seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.AnatomicalStructure,
            algorithm_type=seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=how,
        )
        for number, name in enumerate(labels, start=1)
        if (frames == number).any()
    ]
    # Segments are numbered without gaps; a structure that was not found has no segment.
    table = np.zeros(len(labels) + 1, np.uint8)
    for number, segment in enumerate(segments, start=1):
        table[int(segment.SegmentNumber)] = number
        segment.SegmentNumber = number
    return seg.Segmentation(
        source_images=images,
        pixel_array=table[frames],
        segmentation_type=seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=highdicom.UID(),
        series_number=int(images[0].get("SeriesNumber", 0) or 0) + 1000,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="radfoundry",
        manufacturer_model_name=model[:60],
        software_versions=version,
        device_serial_number="0",
        series_description=f"radfoundry: {', '.join(labels)}"[:64],
    )


def read_segmentation(path: Path, volume: Volume, source: Sequence[Slice], labels: Labels | None = None) -> np.ndarray:
    """The classes (I, J, K) of a DICOM segmentation on the grid of the volume that `source` makes up.

    Written by hand on the frames' references, not by the library that wrote them. With `labels` the segments are
    numbered by their names, else in their own order.
    """
    read = pydicom.dcmread(path)
    names = {int(item.SegmentNumber): str(item.SegmentLabel) for item in read.SegmentSequence}
    numbers = {number: number for number in names}
    if labels is not None:
        order = [name[:64] for name in labels]
        numbers = {number: order.index(name) + 1 for number, name in names.items()}
    by_instance = {str(pydicom.dcmread(item.path, stop_before_pixels=True).SOPInstanceUID): item for item in source}
    classes = np.zeros(volume.shape, np.uint8)
    pixels = np.atleast_3d(read.pixel_array) if int(read.NumberOfFrames) > 1 else read.pixel_array[None]
    for frame, about in zip(pixels, read.PerFrameFunctionalGroupsSequence, strict=True):
        reference = _group(read, about, "DerivationImageSequence").SourceImageSequence[0].ReferencedSOPInstanceUID
        number = numbers[int(_group(read, about, "SegmentIdentificationSequence").ReferencedSegmentNumber)]
        spots = places(by_instance[str(reference)], volume)
        if spots is None:
            raise InputError("a frame lies outside the volume", where=path.name, finding="geometry")
        classes[tuple(spots[frame > 0].T)] = number
    return classes


def _group(read: Any, frame: Any, name: str) -> Any:
    """A functional group of a frame; what all frames share is written once for all of them."""
    return (frame if name in frame else read.SharedFunctionalGroupsSequence[0])[name][0]
