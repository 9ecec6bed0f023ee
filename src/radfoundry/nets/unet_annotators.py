"""A U-Net with two heads and an estimate of how far each annotator's outline can be trusted at every voxel."""

from __future__ import annotations

import torch
from torch import nn

from radfoundry.nets.encoder_maps import Sizes
from radfoundry.nets.unet import Step, UNet

FEATURES = 12
DOUBT_WIDTH = 12
LARGEST = 4.0
FIRST_DOUBT = -2.0  # before the softplus: nearly none


class TwoHeads(nn.Module):
    """One trunk, a head for well and one for badly annotated images, and a small net for the doubt in each mask.

    Only trunk and first head answer about new images. The doubt net looks at the trunk's features without teaching
    them, and at one annotator's mask at a time, so that any number of annotators may come.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.classes = sizes.classes
        self.trunk = UNet(
            channels=sizes.channels,
            classes=FEATURES,
            widths=sizes.widths,
            strides=sizes.strides,
            fold=sizes.fold,
        )
        flat = self.trunk.flat
        kernel, padding = ((3, 3, 1), (1, 1, 0)) if flat else ((3, 3, 3), (1, 1, 1))
        self.high = nn.Conv3d(FEATURES, sizes.classes, 1)
        self.low = nn.Conv3d(FEATURES, sizes.classes, 1)
        self.doubt_net = nn.Sequential(
            nn.Conv3d(FEATURES + sizes.classes, DOUBT_WIDTH, kernel, padding=padding),
            nn.LeakyReLU(0.01),
            nn.Conv3d(DOUBT_WIDTH, DOUBT_WIDTH, kernel, padding=padding),
            nn.LeakyReLU(0.01),
            nn.Conv3d(DOUBT_WIDTH, 1, 1),
        )
        nn.init.constant_(self.doubt_net[-1].bias, FIRST_DOUBT)  # ty: ignore[invalid-argument-type]

    @property
    def multiple(self) -> Step:
        """What every side of the image has to be a multiple of."""
        return self.trunk.multiple

    @property
    def fold(self) -> Step:
        """The trunk's fold."""
        return self.trunk.fold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (batch, classes, I, J, K) of the first head: the answer about a new image."""
        return self.high(nn.functional.leaky_relu(self.trunk(x), 0.01))

    def both(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores of the first and the second head, and the features (batch, FEATURES, I, J, K)."""
        features = nn.functional.leaky_relu(self.trunk(x), 0.01)
        return self.high(features), self.low(features), features

    def coded(self, labels: torch.Tensor) -> torch.Tensor:
        """(batch, I, J, K) classes to (batch, classes, I, J, K) zeros and ones."""
        return nn.functional.one_hot(labels.long(), self.classes).movedim(-1, 1).float()

    def doubt(self, features: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """(batch, annotators, I, J, K) doubt in masks (batch, annotators, I, J, K), from 0 (none) to below 4."""
        fixed = features.detach()
        found = [
            self.doubt_net(torch.cat([fixed, self.coded(drawn[:, k])], dim=1))[:, 0] for k in range(drawn.shape[1])
        ]
        return LARGEST * torch.tanh(nn.functional.softplus(torch.stack(found, dim=1)) / LARGEST)
