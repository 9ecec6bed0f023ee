"""Losses of a detector that answers with a map of where findings are: from boxes, or from image labels alone."""

from __future__ import annotations

import torch

SHARPEST = 0.6
WIDTHS_PER_BOX = 6.0


def heat_targets(
    boxes: list[torch.Tensor], shape: tuple[int, int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the maps should be: heat `(B, I, J, K)`, sizes and offsets `(B, 6, I, J, K)`, and where those count.

    boxes: one `(n, 6)` an image, in cells of the map. Heat is 1 in the cell of a box's centre and falls off around it
    as a Gaussian a sixth as wide as the box. Sizes are logarithms of the lengths in cells, offsets lead from the middle
    of the cell to the centre of the box. Source: Zhou, Wang & Krähenbühl 2019, arXiv 1904.07850.

    >>> heat, values, there = heat_targets([torch.tensor([[2.0, 2, 0, 4, 4, 1]])], (6, 6, 1))
    >>> heat[0, 3, 3, 0].item(), int(there.sum())
    (1.0, 1)
    """
    heat = torch.zeros(len(boxes), *shape)
    values = torch.zeros(len(boxes), 6, *shape)
    there = torch.zeros(len(boxes), *shape)
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    limit = torch.tensor(shape) - 1
    for row, found in enumerate(boxes):
        for box in found:
            lengths, centre = (box[3:] - box[:3]).clamp_min(1e-3), (box[:3] + box[3:]) / 2
            cell = torch.minimum(centre.floor().long().clamp_min(0), limit)
            width = (lengths / WIDTHS_PER_BOX).clamp_min(SHARPEST)
            apart = ((grid - cell[:, None, None, None]) / width[:, None, None, None]) ** 2
            heat[row] = torch.maximum(heat[row], torch.exp(-apart.sum(dim=0) / 2))
            place = (row, int(cell[0]), int(cell[1]), int(cell[2]))
            values[place[0], :, place[1], place[2], place[3]] = torch.cat([lengths.log(), centre - cell - 0.5])
            there[place] = 1
    return heat, values, there


def heat_loss(logits: torch.Tensor, heat: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Focal loss of a heat map: centres must be high, all else low, near centres less so. One number an image.

    logits, heat, there: `(B, I, J, K)`. Source: Law & Deng 2018, arXiv 1808.01244 (powers 2 and 4).
    """
    chance = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    right = there * (1 - chance) ** 2 * chance.log()
    wrong = (1 - there) * (1 - heat) ** 4 * chance**2 * (1 - chance).log()
    count = there.flatten(1).sum(dim=1).clamp_min(1)
    return -(right + wrong).flatten(1).sum(dim=1) / count


def box_loss(found: torch.Tensor, values: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of sizes and offsets `(B, 6, I, J, K)` in the cells that hold a centre; 0 without any."""
    apart = (found - values).abs().mean(dim=1) * there
    return apart.sum() / there.sum().clamp_min(1)


def image_loss(logits: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the image label with the mean of the map: what a classifier with a class activation map learns.

    logits `(B, I, J, K)`; present `(B,)` 0 or 1. One number an image.
    Source: Zhou et al. 2016, CVPR (class activation map: the mean of the map is the classifier's logit).
    """
    mean = logits.flatten(1).mean(dim=1)
    return torch.nn.functional.binary_cross_entropy_with_logits(mean, present.float(), reduction="none")
