"""A small set of classic measurements: how bright an image's foreground is, how large it is and of what shape."""

from __future__ import annotations

import numpy as np

from radfoundry.volume import Volume

MOST_VOXELS = 128
NAMES = (
    *("mean", "spread", "skewness", "kurtosis", "p10", "median", "p90", "range", "entropy", "uniformity"),
    *("size", "surface", "compactness", "longest", "middle", "shortest", "elongation", "flatness", "filled"),
)


def measured(volume: Volume) -> np.ndarray:
    """(19,) measurements of the foreground, in the order of NAMES; sizes in mm and their powers.

    First order and shape after the Image Biomarker Standardisation Initiative (Zwanenburg et al., Radiology 2020;
    sections 3.1 and 3.3). The region is not a lesion but whatever is brighter than Otsu's threshold, since no mask is
    given. Images with more than 128 voxels along an axis are thinned first.

    >>> ball = (np.sum((np.indices((20, 20, 20)) - 9.5) ** 2, axis=0) < 64).astype(float)
    >>> found = dict(zip(NAMES, measured(Volume.of(ball, np.diag([2.0, 2.0, 2.0, 1.0]))), strict=True))
    >>> round(float(found["elongation"]), 1), abs(float(np.exp(found["size"])) / (4.19 * 16**3) - 1) < 0.05
    (1.0, True)
    """
    array = volume.array.astype(float).mean(axis=0)
    steps = [max(1, -(-n // MOST_VOXELS)) for n in array.shape]
    array = array[:: steps[0], :: steps[1], :: steps[2]]
    spacing = np.array(volume.spacing_mm) * steps
    inside = array > threshold(array)
    if inside.sum() < 8:
        inside = np.ones(array.shape, bool)
    return np.nan_to_num(np.concatenate([_brightness(array[inside]), _shape(inside, spacing)]))


def threshold(array: np.ndarray) -> float:
    """The grey value that best parts dark from bright (Otsu, IEEE Trans SMC 1979;9:62).

    >>> 1 < threshold(np.array([0.0, 1.0, 0.5, 9.0, 10.0, 9.5])) < 9
    True
    """
    counts, edges = np.histogram(array, bins=128)
    middle = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts).astype(float)
    above = below[-1] - below
    total = np.cumsum(counts * middle)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = below * above * (total / below - (total[-1] - total) / above) ** 2
    best = np.nan_to_num(apart)
    # Between two separate humps every border is as good: the middle one is taken.
    return float(np.mean(edges[1:][best >= best.max() * (1 - 1e-9)]))


def _brightness(values: np.ndarray) -> np.ndarray:
    mean, spread = values.mean(), max(float(values.std()), 1e-9)
    centred = (values - mean) / spread
    low, middle, high = np.percentile(values, (10, 50, 90))
    shares = np.histogram(values, bins=32)[0] / len(values)
    filled = shares[shares > 0]
    entropy, uniformity = -(filled * np.log2(filled)).sum(), (shares**2).sum()
    moments = [(centred**3).mean(), (centred**4).mean() - 3]
    return np.array([mean, spread, *moments, low, middle, high, np.ptp(values), entropy, uniformity])


def _shape(inside: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    flat = inside.shape[2] == 1
    size = inside.sum() * float(np.prod(spacing[:2] if flat else spacing))
    surface = 0.0
    for axis in range(2 if flat else 3):
        faces = np.abs(np.diff(np.pad(inside, 1).astype(np.int8), axis=axis)).sum()
        surface += faces * float(np.prod(np.delete(spacing[:2] if flat else spacing, axis)))
    places = np.argwhere(inside) * spacing
    lengths = np.sqrt(np.maximum(np.sort(np.linalg.eigvalsh(np.cov(places.T)))[::-1], 0))
    longest, middle, shortest = (4 * float(value) for value in lengths)
    power = 2.0 if flat else 1.5
    box = np.ptp(np.argwhere(inside), axis=0) + 1
    filled = inside.sum() / float(np.prod(box))
    elongation, flatness = middle / max(longest, 1e-9), shortest / max(longest, 1e-9)
    compactness = size / max(surface, 1e-9) ** power
    return np.array(
        [np.log(size), np.log(surface), compactness, longest, middle, shortest, elongation, flatness, filled]
    )
