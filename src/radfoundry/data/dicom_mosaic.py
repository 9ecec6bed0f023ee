"""Siemens mosaics: the CSA header that describes them, and the slices they are made of.

The CSA format is not published by its maker; the layout read here (`SV10` signature, tag name of 64 bytes,
items of 16-byte headers) is the one described in the NiBabel documentation, "Siemens format DICOM with CSA header".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from radfoundry.data.dicom_header import Instance, refused
from radfoundry.data.dicom_pydicom import quietly

TAGS_LIMIT = 1000
ITEMS_LIMIT = 4096
CSA_CREATOR = "SIEMENS CSA HEADER"


def parse_csa(data: bytes) -> Mapping[str, tuple[str, ...]]:
    """Every tag of a CSA header with its values as text; refuses (ValueError) bytes that are not one."""
    second = data[:4] == b"SV10"
    offset = 8 if second else 0
    (count, _) = struct.unpack_from("<II", data, offset)
    if not 0 < count <= TAGS_LIMIT:
        raise ValueError("not a CSA header")
    offset += 8
    found: dict[str, tuple[str, ...]] = {}
    for _ in range(count):
        name = data[offset : offset + 64].split(b"\0", 1)[0].decode("latin-1")
        (items,) = struct.unpack_from("<i", data, offset + 76)
        offset += 84
        values, offset = _items(data, offset, items)
        found[name] = values
    return found


def _items(data: bytes, offset: int, count: int) -> tuple[tuple[str, ...], int]:
    if not 0 <= count <= ITEMS_LIMIT:
        raise ValueError("not a CSA header")
    values = []
    for _ in range(count):
        # The second of the four numbers is the length in both versions of the format that mosaics use.
        (length,) = struct.unpack_from("<i", data, offset + 4)
        offset += 16
        if not 0 <= length <= len(data) - offset:
            raise ValueError("not a CSA header")
        values.append(data[offset : offset + length].split(b"\0", 1)[0].decode("latin-1").strip())
        offset += -(-length // 4) * 4
    return tuple(value for value in values if value), offset


def csa_of(dataset: Any) -> Mapping[str, tuple[str, ...]]:
    """The CSA image header of a data set; empty when there is none that can be read."""
    try:
        block = dataset.private_block(0x0029, CSA_CREATOR)
        return parse_csa(bytes(block[0x10].value))
    except (KeyError, ValueError, TypeError, struct.error):
        return {}


def tiles_of(instance: Instance, dataset: Any) -> list[Instance]:
    """One record per slice of a mosaic, each with its own position.

    The position in the header is that of the corner which the whole mosaic would have if it were one slice,
    so the first slice begins half the difference of the sizes further in. Refuses a mosaic without a slice count.
    """
    with quietly(instance.source, what="the mosaic's private header cannot be parsed"):
        csa = csa_of(dataset)
        count = _slice_count(csa, dataset)
    side = math.ceil(math.sqrt(count)) if count else 0
    if not count or instance.rows % side or instance.columns % side:
        raise refused("mosaic", "the number of slices in the mosaic is not stated", instance.source)
    if instance.position is None or instance.orientation is None or instance.pixel_spacing is None:
        raise refused("no-geometry", "states no position in the patient", instance.source)
    rows, columns = instance.rows // side, instance.columns // side
    row_axis, column_axis = np.array(instance.orientation[:3]), np.array(instance.orientation[3:])
    row_mm, column_mm = instance.pixel_spacing
    corner = (
        np.array(instance.position)
        + row_axis * column_mm * (instance.columns - columns) / 2
        + column_axis * row_mm * (instance.rows - rows) / 2
    )
    step = _slice_normal(csa, row_axis, column_axis) * _slice_spacing(instance)
    tile = replace(instance, rows=rows, columns=columns)
    return [replace(tile, position=tuple((corner + step * index).tolist())) for index in range(count)]


def _slice_count(csa: Mapping[str, tuple[str, ...]], dataset: Any) -> int:
    stated = csa.get("NumberOfImagesInMosaic", ())
    if stated:
        return int(float(stated[0]))
    return int(dataset[0x0019100A].value) if 0x0019100A in dataset else 0


def _slice_normal(csa: Mapping[str, tuple[str, ...]], row_axis: np.ndarray, column_axis: np.ndarray) -> np.ndarray:
    """The direction in which slices follow each other; the CSA header knows when it is against the right-hand rule."""
    normal = np.cross(row_axis, column_axis)
    stated = csa.get("SliceNormalVector", ())
    if len(stated) == 3 and float(np.dot(normal, np.array(stated, dtype=float))) < 0:
        return -normal
    return normal


def _slice_spacing(instance: Instance) -> float:
    spacing = instance.spacing_between_slices or instance.slice_thickness
    if not spacing or spacing < 0:
        raise refused("no-geometry", "the mosaic states no distance between its slices", instance.source)
    return spacing
