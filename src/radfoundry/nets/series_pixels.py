"""What the pixels of a series say about its type: style, tissue brightness, anatomy and plain statistics.

The bundled encoder reads the image in windows of 96 mm. Its dense half says which tissue lies where, whatever the
contrast; how bright each tissue is then tells the contrast. Everything is computed at 3 mm, so it is quick.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import numpy as np
import torch
from scipy import ndimage

from radfoundry.nets import bundled
from radfoundry.nets.intensity import STATISTICS, first_order
from radfoundry.volume import Volume

SIDE, SPACING_MM, WINDOW = 64, 3.0, 32
FEWEST_SLICES = 3
OPENINGS = 2  # samples averaged along each axis where voxels are much finer than 3 mm
EMPTY = 1e-3
LARGEST_CHANNELS = 3
TISSUES = len(bundled.TISSUES) - 1
PLAIN = 12
# Parts of the feature vector and how many numbers each has.
PARTS: Mapping[str, int] = {
    "style": 2 * bundled.STYLE,
    "tissues": 3 * TISSUES,
    "statistics": STATISTICS + PLAIN,
    "anatomy": bundled.ANATOMY + 3,
}
WIDTH = sum(PARTS.values())


@functools.cache
def encoder() -> bundled.AnatomyEncoder:
    """The bundled encoder, built once in this process."""
    return bundled.build()


def pixel_features(volume: Volume) -> np.ndarray | None:
    """`(WIDTH,)` numbers about the type of an image, or None where it is too thin, empty or not finite.

    Of several channels (time points, b-values) the mean of the first three counts.
    """
    if min(volume.shape) < FEWEST_SLICES:
        return None
    image, values = coarse(volume)
    if not values.size or not np.isfinite(values).all() or float(np.ptp(values)) <= 0:
        return None
    windows = [
        image[i : i + WINDOW, j : j + WINDOW, k : k + WINDOW]
        for i in (0, WINDOW)
        for j in (0, WINDOW)
        for k in (0, WINDOW)
    ]
    seen = np.stack([window for window in windows if window.std() > EMPTY] or windows[:1])
    with torch.no_grad():
        return _vector(torch.from_numpy(seen)[:, None], image, values)


def coarse(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """The image at 3 mm in a box of 192 mm between 0 and 1, and the values it was made from on their own scale."""
    turned = volume.reorient("RAS")
    array = np.asarray(turned.array[:LARGEST_CHANNELS])
    spacing = np.asarray(turned.spacing_mm)
    centre = _middle(array, spacing)
    grid = [
        (np.arange(SIDE) - (SIDE - 1) / 2) * SPACING_MM / step + place
        for step, place in zip(spacing, centre, strict=True)
    ]
    total = np.zeros((SIDE, SIDE, SIDE), np.float32)
    offsets = [
        (0.0,) if step > SPACING_MM / 2 else tuple((np.arange(OPENINGS) / OPENINGS - 0.25) * SPACING_MM / step)
        for step in spacing
    ]
    count = 0
    for channel in array:
        for shift in np.stack(np.meshgrid(*offsets, indexing="ij"), axis=-1).reshape(-1, 3):
            total += _sampled(channel, grid, shift, spacing)
            count += 1
    total /= count
    inside = total[_covered(array.shape[1:], grid)]
    low, high = np.percentile(inside, [0.5, 99.5]) if inside.size else (0.0, 0.0)
    span = float(high - low)
    image = (
        np.clip((total - low) / span, 0, 1).astype(np.float32)
        if span > 0 and math.isfinite(span)
        else np.zeros_like(total)
    )
    image[~_covered(array.shape[1:], grid)] = 0
    return image, inside


def _middle(array: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Where the box is laid: the middle of the image; along axes longer than the box, that of what is bright."""
    centre = (np.array(array.shape[1:]) - 1) / 2
    thin = np.abs(array[0, ::4, ::4, ::4].astype(np.float32))
    thin = np.where(np.isfinite(thin), thin, 0)
    for axis in range(3):
        if array.shape[axis + 1] * spacing[axis] > SIDE * SPACING_MM:
            profile = thin.sum(axis=tuple(other for other in range(3) if other != axis))
            if profile.sum() > 0:
                centre[axis] = 4 * float((profile * np.arange(len(profile))).sum() / profile.sum())
    return centre


def _sampled(channel: np.ndarray, grid: list[np.ndarray], shift: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Values at the grid: the nearest voxel, or between neighbouring slices where these are far apart."""
    spots = [places + move for places, move in zip(grid, shift, strict=True)]
    nearest = [
        np.clip(np.rint(places).astype(int), 0, size - 1) for places, size in zip(spots, channel.shape, strict=True)
    ]
    coarse_axes = [axis for axis in range(3) if spacing[axis] > SPACING_MM]
    if not coarse_axes:
        return channel[np.ix_(*nearest)].astype(np.float32)
    axis = coarse_axes[int(np.argmax(spacing[coarse_axes]))]
    below = np.clip(np.floor(spots[axis]).astype(int), 0, channel.shape[axis] - 1)
    above = np.clip(below + 1, 0, channel.shape[axis] - 1)
    share = np.clip(spots[axis] - below, 0, 1).astype(np.float32)
    share = share.reshape([-1 if other == axis else 1 for other in range(3)])
    first, second = list(nearest), list(nearest)
    first[axis], second[axis] = below, above
    return channel[np.ix_(*first)] * (1 - share) + channel[np.ix_(*second)] * share


def _covered(shape: tuple[int, ...], grid: list[np.ndarray]) -> np.ndarray:
    there = [(places > -0.5) & (places < size - 0.5) for places, size in zip(grid, shape, strict=True)]
    return there[0][:, None, None] & there[1][None, :, None] & there[2][None, None, :]


def _vector(windows: torch.Tensor, image: np.ndarray, values: np.ndarray) -> np.ndarray:
    dense = encoder().net(windows)
    weight = (windows.flatten(1).std(dim=1) + EMPTY)[:, None]
    weight = weight / weight.sum()
    mean = (dense.style * weight).sum(dim=0)
    spread = (((dense.style - mean) ** 2) * weight).sum(dim=0).sqrt()
    anatomy = (dense.structure * weight).sum(dim=0)
    plain = torch.from_numpy(plain_facts(image, values))
    inside = torch.from_numpy(image[image > 0].ravel()[::3].copy())
    statistics = first_order(inside[None] if inside.numel() > 8 else torch.zeros(1, 16))[0]
    parts = [mean, spread, *_tissue_brightness(dense, windows), statistics, plain, anatomy]
    vector = torch.cat([part.float() for part in parts]).numpy()
    return np.nan_to_num(vector, nan=0.0, posinf=0.0, neginf=0.0)


def _tissue_brightness(dense: bundled.Dense, windows: torch.Tensor) -> list[torch.Tensor]:
    """How bright and how uneven each tissue is against all tissue, and how much of it there is."""
    likely = dense.shares[:, :-1].softmax(dim=1)
    small = torch.nn.functional.avg_pool3d(windows, 2)
    solid = likely * (likely > 0.5)
    body = 1 - likely[:, :1]
    centre = (small * body).sum() / body.sum().clamp_min(1e-3)
    scale = (((small - centre) ** 2 * body).sum() / body.sum().clamp_min(1e-3)).sqrt().clamp_min(1e-3)
    amount = solid.sum(dim=(0, 2, 3, 4))
    level = ((small - centre) / scale * solid).sum(dim=(0, 2, 3, 4)) / amount.clamp_min(1e-3)
    squares = (((small - centre) / scale) ** 2 * solid).sum(dim=(0, 2, 3, 4)) / amount.clamp_min(1e-3)
    there = (amount > 20).float()
    uneven = (squares - level**2).clamp_min(0).sqrt()
    return [level * there, uneven * there, amount / amount.sum().clamp_min(1e-3)]


def plain_facts(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`(PLAIN,)` facts that show masks, maps and phase images: few values, empty or negative share, scale, edges."""
    seen = values.ravel()[::5].astype(np.float64)
    low, middle, high = np.percentile(seen, [1, 50, 99])
    distinct = len(np.unique(np.round(seen, 6)))
    steps = [float(np.abs(np.diff(image, axis=axis)).mean()) for axis in range(3)]
    bends = [float(np.abs(np.diff(image, n=2, axis=axis)).mean()) for axis in range(3)]
    level = float(image.mean()) + 1e-3
    correlation = ndimage.uniform_filter(image, 3)[image > 0]
    smooth = (
        float(np.corrcoef(correlation, image[image > 0])[0, 1]) if correlation.size > 8 and image.std() > 0 else 0.0
    )
    return np.array(
        [
            math.log1p(distinct),
            float((seen == 0).mean()),
            float((seen < 0).mean()),
            math.log10(max(float(np.abs(high)), 1e-6)),
            float((seen == seen.max()).mean()),
            (float(middle) - float(low)) / max(float(high) - float(low), 1e-9),
            *(step / level for step in steps),
            sum(bends) / max(sum(steps), 1e-6),
            smooth if math.isfinite(smooth) else 0.0,
            float((image > 0.95).mean()),
        ],
        np.float32,
    )
