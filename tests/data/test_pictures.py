"""Laws of reading PNG and JPEG pictures."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from radfoundry.data.pictures import read_picture, read_picture_header
from radfoundry.records import InputError


def encoded(array, *, kind="PNG", mode=None, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).convert(mode).save(buffer, kind, **options) if mode else Image.fromarray(array).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([np.uint8, np.uint16]), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**31))
def test_grey_png_keeps_every_bit(kind, rows, columns, seed):
    array = np.random.default_rng(seed).integers(0, np.iinfo(kind).max, (rows, columns), dtype=kind, endpoint=True)
    read = read_picture(encoded(array))
    assert read.volume.array.dtype == kind
    assert read.volume.array.shape == (1, columns, rows, 1)
    assert np.array_equal(read.volume.array[0, :, :, 0].T, array)
    assert read_picture_header(encoded(array)) == {"shape": (1, columns, rows, 1), "dtype": np.dtype(kind).str[1:]}


def test_a_picture_states_no_place_and_no_mm():
    read = read_picture(encoded(np.zeros((3, 4), np.uint8), dpi=(300, 300)))
    assert read.repairs == ("no-geometry",)
    # the first column is on the screen's left, which is the patient's right
    assert read.volume.orientation == "LPS"


def test_colours_stay_and_equal_colours_are_grey():
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 255, (5, 6, 3), dtype=np.uint8)
    read = read_picture(encoded(colours)).volume
    assert read.channels == ("red", "green", "blue")
    assert np.array_equal(np.moveaxis(read.array[..., 0], 0, -1).transpose(1, 0, 2), colours)
    grey = np.repeat(colours[..., :1], 3, axis=2)
    assert np.array_equal(read_picture(encoded(grey)).volume.array[0, :, :, 0].T, grey[..., 0])


def test_transparency_is_dropped_only_when_it_hides_nothing():
    colours = np.random.default_rng(0).integers(0, 255, (5, 6, 4), dtype=np.uint8)
    assert read_picture(encoded(colours)).volume.channels == ("red", "green", "blue", "alpha")
    colours[..., 3] = 255
    assert read_picture(encoded(colours)).volume.channels == ("red", "green", "blue")


def test_palette_and_one_bit_pictures():
    array = np.random.default_rng(0).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    assert read_picture(encoded(array, mode="P")).volume.array.shape == (3, 9, 8, 1)
    bits = read_picture(encoded(array, mode="1")).volume.array
    assert bits.dtype == np.uint8
    assert set(np.unique(bits)) <= {0, 1}


def test_jpeg_is_within_its_own_loss_and_turned_as_its_mark_says():
    rows, columns = np.mgrid[0:32, 0:48]
    array = (rows * 3 + columns * 2).astype(np.uint8)
    plain = read_picture(encoded(array, kind="JPEG", quality=95)).volume.array[0, :, :, 0].T
    assert np.abs(plain.astype(int) - array).max() <= 6
    mark = Image.Exif()
    mark[0x0112] = 6  # TIFF 6.0: the first row is the right-hand side, so show it turned clockwise
    data = encoded(array, kind="JPEG", quality=95, exif=mark)
    turned = read_picture(data).volume.array[0, :, :, 0].T
    assert np.array_equal(turned, np.rot90(plain, -1))
    assert read_picture_header(data)["shape"] == (1, 32, 48, 1)


def png_of_size(width, height, depth=8, colour=0):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


ANIMATION = io.BytesIO()
Image.new("L", (4, 4)).save(ANIMATION, "PNG", save_all=True, append_images=[Image.new("L", (4, 4), 9)])


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        (b"", "empty-file"),
        (b"not a picture at all", "not-an-image"),
        (b"\x89PNG\r\n\x1a\nrubbish", "not-an-image"),
        (encoded(np.ones((50, 50), np.uint8))[:-30], "truncated"),
        (encoded(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8), kind="JPEG")[:900], "truncated"),
        (png_of_size(100_000, 100_000), "limit"),
        (png_of_size(9, 9, depth=16, colour=2), "unsupported"),
        (ANIMATION.getvalue(), "unsupported"),
    ],
)
def test_bad_pictures_are_refused_by_name_in_one_line(data, finding):
    with pytest.raises(InputError) as error:
        read_picture(data)
    assert error.value.finding == finding
    assert "\n" not in str(error.value)


def test_random_damage_gives_an_image_or_a_named_error():
    rng = np.random.default_rng(0)
    sources = [encoded(rng.integers(0, 255, (20, 20), np.uint8), kind=kind) for kind in ("PNG", "JPEG")]
    for _ in range(200):
        data = bytearray(sources[rng.integers(2)])
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            data[place] = rng.integers(256)
        try:
            read_picture(bytes(data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.3 else data))
        except InputError as error:
            assert "\n" not in str(error)
