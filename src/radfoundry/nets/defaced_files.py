"""Faces taken out of the files of a folder: MR heads as NIfTI files or DICOM series, found by the bundled encoder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.data.defacing import HeadPlace, face_mask
from radfoundry.data.dicom_header import read_instance
from radfoundry.data.dicom_pydicom import PARSE_ERRORS, silence
from radfoundry.data.dicom_series import group_instances, load_series
from radfoundry.data.nifti import read_nifti
from radfoundry.data.sources import Source
from radfoundry.nets.head_places import locate
from radfoundry.records import InputError
from radfoundry.volume import Volume

FEWEST_SLICES = 8
DEFACED, NO_HEAD, NOT_LOOKED_AT = "defaced", "no head found", "not looked at"


def deface_all(images: Path, encoder: Any, *, progress: Callable[[str, int, int], None] | None = None) -> Counter[str]:
    """Take the face out of every MR head below a folder, in place; counts of series by what was done.

    Single-frame uncompressed DICOM series and NIfTI files of at least 8 slices are looked at; all others (CT,
    multi-frame, compressed, sidecars, pictures) are counted as not looked at. A series defaced twice stays the same.
    """
    counts: Counter[str] = Counter()
    for path in _units(images):
        try:
            with silence():
                done = _deface_series(path, encoder) if path.is_dir() else _deface_nifti(path, encoder)
        except (InputError, *PARSE_ERRORS):
            done = NOT_LOOKED_AT
        counts[done] += 1
        if progress:
            progress("deface", sum(counts.values()), 0)
    return counts


def _units(folder: Path) -> Iterator[Path]:
    """NIfTI files, and folders that hold DICOM files."""
    entries = sorted(folder.iterdir())
    if any(entry.name.endswith(".dcm") for entry in entries):
        yield folder
    for entry in entries:
        if entry.is_dir():
            yield from _units(entry)
        elif entry.name.endswith((".nii", ".nii.gz")):
            yield entry


def _found(volume: Volume, encoder: Any) -> HeadPlace | None:
    if min(volume.array.shape[1:]) < FEWEST_SLICES:
        return None
    place = locate(volume, encoder)
    return place if place.is_head else None


def _deface_nifti(path: Path, encoder: Any) -> str:
    import nibabel

    place = _found(read_nifti(path).volume, encoder)
    if place is None:
        return NO_HEAD
    image: Any = nibabel.load(path)
    raw = np.array(image.dataobj.get_unscaled())
    mask = face_mask((raw.shape[0], raw.shape[1], raw.shape[2]), np.asarray(image.affine, float), place)
    raw[mask] = raw.min()
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    _write_nifti(path, partial, raw)
    partial.replace(path)
    return DEFACED


def _write_nifti(path: Path, partial: Path, raw: np.ndarray) -> None:
    """The same header bytes with other voxels."""
    import gzip

    data = path.read_bytes()
    packed = data[:2] == b"\x1f\x8b"
    plain = gzip.decompress(data) if packed else data
    voxels = raw.tobytes(order="F")
    made = plain[: len(plain) - len(voxels)] + voxels
    partial.write_bytes(gzip.compress(made, 4, mtime=0) if packed else made)


def _deface_series(folder: Path, encoder: Any) -> str:
    instances = [read_instance(Source(str(path))) for path in sorted(folder.glob("*.dcm"))]
    groups = [group for group in group_instances(instances) if group[0].modality == "MR"]
    if not groups or any(item.enhanced or item.mosaic for item in instances):
        return NOT_LOOKED_AT
    done = NO_HEAD
    for group in groups:
        if len(group) < FEWEST_SLICES:
            continue
        place = _found(load_series(group).volume, encoder)
        if place is not None:
            for item in group:
                _deface_slice(Path(item.path), place)
            done = DEFACED
    return done


def _deface_slice(path: Path, place: HeadPlace) -> None:
    import pydicom

    dataset = pydicom.dcmread(path)
    along, down = (np.array(dataset.ImageOrientationPatient[part], float) for part in (slice(0, 3), slice(3, 6)))
    spacing = [float(value) for value in dataset.PixelSpacing]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along * spacing[1], down * spacing[0]
    affine[:3, 2], affine[:3, 3] = np.cross(along, down), np.array(dataset.ImagePositionPatient, float)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    mask = face_mask((int(dataset.Columns), int(dataset.Rows), 1), affine, place)[:, :, 0].T
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        raise InputError("a compressed image cannot be defaced", finding="transfer-syntax")
    kind = np.dtype(f"{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}")
    pixels = np.frombuffer(dataset.PixelData, kind)[: mask.size].reshape(mask.shape).copy()
    pixels[mask] = pixels.min()
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    dataset.RecognizableVisualFeatures = "NO"
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    dataset.save_as(partial)
    partial.replace(path)
