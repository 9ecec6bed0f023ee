"""Several annotators: fusions, the doubt loss and its quality split."""

import numpy as np
import pytest
import torch

from radfoundry.losses import annotators as losses
from radfoundry.losses.dice import one_hot
from radfoundry.nets.encoder_maps import Sizes
from radfoundry.records import InputError
from radfoundry.simulate.annotators import PANEL
from radfoundry.tasks.annotators import build, doubted, order_agrees
from radfoundry.tasks.annotators_simulated import phantoms
from radfoundry.tasks.consensus import fused, staple
from radfoundry.train.dense import Drawn, Fit
from radfoundry.train.dense_annotators import Uncertain, fit_uncertain


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.mark.parametrize("by", ["majority", "staple"])
def test_a_fusion_of_equal_masks_is_that_mask_and_order_does_not_matter(by):
    mask = phantoms(1, seed=4)[0].drawn[0]
    assert np.array_equal(fused(np.stack([mask] * 3), 1, by=by), mask)
    drawn = phantoms(1, seed=5)[0].drawn
    assert np.array_equal(fused(drawn, 1, by=by), fused(drawn[::-1], 1, by=by))


def test_fusions_are_nearer_the_truth_than_the_average_annotator():
    made = phantoms(12, degraded=0.0, seed=1)
    truth = [item.truth > 0 for item in made]
    single = np.mean([dice(t, m > 0) for t, item in zip(truth, made, strict=True) for m in item.drawn])
    for by in ("majority", "staple"):
        together = np.mean([dice(t, fused(i.drawn, 1, by=by) > 0) for t, i in zip(truth, made, strict=True)])
        assert together > single


def test_staple_of_nothing_is_nothing():
    assert not staple(np.zeros((3, 4, 4, 1), np.uint8)).any()


def test_ties_with_the_background_are_background():
    drawn = np.array([[[[1]]], [[[0]]]], np.uint8)
    assert fused(drawn, 1, by="majority").tolist() == [[[0]]]


def scene():
    """Scores sure of a truth; the second annotator draws the opposite."""
    truth = torch.zeros(2, 8, 8, 1, dtype=torch.long)
    truth[:, 2:6, 2:6] = 1
    scores = 6 * (one_hot(truth, 2) - 0.5)
    return scores, torch.stack([truth, 1 - truth], dim=1)


def test_doubting_the_one_who_is_wrong_pays_and_doubting_the_right_one_costs():
    scores, drawn = scene()
    none = torch.zeros(drawn.shape)
    right, wrong = none.clone(), none.clone()
    wrong[:, 1], right[:, 0] = 2.0, 2.0
    plain = losses.uncertain_segmentation(scores, drawn, none).mean()
    assert losses.uncertain_segmentation(scores, drawn, wrong).mean() < plain
    assert losses.uncertain_segmentation(scores, drawn, right).mean() > plain


@pytest.mark.slow
def test_the_best_doubt_is_the_logarithm_of_the_loss_over_its_price():
    """Minimum of exp(-a) c + price a, found by steps against the closed form."""
    scores, drawn = scene()
    doubt = torch.full(drawn.shape, 0.5, requires_grad=True)
    optimiser = torch.optim.Adam([doubt], lr=0.1)
    for _ in range(120):
        optimiser.zero_grad()
        losses.uncertain_segmentation(scores, drawn, doubt).sum().backward()
        optimiser.step()
    entropy = float(-scores.log_softmax(dim=1)[0, 0, 3, 3, 0])
    expected = np.log(entropy / losses.PRICE)
    assert abs(float(doubt[0, 1, 3, 3, 0].detach()) - expected) < 0.05


def test_agreement_is_lowered_by_doubting_whoever_stands_alone():
    drawn = torch.zeros(1, 4, 6, 6, 1, dtype=torch.long)
    drawn[:, :, 2:4, 2:4] = 1
    drawn[:, 3] = 1
    doubt = torch.zeros(drawn.shape, requires_grad=True)
    losses.agreement(drawn, doubt, 2).sum().backward()
    alone, together = doubt.grad[0, 3, 0, 0, 0], doubt.grad[0, 0, 0, 0, 0]
    assert alone < together <= 0


def test_images_are_parted_by_the_median_after_the_warm_up():
    split = losses.QualitySplit(warm_up=2, decay=0.0)
    scores = torch.tensor([0.1, 0.2, 0.8, 0.9])
    for _ in range(2):
        high, low = split.groups(scores)
        assert high.all()
        assert low.all()
    high, low = split.groups(scores)
    assert high.tolist() == [False, False, True, True]
    assert torch.equal(low, ~high)


def test_quality_looks_at_the_outline_alone():
    drawn = torch.zeros(2, 1, 12, 12, 1, dtype=torch.long)
    drawn[:, :, 4:8, 4:8] = 1
    doubt = torch.zeros(drawn.shape)
    doubt[1, :, 0, 0] = 3.0
    assert torch.allclose(losses.quality(drawn.float(), doubt), torch.ones(2))


def test_doubt_that_is_error_has_area_one_and_orders_annotators():
    wrong = np.array([[True, False, False]])
    assert doubted(wrong.astype(float), wrong) == 1.0
    assert np.isnan(doubted(np.zeros(3), np.zeros(3, bool)))
    assert order_agrees(np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0])) == pytest.approx(1.0)


def test_the_same_seed_teaches_the_same_network_and_one_mask_is_refused():
    made = phantoms(4, side=16, seed=2, panel=PANEL[:2])
    examples = [Drawn(torch.from_numpy(item.image), torch.from_numpy(item.drawn)) for item in made]
    sizes = Sizes(2, (4, 8), ((2, 2, 1),), (2, 2, 1))
    how = Fit(steps=4, batch=2)
    nets = [fit_uncertain(examples, sizes, (16, 16, 1), how, Uncertain(heads)) for heads in ("two", "two", "one")]
    states = [net.state_dict()["high.weight"] for net in nets]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    with pytest.raises(InputError, match="one annotator"):
        fit_uncertain([Drawn(examples[0].image, examples[0].labels[:1])], sizes, (16, 16, 1), how, Uncertain())


def test_wrong_questions_are_refused():
    for options in ({"methods": ["majority"]}, {"simulate": {"tran": 3}}, {"heads": "three"}):
        with pytest.raises(InputError):
            build(**options)
