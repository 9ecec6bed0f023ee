"""A detector that draws a map of where findings are, with a size and an offset in every cell: 2D and 3D."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from radfoundry.nets.conv import convolution
from radfoundry.records import InputError

WIDTHS = (16, 32, 48)
RARE = -2.5  # logit every cell begins with: findings are rare
MOST = 5
LARGEST_LOG_CELLS = 4.0


@dataclass(frozen=True, eq=False)
class Drawn:
    """Maps of a batch: `heat` `(B, I, J, K)` logits; `boxes` `(B, 6, I, J, K)` log lengths and offsets, in cells."""

    heat: torch.Tensor
    boxes: torch.Tensor


def through(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """A convolution of one slice done in two dimensions, which takes half the time; volumes as they are."""
    if x.shape[-1] > 1 or layer.kernel_size[2] > 1:
        return layer(x)
    flat = nn.functional.conv2d(x[..., 0], layer.weight[..., 0], layer.bias, layer.stride[:2], layer.padding[:2])
    return flat[..., None]


class Trunk(nn.Module):
    """Convolutions from scratch, each halving the image: one cell of 8 voxels."""

    def __init__(self, channels: int, *, flat: bool) -> None:
        super().__init__()
        widths = (channels, *WIDTHS)
        self.steps = nn.ModuleList(convolution(a, b, flat=flat, stride=2) for a, b in itertools.pairwise(widths))
        self.last = convolution(WIDTHS[-1], WIDTHS[-1], flat=flat)
        self.norms = nn.ModuleList(nn.GroupNorm(4, width) for width in (*WIDTHS, WIDTHS[-1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, channels, I, J, K)` to `(B, 48, i, j, k)`."""
        for step, norm in zip(self.steps, self.norms[:-1], strict=True):
            x = nn.functional.gelu(norm(through(step, x)))
        return nn.functional.gelu(self.norms[-1](through(self.last, x)))


class Detector(nn.Module):
    """An encoder's places, or a trunk from scratch, and a light head that says for each cell what is there.

    `frozen`: the encoder stays as it is and `forward` takes its places (see `places`).
    """

    def __init__(self, encoder: Any, *, channels: int, flat: bool, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen and encoder is not None
        self.encoder: Any = encoder if encoder is not None else Trunk(channels, flat=flat)
        self.from_scratch = encoder is None
        width = WIDTHS[-1] if encoder is None else int(encoder.spec.width)
        self.mix = convolution(width, WIDTHS[-1], flat=flat)
        self.norm = nn.GroupNorm(4, WIDTHS[-1])
        self.heat = nn.Conv3d(WIDTHS[-1], 1, 1)
        self.boxes = nn.Conv3d(WIDTHS[-1], 6, 1)
        nn.init.constant_(self.heat.bias, RARE)  # ty: ignore[invalid-argument-type]
        nn.init.zeros_(self.boxes.weight)
        if self.frozen:
            for weight in self.encoder.parameters():
                weight.requires_grad_(False)

    def places(self, x: torch.Tensor) -> torch.Tensor:
        """Images `(B, channels, I, J, K)` to features of places `(B, width, i, j, k)`."""
        if self.from_scratch:
            return self.encoder(x)
        seen = self.encoder.encode(x)
        if seen.tokens is None or seen.grid is None:
            raise InputError(f"{self.encoder.spec.name} gives no dense features", remedy="choose another encoder")
        return seen.tokens.transpose(1, 2).reshape(len(x), -1, *seen.grid)

    def forward(self, places: torch.Tensor) -> Drawn:
        """Features of places to maps."""
        mixed = nn.functional.gelu(self.norm(through(self.mix, places)))
        return Drawn(self.heat(mixed)[:, 0], self.boxes(mixed))

    def learned(self) -> dict[str, torch.Tensor]:
        """The weights that were learned here: all but those of a frozen encoder."""
        state = self.state_dict()
        return {key: value for key, value in state.items() if not (self.frozen and key.startswith("encoder."))}


def new(encoder: Any, *, channels: int, flat: bool, frozen: bool, seed: int) -> Detector:
    """A detector with fresh weights drawn from `seed`, leaving torch's own random state untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Detector(encoder, channels=channels, flat=flat, frozen=frozen)


def peaks(heat: torch.Tensor, boxes: torch.Tensor, *, most: int = MOST) -> tuple[torch.Tensor, torch.Tensor]:
    """The highest cells of one map that no neighbour exceeds: ratings `(n,)` as logits, and boxes `(n, 6)` in cells.

    heat `(I, J, K)`, boxes `(6, I, J, K)`; at most `most`, surest first.

    >>> heat = torch.zeros(5, 5, 1)
    >>> heat[1, 3] = 2.0
    >>> ratings, found = peaks(heat, torch.zeros(6, 5, 5, 1), most=1)
    >>> ratings.tolist(), found.tolist()
    ([2.0], [[1.0, 3.0, 0.0, 2.0, 4.0, 1.0]])
    """
    size = tuple(3 if n > 1 else 1 for n in heat.shape)
    padding = tuple(n // 2 for n in size)
    around = torch.nn.functional.max_pool3d(heat[None], size, stride=1, padding=padding)[0]
    standing = torch.where(heat >= around, heat, torch.full_like(heat, -torch.inf)).flatten()
    order = standing.argsort(descending=True, stable=True)[:most]
    order = order[standing[order].isfinite()]
    cells = torch.stack(torch.unravel_index(order, heat.shape), dim=1)
    values = boxes.flatten(1)[:, order].T
    lengths = values[:, :3].clamp(-LARGEST_LOG_CELLS, LARGEST_LOG_CELLS).exp()
    centres = cells + 0.5 + values[:, 3:].clamp(-1, 1)
    flat = torch.tensor([n == 1 for n in heat.shape])
    lengths = torch.where(flat, torch.ones_like(lengths), lengths)
    centres = torch.where(flat, torch.full_like(centres, 0.5), centres)
    return standing[order], torch.cat([centres - lengths / 2, centres + lengths / 2], dim=1)
