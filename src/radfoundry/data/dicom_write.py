"""Volumes written as DICOM: valid single-frame MR, CT, film and ultrasound files, or one enhanced multi-frame file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from radfoundry.data.dicom_encode import element, encoded, file_bytes
from radfoundry.data.dicom_identity import Identity, uid
from radfoundry.data.dicom_numbers import Quantised, as_hounsfield, as_picture, decimal, quantisation_error, quantised
from radfoundry.data.dicom_write_header import (
    PICTURES,
    SliceGeometry,
    b_value_of,
    header,
    place,
    put_pixels,
    slice_geometry,
)
from radfoundry.records import Acquisition, InputError
from radfoundry.volume import Volume

COLOURS = ("red", "green", "blue")

__all__ = ["Identity", "decimal", "quantisation_error", "quantised", "uid", "write_series"]


def write_series(
    volume: Volume,
    folder: str | Path,
    *,
    acquisition: Acquisition,
    identity: Identity,
    enhanced: bool = False,
    prefix: str = "",
) -> list[Path]:
    """Write a volume as DICOM files `PREFIX0001.dcm` …, one per slice and channel, explicit little endian.

    The third axis becomes the slices; three channels named red, green, blue become colour; other channels become
    temporal positions, and b-values where they are named `b=… s/mm2`. Values are stored in 16 bits with slope and
    intercept where needed. Films and ultrasound (DX, CR, MG, US) are stored unsigned in 8 or 12 to 16 bits, dark for
    bright where the acquisition says MONOCHROME1: the volume's values are always larger where the picture is brighter
    when shown, and come back so. The same input gives the same bytes. Refuses volumes whose axes are not perpendicular,
    voxels that are not finite, and files that exist. `enhanced` writes one multi-frame file (MR and CT).
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    identity = identity.with_uids()
    geometry = slice_geometry(volume)
    if enhanced:
        from radfoundry.data.dicom_write_enhanced import enhanced_dataset

        dataset = enhanced_dataset(volume, geometry, acquisition, identity)
        files = iter([file_bytes(encoded(dataset.file_meta), encoded(dataset), str(dataset.SOPInstanceUID))])
    else:
        files = _instances(volume, geometry, acquisition, identity)
    paths = []
    for number, data in enumerate(files, start=1):
        path = target / f"{prefix}{number:04d}.dcm"
        _save(data, path)
        paths.append(path)
    return paths


def _save(data: bytes, path: Path) -> None:
    """Whole or not at all; not forced to the disk, since a slice can be written again."""
    if path.exists():
        raise InputError("already exists", where=str(path), remedy="choose another folder", finding="exists")
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _stored(volume: Volume, acquired: Acquisition) -> tuple[np.ndarray, Quantised]:
    """Pixels as (files, slices, rows, columns[, 3]) and how they were quantised."""
    if volume.channels != COLOURS:
        picture = acquired.modality in PICTURES
        quantity = quantised(volume.array, unsigned=picture)
        if picture:
            quantity = as_picture(quantity, mirrored=acquired.photometric == "MONOCHROME1")
        elif acquired.modality == "CT":
            quantity = as_hounsfield(quantity)
        return np.transpose(quantity.stored, (0, 3, 2, 1)), quantity
    stored = volume.array.astype(np.uint8)
    if not np.array_equal(stored, volume.array):
        raise InputError("colours must be whole numbers from 0 to 255", finding="shape")
    return np.transpose(stored, (3, 2, 1, 0))[None], Quantised(stored, 1.0, 0.0, 0.0)


def _instances(volume: Volume, geometry: SliceGeometry, acquired: Acquisition, identity: Identity) -> Iterator[bytes]:
    """The bytes of each file; the header that all slices share is encoded once."""
    pixels, quantity = _stored(volume, acquired)
    template = header(acquired, identity, number=1)
    place(template, geometry, acquired)
    put_pixels(template, pixels[0, :1], quantity, colour=volume.channels == COLOURS)
    if pixels.shape[0] > 1:
        template.NumberOfTemporalPositions = str(pixels.shape[0])
    meta, shared = encoded(template.file_meta), encoded(template)
    number = 0
    for channel in range(pixels.shape[0]):
        name = volume.channels[channel] if volume.channels else ""
        for index in range(pixels.shape[1]):
            number += 1
            own = _own_elements(geometry, index, acquired, number)
            if pixels.shape[0] > 1:
                own |= _channel_elements(name, channel)
            data = np.ascontiguousarray(pixels[channel, index]).tobytes()
            own[0x7FE00010] = element(0x7FE00010, b"OB" if pixels.itemsize == 1 else b"OW", data)
            yield file_bytes(meta, {**shared, **own}, uid("instance", identity.seed, identity.series_uid, number))


def _own_elements(geometry: SliceGeometry, index: int, acquired: Acquisition, number: int) -> dict[int, bytes]:
    own = {0x00200013: element(0x00200013, b"IS", str(number).encode())}
    if acquired.modality not in PICTURES:
        own[0x00200032] = element(0x00200032, b"DS", "\\".join(geometry.position(index)).encode())
        own[0x00201041] = element(0x00201041, b"DS", geometry.location(index).encode())
    return own


def _channel_elements(name: str, channel: int) -> dict[int, bytes]:
    """Which time point or b-value an image belongs to."""
    own = {tag: element(tag, b"IS", str(channel + 1).encode()) for tag in (0x00200012, 0x00200100)}
    b_value = b_value_of(name)
    if b_value is not None:
        own[0x00189087] = element(0x00189087, b"FD", struct.pack("<d", b_value))
    return own


def with_description(identity: Identity, text: str, *, series_number: int) -> Identity:
    """The same exam's identity for another series: its own number, description and, in the end, its own UID."""
    return replace(identity, series_uid="", description=text, series_number=series_number)
