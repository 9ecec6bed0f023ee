"""One DICOM file in, the same file without identity out, or a refusal with its reason."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from typing import Any

from radfoundry.data.deidentify_dicom import Cleaner, cleaned, secrets_of
from radfoundry.data.deidentify_pixels import EXPLICIT, clean_pixels
from radfoundry.data.deidentify_profile import PIXELS, Options
from radfoundry.data.deidentify_values import Replacements, Secrets, registered, uid_for
from radfoundry.data.dicom_header import FIRST_BYTES, UNCOMPRESSED, Instance, plain_uid, scanned
from radfoundry.data.dicom_pydicom import quietly, read_dataset
from radfoundry.data.dicom_scan import DEFLATED
from radfoundry.data.dicom_values import decode
from radfoundry.data.pseudonyms import Pseudonyms
from radfoundry.data.sniffing import is_dicom
from radfoundry.data.sources import Source
from radfoundry.records import InputError

IMPLEMENTATION = "2.25.190275021849310275316524879210638475921"
# Kinds of object (first part of the SOP class UID) that cannot be cleaned by rule, and why.
STORAGE = "1.2.840.10008.5.1.4.1.1."
REFUSED = {
    "1.2.840.10008.1.3.10": "a directory of other files (DICOMDIR), which names patients; it is not needed",
    f"{STORAGE}104.": "an encapsulated document (PDF, CDA or model), which cannot be cleaned by rule",
    f"{STORAGE}88.59": "a key object selection, free text by nature",
    f"{STORAGE}9.": "a waveform (ECG, sound), for which there is no rule",
    f"{STORAGE}11.": "a presentation state, whose annotations are free text",
    f"{STORAGE}66": "raw data, whose content is private to the vendor",
    f"{STORAGE}77.1.1.1": "a video, whose pixels cannot be searched",
    f"{STORAGE}77.1.2.1": "a video, whose pixels cannot be searched",
    f"{STORAGE}77.1.4.1": "a video, whose pixels cannot be searched",
    f"{STORAGE}200.": "a protocol or report of a device, for which there is no rule",
}
REPORT = f"{STORAGE}88."
STRUCTURES = f"{STORAGE}481.3"
REGISTRATIONS = (f"{STORAGE}66.1", f"{STORAGE}66.3", f"{STORAGE}66.4", f"{STORAGE}66.5")


@dataclass(frozen=True)
class Cleaned:
    """A file without identity: its bytes, its place below the output folder, what was done, what must not be in it."""

    data: bytes
    place: str
    done: Counter[str]
    secrets: Secrets
    masked: int = 0


def deidentify_dicom(data: bytes, source: Source, relative: str, *, names: Pseudonyms, options: Options) -> Cleaned:
    """A DICOM file as PS3.15 Annex E asks, with keyed pseudonyms.

    The place is `PATIENT/STUDY/SERIES/INSTANCE.dcm`, all pseudonyms. Refused by name: what cannot be parsed
    (`unreadable`, `truncated`, `not-an-image`), kinds of object without a rule (`no-rule`), `no-pixels`, and pixels
    that would have to be searched for text and cannot be (`transfer-syntax`, `burned-in`).
    """
    instance = _instance(data, source)
    _refuse_kind(instance, options, source)
    dataset = read_dataset(io.BytesIO(data), source, pixels_bytes=len(data))
    if instance.rows and not any(tag in dataset for tag in PIXELS):
        raise _refused("truncated", "describes an image and holds no pixels", source)
    with quietly(source):
        secrets = secrets_of(dataset, options)
        identifier = instance.patient_id or f"study {instance.study_uid or relative}"
        cleaner = Cleaner(Replacements(names, identifier), options, secrets)
        made = cleaned(dataset, cleaner)
        count = clean_pixels(dataset, made, instance, options)
        _mark(made, options, count)
        out = _encoded(made, dataset, instance, names)
    place = "/".join(
        (
            names.patient(identifier),
            names.case(instance.study_uid or f"{identifier}\0{instance.study_date}"),
            names.series(instance.series_uid or relative),
            f"{names.name('instance', instance.sop_uid or relative)}.dcm",
        )
    )
    return Cleaned(out, place, cleaner.done, secrets, count)


def _instance(data: bytes, source: Source) -> Instance:
    head = data[:FIRST_BYTES]
    if not is_dicom(head):
        raise _refused("not-an-image", "is not a DICOM file, whatever its name", source)
    stream = io.BytesIO(data)
    stream.seek(len(head))
    found = scanned(stream, head, source)
    values = decode(found.values)
    return Instance(path=source.path, member=source.member, transfer_syntax=found.transfer_syntax, **values)


def _refuse_kind(instance: Instance, options: Options, source: Source) -> None:
    kind = instance.sop_class or ""
    if instance.transfer_syntax and not registered(instance.transfer_syntax):
        raise _refused("transfer-syntax", "states a transfer syntax that the standard does not know", source)
    if not kind and not instance.rows:
        raise _refused("no-rule", "does not say what kind of object it is", source)
    if kind.startswith(REPORT) and not kind.startswith(f"{STORAGE}88.59"):
        if not options.structured:
            raise _refused("no-rule", "is a structured report; set structured=true to keep codes and numbers", source)
        return
    if kind == STRUCTURES or kind in REGISTRATIONS:
        return
    for start, reason in REFUSED.items():
        if kind == start or kind.startswith(start if start.endswith(".") else start + "."):
            raise _refused("no-rule", f"is {reason}", source)
    if not instance.rows or not instance.columns:
        raise _refused("no-rule", f"holds no image (SOP class {plain_uid(kind)})", source)


def _refused(finding: str, what: str, source: Source) -> InputError:
    return InputError(what, where=str(source), remedy="leave it out, or have a person look at it", finding=finding)


def _mark(made: Any, options: Options, masked: int) -> None:
    """State in the file itself what was done (PS3.15 section E.1.1)."""
    from pydicom import Dataset, Sequence

    made.add_new(0x00120062, "CS", "YES")
    made.add_new(0x00120063, "LO", "radfoundry deidentify, PS3.15 Annex E")
    items = []
    for code, meaning in options.methods:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", meaning
        items.append(item)
    made.add_new(0x00120064, "SQ", Sequence(items))
    state = {"removed": "REMOVED", "shifted": "MODIFIED", "full": "UNMODIFIED"}[options.dates]
    made.add_new(0x00280303, "CS", state)
    if masked:
        made.add_new(0x00280301, "CS", "NO")


def _encoded(made: Any, dataset: Any, instance: Instance, names: Pseudonyms) -> bytes:
    """The file's bytes: an empty preamble, a file meta group of our own and the data set."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset, write_file_meta_info

    implicit, little = dataset.original_encoding
    syntax = instance.transfer_syntax or EXPLICIT
    decompressed = syntax not in UNCOMPRESSED and "PixelData" in made and not made["PixelData"].is_undefined_length
    if syntax == DEFLATED or decompressed:
        syntax = EXPLICIT
    meta = FileMetaDataset()
    own = {
        0x00020002: str(made.get("SOPClassUID", "")),
        0x00020003: str(made.get("SOPInstanceUID", "")) or uid_for(names, instance.series_uid or ""),
        0x00020010: syntax,
        0x00020012: IMPLEMENTATION,
    }
    for tag, value in own.items():
        meta.add_new(tag, "UI", value)
    meta.add_new(0x00020013, "SH", "RADFOUNDRY")
    buffer = DicomBytesIO()
    buffer.write(bytes(128) + b"DICM")
    write_file_meta_info(buffer, meta, enforce_standard=True)
    buffer.is_implicit_VR, buffer.is_little_endian = bool(implicit), bool(little)
    write_dataset(buffer, made)
    return buffer.getvalue()
