"""What an encoder says of every place, as maps for a decoder, and the sizes a plan gives that decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from radfoundry.nets.bundled import AnatomyEncoder
from radfoundry.nets.unet import Step
from radfoundry.records import InputError


@dataclass(frozen=True)
class Sizes:
    """What a plan says of a decoder: classes with background, widths and strides of the levels, the fold."""

    classes: int
    widths: tuple[int, ...]
    strides: tuple[Step, ...]
    fold: Step = (1, 1, 1)
    channels: int = 1


def maps_of(encoder: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """What an encoder says of every place of a batch, as maps (batch, features, i, j, k), finest first.

    The bundled encoder gives half and quarter resolution, every other encoder the grid of its tokens. The image is
    read voxel by voxel as if its voxels had the size the encoder knows.
    """
    if isinstance(encoder, AnatomyEncoder):
        dense = encoder.net(_whole(x, 8))
        cut = [math.ceil(int(n) / 2) for n in x.shape[2:]]
        half = torch.cat([dense.half, dense.shares], dim=1)[:, :, : cut[0], : cut[1], : cut[2]]
        cut = [math.ceil(n / 2) for n in cut]
        return [half, dense.quarter[:, :, : cut[0], : cut[1], : cut[2]]]
    seen = encoder.encode(x)
    if seen.tokens is None or seen.grid is None:
        raise InputError(f"{encoder.spec.name} gives no features of places", remedy="use another encoder or head=unet")
    return [as_map(seen.tokens, seen.grid)]


def as_map(tokens: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
    """(batch, places, width) to (batch, width, *grid)."""
    sides = [*grid, *[1] * (3 - len(grid))]
    # Contiguous: group normalisation of a transposed view crashes on the way back (torch 2.13, CPU).
    return tokens.transpose(1, 2).contiguous().reshape(len(tokens), -1, *sides)


def _whole(x: torch.Tensor, multiple: int) -> torch.Tensor:
    missing = [-int(n) % multiple for n in x.shape[2:]]
    return nn.functional.pad(x, (0, missing[2], 0, missing[1], 0, missing[0])) if any(missing) else x
