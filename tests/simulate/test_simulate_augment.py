"""Variation for training: nothing asked for changes nothing, labels stay labels, and a spike is a sample of k-space."""

import dataclasses

import numpy as np
import pytest
import torch

from radfoundry.records import InputError
from radfoundry.simulate.augment import Variation, draw_variation, plane_wave, sampling_grid, vary

STILL = Variation(turn_deg=0, scale=0, shift_mm=0, bend_mm=0, shading=0, noise=0, spike=0)
MM = (1.0, 1.5, 2.0)


def rng():
    return np.random.default_rng(4)


def image(size=20):
    return torch.rand(1, size, size + 2, size + 4, generator=torch.Generator().manual_seed(0))


def test_nothing_asked_for_changes_nothing():
    labels = (image() > 0.5).to(torch.uint8)
    seen, kept = vary(image(), draw_variation(STILL, rng=rng()), spacing_mm=MM, labels=labels)
    assert torch.allclose(seen, image(), atol=1e-5) and torch.equal(kept, labels)


def test_a_shift_is_a_shift_in_mm():
    drawn = draw_variation(STILL, rng=rng())
    drawn.matrix[2, 3] = 4.0  # mm along the last axis: two voxels of 2 mm
    seen, _ = vary(image(), drawn, spacing_mm=MM)
    assert torch.allclose(seen[..., :-2], image()[..., 2:], atol=1e-5)
    assert float(seen[..., -2:].abs().max()) < 1e-5  # nothing wraps round


def test_labels_move_with_the_image_and_never_mix():
    labels = torch.zeros(1, 24, 24, 24, dtype=torch.uint8)
    labels[:, 6:18, 8:16, 5:19] = 7
    drawn = draw_variation(Variation(shading=0, noise=0, spike=0), rng=rng())
    seen, kept = vary(labels.float(), drawn, spacing_mm=(2, 2, 2), labels=labels)
    assert set(kept.unique().tolist()) == {0, 7} and kept.dtype == torch.uint8
    assert float(((seen > 3.5) == (kept == 7)).float().mean()) > 0.99


def test_displacements_never_fold():
    for seed in range(5):
        drawn = draw_variation(Variation(bend_mm=60.0), rng=np.random.default_rng(seed))  # far beyond what is held
        drawn.matrix[:3, :3] = np.eye(3)
        grid = sampling_grid(drawn, (24, 24, 24), (2.0, 2.0, 2.0), device="cpu")[0].flip(-1)
        slopes = torch.stack(torch.gradient(grid, dim=(0, 1, 2)), dim=-1)
        assert float(torch.linalg.det(slopes).min()) > 0


def test_a_spike_is_one_wrong_sample_of_k_space():
    base = image(16)[0]
    drawn = dataclasses.replace(
        draw_variation(STILL, rng=rng()), spike=0.4, spike_at=(0.2, -0.1, 0.25), spike_phase=0.7
    )
    seen, _ = vary(base[None], drawn, spacing_mm=MM)
    space = torch.fft.fftn(base.to(torch.complex128), norm="forward")
    place = tuple(round(cycles * size) % size for cycles, size in zip(drawn.spike_at, base.shape, strict=True))
    space[place] += 0.4 * space[0, 0, 0].abs() * np.exp(0.7j)
    expected = torch.fft.ifftn(space, norm="forward").real
    assert torch.allclose(seen[0].double(), expected, atol=1e-5)
    assert float(plane_wave(drawn, tuple(base.shape), device="cpu").mean()) == pytest.approx(0, abs=1e-6)


def test_the_same_draw_gives_the_same_bytes_and_channels_move_together():
    drawn = draw_variation(Variation(noise=0.2), rng=rng())
    one, other = (vary(image(), drawn, spacing_mm=MM)[0] for _ in range(2))
    assert torch.equal(one, other)
    quiet = dataclasses.replace(drawn, noise=0.0, spike=0.0)
    both, _ = vary(image().repeat(2, 1, 1, 1), quiet, spacing_mm=MM)
    assert torch.equal(both[0], both[1])


def test_bad_requests_are_refused():
    with pytest.raises(InputError):
        Variation(scale=1.0)
    with pytest.raises(InputError):
        vary(image(), draw_variation(STILL, rng=rng()), spacing_mm=MM, labels=torch.zeros(1, 3, 3, 3))
