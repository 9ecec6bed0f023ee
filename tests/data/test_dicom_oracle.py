"""Written series read by us and by dcm2niix: the same voxels at the same places."""

from dataclasses import replace

import dcm2niix_oracle as oracle
import numpy as np
import pydicom
import pytest
from dicom_samples import AXIAL, CORONAL, MR, PATIENT, SAGITTAL, only_group, rotation, volume, written

from radfoundry.data.dicom_header import read_instances
from radfoundry.data.dicom_series import group_instances, load_series
from radfoundry.data.reading import Repair
from radfoundry.data.sources import Source, walk
from radfoundry.records import Acquisition

GEOMETRIES = {
    "axial": AXIAL,
    "axial, feet first": AXIAL @ np.diag([1.0, 1.0, -1.0]),
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
    "mirrored rows": AXIAL @ np.diag([-1.0, 1.0, 1.0]),
    "oblique": rotation(x_deg=20) @ AXIAL,
    "double oblique": rotation(x_deg=-17, y_deg=23) @ CORONAL,
    "triple oblique": rotation(x_deg=31, y_deg=-12, z_deg=8) @ SAGITTAL,
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_geometry(tmp_path, name):
    instances = written(volume(GEOMETRIES[name]), tmp_path / "in")
    result = load_series(only_group(instances)).volume
    assert oracle.difference(result, oracle.convert(tmp_path / "in", tmp_path / "out")).none


@pytest.mark.parametrize("channels", [("time 1", "time 2", "time 3"), ("b=0 s/mm2", "b=700 s/mm2", "b=1400 s/mm2")])
def test_four_dimensions(tmp_path, channels):
    image = volume(rotation(y_deg=11) @ AXIAL, shape=(3, 12, 10, 5), channels=channels)
    result = load_series(only_group(written(image, tmp_path / "in"))).volume
    assert result.channels == channels
    assert oracle.difference(result, oracle.convert(tmp_path / "in", tmp_path / "out")).none


def test_enhanced_multi_frame(tmp_path):
    image = volume(rotation(x_deg=15) @ AXIAL, shape=(2, 12, 10, 5), channels=("time 1", "time 2"))
    result = load_series(only_group(written(image, tmp_path / "in", enhanced=True))).volume
    assert oracle.difference(result, oracle.convert(tmp_path / "in", tmp_path / "out")).none


def test_echoes_of_one_series_are_two_volumes(tmp_path):
    identity = replace(PATIENT, series_uid="2.25.77", study_uid="2.25.7")
    instances = []
    for echo, time_ms in ((1, 5.0), (2, 7.5)):
        acquired = replace(MR, echo_number=echo, echo_time_ms=time_ms)
        own = replace(identity, seed=echo)
        instances += written(volume(seed=echo), tmp_path / "in", acquisition=acquired, identity=own, prefix=f"e{echo}-")
    groups = group_instances(instances)
    others = oracle.convert(tmp_path / "in", tmp_path / "out")
    assert [group[0].echo_time_ms for group in groups] == [5.0, 7.5]
    assert len(others) == 2
    for group in groups:
        assert oracle.difference(load_series(group).volume, others).none


def test_hounsfield_units(tmp_path):
    image = volume(AXIAL)
    image = image.with_array(image.array.astype(np.float32) * 1.37 - 1024)
    instances = written(image, tmp_path / "in", acquisition=Acquisition(modality="CT", manufacturer="Maker"))
    result = load_series(only_group(instances)).volume
    assert result.units == "HU"
    found = oracle.difference(result, oracle.convert(tmp_path / "in", tmp_path / "out"))
    assert found.affine_mm < 1e-3
    assert found.voxels < 1e-3


def csa_header(values):
    """A CSA header of the second version, made from its published description."""
    parts = [b"SV10\x04\x03\x02\x01", len(values).to_bytes(4, "little"), (77).to_bytes(4, "little")]
    for name, items in values.items():
        parts.append(name.encode().ljust(64, b"\0") + (1).to_bytes(4, "little") + b"FD\0\0")
        parts.append((0).to_bytes(4, "little") + (6).to_bytes(4, "little") + (77).to_bytes(4, "little"))
        for index in range(6):
            data = items[index].encode() + b"\0" if index < len(items) else b""
            size = len(data).to_bytes(4, "little")
            parts.append(size + size + (77).to_bytes(4, "little") + size + data + bytes(-len(data) % 4))
    return b"".join(parts)


def as_mosaic(image, folder, *, normal_sign=1.0):
    """One Siemens mosaic file of a volume; the position is that of the uncut mosaic's corner."""
    written(image, folder / "slices")
    paths = sorted((folder / "slices").glob("*.dcm"))
    slices = [pydicom.dcmread(path) for path in paths]
    first = slices[0]
    side = int(np.ceil(np.sqrt(len(slices))))
    rows, columns = first.Rows, first.Columns
    picture = np.zeros((side * rows, side * columns), dtype="<i2")
    for index, item in enumerate(slices):
        row, column = divmod(index, side)
        picture[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns] = item.pixel_array
    axes = np.array(first.ImageOrientationPatient, dtype=float).reshape(2, 3)
    row_mm, column_mm = map(float, first.PixelSpacing)
    corner = np.array(first.ImagePositionPatient, dtype=float)
    corner -= axes[0] * column_mm * (side - 1) * columns / 2 + axes[1] * row_mm * (side - 1) * rows / 2
    first.ImagePositionPatient = [f"{value:.10g}" for value in corner]
    first.Rows, first.Columns, first.PixelData = *picture.shape, picture.tobytes()
    first.ImageType, first.Manufacturer = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], "SIEMENS"
    normal = np.cross(axes[0], axes[1]) * normal_sign
    values = {
        "NumberOfImagesInMosaic": [str(len(slices))],
        "SliceNormalVector": [f"{value:.8f}" for value in normal],
        "PhaseEncodingDirectionPositive": ["1"],
    }
    block = first.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x08, "CS", "IMAGE NUM 4")
    block.add_new(0x10, "OB", csa_header(values))
    (folder / "in").mkdir()
    first.save_as(folder / "in" / "mosaic.dcm")
    return read_instances([Source(str(folder / "in" / "mosaic.dcm"))])


@pytest.mark.parametrize("normal_sign", [1.0, -1.0])
@pytest.mark.parametrize("slices", [9, 7])
def test_mosaic(tmp_path, slices, normal_sign):
    axes = rotation(x_deg=14) @ AXIAL @ np.diag([1.0, 1.0, normal_sign])
    image = volume(axes, shape=(1, 12, 12, slices))
    result = load_series(as_mosaic(image, tmp_path, normal_sign=normal_sign)).volume
    assert oracle.difference(image, [result.reorient("RAS")]).none
    assert oracle.difference(result, oracle.convert(tmp_path / "in", tmp_path / "out")).none


def test_tilted_gantry_like_the_oracle_grows_the_grid(tmp_path):
    image = volume(AXIAL, spacing_mm=(0.8, 0.8, 4.0), shape=(1, 20, 24, 6))
    instances = written(image, tmp_path / "in", acquisition=Acquisition(modality="CT", manufacturer="Maker"))
    for path, item in zip(sorted((tmp_path / "in").glob("*.dcm")), instances, strict=True):
        dataset = pydicom.dcmread(path)
        position = np.array(item.position)
        position[1] += 0.8 * (item.instance_number - 1)  # one pixel row a slice: resampling is exact
        dataset.ImagePositionPatient, dataset.GantryDetectorTilt = [f"{v:.8g}" for v in position], "11.31"
        dataset.save_as(path)
    group = only_group(read_instances(walk([tmp_path / "in"])))
    kept = load_series(group, repair=Repair(tilt="keep"))
    upright = load_series(group, repair=Repair(tilt="resample"))
    assert kept.repairs == upright.repairs == ("gantry-tilt",)
    assert np.array_equal(kept.volume.array, image.array)
    assert upright.volume.shape == (20, 24 + 5, 6)
    # every voxel of the sheared stack is found at its own place in the upright one
    to_upright = np.linalg.inv(upright.volume.affine) @ kept.volume.affine
    for i, j, k in np.ndindex(*kept.volume.shape):
        place = np.rint(to_upright @ [i, j, k, 1]).astype(int)
        assert kept.volume.array[0, i, j, k] == upright.volume.array[0, place[0], place[1], place[2]]
