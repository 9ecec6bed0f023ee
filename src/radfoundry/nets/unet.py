"""A U-Net whose sizes come from a plan: the comparator of every outlining, and the trunk of the light decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from radfoundry.records import InputError

Step = tuple[int, int, int]


class Twice(nn.Module):
    """Two convolutions, each followed by instance normalisation and a leaky rectifier."""

    def __init__(self, incoming: int, outgoing: int, *, flat: bool, stride: Step = (1, 1, 1)) -> None:
        super().__init__()
        kernel = (3, 3, 1 if flat else 3)
        padding = (1, 1, 0 if flat else 1)
        self.first = nn.Conv3d(incoming, outgoing, kernel, stride, padding)
        self.second = nn.Conv3d(outgoing, outgoing, kernel, 1, padding)
        self.norms = nn.ModuleList(nn.GroupNorm(outgoing, outgoing) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, incoming, I, J, K) to (batch, outgoing, I / stride, …)."""
        x = nn.functional.leaky_relu(self.norms[0](self.first(x)), 0.01)
        return nn.functional.leaky_relu(self.norms[1](self.second(x)), 0.01)


class UNet(nn.Module):
    """Image in, one score per class and voxel out; down and up again with a shortcut at every level.

    The first step folds blocks of voxels into channels (`fold`), so that the costly first level works at half the
    resolution; the last one unfolds them again. `strides` are those between levels. `features` says how many channels
    of other features are given at each level (0 for none): this is how an encoder's maps come in.

    Sources: Ronneberger, Fischer and Brox, MICCAI 2015; normalisation and rectifier as in Isensee et al., Nature
    Methods 2021; folding: Shi et al., CVPR 2016.
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        widths: Sequence[int],
        strides: Sequence[Step],
        fold: Step = (1, 1, 1),
        features: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if len(strides) != len(widths) - 1:
            raise InputError(f"{len(strides)} strides between {len(widths)} levels", where="U-Net")
        self.fold, self.strides, self.classes = fold, tuple(strides), classes
        self.flat = all(step[2] == 1 for step in (*strides, fold))
        block = fold[0] * fold[1] * fold[2]
        added = [*features, *[0] * (len(widths) - len(features))]
        incoming = channels * block
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            stride = (1, 1, 1) if level == 0 else strides[level - 1]
            self.down.append(Twice(incoming, width, flat=self.flat, stride=stride))
            incoming = width
        self.inject = nn.ModuleList(
            nn.Conv3d(more, width, 1) if more else nn.Identity() for more, width in zip(added, widths, strict=True)
        )
        for part in self.inject:
            # Without effect at first, so that features from outside only come in where they help.
            for weight in part.parameters():
                nn.init.zeros_(weight)
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(widths[level + 1], widths[level], strides[level], strides[level])
            for level in range(len(widths) - 1)
        )
        self.join = nn.ModuleList(Twice(2 * width, width, flat=self.flat) for width in widths[:-1])
        self.head = nn.Conv3d(widths[0], classes * block, 1)

    @property
    def multiple(self) -> Step:
        """What every side of the image has to be a multiple of."""
        total = list(self.fold)
        for step in self.strides:
            total = [have * more for have, more in zip(total, step, strict=True)]
        return (total[0], total[1], total[2])

    def forward(self, x: torch.Tensor, features: Sequence[torch.Tensor | None] = ()) -> torch.Tensor:
        """(batch, channels, I, J, K) to (batch, classes, I, J, K); the sides are multiples of `multiple`."""
        x = folded(x, self.fold)
        kept = []
        for level, down in enumerate(self.down):
            x = down(x)
            given = features[level] if level < len(features) else None
            if given is not None:
                x = x + self.inject[level](_sized(given, x))
            kept.append(x)
        for level in reversed(range(len(self.up))):
            x = self.join[level](torch.cat([self.up[level](x), kept[level]], dim=1))
        return unfolded(self.head(x), self.fold)


def _sized(features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if features.shape[2:] == like.shape[2:]:
        return features
    return nn.functional.interpolate(features, size=like.shape[2:], mode="trilinear", align_corners=False)


def folded(x: torch.Tensor, fold: Step) -> torch.Tensor:
    """Blocks of `fold` voxels become channels.

    >>> folded(torch.zeros(1, 1, 4, 4, 1), (2, 2, 1)).shape
    torch.Size([1, 4, 2, 2, 1])
    """
    if fold == (1, 1, 1):
        return x
    a, b, c = fold
    batch, channels, i, j, k = x.shape
    x = x.reshape(batch, channels, i // a, a, j // b, b, k // c, c).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(batch, channels * a * b * c, i // a, j // b, k // c)


def unfolded(x: torch.Tensor, fold: Step) -> torch.Tensor:
    """Channels become blocks of `fold` voxels: the opposite of `folded`."""
    if fold == (1, 1, 1):
        return x
    a, b, c = fold
    batch, channels, i, j, k = x.shape
    x = x.reshape(batch, channels // (a * b * c), a, b, c, i, j, k).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(batch, channels // (a * b * c), i * a, j * b, k * c)
