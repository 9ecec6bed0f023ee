"""Boxes cut from a common grid, and what lies in one box as seen from another: for views that are shifted apart."""

from __future__ import annotations

import torch
from torch.nn.functional import grid_sample


def cut(images: torch.Tensor, start: torch.Tensor, size: tuple[int, int, int]) -> torch.Tensor:
    """`(N, I, J, K)` images to `(N, *size)` boxes that begin at `start` `(N, 3)` voxels, each at its own.

    >>> cut(torch.arange(4.0).reshape(1, 4, 1, 1), torch.tensor([[1, 0, 0]]), (2, 1, 1)).flatten().tolist()
    [1.0, 2.0]
    """
    for axis, length in enumerate(size):
        inside = start[:, axis, None] + torch.arange(length, device=start.device)
        shape = [len(images), 1, 1, 1]
        shape[axis + 1] = length
        wanted = list(images.shape)
        wanted[axis + 1] = length
        images = images.gather(axis + 1, inside.reshape(shape).expand(wanted))
    return images


def seen_from(values: torch.Tensor, away: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps `(N, C, i, j, k)` read `away` `(N, 3)` cells further along each axis, and `(N, i, j, k)` where they reach.

    Between cells values are interpolated; outside they are 0 and count as not there. Nothing away gives the maps back.
    """
    size = torch.tensor(values.shape[2:], device=values.device)
    axes = [torch.arange(int(n), device=values.device, dtype=torch.float32) for n in size]
    cells = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) + away[:, None, None, None].float()
    valid = ((cells >= -1e-4) & (cells <= size - 1 + 1e-4)).all(dim=-1)
    place = (cells + 0.5) / size * 2 - 1
    moved = grid_sample(values.float(), place.flip(-1), padding_mode="border", align_corners=False)
    return moved * valid[:, None], valid
