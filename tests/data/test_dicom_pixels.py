"""Every common encoding of pixels gives the same voxels; colours, rescaling and photometric rules."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import AXIAL, MR, only_group, volume, written
from pydicom.uid import UID

from radfoundry.data.dicom_header import read_instance, read_instances
from radfoundry.data.dicom_series import load_series
from radfoundry.data.reading import Repair
from radfoundry.data.sources import Source, walk
from radfoundry.records import Acquisition, InputError
from radfoundry.volume import Volume

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
FLAT = Repair(geometry="image")
PROJECTION = Acquisition(modality="DX", manufacturer="Maker", view_position="PA")


def shipped(name, **options):
    return load_series([read_instance(Source(str(SHIPPED / name)))], repair=FLAT, **options)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_expb.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_lossless_encodings_of_one_image_are_equal(name):
    one, other = shipped("MR_small.dcm").volume, shipped(name).volume
    assert np.array_equal(one.array, other.array)
    assert np.array_equal(one.affine, other.affine)


@pytest.mark.parametrize("name", ["CT_small.dcm", "examples_overlay.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_values_are_those_pydicom_decodes(name):
    dataset = pydicom.dcmread(SHIPPED / name)
    expected = dataset.pixel_array * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    assert np.array_equal(shipped(name).volume.array[0, :, :, 0].T, expected)


def compressed(folder, syntax, image):
    """The files of a written volume, compressed with an encoder other than the decoder used."""
    written(image, folder)
    for path in folder.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.compress(UID(syntax), generate_instance_uid=False)
        dataset.save_as(path)
    return load_series(only_group(read_instances(walk([folder])))).volume


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"], ids=["rle", "jpeg-ls", "j2k"]
)
@pytest.mark.parametrize("low", [0, -500])
def test_compressing_changes_nothing(tmp_path, syntax, low):
    image = volume(AXIAL, shape=(1, 70, 64, 3))
    image = image.with_array(image.array + np.int16(low))
    read = compressed(tmp_path, syntax, image)
    assert np.array_equal(read.array, image.array)
    assert read.geometry.matches(image.geometry)


def test_jpeg_baseline_colour_is_close_to_the_uncompressed():
    # SC_rgb_jpeg_dcmd.dcm is SC_rgb_jpeg_dcmtk's sibling written uncompressed by dcmdjpeg, see pydicom's README
    exact = pydicom.dcmread(SHIPPED / "SC_rgb_jpeg_dcmd.dcm").pixel_array.astype(float)
    found = shipped("SC_rgb_jpeg.dcm").volume
    assert found.channels == ("red", "green", "blue")
    assert np.abs(np.moveaxis(found.array[..., 0], 0, -1).swapaxes(0, 1) - exact).mean() < 4


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "SC_ybr_full_422_uncompressed.dcm"])
def test_colour_comes_as_three_channels(name):
    dataset = pydicom.dcmread(SHIPPED / name)
    found = shipped(name).volume
    assert found.channels == ("red", "green", "blue")
    assert found.array.dtype == np.uint8
    expected = pydicom.pixels.pixel_array(dataset)
    assert np.array_equal(np.moveaxis(found.array[..., 0], 0, -1).swapaxes(0, 1), expected)


def test_a_palette_becomes_colour():
    dataset = pydicom.dcmread(SHIPPED / "examples_palette.dcm")
    expected = pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset)
    found = shipped("examples_palette.dcm").volume
    assert np.array_equal(np.moveaxis(found.array[..., 0], 0, -1).swapaxes(0, 1), expected)


def test_film_frames_are_channels():
    found = shipped("examples_ybr_color.dcm").volume
    assert found.array.shape == (90, 320, 240, 1)
    assert found.channels[:4] == ("frame 1 red", "frame 1 green", "frame 1 blue", "frame 2 red")


def test_colour_slices_stay_a_volume(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (3, 7, 5, 4)).astype(np.uint8)
    image = Volume(array, volume(AXIAL).affine, channels=("red", "green", "blue"))
    read = load_series(only_group(written(image, tmp_path))).volume
    assert np.array_equal(read.array, array)
    assert read.channels == image.channels
    assert read.geometry.matches(image.geometry)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_an_encoding_without_decoder_is_named(name, capfd):
    with pytest.raises(InputError, match=r"JPEG extended \(1.2.840.10008.1.2.4.51\)") as caught:
        shipped(name)
    assert caught.value.finding == "transfer-syntax"
    assert capfd.readouterr().err == ""


def test_an_unknown_encoding_is_named(tmp_path):
    (item,) = written(volume(shape=(1, 8, 8, 1)), tmp_path)
    data = Path(item.path).read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")
    Path(item.path).write_bytes(data)
    with pytest.raises(InputError, match=r"1\.2\.840\.10008\.1\.2\.9") as caught:
        load_series(read_instances([item.source]))
    assert caught.value.finding == "transfer-syntax"


def test_another_encoding_than_stated_is_named(tmp_path):
    written(volume(shape=(1, 64, 64, 1)), tmp_path)
    dataset = pydicom.dcmread(tmp_path / "0001.dcm")
    dataset.compress(UID("1.2.840.10008.1.2.5"), generate_instance_uid=False)
    for syntax in (
        "1.2.840.10008.1.2.4.90",
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.80",
    ):
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        dataset.save_as(tmp_path / "0001.dcm")
        with pytest.raises(InputError, match=syntax) as caught:
            load_series(read_instances(walk([tmp_path])))
        assert caught.value.finding == "unreadable"


def changed(tmp_path, change, *, acquisition=MR, image=None):
    written(image or volume(shape=(1, 8, 6, 1)), tmp_path, acquisition=acquisition)
    for path in tmp_path.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        change(dataset)
        dataset.save_as(path)
    return read_instances(walk([tmp_path]))


def inverted_look(dataset):
    dataset.PhotometricInterpretation = "MONOCHROME1"


def test_dark_for_bright_is_turned_in_projections(tmp_path):
    image = Volume.of(np.arange(48).reshape(8, 6).astype(np.int16) * 100, np.diag([-0.5, -0.5, 1, 1]))
    plain = load_series(written(image, tmp_path / "a", acquisition=PROJECTION)).volume
    turned = load_series(changed(tmp_path / "b", inverted_look, acquisition=PROJECTION, image=image)).volume
    assert np.array_equal(plain.array, image.array)
    assert np.array_equal(turned.array.astype(int), (1 << 13) - 1 - image.array.astype(int))  # 4700 needs 13 bits


def test_hounsfield_units_are_never_turned(tmp_path):
    image = volume(shape=(1, 8, 6, 1))
    ct = Acquisition(modality="CT")
    assert np.array_equal(
        load_series(changed(tmp_path, inverted_look, acquisition=ct, image=image)).volume.array, image.array
    )


def test_each_slice_has_its_own_slope(tmp_path):
    image = volume(shape=(1, 8, 6, 3))

    def scale(dataset):
        dataset.RescaleSlope, dataset.RescaleIntercept = str(0.5 * int(dataset.InstanceNumber)), "-3"

    read = load_series(changed(tmp_path, scale, image=image)).volume
    assert read.array.dtype == np.float32
    assert np.allclose(read.array, image.array * 0.5 * np.array([1, 2, 3]) - 3)


def test_the_modality_table_of_a_projection_is_applied(tmp_path):
    image = Volume.of(np.arange(48).reshape(8, 6).astype(np.int16) % 16, np.diag([-0.5, -0.5, 1, 1]))
    table = (np.arange(16) ** 2).astype("<u2")

    def tabulate(dataset):
        for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
            if keyword in dataset:
                delattr(dataset, keyword)
        item = pydicom.Dataset()
        item.LUTDescriptor, item.ModalityLUTType, item.LUTData = [16, 0, 16], "US", table.tobytes()
        item["LUTData"].VR = "OW"
        dataset.ModalityLUTSequence = [item]

    read = load_series(changed(tmp_path, tabulate, acquisition=PROJECTION, image=image)).volume
    assert np.array_equal(read.array, image.array.astype(int) ** 2)


def test_the_display_window_is_applied_only_when_asked(tmp_path):
    image = Volume.of(np.arange(48).reshape(8, 6).astype(np.int16) * 100, np.diag([-0.5, -0.5, 1, 1]))

    def window(dataset):
        dataset.WindowCenter, dataset.WindowWidth = "2000", "1000"

    items = changed(tmp_path, window, acquisition=PROJECTION, image=image)
    assert np.array_equal(load_series(items).volume.array, image.array)
    shown = load_series(items, window=True).volume.array[image.array < 1500]
    assert np.ptp(shown) == 0  # everything below the window is one black


def test_a_projection_lies_where_its_header_says(tmp_path):
    affine = np.array([[-0.2, 0, 0, 0], [0, 0, 1, 0], [0, -0.3, 0, 0], [0, 0, 0, 1.0]])  # coronal: left, feet
    image = Volume.of(np.arange(48).reshape(8, 6).astype(np.int16), affine)
    read = load_series(written(image, tmp_path, acquisition=PROJECTION)).volume
    assert read.orientation[:2] == image.orientation[:2] == "LI"
    assert read.spacing_mm[:2] == pytest.approx((0.2, 0.3))
    assert read.shape == (8, 6, 1)


def test_a_picture_without_a_scale_is_refused_or_flat():
    with pytest.raises(InputError) as caught:
        load_series([read_instance(Source(str(SHIPPED / "examples_rgb_color.dcm")))])
    assert caught.value.finding == "no-geometry"
    read = shipped("examples_rgb_color.dcm")
    assert read.repairs == ("no-geometry",)
    assert read.volume.spacing_mm == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("rows", "columns", "frames"), [(60000, 60000, 1), (64, 64, 2_000_000), (64, 64, 1000), (30000, 64, 1)]
)
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"])
def test_sizes_that_lie_are_refused_without_using_memory(tmp_path, rows, columns, frames, syntax):
    def lie(dataset):
        if syntax != "1.2.840.10008.1.2.1":
            dataset.compress(UID(syntax), generate_instance_uid=False)
        dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, str(frames)

    with pytest.raises(InputError) as caught:
        load_series(changed(tmp_path, lie, image=volume(shape=(1, 64, 64, 1))), repair=FLAT)
    assert caught.value.finding in ("truncated", "limit", "unreadable", "shape")


def test_signed_and_unsigned_extremes_survive(tmp_path):
    for low, high, kind in ((-32768, 32767, np.int16), (0, 65535, np.uint16)):
        image = Volume.of(np.array([[low, high], [0, 1], [7, 9]], dtype=kind), np.diag([-1.0, -1, 1, 1]))
        folder = tmp_path / str(high)
        read = load_series(written(image, folder, acquisition=replace(PROJECTION, modality="DX")))
        found = read.volume.array[..., 0][0].astype(int)
        assert np.abs(found - image.array[0, ..., 0].astype(int)).max() <= (0 if low == 0 else 1)
