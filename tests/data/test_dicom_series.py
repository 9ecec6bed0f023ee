"""Grouping of files into series, the named refusals, and what each repair does."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import AXIAL, CORONAL, MR, PATIENT, SAGITTAL, only_group, rotation, volume, written

from radfoundry.data.dicom_header import read_instances
from radfoundry.data.dicom_series import group_instances, load_series
from radfoundry.data.reading import FINDINGS, Repair
from radfoundry.data.sources import walk
from radfoundry.records import Acquisition, InputError

ONE_SERIES = replace(PATIENT, study_uid="2.25.1", series_uid="2.25.2")


def edited(folder, change, *, keep=lambda number: True):
    """Apply `change(dataset, number)` to every file of a folder, drop those not kept, and read the headers."""
    for path in sorted(Path(folder).glob("*.dcm")):
        dataset = pydicom.dcmread(path)
        number = int(dataset.InstanceNumber)
        if keep(number):
            change(dataset, number)
            dataset.save_as(path)
        else:
            path.unlink()
    return read_instances(walk([folder]))


def unchanged(dataset, number):
    pass


def moved(dataset, vector):
    position = np.array(dataset.ImagePositionPatient, dtype=float) + vector
    dataset.ImagePositionPatient = [f"{value:.8g}" for value in position]


def finding_of(instances, repair=None):
    with pytest.raises(InputError) as caught:
        load_series(only_group(instances), repair=repair or Repair())
    assert caught.value.finding in FINDINGS
    assert caught.value.remedy
    assert "Zebra" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.finding


def test_files_in_any_order_give_the_same_volume(tmp_path):
    instances = written(volume(rotation(x_deg=9) @ AXIAL, shape=(2, 8, 9, 7), channels=("time 1", "time 2")), tmp_path)
    first = load_series(only_group(instances)).volume
    for seed in range(3):
        random.Random(seed).shuffle(instances)
        again = load_series(only_group(instances)).volume
        assert np.array_equal(first.array, again.array)
        assert np.array_equal(first.affine, again.affine)
        shuffled = load_series(instances).volume
        assert np.array_equal(first.array, shuffled.array)


def test_the_array_runs_as_stored_and_the_affine_says_where(tmp_path):
    image = volume(SAGITTAL)
    read = load_series(only_group(written(image, tmp_path))).volume
    assert np.array_equal(read.array, image.array) or np.array_equal(read.array, image.array[..., ::-1])
    assert read.geometry.matches(image.geometry, tolerance_mm=1e-6) or read.orientation != image.orientation
    first = pydicom.dcmread(tmp_path / "0001.dcm")
    assert np.array_equal(read.array[0, :, :, 0].T, first.pixel_array) or np.array_equal(
        read.array[0, :, :, -1].T, first.pixel_array
    )


def test_a_localiser_is_split_by_orientation(tmp_path):
    instances = []
    for index, axes in enumerate((AXIAL, SAGITTAL, CORONAL)):
        own = replace(ONE_SERIES, seed=index)
        instances += written(volume(axes, shape=(1, 8, 8, 2)), tmp_path, identity=own, prefix=f"{index}-")
    groups = group_instances(instances)
    assert len(groups) == 3
    assert {load_series(group).volume.orientation for group in groups} == {"LPS", "PIR", "LIP"}


def test_magnitude_and_phase_are_two_series(tmp_path):
    instances = []
    for index, kind in enumerate("MP"):
        acquired = replace(MR, image_type=("ORIGINAL", "PRIMARY", kind))
        own = replace(ONE_SERIES, seed=index)
        instances += written(volume(seed=index), tmp_path, acquisition=acquired, identity=own, prefix=kind)
    assert [group[0].image_type[2] for group in group_instances(instances)] == ["M", "P"]


def test_series_keep_apart_and_grouping_is_stable(tmp_path):
    instances = []
    for number in (3, 1, 2):
        own = replace(PATIENT, series_number=number)
        instances += written(volume(seed=number, shape=(1, 4, 4, 2)), tmp_path, identity=own, prefix=f"{number}-")
    groups = group_instances(instances)
    assert [group[0].series_number for group in groups] == [1, 2, 3]
    assert groups == group_instances(reversed(instances))


def test_a_missing_slice_is_refused_or_filled(tmp_path):
    image = volume(AXIAL, shape=(1, 8, 8, 9))
    written(image, tmp_path)
    instances = edited(tmp_path, unchanged, keep=lambda number: number not in (3, 6, 7))
    assert finding_of(instances) == "slice-gap"
    read = load_series(only_group(instances), repair=Repair(gaps="fill"))
    assert read.repairs == ("slice-gap",)
    assert read.volume.geometry.matches(image.geometry)
    values = image.array.astype(float)
    found = read.volume.array.astype(float)
    assert np.array_equal(found[..., [0, 1, 3, 4, 7, 8]], values[..., [0, 1, 3, 4, 7, 8]])
    assert np.abs(found[..., 2] - (values[..., 1] + values[..., 3]) / 2).max() <= 0.5
    assert np.abs(found[..., 5] - (2 * values[..., 4] + values[..., 7]) / 3).max() <= 0.5


def test_uneven_spacing_is_refused_or_resampled(tmp_path):
    image = volume(AXIAL, shape=(1, 6, 6, 8), spacing_mm=(1, 1, 2.0))
    ramp = np.broadcast_to(np.arange(8) * 100, image.array.shape).astype(np.int16)
    written(image.with_array(ramp), tmp_path)
    shift = np.array([0, 0.0, 0, 0.7, 0.7, 0, 0, 0])
    instances = edited(tmp_path, lambda dataset, number: moved(dataset, [0, 0, shift[number - 1]]))
    assert finding_of(instances) == "uneven-spacing"
    read = load_series(only_group(instances), repair=Repair(spacing="resample"))
    assert read.repairs == ("uneven-spacing",)
    assert read.volume.spacing_mm[2] == pytest.approx(2.0)
    places = np.arange(8) * 2.0
    expected = np.interp(places, places + shift, np.arange(8) * 100)
    assert np.abs(read.volume.array[0, 0, 0] - expected).max() <= 0.5


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even(tmp_path):
    written(volume(AXIAL, shape=(1, 6, 6, 30), spacing_mm=(1, 1, 0.625)), tmp_path)

    def rounded(dataset, number):
        dataset.ImagePositionPatient = [f"{float(value):.1f}" for value in dataset.ImagePositionPatient]

    assert load_series(only_group(edited(tmp_path, rounded))).volume.spacing_mm[2] == pytest.approx(0.625, abs=0.004)


def test_the_same_file_twice_is_refused_or_used_once(tmp_path):
    image = volume(AXIAL, shape=(1, 6, 6, 5))
    written(image, tmp_path / "a")
    (tmp_path / "a" / "copy.dcm").write_bytes((tmp_path / "a" / "0003.dcm").read_bytes())
    instances = read_instances(walk([tmp_path]))
    assert finding_of(instances) == "duplicate-slices"
    read = load_series(only_group(instances), repair=Repair(duplicates="first"))
    assert read.repairs == ("duplicate-slices",)
    assert np.array_equal(read.volume.array, image.array)


def test_a_slice_taken_again_can_be_first_or_last(tmp_path):
    image = volume(AXIAL, shape=(1, 6, 6, 5))
    written(image, tmp_path / "a")
    dataset = pydicom.dcmread(tmp_path / "a" / "0003.dcm")
    dataset.SOPInstanceUID, dataset.InstanceNumber = "2.25.99", "6"
    dataset.PixelData = np.full((6, 6), 77, dtype="<i2").tobytes()
    dataset.save_as(tmp_path / "a" / "again.dcm")
    instances = read_instances(walk([tmp_path]))
    assert finding_of(instances) == "duplicate-slices"
    first = load_series(only_group(instances), repair=Repair(duplicates="first")).volume.array
    last = load_series(only_group(instances), repair=Repair(duplicates="last")).volume.array
    assert np.array_equal(first, image.array)
    assert (last[0, :, :, 2] == 77).all()


def test_a_whole_series_sent_twice_is_refused(tmp_path):
    image = volume(AXIAL, shape=(1, 6, 6, 5))
    written(image, tmp_path / "a", identity=ONE_SERIES)
    written(image, tmp_path / "b", identity=replace(ONE_SERIES, seed=5))
    instances = edited(tmp_path / "b", lambda dataset, number: setattr(dataset, "InstanceNumber", str(number + 5)))
    assert finding_of(read_instances(walk([tmp_path / "a"])) + instances) == "duplicate-slices"


@pytest.mark.parametrize("pattern", ["late", "random"])
def test_time_points_without_all_slices_are_refused_or_dropped(tmp_path, pattern):
    image = volume(AXIAL, shape=(3, 6, 6, 4), channels=("time 1", "time 2", "time 3"))
    written(image, tmp_path)
    gone = (11, 12) if pattern == "late" else (9, 12)
    instances = edited(tmp_path, unchanged, keep=lambda number: number not in gone)
    assert finding_of(instances) == "incomplete-volume"
    read = load_series(only_group(instances), repair=Repair(incomplete="drop"))
    assert read.repairs == ("incomplete-volume",)
    assert np.array_equal(read.volume.array, image.array[:2])


def test_mixed_matrices_are_refused_or_the_most_frequent_kept(tmp_path):
    image = volume(AXIAL, shape=(1, 6, 6, 5))
    written(image, tmp_path, identity=ONE_SERIES)
    written(volume(AXIAL, shape=(1, 8, 8, 1)), tmp_path, identity=replace(ONE_SERIES, seed=4), prefix="big")
    instances = read_instances(walk([tmp_path]))
    assert finding_of(instances) == "mixed-matrix"
    read = load_series(only_group(instances), repair=Repair(mixed="largest"))
    assert read.repairs == ("mixed-matrix",)
    assert np.array_equal(read.volume.array, image.array)


def test_a_tilted_gantry_is_refused(tmp_path):
    written(volume(AXIAL), tmp_path, acquisition=Acquisition(modality="CT"))
    instances = edited(tmp_path, lambda dataset, number: moved(dataset, [0, 0.5 * number, 0]))
    assert finding_of(instances) == "gantry-tilt"


def test_slices_off_the_line_are_refused(tmp_path):
    written(volume(AXIAL), tmp_path)
    instances = edited(tmp_path, lambda dataset, number: moved(dataset, [0, 4.0 * (number == 3), 0]))
    assert finding_of(instances) == "uneven-spacing"


def test_an_orientation_that_is_none_is_refused(tmp_path):
    written(volume(AXIAL), tmp_path)
    instances = edited(tmp_path, lambda d, n: setattr(d, "ImageOrientationPatient", ["1", "0", "0", "1", "0", "0"]))
    assert finding_of(instances) == "affine"


@pytest.mark.parametrize("value", [["0", "1"], ["-1", "1"]])
def test_spacing_that_is_none_is_refused(tmp_path, value):
    written(volume(AXIAL), tmp_path)
    assert finding_of(edited(tmp_path, lambda d, n: setattr(d, "PixelSpacing", value))) == "no-geometry"


def test_a_single_slice_without_thickness_is_refused_or_flat(tmp_path):
    written(volume(AXIAL, shape=(1, 6, 6, 1)), tmp_path)

    def thin(dataset, number):
        del dataset.SliceThickness, dataset.SpacingBetweenSlices

    instances = edited(tmp_path, thin)
    assert finding_of(instances) == "no-geometry"
    assert load_series(instances, repair=Repair(geometry="image")).repairs == ("no-geometry",)


def test_a_cross_section_without_a_position_is_refused_or_a_picture(tmp_path):
    written(volume(AXIAL, shape=(1, 6, 6, 2)), tmp_path)

    def lost(dataset, number):
        del dataset.ImagePositionPatient

    groups = group_instances(edited(tmp_path, lost))
    assert len(groups) == 2
    for group in groups:
        with pytest.raises(InputError) as caught:
            load_series(group)
        assert caught.value.finding == "no-geometry"
        read = load_series(group, repair=Repair(geometry="image"))
        assert read.repairs == ("no-geometry",)
        assert read.volume.shape == (6, 6, 1)


def test_frames_without_functional_groups_are_refused(tmp_path):
    written(volume(AXIAL, shape=(1, 6, 6, 1)), tmp_path)

    def film(dataset, number):
        dataset.NumberOfFrames, dataset.PixelData = "3", dataset.PixelData * 3

    assert finding_of(edited(tmp_path, film)) == "no-geometry"


def test_enhanced_frames_in_several_directions_are_refused(tmp_path):
    written(volume(AXIAL, shape=(1, 6, 6, 4)), tmp_path, enhanced=True)
    dataset = pydicom.dcmread(tmp_path / "0001.dcm")
    orientation = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    for index, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        item = pydicom.Dataset()
        turned = ["0", "1", "0", "0", "0", "-1"]
        item.ImageOrientationPatient = turned if index == 2 else orientation[0].ImageOrientationPatient
        frame.PlaneOrientationSequence = [item]
    dataset.save_as(tmp_path / "0001.dcm")
    assert finding_of(read_instances(walk([tmp_path]))) == "mixed-orientation"


def test_enhanced_files_without_their_groups_are_refused(tmp_path):
    written(volume(AXIAL, shape=(1, 6, 6, 4)), tmp_path, enhanced=True)
    dataset = pydicom.dcmread(tmp_path / "0001.dcm")
    groups = dataset.PerFrameFunctionalGroupsSequence
    dataset.PerFrameFunctionalGroupsSequence = groups[:3]
    dataset.save_as(tmp_path / "0001.dcm")
    with pytest.raises(InputError) as caught:
        read_instances(walk([tmp_path]))
    assert caught.value.finding == "missing-groups"
    dataset.PerFrameFunctionalGroupsSequence = [*groups[:3], pydicom.Dataset()]
    dataset.save_as(tmp_path / "0001.dcm")
    assert finding_of(read_instances(walk([tmp_path]))) == "no-geometry"


def test_a_mosaic_without_its_private_header_is_refused(tmp_path):
    written(volume(AXIAL, shape=(1, 12, 12, 1)), tmp_path)
    mosaic = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    assert finding_of(edited(tmp_path, lambda d, n: setattr(d, "ImageType", mosaic))) == "mosaic"


def test_the_largest_b_value_is_stated(tmp_path):
    names = ("b=0 s/mm2", "b=50 s/mm2", "b=800 s/mm2")
    image = volume(AXIAL, shape=(3, 6, 6, 4), channels=names)
    read = load_series(only_group(written(image, tmp_path)))
    assert read.acquisition.b_value_s_per_mm2 == 800
    assert read.volume.channels == names


def test_fewer_slices_than_asked_for_are_refused(tmp_path):
    instances = written(volume(AXIAL, shape=(1, 6, 6, 4)), tmp_path)
    assert finding_of(instances, Repair(minimum_slices=5)) == "too-few-slices"
    assert load_series(instances, repair=Repair(minimum_slices=4)).repairs == ()


def test_voxels_that_are_no_numbers_are_refused_or_zero(tmp_path):
    written(volume(AXIAL, shape=(1, 6, 6, 2)), tmp_path)

    def overflow(dataset, number):
        dataset.RescaleSlope, dataset.RescaleIntercept = "1e300" if number == 2 else "1.5", "0"

    instances = edited(tmp_path, overflow)
    assert finding_of(instances) == "nan-voxels"
    read = load_series(instances, repair=Repair(nan="zero"))
    assert read.repairs == ("nan-voxels",)
    assert np.isfinite(read.volume.array).all()


def test_nothing_to_read_is_an_error():
    with pytest.raises(InputError):
        load_series([])
