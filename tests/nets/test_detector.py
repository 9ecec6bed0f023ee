"""The detector's maps: what the targets say is what the peaks read back, in 2D and 3D; losses prefer the truth."""

import pytest
import torch

from radfoundry.losses.heat_map import box_loss, heat_loss, heat_targets, image_loss
from radfoundry.nets import detector

PICTURE = [torch.tensor([[1.2, 2.0, 0.0, 4.0, 5.5, 1.0], [7.0, 8.0, 0.0, 9.5, 9.0, 1.0]])]
BODY = [torch.tensor([[1.0, 2.0, 1.5, 4.0, 5.5, 4.0]])]


def as_logits(heat):
    return torch.logit(heat.clamp(1e-4, 1 - 1e-4))


@pytest.mark.parametrize(("boxes", "shape"), [(PICTURE, (12, 12, 1)), (BODY, (8, 8, 6))])
def test_peaks_read_back_the_boxes_that_the_targets_were_made_from(boxes, shape):
    heat, values, there = heat_targets(boxes, shape)
    _, found = detector.peaks(as_logits(heat[0]), values[0], most=len(boxes[0]))
    order = found[:, 0].argsort()
    assert torch.allclose(found[order], boxes[0], atol=1e-4)
    assert int(there.sum()) == len(boxes[0])


def test_the_truth_costs_less_than_nothing_and_than_the_wrong_place():
    heat, values, there = heat_targets(PICTURE, (12, 12, 1))
    truth, nothing = as_logits(heat), torch.full_like(heat, -9.0)
    assert heat_loss(truth, heat, there) < 0.2 * heat_loss(nothing, heat, there)
    assert heat_loss(truth, heat, there) < 0.2 * heat_loss(truth.roll(3, dims=1), heat, there)
    assert box_loss(values, values, there) == 0
    assert box_loss(values + 1, values, there) == pytest.approx(1.0)


def test_an_image_without_findings_teaches_silence():
    heat, _, there = heat_targets([torch.zeros(0, 6)], (6, 6, 1))
    assert heat_loss(torch.full((1, 6, 6, 1), -6.0), heat, there) < heat_loss(torch.zeros(1, 6, 6, 1), heat, there)


def test_image_labels_judge_the_mean_of_the_map():
    logits = torch.zeros(2, 4, 4, 1)
    logits[:, 0, 0] = 16.0  # the mean is 1
    lost = image_loss(logits, torch.tensor([True, False]))
    assert lost.tolist() == pytest.approx([0.3133, 1.3133], abs=1e-3)


@pytest.mark.parametrize("shape", [(32, 32, 1), (16, 16, 16)])
def test_every_weight_learns_and_a_frozen_encoder_does_not(shape):
    flat = shape[2] == 1
    model = detector.new(None, channels=1, flat=flat, frozen=False, seed=0)
    drawn = model(model.places(torch.rand(2, 1, *shape)))
    (drawn.heat.sum() + drawn.boxes.square().sum() + drawn.boxes.sum()).backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert drawn.heat.shape == (2, *(max(n // 8, 1) for n in shape))


def test_one_slice_is_convolved_in_two_dimensions_with_the_same_result():
    layer = torch.nn.Conv3d(2, 3, (3, 3, 1), (2, 2, 1), (1, 1, 0))
    x = torch.rand(2, 2, 9, 7, 1, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(detector.through(layer, x), layer(x), atol=1e-6)


def test_the_same_seed_gives_the_same_weights():
    one, other = (detector.new(None, channels=1, flat=True, frozen=False, seed=3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
