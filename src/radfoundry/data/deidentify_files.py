"""NIfTI files, BIDS sidecars and pictures without identity: only what places and shows the image stays."""

from __future__ import annotations

import gzip
import json
import re
import struct
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from radfoundry.data import deidentify_profile as profile
from radfoundry.data.bids import DATATYPES, SUFFIXES, BidsName, parse_name
from radfoundry.data.deidentify_pixels import without_comments
from radfoundry.data.deidentify_profile import KEEP, REMOVE, Options
from radfoundry.data.deidentify_values import CODE_WORD, Secrets, cleaned_text, kept_text
from radfoundry.data.identity import Rules, stem_of
from radfoundry.data.reading import FINDINGS
from radfoundry.records import InputError

INFLATED_LIMIT_BYTES = 8 << 30
MORE_SUFFIXES = frozenset(
    re.findall(
        r"\w+",
        "dseg mask probseg sbref phasediff phase1 phase2 magnitude magnitude1 magnitude2 epi fieldmap T1map T2map "
        "T2starmap UNIT1 MP2RAGE MTS MTR FLASH cbv cbf m0scan inplaneT1 inplaneT2 defacemask pet ct TB1map ADC trace",
    )
)
FREE_ENTITIES = ("run", "echo", "inv", "flip", "part", "dir", "acq", "rec", "ce", "space", "desc", "task", "label")
# Sidecar keys of BIDS (not of DICOM) whose words say how an image was made.
SIDECAR_WORDS = frozenset(
    re.findall(
        r"\w+",
        "Modality Manufacturer ManufacturersModelName SoftwareVersions BodyPart BodyPartExamined PulseSequenceName "
        "PulseSequenceType SequenceName ScanningSequence SequenceVariant ScanOptions ImageType MRAcquisitionType "
        "PhaseEncodingDirection InPlanePhaseEncodingDirectionDICOM PhaseEncodingAxis SliceEncodingDirection "
        "PatientPosition ParallelAcquisitionTechnique ReceiveCoilName MatrixCoilMode CoilCombinationMethod "
        "ConvolutionKernel ConversionSoftware ConversionSoftwareVersion Units ImageOrientationText "
        "ArterialSpinLabelingType NonlinearGradientCorrection",
    )
)
PNG_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"sBIT", b"pHYs")
NAMES_1 = ((4, 10), (14, 18), (32, 4), (36, 2), (148, 80), (228, 24), (328, 16))
NAMES_2 = ((240, 80), (320, 24), (508, 16), (524, 16))


@dataclass(frozen=True)
class Layout:
    """Where the header of one NIfTI version keeps what is needed: offsets and formats of its fields."""

    size: int
    dimensions: tuple[int, str]
    bits: tuple[int, str]
    data: tuple[int, str]
    texts: tuple[tuple[int, int], ...]


LAYOUTS = {
    348: Layout(348, (40, "8h"), (72, "h"), (108, "f"), NAMES_1),
    540: Layout(540, (16, "8q"), (14, "h"), (168, "q"), NAMES_2),
}


def clean_nifti(data: bytes, where: str) -> bytes:
    """A NIfTI file (plain, or compressed as `.nii.gz`) whose texts and extensions are empty; voxels stay as they are.

    Bytes between header and voxels and behind the voxels are dropped, and so is the name inside the compression.
    Refuses pairs of `.hdr` and `.img`, and headers that contradict their file (`truncated`, `unreadable`).
    """
    packed = data[:2] == b"\x1f\x8b"
    if packed:
        data = _inflated(data, where)
    order = (
        next((sign for sign in "<>" if struct.unpack_from(f"{sign}i", data)[0] in LAYOUTS), None)
        if len(data) > 348
        else None
    )
    if order is None:
        raise _refused("unreadable", "does not begin with a NIfTI header", where)
    layout = LAYOUTS[struct.unpack_from(f"{order}i", data)[0]]
    magic = data[344:348] if layout.size == 348 else data[4:12]
    if not magic.startswith((b"n+1", b"n+2")):
        raise _refused("unsupported", "is half of a pair (.hdr and .img)", where)
    dimensions = struct.unpack_from(order + layout.dimensions[1], data, layout.dimensions[0])
    bits = struct.unpack_from(order + layout.bits[1], data, layout.bits[0])[0]
    start = int(struct.unpack_from(order + layout.data[1], data, layout.data[0])[0])
    count = 1
    for side in dimensions[1 : 1 + min(max(int(dimensions[0]), 0), 7)]:
        count *= max(int(side), 0)
    length = count * bits // 8
    if start < layout.size or length <= 0 or len(data) < start + length:
        raise _refused("truncated", f"holds {len(data) - start} of {length} bytes of voxels", where)
    header = bytearray(data[: layout.size])
    for offset, size in layout.texts:
        header[offset : offset + size] = bytes(size)
    struct.pack_into(order + layout.data[1], header, layout.data[0], layout.size + 4)
    made = bytes(header) + bytes(4) + data[start : start + length]
    return gzip.compress(made, 4, mtime=0) if packed else made


def _inflated(data: bytes, where: str) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        raise _refused("truncated", "its compression is damaged", where) from None


def clean_picture(data: bytes, where: str) -> bytes:
    """A PNG or JPEG picture without comments, camera data, thumbnails and anything behind its end."""
    if data[:2] == b"\xff\xd8":
        return without_comments(data)
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise _refused("unsupported", "is a picture in another format than PNG and JPEG", where)
    parts, place = [data[:8]], 8
    while place + 12 <= len(data):
        length = struct.unpack_from(">I", data, place)[0]
        kind = data[place + 4 : place + 8]
        if kind in PNG_KEPT:
            parts.append(data[place : place + 12 + length])
        place += 12 + length
        if kind == b"IEND":
            return b"".join(parts)
    raise _refused("truncated", "ends before its last part", where)


def clean_sidecar(values: Mapping[str, Any], secrets: Secrets, options: Options, done: Counter[str]) -> dict[str, Any]:
    """A BIDS sidecar by the same rules as a DICOM header: numbers and known words stay, every other text goes."""
    made: dict[str, Any] = {}
    for key, value in values.items():
        kept = _kept_value(key, value, secrets, options) if re.fullmatch(r"[A-Za-z][A-Za-z0-9]{1,63}", key) else None
        if kept is None or secrets.mentioned(key):
            done["sidecar entry removed"] += 1
        else:
            made[key] = kept
    return made


def _kept_value(key: str, value: Any, secrets: Secrets, options: Options) -> Any:
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(key)
    listed = tag is not None and tag in profile.table()
    action = profile.action_of(tag, dictionary_VR(tag), options) if listed and tag is not None else ""
    if listed and action not in (KEEP, profile.CLEAN):
        return None
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float)):
        return None if str(value) in secrets.numbers or (tag is None and not key.isascii()) else value
    if isinstance(value, list):
        kept = [_kept_value(key, item, secrets, options) for item in value]
        return None if any(item is None for item in kept) else kept
    if not isinstance(value, str):
        return None
    if action == KEEP:
        return value
    if action == profile.CLEAN:
        return cleaned_text(value, secrets) or None
    if key in SIDECAR_WORDS:
        return kept_text(value, secrets) or None
    is_word = CODE_WORD.fullmatch(value) and not secrets.mentioned(value)
    return value if is_word and tag is not None and dictionary_VR(tag) == "CS" else None


def sidecar_secrets(sidecar: Mapping[str, Any], relative: str) -> Secrets:
    """What a sidecar and the path of its image tell of the patient."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    texts, dates = [], []
    for key, value in sidecar.items():
        tag = tag_for_keyword(key)
        if not isinstance(value, (str, int)) or tag is None:
            continue
        if profile.action_of(tag, dictionary_VR(tag), Options()) != REMOVE or key.startswith(("Patient", "Operator")):
            vr = dictionary_VR(tag)
            if vr in ("DA", "DT"):
                dates.append(str(value))
            elif vr == "PN" or key in (
                "PatientID",
                "AccessionNumber",
                "PatientBirthDate",
                "InstitutionName",
                "StationName",
            ):
                texts.append(str(value))
    return Secrets.of(texts + path_words(relative), dates)


def path_words(relative: str) -> list[str]:
    """Words of a file's name that may name the patient: those that no vocabulary of images knows."""
    words = re.split(r"[^0-9A-Za-zÀ-ɏ]+", stem_of(relative.rsplit("/", 1)[-1]))
    known = profile.words() | {suffix.casefold() for suffix in (*SUFFIXES, *MORE_SUFFIXES)} | set(FREE_ENTITIES)
    return [word for word in words if len(word) >= 5 and word.casefold() not in known and any(map(str.isalpha, word))]


def place_of(relative: str, ending: str, patient: str, rules: Rules) -> str:
    """Where an image file goes below the output folder: a BIDS name stays one, with a keyed subject and session."""
    folder, name = ["", *relative.replace("!", "/").split("/")][-2:]
    bids = parse_name(name)
    label = patient.removeprefix("p-")
    if bids is None or bids.suffix not in SUFFIXES.keys() | MORE_SUFFIXES:
        return f"{patient}/{rules.names.name('file', stem_of(relative))}{ending}"
    parts = [f"sub-{label}"]
    if bids.visit:
        parts.append(f"ses-{rules.names.name('session', f'{bids.patient} {bids.visit}')[:8]}")
    folders = [*parts, *([folder] if folder in DATATYPES else [])]
    stem = "_".join([*parts, *_entities(bids, rules), bids.suffix])
    return "/".join([*folders, stem + ending])


def _entities(bids: BidsName, rules: Rules) -> list[str]:
    found = []
    for key, value in bids.entities.items():
        if key not in FREE_ENTITIES:
            continue
        known = value.casefold() in profile.words() or (value.isdigit() and len(value) <= 3)
        found.append(f"{key}-{value if known else rules.names.name('entity', value)[:6]}")
    return found


def read_json(data: bytes, where: str) -> dict[str, Any]:
    """The object in a JSON file; refused when it holds none."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise _refused("sidecar", "is not a JSON object", where)
    return values


def _refused(finding: str, what: str, where: str) -> InputError:
    return InputError(what, where=where, remedy=FINDINGS.get(finding, "leave it out"), finding=finding)
