"""Own residual convolutional encoders in 3D and 2D: local detail first, three halvings, places of eight voxels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from radfoundry.nets.intensity import STATISTICS
from radfoundry.nets.vit import statistics_of
from radfoundry.records import EncoderSpec, Features, InputError

GROUP_WIDTH = 8


class Residual(nn.Module):
    """Two convolutions beside a shortcut, normalised before each (He et al. 2016, "Identity mappings", figure 4e)."""

    def __init__(self, incoming: int, outgoing: int, *, flat: bool, stride: int) -> None:
        super().__init__()
        self.before_first = nn.GroupNorm(max(1, incoming // GROUP_WIDTH), incoming)
        self.first = convolution(incoming, outgoing, flat=flat, stride=stride)
        self.before_second = nn.GroupNorm(max(1, outgoing // GROUP_WIDTH), outgoing)
        self.second = convolution(outgoing, outgoing, flat=flat)
        same = incoming == outgoing and stride == 1
        self.shortcut = nn.Identity() if same else convolution(incoming, outgoing, flat=flat, stride=stride, size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, incoming, I, J, K) to (batch, outgoing, I / stride, J / stride, K / stride)."""
        inner = self.first(nn.functional.gelu(self.before_first(x)))
        return self.shortcut(x) + self.second(nn.functional.gelu(self.before_second(inner)))


class ConvEncoder(nn.Module):
    """Image to one feature vector per place and one for the whole, by convolutions alone.

    The last stage is pooled before any normalisation, so that brightness survives; a linear map of the
    image's first-order statistics is added at the end of the pooled vector, as in the token encoder.
    """

    def __init__(self, spec: EncoderSpec, *, widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.spec = spec
        flat = spec.dimensions == 2
        self.stem = convolution(spec.channels, widths[0], flat=flat, stride=2)
        stages: list[nn.Module] = []
        incoming = widths[0]
        for index, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                halving = 2 if index > 0 and block == 0 else 1
                stages.append(Residual(incoming, width, flat=flat, stride=halving))
                incoming = width
        self.stages = nn.Sequential(*stages)
        self.missing = nn.Parameter(torch.zeros(spec.channels))
        self.statistics = nn.Linear(spec.channels * STATISTICS, spec.width)

    def encode(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Features:
        """x: (batch, channels, I, J, K); present: (batch, channels), False where a sequence is missing."""
        expect_channels(x, self.spec)
        image, x = without_missing(x, present, self.missing)
        places = self.stages(self.stem(x))
        tokens = places.flatten(2).transpose(1, 2)
        overall = self.statistics(statistics_of(image))
        pooled = torch.cat([tokens.mean(dim=1), tokens.amax(dim=1), overall], dim=1)
        grid = (int(places.shape[2]), int(places.shape[3]), int(places.shape[4]))
        return Features(pooled=pooled, tokens=tokens, grid=grid)

    def forward(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Features:
        """The same as `encode`."""
        return self.encode(x, present)


def convolution(incoming: int, outgoing: int, *, flat: bool, stride: int = 1, size: int = 3) -> nn.Conv3d:
    """A convolution that keeps (or with a stride divides) the grid; `flat` ones leave the third axis alone."""
    half = size // 2
    if flat:
        return nn.Conv3d(incoming, outgoing, (size, size, 1), (stride, stride, 1), (half, half, 0))
    return nn.Conv3d(incoming, outgoing, size, stride, half)


def expect_channels(x: torch.Tensor, spec: EncoderSpec) -> None:
    """Refuse a batch that is not (batch, channels of the spec, I, J, K)."""
    if x.ndim != 5 or x.shape[1] != spec.channels:
        raise InputError(
            f"{spec.name} expects (batch, {spec.channels}, I, J, K), got {tuple(x.shape)}",
            remedy="prepare the image as the encoder's spec says",
            finding="shape",
        )


def without_missing(
    x: torch.Tensor, present: torch.Tensor | None, fill: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The images with missing channels as zeros, and as a learned constant per channel."""
    if present is None:
        return x, x
    keep = present[:, :, None, None, None].to(x.dtype)
    image = x * keep
    return image, image + fill[None, :, None, None, None] * (1 - keep)


def create(spec: EncoderSpec, *, widths: tuple[int, ...], blocks: tuple[int, ...], seed: int) -> ConvEncoder:
    """An encoder with fresh weights drawn from `seed`, leaving torch's own random state untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = ConvEncoder(spec, widths=widths, blocks=blocks)
    return encoder.eval()


def _spec(name: str, **values: Any) -> EncoderSpec:
    return EncoderSpec(name=name, orientation="RAS", intensity="zscore", **values)


def tiny(*, channels: int = 1, seed: int = 0, spacing_mm: float = 3.0, side: int = 64) -> ConvEncoder:
    """About 0.5 million weights; 64³ voxels of 3 mm in, 512 places of 24 mm out; `side` voxels for small crops.

    >>> tiny().encode(torch.zeros(1, 1, 64, 64, 64)).pooled.shape
    torch.Size([1, 288])
    """
    spec = _spec(
        "conv3d-tiny",
        modality=("MR", "CT"),
        spacing_mm=(spacing_mm, spacing_mm, spacing_mm),
        shape=(side, side, side),
        channels=channels,
        width=96,
    )
    return create(spec, widths=(16, 48, 96), blocks=(1, 1, 1), seed=seed)


def small(*, channels: int = 1, seed: int = 0, spacing_mm: float = 2.0) -> ConvEncoder:
    """About 24 million weights; 96³ voxels of 2 mm in, 1728 places of 16 mm out."""
    spec = _spec(
        "conv3d-small",
        modality=("MR", "CT"),
        spacing_mm=(spacing_mm, spacing_mm, spacing_mm),
        shape=(96, 96, 96),
        channels=channels,
        width=384,
    )
    return create(spec, widths=(48, 160, 384), blocks=(1, 2, 3), seed=seed)


def tiny_2d(*, channels: int = 1, seed: int = 0, side: int = 128) -> ConvEncoder:
    """The 2D sibling: pictures of any size brought to 128 x 128 (`side`), 256 places out."""
    spec = _spec(
        "conv2d-tiny",
        modality=("MR", "CT", "US", "MG", "DX", "CR", "OT"),
        shape=(side, side, 1),
        channels=channels,
        dimensions=2,
        width=96,
        options={"fit": "letterbox"},
    )
    return create(spec, widths=(24, 48, 96), blocks=(1, 1, 2), seed=seed)
