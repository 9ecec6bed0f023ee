"""What happens to an image and its mask before a step: cut out, turned, scaled, moved, brightened, roughened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Change:
    """How far images are changed at random; zero everywhere is no change at all.

    `turn_deg`, `scale` (share of the size), `move` (share of the patch), `gamma` and `noise` are standard deviations;
    with `mirror` half of the images have left and right exchanged, which no plan with a side in it may do.
    """

    turn_deg: float = 8.0
    scale: float = 0.08
    move: float = 0.03
    gamma: float = 0.2
    noise: float = 0.03
    mirror: bool = False


def patch_start(
    labels: np.ndarray, patch: Sequence[int], *, rng: np.random.Generator, inside: bool
) -> tuple[int, int, int]:
    """Where a patch begins: around a voxel of a structure when `inside`, else anywhere; may begin before the image.

    An axis on which the image is smaller than the patch is centred.
    """
    start = []
    seed = None
    if inside:
        spots = np.flatnonzero(labels)
        if len(spots):
            seed = np.unravel_index(int(spots[rng.integers(len(spots))]), labels.shape)
    for axis, (size, wanted) in enumerate(zip(labels.shape, patch, strict=True)):
        room = size - wanted
        if room <= 0:
            start.append(-((-room) // 2))
        elif seed is None:
            start.append(int(rng.integers(room + 1)))
        else:
            start.append(int(np.clip(int(seed[axis]) - rng.integers(wanted), 0, room)))
    return (start[0], start[1], start[2])


def matrix(change: Change, *, flat: bool, rng: np.random.Generator) -> np.ndarray:
    """(3, 4) from a point of the patch to the point of the image that is shown there, in voxels from the centre."""
    angles = np.deg2rad(rng.normal(0, change.turn_deg, 3))
    if flat:
        angles[:2] = 0
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[one, one] = step[two, two] = math.cos(angle)
        step[one, two], step[two, one] = -math.sin(angle), math.sin(angle)
        turn = turn @ step
    sizes = np.exp(rng.normal(0, change.scale) + rng.normal(0, change.scale / 2, 3))
    if flat:
        sizes[2] = 1.0
    if change.mirror and rng.random() < 0.5:
        sizes[0] *= -1
    return np.hstack([turn @ np.diag(sizes), rng.normal(0, change.move, 3)[:, None] * (1, 1, 0 if flat else 1)])


def taken(
    image: torch.Tensor, labels: torch.Tensor, patch: Sequence[int], start: Sequence[int], transform: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """A changed patch of an image (C, I, J, K) and its labels (I, J, K): linear for the one, nearest for the other.

    `transform` is that of `matrix`, its shift in shares of the patch. Beyond the image its last voxels go on.
    """
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in patch]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    turn = torch.from_numpy(transform[:, :3].astype(np.float32))
    shift = torch.tensor([share * n for share, n in zip(transform[:, 3], patch, strict=True)], dtype=torch.float32)
    middle = torch.tensor([at + (n - 1) / 2 for at, n in zip(start, patch, strict=True)], dtype=torch.float32)
    voxels = points @ turn.T + shift + middle
    sizes = torch.tensor([int(n) for n in image.shape[1:]], dtype=torch.float32)
    grid = torch.where(sizes > 1, 2 * voxels / (sizes - 1).clamp_min(1) - 1, torch.zeros(()))
    grid = grid.flip(-1)[None]  # grid_sample counts the last axis first
    seen = nn.functional.grid_sample(image[None], grid, mode="bilinear", padding_mode="border", align_corners=True)
    drawn = nn.functional.grid_sample(
        labels[None, None].float(), grid, mode="nearest", padding_mode="border", align_corners=True
    )
    return seen[0], drawn[0, 0].to(torch.uint8)


def regreyed(image: torch.Tensor, change: Change, *, rng: np.random.Generator) -> torch.Tensor:
    """Another contrast and some noise, for images of about mean 0 and deviation 1."""
    low, high = image.amin(), image.amax()
    span = (high - low).clamp_min(1e-6)
    curved = ((image - low) / span) ** float(np.exp(rng.normal(0, change.gamma))) * span + low
    noise = np.abs(rng.normal(0, change.noise))
    rough = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32)) * float(noise)
    bright = float(np.exp(rng.normal(0, change.gamma / 2)))
    return curved * bright + rough * float(image.std())
