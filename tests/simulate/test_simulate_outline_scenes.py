"""Random shapes: same seed same scene, edges agree with a slow count, the thing is in the middle."""

import itertools

import numpy as np
import torch

from radfoundry.simulate.outline_scenes import Scene, picture, scene, slice_scene

SHAPE = (24, 28, 24)


def test_the_same_seed_gives_the_same_scene_and_picture():
    first, again = (scene(SHAPE, rng=np.random.default_rng(4)) for _ in range(2))
    assert torch.equal(first.regions, again.regions) and torch.equal(first.thing, again.thing)
    one, two = (picture(first, rng=np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, picture(first, rng=np.random.default_rng(6)))


def test_the_thing_is_one_region_near_the_middle():
    rng = np.random.default_rng(1)
    away = []
    for _ in range(12):
        seen = scene((40, 48, 40), rng=rng)
        assert seen.thing.any() and not seen.thing.all()
        inside = seen.regions[seen.thing].unique()
        assert len(inside) == 1 and not bool((seen.regions[~seen.thing] == inside).any())
        assert torch.equal(seen.regions.unique(), torch.arange(int(seen.regions.max()) + 1, dtype=torch.uint8))
        away.append(seen.thing.nonzero().float().mean(0).numpy() - (20, 24, 20))
    assert np.abs(np.mean(away, axis=0)).max() < 4


def test_a_slice_always_shows_the_thing():
    rng = np.random.default_rng(8)
    for _ in range(12):
        seen = slice_scene((48, 56), rng=rng)
        assert seen.regions.shape == seen.thing.shape == (48, 56, 1) and seen.thing.any()
        assert len(seen.regions[seen.thing].unique()) == 1
        assert picture(seen, rng=rng).shape == (48, 56, 1)


def test_edges_are_the_voxels_with_another_region_beside_them():
    regions = torch.from_numpy(np.random.default_rng(2).integers(0, 2, (5, 6, 5))).to(torch.uint8)
    regions[:, :3] = 0
    edges = Scene(regions, regions > 0).edges
    for place in itertools.product(*map(range, regions.shape)):
        near = tuple(slice(max(0, n - 1), n + 2) for n in place)
        assert bool(edges[place]) == (len(regions[near].unique()) > 1)


def test_pictures_have_mean_zero_and_deviation_one():
    rng = np.random.default_rng(3)
    for _ in range(5):
        made = picture(scene(SHAPE, rng=rng), rng=rng)
        assert made.shape == SHAPE and torch.isfinite(made).all()
        assert abs(float(made.mean())) < 1e-4 and abs(float(made.std()) - 1) < 1e-3
