"""Where in the body a crop comes from, in mm of the template: truth that simulation gives for nothing."""

from __future__ import annotations

from torch import nn
from torch.nn.functional import smooth_l1_loss

from radfoundry.train.objectives.translate import flat
from radfoundry.train.scene import Scene, Shapes, Terms, perceptron

UNIT_MM = 50.0


class Position(nn.Module):
    """The centre of the crop from the pooled features."""

    needs: tuple[str, ...] = ("centre_mm",)

    def __init__(self, shapes: Shapes, *, width: int) -> None:
        super().__init__()
        self.head = perceptron(shapes.pooled, width, 3)

    def forward(self, scene: Scene) -> Terms:
        """The loss in units of 50 mm, and `error_mm`, the mean distance to the true place."""
        truth = flat(scene.batch.centre_mm)
        found = self.head(scene.clean.pooled).float()
        error_mm = (found.detach() * UNIT_MM - truth).norm(dim=1).mean()
        return {"loss": smooth_l1_loss(found, truth / UNIT_MM, beta=0.1), "error_mm": error_mm}


def build(shapes: Shapes, *, width: int = 128) -> Position:
    """The crop's place in the template's mm."""
    return Position(shapes, width=width)
