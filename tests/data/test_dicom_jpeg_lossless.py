"""The lossless JPEG decoder against a slow encoder written from the standard, and against files of other makers."""

import contextlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames

from radfoundry.data.dicom_jpeg_lossless import decode

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"


def guess(samples, row, column, predictor, start):
    """Table H.1 of ITU-T T.81 and the rules for the first line and column, one sample at a time."""
    if row == 0 and column == 0:
        return start
    if row == 0:
        return samples[0, column - 1]
    if column == 0:
        return samples[row - 1, 0]
    left, above, corner = samples[row, column - 1], samples[row - 1, column], samples[row - 1, column - 1]
    choices = (0, left, above, corner, left + above - corner)
    if predictor < 5:
        return choices[predictor]
    return (left + ((above - corner) >> 1), above + ((left - corner) >> 1), (left + above) >> 1)[predictor - 5]


def code_of(difference):
    """A 5-bit code for the category, then the category's bits: any prefix code is a valid Huffman table."""
    difference = (difference + 32768) % 65536 - 32768
    if difference == -32768:
        return f"{16:05b}"
    category = int(abs(difference)).bit_length()
    value = difference if difference > 0 else difference + (1 << category) - 1
    return f"{category:05b}" + (f"{value:0{category}b}" if category else "")


def segment(marker, body):
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def packed(bits):
    bits += "1" * (-len(bits) % 8)
    return bytes(int(bits[index : index + 8], 2) for index in range(0, len(bits), 8)).replace(b"\xff", b"\xff\x00")


def encode(image, *, predictor=1, precision=16, shift=0, restart_rows=0):
    """A lossless JPEG of (rows, columns, components), as slow and plain as the standard's text."""
    rows, columns, count = image.shape
    samples = image.astype(int) >> shift
    step = restart_rows or rows
    pieces = []
    for top in range(0, rows, step):
        part, bits = samples[top : top + step], ""
        for row, column, component in np.ndindex(*part.shape):
            plane = part[..., component]
            bits += code_of(
                int(plane[row, column] - guess(plane, row, column, predictor, 1 << (precision - shift - 1)))
            )
        pieces.append(packed(bits))
    coded = b"".join(piece + bytes((0xFF, 0xD0 + index % 8)) for index, piece in enumerate(pieces[:-1])) + pieces[-1]
    components = b"".join(bytes((index + 1, 0x11, 0)) for index in range(count))
    frame = bytes((precision,)) + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + bytes((count,)) + components
    table = b"\x00" + bytes(4) + bytes((17,)) + bytes(11) + bytes(range(17))
    scan = bytes((count,)) + b"".join(bytes((index + 1, 0)) for index in range(count)) + bytes((predictor, 0, shift))
    head = b"\xff\xd8" + segment(0xC3, frame) + segment(0xC4, table)
    if restart_rows:
        head += segment(0xDD, (restart_rows * columns).to_bytes(2, "big"))
    return head + segment(0xDA, scan) + coded + b"\xff\xd9"


def picture(shape, *, precision=16, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 1 << precision, shape)
    image[: shape[0] // 2] = (np.indices(shape)[1] * 3 + 100)[: shape[0] // 2]  # a smooth half, with short codes
    return image % (1 << precision)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("components", [1, 3])
def test_every_predictor(predictor, components):
    image = picture((11, 13, components), seed=predictor)
    assert np.array_equal(decode(encode(image, predictor=predictor)).reshape(image.shape), image)


@pytest.mark.parametrize("precision", [2, 8, 12, 15, 16])
def test_every_precision(precision):
    image = picture((9, 7, 1), precision=precision)
    assert np.array_equal(decode(encode(image, precision=precision))[..., None], image)


@pytest.mark.parametrize("restart_rows", [1, 2, 5])
@pytest.mark.parametrize("predictor", [1, 2, 6])
def test_restart_intervals(restart_rows, predictor):
    image = picture((11, 6, 1))
    coded = encode(image, predictor=predictor, restart_rows=restart_rows)
    assert np.array_equal(decode(coded)[..., None], image)


def test_point_transform_drops_low_bits():
    image = picture((8, 8, 1), precision=12)
    assert np.array_equal(decode(encode(image, precision=12, shift=3))[..., None], image >> 3 << 3)


def test_the_largest_difference_has_no_further_bits():
    image = np.array([[0, 32768, 0], [32768, 0, 65535]])[..., None]
    assert np.array_equal(decode(encode(image))[..., None], image)


def test_a_colour_file_of_another_maker():
    dataset = pydicom.dcmread(SHIPPED / "SC_rgb_jpeg_gdcm.dcm")
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    # SC_rgb_rle.dcm holds the same picture without loss, see pydicom's README of its test files
    expected = pydicom.pixels.pixel_array(SHIPPED / "SC_rgb_rle.dcm")
    found = decode(frame)
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


def test_damage_is_a_value_error_and_nothing_else():
    whole = encode(picture((11, 13, 1)))
    for length in range(0, len(whole) - 2, 3):
        with pytest.raises(ValueError, match=r"\w"):
            decode(whole[:length])
    rng = np.random.default_rng(0)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(3):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        with contextlib.suppress(ValueError):  # small damage may still give an image
            assert decode(bytes(data)).dtype == np.uint16
