"""Laws of the volume store: every bit comes back, in whole or in part, or the damage is named."""

import errno
import multiprocessing
import os
from pathlib import Path

import blosc2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_strategies import STORABLE, same, volumes

from radfoundry.data.store import (
    StoredVolume,
    content_hash,
    read_crop,
    read_volume,
    stored_content,
    volume_geometry,
    write_volume,
)
from radfoundry.records import InputError
from radfoundry.volume import Volume

few = settings(max_examples=40, deadline=None)


@few
@given(volumes(kinds=[*STORABLE, "f2"], sheared=True))
def test_every_bit_comes_back(tmp_path_factory, volume):
    path = tmp_path_factory.mktemp("store") / "a.b2nd"
    write_volume(path, volume)
    read = read_volume(path)
    assert same(read, volume, tolerance_mm=0)
    assert (read.units, read.channels) == (volume.units, volume.channels)
    assert volume_geometry(path).matches(volume.geometry, tolerance_mm=0)
    assert content_hash(read) == content_hash(volume) == stored_content(path)


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_a_box_read_from_disk_is_the_box_cut_in_memory(tmp_path_factory, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    shape = (2, 70, 65, 33)  # more than one chunk along two axes, and odd remainders
    volume = Volume(rng.integers(-999, 999, shape).astype(np.int16), np.diag([1.0, 2, 3, 1]), "HU", ("a", "b"))
    path = tmp_path_factory.mktemp("store") / "a.b2nd"
    write_volume(path, volume)
    for _ in range(5):
        start = rng.integers(0, shape[1:])
        size = [int(rng.integers(1, n - a + 1)) for n, a in zip(shape[1:], start, strict=True)]
        crop = read_crop(path, start, size)
        assert same(crop, volume.crop(start, size), tolerance_mm=1e-9)
        assert (crop.units, crop.channels) == ("HU", ("a", "b"))


def test_booleans_constants_and_many_channels(tmp_path):
    rng = np.random.default_rng(0)
    for array in (rng.random((1, 70, 70, 70)) > 0.5, np.full((7, 80, 5, 6), 3, np.int32), np.zeros((1, 130, 1, 1))):
        write_volume(tmp_path / "a.b2nd", Volume(array, np.eye(4)))
        assert same(read_volume(tmp_path / "a.b2nd"), Volume(array, np.eye(4)))


def test_nan_and_infinity_are_kept(tmp_path):
    array = np.array([np.nan, np.inf, -np.inf, -0.0]).reshape(1, 4, 1, 1)
    write_volume(tmp_path / "a.b2nd", Volume(array, np.eye(4)))
    assert read_volume(tmp_path / "a.b2nd").array.tobytes() == array.tobytes()


@few
@given(volumes(most_channels=2, longest=5))
def test_the_content_hash_changes_with_everything_it_covers(volume):
    original = content_hash(volume)
    array = volume.array.copy()
    array.flat[-1] = array.flat[-1] + 1 if array.flat[-1] < 100 else array.flat[-1] - 1
    moved = volume.affine.copy()
    moved[0, 3] += 0.01
    nearly = volume.affine.copy()
    nearly[0, 3] = np.round(nearly[0, 3], 5) + 1e-9
    exact = volume.affine.copy()
    exact[0, 3] = np.round(exact[0, 3], 5)
    assert content_hash(Volume(array, volume.affine)) != original or np.array_equal(array, volume.array)
    assert content_hash(Volume(volume.array, moved)) != original
    assert content_hash(Volume(volume.array, nearly)) == content_hash(Volume(volume.array, exact))
    assert content_hash(Volume(volume.array, volume.affine, "HU")) != original
    assert content_hash(Volume(np.ascontiguousarray(volume.array), volume.affine)) == original
    assert content_hash(Volume(volume.array.astype("f8"), volume.affine)) != original or volume.array.dtype == "f8"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "a.b2nd"
    array = np.random.default_rng(0).integers(0, 500, (1, 80, 70, 66)).astype(np.int16)
    array[:, :40] = 0
    write_volume(path, Volume(array, np.diag([1.0, 2, 3, 1]), "HU"))
    return path, read_volume(path)


def test_damage_is_named_never_returned(written, tmp_path):
    path, original = written
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    target = tmp_path / "broken.b2nd"
    refused = 0
    for number in range(150):
        broken = bytearray(data)
        if number % 3 == 0:
            broken = broken[: rng.integers(0, len(data))]
        else:
            place = rng.integers(len(data)) if number % 3 == 1 else len(data) - 1 - rng.integers(2000)
            broken[place] ^= int(rng.integers(1, 256))
        target.write_bytes(broken)
        try:
            read = read_volume(target)
        except InputError as error:
            assert error.finding == "damaged"
            assert "\n" not in str(error)
            refused += 1
            continue
        assert same(read, original, tolerance_mm=0)  # a byte that means nothing was hit
        assert read.units == original.units
    assert refused > 120


def test_a_file_of_another_program_is_refused(tmp_path):
    blosc2.asarray(np.zeros((3, 3)), urlpath=str(tmp_path / "other.b2nd"))
    (tmp_path / "words.b2nd").write_text("words")
    for name in ("other.b2nd", "words.b2nd"):
        with pytest.raises(InputError, match="not a stored volume"):
            read_volume(tmp_path / name)
    with pytest.raises(InputError) as error:
        read_volume(tmp_path / "none.b2nd")
    assert error.value.finding == "missing-file"


@pytest.mark.parametrize(("start", "size"), [((-1, 0, 0), (2, 2, 2)), ((79, 0, 0), (2, 1, 1)), ((0, 0, 0), (0, 1, 1))])
def test_a_box_outside_the_image_is_refused(written, start, size):
    with pytest.raises(InputError, match="leaves the grid"):
        read_crop(written[0], start, size)


def test_any_blosc2_reader_can_open_the_file(written):
    path, original = written
    assert np.array_equal(blosc2.open(str(path), mode="r")[...], original.array)


def test_only_the_chunks_touched_are_read(written):
    stored = StoredVolume.open(written[0])
    assert stored.verified == set()
    stored.crop((0, 0, 0), (10, 10, 10))
    assert len(stored.verified) == 1


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="disk is full"):
        write_volume(tmp_path / "a.b2nd", Volume.of(np.zeros((2, 2, 2)), np.eye(4)))
    assert list(tmp_path.iterdir()) == []


def _write_many(path, value):
    for _ in range(15):
        write_volume(path, Volume.of(np.full((40, 40, 40), value, np.int16), np.eye(4)))


def test_a_reader_beside_writers_sees_whole_files_only(tmp_path):
    path = tmp_path / "a.b2nd"
    _write_many(path, 0)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(path, value)) for value in (1, 2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen = read_volume(path).array
        assert seen.min() == seen.max()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert [item.name for item in tmp_path.iterdir()] == ["a.b2nd"]


def test_complex_voxels_are_not_stored(tmp_path):
    with pytest.raises(InputError, match="complex64"):
        write_volume(tmp_path / "a.b2nd", Volume(np.zeros((1, 2, 2, 2), np.complex64), np.eye(4)))
