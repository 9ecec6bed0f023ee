"""Rules that bring grey values to a common scale; each is a function of the image alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from radfoundry.records import InputError
from radfoundry.volume import Volume

SAMPLE_VOXELS = 1 << 17
HISTOGRAM_BINS = 256


def unchanged(volume: Volume) -> Volume:
    """The image as it is.

    >>> unchanged(Volume.of(np.ones((2, 2)), np.eye(4))).array.dtype
    dtype('float64')
    """
    return volume


def percentile(
    volume: Volume, *, low: float = 0.5, high: float = 99.5, clip: bool = True, per_channel: bool = False
) -> Volume:
    """Grey values so that a dark and a bright percentile of the image become 0 and 1; float32.

    `low` and `high` are percentiles. Values beyond are clipped unless `clip` is off. Channels share one
    scale (time points, colours) unless `per_channel`. An image of one single value becomes 0. Big images
    are judged by every n-th voxel, always the same ones.

    >>> ramp = Volume.of(np.arange(101.0).reshape(101, 1), np.eye(4))
    >>> percentile(ramp, low=0, high=100).array[0, [0, 50, 100], 0, 0].tolist()
    [0.0, 0.5, 1.0]
    """
    if not 0 <= low < high <= 100:
        raise InputError(f"percentiles {low} and {high} are not in order between 0 and 100", remedy="for example 1, 99")

    def bounds(part: np.ndarray) -> tuple[float, float]:
        dark, bright = np.percentile(_finite(sample(part)), [low, high])
        return float(dark), float(bright - dark)

    scaled = _linear(volume, bounds, per_channel=per_channel)
    return replace(scaled, array=np.clip(scaled.array, 0.0, 1.0, out=scaled.array)) if clip else scaled


def zscore(volume: Volume, *, mask: np.ndarray | None = None, per_channel: bool = False) -> Volume:
    """Grey values with mean 0 and standard deviation 1 over the patient; float32.

    The patient is `mask`, an `(I, J, K)` array of booleans, or else the voxels brighter than Otsu's
    threshold (see `otsu_threshold`). Refuses an empty mask and a mask of another shape.
    """
    if mask is not None and mask.shape != volume.shape:
        raise InputError(f"the mask has shape {mask.shape}, the image {volume.shape}", finding="shape")
    if mask is not None and not mask.any():
        raise InputError("the mask is empty", remedy="give a mask with at least one voxel", finding="empty-mask")

    def bounds(part: np.ndarray) -> tuple[float, float]:
        if mask is not None:
            inside = _finite(part[:, mask.astype(bool)])
        else:
            seen = _finite(sample(part))
            brighter = seen[seen > otsu_threshold(seen)]
            inside = brighter if brighter.size else seen
        return float(inside.mean(dtype=float)), float(inside.std(dtype=float))

    return _linear(volume, bounds, per_channel=per_channel)


def window(volume: Volume, *, center_hu: float = 40.0, width_hu: float = 400.0) -> Volume:
    """CT values so that the window from centre - width/2 to centre + width/2 becomes 0 to 1, clipped; float32.

    The default is the usual soft-tissue window. Refuses a width that is not positive.

    >>> ct = Volume.of(np.array([[-1000.0, 40.0, 3000.0]]), np.eye(4), units="HU")
    >>> window(ct).array.ravel().tolist()
    [0.0, 0.5, 1.0]
    """
    if not width_hu > 0:
        raise InputError(f"the window is {width_hu} HU wide", remedy="give a positive width_hu")
    array = volume.array.astype(np.float32)
    array -= np.float32(center_hu - width_hu / 2)
    array /= np.float32(width_hu)
    return replace(volume, array=np.clip(array, 0.0, 1.0, out=array), units="relative")


def otsu_threshold(values: np.ndarray) -> float:
    """The value that best parts dark background from bright tissue.

    Source: N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9(1),
    1979, on 256 bins between the smallest value and the 99.9th percentile, so that a few very bright
    voxels do not empty the histogram. One single value gives that value.
    """
    low, high = float(values.min()), float(np.percentile(values, 99.9))
    if not high > low:
        return low
    counts, edges = np.histogram(np.clip(values, low, high), bins=HISTOGRAM_BINS, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(float)
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1 + int(np.argmax(np.nan_to_num(between)))])


def sample(array: np.ndarray) -> np.ndarray:
    """About 131,000 voxels spread evenly over the image, always the same ones; all of a smaller image."""
    flat = array.reshape(-1) if array.flags.c_contiguous else array.ravel(order="K")
    step = -(-flat.size // SAMPLE_VOXELS)
    # An odd step that shares no factor with the usual matrix sizes visits every row and column.
    return flat[:: step + 1 - step % 2] if step > 1 else flat


def _finite(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "f":
        return values
    kept = values[np.isfinite(values)]
    if not kept.size:
        raise InputError("no voxel has a finite value", remedy="check the image", finding="nan-voxels")
    return kept


def _linear(volume: Volume, bounds: Callable[[np.ndarray], tuple[float, float]], *, per_channel: bool) -> Volume:
    array = volume.array.astype(np.float32)
    parts = [slice(n, n + 1) for n in range(len(array))] if per_channel else [slice(None)]
    for part in parts:
        shift, width = bounds(volume.array[part])
        array[part] -= np.float32(shift)
        array[part] *= np.float32(1.0 / width if width > 0 else 0.0)
    return replace(volume, array=array, units="relative")
