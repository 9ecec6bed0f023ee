"""DICOM bytes in explicit VR little endian: a header encoded once, and the few elements that differ per slice."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from radfoundry.data.dicom_scan import LONG_VRS

SOP_INSTANCE, META_SOP_INSTANCE, META_LENGTH = 0x00080018, 0x00020003, 0x00020000


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One element, its value padded to an even length (UIDs and bytes with zero, text with a space).

    >>> element(0x00200013, b"IS", b"7")
    b' \\x00\\x13\\x00IS\\x02\\x007 '
    """
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB", b"OW", b"UN") else b" "
    start = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return start + (struct.pack("<xxI", len(value)) if vr in LONG_VRS else struct.pack("<H", len(value))) + value


def encoded(dataset: Any) -> dict[int, bytes]:
    """Every element of a pydicom data set as the bytes it has in a file, by tag."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import correct_ambiguous_vr, write_data_element

    found: dict[int, bytes] = {}
    for item in correct_ambiguous_vr(dataset, True):
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_data_element(buffer, item, dataset.get("SpecificCharacterSet", "iso8859"))
        found[int(item.tag)] = buffer.getvalue()
    return found


def file_bytes(meta: Mapping[int, bytes], elements: Mapping[int, bytes], sop_uid: str) -> bytes:
    """A whole DICOM file: preamble, file meta group and data set, both for the instance `sop_uid`."""
    own = {**meta, META_SOP_INSTANCE: element(META_SOP_INSTANCE, b"UI", sop_uid.encode())}
    own.pop(META_LENGTH, None)
    group = b"".join(own[tag] for tag in sorted(own))
    length = element(META_LENGTH, b"UL", struct.pack("<I", len(group)))
    body = {**elements, SOP_INSTANCE: element(SOP_INSTANCE, b"UI", sop_uid.encode())}
    return bytes(128) + b"DICM" + length + group + b"".join(body[tag] for tag in sorted(body))
