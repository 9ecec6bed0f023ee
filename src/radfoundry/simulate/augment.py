"""Variation of real images for training: one pass for pose and shape of image and label, then shading, a spike, noise.

Everything is drawn first from one generator and applied afterwards, so that the same draw can be repeated on any
device, inspected, or applied to another image of the same patient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.records import InputError
from radfoundry.simulate.fields import rotation, spline_field

NO_FOLD = 0.40  # share of the distance between control points below which a spline cannot fold; Choi and Lee 2000


@dataclass(frozen=True)
class Variation:
    """How far images may be varied; every value is the largest (or, for shading and noise, the deviation's largest).

    turn_deg: rotation about each axis · scale: share of size · shift_mm · bend_mm: elastic displacement of control
    points, `control_points` an axis · shading: of the logarithm of brightness · noise: share of the image's standard
    deviation · spike: share of the brightest k-space sample · spike_rate: share of images with a spike.
    """

    turn_deg: float = 15.0
    scale: float = 0.15
    shift_mm: float = 8.0
    bend_mm: float = 7.0
    control_points: int = 7
    shading: float = 0.3
    noise: float = 0.1
    spike: float = 0.3
    spike_rate: float = 0.5

    def __post_init__(self) -> None:
        values = (self.turn_deg, self.scale, self.shift_mm, self.bend_mm, self.shading, self.noise, self.spike)
        if min(values) < 0 or not 0 <= self.spike_rate <= 1 or self.scale >= 1:
            raise InputError("a variation is negative, or a share is above 1", remedy="0 leaves the image as it is")
        if self.control_points < 4:
            raise InputError(f"{self.control_points} control points an axis", remedy="give at least 4")


@dataclass(frozen=True, eq=False)
class Varied:
    """One draw: the matrix in mm about the middle of the image, spline coefficients and the rest."""

    matrix: np.ndarray
    bend_mm: torch.Tensor
    shading: torch.Tensor
    noise: float
    noise_seed: int
    spike: float
    spike_at: tuple[float, float, float]
    spike_phase: float


def draw_variation(variation: Variation, *, rng: np.random.Generator) -> Varied:
    """Draw everything random about one varied image; it does not depend on the image."""
    angles = rng.uniform(-1, 1, 3) * variation.turn_deg
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(angles) @ np.diag(1 / (1 + rng.uniform(-1, 1, 3) * variation.scale))
    matrix[:3, 3] = rng.uniform(-1, 1, 3) * variation.shift_mm
    cells = (variation.control_points,) * 3
    bend = rng.uniform(-1, 1, (3, *cells)).astype(np.float32) * np.float32(variation.bend_mm)
    shading = rng.standard_normal((5, 5, 5)).astype(np.float32) * np.float32(variation.shading * rng.random())
    there = rng.random() < variation.spike_rate
    place = rng.uniform(-0.25, 0.25, 3)  # cycles a voxel
    return Varied(
        matrix,
        torch.from_numpy(bend),
        torch.from_numpy(shading),
        float(variation.noise * rng.random()),
        int(rng.integers(2**62)),
        float(variation.spike * rng.random()) if there else 0.0,
        (float(place[0]), float(place[1]), float(place[2])),
        float(rng.uniform(0, 2 * np.pi)),
    )


def vary(
    image: torch.Tensor,
    drawn: Varied,
    *,
    spacing_mm: tuple[float, float, float],
    labels: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Image `(C, I, J, K)` and labels `(L, I, J, K)` after a draw: both are moved by the same places, once.

    The image is interpolated linearly and labels take the value of the nearest voxel; outside is 0. Displacements are
    held below what folds. Shading multiplies, the spike adds a plane wave (what one wrong sample of k-space does to
    the real part), noise is Gaussian. Labels are refused when their grid is another. Values of labels never mix.

    >>> flat = torch.ones(1, 16, 16, 16)
    >>> still = draw_variation(Variation(0, 0, 0, 0, shading=0, noise=0, spike=0), rng=np.random.default_rng(0))
    >>> bool(torch.allclose(vary(flat, still, spacing_mm=(1, 1, 1))[0], flat, atol=1e-5))
    True
    """
    shape = (image.shape[-3], image.shape[-2], image.shape[-1])
    if image.ndim != 4 or min(shape) < 2:
        raise InputError(f"an image has the shape (C, I, J, K), got {tuple(image.shape)}")
    if labels is not None and labels.shape[-3:] != image.shape[-3:]:
        raise InputError(f"labels of shape {tuple(labels.shape)} lie on another grid than the image {shape}")
    grid = sampling_grid(drawn, shape, spacing_mm, device=image.device)
    moved = torch.nn.functional.grid_sample(image[None].float(), grid, align_corners=True, padding_mode="zeros")[0]
    if drawn.shading.any():
        moved *= spline_field(drawn.shading.to(image.device), shape).exp_()
    if drawn.spike > 0:
        moved += plane_wave(drawn, shape, device=image.device) * (drawn.spike * moved.mean())
    if drawn.noise > 0:
        generator = torch.Generator(device=image.device).manual_seed(drawn.noise_seed)
        level = drawn.noise * float(_spread(moved))
        moved += torch.randn(moved.shape, generator=generator, device=image.device).mul_(level)
    if labels is None:
        return moved, None
    kept = torch.nn.functional.grid_sample(
        labels[None].float(), grid, mode="nearest", align_corners=True, padding_mode="zeros"
    )[0]
    return moved, kept.to(labels.dtype)


def sampling_grid(
    drawn: Varied, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], *, device: torch.device | str
) -> torch.Tensor:
    """Where every voxel of the result is read, `(1, I, J, K, 3)` as `grid_sample` wants it (last axis first)."""
    half_mm = [max(size - 1, 1) * step / 2 for size, step in zip(shape, spacing_mm, strict=True)]
    cells = [2 * half / (drawn.bend_mm.shape[-1] - 3) for half in half_mm]
    limit = torch.tensor([NO_FOLD * cell for cell in cells]).reshape(3, 1, 1, 1)
    bend = drawn.bend_mm.clamp(-limit, limit) / torch.tensor(half_mm).reshape(3, 1, 1, 1)
    field = spline_field(bend.flip(0).to(device), shape)  # last axis first, as grid_sample wants it
    axes = [
        torch.linspace(-half, half, size, device=device).reshape([-1 if axis == place else 1 for place in range(3)])
        for axis, (half, size) in enumerate(zip(half_mm, shape, strict=True))
    ]
    for row, half in enumerate(half_mm):
        weights = drawn.matrix[row, :3] / half
        # The two short sums are made first, so that the whole grid is written once.
        side = axes[0] * float(weights[0]) + axes[1] * float(weights[1])
        field[2 - row] += side + float(drawn.matrix[row, 3] / half)
        field[2 - row] += axes[2] * float(weights[2])
    return torch.movedim(field, 0, -1)[None]


def plane_wave(drawn: Varied, shape: tuple[int, int, int], *, device: torch.device | str) -> torch.Tensor:
    """`cos(2 pi k x + phase)` of the drawn frequency, rounded to the nearest sample of k-space, `(I, J, K)`."""
    waves = []
    for cycles, size in zip(drawn.spike_at, shape, strict=True):
        steps = torch.arange(size, device=device, dtype=torch.float32) * (2 * math.pi * round(cycles * size) / size)
        waves.append(steps)
    first = waves[0][:, None] + waves[1][None, :] + drawn.spike_phase
    # cos(a + b) = cos a cos b - sin a sin b: two small tables instead of a cosine for every voxel.
    return first.cos()[..., None] * waves[2].cos() - first.sin()[..., None] * waves[2].sin()


def _spread(image: torch.Tensor) -> torch.Tensor:
    """Standard deviation from every seventh voxel along each axis: enough for a noise level."""
    return image[..., ::3, ::3, ::3].std()
