"""Views that are shifted apart: what one shows of the other's places is what is truly there."""

import pytest
import torch
from train_samples import CROP, tiny_encoder, tiny_learner

from radfoundry.train import scene
from radfoundry.train.processes import Place
from radfoundry.train.sources import Simulated
from radfoundry.train.views import cut, seen_from


def shifted(size=4, shift=8):
    return Simulated(CROP, size, 0, "none", Place(), shift=shift).batch(0)


def test_nothing_away_gives_the_maps_back():
    maps = torch.rand(2, 3, 4, 5, 6)
    moved, valid = seen_from(maps, torch.zeros(2, 3))
    assert torch.allclose(moved, maps, atol=1e-5) and bool(valid.all())


def test_whole_cells_away_is_a_shift_and_the_rest_is_not_there():
    maps = torch.rand(1, 1, 4, 4, 4)
    moved, valid = seen_from(maps, torch.tensor([[1.0, 0, -2]]))
    assert torch.allclose(moved[0, 0, :3, :, 2:], maps[0, 0, 1:, :, :2], atol=1e-5)
    assert bool(valid[0, :3, :, 2:].all()) and int(valid.sum()) == 3 * 4 * 2
    assert moved[~valid[:, None]].abs().sum() == 0


def test_boxes_are_cut_where_they_begin():
    images = torch.arange(2 * 6**3.0).reshape(2, 6, 6, 6)
    boxes = cut(images, torch.tensor([[0, 1, 2], [3, 0, 1]]), (2, 3, 4))
    assert torch.equal(boxes[0], images[0, 0:2, 1:4, 2:6]) and torch.equal(boxes[1], images[1, 3:5, 0:3, 1:5])


def test_the_partner_shows_the_same_anatomy_at_the_same_places():
    """The same block, rendered once: where two boxes of it overlap, one seen from the other is identical."""
    batch = shifted()
    block = torch.rand(4, 24, 24, 24)
    boxes = torch.stack([cut(block, batch.shift[:, view], (16, 16, 16)) for view in (0, 1)], dim=1)
    seen = scene.Scene(type(batch)(images=boxes, case=batch.case, shift=batch.shift), tiny_encoder(), seed=0)
    here, there = seen.partners_here(seen.images)
    assert 0.1 < float(there.float().mean()) < 1
    assert torch.allclose(here[:, 0][there], seen.images[:, 0][there], atol=1e-4)


def test_places_in_mm_follow_the_shift():
    batch, plain = shifted(), Simulated(CROP, 4, 0, "none", Place()).batch(0)
    apart_mm = (batch.centre_mm[:, 0] - batch.centre_mm[:, 1]).norm(dim=1)
    steps = (batch.shift[:, 0] - batch.shift[:, 1]).float().norm(dim=1)
    assert apart_mm.tolist() == pytest.approx((steps * 4.0).tolist(), rel=1e-3)
    assert batch.images.shape == plain.images.shape and batch.labels.shape == plain.labels.shape


@pytest.mark.parametrize("name", ["contrast", "translate", "separate"])
def test_objectives_across_views_take_shifted_ones(name):
    terms = tiny_learner(name)(shifted(shift=4))
    terms["loss"].backward()
    assert torch.isfinite(terms["loss"])
