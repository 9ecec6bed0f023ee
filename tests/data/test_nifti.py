"""Laws of NIfTI reading and writing; nibabel, written by others, is the judge."""

import gzip
import io
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_strategies import affines, same, volumes

from radfoundry.data.nifti import read_nifti, read_nifti_header, write_nifti
from radfoundry.data.nifti_header import quaternion_of
from radfoundry.data.reading import Repair
from radfoundry.records import InputError
from radfoundry.volume import Volume

few = settings(max_examples=40, deadline=None)


def nibabel_bytes(image, *, zipped=False):
    data = image.to_bytes()
    return gzip.compress(data, 1) if zipped else data


def edited(data, **fields):
    """The bytes of a NIfTI-1 file with header fields set through nibabel's own header record."""
    header = nib.Nifti1Header(data[:348], check=False)
    for name, value in fields.items():
        header._structarr[name] = value
    return header.binaryblock + data[348:]


def simple(shape=(4, 5, 6), kind=np.int16, affine=None):
    array = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    return nib.Nifti1Image(array, np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine)


@few
@given(volumes(sheared=True), st.sampled_from([".nii", ".nii.gz"]))
def test_what_is_written_is_read_back(tmp_path_factory, volume, suffix):
    path = tmp_path_factory.mktemp("nifti") / f"a{suffix}"
    write_nifti(volume, path)
    assert same(read_nifti(path).volume, volume)
    # and nibabel sees the same voxels at the same places
    image = nib.load(path)
    seen = np.asanyarray(image.dataobj)
    seen = np.moveaxis(seen.reshape(*volume.shape, -1), -1, 0)
    assert np.array_equal(seen, volume.array)
    assert np.allclose(image.affine, volume.affine, atol=1e-3)


@few
@given(volumes(most_channels=1), st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]), st.booleans())
def test_what_nibabel_writes_is_read(volume, kind, zipped):
    image = kind(volume.array[0], volume.affine, dtype=volume.array.dtype)
    assert same(read_nifti(nibabel_bytes(image, zipped=zipped)).volume, volume)


@few
@given(affines())
def test_a_qform_alone_places_the_image_as_nibabel_does(affine):
    image = simple()
    image.set_sform(None, code=0)
    image.set_qform(affine, code=1)
    read = read_nifti(image.to_bytes()).volume
    assert np.allclose(read.affine, image.get_qform(), atol=1e-4)


@few
@given(affines())
def test_quaternion_turns_back_into_its_rotation(affine):
    rotation = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    rotation[:, 2] *= np.sign(np.linalg.det(rotation))
    quaternion = quaternion_of(rotation)
    assert quaternion[0] >= 0
    assert np.allclose(nib.quaternions.quat2mat(quaternion), rotation, atol=1e-9)


@given(st.sampled_from(["<", ">"]), st.sampled_from(["u1", "i2", "f4", "f8"]))
@settings(deadline=None)
def test_either_byte_order(order, kind):
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(kind).newbyteorder(order))
    image = nib.Nifti1Image(np.arange(24).reshape(2, 3, 4).astype(kind), np.eye(4), header)
    read = read_nifti(image.to_bytes()).volume
    assert read.array.dtype == np.dtype(kind)
    assert np.array_equal(read.array[0], np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("slope", "intercept", "kind", "result"),
    [
        (0.0, 5.0, "i2", "i2"),  # a slope of 0 means no scaling (nifti1.h)
        (np.nan, 0.0, "i2", "i2"),
        (1.0, 0.0, "u1", "u1"),
        (1.0, -1024.0, "u2", "i2"),  # CT stored without sign stays whole
        (1.0, 40000.0, "i2", "i4"),
        (0.5, 0.0, "i2", "f4"),
        (2.0, -3.5, "f4", "f4"),
        (0.25, 1.0, "i4", "f8"),  # float32 could not hold 31 bits
    ],
)
def test_intensity_scaling_is_that_of_nibabel(slope, intercept, kind, result):
    data = edited(simple(kind=kind).to_bytes(), scl_slope=slope, scl_inter=intercept)
    read = read_nifti(data).volume
    assert read.array.dtype == np.dtype(result)
    assert np.allclose(read.array[0], nib.Nifti1Image.from_bytes(data).get_fdata(), rtol=1e-6)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("meter", 1000.0), ("micron", 0.001), (None, 1.0)])
def test_lengths_are_turned_into_mm(unit, factor):
    image = simple()
    image.header.set_xyzt_units(unit or "unknown")
    read = read_nifti(image.to_bytes()).volume
    assert np.allclose(read.spacing_mm, np.array([2.0, 2.0, 3.0]) * factor)


def test_time_points_become_channels_and_flat_axes_vanish():
    series = read_nifti(simple((3, 4, 5, 7)).to_bytes()).volume
    assert series.array.shape == (7, 3, 4, 5)
    assert np.array_equal(series.array[2], np.arange(420).reshape(3, 4, 5, 7)[..., 2])
    vectors = read_nifti(simple((3, 4, 5, 1, 3)).to_bytes()).volume
    assert vectors.array.shape == (3, 3, 4, 5)
    assert np.array_equal(vectors.array[1], np.arange(180).reshape(3, 4, 5, 3)[..., 1])
    assert read_nifti(simple((3, 4)).to_bytes()).volume.shape == (3, 4, 1)


@pytest.mark.parametrize("letters", ["rgb", "rgba"])
def test_colours_become_named_channels(letters):
    kind = np.dtype([(letter.upper(), "u1") for letter in letters])
    colours = np.random.default_rng(0).integers(0, 255, (4, 5, 6, len(letters)), dtype=np.uint8)
    image = nib.Nifti1Image(np.ascontiguousarray(colours).view(kind)[..., 0], np.eye(4))
    read = read_nifti(image.to_bytes()).volume
    assert read.channels == ("red", "green", "blue", "alpha")[: len(letters)]
    assert np.array_equal(np.moveaxis(read.array, 0, -1), colours)


def test_colours_are_written_as_colours(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (3, 4, 5, 6), dtype=np.uint8)
    volume = Volume(array, np.eye(4), channels=("red", "green", "blue"))
    write_nifti(volume, tmp_path / "a.nii")
    assert nib.load(tmp_path / "a.nii").header["datatype"] == 128
    assert same(read_nifti(tmp_path / "a.nii").volume, volume)


@pytest.mark.parametrize("zipped", [False, True])
def test_header_and_image_in_two_files(tmp_path, zipped):
    pair = nib.Nifti1Pair(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([1, 2, 3, 1]))
    ending = ".gz" if zipped else ""
    pair.to_filename(str(tmp_path / f"a.img{ending}"))
    read = read_nifti(tmp_path / f"a.hdr{ending}").volume
    assert np.array_equal(read.array[0], np.arange(24).reshape(2, 3, 4))
    (tmp_path / f"a.img{ending}").unlink()
    with pytest.raises(InputError, match="not beside it"):
        read_nifti(tmp_path / f"a.hdr{ending}")


def test_units_survive_and_the_same_image_gives_the_same_bytes(tmp_path):
    volume = Volume.of(np.zeros((2, 3, 4), np.int16), np.eye(4), units="HU")
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(volume, tmp_path / name)
    assert read_nifti(tmp_path / "a.nii.gz").volume.units == "HU"
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_more_than_32767_voxels_along_an_axis(tmp_path):
    volume = Volume.of(np.arange(40000, dtype=np.int32).reshape(40000, 1, 1), np.eye(4))
    write_nifti(volume, tmp_path / "a.nii")
    assert read_nifti_header(tmp_path / "a.nii").version == 2
    assert np.array_equal(nib.load(tmp_path / "a.nii").get_fdata().ravel(), np.arange(40000))
    assert same(read_nifti(tmp_path / "a.nii").volume, volume)


def test_nothing_is_left_behind_by_a_failed_write(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_nifti(Volume.of(np.zeros((2, 2, 2)), np.eye(4)), tmp_path / "a.nii")
    assert list(tmp_path.iterdir()) == []


def placed(sform=None, qform=None):
    image = simple()
    image.set_sform(sform, code=1 if sform is not None else 0)
    image.set_qform(qform, code=1 if qform is not None else 0)
    return image.to_bytes()


MOVED = np.diag([2.0, 2.0, 3.0, 1.0]) + np.array([[0, 0, 0, 9.0]] + [[0] * 4] * 3)
STRAIGHT = np.diag([2.0, 2.0, 3.0, 1.0])


def test_an_image_without_a_place_is_refused_or_read_as_told():
    with pytest.raises(InputError) as error:
        read_nifti(placed())
    assert error.value.finding == "no-geometry"
    read = read_nifti(placed(), repair=Repair(geometry="image"))
    assert read.repairs == ("no-geometry",)
    assert read.volume.spacing_mm == (2.0, 2.0, 3.0)


def test_contradicting_places_are_refused_or_read_as_told():
    with pytest.raises(InputError) as error:
        read_nifti(placed(STRAIGHT, MOVED))
    assert error.value.finding == "affine-conflict"
    for choice, affine in (("sform", STRAIGHT), ("qform", MOVED)):
        read = read_nifti(placed(STRAIGHT, MOVED), repair=Repair(affine=choice))
        assert np.allclose(read.volume.affine, affine)
        assert read.repairs == ("affine-conflict",)


def test_places_in_different_spaces_do_not_contradict():
    image = simple()
    image.set_sform(MOVED, code=4)
    image.set_qform(STRAIGHT, code=1)
    assert np.allclose(read_nifti(image.to_bytes()).volume.affine, MOVED)


REFUSALS = {
    "empty-axis": lambda data: edited(data, dim=[3, 4, 0, 6, 1, 1, 1, 1]),
    "shape": lambda data: edited(data, dim=[3, 4, -5, 6, 1, 1, 1, 1]),
    "truncated": lambda data: data[:-7],
    "limit": lambda data: edited(data, dim=[3, 32000, 32000, 32000, 1, 1, 1, 1]),
    "unsupported": lambda data: edited(data, datatype=32),
    "not-an-image": lambda data: b"Patient did not hold still during the scan. " * 20,
    "empty-file": lambda data: b"",
    "affine": lambda data: edited(data, srow_x=[0, 0, 0, 0]),
    "unreadable": lambda data: edited(data, scl_slope=np.inf),
}


@pytest.mark.parametrize("finding", REFUSALS)
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_bad_files_are_refused_by_name_in_one_line(tmp_path, finding, name):
    path = tmp_path / name
    data = REFUSALS[finding](simple().to_bytes())
    path.write_bytes(gzip.compress(data, 1) if name.endswith("gz") and finding != "empty-file" else data)
    with pytest.raises(InputError) as error:
        read_nifti(path)
    assert error.value.finding == finding
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.remedy


def test_text_renamed_nii_gz(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"just words " * 100)
    with pytest.raises(InputError, match="not a NIfTI file"):
        read_nifti(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers(bad):
    array = np.ones((4, 5, 6), np.float32)
    array[1, 2, 3] = bad
    data = nib.Nifti1Image(array, np.eye(4)).to_bytes()
    with pytest.raises(InputError, match="1 of 120 voxels are NaN or infinite") as error:
        read_nifti(data)
    assert error.value.finding == "nan-voxels"
    read = read_nifti(data, repair=Repair(nan="zero"))
    assert read.volume.array[0, 1, 2, 3] == 0
    assert read.volume.array.sum() == 119
    assert read.repairs == ("nan-voxels",)


def test_a_damaged_gzip_stream_is_noticed_wherever_the_damage_is():
    array = np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16)
    data = bytearray(gzip.compress(nib.Nifti1Image(array, np.eye(4)).to_bytes()))
    for place in (40, len(data) // 2, len(data) - 6):
        broken = data.copy()
        broken[place] ^= 0x55
        with pytest.raises(InputError):
            read_nifti(bytes(broken))


def test_gzip_files_of_several_members():
    data = simple().to_bytes()
    joined = gzip.compress(data[:500]) + gzip.compress(data[500:])
    assert np.array_equal(read_nifti(joined).volume.array, read_nifti(data).volume.array)


def test_the_header_alone_is_read_quickly_from_a_large_file(tmp_path):
    write_nifti(Volume.of(np.zeros((200, 200, 200), np.int16), np.eye(4)), tmp_path / "a.nii.gz")

    class Counting(io.FileIO):
        asked = 0

        def read(self, size=-1):
            Counting.asked += size
            return super().read(size)

        def readinto(self, buffer):
            Counting.asked += len(buffer)
            return super().readinto(buffer)

    from radfoundry.data import streams

    with Counting(tmp_path / "a.nii.gz") as stream:
        assert len(streams.read_head(stream, 540, where="a")) == 540
    assert 0 < Counting.asked < 10_000
    assert read_nifti_header(tmp_path / "a.nii.gz").shape == (1, 200, 200, 200)


@pytest.mark.data
def test_every_real_nifti_equals_nibabel():
    folder = os.environ.get("RADFOUNDRY_DATA")
    if not folder:
        pytest.skip("set RADFOUNDRY_DATA to a folder of scans")
    found = sorted(Path(folder).rglob("*.nii*"))
    for path in found:
        image = nib.load(path)
        if np.asanyarray(image.dataobj).dtype.fields:
            continue
        seen = np.asanyarray(image.dataobj)
        read = read_nifti(path).volume
        assert np.allclose(read.affine, image.affine, atol=1e-3)
        seen = np.moveaxis(seen.reshape(*read.shape, -1), -1, 0)
        assert np.allclose(read.array, seen, rtol=1e-6, atol=1e-6 * max(1.0, float(np.abs(seen).max())))
    assert found
