"""Masked reconstruction: hide parts of the image and have the encoder's tokens say what was there."""

from __future__ import annotations

import torch
from torch import nn

from radfoundry.losses.reconstruction import masked_distance, patches_of
from radfoundry.records import InputError
from radfoundry.train import draws
from radfoundry.train.scene import Scene, Shapes, Terms


class Masked(nn.Module):
    """Blocks of patches are replaced by the mean grey value; each token predicts the voxels of its own patch."""

    needs: tuple[str, ...] = ()

    def __init__(self, shapes: Shapes, *, mask_ratio: float, block: int, width: int, power: int) -> None:
        super().__init__()
        self.shapes, self.mask_ratio, self.block, self.power = shapes, mask_ratio, block, power
        self.decoder = decoder(shapes, width)

    def forward(self, scene: Scene) -> Terms:
        """The mean difference over hidden voxels."""
        hidden = self.mask(scene)
        tokens = scene.encoder.encode(hide(scene.images, hidden, self.shapes.grid)).tokens
        truth = patches_of(scene.targets, self.shapes.grid)
        weight = hidden.flatten(1)[:, :, None].to(truth.dtype)
        return {"loss": masked_distance(self.decoder(tokens), truth, weight=weight, power=self.power)}

    def mask(self, scene: Scene) -> torch.Tensor:
        """`(rows, i, j, k)` booleans: which places are hidden, the same number in every image of a full grid."""
        return block_mask(scene.row, self.shapes.grid, share=self.mask_ratio, block=self.block, seed=scene.seed)


def block_mask(
    row: torch.Tensor, grid: tuple[int, int, int], *, share: float, block: int, seed: int, purpose: str = "mask"
) -> torch.Tensor:
    """`(rows, i, j, k)` booleans with about `share` of the places hidden in cubes of `block` places a side.

    Every row has the same number of hidden places, at least one block and never all. Where the grid is no whole
    number of blocks, or there would be only one along an axis, blocks are one place.
    """
    block = block if all(cells % block == 0 and cells > block for cells in grid) else 1
    (i, j, k) = (cells // block for cells in grid)
    share = min(max(share, 1 / (i * j * k)), 1 - 1 / (i * j * k))
    coarse = draws.chosen(row, i * j * k, share, seed=seed, purpose=purpose).reshape(-1, i, j, k)
    fine = coarse
    for axis in (1, 2, 3):
        fine = fine.repeat_interleave(block, dim=axis)
    return fine


def hide(images: torch.Tensor, hidden: torch.Tensor, grid: tuple[int, int, int]) -> torch.Tensor:
    """Images `(rows, 1, I, J, K)` with hidden places `(rows, i, j, k)` set to the image's own mean."""
    wide = hidden
    for axis, (side, cells) in enumerate(zip(images.shape[2:], grid, strict=True), start=1):
        wide = wide.repeat_interleave(side // cells, dim=axis)
    mean = images.mean(dim=(2, 3, 4), keepdim=True)
    return torch.where(wide[:, None], mean, images)


def decoder(shapes: Shapes, width: int, *, outgoing: int | None = None) -> nn.Sequential:
    """Token to the voxels it stands for; light on purpose, so that the encoder has to do the work."""
    wanted = shapes.patch_voxels if outgoing is None else outgoing
    layers = (nn.LayerNorm(shapes.width), nn.Linear(shapes.width, width), nn.GELU(), nn.Linear(width, wanted))
    return nn.Sequential(*layers)


def build(shapes: Shapes, *, mask_ratio: float = 0.6, block: int = 2, width: int = 256, power: int = 1) -> Masked:
    """Masked reconstruction (He et al. 2022; SimMIM, Xie et al. 2022).

    mask_ratio: share of places hidden; block: cubes of so many places a side; width of the decoder; power 1 or 2.
    """
    if not 0 < mask_ratio < 1:
        raise InputError(f"mask_ratio {mask_ratio} is not between 0 and 1", where="objective masked")
    return Masked(shapes, mask_ratio=mask_ratio, block=block, width=width, power=power)
