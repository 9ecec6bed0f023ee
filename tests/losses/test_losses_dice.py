"""The overlap loss: bounds, symmetry of the structures, and voxels that do not count."""

import torch

from radfoundry.losses.dice import dice_and_cross_entropy, one_hot, soft_dice


def test_bounds_and_order():
    truth = one_hot(torch.randint(0, 3, (2, 6, 6, 6), generator=torch.Generator().manual_seed(0)), 3)
    assert float(soft_dice(truth, truth)) < 1e-6
    assert float(soft_dice(truth.roll(1, dims=1), truth)) > 0.9
    half = 0.5 * truth + 0.5 * truth.roll(1, dims=1)
    assert 0 < float(soft_dice(half, truth)) < float(soft_dice(truth.roll(1, dims=1), truth))


def test_voxels_of_weight_zero_do_not_count():
    truth = one_hot(torch.tensor([[[[0, 1, 1, 0]]]]), 2)
    wrong = truth.clone()
    wrong[..., 3] = torch.tensor([0.0, 1.0])[None, :, None, None]
    weight = torch.tensor([[[[[1.0, 1.0, 1.0, 0.0]]]]])
    assert float(soft_dice(wrong, truth, weight=weight)) < 1e-6 < float(soft_dice(wrong, truth))


def test_a_step_down_the_slope_lowers_it():
    scores = torch.zeros(1, 2, 4, 4, 4, requires_grad=True)
    labels = torch.zeros(1, 4, 4, 4)
    labels[:, :2] = 1
    before = dice_and_cross_entropy(scores, labels)
    before.backward()
    assert float(dice_and_cross_entropy(scores.detach() - scores.grad, labels)) < float(before.detach())
