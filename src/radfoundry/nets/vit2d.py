"""Own 2D vision transformer in the usual published layout, so that published weights of that layout can be read."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import nn

from radfoundry.records import InputError

ACTIVATIONS = ("gelu", "quick_gelu", "gelu_tanh")
# `mean_norm` normalises after the mean instead of before it.
POOLS = ("class", "mean", "mean_norm")


@dataclass(frozen=True)
class Layout:
    """Everything about a vision transformer that its weights' names and shapes do or do not tell.

    `hidden` is the width inside the perceptrons; `places` the number of learned positions, the class token's
    included where `position_of_class`; `projection` the length of the pooled vector after a final linear map,
    0 for none. Refuses sizes that do not fit each other or that no one uses.
    """

    width: int = 384
    depth: int = 12
    heads: int = 6
    hidden: int = 1536
    patch: int = 16
    image: int = 224
    channels: int = 3
    registers: int = 0
    class_token: bool = True
    position_of_class: bool = True
    layer_scale: bool = False
    norm_before: bool = False
    patch_bias: bool = True
    projection: int = 0
    activation: str = "gelu"
    epsilon: float = 1e-6
    pool: str = "class"

    def __post_init__(self) -> None:
        limits = {"width": 8192, "depth": 128, "heads": 256, "hidden": 65536, "patch": 256, "image": 4096}
        for name, limit in limits.items():
            if not 1 <= getattr(self, name) <= limit:
                raise InputError(f"{name} {getattr(self, name)} is outside 1 to {limit}", where="vision transformer")
        if not (1 <= self.channels <= 64 and 0 <= self.registers <= 256 and 0 <= self.projection <= 65536):
            raise InputError("channels, registers or projection out of range", where="vision transformer")
        if self.width % self.heads or self.image % self.patch:
            raise InputError(
                f"width {self.width} needs a whole number of {self.heads} heads, image {self.image} of "
                f"patches of {self.patch}",
                where="vision transformer",
                remedy="state heads and image",
            )
        if self.activation not in ACTIVATIONS or self.pool not in POOLS:
            raise InputError(
                f"activation {self.activation!r} or pool {self.pool!r} is not known",
                where="vision transformer",
                remedy=f"use one of {', '.join(ACTIVATIONS)} and {', '.join(POOLS)}",
            )
        if self.pool == "class" and not self.class_token:
            raise InputError("no class token to pool", where="vision transformer", remedy="use pool=mean")

    @property
    def places(self) -> int:
        """The number of learned positions."""
        return (self.image // self.patch) ** 2 + int(self.class_token and self.position_of_class)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Layout:
        """The inverse of `dataclasses.asdict`; refuses unknown names."""
        unknown = sorted(set(values) - {item.name for item in fields(cls)})
        if unknown:
            raise InputError(f"unknown size {unknown[0]}", where="vision transformer")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class SelfAttention(nn.Module):
    """Attention of every token to every token, the three projections in one matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) to the same shape."""
        batch, count, width = tokens.shape
        query, key, value = self.qkv(tokens).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, count, width))


class Perceptron(nn.Module):
    """Two linear maps with a bend between."""

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.activation = activation

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) to the same shape."""
        inner = self.fc1(tokens)
        if self.activation == "quick_gelu":
            inner = inner * torch.sigmoid(1.702 * inner)
        else:
            inner = nn.functional.gelu(inner, approximate="tanh" if self.activation == "gelu_tanh" else "none")
        return self.fc2(inner)


class Scale(nn.Module):
    """One learned factor per feature (Touvron et al. 2021, "Going deeper with image transformers", section 2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return tokens * self.gamma


class Block(nn.Module):
    """Normalise, attend, add; normalise, think, add."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(layout.width, eps=layout.epsilon)
        self.attn = SelfAttention(layout.width, layout.heads)
        self.ls1 = Scale(layout.width) if layout.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(layout.width, eps=layout.epsilon)
        self.mlp = Perceptron(layout.width, layout.hidden, layout.activation)
        self.ls2 = Scale(layout.width) if layout.layer_scale else nn.Identity()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) to the same shape."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class VisionTransformer(nn.Module):
    """Dosovitskiy et al. 2021 with the later additions of `Layout`; parameter names as in the timm library."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        width = layout.width
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv2d(layout.channels, width, layout.patch, layout.patch, bias=layout.patch_bias)}
        )
        self.pos_embed = nn.Parameter(faint(1, layout.places, width))
        self.cls_token = nn.Parameter(faint(1, 1, width)) if layout.class_token else None
        self.reg_token = nn.Parameter(faint(1, layout.registers, width)) if layout.registers else None
        self.norm_pre = nn.LayerNorm(width, eps=layout.epsilon) if layout.norm_before else nn.Identity()
        self.blocks = nn.ModuleList(Block(layout) for _ in range(layout.depth))
        self.norm = nn.LayerNorm(width, eps=layout.epsilon)
        self.head = nn.Linear(width, layout.projection, bias=False) if layout.projection else nn.Identity()

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, channels, rows, columns) to the pooled vector and the places as (batch, width, rows, columns)."""
        places = self.patch_embed["proj"](picture)
        rows, columns = int(places.shape[2]), int(places.shape[3])
        tokens = self.norm_pre(self.with_positions(places.flatten(2).transpose(1, 2), rows, columns))
        for block in self.blocks:
            tokens = block(tokens)
        ahead = tokens.shape[1] - rows * columns
        if self.layout.pool == "mean_norm":
            pooled = self.norm(tokens[:, ahead:].mean(dim=1))
        else:
            tokens = self.norm(tokens)
            pooled = tokens[:, 0] if self.layout.pool == "class" else tokens[:, ahead:].mean(dim=1)
        grid = tokens[:, ahead:].transpose(1, 2).reshape(len(tokens), -1, rows, columns)
        return self.head(pooled), grid

    def with_positions(self, tokens: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Positions added; class token and registers put in front, in this order (Darcet et al. 2024)."""
        layout = self.layout
        extra = int(layout.class_token and layout.position_of_class)
        side = layout.image // layout.patch
        tokens = tokens + resized_positions(self.pos_embed[:, extra:], (side, side), (rows, columns))
        ahead = []
        if self.cls_token is not None:
            ahead.append((self.cls_token + self.pos_embed[:, :1]) if extra else self.cls_token)
        if self.reg_token is not None:
            ahead.append(self.reg_token)
        return torch.cat([*(part.expand(len(tokens), -1, -1) for part in ahead), tokens], dim=1)


def faint(*shape: int) -> torch.Tensor:
    """Small first values with a standard deviation of 0.02.

    Uniform, because torch loads a second's worth of libraries to describe normal ones without memory.
    """
    return torch.empty(*shape).uniform_(-0.02 * math.sqrt(3), 0.02 * math.sqrt(3))


def resized_positions(positions: torch.Tensor, known: tuple[int, int], wanted: tuple[int, int]) -> torch.Tensor:
    """(1, places, width) learned on one grid, interpolated (bicubic) to another."""
    if known == wanted:
        return positions
    width = positions.shape[-1]
    grid = positions.reshape(1, *known, width).permute(0, 3, 1, 2)
    larger = nn.functional.interpolate(grid.float(), size=wanted, mode="bicubic", align_corners=False)
    return larger.to(positions.dtype).permute(0, 2, 3, 1).reshape(1, math.prod(wanted), width)
