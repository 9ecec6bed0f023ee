"""Laws of random patches: the right voxels, the same ones for the same seed, everywhere equally often."""

import numpy as np
import pytest

from radfoundry.data.patches import PatchReader, patch_batches, random_patches
from radfoundry.data.store import write_volume
from radfoundry.records import InputError
from radfoundry.volume import Volume, points_to_world

SIZE = (16, 20, 8)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patches")
    rng = np.random.default_rng(0)
    made = []
    for number, shape in enumerate([(40, 41, 30), (70, 24, 9), (16, 20, 8)]):
        array = rng.integers(0, 9999, (2, *shape)).astype(np.int16)
        volume = Volume(array, np.diag([1.0 + number, 2, 3, 1]))
        write_volume(folder / f"{number}.b2nd", volume)
        made.append((folder / f"{number}.b2nd", volume))
    return [path for path, _ in made], [volume for _, volume in made]


@pytest.mark.parametrize("memory_bytes", [0, 40_000, 1 << 30])
@pytest.mark.parametrize("threads", [1, 3])
def test_patches_are_the_voxels_of_their_place_whatever_is_kept(stored, memory_bytes, threads):
    paths, volumes = stored
    reader = PatchReader.open(paths, SIZE, memory_bytes=memory_bytes)
    batches = list(patch_batches(reader, batches=7, batch=5, rng=np.random.default_rng(3), threads=threads))
    assert [len(batch) for batch in batches] == [5] * 7
    for batch in batches:
        assert batch.array.dtype == np.float32
        for array, number, start in zip(batch.array, batch.volume, batch.start, strict=True):
            assert np.array_equal(array, volumes[number].crop(start, SIZE).array)
    assert reader.used_bytes[0] <= memory_bytes
    again = PatchReader.open(paths, SIZE)
    one_by_one = patch_batches(again, batches=35, batch=1, rng=np.random.default_rng(3), threads=1)
    assert len(list(one_by_one)) == 35


def test_the_same_seed_gives_the_same_patches_with_any_number_of_threads(stored):
    paths, _ = stored
    reader = PatchReader.open(paths, SIZE)
    seen = [
        np.concatenate([b.array for b in patch_batches(reader, batches=4, rng=np.random.default_rng(1), threads=n)])
        for n in (1, 2, 5)
    ]
    assert np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[0], seen[2])


def test_single_patches_know_where_they_lie(stored):
    paths, volumes = stored
    spacings = {volume.spacing_mm: volume for volume in volumes}
    for patch in random_patches(paths, SIZE, count=12, rng=np.random.default_rng(2)):
        whole = spacings[patch.spacing_mm]
        start = np.linalg.solve(whole.affine, patch.affine)[:3, 3]
        assert np.allclose(start, np.round(start), atol=1e-9)
        assert np.array_equal(patch.array, whole.crop(np.round(start).astype(int), SIZE).array)
        assert np.allclose(patch.affine[:3, 3], points_to_world(whole.affine, start[None])[0])


def test_every_volume_and_every_place_is_equally_likely(stored):
    paths, volumes = stored
    reader = PatchReader.open(paths, SIZE)
    numbers, starts = reader.places(30_000, np.random.default_rng(0))
    assert np.abs(np.bincount(numbers) / 10_000 - 1).max() < 0.05
    for number, volume in enumerate(volumes):
        for axis in range(3):
            room = volume.shape[axis] - SIZE[axis] + 1
            counts = np.bincount(starts[numbers == number, axis], minlength=room)
            assert len(counts) == room
            assert np.abs(counts / counts.mean() - 1).max() < 6 / np.sqrt(counts.mean())


def test_breaking_off_early_ends_the_threads(stored):
    paths, _ = stored
    reader = PatchReader.open(paths, SIZE)
    batches = patch_batches(reader, batches=10_000, rng=np.random.default_rng(0))
    next(batches)
    batches.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_damage_is_named_through_the_threads(stored, tmp_path, threads):
    data = bytearray(stored[0][0].read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "broken.b2nd").write_bytes(data)
    reader = PatchReader.open([tmp_path / "broken.b2nd"], SIZE)
    with pytest.raises(InputError, match=r"broken\.b2nd"):
        list(patch_batches(reader, batches=3, rng=np.random.default_rng(0), threads=threads))


@pytest.mark.parametrize(
    ("size", "words"), [((17, 20, 8), "smaller than the patch"), ((0, 1, 1), "positive"), ((4, 4), "positive")]
)
def test_sizes_that_do_not_fit(stored, size, words):
    with pytest.raises(InputError, match=words):
        PatchReader.open(stored[0], size)


def test_lists_that_cannot_be_read_together(stored, tmp_path):
    with pytest.raises(InputError, match="no volumes"):
        PatchReader.open([], SIZE)
    write_volume(tmp_path / "one.b2nd", Volume.of(np.zeros((30, 30, 30), np.int16), np.eye(4)))
    with pytest.raises(InputError, match="1 channels where"):
        PatchReader.open([stored[0][0], tmp_path / "one.b2nd"], SIZE)
    with pytest.raises(InputError, match="positive numbers"):
        list(patch_batches(PatchReader.open(stored[0], SIZE), batches=1, batch=0, rng=np.random.default_rng(0)))
