"""Volumes with awkward geometry, and DICOM folders written from them, for tests."""

import numpy as np

from radfoundry.data.dicom_header import read_instances
from radfoundry.data.dicom_series import group_instances
from radfoundry.data.dicom_write import Identity, write_series
from radfoundry.data.sources import Source
from radfoundry.records import Acquisition
from radfoundry.volume import Volume

PATIENT = Identity(patient_id="P-1", patient_name="Zebra^Planted", study_date="20200102", institution="Nowhere")
MR = Acquisition(modality="MR", manufacturer="Maker", repetition_time_ms=500.0, echo_time_ms=10.0)


def rotation(x_deg=0.0, y_deg=0.0, z_deg=0.0):
    matrix = np.eye(3)
    for axis, angle in ((0, x_deg), (1, y_deg), (2, z_deg)):
        turn, (a, b) = np.eye(3), [i for i in range(3) if i != axis]
        cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = cosine, -sine, sine, cosine
        matrix = turn @ matrix
    return matrix


def affine_of(axes, spacing_mm, origin_mm=(-40.0, 30.0, 12.5)):
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(axes, dtype=float) * np.asarray(spacing_mm, dtype=float)
    affine[:3, 3] = origin_mm
    return affine


# array axes (columns, rows, slices) as directions in RAS
AXIAL = np.diag([-1.0, -1.0, 1.0])
SAGITTAL = np.array([[0, 0, -1.0], [-1.0, 0, 0], [0, -1.0, 0]])
CORONAL = np.array([[-1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])


def volume(axes=AXIAL, spacing_mm=(1.0, 1.25, 3.0), shape=(1, 12, 10, 6), *, seed=0, channels=()):
    array = np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)
    return Volume(array, affine_of(axes, spacing_mm), channels=channels)


def written(image, folder, *, acquisition=MR, identity=PATIENT, **options):
    """Write a volume and give the header records of its files."""
    paths = write_series(image, folder, acquisition=acquisition, identity=identity, **options)
    return read_instances([Source(str(path)) for path in paths])


def only_group(instances):
    (group,) = group_instances(instances)
    return group
