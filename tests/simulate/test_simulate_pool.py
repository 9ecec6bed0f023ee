"""The pool of simulated heads: its crops repeat from the seed, and their truth fits their pixels."""

import numpy as np
import pytest
import torch

from radfoundry.simulate import pool


@pytest.fixture(scope="module")
def heads():
    return pool.HeadPool(heads=2, seed=4)


def test_equal_seeds_give_equal_crops(heads):
    first, again = (
        pool.assemble(heads.heads, np.random.default_rng(9), heads=2, places=[None], size=16, physics=0.5)
        for _ in range(2)
    )
    assert torch.equal(first.views[1].images, again.views[1].images)
    assert torch.equal(first.places_mm, again.places_mm)


def test_shares_are_shares_and_images_lie_between_0_and_1(heads):
    batch = heads.batch(heads=2, crops=2, size=16)
    total = batch.shares.sum(dim=1)
    assert batch.shares.min() >= 0 and total.max() <= 1.05
    for view in batch.views:
        assert view.images.shape == (4, 1, 16, 16, 16)
        assert torch.isfinite(view.images).all() and view.images.min() >= 0 and view.images.max() <= 1


def test_places_are_apart_by_the_voxel_size_on_average(heads):
    for head in heads.heads:
        steps = head.places_mm.float().diff(dim=1).norm(dim=0)
        assert float(steps.mean()) == pytest.approx(head.spacing_mm, rel=0.12)  # heads differ in size by some per cent


def test_diseases_count_as_one_kind_and_nothing_is_lost(heads):
    shares = heads.heads[0].shares.float() / 255
    kinds = pool.kinds_of(shares)
    assert kinds.shape[0] == len(pool.KINDS)
    assert torch.allclose(kinds.sum(dim=0), shares.sum(dim=0), atol=1e-4)


def test_brightness_orders_tissues_as_the_image_shows_them():
    shares = torch.zeros(len(pool.MAPS), 16, 16, 16)
    shares[pool.MAPS.index("white"), :8] = 1
    shares[pool.MAPS.index("csf"), 8:] = 1
    image = torch.cat([torch.full((8, 16, 16), 0.9), torch.full((8, 16, 16), 0.1)])
    grey, white, csf, fat, _ = pool._brightness(image, shares).tolist()
    assert white == pytest.approx(1.0, abs=0.01) and csf == pytest.approx(-1.0, abs=0.01)
    assert np.isnan(grey) and np.isnan(fat)


def test_renewing_replaces_the_oldest_head():
    heads = pool.HeadPool(heads=2, seed=5)
    first, second = heads.heads
    heads.renew()
    assert heads.heads[0] is not first and heads.heads[1] is second
