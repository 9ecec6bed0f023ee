"""Damaged NRRD and MetaImage files: every one gives an image or the named error, soon and within little memory."""

import resource
import time
import zlib

import numpy as np

from radfoundry.data.itk_files import read_itk
from radfoundry.data.reading import Repair
from radfoundry.records import InputError

VOXELS = np.arange(60, dtype="<i2").tobytes()
NRRD = (
    b"NRRD0005\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 3 4 5\n"
    b"space directions: (1,0,0) (0,2,0) (0,0,3)\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
    b"space origin: (1,2,3)\n\n" + VOXELS
)
META = (
    b"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = True\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
    b"Offset = 1 2 3\nElementSpacing = 1 2 3\nDimSize = 3 4 5\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    + zlib.compress(VOXELS)
)


def mutated(rng):
    data = bytearray((NRRD, META)[rng.integers(2)])
    how = rng.integers(4)
    if how == 0:
        data = data[: rng.integers(1, len(data))]
    elif how == 1:  # numbers become other numbers, signs or words
        digits = [place for place, byte in enumerate(data[:300]) if chr(byte).isdigit()]
        for place in rng.choice(digits, 3):
            data[place : place + 1] = [b"9" * 12, b"-", b"nan", b"1e400", b"0", b""][rng.integers(6)]
    else:
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(256)
    return bytes(data)


def test_a_thousand_damaged_files():
    rng = np.random.default_rng(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = 0
    for number in range(1000):
        data = mutated(rng)
        started = time.perf_counter()
        try:
            read_itk(data, repair=Repair(geometry="image") if number % 2 else None)
            read += 1
        except InputError as error:
            assert "\n" not in str(error), number
            assert error.finding, number
        assert time.perf_counter() - started < 5, number
    assert 100 < read < 900
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 200_000
