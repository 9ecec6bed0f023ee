"""One enhanced multi-frame DICOM object: shared and per-frame functional groups instead of a file per slice."""

from __future__ import annotations

from typing import Any

import numpy as np

from radfoundry.data.dicom_identity import Identity, uid
from radfoundry.data.dicom_numbers import Quantised, decimal, quantised
from radfoundry.data.dicom_write_header import (
    SliceGeometry,
    b_value_of,
    describe,
    identify,
    new_dataset,
    put_pixels,
)
from radfoundry.records import Acquisition, InputError
from radfoundry.volume import Volume

ENHANCED_CLASSES = {"MR": "1.2.840.10008.5.1.4.1.1.4.1", "CT": "1.2.840.10008.5.1.4.1.1.2.1"}


def enhanced_dataset(volume: Volume, geometry: SliceGeometry, acquired: Acquisition, identity: Identity) -> Any:
    """The data set of one multi-frame object, frames ordered by channel and then by slice."""
    modality = acquired.modality or "MR"
    if modality not in ENHANCED_CLASSES:
        raise InputError(f"no enhanced object for modality {modality!r}", remedy="use MR or CT", finding="unsupported")
    quantity = quantised(volume.array)
    dataset = new_dataset(ENHANCED_CLASSES[modality], uid("enhanced", identity.seed, identity.series_uid))
    identify(dataset, identity, modality)
    describe(dataset, acquired)
    for keyword in ("EchoTime", "DiffusionBValue", "FlipAngle", "RepetitionTime"):
        if keyword in dataset:
            delattr(dataset, keyword)  # these live in functional groups
    dataset.InstanceNumber = "1"
    frames = np.moveaxis(quantity.stored, 3, 1).swapaxes(2, 3)  # (channel, slice, row, column)
    put_pixels(dataset, frames.reshape(-1, *frames.shape[2:]), quantity, colour=False)
    for keyword in ("RescaleIntercept", "RescaleSlope", "RescaleType"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.NumberOfFrames = str(frames.shape[0] * frames.shape[1])
    dataset.SharedFunctionalGroupsSequence = [_shared(geometry, acquired, quantity)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame(volume, geometry, channel, index)
        for channel in range(frames.shape[0])
        for index in range(frames.shape[1])
    ]
    return dataset


def _item(**values: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _shared(geometry: SliceGeometry, acquired: Acquisition, quantity: Quantised) -> Any:
    group = _item(
        PlaneOrientationSequence=[_item(ImageOrientationPatient=geometry.orientation)],
        PixelMeasuresSequence=[
            _item(
                PixelSpacing=[decimal(geometry.spacing_mm[1]), decimal(geometry.spacing_mm[0])],
                SliceThickness=decimal(acquired.slice_thickness_mm or geometry.spacing_mm[2]),
                SpacingBetweenSlices=decimal(geometry.spacing_mm[2]),
            )
        ],
        PixelValueTransformationSequence=[
            _item(
                RescaleIntercept=decimal(quantity.intercept),
                RescaleSlope=decimal(quantity.slope),
                RescaleType="HU" if acquired.modality == "CT" else "US",
            )
        ],
    )
    if acquired.echo_time_ms is not None:
        group.MREchoSequence = [_item(EffectiveEchoTime=acquired.echo_time_ms)]
    if acquired.repetition_time_ms is not None:
        group.MRTimingAndRelatedParametersSequence = [
            _item(
                RepetitionTime=decimal(acquired.repetition_time_ms),
                FlipAngle=decimal(acquired.flip_angle_deg or 0.0),
            )
        ]
    return group


def _frame(volume: Volume, geometry: SliceGeometry, channel: int, index: int) -> Any:
    group = _item(
        FrameContentSequence=[
            _item(
                StackID="1",
                InStackPositionNumber=index + 1,
                TemporalPositionIndex=channel + 1,
                DimensionIndexValues=[1, index + 1, channel + 1],
            )
        ],
        PlanePositionSequence=[_item(ImagePositionPatient=geometry.position(index))],
    )
    b_value = b_value_of(volume.channels[channel]) if volume.channels else None
    if b_value is not None:
        group.MRDiffusionSequence = [_item(DiffusionBValue=b_value)]
    return group
