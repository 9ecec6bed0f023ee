"""Every real DICOM series in the data folder against dcm2niix and against published conversions."""

import os
from pathlib import Path

import dcm2niix_oracle as oracle
import numpy as np
import pytest

from radfoundry.data.dicom_header import read_instances
from radfoundry.data.dicom_series import group_instances, load_series
from radfoundry.data.reading import Repair
from radfoundry.data.sources import kind_of, walk
from radfoundry.records import InputError

pytestmark = pytest.mark.data
ROOT = Path(os.environ.get("RADFOUNDRY_DATA", "."))
SETS = ("dicom_mri_vendors", "dicom2nifti_cases", "brain_tumor_progression_dicom")

# Each refusal is justified in docs/reading-dicom.md.
REFUSED = {
    "dicom_mri_vendors/philips_achieva_dti": "incomplete-volume",
    "dicom2nifti_cases/failing/gantrytilting/001": "gantry-tilt",
    "dicom2nifti_cases/failing/sliceincrement/001": "slice-gap",
}
# Slopes differ from slice to slice: dcm2niix leaves that out under `-p n` and says so, and obeys it without.
VARYING_SLOPES = {"dicom2nifti_cases/generic/anatomical/002_non_isotropic"}


def folders():
    found = {}
    for name in SETS:
        if (ROOT / name).is_dir():
            for path in sorted((ROOT / name).rglob("*.dcm")):
                found[str(path.parent.relative_to(ROOT))] = path.parent
    return found


FOLDERS = folders() if "RADFOUNDRY_DATA" in os.environ else {}


@pytest.fixture(autouse=True)
def _needs_data():
    if "RADFOUNDRY_DATA" not in os.environ:
        pytest.skip("RADFOUNDRY_DATA is not set")


def groups_of(folder):
    sources = [source for source in walk([folder]) if kind_of(source) == "dicom"]
    return group_instances(read_instances(sources))


def test_there_is_something_to_compare():
    assert len(FOLDERS) >= 30


@pytest.mark.parametrize("name", sorted(set(FOLDERS) - set(REFUSED)))
def test_same_as_dcm2niix(name, tmp_path):
    others = oracle.convert(FOLDERS[name], tmp_path, philips_precise=name in VARYING_SLOPES)
    groups = groups_of(FOLDERS[name])
    assert len(groups) == len(others)
    for group in groups:
        result = load_series(group)
        assert result.repairs == ()
        found = oracle.difference(result.volume, others)
        assert found is not None
        assert found.none, found


@pytest.mark.parametrize("name", sorted(set(FOLDERS) & set(REFUSED)))
def test_refused_by_name(name):
    (group,) = groups_of(FOLDERS[name])
    with pytest.raises(InputError) as caught:
        load_series(group)
    assert caught.value.finding == REFUSED[name]


def published():
    root = ROOT / "dicom2nifti_cases" / "expected_nifti"
    found = {}
    for path in sorted(root.rglob("*.nii.gz")):
        case = path.relative_to(root).with_name(path.name.removesuffix("_ground_truth.nii.gz"))
        found[str(case)] = path
    return found


@pytest.mark.parametrize("name", sorted(published()) if FOLDERS else [])
def test_same_as_the_published_conversion(name):
    """The reference of dicom2nifti keeps 4-D order; its colours are a structured type, its floats are float32."""
    (group,) = groups_of(ROOT / "dicom2nifti_cases" / name)
    expected = oracle.read(published()[name])
    found = oracle.difference(load_series(group).volume, [expected])
    assert found is not None
    assert found.affine_mm < 1e-3
    assert found.voxels <= 1e-5 * max(found.scale, 1.0)


def test_a_real_tilted_gantry_is_straightened_like_dcm2niix(tmp_path):
    name = "dicom2nifti_cases/failing/gantrytilting/001"
    if name not in FOLDERS:
        pytest.skip("this set is not here")
    (group,) = groups_of(FOLDERS[name])
    mine = load_series(group, repair=Repair(tilt="resample")).volume.reorient("RAS")
    (other,) = [v for v in oracle.convert(FOLDERS[name], tmp_path) if v.array.shape == mine.array.shape]
    assert np.abs(mine.affine - other.affine).max() < 1e-3
    apart = np.abs(mine.array.astype(float) - other.array)
    assert np.mean(apart <= 1) > 0.99  # the border differs: one fills with its smallest value, one with air


def test_a_real_gap_is_filled_with_a_blend():
    name = "dicom2nifti_cases/failing/sliceincrement/001"
    if name not in FOLDERS:
        pytest.skip("this set is not here")
    (group,) = groups_of(FOLDERS[name])
    read = load_series(group, repair=Repair(gaps="fill"))
    assert read.repairs == ("slice-gap",)
    assert read.volume.shape == (512, 512, 5)
    assert read.volume.units == "HU"
    middle = (read.volume.array[..., 2].astype(float) + read.volume.array[..., 4]) / 2
    assert np.abs(read.volume.array[..., 3] - middle).max() <= 0.5
