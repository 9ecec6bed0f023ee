"""Damaged DICOM files: thousands of random changes, and nothing but the one named error ever comes out."""

import io
import resource
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import AXIAL, volume, written

from radfoundry.data.dicom_header import read_instance
from radfoundry.data.dicom_series import group_instances, load_series
from radfoundry.data.reading import FINDINGS, Repair
from radfoundry.data.sources import Source, walk
from radfoundry.records import InputError

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
SEEDS = (
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "CT_small.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "image_dfl.dcm",
    "nested_priv_SQ.dcm",
    "reportsi.dcm",
)
MEND = Repair(
    gaps="fill",
    spacing="resample",
    duplicates="first",
    tilt="resample",
    incomplete="drop",
    mixed="largest",
    geometry="image",
)
SECONDS_LIMIT = 10
MEMORY_LIMIT_BYTES = 1 << 30


def seeds(folder):
    """Whole files to damage: pydicom's, and our own single-frame, enhanced and mosaic-like ones."""
    found = [(SHIPPED / name).read_bytes() for name in SEEDS]
    written(volume(AXIAL, shape=(1, 9, 8, 1)), folder / "single")
    written(volume(AXIAL, shape=(2, 9, 8, 3), channels=("time 1", "time 2")), folder / "enhanced", enhanced=True)
    dataset = pydicom.dcmread(folder / "single" / "0001.dcm")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(
        0x10,
        "OB",
        b"SV10\x04\x03\x02\x01\x01\x00\x00\x00\x4d\x00\x00\x00" + b"NumberOfImagesInMosaic".ljust(100, b"\0"),
    )
    dataset.save_as(folder / "single" / "mosaic.dcm")
    dataset = pydicom.dcmread(folder / "single" / "0001.dcm")
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME1"
    dataset.WindowCenter, dataset.WindowWidth = "200", "100"
    dataset.save_as(folder / "single" / "radiograph.dcm")
    return found + [path.read_bytes() for path in sorted(folder.rglob("*.dcm"))]


def damaged(data, rng):
    """One of the ways files break: flipped bits, overwritten runs, cuts, doubled pieces, wild lengths and numbers."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        place = int(rng.integers(0, len(data))) if rng.random() < 0.4 else int(rng.integers(0, min(len(data), 2500)))
        kind = rng.integers(0, 7)
        if kind == 0:
            data[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[place : place + 4] = rng.bytes(4)
        elif kind == 2:
            data[place : place + 4] = b"\xff\xff\xff\xff"
        elif kind == 3:
            data[place : place + 2] = b"\x00\x00"
        elif kind == 4:
            data = data[: max(place, 1)]
        elif kind == 5:
            data[place:place] = data[place : place + int(rng.integers(1, 200))]
        else:
            _change_a_number(data, rng)
    return bytes(data)


def _change_a_number(data, rng):
    """Rows, columns, bits, frames, samples or positions get another value of the right form."""
    tags = (0x10, 0x11, 0x02, 0x100, 0x101, 0x103)
    tag = b"\x28\x00" + int(rng.choice(tags)).to_bytes(2, "little")
    place = data.find(tag)
    if place >= 0 and rng.random() < 0.8:
        data[place + 8 : place + 10] = int(rng.choice([0, 1, 3, 8, 255, 4096, 65535])).to_bytes(2, "little")
        return
    for mark in (b"\\1\\", b"\\0\\", b"0.", b"1."):
        place = data.find(mark)
        if place >= 0:
            data[place : place + len(mark)] = rng.choice([b"nan", b"inf", b"1e9", b"---", b"\\\\\\"])[: len(mark)]
            return


def read_all(path):
    """Everything an ingest does with one file; gives the name of the finding, or `read`."""
    try:
        instance = read_instance(Source(str(path)))
        instance.to_row()
        for group in group_instances([instance]):
            load_series(group, repair=MEND, window=True)
    except InputError as error:
        assert error.finding in FINDINGS, error.finding
        assert error.remedy
        assert "\n" not in str(error)
        return error.finding
    return "read"


def run(folder, count, seed):
    rng = np.random.default_rng(seed)
    originals = seeds(folder / "seeds")
    target = folder / "damaged.dcm"
    found = {}
    for number in range(count):
        target.write_bytes(damaged(originals[number % len(originals)], rng))
        started = time.monotonic()
        result = read_all(target)
        assert time.monotonic() - started < SECONDS_LIMIT, f"file {number} took too long"
        found[result] = found.get(result, 0) + 1
    return found


def check(found, count):
    assert sum(found.values()) == count
    assert found["read"] > 0.05 * count, found  # small changes leave most of a file intact
    assert len(found) >= 5, found


def test_some_hundred_damaged_files(tmp_path, capfd, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(run(tmp_path, 400, seed=1), 400)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert caplog.text == ""


@pytest.mark.slow
def test_ten_thousand_damaged_files(tmp_path, capfd):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check(run(tmp_path, 10_000, seed=2), 10_000)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MEMORY_LIMIT_BYTES
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_damaged_slices_of_a_series_do_not_crash_it(tmp_path):
    rng = np.random.default_rng(3)
    for trial in range(25):
        folder = tmp_path / str(trial)
        written(volume(AXIAL, shape=(2, 6, 6, 4), channels=("time 1", "time 2")), folder)
        for path in sorted(folder.glob("*.dcm"))[:: int(rng.integers(1, 4))]:
            path.write_bytes(damaged(path.read_bytes(), rng))
        instances = []
        for source in walk([folder]):
            try:
                instances.append(read_instance(source))
            except InputError as error:
                assert error.finding in FINDINGS
        for group in group_instances(instances):
            try:
                load_series(group, repair=MEND)
            except InputError as error:
                assert error.finding in FINDINGS


def test_a_deeply_nested_header_does_not_exhaust_the_stack(tmp_path):
    written(volume(shape=(1, 8, 8, 1)), tmp_path)
    data = (tmp_path / "0001.dcm").read_bytes()
    start = data.index(b"\x08\x00\x05\x00")
    deep = b"".join(
        b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" for _ in range(20_000)
    )
    (tmp_path / "0001.dcm").write_bytes(data[:start] + deep + data[start:])
    assert read_all(tmp_path / "0001.dcm") in FINDINGS


def test_a_deflated_bomb_stays_small(tmp_path):
    import zlib

    head = (SHIPPED / "image_dfl.dcm").read_bytes()
    start = head.index(b"1.2.840.10008.1.2.1.99") + 22
    meta = head[: start + 400]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = io.BytesIO()
    for _ in range(128):
        bomb.write(packer.compress(bytes(1 << 20)))
    bomb.write(packer.flush())
    (tmp_path / "bomb.dcm").write_bytes(meta[: _end_of_meta(head)] + bomb.getvalue())
    tracemalloc.start()
    try:
        assert read_all(tmp_path / "bomb.dcm") in FINDINGS
        assert tracemalloc.get_traced_memory()[1] < 400 << 20
    finally:
        tracemalloc.stop()


def _end_of_meta(data):
    return 144 + int.from_bytes(data[140:144], "little")
