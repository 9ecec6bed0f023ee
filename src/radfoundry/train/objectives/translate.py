"""Cross-sequence translation: from one sequence's tokens, say how the same anatomy looks in another sequence."""

from __future__ import annotations

import torch
from torch import nn

from radfoundry.losses.reconstruction import masked_distance, patches_of
from radfoundry.train.objectives.masked import block_mask, hide
from radfoundry.train.scene import Scene, Shapes, Terms

SETTINGS = 5
# Typical value and spread of log TR, log TE, log TI, flip angle and field strength, so that all weigh alike.
CENTRE = (6.5, 3.0, 3.0, 50.0, 2.0)
SPREAD = (2.0, 1.5, 3.5, 40.0, 0.8)


class Translate(nn.Module):
    """Tokens of one view plus the wanted sequence and its settings give the voxels of the other view."""

    needs: tuple[str, ...] = ("protocol", "settings")

    def __init__(self, shapes: Shapes, *, width: int, mask_ratio: float) -> None:
        super().__init__()
        self.shapes, self.mask_ratio = shapes, mask_ratio
        self.wanted = nn.Embedding(shapes.protocols + 1, shapes.width)  # the last for sequences not known
        self.settings = nn.Linear(SETTINGS, shapes.width)
        self.mix = nn.Sequential(nn.LayerNorm(shapes.width), nn.Linear(shapes.width, width))
        self.decoder = nn.Sequential(
            nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, shapes.patch_voxels)
        )
        self.tune = nn.Linear(shapes.width, 2 * width)

    def forward(self, scene: Scene) -> Terms:
        """The mean difference between predicted and true other view, over the voxels both views cover."""
        if self.mask_ratio > 0:
            hidden = block_mask(
                scene.row, self.shapes.grid, share=self.mask_ratio, block=2, seed=scene.seed, purpose="translate"
            )
            tokens = scene.encoder.encode(hide(scene.images, hidden, self.shapes.grid)).tokens
        else:
            tokens = scene.clean.tokens
        other, there = scene.partners_here(scene.targets[:, None])
        truth = patches_of(other[:, 0], self.shapes.grid)
        weight = patches_of(there.float(), self.shapes.grid)
        return {"loss": masked_distance(self.decode(tokens, scene, scene.partner), truth, weight=weight)}

    def decode(self, tokens: torch.Tensor, scene: Scene, target: torch.Tensor) -> torch.Tensor:
        """`(rows, places, voxels)` of the wanted sequence; its settings stretch and shift the decoder's units."""
        asked = self.wanted(flat(scene.batch.protocol)[target].long() % self.wanted.num_embeddings)
        asked = asked + self.settings(standard(flat(scene.batch.settings)[target]))
        stretch, shift = self.tune(asked)[:, None].chunk(2, dim=-1)
        return self.decoder(self.mix(tokens) * (1 + stretch) + shift)


def flat(values: torch.Tensor | None) -> torch.Tensor:
    """`(B, S, …)` to `(rows, …)`; objectives ask only for what their batch carries."""
    return torch.empty(0) if values is None else values.flatten(0, 1)


def standard(settings: torch.Tensor) -> torch.Tensor:
    """Acquisition settings with mean about 0 and spread about 1; unknown ones (0) become 0."""
    centre, spread = settings.new_tensor(CENTRE), settings.new_tensor(SPREAD)
    return torch.where(settings == 0, torch.zeros_like(settings), (settings - centre) / spread)


def build(shapes: Shapes, *, width: int = 256, mask_ratio: float = 0.0) -> Translate:
    """Translation between the sequences of one patient; `mask_ratio` hides part of the input as well."""
    return Translate(shapes, width=width, mask_ratio=mask_ratio)
