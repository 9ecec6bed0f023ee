"""Sequence and acquisition settings read from the image: what a header would say."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from radfoundry.losses.reconstruction import known_regression
from radfoundry.train.objectives.translate import SETTINGS, flat, standard
from radfoundry.train.scene import Scene, Shapes, Terms, perceptron


class Metadata(nn.Module):
    """Two heads on the pooled features: the sequence's class, and its timing, angle and field strength."""

    needs: tuple[str, ...] = ("protocol", "settings")

    def __init__(self, shapes: Shapes, *, width: int) -> None:
        super().__init__()
        self.sequence = perceptron(shapes.pooled, width, max(1, shapes.protocols))
        self.settings = perceptron(shapes.pooled, width, SETTINGS)

    def forward(self, scene: Scene) -> Terms:
        """Terms `sequence` (cross-entropy over the known ones) and `settings` (known ones, standardised)."""
        pooled = scene.clean.pooled
        sequence = sequence_loss(self.sequence(pooled), flat(scene.batch.protocol).long())
        truth = flat(scene.batch.settings)
        settings = known_regression(self.settings(pooled), standard(truth), (truth != 0).float())
        return {"loss": sequence + settings, "sequence": sequence, "settings": settings}


def sequence_loss(logits: torch.Tensor, protocol: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over the images whose sequence is known (-1 is not); over all images, so that shares add up."""
    known = protocol >= 0
    cost = cross_entropy(logits.float(), protocol.clamp_min(0), reduction="none")
    return (cost * known).mean()


def build(shapes: Shapes, *, width: int = 128) -> Metadata:
    """Sequence class and acquisition settings from the pooled features (settings on a log scale where they are times).

    Unknown values take no part. The metadata heads of PRISM (arXiv 2508.07165), with times logarithmic.
    """
    return Metadata(shapes, width=width)
