"""How far a predicted image or number is from the true one, where it counts."""

from __future__ import annotations

import torch

from radfoundry.records import InputError


def masked_distance(
    predicted: torch.Tensor, truth: torch.Tensor, *, weight: torch.Tensor | None = None, power: int = 1
) -> torch.Tensor:
    """Mean absolute (power 1) or squared (power 2) difference, of each image where its weight is, then over images.

    predicted, truth: `(B, …)` of one shape; weight: the same shape or one that broadcasts, 0 where it does not count.
    Every image counts alike, however much of it is weighted; an image with no weight at all counts 0.

    >>> float(masked_distance(torch.zeros(1, 4), torch.tensor([[1.0, 1, 3, 9]]), weight=torch.tensor([[1.0, 1, 0, 0]])))
    1.0
    """
    if predicted.shape != truth.shape or power not in (1, 2):
        raise InputError(f"{tuple(predicted.shape)} against {tuple(truth.shape)} with power {power}", finding="shape")
    apart = (predicted.float() - truth.float()).abs()
    apart = (apart.square() if power == 2 else apart).flatten(1)
    if weight is None:
        return apart.mean()
    counted = weight.to(apart.dtype).expand_as(predicted).reshape(apart.shape)
    return ((apart * counted).sum(dim=1) / counted.sum(dim=1).clamp_min(1e-6)).mean()


def known_regression(predicted: torch.Tensor, truth: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference over the values that are known; each column counts by how often it is known.

    predicted, truth, known: `(B, Q)`. Nothing known gives 0 with a gradient of 0.
    """
    apart = (predicted.float() - truth.float()).abs() * known
    return apart.sum(dim=1).div(known.shape[1]).mean()


def patches_of(images: torch.Tensor, grid: tuple[int, int, int]) -> torch.Tensor:
    """`(N, I, J, K)` images cut into `(N, places, voxels of a patch)`; sides must be whole numbers of patches.

    >>> patches_of(torch.arange(8.0).reshape(1, 2, 2, 2), (2, 1, 1)).tolist()
    [[[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]]
    """
    if any(side % cells for side, cells in zip(images.shape[1:], grid, strict=True)):
        raise InputError(
            f"a crop of {tuple(images.shape[1:])} voxels is no whole number of {grid} patches",
            remedy="choose crops.size as a multiple of the encoder's patch",
            finding="shape",
        )
    n = len(images)
    (i, j, k) = grid
    (a, b, c) = (side // cells for side, cells in zip(images.shape[1:], grid, strict=True))
    cut = images.reshape(n, i, a, j, b, k, c).permute(0, 1, 3, 5, 2, 4, 6)
    return cut.reshape(n, i * j * k, a * b * c)


def image_of(patches: torch.Tensor, grid: tuple[int, int, int], size: tuple[int, int, int]) -> torch.Tensor:
    """The inverse of `patches_of`: `(N, places, voxels)` to `(N, *size)`."""
    n = len(patches)
    (i, j, k) = grid
    (a, b, c) = (side // cells for side, cells in zip(size, grid, strict=True))
    cut = patches.reshape(n, i, j, k, a, b, c).permute(0, 1, 4, 2, 5, 3, 6)
    return cut.reshape(n, *size)
