"""Restoration: the image is bent in grey values, shuffled in small cubes and painted over; rebuild the original."""

from __future__ import annotations

import torch
from torch import nn

from radfoundry.losses.reconstruction import image_of, masked_distance, patches_of
from radfoundry.train.objectives.masked import decoder
from radfoundry.train.scene import Scene, Shapes, Terms

CUBE = 4
BOXES = 5
POINTS = 64


class Restore(nn.Module):
    """Three kinds of harm, each done to a share of the images; the decoder has to undo them."""

    needs: tuple[str, ...] = ()

    def __init__(
        self, shapes: Shapes, *, width: int, bend: float, shuffle: float, paint: float, outward: float
    ) -> None:
        super().__init__()
        self.shapes, self.shares, self.outward = shapes, (bend, shuffle, paint), outward
        self.decoder = decoder(shapes, width)

    def forward(self, scene: Scene) -> Terms:
        """Mean squared difference between the rebuilt and the original image."""
        tokens = scene.encoder.encode(self.harmed(scene)).tokens
        truth = patches_of(scene.targets, self.shapes.grid)
        return {"loss": masked_distance(self.decoder(tokens), truth, power=2)}

    def harmed(self, scene: Scene) -> torch.Tensor:
        """Images `(rows, 1, I, J, K)` as the encoder gets them."""
        images = scene.images[:, 0]
        bend, shuffle, paint = self.shares
        chance = scene.uniform(3, "restore")
        images = torch.where(wide(chance[:, 0] < bend), bent(images, scene.uniform(5, "bend")), images)
        images = torch.where(wide(chance[:, 1] < shuffle), self.shuffled(images, scene), images)
        return torch.where(wide(chance[:, 2] < paint), self.painted(images, scene), images)[:, None]

    def shuffled(self, images: torch.Tensor, scene: Scene) -> torch.Tensor:
        """Voxels change places within a third of the small cubes."""
        (i, j, k) = self.shapes.crop
        grid = (i // CUBE, j // CUBE, k // CUBE)
        cubes = patches_of(images, grid)
        order = scene.uniform(CUBE**3, "order").argsort(dim=1)[:, None].expand_as(cubes)
        chosen = scene.uniform(cubes.shape[1], "cubes")[:, :, None] < 1 / 3
        return image_of(torch.where(chosen, cubes.gather(2, order), cubes), grid, self.shapes.crop)

    def painted(self, images: torch.Tensor, scene: Scene) -> torch.Tensor:
        """Boxes filled with a random grey, or everything outside of them."""
        inside = boxes(scene.uniform(6 * BOXES, "boxes").reshape(len(images), BOXES, 6), self.shapes.crop)
        kind = scene.uniform(2, "paint")
        covered = torch.where(wide(kind[:, 0] < self.outward), ~inside, inside)
        low, high = images.flatten(1).amin(dim=1), images.flatten(1).amax(dim=1)
        grey = wide(low + (high - low) * kind[:, 1])
        return torch.where(covered, grey, images)


def wide(values: torch.Tensor) -> torch.Tensor:
    """`(rows,)` beside images."""
    return values[:, None, None, None]


def boxes(random: torch.Tensor, size: tuple[int, int, int]) -> torch.Tensor:
    """`(rows, boxes, 6)` numbers in [0, 1) to `(rows, *size)` booleans: inside any of the boxes.

    Sides are a quarter to a half of the image.
    """
    inside = torch.ones(*random.shape[:2], *size, dtype=torch.bool, device=random.device)
    for axis, side in enumerate(size):
        length = side * (0.25 + 0.25 * random[:, :, axis])
        start = random[:, :, 3 + axis] * (side - length)
        place = torch.arange(side, device=random.device) + 0.5
        there = (place > start[..., None]) & (place < (start + length)[..., None])
        shape = [*random.shape[:2], 1, 1, 1]
        shape[2 + axis] = side
        inside &= there.reshape(shape)
    return inside.any(dim=1)


def bent(images: torch.Tensor, random: torch.Tensor) -> torch.Tensor:
    """Grey values through a smooth rising curve, or a falling one for half of the images, within their own range.

    The curve is a cubic Bezier from dark to bright with two control points drawn in the unit square.
    """
    low = images.flatten(1).amin(dim=1)
    span = (images.flatten(1).amax(dim=1) - low).clamp_min(1e-6)
    share = ((images - wide(low)) / wide(span)).flatten(1)
    t = torch.linspace(0, 1, POINTS, device=images.device)
    weights = torch.stack([3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t)])
    x = (random[:, 0:2] @ weights + t**3).sort(dim=1).values
    y = (random[:, 2:4] @ weights + t**3).sort(dim=1).values
    y = torch.where(random[:, 4:5] < 0.5, y, 1 - y)
    above = torch.searchsorted(x.contiguous(), share.contiguous()).clamp(1, POINTS - 1)
    x0, x1 = x.gather(1, above - 1), x.gather(1, above)
    y0, y1 = y.gather(1, above - 1), y.gather(1, above)
    found = y0 + (y1 - y0) * ((share - x0) / (x1 - x0).clamp_min(1e-6)).clamp(0, 1)
    return found.reshape(images.shape) * wide(span) + wide(low)


def build(
    shapes: Shapes,
    *,
    width: int = 256,
    bend: float = 0.9,
    shuffle: float = 0.5,
    paint: float = 0.9,
    outward: float = 0.8,
) -> Restore:
    """Restoration of harmed images (Models Genesis, Zhou et al. 2021), shares of each harm as published.

    Its fourth harm, flipping, is left out: encoders here know left from right.
    """
    return Restore(shapes, width=width, bend=bend, shuffle=shuffle, paint=paint, outward=outward)
