"""A minimal DICOM header scanner: the raw bytes of a few wanted elements, everything else stepped over.

It follows the data set encoding of DICOM PS3.5 sections 7.1-7.5 (explicit and implicit VR, little endian) and
never looks into pixel data. What it does not understand raises ScanError, and the caller asks pydicom instead.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
LONG_VRS = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"))
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
DEPTH_LIMIT = 32
META_LIMIT = 100
INFLATED_LIMIT_BYTES = 1 << 26

_EXPLICIT = struct.Struct("<HH2sH").unpack_from
_IMPLICIT = struct.Struct("<HHI").unpack_from
_LONG = struct.Struct("<I").unpack_from


class ScanError(ValueError):
    """The bytes do not follow the simple rules this scanner knows."""


class NeedMore(ScanError):
    """The header goes on after the bytes given."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found: raw values by tag, the transfer syntax, and where the pixel element begins (-1: nowhere)."""

    values: Mapping[int, bytes]
    transfer_syntax: str
    pixel_offset: int
    has_frames: bool


def scan(data: bytes, wanted: frozenset[int]) -> Scan:
    """The wanted top-level elements of a DICOM file that begins with `data`.

    Raises NeedMore when `data` ends inside the header, ScanError when the encoding is not one it knows.
    """
    try:
        offset, syntax = beginning(data)
    except struct.error:
        raise NeedMore("the file meta group ends early") from None
    if syntax == BIG_ENDIAN:
        raise ScanError("big endian")
    if syntax == DEFLATED:
        data, offset = _inflate(data[offset:], INFLATED_LIMIT_BYTES), 0
    implicit = syntax == IMPLICIT if syntax else data[offset + 4 : offset + 6] not in SHORT_VRS
    values: dict[int, bytes] = {}
    try:
        pixels, frames = (_implicit if implicit else _explicit)(data, offset, wanted, values)
    except struct.error:
        raise NeedMore("the header ends early") from None
    return Scan(values, syntax or (IMPLICIT if implicit else "1.2.840.10008.1.2.1"), pixels, frames)


def beginning(data: bytes) -> tuple[int, str]:
    """Where the data set begins, and the transfer syntax that the file meta group states."""
    if data[128:132] == b"DICM":
        offset = 132
    elif data[:2] == b"\x02\x00":
        offset = 0
    else:
        return 0, ""
    syntax, count = "", 0
    while data[offset : offset + 2] == b"\x02\x00":
        count += 1
        if count > META_LIMIT:
            raise ScanError("file meta group")
        _, element, vr, length = _EXPLICIT(data, offset)
        offset += 8
        if vr in LONG_VRS:
            (length,) = _LONG(data, offset)
            offset += 4
        elif vr not in SHORT_VRS:
            raise ScanError("file meta group")
        if element == 0x0010:
            syntax = data[offset : offset + length].rstrip(b"\0 ").decode("ascii", "replace")
        offset += length
    return offset, syntax


def _inflate(data: bytes, limit: int) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, limit)
    except zlib.error:
        raise ScanError("deflate") from None


def undeflated(data: bytes, limit: int = INFLATED_LIMIT_BYTES) -> bytes:
    """The same file without its deflate compression, at most `limit` bytes of data set; others as they are.

    Raises ScanError for the few beginnings that no image has and that pydicom would read for minutes.
    """
    try:
        offset, syntax = beginning(data)
    except struct.error:
        return data
    if data[offset : offset + 2] == b"\0\0":  # a command group: never in a file, and a trap for slow readers
        raise ScanError("command group")
    if syntax != DEFLATED:
        return data
    explicit = b"1.2.840.10008.1.2.1\0"
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(explicit)) + explicit
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta))
    inflated = _inflate(data[offset:], limit)
    if inflated[:2] == b"\0\0":
        raise ScanError("command group")
    return bytes(128) + b"DICM" + length + meta + inflated


def _explicit(data: bytes, offset: int, wanted: frozenset[int], values: dict[int, bytes]) -> tuple[int, bool]:
    end, frames, last = len(data), False, -1
    while offset < end:
        group, element, vr, length = _EXPLICIT(data, offset)
        tag = group << 16 | element
        if group == 0x7FE0 and tag in PIXEL_TAGS:
            return offset, frames
        start = offset + 8
        if vr in LONG_VRS:
            (length,) = _LONG(data, start)
            start += 4
        elif vr not in SHORT_VRS:
            raise ScanError("value representation")
        if tag <= last:
            raise ScanError("order")
        last = tag
        if length == UNDEFINED:
            offset = _after(data, start, implicit=vr == b"UN", depth=0)
        else:
            offset = start + length
            if tag in wanted:
                if offset > end:
                    raise NeedMore("value")
                values[tag] = data[start:offset]
        frames = frames or tag == 0x52009230 or tag == 0x52009229
    if offset > end:
        raise NeedMore("element")
    return -1, frames


def _implicit(data: bytes, offset: int, wanted: frozenset[int], values: dict[int, bytes]) -> tuple[int, bool]:
    end, frames, last = len(data), False, -1
    while offset < end:
        group, element, length = _IMPLICIT(data, offset)
        tag = group << 16 | element
        start = offset + 8
        if group == 0x7FE0 and tag in PIXEL_TAGS:
            return offset, frames
        if tag <= last:
            raise ScanError("order")
        last = tag
        if length == UNDEFINED:
            offset = _after(data, start, implicit=True, depth=0)
        else:
            offset = start + length
            if tag in wanted:
                if offset > end:
                    raise NeedMore("value")
                values[tag] = data[start:offset]
        frames = frames or tag == 0x52009230 or tag == 0x52009229
    if offset > end:
        raise NeedMore("element")
    return -1, frames


def _after(data: bytes, offset: int, *, implicit: bool, depth: int) -> int:
    """The offset behind a sequence of undefined length."""
    if depth > DEPTH_LIMIT:
        raise ScanError("depth")
    while True:
        group, element, length = _IMPLICIT(data, offset)
        tag = group << 16 | element
        offset += 8
        if tag == SEQUENCE_END:
            return offset
        if tag != ITEM:
            raise ScanError("sequence")
        offset = _after_item(data, offset, implicit=implicit, depth=depth) if length == UNDEFINED else offset + length


def _after_item(data: bytes, offset: int, *, implicit: bool, depth: int) -> int:
    while True:
        group, element, vr, length = _EXPLICIT(data, offset)
        if group == 0xFFFE:
            if element != 0xE00D:
                raise ScanError("item")
            return offset + 8
        offset += 8
        if implicit:
            (length,) = _LONG(data, offset - 4)
        elif vr in LONG_VRS:
            (length,) = _LONG(data, offset)
            offset += 4
        elif vr not in SHORT_VRS:
            raise ScanError("value representation")
        if length == UNDEFINED:
            offset = _after(data, offset, implicit=implicit or vr == b"UN", depth=depth + 1)
        else:
            offset += length
