"""Reading and writing NIfTI-1 and NIfTI-2: plain, gzipped, and as a pair of header and image file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip

from radfoundry.data.nifti_header import (
    DTYPES,
    SIZES,
    UNITS_NOTE,
    VOXELS,
    NiftiHeader,
    parse_header,
    placement,
    quaternion_of,
)
from radfoundry.data.reading import ReadSeries, Repair
from radfoundry.data.streams import Readable, beside, name_of, opened, read_head, read_payload, shown
from radfoundry.data.voxels import COLOURS, finite_voxels
from radfoundry.records import Acquisition, InputError
from radfoundry.runs import atomic
from radfoundry.volume import Volume

CODES = {name: code for code, (name, values) in VOXELS.items() if values == 1}
LARGEST_NIFTI1_AXIS = 32767
IMAGE_SUFFIXES = {".hdr": (".img", ".img.gz"), ".hdr.gz": (".img.gz", ".img")}


def read_nifti_header(source: Readable) -> NiftiHeader:
    """What the header of a NIfTI file states, without reading the voxels.

    `source` is a path, a place in an archive or the file's bytes. Refuses what is not NIfTI.
    """
    where = shown(source)
    with opened(source) as stream:
        return parse_header(read_head(stream, max(SIZES.values()), where=where), where=where)


def read_nifti(source: Readable, *, repair: Repair | None = None) -> ReadSeries:
    """A NIfTI image with its place in the patient: voxels `(C, I, J, K)`, affine to RAS mm.

    `source` is a path (`.nii`, `.nii.gz`, `.hdr` with its `.img` beside it), a place in an archive, or
    the bytes of a single file. Time points or colours become channels. Whole-number voxels keep their
    type unless the header scales them; other scalings give float32. A stated unit of metres or
    micrometres is turned into mm; no stated unit reads as mm. Refused by name: complex and 128-bit
    voxels, files shorter than their header says, damaged gzip data, an image placed by neither sform
    nor qform or by two that contradict each other, and NaN or infinite voxels. See
    `docs/reading-nifti.md` for the rules.

    >>> image = Volume.of(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([1.0, 1.0, 3.0, 1.0]))
    >>> write_nifti(image, "/tmp/radfoundry-doctest.nii.gz")
    >>> read_nifti("/tmp/radfoundry-doctest.nii.gz").volume.spacing_mm
    (1.0, 1.0, 3.0)
    """
    repair = repair or Repair()
    where = shown(source)
    header = read_nifti_header(source)
    affine, repairs = placement(header, repair)
    pixels = image_file(source) if header.two_files else source
    with opened(pixels) as stream:
        raw = read_payload(stream, header.offset, header.payload_bytes, where=shown(pixels))
    array, mended = finite_voxels(_scaled(_arranged(raw, header), header), repair, where=where)
    channels = COLOURS[: header.colours]
    volume = Volume(array, affine, header.units, channels)
    return ReadSeries(volume, Acquisition(), (*repairs, *mended))


def image_file(source: Readable) -> Readable:
    """The `.img` that belongs to a `.hdr`; refused when it is not there."""
    name = name_of(source)
    for suffix, candidates in IMAGE_SUFFIXES.items():
        if name.lower().endswith(suffix):
            stem = name[: -len(suffix)]
            for candidate in candidates:
                pixels = beside(source, stem + candidate)
                try:
                    with opened(pixels):
                        return pixels
                except InputError as error:
                    if error.finding != "missing-file":
                        raise
    raise InputError(
        "the image file of this header is not beside it",
        where=shown(source),
        remedy="put the .img next to the .hdr, under the same name",
        finding="no-pixels",
    )


def _arranged(raw: np.ndarray, header: NiftiHeader) -> np.ndarray:
    channels, i, j, k = header.shape
    values = raw.view(header.dtype)
    if not header.dtype.isnative:
        values = values.byteswap(inplace=True).view(header.dtype.newbyteorder("="))
    if header.colours:
        return values.reshape(k, j, i, channels).transpose(3, 2, 1, 0)
    return values.reshape(channels, k, j, i).transpose(0, 3, 2, 1)


def _scaled(array: np.ndarray, header: NiftiHeader) -> np.ndarray:
    slope, intercept = header.slope, header.intercept
    if (slope, intercept) == (1.0, 0.0) or header.colours:
        return array
    if slope == 1.0 and intercept == round(intercept) and array.dtype.kind in "iu" and array.dtype.itemsize <= 2:
        low, high = int(array.min()) + int(intercept), int(array.max()) + int(intercept)
        for kind in (np.int16, np.int32):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return (array.astype(np.int32) + int(intercept)).astype(kind)
    exact_in_single = array.dtype.itemsize <= 2 or array.dtype == np.float32
    kind = np.dtype(np.float32 if exact_in_single else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found by the check for infinity
        result = np.multiply(array, slope, dtype=kind)
        result += kind.type(intercept)
    return result


def write_nifti(volume: Volume, path: str | Path) -> None:
    """Write an image as NIfTI (`.nii` or `.nii.gz`), whole or not at all; the same image gives the same bytes.

    The affine goes into the sform, and into the qform too when its axes are at right angles. Channels
    become the fourth axis, red-green-blue bytes a colour image. An axis above 32767 voxels makes it
    NIfTI-2. Refuses other file names and voxel types that NIfTI does not have.
    """
    target = Path(path)
    if not target.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError("NIfTI files end in .nii or .nii.gz", where=str(path), remedy="rename it", finding="suffix")
    array = _storable(volume.array, str(path))
    colours = volume.channels == COLOURS[:3] and array.dtype == np.uint8
    header = _header_bytes(volume, array, colours=colours)
    voxels = np.ascontiguousarray(array.transpose((3, 2, 1, 0) if colours else (0, 3, 2, 1)))
    data = header + bytes(4) + voxels.tobytes()
    if target.name.lower().endswith(".gz"):
        data = igzip.compress(data, 2, mtime=0)
    with atomic(target) as partial:
        partial.write_bytes(data)


def _storable(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.newbyteorder("=").str[1:] not in CODES:
        raise InputError(f"NIfTI has no voxels of type {array.dtype}", where=where, remedy="convert them to float32")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _header_bytes(volume: Volume, array: np.ndarray, *, colours: bool) -> bytes:
    channels, i, j, k = array.shape
    version = 2 if max(array.shape) > LARGEST_NIFTI1_AXIS else 1
    record: Any = np.zeros((), DTYPES[version].newbyteorder("<"))
    several = channels > 1 and not colours
    record["sizeof_hdr"] = SIZES[version]
    record["dim"] = [4 if several else 3, i, j, k, channels if several else 1, 1, 1, 1]
    record["datatype"] = 128 if colours else CODES[array.dtype.str[1:]]
    record["bitpix"] = 24 if colours else 8 * array.dtype.itemsize
    record["vox_offset"] = SIZES[version] + 4
    record["slope"] = 1.0
    record["xyzt_units"] = 2
    if volume.units != "arbitrary":
        record["descrip"] = (UNITS_NOTE + volume.units).encode("ascii", errors="replace")[:79]
    record["magic"] = b"n+1" if version == 1 else b"n+2\0\r\n\x1a\n"
    _place(record, volume)
    return record.tobytes()


def _place(record: Any, volume: Volume) -> None:
    steps = np.array(volume.spacing_mm)
    rotation = volume.affine[:3, :3] / steps
    record["sform_code"] = 1
    record["srow"] = volume.affine[:3]
    mirrored = bool(np.linalg.det(rotation) < 0)
    record["pixdim"] = [-1.0 if mirrored else 1.0, *steps, 1.0, 1.0, 1.0, 1.0]
    if np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-5):
        record["qform_code"] = 1
        _, *record["quaternion"] = quaternion_of(rotation * [1, 1, -1 if mirrored else 1])
        record["qoffset"] = volume.affine[:3, 3]
