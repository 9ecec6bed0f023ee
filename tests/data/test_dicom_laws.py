"""Laws of writing and reading DICOM back, over random shapes, flips, obliques and values."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from dicom_samples import AXIAL, CORONAL, MR, PATIENT, SAGITTAL, only_group, rotation, volume, written
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from radfoundry.data.dicom_numbers import decimal, quantised
from radfoundry.data.dicom_series import load_series
from radfoundry.data.dicom_write import write_series
from radfoundry.records import Acquisition, InputError
from radfoundry.volume import Volume

angles = st.floats(-80, 80)
lengths = st.integers(1, 7)
spacings = st.floats(0.2, 9)


@st.composite
def volumes(draw):
    axes = draw(st.sampled_from([AXIAL, SAGITTAL, CORONAL])) @ np.diag(
        draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    )
    if draw(st.booleans()):
        axes = rotation(draw(angles), draw(angles), draw(angles)) @ axes
    shape = (draw(st.integers(1, 3)), draw(lengths), draw(lengths), draw(lengths))
    affine = np.eye(4)
    affine[:3, :3] = axes * draw(st.tuples(spacings, spacings, spacings))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    array = np.random.default_rng(draw(st.integers(0, 99))).integers(-2000, 2000, shape).astype(np.int16)
    names = tuple(f"time {index + 1}" for index in range(shape[0])) if shape[0] > 1 else ()
    return Volume(array, affine, channels=names)


def same_places(one, other):
    """Both volumes hold the same value at the same millimetre, whatever their array order."""
    one, other = one.reorient("RAS"), other.reorient("RAS")
    assert one.geometry.matches(other.geometry, tolerance_mm=1e-3)
    assert np.array_equal(one.array, other.array)


@settings(max_examples=40, deadline=None)
@given(image=volumes(), enhanced=st.booleans())
def test_what_is_written_is_read_back(image, enhanced):
    with tempfile.TemporaryDirectory() as folder:
        read = load_series(only_group(written(image, folder, enhanced=enhanced)))
    same_places(image, read.volume)
    assert read.volume.channels == image.channels
    assert read.repairs == ()


@settings(max_examples=15, deadline=None)
@given(image=volumes())
def test_slices_ascend_along_the_right_handed_normal(image):
    with tempfile.TemporaryDirectory() as folder:
        read = load_series(only_group(written(image, folder))).volume
    columns = np.diag([-1, -1, 1]) @ read.affine[:3, :3]
    assert np.dot(np.cross(columns[:, 0], columns[:, 1]), columns[:, 2]) > 0


@settings(max_examples=15, deadline=None)
@given(image=volumes(), low=st.floats(-1e4, 1e4), scale=st.floats(1e-3, 1e5))
def test_quantisation_is_off_by_at_most_half_a_step(image, low, scale):
    values = np.random.default_rng(1).random(image.array.shape) * scale + low
    single = values.astype(np.float32)
    assume(len(values) == 1 or np.ptp(single) > 1e-5 * np.abs(single).max())  # equal ones are refused as sent twice
    image = image.with_array(values)
    channels = tuple(f"time {index + 1}" for index in range(len(values))) if len(values) > 1 else ()
    image = Volume(values, image.affine, channels=channels)
    with tempfile.TemporaryDirectory() as folder:
        read = load_series(only_group(written(image, folder))).volume.reorient("RAS").array
    wanted = image.reorient("RAS").array
    step = np.ptp(values) / 65534 if np.ptp(values) else 0.0
    rounding = 1e-6 * np.abs(values).max()  # float32, and decimal strings of 16 characters
    assert np.abs(read - wanted).max() <= 0.51 * step + rounding
    assert np.abs(read - wanted).max() <= quantised(values).error + rounding


@given(st.floats(-1e30, 1e30))
def test_decimal_strings_fit_and_are_close(value):
    text = decimal(value)
    assert len(text) <= 16
    assert float(text) == pytest.approx(value, rel=1e-8, abs=1e-300)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        written(volume(shape=(2, 6, 6, 3), channels=("time 1", "time 2")), tmp_path / name)
        written(volume(), tmp_path / name, enhanced=True, prefix="e")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_every_instance_has_its_own_uid(tmp_path):
    items = written(volume(), tmp_path / "a") + written(volume(), tmp_path / "b", identity=PATIENT.__class__("Q"))
    assert len({item.sop_uid for item in items}) == len(items)
    assert len({item.series_uid for item in items}) == 2
    assert all(item.sop_uid.startswith("2.25.") and len(item.sop_uid) <= 64 for item in items)


def test_written_files_satisfy_pydicom(tmp_path, recwarn):
    import pydicom

    for modality in ("MR", "CT", "DX", "CR", "MG", "OT"):
        shape = (1, 6, 6, 1) if modality in ("DX", "CR", "MG") else (1, 6, 6, 2)
        folder = tmp_path / modality
        for path in write_series(
            volume(shape=shape), folder, acquisition=Acquisition(modality=modality), identity=PATIENT
        ):
            dataset = pydicom.dcmread(path)
            assert dataset.file_meta.FileMetaInformationGroupLength > 0
            assert dataset.pixel_array.shape == (6, 6)
            assert str(dataset.PatientName) == "Zebra^Planted"
            for element in dataset.iterall():
                assert element.VR
    assert not recwarn.list


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_refused(tmp_path, value):
    image = Volume.of(np.full((3, 3, 3), value), np.eye(4))
    with pytest.raises(InputError) as caught:
        write_series(image, tmp_path, acquisition=MR, identity=PATIENT)
    assert caught.value.finding == "nan-voxels"
    assert list(tmp_path.iterdir()) == []


def test_skewed_axes_existing_files_and_unknown_modalities_are_refused(tmp_path):
    skewed = np.eye(4)
    skewed[0, 1] = 0.4
    with pytest.raises(InputError, match="perpendicular"):
        write_series(Volume.of(np.zeros((3, 3, 3)), skewed), tmp_path, acquisition=MR, identity=PATIENT)
    with pytest.raises(InputError, match="modality"):
        write_series(volume(), tmp_path, acquisition=Acquisition(modality="XX"), identity=PATIENT)
    write_series(volume(), tmp_path, acquisition=MR, identity=PATIENT)
    before = {path: path.read_bytes() for path in Path(tmp_path).iterdir()}
    with pytest.raises(InputError, match="exists"):
        write_series(volume(seed=1), tmp_path, acquisition=MR, identity=PATIENT)
    assert before == {path: path.read_bytes() for path in Path(tmp_path).iterdir()}
