"""Harmonising grey values: a z-score in tissue, Nyul's landmarks, histogram matching, and a stripe around the peak."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from scipy import ndimage

from radfoundry.data.harmonize import Arrays, checked, enough, tissue_values
from radfoundry.data.intensity import zscore
from radfoundry.records import InputError
from radfoundry.volume import Volume

DECILES = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)
PEAK_BINS, PEAK_SMOOTHING_BINS = 256, 4.0
SHARE_OF_A_PEAK = 0.1  # of the highest one; smaller humps are noise


@dataclass(frozen=True)
class TissueScale:
    """Mean 0 and deviation 1 over the tissue of each image; nothing is learned from others."""

    learns: ClassVar[bool] = False

    @classmethod
    def fit(cls, images: Iterable[Volume]) -> Self:
        """Nothing to learn; the images are not looked at."""
        del images
        return cls()

    def apply(self, volume: Volume, *, mask: np.ndarray | None = None) -> Volume:
        """The image in deviations from the mean of its tissue; a flat image becomes 0."""
        checked(volume, mask)
        return zscore(volume, mask=mask)

    def record(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def arrays(self) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}

    @classmethod
    def restored(cls, record: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `record` and `arrays`."""
        del record, arrays
        return cls()


@dataclass(frozen=True)
class Landmarks:
    """Percentiles of the tissue land where they lie on average over the training images.

    `percentiles` are the landmarks, `standard` their places on a scale where the first is 0 and the last 1, before
    averaging. Between landmarks the map is straight; beyond, its end pieces go on.
    """

    learns: ClassVar[bool] = True
    percentiles: tuple[float, ...]
    standard: tuple[float, ...]
    images: int

    @classmethod
    def _learned(cls, images: Iterable[Volume], percentiles: tuple[float, ...]) -> Self:
        rows = [_on_unit_scale(np.percentile(tissue_values(volume), percentiles)) for volume in images]
        enough(len(rows), cls.__name__.lower())
        return cls(percentiles, tuple(np.mean(rows, axis=0).tolist()), len(rows))

    def apply(self, volume: Volume, *, mask: np.ndarray | None = None) -> Volume:
        """The image on the standard scale (about 0 to 1 in tissue); a flat image lands in the middle of it."""
        own = np.percentile(tissue_values(volume, mask), self.percentiles)
        return replace(volume, array=_straightened(volume.array, own, np.array(self.standard)), units="relative")

    def record(self) -> dict[str, Any]:
        """Percentiles, the standard scale, and from how many images."""
        return {"percentiles": list(self.percentiles), "standard": list(self.standard), "images": self.images}

    def arrays(self) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}

    @classmethod
    def restored(cls, record: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `record` and `arrays`."""
        del arrays
        return cls(tuple(record["percentiles"]), tuple(record["standard"]), int(record["images"]))


@dataclass(frozen=True)
class Nyul(Landmarks):
    """Nyul's standard scale: the two ends and the deciles of the tissue are the landmarks."""

    @classmethod
    def fit(cls, images: Iterable[Volume], *, low: float = 1.0, high: float = 99.0) -> Self:
        """Learn the standard scale; `low` and `high` are the end landmarks in percent, the deciles lie between.

        Nyul, Udupa and Zhang 2000 (IEEE Trans. Med. Imaging 19:143). Refuses fewer than three images and flat ones.
        """
        if not 0 <= low < DECILES[1] or not DECILES[-2] < high <= 100:
            raise InputError(
                f"end landmarks {low} and {high} do not enclose the deciles", remedy="for example 1 and 99"
            )
        return cls._learned(images, (low, *DECILES[1:-1], high))


@dataclass(frozen=True)
class Histogram(Landmarks):
    """Histogram matching: the whole distribution of tissue lands on the average one of the training images."""

    @classmethod
    def fit(cls, images: Iterable[Volume], *, points: int = 199) -> Self:
        """Learn the average distribution at `points` percentiles, as the mean of quantiles (Wasserstein barycentre).

        Refuses fewer than three images, flat ones, and fewer than eleven points.
        """
        if points < len(DECILES):
            raise InputError(f"{points} points do not describe a histogram", remedy=f"give at least {len(DECILES)}")
        return cls._learned(images, tuple(np.linspace(0.5, 99.5, points).tolist()))


@dataclass(frozen=True)
class Stripe:
    """A narrow stripe of grey values around the peak of the tissue becomes 0 with deviation 1, as in WhiteStripe."""

    learns: ClassVar[bool] = False
    peak: str = "largest"
    width: float = 0.05

    @classmethod
    def fit(
        cls, images: Iterable[Volume], *, peak: Literal["largest", "brightest"] = "largest", width: float = 0.05
    ) -> Self:
        """Nothing is learned from other images; `peak` says which one, `width` the half-width in share of the tissue.

        In T1-weighted heads the brightest peak is white matter, in T2-weighted ones the largest. Shinohara et al.
        2014 (NeuroImage: Clinical 6:9). Refuses a width that is not between 0 and 0.5.
        """
        del images
        if peak not in ("largest", "brightest") or not 0 < width < 0.5:
            raise InputError(
                f"no stripe {peak!r} of half-width {width}", remedy="peak largest or brightest, width 0.05"
            )
        return cls(peak, width)

    def apply(self, volume: Volume, *, mask: np.ndarray | None = None) -> Volume:
        """The image in deviations from the stripe; a flat image becomes 0."""
        values = np.sort(tissue_values(volume, mask))
        place = np.searchsorted(values, self._mode(values)) / len(values)
        first, last = np.quantile(values, [max(0.0, place - self.width), min(1.0, place + self.width)])
        stripe = values[(values >= first) & (values <= last)]
        middle, spread = float(stripe.mean()), float(stripe.std())
        array = volume.array.astype(np.float32)
        array -= np.float32(middle)
        array *= np.float32(1 / spread if spread > 0 else 0.0)
        return replace(volume, array=array, units="relative")

    def _mode(self, values: np.ndarray) -> float:
        low, high = np.percentile(values, [0.1, 99.9])
        if not high > low:
            return float(low)
        counts, edges = np.histogram(values, bins=PEAK_BINS, range=(float(low), float(high)))
        smooth = ndimage.gaussian_filter1d(counts.astype(float), PEAK_SMOOTHING_BINS, mode="constant")
        padded = np.concatenate([[-1.0], smooth, [-1.0]])
        peaks = np.flatnonzero((smooth >= padded[:-2]) & (smooth > padded[2:]))
        peaks = peaks[smooth[peaks] >= SHARE_OF_A_PEAK * smooth.max()]
        chosen = peaks[-1] if self.peak == "brightest" else peaks[np.argmax(smooth[peaks])]
        return float((edges[chosen] + edges[chosen + 1]) / 2)

    def record(self) -> dict[str, Any]:
        """The two settings."""
        return {"peak": self.peak, "width": self.width}

    def arrays(self) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}

    @classmethod
    def restored(cls, record: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `record` and `arrays`."""
        del arrays
        return cls(str(record["peak"]), float(record["width"]))


def _on_unit_scale(landmarks: np.ndarray) -> np.ndarray:
    width = float(landmarks[-1] - landmarks[0])
    if not width > 0:
        raise InputError("a training image is flat: all tissue has one value", remedy="leave it out", finding="flat")
    return (landmarks - landmarks[0]) / width


def _straightened(array: np.ndarray, own: np.ndarray, standard: np.ndarray) -> np.ndarray:
    """Piecewise straight map from `own` to `standard`, end pieces prolonged; float32."""
    distinct = np.concatenate([[True], np.diff(own) > 0])
    if distinct.sum() < 2:
        return np.full(array.shape, standard[len(standard) // 2], dtype=np.float32)
    # Landmarks that coincide (few grey values) are one landmark, at the mean of its places.
    group = np.cumsum(distinct) - 1
    x = own[distinct]
    y = np.bincount(group, weights=standard) / np.bincount(group)
    found = np.interp(array, x, y).astype(np.float32)
    for end, inner, beyond in ((0, 1, array < x[0]), (-1, -2, array > x[-1])):
        slope = (y[end] - y[inner]) / (x[end] - x[inner])
        np.copyto(found, (y[end] + slope * (array - x[end])).astype(np.float32), where=beyond)
    return found
