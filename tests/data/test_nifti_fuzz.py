"""Damaged NIfTI files: every one gives an image or the named error, soon and within little memory."""

import gzip
import resource
import time

import nibabel as nib
import numpy as np
import pytest

from radfoundry.data.nifti import read_nifti
from radfoundry.records import InputError

HEADER = {nib.Nifti1Image: 348, nib.Nifti2Image: 540}
# What the reader may take beyond the bytes of the file: the voxels it holds and a few buffers.
MEMORY_LIMIT_BYTES = 300 << 20
SLOWEST_S = 5.0


def originals():
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 999, (8, 9, 10)).astype(np.int16),
        rng.standard_normal((8, 9, 10, 2)).astype(np.float32),
        rng.integers(0, 255, (6, 5, 4)).astype(np.uint8),
    ]
    return [(kind(array, np.diag([1, 2, 3, 1])).to_bytes(), HEADER[kind]) for array in arrays for kind in HEADER]


def mutated(rng, sources):
    data, header = sources[rng.integers(len(sources))]
    data = bytearray(data)
    how = rng.integers(6)
    if how == 0:  # cut
        data = data[: rng.integers(1, len(data))]
    elif how == 1:  # a field of the header set to an extreme
        place = int(rng.integers(0, header - 8))
        data[place : place + 4] = rng.choice([b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff\xff\xff\xff", b"\0\0\xc0\x7f"])
    elif how == 2:  # two parts exchanged
        a, b = sorted(rng.integers(0, len(data), 2))
        data = data[b:] + data[a:b] + data[:a]
    else:  # bytes of the header, or anywhere, set at random
        for place in rng.integers(0, header if how < 5 else len(data), rng.integers(1, 9)):
            data[place] = rng.integers(256)
    if rng.random() < 0.5:
        data = bytearray(gzip.compress(bytes(data), 1))
        if rng.random() < 0.5:
            data[rng.integers(len(data))] = rng.integers(256)
    return bytes(data)


def feed(count, seed):
    rng, sources = np.random.default_rng(seed), originals()
    read = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        data = mutated(rng, sources)
        started = time.perf_counter()
        try:
            volume = read_nifti(data).volume
            read += 1
            assert np.isfinite(volume.affine).all(), number
        except InputError as error:
            assert "\n" not in str(error), number
            assert error.finding, number
        assert time.perf_counter() - started < SLOWEST_S, number
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MEMORY_LIMIT_BYTES, f"{grown >> 20} MiB"
    # Damage to voxels alone cannot be noticed in an uncompressed file; damage to the header mostly is.
    assert 0.1 * count < read < 0.8 * count


def test_some_hundred_damaged_files():
    feed(400, seed=1)


@pytest.mark.slow
def test_ten_thousand_damaged_files():
    feed(10_000, seed=2)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_header_that_lies_about_its_size_takes_no_memory(zipped):
    image = nib.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4))
    header = image.header.copy()
    header.set_data_shape((1200, 1200, 1200))  # 3.2 GiB stated, 1 KiB there
    data = header.binaryblock + b"\0\0\0\0" + bytes(1024)
    data = gzip.compress(data) if zipped else data
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as error:
        read_nifti(data)
    assert error.value.finding == "truncated"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_small_file_that_inflates_to_much_more_than_its_header_states():
    data = nib.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4)).to_bytes() + bytes(200 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="more data than the header states"):
        read_nifti(gzip.compress(data, 1))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000
