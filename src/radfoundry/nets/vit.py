"""Own token encoder in 2D and 3D: a convolutional stem, positions in mm, and a small transformer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from radfoundry.nets.acquisition import AcquisitionTokens, nothing_stated
from radfoundry.nets.intensity import STATISTICS, first_order
from radfoundry.records import EncoderSpec, Features, InputError


class Attention(nn.Module):
    """Self-attention over the places of one image, followed by a two-layer perceptron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.before_perceptron = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, places, width) to the same shape."""
        batch, places, width = tokens.shape
        joined = self.query_key_value(self.before_attention(tokens))
        query, key, value = joined.view(batch, places, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.project(mixed.transpose(1, 2).reshape(batch, places, width))
        return tokens + self.perceptron(self.before_perceptron(tokens))


class TokenEncoder(nn.Module):
    """Image to one feature vector per place and one for the whole.

    One more token carries the image's first-order statistics, so that overall brightness (the sequence, the
    share of fluid) is not lost to normalisation. The pooled vector is the mean and the maximum over places,
    for what is everywhere and for what is at one place, followed by that token. With `acquisition` the header's
    values are tokens beside the places, each of which may be unknown; they are read and not given back.
    """

    def __init__(
        self, spec: EncoderSpec, *, depth: int, heads: int, patch: tuple[int, int, int], acquisition: bool = False
    ) -> None:
        super().__init__()
        self.spec = spec
        self.patch = patch
        self.width = spec.width
        self.stem = build_stem(spec.channels, spec.width, patch)
        self.blocks = nn.ModuleList(Attention(spec.width, heads) for _ in range(depth))
        self.missing = nn.Parameter(torch.zeros(spec.channels))
        self.statistics = nn.Linear(spec.channels * STATISTICS, spec.width)
        self.acquisition = AcquisitionTokens(spec.width) if acquisition else None

    def encode(
        self,
        x: torch.Tensor,
        present: torch.Tensor | None = None,
        acquisition: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> Features:
        """x: (batch, channels, I, J, K); present: (batch, channels), False where a sequence is missing.

        acquisition: numbers and categories of `nets.acquisition.stated`; left out, nothing is known of the header.
        Refused where the encoder was built without acquisition tokens.
        """
        if x.ndim != 5 or x.shape[1] != self.spec.channels:
            raise InputError(
                f"{self.spec.name} expects (batch, {self.spec.channels}, I, J, K), got {tuple(x.shape)}",
                remedy="prepare the image as the encoder's spec says",
                finding="shape",
            )
        image = x
        if present is not None:
            keep = present[:, :, None, None, None].to(x.dtype)
            image = x * keep
            x = image + self.missing[None, :, None, None, None] * (1 - keep)
        places = self.stem(pad_to_multiple(x, self.patch))
        grid = (int(places.shape[2]), int(places.shape[3]), int(places.shape[4]))
        tokens = places.flatten(2).transpose(1, 2)
        tokens = tokens + self.positions(grid, tokens)
        count = tokens.shape[1]
        tokens = torch.cat([self.statistics(statistics_of(image)).unsqueeze(1), tokens], dim=1)
        tokens = torch.cat([tokens, *self.header(acquisition, tokens)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        overall, tokens = tokens[:, 0], tokens[:, 1 : count + 1]
        pooled = torch.cat([tokens.mean(dim=1), tokens.amax(dim=1), overall], dim=1)
        return Features(pooled=pooled, tokens=tokens, grid=grid)

    def forward(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Features:
        """The same as `encode`."""
        return self.encode(x, present)

    def header(
        self, acquisition: tuple[torch.Tensor, torch.Tensor] | None, like: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """The header's tokens, or nothing where the encoder reads none."""
        if self.acquisition is None:
            if acquisition is not None:
                raise InputError(
                    f"{self.spec.name} reads no header values",
                    remedy="build it with acquisition=true",
                    finding="header",
                )
            return ()
        if acquisition is None:
            acquisition = nothing_stated(len(like), like.device)
        numbers, categories = (part.to(like.device) for part in acquisition)
        return (self.acquisition(numbers, categories).to(like.dtype),)

    def positions(self, grid: tuple[int, int, int], like: torch.Tensor) -> torch.Tensor:
        """Sines and cosines of each place's distance in mm from the image centre: (1, places, width).

        Distances, not indices, so that the same anatomy has the same code at any spacing.
        """
        spacing = self.spec.spacing_mm or (1.0, 1.0, 1.0)
        axes = [
            (torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * step * patch
            for n, step, patch in zip(grid, spacing, self.patch, strict=True)
        ]
        codes = position_codes(axes, self.width)
        return codes.to(like)[None]


def statistics_of(image: torch.Tensor) -> torch.Tensor:
    """(batch, channels, I, J, K) to (batch, channels x STATISTICS): first-order statistics on a logarithmic scale."""
    batch, channels = image.shape[:2]
    values = first_order(image.reshape(batch * channels, -1).float())
    return (values.sign() * values.abs().log1p()).reshape(batch, channels * STATISTICS).to(image.dtype)


def position_codes(axes_mm: Sequence[torch.Tensor], width: int) -> torch.Tensor:
    """(places, width) codes of every point of a grid given by its axis coordinates in mm.

    Wavelengths run from 16 mm to 512 mm, from a gyrus to a trunk (Vaswani et al. 2017, section 3.5, in mm).
    """
    per_axis = width // (2 * len(axes_mm))
    wavelengths_mm = torch.logspace(math.log10(16.0), math.log10(512.0), per_axis)
    points = torch.stack(torch.meshgrid(*axes_mm, indexing="ij"), dim=-1).reshape(-1, len(axes_mm), 1)
    phases = 2 * math.pi * points / wavelengths_mm
    codes = torch.cat([phases.sin(), phases.cos()], dim=-1).flatten(1)
    return nn.functional.pad(codes, (0, width - codes.shape[1])) * 0.2


def build_stem(channels: int, width: int, patch: tuple[int, int, int]) -> nn.Sequential:
    """Strided convolutions that shrink the image by `patch`; each axis is halved until its share is used up."""
    left = list(patch)
    layers: list[nn.Module] = []
    steps = max(int(math.log2(size)) for size in patch)
    if any(size & (size - 1) for size in patch):
        raise InputError(f"patch {patch} is not a power of two along every axis", remedy="use for example 8, 8, 8")
    incoming = channels
    for step in range(steps):
        stride = tuple(2 if size > 1 else 1 for size in left)
        left = [max(1, size // 2) for size in left]
        outgoing = width >> (steps - 1 - step)
        kernel = tuple(3 if size > 1 else 1 for size in patch)
        padding = tuple(size // 2 for size in kernel)
        layers.append(nn.Conv3d(incoming, outgoing, kernel, stride, padding))  # ty: ignore[invalid-argument-type]
        if step < steps - 1:
            layers.append(nn.GELU())
        incoming = outgoing
    return nn.Sequential(*layers)


def pad_to_multiple(x: torch.Tensor, patch: tuple[int, int, int]) -> torch.Tensor:
    """Zeros at the far ends so that each axis is a whole number of patches."""
    missing = [-int(size) % step for size, step in zip(x.shape[2:], patch, strict=True)]
    if not any(missing):
        return x
    return nn.functional.pad(x, (0, missing[2], 0, missing[1], 0, missing[0]))


def create(
    spec: EncoderSpec,
    *,
    depth: int,
    patch: tuple[int, int, int],
    seed: int,
    acquisition: bool = False,
) -> TokenEncoder:
    """An encoder with fresh weights drawn from `seed`, leaving torch's own random state untouched."""
    heads = max(1, spec.width // (32 if spec.width < 768 else 64))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = TokenEncoder(spec, depth=depth, heads=heads, patch=patch, acquisition=acquisition)
    encoder.requires_grad_(True)
    return encoder.eval()


def _spec(name: str, *, width: int, channels: int, shape: tuple[int, int, int], spacing_mm: float) -> EncoderSpec:
    flat = shape[2] == 1
    return EncoderSpec(
        name=name,
        modality=("MR", "CT", "US", "MG", "DX", "CR", "OT") if flat else ("MR", "CT"),
        orientation="RAS",
        spacing_mm=None if flat else (spacing_mm, spacing_mm, spacing_mm),
        shape=shape,
        # Not clipped: a small lesion can be the brightest thing in the head, above the last half per cent.
        intensity="zscore",
        channels=channels,
        dimensions=2 if flat else 3,
        width=width,
    )


def tiny(*, channels: int = 1, seed: int = 0, spacing_mm: float = 3.0, acquisition: bool = False) -> TokenEncoder:
    """About 0.7 million weights; 64³ voxels of 3 mm in, 512 places of 24 mm out; runs on a laptop.

    With `acquisition` it also reads the header's values, each of which may be unknown.

    >>> tiny().encode(torch.zeros(1, 1, 64, 64, 64)).pooled.shape
    torch.Size([1, 288])
    """
    spec = _spec("vit3d-tiny", width=96, channels=channels, shape=(64, 64, 64), spacing_mm=spacing_mm)
    return create(spec, depth=4, patch=(8, 8, 8), seed=seed, acquisition=acquisition)


def small(*, channels: int = 1, seed: int = 0, spacing_mm: float = 2.0, acquisition: bool = False) -> TokenEncoder:
    """About 22 million weights; 96³ voxels of 2 mm in, 1728 places of 16 mm out."""
    spec = _spec("vit3d-small", width=384, channels=channels, shape=(96, 96, 96), spacing_mm=spacing_mm)
    return create(spec, depth=12, patch=(8, 8, 8), seed=seed, acquisition=acquisition)


def middle(*, depth: int = 12, seed: int = 0, spacing_mm: float = 2.0, acquisition: bool = False) -> TokenEncoder:
    """`vit3d-base`: about 90 million weights, the width and depth of ViT-B; for a GPU."""
    spec = _spec("vit3d-base", width=768, channels=1, shape=(96, 96, 96), spacing_mm=spacing_mm)
    return create(spec, depth=depth, patch=(8, 8, 8), seed=seed, acquisition=acquisition)


def large(*, depth: int = 24, seed: int = 0, spacing_mm: float = 1.5, acquisition: bool = False) -> TokenEncoder:
    """`vit3d-large`: about 310 million weights, wide and deep as ViT-L; 128³ voxels of 1.5 mm; for several GPUs."""
    spec = _spec("vit3d-large", width=1024, channels=1, shape=(128, 128, 128), spacing_mm=spacing_mm)
    return create(spec, depth=depth, patch=(8, 8, 8), seed=seed, acquisition=acquisition)


def tiny_2d(*, channels: int = 1, seed: int = 0) -> TokenEncoder:
    """The 2D sibling of `tiny`: pictures of 128 x 128 in, 256 places out, whatever the pixel size."""
    spec = _spec("vit2d-tiny", width=96, channels=channels, shape=(128, 128, 1), spacing_mm=1.0)
    return create(spec, depth=4, patch=(8, 8, 1), seed=seed)
