"""Swapping the slow waves of an image: their amplitudes become those of the training images, or a mix of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from radfoundry.data.harmonize import Arrays, checked, enough
from radfoundry.data.intensity import percentile, zscore
from radfoundry.records import InputError
from radfoundry.volume import Volume

FINEST_MM, MOST_WAVES = 15.0, 24
RATIO = 4.0  # an amplitude is changed by no more than this factor: near zero it is noise
SMALLEST = 1e-6


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Waves longer than `wavelength_mm` get the average amplitude of the training images and keep their own phase.

    `share` 1 replaces, 0 changes nothing, between them amplitudes are mixed on a logarithmic scale. `box_mm` is the
    field of view the waves are counted in, `level` `(a, b, c)` the mean logarithm of their amplitudes.
    """

    learns: ClassVar[bool] = True
    wavelength_mm: float
    share: float
    box_mm: tuple[float, float, float]
    level: np.ndarray
    images: int

    @classmethod
    def fit(cls, images: Iterable[Volume], *, wavelength_mm: float = 60.0, share: float = 1.0) -> Self:
        """Learn the average amplitude of the slow waves; goes over the images twice.

        Yang and Soatto 2020 (CVPR, "FDA") swap squares of the spectrum between two images; here all waves longer
        than a length in mm, so that voxel sizes do not matter, and the average of many images instead of one. Refuses
        fewer than three images, a share outside 0 to 1 and wavelengths under 15 mm, which are anatomy.
        """
        if not wavelength_mm >= FINEST_MM or not 0 <= share <= 1:
            raise InputError(
                f"wavelength {wavelength_mm} mm and share {share}", remedy="give at least 15 mm and 0 to 1"
            )
        extents = [_extent_mm(volume) for volume in images]
        enough(len(extents), "spectrum")
        box = tuple(float(side) for side in np.max(extents, axis=0))
        reach = _reach(box, wavelength_mm)
        total = np.zeros([2 * n + 1 for n in reach])
        for volume in images:
            waves = _waves(_prepared(volume), box, reach)[0]
            total += np.log(np.abs(waves).mean(axis=0) + SMALLEST)
        return cls(float(wavelength_mm), float(share), (box[0], box[1], box[2]), total / len(extents), len(extents))

    def apply(self, volume: Volume, *, mask: np.ndarray | None = None) -> Volume:
        """The image with its slow waves changed, then in deviations from its tissue; a flat image becomes 0.

        The waves run through air as well: what a swap adds there is part of the method.
        """
        checked(volume, mask)
        turned = _prepared(volume)
        reach = ((self.level.shape[0] - 1) // 2, (self.level.shape[1] - 1) // 2, (self.level.shape[2] - 1) // 2)
        waves, tables = _waves(turned, self.box_mm, reach)
        wanted = np.exp(self.share * (self.level - np.log(np.abs(waves) + SMALLEST)))
        wanted = np.where(_longer(self.level.shape, self.box_mm, self.wavelength_mm), wanted, 1.0)
        change = waves * (np.clip(wanted, 1 / RATIO, RATIO) - 1)
        added = np.einsum("cabz,ai,bj,zk->cijk", change, *(table.conj() for table in tables), optimize=True).real
        changed = replace(turned, array=turned.array + added.astype(np.float32)).reorient(volume.orientation)
        # Directions of an oblique image survive the turn and back, rounding of its affine does not matter here.
        return zscore(replace(volume, array=np.ascontiguousarray(changed.array), units="relative"), mask=mask)

    def record(self) -> dict[str, Any]:
        """Settings, the field of view, and from how many images."""
        names = ("wavelength_mm", "share", "box_mm", "images")
        return {name: getattr(self, name) for name in names}

    def arrays(self) -> dict[str, np.ndarray]:
        """The learned amplitudes."""
        return {"level": self.level}

    @classmethod
    def restored(cls, record: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `record` and `arrays`."""
        x, y, z = (float(side) for side in record["box_mm"])
        return cls(
            float(record["wavelength_mm"]), float(record["share"]), (x, y, z), arrays["level"], int(record["images"])
        )


def _prepared(volume: Volume) -> Volume:
    """Air near 0 and the brightest tissue near 1, axes right, front, up."""
    checked(volume, None)
    return percentile(volume, clip=False).reorient("RAS")


def _extent_mm(volume: Volume) -> list[float]:
    turned = volume.reorient("RAS")
    return [size * step for size, step in zip(turned.shape, turned.spacing_mm, strict=True)]


def _reach(box_mm: tuple[float, ...], wavelength_mm: float) -> tuple[int, int, int]:
    x, y, z = (min(MOST_WAVES, int(side / wavelength_mm + 1e-9)) for side in box_mm)
    return (x, y, z)


def _longer(shape: tuple[int, ...], box_mm: tuple[float, ...], wavelength_mm: float) -> np.ndarray:
    """Which waves `(a, b, c)` are at least so long; all others stay as they are."""
    axes = [(np.arange(n) - (n - 1) // 2) / side for n, side in zip(shape, box_mm, strict=True)]
    squared = axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2
    return squared <= (1 / wavelength_mm) ** 2 + 1e-15


def _waves(
    volume: Volume, box_mm: tuple[float, ...], reach: tuple[int, int, int]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Fourier coefficients `(C, a, b, c)` of the slow waves, air all around, with the tables they were made by.

    Only the few waves asked for are computed, one axis after the other, so that grids of any size and spacing share
    them; on a grid that fills the box they equal those of the fast Fourier transform.
    """
    tables = []
    for size, step, side, most in zip(volume.shape, volume.spacing_mm, box_mm, reach, strict=True):
        place = np.arange(size) * step / side
        tables.append(np.exp(-2j * np.pi * np.outer(np.arange(-most, most + 1), place)).astype(np.complex64))
    share = float(np.prod([step / side for step, side in zip(volume.spacing_mm, box_mm, strict=True)]))
    found = np.einsum("cijk,ai,bj,zk->cabz", volume.array, *tables, optimize=True)
    return found * share, tables
