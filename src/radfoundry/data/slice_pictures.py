"""A few slices of an image as small pictures that keep what shrinking would lose, with what can be measured in each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from radfoundry.data import quality
from radfoundry.records import InputError
from radfoundry.volume import Volume

# Shares of the depth at which MedIQA looks: both ends, the middle, and one and two sixths to both sides of it.
DEPTHS = (0.0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0)
SIDE = 64
CHANNELS = ("brightness", "faint brightness", "change along rows", "change along columns", "lonely pixels", "spectrum")
_FLOOR = 0.004


@dataclass(frozen=True, eq=False)
class Seen:
    """What a rater sees of one series: pictures `(7, 6, 64, 64)` and measures `(7, 8)` of its slices, float32."""

    pictures: np.ndarray
    measures: np.ndarray


def look(volume: Volume, *, slice_axis: int | None = None) -> Seen:
    """Seven slices of a volume's first channel, in order of depth, as pictures and measures.

    `slice_axis` is by default the coarsest axis. Fewer slices are shown several times. Refuses an empty, tiny or
    non-finite image.

    >>> image = np.random.default_rng(0).normal(100, 5, (80, 90, 9)).astype("float32")
    >>> look(Volume.of(image, np.diag([1.0, 1.0, 4.0, 1.0]))).pictures.shape
    (7, 6, 64, 64)
    """
    axis = int(np.argmax(volume.spacing_mm)) if slice_axis is None else slice_axis
    values = np.moveaxis(np.asarray(volume.array[0]), axis, 2)
    in_plane_mm = min(spacing for index, spacing in enumerate(volume.spacing_mm) if index != axis)
    return look_at(values[..., chosen_slices(values.shape[2])], in_plane_mm=in_plane_mm)


def look_at(slices: np.ndarray, *, in_plane_mm: float) -> Seen:
    """The same of chosen slices `(I, J, S)` whose pixels are so large."""
    return Seen(pictures_of(slices), measures_of(slices, in_plane_mm=in_plane_mm))


MEASURES = ("noise", "blur", "ghost", "smear", "shading", "clipped", "border", "missing")


def measures_of(slices: np.ndarray, *, in_plane_mm: float) -> np.ndarray:
    """`(I, J, S)` slices to `(S, 8)` numbers of about unit size: the reference-free measures that a slice alone gives.

    The same functions as in `data.quality`, on scales where equal steps look equally bad. What cannot be measured is
    0, and `missing` is the share of it.
    """
    stack = Volume.of(np.asarray(slices, dtype=np.float32), np.diag([in_plane_mm, in_plane_mm, 4 * in_plane_mm, 1.0]))
    parts = quality.parts_of(stack, slice_axis=2)
    rows = [_slice_row(parts, index) for index in range(parts.values.shape[2])]
    return np.array(rows, dtype=np.float32)


def _slice_row(parts: quality.Parts, index: int) -> list[float]:
    image, body, air = parts.values[..., index], parts.body[..., index], parts.air[..., index]
    if body.sum() < quality.FEWEST_VOXELS:
        return [0.0] * 7 + [1.0]
    sigma = quality.noise_deviation(image, body, air)
    level = float(np.median(image[body])) or 1.0
    inner = ndimage.binary_erosion(body, iterations=2)
    ghost, smear = math.nan, math.nan
    if air.sum() >= quality.FEWEST_VOXELS and float(np.ptp(image[air])) > 0:
        ghost = math.log10(max(quality.ghost_share(image, body, air), 0.0) + 0.005) + 1.8
        smear = math.log10(math.sqrt(max(quality.smear_power(image, body, parts.level), 0.0)) + 0.003) + 2.0
    border = np.concatenate([body[0], body[-1], body[:, 0], body[:, -1]])
    found = [
        math.log10(sigma / level + 0.003) + 1.5,
        quality.blur_width(image, inner, sigma) - 1.5,
        ghost,
        smear,
        4 * quality.shading(image, inner) - 1,
        math.log10(float((image[body] >= parts.values.max()).mean()) + 1e-3) + 2,
        2 * float(border.mean()) - 0.5,
    ]
    known = [value if math.isfinite(value) else 0.0 for value in found]
    return [*np.clip(known, -3, 3), sum(not math.isfinite(value) for value in found) / len(found)]


def chosen_slices(count: int) -> np.ndarray:
    """`(7,)` numbers of the slices that are looked at in a stack of so many.

    >>> chosen_slices(13).tolist()
    [0, 2, 4, 6, 8, 10, 12]
    """
    return np.round(np.array(DEPTHS) * (count - 1)).astype(int)


def pictures_of(slices: np.ndarray) -> np.ndarray:
    """`(I, J, S)` slices to `(S, 6, 64, 64)` pictures; brightness is scaled by all of them together.

    Channels: brightness over the level of the whole image, as it is and as a logarithm (ghosts are faint); the root
    mean square of the differences between neighbours along either direction; what no neighbour explains (Immerkaer
    1996); and the amplitude of every spatial frequency. All but brightness are measured in the image's own voxels,
    because shrinking destroys the texture of noise, and are logarithms.
    """
    values = np.ascontiguousarray(np.moveaxis(slices, 2, 0), dtype=np.float32)
    if min(values.shape[1:]) < 16:
        raise InputError(f"slices of {values.shape[1]} x {values.shape[2]} voxels are too small to be judged")
    if not np.isfinite(values).all():
        raise InputError("the image holds values that are not finite", remedy="mend or leave out the series")
    values -= min(float(values.min()), 0.0)
    shrunk = _shrunk(values)
    level = float(np.percentile(shrunk, 95))
    if level <= 0:
        raise InputError("the image is empty: one value everywhere", remedy="leave out the series")
    values /= level
    down = np.diff(values, axis=1, append=values[:, -1:])
    across = np.diff(values, axis=2, append=values[:, :, -1:])
    lonely = np.zeros_like(values)
    # Second differences along both directions, one after the other: a plane or an edge along an axis gives 0.
    lonely[:, 1:-1, 1:-1] = np.diff(np.diff(values, 2, axis=1), 2, axis=2) / 6
    fine = [np.log10(_FLOOR + np.sqrt(_shrunk(part**2))) + 1.5 for part in (down, across, lonely)]
    faint = np.log10(0.01 + shrunk / level) + 1.0
    return np.stack([np.minimum(shrunk / level, 3.0), faint, *fine, _spectrum(values)], axis=1).astype(np.float32)


def _spectrum(values: np.ndarray) -> np.ndarray:
    """`(S, I, J)` to the logarithm of the amplitude of every frequency, the zero frequency in the middle."""
    space = np.fft.rfft2(values - values.mean(axis=(1, 2), keepdims=True), norm="ortho")
    half = np.abs(space).astype(np.float32) ** 2
    # The other half mirrors this one, but only the directions count here: rows centred, columns from 0 outwards.
    return np.log10(0.01 + np.sqrt(_shrunk(np.fft.fftshift(half, axes=1))))


def _shrunk(values: np.ndarray) -> np.ndarray:
    """`(S, I, J)` to `(S, 64, 64)` by means over areas."""
    return _areas(values.shape[1]) @ values @ _areas(values.shape[2]).T


@lru_cache(maxsize=64)
def _areas(size: int) -> np.ndarray:
    """`(64, size)` how much each of `size` pixels adds to each of 64 of equal extent; rows sum to 1."""
    edges = np.linspace(0, size, SIDE + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(size)[None]
    cover = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    return (cover / cover.sum(axis=1, keepdims=True)).astype(np.float32)
