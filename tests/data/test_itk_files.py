"""Laws of NRRD and MetaImage reading; SimpleITK writes the files and is the judge."""

import gzip
import zlib

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_strategies import rotation

from radfoundry.data.itk_files import read_itk
from radfoundry.data.reading import Repair
from radfoundry.records import InputError

FORMATS = ("nrrd", "nhdr", "mha", "mhd")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_image(array, *, vectors=False, seed=0):
    rng = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(array, isVector=vectors)
    image.SetSpacing(rng.uniform(0.3, 5, 3).tolist())
    image.SetOrigin(rng.uniform(-99, 99, 3).tolist())
    image.SetDirection(rotation(rng).ravel().tolist())
    return image


def affine_of(image):
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ affine


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.sampled_from(["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8"]),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_what_itk_writes_is_read(tmp_path_factory, suffix, kind, components, compressed, seed):
    rng = np.random.default_rng(seed)
    shape = (*rng.integers(1, 8, 3), *([components] if components > 1 else []))
    array = (rng.standard_normal(shape) * 50).astype(kind)
    image = itk_image(array, vectors=components > 1, seed=seed)
    path = tmp_path_factory.mktemp("itk") / f"a.{suffix}"
    sitk.WriteImage(image, str(path), useCompression=compressed)
    read = read_itk(path).volume
    expected = array[None] if components == 1 else np.moveaxis(array, -1, 0)
    assert read.array.dtype == np.dtype(kind)
    assert np.array_equal(read.array, expected.transpose(0, 3, 2, 1))
    assert np.allclose(read.affine, affine_of(image), atol=1e-4)


@pytest.mark.parametrize("suffix", ["mha", "nrrd"])
def test_time_becomes_channels(tmp_path, suffix):
    array = np.arange(5 * 4 * 3 * 2, dtype=np.int16).reshape(5, 4, 3, 2)
    image = sitk.JoinSeries([itk_image(part) for part in array])
    sitk.WriteImage(image, str(tmp_path / f"a.{suffix}"))
    if suffix == "nrrd":  # ITK writes no space for four axes, so the place is not known
        with pytest.raises(InputError, match="no place in the patient"):
            read_itk(tmp_path / "a.nrrd")
        read = read_itk(tmp_path / "a.nrrd", repair=Repair(geometry="image")).volume
    else:
        read = read_itk(tmp_path / "a.mha").volume
        assert np.allclose(read.affine, affine_of(itk_image(array[0])), atol=1e-4)
    assert np.array_equal(read.array, array.transpose(0, 3, 2, 1))


def nrrd(space="left-posterior-superior", directions="(2,0,0) (0,2,0) (0,0,3)", extra="", encoding="raw", data=None):
    header = (
        f"NRRD0005\ntype: short\ndimension: 3\nspace: {space}\nsizes: 2 3 4\nspace directions: {directions}\n"
        f"kinds: domain domain domain\nendian: little\nencoding: {encoding}\nspace origin: (1,2,3)\n{extra}\n"
    )
    voxels = np.arange(24, dtype="<i2").tobytes() if data is None else data
    return header.encode() + voxels


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
    ],
)
def test_nrrd_spaces(space, signs):
    read = read_itk(nrrd(space)).volume
    assert np.allclose(np.diag(read.affine)[:3], np.array([2, 2, 3]) * signs)
    assert np.allclose(read.affine[:3, 3], np.array([1, 2, 3]) * signs)


def test_nrrd_gzip_and_byte_skip():
    voxels = np.arange(24, dtype="<i2").tobytes()
    plain = read_itk(nrrd()).volume.array
    assert np.array_equal(read_itk(nrrd(encoding="gzip", data=gzip.compress(voxels))).volume.array, plain)
    assert np.array_equal(read_itk(nrrd(extra="byte skip: 5\n", data=b"xxxxx" + voxels)).volume.array, plain)


def meta(data=None, **changes):
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "DimSize": "2 3 4",
        "ElementType": "MET_SHORT",
        "BinaryDataByteOrderMSB": "False",
        "Offset": "1 2 3",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "ElementSpacing": "2 2 3",
        **changes,
        "ElementDataFile": changes.get("ElementDataFile", "LOCAL"),
    }
    text = "".join(f"{key} = {value}\n" for key, value in fields.items() if value is not None)
    return text.encode() + (np.arange(24, dtype="<i2").tobytes() if data is None else data)


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        (nrrd(space="scanner-xyz"), "no-geometry"),
        (nrrd(directions="none none none"), "no-geometry"),
        (nrrd(directions="(2,0,0) (4,0,0) (0,0,3)"), "affine"),
        (nrrd(encoding="bzip2"), "unsupported"),
        (nrrd(extra='space units: "um" "um" "um"\n'), "no-geometry"),
        (nrrd(extra="data file: ../../secret.raw\n"), "unsupported"),
        (nrrd()[:-3], "truncated"),
        (nrrd().replace(b"sizes: 2 3 4", b"sizes: 2 0 4"), "empty-axis"),
        (nrrd().replace(b"sizes: 2 3 4", b"sizes: 2 3"), "shape"),
        (nrrd().replace(b"sizes: 2 3 4", b"sizes: 9999 9999 9999"), "limit"),
        (nrrd().replace(b"sizes: 2 3 4", b"sizes: 2 x 4"), "unreadable"),
        (meta(TransformMatrix=None), "no-geometry"),
        (meta(ElementSpacing=None), "no-geometry"),
        (meta(ElementDataFile="/etc/hostname"), "unsupported"),
        (meta(ElementType="MET_FLOAT_MATRIX"), "unsupported"),
        (meta(DimSize="2 3 5"), "truncated"),
        (meta(data=zlib.compress(bytes(48))[:-6], CompressedData="True"), "truncated"),
        (meta(HeaderSize="-1"), "unsupported"),
        (b"NRRD0004\n", "unreadable"),
        (b"ObjectType = Image\nNDims = 3\n", "truncated"),
    ],
)
def test_bad_files_are_refused_by_name_in_one_line(data, finding):
    with pytest.raises(InputError) as error:
        read_itk(data)
    assert error.value.finding == finding
    assert "\n" not in str(error.value)


def test_big_endian_voxels():
    data = meta(data=np.arange(24, dtype=">i2").tobytes(), BinaryDataByteOrderMSB="True")
    assert np.array_equal(read_itk(data).volume.array, read_itk(meta()).volume.array)


def test_a_voxel_file_that_is_missing(tmp_path):
    (tmp_path / "a.mhd").write_bytes(meta(data=b"", ElementDataFile="a.raw"))
    with pytest.raises(InputError) as error:
        read_itk(tmp_path / "a.mhd")
    assert error.value.finding == "missing-file"
    assert "a.raw" in str(error.value)


def test_voxels_that_are_no_numbers():
    voxels = np.full(24, np.nan, "<f4").tobytes()
    with pytest.raises(InputError) as error:
        read_itk(meta(data=voxels, ElementType="MET_FLOAT"))
    assert error.value.finding == "nan-voxels"
