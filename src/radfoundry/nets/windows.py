"""Images larger than an encoder's window: cut, encoded window by window, and put together again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch

from radfoundry.records import Features, InputError


def encode_windows(encoder: Any, image: torch.Tensor, *, overlap: float = 0.0, batch: int = 4) -> Features:
    """One vector and a grid of places for a whole image of any size.

    image: (channels, I, J, K), prepared as the encoder's spec says but for its size. Windows have the spec's
    shape and lie evenly, neighbours sharing at least `overlap` of their length. Windows of one single value
    (air) are not encoded and do not count; the pooled vector is the mean of the others. Where windows overlap,
    tokens are averaged; places no window was encoded for are zeros. Refuses an encoder without a fixed shape.

    >>> from radfoundry.nets import vit
    >>> image = torch.rand(1, 104, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> encode_windows(vit.tiny(), image).grid
    (13, 8, 8)
    """
    window = encoder.spec.shape
    if window is None:
        raise InputError(f"{encoder.spec.name} has no window of its own", remedy="encode the image as a whole")
    if image.ndim != 4 or not 0 <= overlap < 1:
        raise InputError(
            f"an image of shape {tuple(image.shape)} with overlap {overlap}",
            remedy="give (channels, I, J, K) and an overlap from 0 to below 1",
            finding="shape",
        )
    image = filled(image, window)
    per_axis = [starts(int(n), size, overlap) for n, size in zip(image.shape[1:], window, strict=True)]
    places = [place for place in itertools.product(*per_axis) if not _blank(_cut(image, place, window))]
    if not places:
        places = [(per_axis[0][0], per_axis[1][0], per_axis[2][0])]
    pooled: list[torch.Tensor] = []
    tokens: list[torch.Tensor] = []
    grid = (1, 1, 1)
    for at in range(0, len(places), batch):
        windows = torch.stack([_cut(image, place, window) for place in places[at : at + batch]])
        seen = encoder.encode(windows)
        pooled.append(seen.pooled)
        tokens.append(seen.tokens)
        grid = seen.grid
    together, whole = put_together(torch.cat(tokens), grid, places, window=window, shape=tuple(image.shape[1:]))
    return Features(pooled=torch.cat(pooled).mean(dim=0, keepdim=True), tokens=together[None], grid=whole)


def starts(size: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along an axis so that they cover it evenly.

    >>> starts(100, 64, 0.0), starts(64, 64, 0.5), starts(192, 96, 0.25)
    ([0, 36], [0], [0, 48, 96])
    """
    if size <= window:
        return [0]
    count = 1 + math.ceil((size - window) / max(1, math.floor(window * (1 - overlap))))
    return [round(index * (size - window) / (count - 1)) for index in range(count)]


def filled(image: torch.Tensor, window: Sequence[int]) -> torch.Tensor:
    """The image with zeros at the far ends where it is smaller than the window."""
    missing = [max(0, size - int(n)) for n, size in zip(image.shape[1:], window, strict=True)]
    return torch.nn.functional.pad(image, (0, missing[2], 0, missing[1], 0, missing[0])) if any(missing) else image


def put_together(
    tokens: torch.Tensor,
    grid: tuple[int, ...],
    places: Sequence[tuple[int, ...]],
    *,
    window: Sequence[int],
    shape: tuple[int, ...],
) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """Tokens of windows (windows, places, width) to one grid over the image: (all places, width) and its size."""
    patch = [size / n for size, n in zip(window, grid, strict=True)]
    first, second, third = (max(n, round(size / step)) for size, step, n in zip(shape, patch, grid, strict=True))
    total = tokens.new_zeros(first, second, third, tokens.shape[2])
    count = tokens.new_zeros(first, second, third, 1)
    for row, place in zip(tokens, places, strict=True):
        begin = [
            min(round(start / step), n - size)
            for start, step, n, size in zip(place, patch, (first, second, third), grid, strict=True)
        ]
        block = tuple(slice(at, at + size) for at, size in zip(begin, grid, strict=True))
        total[block] += row.reshape(*grid, -1)
        count[block] += 1
    return (total / count.clamp_min(1)).flatten(0, 2), (first, second, third)


def _cut(image: torch.Tensor, place: tuple[int, ...], window: Sequence[int]) -> torch.Tensor:
    i, j, k = (slice(start, start + size) for start, size in zip(place, window, strict=True))
    return image[:, i, j, k]


def _blank(part: torch.Tensor) -> bool:
    return bool(part.amax() == part.amin())
