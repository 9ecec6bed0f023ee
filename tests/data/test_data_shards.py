"""Shards: what goes in comes out once, in any split of the work, whatever the memory; damage is named."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.data import shards
from radfoundry.records import InputError


def tiny(count):
    for index in range(count):
        yield shards.Record(f"r{index}", {"image": np.full((1, 4, 4, 4), index % 251, np.uint8)}, {"number": index})


def numbers(*args, **options):
    return [record.about["number"] for record in shards.stream(*args, **options)]


def test_everything_comes_back_in_order(tmp_path):
    written = shards.write(tiny(25), tmp_path, per_shard=10)
    assert [shard.records for shard in written] == [10, 10, 5] and shards.index(tmp_path) == written
    records = list(shards.stream(tmp_path))
    assert [record.key for record in records] == [f"r{index}" for index in range(25)]
    assert all((record.arrays["image"] == index).all() for index, record in enumerate(records))
    assert len(shards.write(tiny(20), tmp_path / "full", per_shard=10)) == 2, "no empty shard at the end"


@settings(max_examples=40)
@given(
    kind=st.sampled_from(["f4", "f8", "i2", "u1", "b1", ">i4"]),
    shape=st.lists(st.integers(0, 4), max_size=4),
    about=st.dictionaries(st.text(max_size=5), st.one_of(st.integers(-5, 5), st.text(max_size=5), st.none())),
)
def test_a_record_survives_its_bytes(kind, shape, about):
    array = np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape).astype(kind)
    back = shards.decoded(shards.encoded(shards.Record("ключ", {"x": array, "y": array}, about)))
    assert back.key == "ключ" and back.about == about
    assert np.array_equal(back.arrays["x"], array) and back.arrays["y"].dtype == array.dtype.newbyteorder("<")


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_processes_share_the_records_without_loss_or_repetition(tmp_path, parts):
    shards.write(tiny(47), tmp_path, per_shard=5)
    found = [number for part in range(parts) for number in numbers(tmp_path, part=(part, parts))]
    assert sorted(found) == list(range(47))


def test_shuffling_is_a_permutation_decided_by_the_generator(tmp_path):
    shards.write(tiny(200), tmp_path, per_shard=20)
    one, again, other = (numbers(tmp_path, rng=np.random.default_rng(seed), buffer=16) for seed in (1, 1, 2))
    assert one == again != other and sorted(one) == list(range(200))
    far = np.abs(np.diff(one)).mean()
    assert far > 20, "neighbours come from all over, not only from the buffer"
    for skip in (0, 1, 150, 200):
        assert numbers(tmp_path, rng=np.random.default_rng(1), buffer=16, skip=skip) == one[skip:]


def test_damage_is_refused_by_place(tmp_path):
    shards.write(tiny(10), tmp_path, per_shard=10)
    path = tmp_path / "shard-00000.bin"
    good = path.read_bytes()
    path.write_bytes(good[:-5])
    with pytest.raises(InputError, match="record 9: damaged or cut off"):
        list(shards.stream(tmp_path))
    spoilt = bytearray(good)
    spoilt[60] ^= 1
    path.write_bytes(spoilt)
    with pytest.raises(InputError, match="record 0: damaged"):
        list(shards.stream(tmp_path))
    path.write_bytes(good[:8] + b"\xff" * 8 + good[16:])
    with pytest.raises(InputError, match="record 0: damaged"):
        list(shards.stream(tmp_path))
    path.write_bytes(b"PK\x03\x04" + good)
    with pytest.raises(InputError, match="not a shard"):
        list(shards.stream(tmp_path))
    path.unlink()
    with pytest.raises(InputError, match="a shard is missing"):
        list(shards.stream(tmp_path))


@pytest.mark.parametrize(
    "table",
    [
        {"key": "a", "arrays": [["x", "O", [1]]], "about": {}},
        {"key": "a", "arrays": [["x", "f4", [2**50]]], "about": {}},
        {"key": "a", "arrays": [["x", "f4", [-1]]], "about": {}},
        {"key": "a", "arrays": [], "about": {}},
        {"key": "a"},
        [],
    ],
)
def test_records_that_lie_are_refused(table):
    text = json.dumps(table).encode()
    with pytest.raises(InputError, match="damaged"):
        shards.decoded(shards.WIDTH.pack(len(text)) + text + b"1234")


def test_what_cannot_be_done_is_said(tmp_path):
    with pytest.raises(InputError, match="no shards here"):
        shards.index(tmp_path)
    with pytest.raises(InputError, match="no records"):
        shards.write([], tmp_path / "none")
    with pytest.raises(InputError, match="not numbers"):
        shards.write([shards.Record("a", {"x": np.array([{}])})], tmp_path / "objects")
    assert not (tmp_path / "objects" / "shard-00000.bin").exists()
    shards.write(tiny(3), tmp_path)
    with pytest.raises(InputError, match="already"):
        shards.write(tiny(3), tmp_path)
    with pytest.raises(InputError, match="1 shards for 2 processes"):
        list(shards.stream(tmp_path, part=(0, 2)))
    (tmp_path / "index.json").write_text('{"format": 1, "shards": [["../../etc/passwd", 1, 1]]}')
    with pytest.raises(InputError, match="not one of ours"):
        shards.index(tmp_path)
    (tmp_path / "index.json").write_text("[")
    with pytest.raises(InputError, match="damaged"):
        shards.index(tmp_path)


def peak_bytes(folder, count):
    """Memory of reading `count` shuffled records, beyond what was there before."""
    tracemalloc.start()
    for number, _ in enumerate(shards.stream(folder, rng=np.random.default_rng(0), buffer=256)):
        if number + 1 == count:
            break
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_records(tmp_path):
    """100,000 records need what 2,000 need."""
    shards.write(tiny(100_000), tmp_path, per_shard=2000)
    peak_bytes(tmp_path, 500)  # what is only loaded once
    few, many = peak_bytes(tmp_path, 2000), peak_bytes(tmp_path, 100_000)
    assert many < 1.1 * few < 1_000_000
