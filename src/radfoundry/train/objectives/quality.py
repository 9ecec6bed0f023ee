"""Physical measures of image quality read from the image: noise, shading, slice thickness."""

from __future__ import annotations

from torch import nn

from radfoundry.losses.reconstruction import masked_distance
from radfoundry.train.objectives.translate import flat
from radfoundry.train.scene import Scene, Shapes, Terms, perceptron


class Quality(nn.Module):
    """A head on the pooled features; fine texture counts, so it sees what pooling by maximum keeps."""

    needs: tuple[str, ...] = ("quality",)

    def __init__(self, shapes: Shapes, *, width: int) -> None:
        super().__init__()
        self.head = perceptron(shapes.pooled, width, shapes.quality)

    def forward(self, scene: Scene) -> Terms:
        """Mean absolute difference, in standardised units."""
        return {"loss": masked_distance(self.head(scene.clean.pooled), flat(scene.batch.quality))}


def build(shapes: Shapes, *, width: int = 128) -> Quality:
    """Regression of the physical parameters of quality, the first stage of MedIQA (arXiv 2507.19004)."""
    return Quality(shapes, width=width)
