"""What stands at every place of an image, told so that images of different contrast can be compared.

`mind` needs no learning; an encoder gives its dense features; the bundled encoder gives tissue and template place.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from radfoundry.data.prepare import prepare
from radfoundry.nets import bundled, warp
from radfoundry.nets.embedding import plan_for
from radfoundry.nets.vit import pad_to_multiple
from radfoundry.records import InputError
from radfoundry.volume import Volume

FACES = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
PAIRS = tuple(
    (a, b) for a, b in itertools.combinations(FACES, 2) if sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) == 2
)
PROBED = (64, 64, 64)
SMOOTHEST, ROUGHEST = 1e-3, 1e3
FRESH_NOISE = 1e-6


def mind(image: torch.Tensor, *, radius: int = 1, distance: int = 2) -> torch.Tensor:
    """The modality-independent neighbourhood descriptor (self-similarity context): `(I, J, K)` to `(12, I, J, K)`.

    Each channel says how alike two neighbours of a voxel are, `distance` voxels away at right angles; patches of
    2 radius + 1 voxels are compared. Values from 0 to 1. Brightness, contrast and even its reversal do not matter.

    Source: Heinrich et al. 2012, Med Image Anal 16:1423; 2013, MICCAI 8149:187.

    >>> picture = torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> bool(torch.allclose(mind(picture), mind(5 - 3 * picture), atol=1e-4))
    True
    """
    reach = distance + radius
    near = torch.nn.functional.pad(image[None, None], (reach,) * 6, mode="replicate")[0, 0]
    shifted = {face: _shift(near, face, distance, radius, tuple(image.shape)) for face in FACES}
    size = 2 * radius + 1
    gaps = torch.stack([(shifted[a] - shifted[b]) ** 2 for a, b in PAIRS])
    apart = warp.box_means(gaps, (size, size, size))
    apart = apart - apart.amin(dim=0, keepdim=True)
    noise = apart.mean(dim=0, keepdim=True)
    middle = noise.mean().clamp_min(FRESH_NOISE)
    return torch.exp(-apart / noise.clamp(SMOOTHEST * middle, ROUGHEST * middle))


def _shift(
    near: torch.Tensor, face: tuple[int, int, int], distance: int, radius: int, shape: tuple[int, ...]
) -> torch.Tensor:
    """The padded image moved one way, with a border of `radius` voxels left for the patches."""
    start = [distance + step * distance for step in face]
    i, j, k = (slice(a, a + n + 2 * radius) for a, n in zip(start, shape, strict=True))
    return near[i, j, k]


def describe_plainly(volume: Volume, *, radius: int = 1, distance: int = 2) -> Volume:
    """`mind` of a volume's first channel, on its own grid."""
    image = torch.from_numpy(np.ascontiguousarray(volume.array[0], dtype=np.float32))
    low, high = float(image.min()), float(image.max())
    scaled = (image - low) / max(high - low, 1e-12)
    return Volume(mind(scaled, radius=radius, distance=distance).numpy(), volume.affine)


def describe_by_encoder(volume: Volume, encoder: Any, *, offsets: int = 2) -> Volume:
    """Dense features of a frozen encoder, on a grid `offsets` times finer than its own.

    The image is shifted by fractions of a patch, encoded each time, and the answers interleaved. Of the bundled
    encoder: tissue shares and template place, of any other its tokens, each brought to unit length. Refuses an encoder
    of 2D images, and one that gives no tokens.
    """
    spec = encoder.spec
    if spec.dimensions != 3:
        raise InputError(f"{spec.name} reads 2D images", remedy="choose a 3D encoder or mind", finding="encoder")
    ready = prepare(volume, replace(plan_for(spec), shape=None))
    image = torch.from_numpy(np.ascontiguousarray(ready.array.mean(axis=0, keepdims=True), dtype=np.float32))
    image = image.expand(spec.channels, *image.shape[1:])
    with torch.inference_mode():
        if isinstance(encoder, bundled.AnatomyEncoder):
            seen = interleaved(image, lambda part: _structure(encoder, part), patch=(2, 2, 2), offsets=offsets)
        else:
            seen = interleaved(image, lambda part: _tokens(encoder, part), patch=patch_of(encoder), offsets=offsets)
    affine = ready.affine.copy()
    affine[:3, 3] = (ready.affine @ [*seen.first, 1.0])[:3]
    affine[:3, :3] = ready.affine[:3, :3] * np.asarray(seen.steps)
    return Volume(seen.values.float().numpy(), affine)


def patch_of(encoder: Any) -> tuple[int, int, int]:
    """How many voxels each token stands for, found by encoding an empty image."""
    shape = encoder.spec.shape or PROBED
    seen = encoder.encode(torch.zeros(1, encoder.spec.channels, *shape))
    if seen.tokens is None or seen.grid is None or len(seen.grid) != 3:
        raise InputError(f"{encoder.spec.name} gives no dense features", remedy="choose mind", finding="encoder")
    i, j, k = (max(round(size / cells), 1) for size, cells in zip(shape, seen.grid, strict=True))
    return (i, j, k)


@dataclass(frozen=True, eq=False)
class Interleaved:
    """Dense features `(C, I, J, K)` with their step and the place of the first one, in voxels of the image."""

    values: torch.Tensor
    steps: tuple[float, float, float]
    first: tuple[float, float, float]


def interleaved(
    image: torch.Tensor, dense: Callable[[torch.Tensor], torch.Tensor], *, patch: tuple[int, int, int], offsets: int
) -> Interleaved:
    """A dense answer at several shifts of the image, put together on a finer grid.

    image `(channels, I, J, K)`; dense: a function from it to `(C, i, j, k)`, one answer for each block of `patch`
    voxels. Along an axis the image is shifted as often as `offsets` divides the patch.
    """
    counts = [math.gcd(offsets, size) for size in patch]
    cells = [
        math.ceil((n + size - size // count) / size)
        for n, size, count in zip(image.shape[1:], patch, counts, strict=True)
    ]
    parts: dict[tuple[int, ...], torch.Tensor] = {}
    for turn in itertools.product(*(range(count) for count in counts)):
        low = [t * size // count for t, size, count in zip(turn, patch, counts, strict=True)]
        high = [g * size - n - a for g, size, n, a in zip(cells, patch, image.shape[1:], low, strict=True)]
        padding = [amount for a, b in zip(reversed(low), reversed(high), strict=True) for amount in (a, b)]
        parts[turn] = dense(torch.nn.functional.pad(image, padding))[:, : cells[0], : cells[1], : cells[2]]
    some = next(iter(parts.values()))
    whole = some.new_zeros(len(some), *(g * count for g, count in zip(cells, counts, strict=True)))
    for turn, answer in parts.items():
        i, j, k = (slice(count - 1 - t, None, count) for t, count in zip(turn, counts, strict=True))
        whole[:, i, j, k] = answer
    steps = [size / count for size, count in zip(patch, counts, strict=True)]
    first = [(size - 1) / 2 - (count - 1) * step for size, count, step in zip(patch, counts, steps, strict=True)]
    return Interleaved(whole, (steps[0], steps[1], steps[2]), (first[0], first[1], first[2]))


def _tokens(encoder: Any, image: torch.Tensor) -> torch.Tensor:
    seen = encoder.encode(image[None])
    tokens = seen.tokens[0].T.reshape(-1, *seen.grid)
    return torch.nn.functional.normalize(tokens - tokens.mean(dim=(1, 2, 3), keepdim=True), dim=0)


def _structure(encoder: bundled.AnatomyEncoder, image: torch.Tensor) -> torch.Tensor:
    """Tissue shares and places of each block of 2 voxels: `(13 + 3, …)`; windows of nothing are air."""
    size = bundled.WINDOW
    image = pad_to_multiple(image[None], (size, size, size))[0]
    tissues = len(bundled.TISSUES) - 1
    whole = image.new_zeros(tissues + 3, *(n // 2 for n in image.shape[1:]))
    whole[0] = 1.0
    for corner in itertools.product(*(range(0, n, size) for n in image.shape[1:])):
        window = image[(slice(None), *(slice(a, a + size) for a in corner))]
        if float(window.std()) > bundled.EMPTY:
            dense = encoder.net(window[None])
            places = torch.nn.functional.interpolate(dense.places_mm, scale_factor=2, mode="nearest")
            said = torch.cat([dense.shares[:, :tissues].softmax(dim=1), places / bundled.PLACE_SCALE_MM], dim=1)
            whole[(slice(None), *(slice(a // 2, (a + size) // 2) for a in corner))] = said[0]
    return whole
