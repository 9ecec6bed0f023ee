"""Where the sign of a hidden status shows: in the core of a lesion, in its halo, in one sequence, or in a texture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from radfoundry.records import InputError
from radfoundry.simulate.body import Body
from radfoundry.simulate.fields import grid_points

WAVELENGTH_MM = (5.0, 9.0)  # the band that a sign in the texture fills
RING_MM = 4.0  # the halo of findings that have no oedema of their own


@dataclass(frozen=True)
class Sign:
    """A hidden status (0 or 1) with the place where it shows and by how much it brightens the image there."""

    place: str
    status: int
    strength: float
    seed: int = 0

    def shows_in(self, sequence: str) -> bool:
        """Whether images of a sequence can carry it."""
        return self.place in ("core", "halo", "texture") or self.place == sequence


def draw_sign(
    place: str, *, strength: float, spread: float, fading: float, status: int | None = None, rng: np.random.Generator
) -> Sign:
    """A status by the toss of a coin, and how strongly it shows in this patient.

    The brightening is `status * strength * (1 - fading)` plus a deviation `spread` that has nothing to do with the
    status: the best possible area under the curve is `Phi(strength (1 - fading) / (spread sqrt 2))`.
    """
    drawn = int(rng.random() < 0.5)
    known = drawn if status is None else status
    return Sign(place, known, known * strength * (1 - fading) + float(rng.normal()) * spread, int(rng.integers(2**31)))


def place_share(body: Body, place: str) -> torch.Tensor:
    """The share of every voxel that belongs to a place: `core` and `halo` are apart, others mean the whole lesion.

    Findings without oedema get a ring of their surroundings as halo.
    """
    whole = body.truth["lesion"]
    if place == "core":
        return body.truth.get("lesion-core", whole)
    if place == "halo":
        own = body.truth.get("lesion-halo")
        return own if own is not None and bool(own.any()) else _ring(body, whole)
    return whole


def with_sign(body: Body, sign: Sign, sequence: str) -> Body:
    """The body as it looks under a sequence with the sign in it: only the sign's own place changes its brightness."""
    if not sign.shows_in(sequence) or "lesion" not in body.truth:
        return body
    share = place_share(body, sign.place)
    if sign.place == "texture":
        share = share * band_noise(body, seed=sign.seed)
    gain = torch.ones(body.shape) if body.gain is None else body.gain
    return replace(body, gain=gain * (1 + sign.strength * share).clamp_min(0))


def leaning(body: Body, strength: float) -> Body:
    """The body with all its tissue brighter towards the front, by `strength` of the logarithm over 100 mm.

    A sign that is nothing but a slow wave: what takes out the shading of coils takes it out too.
    """
    places = grid_points(body.shape, body.affine)[..., 1]
    inside = body.fractions.sum(dim=0) > 0.5
    centre = places[inside].mean() if bool(inside.any()) else places.mean()
    gain = torch.ones(body.shape) if body.gain is None else body.gain
    return replace(body, gain=gain * torch.exp(strength * (places - centre) / 100))


def band_noise(body: Body, *, seed: int, wavelength_mm: tuple[float, float] = WAVELENGTH_MM) -> torch.Tensor:
    """Noise `(I, J, K)` of unit deviation and zero mean that holds only waves of a band of lengths in mm."""
    shape, low, high = body.shape, *wavelength_mm
    if not 0 < low < high:
        raise InputError(f"the band {wavelength_mm} mm is empty")
    spacing = np.linalg.norm(body.affine[:3, :3], axis=0)
    axes = [torch.fft.fftfreq(size, float(step)) for size, step in zip(shape[:2], spacing[:2], strict=True)]
    last = torch.fft.rfftfreq(shape[2], float(spacing[2]))
    frequency = torch.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + last**2)
    kept = (frequency >= 1 / high) & (frequency <= 1 / low)
    raw = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    waves = torch.fft.irfftn(torch.fft.rfftn(raw) * kept, s=shape)
    return waves / waves.std().clamp_min(1e-9)


def _ring(body: Body, whole: torch.Tensor) -> torch.Tensor:
    """What lies within RING_MM of a share but not in it, outside air."""
    voxels = max(1, round(RING_MM / float(np.linalg.norm(body.affine[:3, 0]))))
    grown = torch.nn.functional.max_pool3d(whole[None], 2 * voxels + 1, stride=1, padding=voxels)[0]
    return (grown - whole).clamp_min(0) * body.fractions.sum(dim=0).clamp(0, 1)
