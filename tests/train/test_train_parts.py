"""Random numbers without state, grey value rules on any device, schedule and slow average."""

import numpy as np
import pytest
import torch

from radfoundry.data import intensity
from radfoundry.records import InputError
from radfoundry.train import draws, optimiser
from radfoundry.train.scaling import otsu, scaled
from radfoundry.volume import Volume


def test_draws_depend_on_case_seed_and_purpose_alone():
    cases = torch.arange(10)
    whole = draws.uniform(cases, 5, seed=3, purpose="a")
    assert torch.equal(whole[4:6], draws.uniform(torch.tensor([4, 5]), 5, seed=3, purpose="a"))
    assert torch.equal(whole[:, :2], draws.uniform(cases, 2, seed=3, purpose="a"))
    for other in (draws.uniform(cases, 5, seed=4, purpose="a"), draws.uniform(cases, 5, seed=3, purpose="b")):
        assert not torch.equal(whole, other)


def test_draws_are_spread_evenly_and_unrelated():
    table = draws.uniform(torch.arange(2000), 50, seed=0, purpose="x").numpy()
    assert table.min() >= 0 and table.max() < 1
    counts = np.histogram(table, bins=20, range=(0, 1))[0]
    # Chi-square with 19 degrees of freedom: 43.8 is its 99.9th percentile.
    assert (((counts - 5000) ** 2) / 5000).sum() < 43.8
    correlation = np.corrcoef(table.T)
    assert np.abs(correlation - np.eye(50)).max() < 0.1
    bell = draws.normal(torch.arange(2000), 20, seed=0, purpose="x").numpy()
    assert abs(bell.mean()) < 0.02 and abs(bell.std() - 1) < 0.02 and abs((bell**4).mean() - 3) < 0.2


def test_chosen_places_have_the_asked_number():
    picked = draws.chosen(torch.arange(7), 10, 0.3, seed=0, purpose="m")
    assert picked.sum(dim=1).tolist() == [3] * 7 and not bool((picked == picked[0]).all())


@pytest.mark.parametrize("rule", ["none", "percentile", "zscore"])
def test_grey_value_rules_are_those_of_the_data_floor(rule):
    rng = np.random.default_rng(0)
    image = rng.gamma(2.0, 1.0, (14, 15, 16)).astype(np.float32)
    image[:7] *= 0.05
    volume = Volume.of(image, np.eye(4))
    rules = {"none": intensity.unchanged, "percentile": intensity.percentile, "zscore": intensity.zscore}
    expected = rules[rule](volume).array[0]
    found = scaled(torch.from_numpy(image)[None], rule)[0].numpy()
    # Otsu's bins end at another quantile by less than a voxel's worth.
    np.testing.assert_allclose(found, expected, atol=2e-2 if rule == "zscore" else 1e-5)


def test_flat_images_and_unknown_rules():
    flat = torch.full((2, 4, 4, 4), 3.0)
    assert torch.equal(scaled(flat, "zscore"), torch.zeros_like(flat))
    assert torch.equal(scaled(flat, "percentile"), torch.zeros_like(flat))
    assert torch.isfinite(otsu(flat.flatten(1))).all()
    with pytest.raises(InputError, match="known: none"):
        scaled(flat, "window")


def test_the_rate_rises_then_falls_and_decay_spares_vectors():
    rates = [optimiser.schedule(step, step / 99, warmup_steps=10) for step in range(100)]
    assert (
        rates[0] == pytest.approx(0.1, abs=0.01) and max(rates) == max(rates[9:11]) and rates[-1] == pytest.approx(0.01)
    )
    module = torch.nn.Linear(3, 2)
    made = optimiser.adamw(module, learning_rate=1.0, weight_decay=0.1)
    decay = {id(weight): group["weight_decay"] for group in made.param_groups for weight in group["params"]}
    assert decay == {id(module.weight): 0.1, id(module.bias): 0.0}


def test_the_slow_average_follows():
    module = torch.nn.Linear(1, 1)
    average = optimiser.SlowAverage(module, decay=0.5)
    with torch.no_grad():
        start = module.weight.clone()
        module.weight.add_(1.0)
    average.update(module, step=1000)
    assert torch.allclose(average.weights["weight"], start + 0.5)
