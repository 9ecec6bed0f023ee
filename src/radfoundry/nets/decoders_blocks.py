"""The multi-block decoder: tokens of several depths of a transformer, side by side, grown back to the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from radfoundry.nets.bundled import AnatomyEncoder, AnatomyNet
from radfoundry.nets.encoder_maps import Sizes, as_map
from radfoundry.nets.unet import Step
from radfoundry.nets.vit import TokenEncoder
from radfoundry.nets.vit2d import VisionTransformer
from radfoundry.records import InputError

DEPTHS = 4
FEWEST = 8
WHOLE = 32


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of every place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, width, I, J, K) to the same shape."""
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class MultiBlockDecoder(nn.Module):
    """Tokens of four evenly spaced blocks, concatenated, then transposed convolutions of stride two up to the voxels.

    Each step halves the channels and is followed by layer normalisation and GELU; a 1 x 1 convolution gives the
    scores. There are no shortcuts from the image: what the tokens lost stays lost.

    Source: the segmenter of ThighSeg (blocks 2, 5, 8 and 11 of a ViT-B/16, four steps), after MedDINOv3; as far as
    the published description goes.
    """

    def __init__(self, sizes: Sizes, encoder: Any, probe: torch.Tensor) -> None:
        super().__init__()
        # Whole multiples of any usual patch, so that image over grid is the size of a token.
        missing = [0 if int(n) == 1 else -int(n) % WHOLE for n in probe.shape[2:]]
        larger = nn.functional.pad(probe, (0, missing[2], 0, missing[1], 0, missing[0]))
        found = self.block_maps(encoder, larger)
        width = sum(int(part.shape[1]) for part in found)
        patch = [int(n) / int(m) for n, m in zip(larger.shape[2:], found[0].shape[2:], strict=True)]
        steps = [round(math.log2(max(1.0, size))) for size in patch]
        self.exact = all(2**step == size for step, size in zip(steps, patch, strict=True))
        layers: list[nn.Module] = []
        for index in range(max(steps)):
            stride = tuple(2 if max(steps) - index <= step else 1 for step in steps)
            halved = max(FEWEST, width // 2)
            layers += [nn.ConvTranspose3d(width, halved, stride, stride), ChannelNorm(halved), nn.GELU()]  # ty: ignore
            width = halved
        self.grow = nn.Sequential(*layers)
        self.head = nn.Conv3d(width, sizes.classes, 1)
        self.patch = tuple(2**step for step in steps)

    @property
    def multiple(self) -> Step:
        """What every side of the image has to be a multiple of."""
        return (self.patch[0], self.patch[1], self.patch[2])

    def block_maps(self, encoder: Any, x: torch.Tensor) -> list[torch.Tensor]:
        """Maps of the tokens after each of the chosen blocks."""
        return block_maps(encoder, x)

    def forward(self, x: torch.Tensor, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Image (for its size alone) and maps to scores (batch, classes, I, J, K)."""
        grown = self.head(self.grow(torch.cat(list(maps), dim=1)))
        i, j, k = (int(n) for n in x.shape[2:])
        if not self.exact:
            return nn.functional.interpolate(grown, size=(i, j, k), mode="trilinear", align_corners=False)
        return grown[:, :, :i, :j, :k]


def block_maps(encoder: Any, x: torch.Tensor, *, depths: int = DEPTHS) -> list[torch.Tensor]:
    """Tokens after `depths` evenly spaced transformer blocks as maps; refused where there are no such blocks."""
    blocks, run = _blocks(encoder)
    chosen = sorted({round((index + 1) * len(blocks) / depths) - 1 for index in range(depths)} - {-1})
    kept: dict[int, torch.Tensor] = {}
    hooks = [
        blocks[index].register_forward_hook(lambda _module, _inputs, output, at=index: kept.__setitem__(at, output))
        for index in chosen
    ]
    try:
        grid, ahead = run(x)
    finally:
        for hook in hooks:
            hook.remove()
    count = math.prod(grid)
    found = []
    for index in chosen:
        start = kept[index].shape[1] - count if ahead < 0 else ahead
        found.append(as_map(kept[index][:, start : start + count], grid))
    return found


def _blocks(encoder: Any) -> tuple[nn.ModuleList, Any]:
    """The transformer blocks of an encoder, and a way to run it that gives the grid and the tokens ahead of it."""
    if isinstance(encoder, AnatomyEncoder):
        return encoder.net.attention, lambda x: _run_anatomy(encoder.net, x)
    for module in encoder.modules() if isinstance(encoder, nn.Module) else ():
        if isinstance(module, TokenEncoder):
            return module.blocks, lambda x: (encoder.encode(x).grid, 1)
        if isinstance(module, VisionTransformer):
            return module.blocks, lambda x: (encoder.encode(x).grid, -1)
    raise InputError(
        f"{encoder.spec.name} has no transformer blocks", remedy="use head=light or head=unet", finding="no-blocks"
    )


def _run_anatomy(net: AnatomyNet, x: torch.Tensor) -> tuple[tuple[int, ...], int]:
    missing = [-int(n) % 8 for n in x.shape[2:]]
    net(nn.functional.pad(x, (0, missing[2], 0, missing[1], 0, missing[0])))
    return tuple((int(n) + more) // 8 for n, more in zip(x.shape[2:], missing, strict=True)), 0
