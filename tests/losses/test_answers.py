"""Losses of answers against other ways to the same number."""

import numpy as np
import torch
from statsmodels.duration.hazard_regression import PHReg

from radfoundry.losses import answers


def test_focal_of_classes_is_cross_entropy_without_focus_and_focal_of_two_classes_agrees():
    raw = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    target = torch.arange(20) % 3
    share = torch.nn.functional.one_hot(target, 3).float()
    plain = torch.nn.functional.cross_entropy(raw, target, reduction="none")
    assert torch.allclose(answers.focal_classes(raw, share, gamma=0), plain)
    yes = (target == 1).float()
    two = answers.focal_classes(torch.stack([torch.zeros(20), raw[:, 0]], 1), torch.stack([1 - yes, yes], 1), gamma=2)
    assert torch.allclose(answers.focal(raw[:, 0], yes, gamma=2), two, atol=1e-6)


def test_grades_have_probabilities_that_add_up_to_one():
    place, borders = torch.linspace(-3, 3, 7), torch.tensor([-1.0, 0.5, 2.0])
    each = torch.stack([torch.exp(-answers.ordered(place, borders, torch.full((7,), grade))) for grade in range(4)])
    assert torch.allclose(each.sum(dim=0), torch.ones(7), atol=1e-5)


def test_partial_likelihood_agrees_with_statsmodels():
    rng = np.random.default_rng(0)
    x, time, event = rng.normal(size=30), rng.integers(1, 12, 30).astype(float), rng.random(30) < 0.6
    oracle = PHReg(time, x[:, None], status=event.astype(int), ties="breslow").loglike(np.array([0.7]))
    found = answers.cox(torch.tensor(0.7 * x), torch.tensor(time), torch.tensor(event.astype(float)))
    assert np.isclose(float(found) * event.sum(), -oracle, atol=1e-4)
