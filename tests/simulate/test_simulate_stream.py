"""Training crops and dynamic images: the batch size changes nothing, curves obey their closed forms."""

import math

import pytest
import torch

from radfoundry.simulate.dynamic import (
    apparent_diffusion_um2_per_ms,
    arterial_concentration_mm,
    inflow_signal,
    label_difference,
    tissue_concentration_mm,
)
from radfoundry.simulate.protocols import PROTOCOLS, draw_sequence
from radfoundry.simulate.stream import SETTINGS, CropPlan, batch, crops, draw_crop

PLAN = CropPlan(size=24, views=2)


def test_a_case_is_the_same_in_any_batch_and_on_any_rank():
    three = next(crops(PLAN, batch_size=3, seed=4))
    second = next(crops(PLAN, batch_size=1, seed=4, start=1, step=2))
    assert three.case.tolist() == [0, 1, 2] and second.case.tolist() == [1]
    for name in ("images", "labels", "lesion", "settings", "centre_mm"):
        assert torch.equal(getattr(three, name)[1:2], getattr(second, name))
    assert three.images.shape == (3, 2, 24, 24, 24) and three.settings.shape == (3, 2, len(SETTINGS))


def test_values_are_finite_and_sequences_differ():
    made = next(crops(PLAN, batch_size=2, seed=1))
    assert bool(torch.isfinite(made.images).all()) and float(made.images.min()) >= 0
    assert bool((made.protocol[:, 0] != made.protocol[:, 1]).all())


def test_noise_only_changes_the_image():
    quiet = CropPlan(size=24, views=1, noise=(1e-6, 2e-6))
    loud = CropPlan(size=24, views=1, noise=(0.3, 0.31))
    one, other = (batch([draw_crop(plan, seed=0, case=0)], plan, cases=[0]) for plan in (quiet, loud))
    assert torch.equal(one.labels, other.labels) and not torch.equal(one.images, other.images)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_every_protocol_can_be_drawn(name):
    import numpy as np

    for seed in range(20):
        sequence = draw_sequence(name, rng=np.random.default_rng(seed))
        low, high = PROTOCOLS[name].repetition
        assert low <= sequence.repetition_time_ms <= high


def test_uptake_solves_its_differential_equation():
    # dC/dt = Ktrans Cp - (Ktrans / ve) C (Tofts and Kermode 1991), by finite differences.
    time = torch.linspace(0, 8, 4001, dtype=torch.float64)
    transfer, volume = torch.tensor([0.25], dtype=torch.float64), torch.tensor([0.4], dtype=torch.float64)
    curve = tissue_concentration_mm(time, transfer_per_min=transfer, leakage_volume=volume)[0]
    slope = torch.gradient(curve, spacing=(time,))[0]
    expected = 0.25 * arterial_concentration_mm(time) - 0.25 / 0.4 * curve
    assert torch.allclose(slope[5:-5], expected[5:-5], atol=1e-4)
    before = tissue_concentration_mm(torch.tensor([-1.0]), transfer_per_min=transfer, leakage_volume=volume)
    assert float(before) == 0


def test_diffusion_map_returns_the_coefficient():
    truth = torch.tensor([0.7, 3.0])
    high = torch.exp(-truth)
    found = apparent_diffusion_um2_per_ms(torch.ones(2), high, b_values=(0, 1000))
    assert torch.allclose(found, truth, atol=1e-6)


def test_labelling_difference_is_linear_in_flow_and_below_two_percent():
    flow = torch.tensor([30.0, 60.0])
    difference = label_difference(flow)
    assert float(difference[1] / difference[0]) == pytest.approx(2)
    assert 0 < float(difference[1]) < 0.02


def test_fresh_blood_is_bright_and_ends_at_the_ernst_signal():
    pulses = torch.tensor([0.0, 5.0, 1e6])
    signal = inflow_signal(1441, repetition_time_ms=25, flip_angle_deg=20, fresh_pulses=pulses)
    angle, recovery = math.radians(20), math.exp(-25 / 1441)
    assert float(signal[0]) == pytest.approx(math.sin(angle))
    assert float(signal[2]) == pytest.approx(
        math.sin(angle) * (1 - recovery) / (1 - math.cos(angle) * recovery), rel=1e-5
    )
    assert float(signal[0]) > float(signal[1]) > float(signal[2])
