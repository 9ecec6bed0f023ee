"""One DICOM file's header as one flat record, read without touching its pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, BinaryIO

from radfoundry.data import dicom_scan
from radfoundry.data.dicom_values import WANTED, decode
from radfoundry.data.reading import FINDINGS
from radfoundry.data.sniffing import is_dicom
from radfoundry.data.sources import Source, open_source, read_from
from radfoundry.records import Acquisition, InputError

FIRST_BYTES = 1 << 16
HEADER_LIMIT_BYTES = 1 << 26
PREAMBLE_BYTES = 132
FRAMES_LIMIT = 200_000
UNCOMPRESSED = frozenset(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"))
UNSUPPORTED = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.2": "a deformation field",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
    "1.2.840.10008.5.1.4.1.1.20": "nuclear medicine",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "a microscopy slide",
}


@dataclass(frozen=True, slots=True)
class Instance:
    """What one DICOM file says of itself: identity, geometry and acquisition; None where it says nothing.

    Lengths in mm in the patient's LPS system, times in ms. Identifying fields are raw: they are for
    memory and the inventory only, and must be pseudonymised before anything is published.
    """

    path: str
    member: str = ""
    sop_uid: str | None = None
    sop_class: str | None = None
    series_uid: str | None = None
    study_uid: str | None = None
    transfer_syntax: str | None = None
    patient_id: str | None = None
    patient_name: str | None = None
    birth_date: str | None = None
    sex: str | None = None
    age: str | None = None
    study_date: str | None = None
    acquisition_date: str | None = None
    acquisition_time: str | None = None
    content_time: str | None = None
    accession: str | None = None
    institution: str | None = None
    station: str | None = None
    study_description: str | None = None
    series_description: str | None = None
    protocol_name: str | None = None
    series_number: int | None = None
    acquisition_number: int | None = None
    instance_number: int | None = None
    rows: int = 0
    columns: int = 0
    frames: int = 1
    samples: int = 1
    bits_allocated: int = 16
    bits_stored: int | None = None
    signed: int = 0
    photometric: str | None = None
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    patient_orientation: tuple[str, ...] | None = None
    frame_of_reference: str | None = None
    pixel_spacing: tuple[float, ...] | None = None
    imager_pixel_spacing: tuple[float, ...] | None = None
    slice_thickness: float | None = None
    spacing_between_slices: float | None = None
    gantry_tilt: float | None = None
    modality: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    software: str | None = None
    field_strength_t: float | None = None
    body_part: str | None = None
    image_type: tuple[str, ...] | None = None
    sequence_name: str | None = None
    scanning_sequence: tuple[str, ...] | None = None
    sequence_variant: tuple[str, ...] | None = None
    scan_options: tuple[str, ...] | None = None
    acquisition_type: str | None = None
    contrast_agent: str | None = None
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    echo_train_length: int | None = None
    echo_number: int | None = None
    averages: float | None = None
    bandwidth_hz_per_pixel: float | None = None
    b_value: float | None = None
    gradient: tuple[float, ...] | None = None
    diffusion_directionality: str | None = None
    temporal_position: int | None = None
    trigger_time: float | None = None
    tube_voltage_kv: float | None = None
    tube_current_ma: float | None = None
    exposure_mas: float | None = None
    convolution_kernel: tuple[str, ...] | None = None
    view_position: str | None = None
    laterality: str | None = None
    image_laterality: str | None = None
    patient_position: str | None = None
    rescale_slope: float | None = None
    rescale_intercept: float | None = None
    rescale_type: str | None = None
    burned_in: str | None = None
    receive_coil: str | None = None
    angio_flag: str | None = None
    acquisition_contrast: str | None = None
    enhanced: bool = False

    @property
    def source(self) -> Source:
        """Where the file lies."""
        return Source(self.path, self.member)

    @property
    def mosaic(self) -> bool:
        """Whether the image is a Siemens mosaic: all slices of one volume as tiles of one picture."""
        return self.image_type is not None and "MOSAIC" in self.image_type

    def to_row(self) -> dict[str, Any]:
        """Plain values for a table: lists instead of tuples."""
        values = ((name, getattr(self, name)) for name in NAMES)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Instance:
        """The inverse of `to_row`, also after a table has turned None into NaN and lists into arrays."""
        return cls(**{name: _restore(name, row[name]) for name in NAMES if name in row})


NAMES = tuple(item.name for item in fields(Instance))
_WHOLE = {item.name for item in fields(Instance) if "int" in str(item.type)}


def _restore(name: str, value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    return int(value) if name in _WHOLE and not isinstance(value, bool) else value


def read_instance(source: Source) -> Instance:
    """The header of one DICOM file.

    Refused by name: `empty-file`, `not-an-image` (not DICOM), `truncated`, `no-pixels` (reports, DICOMDIR and
    the like), `empty-axis` and `unreadable`.
    """
    with open_source(source) as stream:
        return instance_from(stream, source)


def instance_from(stream: BinaryIO, source: Source) -> Instance:
    """The header of the DICOM file that an open, seekable stream holds."""
    head = read_from(stream, FIRST_BYTES, source)
    if not head:
        raise refused("empty-file", "holds no bytes", source)
    if not is_dicom(head):
        raise refused("not-an-image", "is not a DICOM file, whatever its name", source)
    found = scanned(stream, head, source)
    values = decode(found.values)
    instance = Instance(path=source.path, member=source.member, transfer_syntax=found.transfer_syntax, **values)
    _check(instance, found, stream)
    if found.has_frames:
        from radfoundry.data.dicom_enhanced import completed

        instance = completed(replace(instance, enhanced=True), stream)
    return instance


def scanned(stream: BinaryIO, head: bytes, source: Source) -> dicom_scan.Scan:
    """The scan of as many bytes as the header needs; pydicom is asked where the scanner gives up."""
    data, wanted = head, FIRST_BYTES
    while True:
        whole = len(data) < wanted
        try:
            found = dicom_scan.scan(data, WANTED)
            if whole or found.pixel_offset >= 0 or len(data) >= HEADER_LIMIT_BYTES:
                return found
        except dicom_scan.NeedMore:
            if whole or len(data) >= HEADER_LIMIT_BYTES:
                break
        except dicom_scan.ScanError:
            break
        wanted = min(wanted * 8, HEADER_LIMIT_BYTES)
        data += read_from(stream, wanted - len(data), source)
    from radfoundry.data.dicom_pydicom import scan_slowly

    return scan_slowly(stream, source)


def _check(instance: Instance, found: dicom_scan.Scan, stream: BinaryIO) -> None:
    source = instance.source
    if instance.sop_class in UNSUPPORTED:
        raise refused("unsupported", f"holds {UNSUPPORTED[instance.sop_class]}, which is not read as an image", source)
    if not found.values and stream.seek(0, 2) <= PREAMBLE_BYTES:
        raise refused("truncated", "ends where its header should begin", source)
    if found.pixel_offset < 0 and not instance.rows:
        raise refused("no-pixels", f"holds no image (SOP class {plain_uid(instance.sop_class)})", source)
    if found.pixel_offset < 0:
        raise refused("truncated", "ends before its pixel data", source)
    if instance.rows < 1 or instance.columns < 1 or instance.frames < 1 or instance.samples < 1:
        shape = f"{instance.rows} rows, {instance.columns} columns, {instance.frames} frames"
        raise refused("empty-axis", f"states {shape}", source)
    if instance.frames > FRAMES_LIMIT:
        raise refused("limit", f"states {instance.frames} frames, more than the limit of {FRAMES_LIMIT}", source)
    if instance.transfer_syntax in UNCOMPRESSED - {dicom_scan.DEFLATED}:
        element_header = 8 if instance.transfer_syntax == dicom_scan.IMPLICIT else 12
        present = max(0, stream.seek(0, 2) - found.pixel_offset - element_header)
        if present < expected_bytes(instance):
            raise refused("truncated", f"holds {present} of {expected_bytes(instance)} bytes of pixel data", source)


def plain_uid(uid: str | None) -> str:
    """A UID as an error may show it: digits and dots only, for a damaged header can hold anything there.

    >>> plain_uid("1.2.840"), plain_uid("Doe^Jane"), plain_uid(None)
    ('1.2.840', 'malformed', 'not stated')
    """
    if not uid:
        return "not stated"
    return uid if len(uid) <= 64 and not uid.strip("0123456789.") else "malformed"


def expected_bytes(instance: Instance) -> int:
    """Bytes of uncompressed pixel data that the header promises."""
    samples = instance.samples
    if instance.photometric == "YBR_FULL_422":
        samples = 2  # two pixels share their colour
    bits = instance.rows * instance.columns * instance.frames * samples * instance.bits_allocated
    return bits // 8


def refused(finding: str, what: str, source: Source | str) -> InputError:
    """The error for one file or series: never with anything the header says of a person."""
    return InputError(what, where=str(source), remedy=FINDINGS[finding], finding=finding)


def acquisition(instance: Instance, *, keep_text: bool = False) -> Acquisition:
    """How an image was acquired, as its header states it.

    Without `keep_text` free text that may name people or places is dropped: series description and
    protocol name; a contrast agent becomes the word `stated`.
    """
    same = {name: getattr(instance, name) for name in _SHARED}
    strength = instance.field_strength_t
    if strength is not None and strength > 100:  # gauss: no magnet reaches 100 tesla
        same["field_strength_t"] = strength / 1e4
    if not keep_text:
        same |= {"series_description": None, "protocol_name": None}
        same["contrast_agent"] = "stated" if instance.contrast_agent else None
    spacing = instance.pixel_spacing or instance.imager_pixel_spacing
    gap = None
    if instance.spacing_between_slices is not None and instance.slice_thickness is not None:
        gap = round(abs(instance.spacing_between_slices) - instance.slice_thickness, 6)
    return Acquisition(
        **same,
        slice_thickness_mm=instance.slice_thickness,
        slice_gap_mm=gap,
        b_value_s_per_mm2=instance.b_value,
        matrix=(instance.columns, instance.rows),
        field_of_view_mm=_field_of_view(instance, spacing),
        laterality=instance.image_laterality or instance.laterality,
        convolution_kernel=instance.convolution_kernel[0] if instance.convolution_kernel else None,
    )


_OWN = {
    "slice_thickness_mm",
    "slice_gap_mm",
    "b_value_s_per_mm2",
    "matrix",
    "field_of_view_mm",
    "laterality",
    "convolution_kernel",
}
_SHARED = tuple(item.name for item in fields(Acquisition) if item.name not in _OWN)


def _field_of_view(instance: Instance, spacing: tuple[float, ...] | None) -> tuple[float, float] | None:
    if spacing is None or len(spacing) != 2:
        return None
    return (round(instance.columns * spacing[1], 4), round(instance.rows * spacing[0], 4))


def read_instances(sources: Iterable[Source]) -> list[Instance]:
    """The headers of several files; the first faulty one is refused."""
    return [read_instance(source) for source in sources]
