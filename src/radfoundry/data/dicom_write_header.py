"""The header of a written DICOM image: who, when, how acquired, and where each slice lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.data.dicom_identity import Identity, uid
from radfoundry.data.dicom_numbers import Quantised, decimal
from radfoundry.records import Acquisition, InputError
from radfoundry.volume import Volume

SOP_CLASSES = {
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "MG": "1.2.840.10008.5.1.4.1.1.1.2",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "OT": "1.2.840.10008.5.1.4.1.1.7",
}
PROJECTIONS = ("DX", "CR", "MG")
PICTURES = (*PROJECTIONS, "US")  # no place in the patient, only pixel sizes and directions
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IMPLEMENTATION = "2.25.304312766164279213907262186452718293"


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

    def location(self, index: int) -> str:
        """How far slice `index` lies along the normal, as a decimal string."""
        normal = np.cross(self.row_axis, self.column_axis)
        return decimal(float(np.dot(normal, self.origin + self.step * index)))

    @property
    def orientation(self) -> list[str]:
        """Row and column direction as decimal strings."""
        return [decimal(float(value)) for value in (*self.row_axis, *self.column_axis)]


def slice_geometry(volume: Volume) -> SliceGeometry:
    """The geometry of a volume in LPS; refuses axes that are not perpendicular."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-4:
        raise InputError("the axes are not perpendicular", remedy="resample the volume first", finding="affine")
    return SliceGeometry(axes[:, 0], axes[:, 1], affine[:3, 2], affine[:3, 3], volume.spacing_mm)


def header(acquired: Acquisition, identity: Identity, *, number: int) -> Any:
    """Everything in a single-frame header that does not depend on the slice's place or pixels."""
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
    if modality in PICTURES:
        dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    if modality in PROJECTIONS:
        describe_projection(dataset, acquired)
    if modality == "OT":
        dataset.ConversionType = "SYN"
    return dataset


# Views of mammography (CID 4014) and the anatomy they show, as SNOMED CT codes them.
VIEW_CODES = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}


def describe_projection(dataset: Any, acquired: Acquisition) -> None:
    """What films say of themselves: for presentation, logarithmic, which way bright goes, and the coded view."""
    dark = acquired.photometric == "MONOCHROME1"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.PresentationLUTShape = "INVERSE" if dark else "IDENTITY"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", 1 if dark else -1
    if acquired.modality == "MG":
        dataset.PositionerType = "MAMMOGRAPHIC"
        dataset.AnatomicRegionSequence = [_coded("76752008", "Breast")]
        if acquired.view_position in VIEW_CODES:
            dataset.ViewCodeSequence = [_coded(*VIEW_CODES[acquired.view_position])]


def _coded(code: str, meaning: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SCT", meaning
    return item


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
    if modality not in PICTURES:
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
    "receive_coil": "ReceiveCoilName",
    "angio_flag": "AngioFlag",
    "acquisition_contrast": "AcquisitionContrast",
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


def place(dataset: Any, geometry: SliceGeometry, acquired: Acquisition) -> None:
    """Spacing and directions, with the position of the first slice."""
    row_mm, column_mm = decimal(geometry.spacing_mm[1]), decimal(geometry.spacing_mm[0])
    if acquired.modality in PICTURES:
        dataset.PixelSpacing = [row_mm, column_mm]
        dataset.PatientOrientation = [_letter(geometry.row_axis), _letter(geometry.column_axis)]
        if acquired.modality in PROJECTIONS:
            dataset.ImagerPixelSpacing = [row_mm, column_mm]
        return
    dataset.PixelSpacing = [row_mm, column_mm]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = geometry.position(0), geometry.orientation
    dataset.SliceThickness = decimal(acquired.slice_thickness_mm or geometry.spacing_mm[2])
    dataset.SpacingBetweenSlices = decimal(geometry.spacing_mm[2])
    dataset.SliceLocation = geometry.location(0)


def _letter(axis: np.ndarray) -> str:
    place = int(np.argmax(np.abs(axis)))
    return (("R", "L"), ("A", "P"), ("F", "H"))[place][int(axis[place] > 0)]


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
    dark = quantity.mirrored and not colour
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME1" if dark else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = frames.shape[1], frames.shape[2]
    bits = 8 * frames.dtype.itemsize
    stored = quantity.bits or bits
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, stored, stored - 1
    dataset.PixelRepresentation = int(frames.dtype.kind == "i")
    if not colour and (dataset.Modality == "CT" or (quantity.slope, quantity.intercept) != (1.0, 0.0)):
        dataset.RescaleIntercept, dataset.RescaleSlope = decimal(quantity.intercept), decimal(quantity.slope)
        dataset.RescaleType = "HU" if dataset.Modality == "CT" else "US"
    data = np.ascontiguousarray(frames).astype(frames.dtype.newbyteorder("<"), copy=False).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
