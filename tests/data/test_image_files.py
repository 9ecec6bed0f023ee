"""Laws of the one door: header and image agree, wherever the file lies and whatever it is called."""

import io
import tarfile
import zipfile

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from PIL import Image
from volume_strategies import same, volumes

from radfoundry.data.image_files import inspect_image, read_image
from radfoundry.data.nifti import write_nifti
from radfoundry.data.sources import Source
from radfoundry.records import InputError


@pytest.fixture
def folder(tmp_path):
    """One small file of every kind, detached headers included."""
    rng = np.random.default_rng(0)
    array = rng.integers(0, 999, (5, 4, 3)).astype(np.int16)
    place = tmp_path / "scans"
    place.mkdir()
    pair = nib.Nifti1Pair(array, np.diag([1.0, 2, 3, 1]))
    nib.save(pair, place / "pair.hdr")
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 2, 3, 1])), place / "one.nii.gz")
    nib.save(nib.Nifti2Image(array, np.diag([1.0, 2, 3, 1])), place / "two.nii")
    for name in ("a.nrrd", "b.nhdr", "c.mha", "d.mhd"):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1, 2, 3))
        sitk.WriteImage(image, str(place / name), useCompression=name in ("a.nrrd", "d.mhd"))
    Image.fromarray(array[0].astype(np.uint16)).save(place / "p.png")
    Image.fromarray(array[0].astype(np.uint8)).save(place / "q.jpg")
    return place


NAMES = ("pair.hdr", "one.nii.gz", "two.nii", "a.nrrd", "b.nhdr", "c.mha", "d.mhd", "p.png", "q.jpg")


def archives_of(folder, where):
    zipped = where / "all.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, f"deep/er/{path.name}")
    tarred = where / "all.tar.gz"
    with tarfile.open(tarred, "w:gz") as archive:
        archive.add(folder, "deep/er")
    inner = where / "outer.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.write(tarred, "inner.tar.gz")
    return [(zipped, "deep/er/"), (tarred, "deep/er/"), (inner, "inner.tar.gz!deep/er/")]


def test_header_and_image_agree_in_folders_and_archives(folder, tmp_path):
    archives = archives_of(folder, tmp_path)
    for name in NAMES:
        read = read_image(folder / name)
        for source in [folder / name, *(Source(str(path), f"{prefix}{name}") for path, prefix in archives)]:
            stated, again = inspect_image(source), read_image(source)
            assert same(again.volume, read.volume, tolerance_mm=0), source
            assert stated["shape"] == read.volume.array.shape, source
            assert np.allclose(stated["affine"], read.volume.affine)
            assert np.allclose(stated["spacing_mm"], read.volume.spacing_mm)
            assert stated["dtype"] == read.volume.array.dtype.str[1:]
            assert stated["repairs"] == read.repairs == again.repairs


@settings(max_examples=30, deadline=None)
@given(volumes(sheared=True))
def test_header_and_image_agree_for_any_nifti(tmp_path_factory, volume):
    path = tmp_path_factory.mktemp("door") / "a.nii.gz"
    write_nifti(volume, path)
    stated = inspect_image(path)
    assert stated["shape"] == volume.array.shape
    assert np.allclose(stated["affine"], volume.affine, atol=1e-3)
    assert np.allclose(stated["spacing_mm"], volume.spacing_mm, atol=1e-4)


def test_a_voxel_file_of_its_own_is_no_image(folder):
    for name in ("pair.img", "b.raw", "d.zraw"):
        with pytest.raises(InputError):
            read_image(folder / name)


def test_the_voxel_file_missing_from_an_archive(folder, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("pair.hdr", "b.nhdr"):
            archive.write(folder / name, name)
    (tmp_path / "half.zip").write_bytes(buffer.getvalue())
    for name in ("pair.hdr", "b.nhdr"):
        with pytest.raises(InputError) as error:
            read_image(Source(str(tmp_path / "half.zip"), name))
        assert error.value.finding in ("no-pixels", "missing-file")
