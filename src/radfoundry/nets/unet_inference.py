"""Scores of a whole image: at once when it fits in memory, else window by window with soft borders; then labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from radfoundry.nets.windows import starts
from radfoundry.records import InputError

MEMORY_BYTES = 2_000_000_000
OVERLAP = 0.5
COPIES = 6  # maps of the first level that are alive at once, measured on the U-Net
BLOCK = 8  # coarse voxels along each axis that are looked at together when labels are written
FLAT_BLOCK = 64  # a picture has so few voxels that many small blocks cost more than they save
EDGE = 0.125  # standard deviation of the soft border, as a share of the window


def whole_bytes(model: Any, shape: Sequence[int], *, width: int, classes: int) -> int:
    """About how much memory an image of this shape needs when it is read at once."""
    voxels = math.prod(int(n) for n in shape)
    fold = math.prod(getattr(getattr(model, "decoder", model), "fold", (1, 1, 1)))
    return int(4 * voxels * (1 + 2 * classes + COPIES * width / fold))


@dataclass(frozen=True)
class Reading:
    """How an image is read: the window of training, classes with background, channels of the first level, limits."""

    window: tuple[int, int, int]
    classes: int
    width: int
    memory_bytes: int = MEMORY_BYTES
    overlap: float = OVERLAP


def scores_of(model: nn.Module, image: torch.Tensor, how: Reading) -> torch.Tensor:
    """Scores (classes, I, J, K) of one image (channels, I, J, K), prepared as the plan says.

    The image is read whole when that fits in `memory_bytes`, which is several times faster than windows; else in
    windows of the training size whose scores are blended with Gaussian weights. Refuses an image of which not even
    the scores fit.
    """
    shape = tuple(int(n) for n in image.shape[1:])
    needed = 8 * math.prod(shape) * how.classes
    if needed > how.memory_bytes:
        raise InputError(
            f"an image of {' x '.join(map(str, shape))} voxels with {how.classes} classes needs "
            f"{needed / 1e9:.1f} GB of memory, {how.memory_bytes / 1e9:.1f} GB are allowed",
            remedy="crop it to the part that is to be outlined",
            finding="memory",
        )
    with torch.no_grad():
        if whole_bytes(model, shape, width=how.width, classes=how.classes) <= how.memory_bytes:
            return whole(model, image)
        return sliding(model, image, how)


def whole(model: Any, image: torch.Tensor) -> torch.Tensor:
    """Scores of an image read at once; it is filled up at the far ends to a size the network takes."""
    shape = [int(n) for n in image.shape[1:]]
    missing = [-n % step for n, step in zip(shape, model.multiple, strict=True)]
    filled = filled_up(image, missing)
    i, j, k = shape
    return model(filled[None])[0, :, :i, :j, :k]


def filled_up(image: torch.Tensor, missing: Sequence[int]) -> torch.Tensor:
    """The image with its last voxels repeated at the far ends."""
    if not any(missing):
        return image
    pads = (0, missing[2], 0, missing[1], 0, missing[0])
    return nn.functional.pad(image[None], pads, mode="replicate")[0]


def sliding(model: Any, image: torch.Tensor, how: Reading) -> torch.Tensor:
    """Scores of overlapping windows, blended with weights that fall off towards each window's border.

    Source: Isensee et al., Nature Methods 2021 (Gaussian importance weighting, a quarter to a half of overlap).
    """
    shape = [int(n) for n in image.shape[1:]]
    window = how.window
    image = filled_up(image, [max(0, size - n) for n, size in zip(shape, window, strict=True)])
    total = torch.zeros(how.classes, *image.shape[1:])
    weight = torch.zeros(1, *image.shape[1:])
    soft = soft_window(window)
    per_axis = [starts(int(n), size, how.overlap) for n, size in zip(image.shape[1:], window, strict=True)]
    for place in itertools.product(*per_axis):
        box = (slice(None), *(slice(at, at + size) for at, size in zip(place, window, strict=True)))
        total[box] += whole(model, image[box]) * soft
        weight[box] += soft
    i, j, k = shape
    return (total / weight)[:, :i, :j, :k]


def soft_window(window: Sequence[int]) -> torch.Tensor:
    """(I, J, K) Gaussian weights, 1 in the middle and never 0."""
    axes = []
    for size in window:
        away = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2) / max(EDGE * size, 1e-6)
        axes.append(torch.exp(-0.5 * away**2))
    weights = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    return (weights / weights.max()).clamp_min(1e-3)


def labels_on(scores: torch.Tensor, places: Sequence[np.ndarray]) -> np.ndarray:
    """The label of the highest score at every voxel of a finer (or coarser) grid, `uint8` (I, J, K).

    scores: (classes, i, j, k); places: for each axis where the voxels of the wanted grid lie, in voxels of the
    scores. Scores are interpolated linearly, a block at a time, so that the full grid of all classes never exists.
    Blocks whose corners all agree are filled at once: what is highest at all corners of a cell is highest within it.
    Refuses more than 255 classes.

    >>> labels_on(torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]]]), [np.zeros(1), np.zeros(1), np.array([0, 0.4, 0.6])])
    array([[[0, 0, 1]]], dtype=uint8)
    """
    if scores.shape[0] > 255:
        raise InputError(f"{scores.shape[0]} classes", remedy="a mask holds up to 255", finding="many-classes")
    best = scores.argmax(dim=0).to(torch.uint8).numpy()
    result = np.zeros(tuple(len(axis) for axis in places), np.uint8)
    spots = [np.clip(axis, 0, size - 1) for axis, size in zip(places, best.shape, strict=True)]
    if all((axis == np.rint(axis)).all() for axis in spots):  # nothing lies between voxels
        return best[np.ix_(*(axis.astype(int) for axis in spots))]
    block = FLAT_BLOCK if 1 in best.shape else BLOCK
    cut = [_runs(axis, size, block) for axis, size in zip(spots, best.shape, strict=True)]
    for i in cut[0]:
        for j in cut[1]:
            for k in cut[2]:
                near = (slice(*i[1]), slice(*j[1]), slice(*k[1]))
                box = (slice(*i[0]), slice(*j[0]), slice(*k[0]))
                there = best[near]
                first = there.flat[0]
                if (there == first).all():
                    result[box] = first
                else:
                    axes = [axis[part] - low.start for axis, part, low in zip(spots, box, near, strict=True)]
                    result[box] = _highest(scores[(slice(None), *near)], axes)
    return result


def _runs(spots: np.ndarray, size: int, block: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Runs of wanted voxels that share a block of scores: (first, end) wanted, (first, end) of the scores they need."""
    order = np.floor(spots / block).astype(int)
    edges = [0, *(np.flatnonzero(np.diff(order)) + 1).tolist(), len(spots)]
    found = []
    for start, end in itertools.pairwise(edges):
        low = int(np.floor(spots[start:end].min()))
        high = min(size - 1, int(np.ceil(spots[start:end].max())))
        found.append(((start, end), (low, high + 1)))
    return found


def _highest(scores: torch.Tensor, axes: Sequence[np.ndarray]) -> np.ndarray:
    """Labels of linearly interpolated scores at the product of three lists of places."""
    present = torch.unique(scores.argmax(dim=0))
    # A class below another one at every corner cannot win anywhere between them.
    floor = scores[present].amin(dim=(1, 2, 3)).max()
    kept = torch.nonzero(scores.amax(dim=(1, 2, 3)) >= floor)[:, 0]
    chosen = scores[kept].float()
    for axis, spots in enumerate(axes, start=1):
        matrix = _between(spots, int(chosen.shape[axis]))
        chosen = torch.tensordot(chosen, matrix, dims=([axis], [0])).movedim(-1, axis)
    return kept[chosen.argmax(dim=0)].to(torch.uint8).numpy()


def _between(spots: np.ndarray, size: int) -> torch.Tensor:
    """(size, len(spots)) weights of linear interpolation."""
    below = np.clip(np.floor(spots).astype(int), 0, max(0, size - 2))
    share = (spots - below).astype(np.float32)
    matrix = np.zeros((size, len(spots)), np.float32)
    columns = np.arange(len(spots))
    matrix[below, columns] += 1 - share
    matrix[np.minimum(below + 1, size - 1), columns] += share
    return torch.from_numpy(matrix)
