"""A small net that looks at a coarse image and says by which slow field its brightness should be multiplied."""

from __future__ import annotations

import torch
from torch import nn

from radfoundry.nets.conv import Residual, convolution

WIDTHS = (8, 16, 32)
NODES = 4  # the field has one node every so many voxels, so that no detail can be touched
LARGEST = 1.5  # of the logarithm of the field


class SlowField(nn.Module):
    """Coarse images `(B, 1, I, J, K)`, sides multiples of 8, to the logarithm of a slow field of the same size.

    A U-Net cut off at a quarter of the resolution: detail of the image goes in, but the field that comes out is
    interpolated between nodes four voxels apart. Untrained it answers 0, the field that changes nothing.
    """

    def __init__(self, *, widths: tuple[int, int, int] = WIDTHS) -> None:
        super().__init__()
        a, b, c = widths
        self.stem = convolution(1, a, flat=False, stride=2)
        self.second = Residual(a, b, flat=False, stride=2)
        self.third = Residual(b, c, flat=False, stride=2)
        self.joined = Residual(b + c, b, flat=False, stride=1)
        self.last = convolution(b, 1, flat=False, size=1)
        nn.init.zeros_(self.last.weight)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The logarithm of the field, mean 0 over the image."""
        quarter = self.second(self.stem(image))
        up = nn.functional.interpolate(self.third(quarter), scale_factor=2.0, mode="trilinear")
        nodes = self.last(nn.functional.gelu(self.joined(torch.cat([quarter, up], dim=1))))
        field = nn.functional.interpolate(nodes, scale_factor=float(NODES), mode="trilinear")
        field = LARGEST * torch.tanh(field / LARGEST)
        return field - field.mean(dim=(2, 3, 4), keepdim=True)
