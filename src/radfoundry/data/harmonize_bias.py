"""Taking out the slow shading of the coil with N4, on a coarse copy of the image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from radfoundry.data.harmonize import Arrays, checked
from radfoundry.data.intensity import otsu_threshold, sample
from radfoundry.records import InputError
from radfoundry.volume import Volume

FEWEST_VOXELS = 8  # along an axis of the coarse copy; shorter axes are not made coarser
LEVELS = 3


@dataclass(frozen=True)
class BiasField:
    """N4: the image is divided by the smooth field that makes its histogram sharpest; mean tissue brightness stays."""

    learns: ClassVar[bool] = False
    coarse_mm: float = 4.0
    turns: int = 30
    distance_mm: float = 200.0

    @classmethod
    def fit(
        cls, images: Iterable[Volume], *, coarse_mm: float = 4.0, turns: int = 30, distance_mm: float = 200.0
    ) -> Self:
        """Nothing is learned from other images.

        `coarse_mm`: voxel size the field is found on · `turns`: at each of three resolutions · `distance_mm`: between
        control points at the first one, halved at each next. Tustison et al. 2010 (IEEE Trans. Med. Imaging 29:1310).
        """
        del images
        if not (coarse_mm > 0 and turns > 0 and distance_mm > 0):
            raise InputError("coarse_mm, turns and distance_mm have to be positive")
        return cls(float(coarse_mm), int(turns), float(distance_mm))

    def apply(self, volume: Volume, *, mask: np.ndarray | None = None) -> Volume:
        """The image without its shading, channels one by one; a flat image stays. Refuses negative values."""
        checked(volume, mask)
        array = volume.array.astype(np.float32)
        if float(array.min()) < 0:
            raise InputError(
                "N4 takes a logarithm, and the image has negative values",
                remedy="put n4 before any method that changes grey values",
                finding="negative",
            )
        for channel in range(len(array)):
            array[channel] = self._channel(array[channel], volume.spacing_mm, mask)
        return replace(volume, array=array, units=volume.units)

    def field(self, volume: Volume, *, mask: np.ndarray | None = None) -> np.ndarray:
        """The shading `(I, J, K)` that would be divided out of the first channel, mean 1 in tissue."""
        array = volume.array[0].astype(np.float32)
        corrected = self._channel(array, volume.spacing_mm, mask)
        return np.divide(array, corrected, out=np.ones_like(array), where=corrected > 0)

    def _channel(self, array: np.ndarray, spacing_mm: tuple[float, ...], mask: np.ndarray | None) -> np.ndarray:
        tissue = array > otsu_threshold(sample(array)) if mask is None else mask.astype(bool) & (array > 0)
        if not tissue.any() or float(array[tissue].std()) == 0:
            return array
        gain = np.exp(-self._log_field(array, tissue, spacing_mm))
        gain *= array[tissue].mean() / (array * gain)[tissue].mean()
        return (array * gain).astype(np.float32)

    def _log_field(self, array: np.ndarray, tissue: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
        import SimpleITK as sitk

        flat = array.shape[2] == 1
        axes = 2 if flat else 3
        full = sitk.GetImageFromArray(array[..., 0].T if flat else array.transpose(2, 1, 0))
        inside = sitk.GetImageFromArray((tissue[..., 0].T if flat else tissue.transpose(2, 1, 0)).astype(np.uint8))
        for image in (full, inside):
            image.SetSpacing([float(step) for step in spacing_mm[:axes]])
        shrink = [
            max(1, min(int(self.coarse_mm // step), size // FEWEST_VOXELS))
            for step, size in zip(spacing_mm, array.shape, strict=True)
        ][:axes]
        small, seen = sitk.Shrink(full, shrink), sitk.Shrink(inside, shrink)
        if not sitk.GetArrayViewFromImage(seen).any():
            return np.zeros_like(array)
        finder = sitk.N4BiasFieldCorrectionImageFilter()
        finder.SetNumberOfThreads(1)  # sums in several threads differ from run to run
        finder.SetMaximumNumberOfIterations([self.turns] * LEVELS)
        reach = [step * size for step, size in zip(spacing_mm, array.shape, strict=True)][:axes]
        # A spline of order 3 with one piece has four control points.
        finder.SetNumberOfControlPoints([3 + max(1, round(length / self.distance_mm)) for length in reach])
        finder.Execute(small, seen)
        found = sitk.GetArrayFromImage(finder.GetLogBiasFieldAsImage(full))
        return found.T[..., None] if flat else found.transpose(2, 1, 0)

    def record(self) -> dict[str, Any]:
        """The three settings."""
        return {"coarse_mm": self.coarse_mm, "turns": self.turns, "distance_mm": self.distance_mm}

    def arrays(self) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}

    @classmethod
    def restored(cls, record: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `record` and `arrays`."""
        del arrays
        return cls(float(record["coarse_mm"]), int(record["turns"]), float(record["distance_mm"]))
