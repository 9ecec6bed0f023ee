"""DICOM header fields by name, and how the raw bytes of each become a typed value (or None)."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

TEXT_LIMIT = 1024
VALUES_LIMIT = 64


def text(raw: bytes) -> str | None:
    """Text without padding; bytes beyond ASCII are mended by `decode_text` with the file's character set."""
    value = raw[:TEXT_LIMIT].strip(b"\0 ").decode("latin-1")
    return value or None


def texts(raw: bytes) -> tuple[str, ...] | None:
    """A backslash-separated list of words."""
    value = text(raw)
    return tuple(part.strip() for part in value.split("\\")[:VALUES_LIMIT]) if value else None


def number(raw: bytes) -> float | None:
    """The first decimal number of a decimal or integer string."""
    try:
        value = float(raw.split(b"\\", 1)[0].strip(b"\0 "))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def numbers(raw: bytes) -> tuple[float, ...] | None:
    """All decimal numbers of a string; None when one of them is not a finite number."""
    try:
        values = tuple(float(part.strip(b"\0 ")) for part in raw.split(b"\\")[:VALUES_LIMIT])
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


def integer(raw: bytes) -> int | None:
    """A whole number written as text."""
    value = number(raw)
    return int(value) if value is not None and abs(value) < 2**53 else None


def short(raw: bytes) -> int | None:
    """An unsigned whole number of 2 bytes (4 where a writer used too many)."""
    return int.from_bytes(raw[:4] if len(raw) == 4 else raw[:2], "little") if len(raw) >= 2 else None


def double(raw: bytes) -> float | None:
    """A floating-point number of 8 or 4 bytes."""
    form = {8: "<d", 4: "<f"}.get(len(raw))
    value = struct.unpack(form, raw)[0] if form else math.nan
    return value if math.isfinite(value) else None


def doubles(raw: bytes) -> tuple[float, ...] | None:
    """Floating-point numbers of 8 bytes."""
    if not raw or len(raw) % 8 or len(raw) > 8 * VALUES_LIMIT:
        return None
    values = struct.unpack(f"<{len(raw) // 8}d", raw)
    return values if all(map(math.isfinite, values)) else None


# name of the Instance field -> (tag, decoder)
FIELDS: Mapping[str, tuple[int, Callable[[bytes], Any]]] = {
    "image_type": (0x00080008, texts),
    "sop_class": (0x00080016, text),
    "acquisition_contrast": (0x00089209, text),
    "sop_uid": (0x00080018, text),
    "study_date": (0x00080020, text),
    "acquisition_date": (0x00080022, text),
    "content_time": (0x00080033, text),
    "acquisition_time": (0x00080032, text),
    "accession": (0x00080050, text),
    "modality": (0x00080060, text),
    "manufacturer": (0x00080070, text),
    "institution": (0x00080080, text),
    "station": (0x00081010, text),
    "study_description": (0x00081030, text),
    "series_description": (0x0008103E, text),
    "model": (0x00081090, text),
    "patient_name": (0x00100010, text),
    "patient_id": (0x00100020, text),
    "birth_date": (0x00100030, text),
    "sex": (0x00100040, text),
    "age": (0x00101010, text),
    "contrast_agent": (0x00180010, text),
    "body_part": (0x00180015, text),
    "scanning_sequence": (0x00180020, texts),
    "sequence_variant": (0x00180021, texts),
    "scan_options": (0x00180022, texts),
    "acquisition_type": (0x00180023, text),
    "sequence_name": (0x00180024, text),
    "angio_flag": (0x00180025, text),
    "slice_thickness": (0x00180050, number),
    "tube_voltage_kv": (0x00180060, number),
    "repetition_time_ms": (0x00180080, number),
    "echo_time_ms": (0x00180081, number),
    "inversion_time_ms": (0x00180082, number),
    "averages": (0x00180083, number),
    "echo_number": (0x00180086, integer),
    "field_strength_t": (0x00180087, number),
    "spacing_between_slices": (0x00180088, number),
    "echo_train_length": (0x00180091, integer),
    "bandwidth_hz_per_pixel": (0x00180095, number),
    "software": (0x00181020, text),
    "protocol_name": (0x00181030, text),
    "trigger_time": (0x00181060, number),
    "gantry_tilt": (0x00181120, number),
    "tube_current_ma": (0x00181151, number),
    "exposure_mas": (0x00181152, number),
    "imager_pixel_spacing": (0x00181164, numbers),
    "convolution_kernel": (0x00181210, texts),
    "receive_coil": (0x00181250, text),
    "flip_angle_deg": (0x00181314, number),
    "patient_position": (0x00185100, text),
    "view_position": (0x00185101, text),
    "diffusion_directionality": (0x00189075, text),
    "b_value": (0x00189087, double),
    "gradient": (0x00189089, doubles),
    "study_uid": (0x0020000D, text),
    "series_uid": (0x0020000E, text),
    "series_number": (0x00200011, integer),
    "acquisition_number": (0x00200012, integer),
    "instance_number": (0x00200013, integer),
    "patient_orientation": (0x00200020, texts),
    "position": (0x00200032, numbers),
    "orientation": (0x00200037, numbers),
    "frame_of_reference": (0x00200052, text),
    "laterality": (0x00200060, text),
    "image_laterality": (0x00200062, text),
    "temporal_position": (0x00200100, integer),
    "samples": (0x00280002, short),
    "photometric": (0x00280004, text),
    "frames": (0x00280008, integer),
    "rows": (0x00280010, short),
    "columns": (0x00280011, short),
    "pixel_spacing": (0x00280030, numbers),
    "bits_allocated": (0x00280100, short),
    "bits_stored": (0x00280101, short),
    "signed": (0x00280103, short),
    "burned_in": (0x00280301, text),
    "rescale_intercept": (0x00281052, number),
    "rescale_slope": (0x00281053, number),
    "rescale_type": (0x00281054, text),
}
CHARACTER_SET = 0x00080005
FREE_TEXT = ("patient_name", "institution", "study_description", "series_description", "protocol_name", "patient_id")


def ge_b_value(raw: bytes) -> float | None:
    """GE writes the b-value first of several numbers, with 1e9 added where directions come from a file."""
    value = number(raw)
    return None if value is None else value % 1e9


# vendors' own b-value elements: (private creator's tag, its text, tag, decoder)
PRIVATE_B_VALUES = (
    (0x00190010, b"SIEMENS MR HEADER", 0x0019100C, number),
    (0x00430010, b"GEMS_PARM_01", 0x00431039, ge_b_value),
    (0x20010010, b"Philips Imaging DD 001", 0x20011003, double),
    (0x00650010, b"Image Private Header", 0x00651009, double),
)
WANTED = frozenset(
    [tag for tag, _ in FIELDS.values()]
    + [CHARACTER_SET]
    + [tag for creator, _, value, _ in PRIVATE_B_VALUES for tag in (creator, value)]
)
_DECODERS = tuple((name, tag, decoder) for name, (tag, decoder) in FIELDS.items())


def decode(values: Mapping[int, bytes]) -> dict[str, Any]:
    """Raw elements to named values; what is empty, malformed or not finite is left out."""
    found: dict[str, Any] = {}
    for name, tag, decoder in _DECODERS:
        raw = values.get(tag)
        if raw:
            value = decoder(raw)
            if value is not None:
                found[name] = value
    for creator, owner, tag, decoder in PRIVATE_B_VALUES:
        if found.get("b_value") is None and tag in values and values.get(creator, b"").strip(b"\0 ") == owner:
            found["b_value"] = decoder(values[tag])
    for name in FREE_TEXT:
        if name in found and not found[name].isascii():
            found[name] = decode_text(values[FIELDS[name][0]], values.get(CHARACTER_SET, b""))
    return found


def decode_text(raw: bytes, character_set: bytes) -> str:
    """Text in the character set the file states; bytes that do not belong to it become question marks."""
    from pydicom.charset import convert_encodings, decode_bytes

    from radfoundry.data.dicom_pydicom import silence

    names = [part.strip() for part in character_set.decode("ascii", "ignore").split("\\")]
    try:
        with silence():
            decoded = decode_bytes(raw[:TEXT_LIMIT], convert_encodings(names), {0x5C, 0x5E, 0x3D})
    except (LookupError, ValueError):
        decoded = raw[:TEXT_LIMIT].decode("ascii", "replace")
    return decoded.strip("\0 ").replace("\ufffd", "?")
