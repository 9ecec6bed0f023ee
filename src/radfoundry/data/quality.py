"""How good an image is, from the image alone: noise, sharpness, ghosts, motion, folding, shading, clipping, spikes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, stats

from radfoundry.data import quality_fold
from radfoundry.records import Estimate, InputError
from radfoundry.volume import Volume

FEWEST_VOXELS = 200
MOST_SLICES = 24
SCALP_MM = 14.0
SMEAR_METHOD = "mean power of the calmer slices, bootstrap"
EDGE_SHARE = 0.05
CALM_SLICES = 0.6
RAYLEIGH_MEDIAN = math.sqrt(2 * math.log(2))
# Direction of harm: with 1 a larger value is a worse image, with -1 a better one.
MEASURES: Mapping[str, int] = {
    "noise_share": 1,
    "contrast_to_noise": -1,
    "blur_voxels": 1,
    "ghost_share": 1,
    "smear_share": 1,
    "shading_share": 1,
    "spike_share": 1,
    "border_share": 1,
    "fold_share": 1,
    "end_slice_share": 1,
    "clipped_share": 1,
    "slice_jump_share": 1,
    "slice_gap_share": 1,
    "distinct_values": -1,
}


@dataclass(frozen=True, eq=False)
class Parts:
    """Slices of a volume, the slice axis last; what is body and what is air in them; jumps between slices."""

    values: np.ndarray
    body: np.ndarray
    air: np.ndarray
    jumps: np.ndarray
    level: float
    margin: int


def measure(volume: Volume, *, slice_gap_mm: float | None = None, slice_axis: int | None = None) -> dict[str, Estimate]:
    """What can be said about the quality of any image without a better one beside it.

    Every measure of MEASURES but two is the median over slices with the interval that order statistics give (95 %);
    undefined with a reason where the image does not show it (no air around the body, too few slices). The slices
    run across `slice_axis`, by default the coarsest axis. The first channel is judged. Noise by Immerkaer 1996
    (CVIU 64:300), ghosts as in Giannelli et al. 2010 (J Magn Reson Imaging 32:690), corrected for what the
    anatomy itself does. Refuses an empty or non-finite image.

    >>> rng = np.random.default_rng(0)
    >>> found = measure(Volume.of(rng.normal(100, 5, (32, 32, 4)).astype("float32"), np.diag([1.0, 1, 4, 1])))
    >>> round(found["noise_share"].value, 2)
    0.05
    """
    parts = parts_of(volume, slice_axis=slice_axis)
    rows = [_slice_measures(parts, index) for index in range(parts.values.shape[2])]
    found = {name: _over_slices(name, [row[name] for row in rows if name in row]) for name in MEASURES}
    found["fold_share"] = quality_fold.over_slices([row["fold_share"] for row in rows if "fold_share" in row])
    found["smear_share"] = _smear([row["smear_share"] for row in rows if "smear_share" in row])
    return {**found, **_across(parts, slice_gap_mm, volume, slice_axis)}


def parts_of(volume: Volume, *, slice_axis: int | None = None) -> Parts:
    """Body and air of an image in at most MOST_SLICES of its slices, the ends among them.

    Otsu's threshold on the smoothed slices, holes filled; air is a scalp's width away (a fat-suppressed scalp is
    darker than the threshold).
    """
    values = np.asarray(volume.array[0])
    axis = int(np.argmax(volume.spacing_mm)) if slice_axis is None else slice_axis
    values = np.moveaxis(values, axis, 2)
    chosen = np.unique(np.linspace(0, values.shape[2] - 1, min(values.shape[2], MOST_SLICES)).round().astype(int))
    kept = np.ascontiguousarray(values[..., chosen], dtype=np.float32)
    if not np.isfinite(kept).all():
        raise InputError("the image holds values that are not finite", remedy="mend or leave out the series")
    lowest = float(kept.min())
    if float(kept.max()) == lowest:
        raise InputError("the image is empty: one value everywhere", remedy="leave out the series")
    kept -= min(lowest, 0.0)
    smooth = ndimage.uniform_filter(kept, (3, 3, 1))
    threshold = otsu(smooth)
    body = np.stack([ndimage.binary_fill_holes(smooth[..., k] > threshold) for k in range(len(chosen))], axis=2)
    in_plane_mm = min(spacing for index, spacing in enumerate(volume.spacing_mm) if index != axis)
    margin = max(3, round(SCALP_MM / in_plane_mm))
    air = np.stack([_far(body[..., k], margin) for k in range(len(chosen))], axis=2)
    level = float(np.median(kept[body])) if body.any() else 0.0
    jumps = _jumps(values, threshold + min(lowest, 0.0)) / max(level, 1e-6)
    return Parts(kept, body, air, jumps, level, margin)


def _far(body: np.ndarray, margin: int) -> np.ndarray:
    """Where nothing of the body lies within so many voxels."""
    return ndimage.maximum_filter(body, 2 * margin + 1) == 0


def _jumps(values: np.ndarray, threshold: float) -> np.ndarray:
    """How far the body's mean brightness in each slice lies from that of its two neighbours."""
    means = []
    for k in range(values.shape[2]):
        picture = values[..., k]
        lit = picture > threshold
        if lit.sum() >= FEWEST_VOXELS:
            means.append(float(picture[lit].mean()))
    level = np.array(means)
    return np.abs(level[1:-1] - (level[:-2] + level[2:]) / 2) if len(level) > 2 else np.zeros(0)


def otsu(values: np.ndarray) -> float:
    """The threshold that parts dark from bright with the least spread within both (Otsu 1979)."""
    flat = values.ravel()[:: max(values.size // 200_000, 1)]
    top = float(np.percentile(flat, 99.5))
    counts, edges = np.histogram(np.clip(flat, None, top), bins=128)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    apart = np.where((above > 0) & np.isfinite(apart), apart, 0.0)
    # Of an image with hardly more than two values no bin parts better than the middle.
    if not apart.any():
        return float((flat.min() + flat.max()) / 2)
    best = np.flatnonzero(apart >= apart.max() * (1 - 1e-9))  # a gap between both: its middle
    return float(edges[1:][best].mean())


def _slice_measures(parts: Parts, index: int) -> dict[str, float]:
    """The measures of one slice; none of a slice with hardly any body in it."""
    image, body, air = parts.values[..., index], parts.body[..., index], parts.air[..., index]
    if body.sum() < FEWEST_VOXELS or min(image.shape) < 16:
        return {}
    level = float(np.median(image[body])) or 1.0
    sigma = noise_deviation(image, body, air)
    inner = _core(ndimage.binary_erosion(body, iterations=2), parts.margin)
    spread = float(np.subtract(*np.percentile(image[body], (90, 10))))
    found = {
        "noise_share": sigma / level,
        "contrast_to_noise": spread / sigma if sigma > 1e-6 * level else math.nan,
        "blur_voxels": blur_width(image, inner, sigma),
        "shading_share": shading(image, inner),
        "spike_share": spike_share(image),
        "clipped_share": float((image[body] >= parts.values.max()).mean()),
    }
    border = np.concatenate([body[0], body[-1], body[:, 0], body[:, -1]])
    found["border_share"] = float(border.mean())
    found["fold_share"] = quality_fold.fold_share(image, body)
    if air.sum() >= FEWEST_VOXELS and float(np.ptp(image[air])) > 0:
        found["ghost_share"] = ghost_share(image, body, air)
        found["smear_share"] = smear_power(image, body, parts.level)
    return found


def _core(inner: np.ndarray, margin: int) -> np.ndarray:
    """The body without its rim, where fat is bright whatever the coil and the step to air outweighs everything else;
    all of it where nothing would be left.
    """
    core = ndimage.binary_erosion(inner, iterations=margin)
    return core if core.sum() >= FEWEST_VOXELS else inner


def noise_deviation(image: np.ndarray, body: np.ndarray, air: np.ndarray) -> float:
    """Standard deviation of the noise in one slice.

    In air the magnitude of two noisy channels is Rayleigh distributed, whose median is sigma sqrt(2 ln 2); where
    the air is blank or missing, the second differences in the body's smoothest places tell (Immerkaer 1996).
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    flat = np.abs(ndimage.convolve(image, kernel, mode="nearest"))
    slope = ndimage.gaussian_gradient_magnitude(image, 1.5)
    calm = body & (slope <= np.percentile(slope[body], 30))
    # The median of |N(0, 36 sigma^2)| is 0.6745 x 6 sigma.
    inside = float(np.median(flat[calm])) / (0.6745 * 6) if calm.any() else 0.0
    if air.sum() < FEWEST_VOXELS or float((image[air] == image[air].min()).mean()) > 0.2:
        return inside
    # Ghosts raise the air's median, edges the differences: the smaller of the two is nearer to the noise.
    return min(float(np.median(image[air])) / RAYLEIGH_MEDIAN, inside) if inside else float(np.median(image[air]))


def blur_width(image: np.ndarray, inner: np.ndarray, sigma: float) -> float:
    """How wide an edge is, in voxels: from how differences grow between neighbours one and three voxels apart.

    For a Gaussian-blurred image the mean squared difference at distance d grows as 1 - exp(-d²/4w²); noise adds
    2 sigma² to each and is taken off. Larger is blurrier.
    """
    ratios = []
    for axis in (0, 1):
        near = _squared_difference(image, inner, axis, 1) - 2 * sigma**2
        far = _squared_difference(image, inner, axis, 3) - 2 * sigma**2
        if far > 0:
            ratios.append(min(max(near / far, 1e-3), 1.0))
    if not ratios:
        return math.nan
    ratio = float(np.mean(ratios))
    # 1/9 is the limit of an infinitely smooth image, 1 that of white noise.
    return math.sqrt(1 / max(-math.log(1 - min(max(ratio - 1 / 9, 1e-4), 0.88) / (8 / 9)), 1e-6)) / 2


def _squared_difference(image: np.ndarray, inner: np.ndarray, axis: int, step: int) -> float:
    ahead = np.take(image, range(step, image.shape[axis]), axis=axis)
    behind = np.take(image, range(image.shape[axis] - step), axis=axis)
    both = np.take(inner, range(step, image.shape[axis]), axis=axis) & np.take(
        inner, range(image.shape[axis] - step), axis=axis
    )
    return float(((ahead - behind)[both] ** 2).mean()) if both.any() else 0.0


def ghost_share(image: np.ndarray, body: np.ndarray, air: np.ndarray) -> float:
    """How much of the image comes back half a field of view away, the worse of both directions.

    In air, the slope of brightness on the image shifted by half: 0 without a ghost.
    """
    worst = 0.0
    for axis in (0, 1):
        shifted = np.roll(image, image.shape[axis] // 2, axis=axis)
        there = np.roll(body, image.shape[axis] // 2, axis=axis)
        lit, dark = air & there, air & ~there
        if lit.sum() < 50 or dark.sum() < 50:
            continue
        extra = float(image[lit].mean() - image[dark].mean())
        worst = max(worst, extra / max(float(shifted[lit].mean()), 1e-6))
    return worst


def smear_power(image: np.ndarray, body: np.ndarray, level: float) -> float:
    """Power that motion smears out to the edges of the field along one direction, as a share of the body's.

    Mean square at the two edges that face each other, beside the body, less that in the corners; the darker of the
    two edges (a nose or a neck may touch one), the worse of both directions. Can be below 0: noise.
    """
    free = ndimage.maximum_filter(body, 5) == 0
    widths = [max(3, round(EDGE_SHARE * size)) for size in body.shape]
    corners = [
        power
        for first in (slice(0, 2 * widths[0]), slice(-2 * widths[0], None))
        for second in (slice(0, 2 * widths[1]), slice(-2 * widths[1], None))
        if not math.isnan(power := _power(image[first, second], free[first, second], fewest=30))
    ]
    sides = []
    for axis in (0, 1):
        beside = free & body.any(axis=axis, keepdims=True)
        picture, there = np.moveaxis(image, axis, 0), np.moveaxis(beside, axis, 0)
        ends = (slice(0, widths[axis]), slice(-widths[axis], None))
        sides.append(min(_power(picture[end], there[end], fewest=50) for end in ends))
    known = [side for side in sides if not math.isnan(side)]
    return (max(known) - float(np.median(corners))) / level**2 if known and corners else math.nan


def _power(image: np.ndarray, there: np.ndarray, *, fewest: int) -> float:
    """The mean square where something is; not a number where that is too small."""
    return float((image[there].astype(np.float64) ** 2).mean()) if there.sum() >= fewest else math.nan


def shading(image: np.ndarray, inner: np.ndarray) -> float:
    """How unevenly the coil lights the body: spread of a quadratic surface through the logarithm of brightness.

    The surface follows the tissue that is commonest: three rounds of fitting leave out what is far from it.
    """
    if inner.sum() < FEWEST_VOXELS:
        return math.nan
    i, j = np.nonzero(inner)
    x, y = 2 * i / image.shape[0] - 1, 2 * j / image.shape[1] - 1
    table = np.stack([np.ones_like(x), x, y, x * y, x**2, y**2], axis=1)
    values = np.log(np.maximum(image[inner], 1e-3 * float(image[inner].max())))
    kept = np.abs(values - np.median(values)) < 1.0
    surface = np.full(len(values), float(np.median(values)))
    for _ in range(3):
        if kept.sum() < 50:
            return math.nan
        surface = table @ np.linalg.lstsq(table[kept], values[kept], rcond=None)[0]
        away = np.abs(values - surface)
        kept = away < 2.5 * max(float(np.median(away[kept])), 1e-3) / 0.6745
    return float(surface.std())


def spike_share(image: np.ndarray) -> float:
    """How much of the fine detail sits in lonely frequencies: a spike in k-space stands far out (herringbone).

    The share, among the frequencies away from the centre and from the axes (edges of the field leave their
    lines there), of the magnitude that exceeds six times its neighbourhood.
    """
    space = np.abs(np.fft.fftshift(np.fft.fft2(image - image.mean())))
    around = ndimage.median_filter(space, 7)
    i, j = np.indices(space.shape)
    middle = np.hypot(i - space.shape[0] // 2, j - space.shape[1] // 2)
    far = (
        (middle > min(space.shape) / 8) & (np.abs(i - space.shape[0] // 2) > 1) & (np.abs(j - space.shape[1] // 2) > 1)
    )
    if not far.any():
        return math.nan
    excess = np.where(space > 6 * around, space - around, 0.0)[far].sum()
    return float(excess / max(float(around[far].sum()), 1e-9))


def _across(parts: Parts, slice_gap_mm: float | None, volume: Volume, slice_axis: int | None) -> dict[str, Estimate]:
    """What only all slices together tell: coverage, jumps from slice to slice, gaps."""
    areas = parts.body.sum(axis=(0, 1)).astype(float)
    count = float(len(np.unique(parts.values)))
    found = {"distinct_values": Estimate(count, count, count, method="counted", n=parts.values.size)}
    if len(areas) < 3:
        found["end_slice_share"] = Estimate.undefined("fewer than three slices", n=len(areas))
        found["slice_jump_share"] = Estimate.undefined("fewer than three slices", n=len(areas))
    else:
        ends = max(areas[0], areas[-1]) / max(float(areas.max()), 1.0)
        found["end_slice_share"] = Estimate(float(ends), method="body area of an end slice over the largest", n=2)
        found["slice_jump_share"] = _over_slices("slice_jump_share", parts.jumps.tolist())
    if slice_gap_mm is None:
        found["slice_gap_share"] = Estimate.undefined("the header states no gap", n=len(areas))
    else:
        axis = int(np.argmax(volume.spacing_mm)) if slice_axis is None else slice_axis
        share = max(slice_gap_mm, 0.0) / volume.spacing_mm[axis]
        found["slice_gap_share"] = Estimate(share, share, share, method="gap over slice distance", n=len(areas))
    return found


def _smear(powers: list[float]) -> Estimate:
    """The amplitude that motion smears over the air, from the three fifths of the slices with least of it.

    Power of noise and smear add, so powers are averaged before the root is taken; in the slices left out something
    else lies at the edge of the field (neck, ears, a dark scalp). The interval draws slices.
    """
    kept = np.array([power for power in powers if math.isfinite(power)])
    if not len(kept):
        return Estimate.undefined("no air around the body", n=0, method=SMEAR_METHOD)
    drawn = np.random.default_rng(0).integers(len(kept), size=(400, len(kept)))
    low, high = np.quantile(_calm(kept[drawn]), (0.025, 0.975)) if len(kept) > 2 else (math.nan, math.nan)
    note = "" if len(kept) > 2 else "too few slices for an interval"
    return Estimate(float(_calm(kept[None])[0]), float(low), float(high), method=SMEAR_METHOD, n=len(kept), note=note)


def _calm(powers: np.ndarray) -> np.ndarray:
    """Rows of powers to the root of the mean of the smallest of each."""
    count = max(1, math.ceil(CALM_SLICES * powers.shape[1]))
    return np.sqrt(np.sort(powers, axis=1)[:, :count].mean(axis=1).clip(min=0))


def _over_slices(name: str, values: list[float]) -> Estimate:
    """The median over slices; its interval by order statistics (Conover 1999, section 3.2)."""
    kept = sorted(value for value in values if math.isfinite(value))
    if not kept:
        reason = "no air around the body" if name == "ghost_share" else "no slice shows enough of the body"
        return Estimate.undefined(reason, n=0, method="median of slices")
    count = len(kept)
    low = int(stats.binom.ppf(0.025, count, 0.5))
    bounded = low > 0 and count - low <= count
    return Estimate(
        float(np.median(kept)),
        kept[low - 1] if bounded else math.nan,
        kept[count - low] if bounded else math.nan,
        method="median of slices, order statistics",
        n=count,
        note="" if bounded else "too few slices for an interval",
    )
