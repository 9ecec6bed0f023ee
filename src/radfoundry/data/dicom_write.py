"""Volumes written as DICOM: valid single-frame MR, CT and projection instances, or one enhanced multi-frame file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.records import Acquisition, InputError
from radfoundry.runs import atomic
from radfoundry.volume import Volume

SOP_CLASSES = {
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "MG": "1.2.840.10008.5.1.4.1.1.1.2",
    "OT": "1.2.840.10008.5.1.4.1.1.7",
    "SC": "1.2.840.10008.5.1.4.1.1.7",
}
ENHANCED_CLASSES = {"MR": "1.2.840.10008.5.1.4.1.1.4.1", "CT": "1.2.840.10008.5.1.4.1.1.2.1"}
PROJECTIONS = ("DX", "CR", "MG")
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IMPLEMENTATION = "2.25.304312766164279213907262186452718293"
STORED_LOW, STORED_HIGH = -32768, 32767


@dataclass(frozen=True)
class Identity:
    """Who and when, as a DICOM header states it; UIDs left empty are derived from `seed` and the other fields.

    Dates are `YYYYMMDD`, times `HHMMSS`, age like `045Y`. `description` becomes the series description.
    """

    patient_id: str
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    age: str = ""
    study_date: str = ""
    study_time: str = ""
    study_uid: str = ""
    series_uid: str = ""
    accession: str = ""
    institution: str = ""
    station: str = ""
    study_description: str = ""
    description: str = ""
    study_number: str = "1"
    series_number: int = 1
    seed: int = 0

    def with_uids(self) -> Identity:
        """The same identity with study and series UIDs filled in."""
        study = self.study_uid or uid("study", self.seed, self.patient_id, self.study_date, self.study_number)
        return replace(
            self, study_uid=study, series_uid=self.series_uid or uid("series", self.seed, study, self.series_number)
        )


def uid(*parts: object) -> str:
    """A DICOM UID under 2.25 derived from its parts: the same parts give the same UID on every machine.

    >>> uid("series", 0, 1) == uid("series", 0, 1) and uid("series", 0, 1).startswith("2.25.")
    True
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


@dataclass(frozen=True)
class Quantised:
    """A float image as 16-bit whole numbers: value = stored * slope + intercept, off by at most `error`."""

    stored: np.ndarray
    slope: float
    intercept: float
    error: float


def quantised(array: np.ndarray) -> Quantised:
    """An image as int16 with slope and intercept; whole numbers that fit are kept exactly.

    Refuses values that are not finite.
    """
    values = np.asarray(array)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError("voxels that are not finite cannot be written as DICOM", finding="nan-voxels")
    low, high = float(values.min()), float(values.max())
    whole = values.dtype.kind in "biu" or bool(np.all(values == np.rint(values)))
    if whole and low >= STORED_LOW and high <= STORED_HIGH:
        return Quantised(values.astype(np.int16), 1.0, 0.0, 0.0)
    # The header holds 16 characters, so the numbers are rounded to those before they are used.
    slope = float(decimal((high - low) / 65534)) if high > low else 1.0
    intercept = float(decimal((high + low) / 2))
    stored = np.clip(np.rint((values.astype(np.float64) - intercept) / slope), STORED_LOW, STORED_HIGH)
    error = float(np.abs(stored * slope + intercept - values).max())
    return Quantised(stored.astype(np.int16), slope, intercept, error)


def decimal(value: float) -> str:
    """A number in at most 16 characters, as a decimal string of DICOM must be.

    >>> decimal(-1 / 3), len(decimal(1.23456789e-7 / 3)) <= 16
    ('-0.3333333333333', True)
    """
    for digits in range(16, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    raise InputError(f"{value} does not fit a DICOM decimal string", finding="affine")


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
    temporal positions, or b-values where they are named `b=… s/mm2`. Values are stored as int16 with slope and
    intercept where needed. The same input gives the same bytes. Refuses volumes whose axes are not perpendicular
    and files that exist. `enhanced` writes one multi-frame file (MR and CT).
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    identity = identity.with_uids()
    geometry = _lps(volume)
    if enhanced:
        from radfoundry.data.dicom_write_enhanced import enhanced_dataset

        datasets = [enhanced_dataset(volume, geometry, acquisition, identity)]
    else:
        datasets = _instances(volume, geometry, acquisition, identity)
    paths = []
    for number, dataset in enumerate(datasets, start=1):
        path = target / f"{prefix}{number:04d}.dcm"
        if path.exists():
            raise InputError("already exists", where=str(path), remedy="choose another folder", finding="exists")
        _save(dataset, path)
        paths.append(path)
    return paths


def _save(dataset: Any, path: Path) -> None:
    with atomic(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)


@dataclass(frozen=True, eq=False)
class SliceGeometry:
    """The grid in DICOM's terms: unit axes and origin in LPS, spacing in mm."""

    row_axis: np.ndarray
    column_axis: np.ndarray
    step: np.ndarray
    origin: np.ndarray
    spacing_mm: tuple[float, float, float]

    def position(self, index: int) -> list[str]:
        """The position of slice `index` as decimal strings."""
        return [decimal(float(value)) for value in self.origin + self.step * index]

    @property
    def orientation(self) -> list[str]:
        """Row and column direction as decimal strings."""
        return [decimal(float(value)) for value in (*self.row_axis, *self.column_axis)]


def _lps(volume: Volume) -> SliceGeometry:
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-4:
        raise InputError("the axes are not perpendicular", remedy="resample the volume first", finding="affine")
    return SliceGeometry(axes[:, 0], axes[:, 1], affine[:3, 2], affine[:3, 3], volume.spacing_mm)


def _instances(volume: Volume, geometry: SliceGeometry, acquired: Acquisition, identity: Identity) -> list[Any]:
    colour = volume.channels == ("red", "green", "blue")
    array = np.moveaxis(volume.array, 0, -1)[None] if colour else volume.array
    quantity = Quantised(array.astype(np.uint8), 1.0, 0.0, 0.0) if colour else quantised(array)
    if colour and not np.array_equal(quantity.stored, array):
        raise InputError("colours must be whole numbers from 0 to 255", finding="shape")
    datasets = []
    for channel in range(len(array)):
        for index in range(volume.shape[2]):
            dataset = _header(acquired, identity, number=len(datasets) + 1)
            _place(dataset, geometry, index, acquired)
            if not colour:
                mark_channel(dataset, volume.channels[channel] if volume.channels else "", channel, len(array))
            put_pixels(dataset, np.swapaxes(quantity.stored[channel, :, :, index], 0, 1)[None], quantity, colour)
            datasets.append(dataset)
    return datasets


def _header(acquired: Acquisition, identity: Identity, *, number: int) -> Any:
    modality = acquired.modality or "MR"
    if modality not in SOP_CLASSES:
        known = ", ".join(SOP_CLASSES)
        raise InputError(
            f"modality {modality!r} cannot be written", remedy=f"use one of {known}", finding="unsupported"
        )
    sop_uid = uid("instance", identity.seed, identity.series_uid, number)
    dataset = new_dataset(SOP_CLASSES[modality], sop_uid)
    identify(dataset, identity, modality)
    dataset.InstanceNumber = str(number)
    describe(dataset, acquired)
    return dataset


def new_dataset(sop_class: str, sop_uid: str) -> Any:
    """An empty data set with its file meta group."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sop_class), UID(sop_uid)
    meta.TransferSyntaxUID, meta.ImplementationClassUID = UID(EXPLICIT_LITTLE), UID(IMPLEMENTATION)
    meta.ImplementationVersionName = "RADFOUNDRY"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, sop_uid
    return dataset


def identify(dataset: Any, identity: Identity, modality: str) -> None:
    """Write who and when, UIDs included."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientID, dataset.PatientName = identity.patient_id, identity.patient_name
    dataset.PatientBirthDate, dataset.PatientSex = identity.birth_date, identity.sex
    if identity.age:
        dataset.PatientAge = identity.age
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = identity.study_date
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = identity.study_time
    dataset.AccessionNumber, dataset.StudyID = identity.accession, identity.study_number
    dataset.ReferringPhysicianName = ""
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = identity.study_uid, identity.series_uid
    dataset.SeriesNumber, dataset.Modality = str(identity.series_number), modality
    if identity.institution:
        dataset.InstitutionName = identity.institution
    if identity.station:
        dataset.StationName = identity.station
    if identity.study_description:
        dataset.StudyDescription = identity.study_description
    if identity.description:
        dataset.SeriesDescription = identity.description
    if modality not in PROJECTIONS:
        dataset.FrameOfReferenceUID = uid("frame", identity.seed, identity.study_uid)
        dataset.PositionReferenceIndicator = ""


# Acquisition field -> DICOM keyword, for values written as they are
KEYWORDS = {
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "software": "SoftwareVersions",
    "body_part": "BodyPartExamined",
    "series_description": "SeriesDescription",
    "protocol_name": "ProtocolName",
    "sequence_name": "SequenceName",
    "scanning_sequence": "ScanningSequence",
    "sequence_variant": "SequenceVariant",
    "scan_options": "ScanOptions",
    "acquisition_type": "MRAcquisitionType",
    "contrast_agent": "ContrastBolusAgent",
    "convolution_kernel": "ConvolutionKernel",
    "view_position": "ViewPosition",
    "laterality": "ImageLaterality",
    "patient_position": "PatientPosition",
    "field_strength_t": "MagneticFieldStrength",
    "repetition_time_ms": "RepetitionTime",
    "echo_time_ms": "EchoTime",
    "inversion_time_ms": "InversionTime",
    "flip_angle_deg": "FlipAngle",
    "averages": "NumberOfAverages",
    "bandwidth_hz_per_pixel": "PixelBandwidth",
    "tube_voltage_kv": "KVP",
    "tube_current_ma": "XRayTubeCurrent",
    "exposure_mas": "Exposure",
    "echo_train_length": "EchoTrainLength",
    "echo_number": "EchoNumbers",
    "b_value_s_per_mm2": "DiffusionBValue",
    "diffusion_directionality": "DiffusionDirectionality",
}
WHOLE = {"XRayTubeCurrent", "Exposure", "EchoTrainLength", "EchoNumbers"}


def describe(dataset: Any, acquired: Acquisition) -> None:
    """Write what the acquisition states; elements that the standard demands but nobody stated stay empty."""
    values = acquired.to_dict()
    if acquired.modality == "MR":
        for keyword in ("ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType"):
            setattr(dataset, keyword, "")
        for keyword in ("RepetitionTime", "EchoTime", "EchoTrainLength"):
            setattr(dataset, keyword, None)
    if acquired.modality == "CT":
        dataset.KVP = None
        dataset.AcquisitionNumber = None
    dataset.ImageType = values.get("image_type") or ["ORIGINAL", "PRIMARY"] + ["AXIAL"] * (acquired.modality == "CT")
    for name, keyword in KEYWORDS.items():
        if name in values:
            setattr(dataset, keyword, _header_value(values[name], keyword))


def _header_value(value: Any, keyword: str) -> Any:
    if keyword in WHOLE:
        return str(round(value))
    if keyword == "DiffusionBValue":
        return float(value)
    return decimal(float(value)) if isinstance(value, (int, float)) else value


def _place(dataset: Any, geometry: SliceGeometry, index: int, acquired: Acquisition) -> None:
    row_mm, column_mm = decimal(geometry.spacing_mm[1]), decimal(geometry.spacing_mm[0])
    if acquired.modality in PROJECTIONS:
        dataset.ImagerPixelSpacing = [row_mm, column_mm]
        dataset.PixelSpacing = [row_mm, column_mm]
        dataset.PatientOrientation = [_letter(geometry.row_axis), _letter(geometry.column_axis)]
        return
    dataset.PixelSpacing = [row_mm, column_mm]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = geometry.position(index), geometry.orientation
    dataset.SliceThickness = decimal(acquired.slice_thickness_mm or geometry.spacing_mm[2])
    dataset.SpacingBetweenSlices = decimal(geometry.spacing_mm[2])
    normal = np.cross(geometry.row_axis, geometry.column_axis)
    dataset.SliceLocation = decimal(float(np.dot(normal, geometry.origin + geometry.step * index)))


def _letter(axis: np.ndarray) -> str:
    place = int(np.argmax(np.abs(axis)))
    return (("R", "L"), ("A", "P"), ("F", "H"))[place][int(axis[place] > 0)]


def mark_channel(dataset: Any, name: str, channel: int, count: int) -> None:
    """Say which time point or b-value an image belongs to."""
    if count == 1:
        return
    dataset.TemporalPositionIdentifier, dataset.NumberOfTemporalPositions = str(channel + 1), str(count)
    dataset.AcquisitionNumber = str(channel + 1)
    b_value = b_value_of(name)
    if b_value is not None:
        dataset.DiffusionBValue = b_value


def b_value_of(name: str) -> float | None:
    """The b-value in a channel's name.

    >>> b_value_of("b=1000 s/mm2 #2"), b_value_of("time 3")
    (1000.0, None)
    """
    if not name.startswith("b="):
        return None
    try:
        return float(name[2:].split(" ", 1)[0])
    except ValueError:
        return None


def put_pixels(dataset: Any, frames: np.ndarray, quantity: Quantised, colour: bool) -> None:
    """Pixel data of (frames, rows, columns[, 3]) with everything that describes them."""
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = frames.shape[1], frames.shape[2]
    bits = 8 * frames.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(frames.dtype.kind == "i")
    if not colour and (dataset.Modality == "CT" or (quantity.slope, quantity.intercept) != (1.0, 0.0)):
        dataset.RescaleIntercept, dataset.RescaleSlope = decimal(quantity.intercept), decimal(quantity.slope)
        dataset.RescaleType = "HU" if dataset.Modality == "CT" else "US"
    data = np.ascontiguousarray(frames).astype(frames.dtype.newbyteorder("<"), copy=False).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def quantisation_error(volumes: Sequence[Volume]) -> float:
    """The largest difference that writing these volumes as int16 makes, in their own units."""
    return max(quantised(volume.array).error for volume in volumes)
