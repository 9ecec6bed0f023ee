"""The head: ICBM-152 tissue maps with skull, scalp and muscle around them, as fractions on a 2 mm grid."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from radfoundry.records import InputError
from radfoundry.simulate.tissues import NAMES

SPACING_MM = 2.0
TEMPLATE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
# Outside the brain's hull, in mm: fluid, inner table, marrow, outer table, muscle (low, at the sides), fat, skin.
FLUID_MM, SKULL_MM, SCALP_MM = 2.5, 9.0, 16.0


@dataclass(frozen=True, eq=False)
class Head:
    """Tissue fractions `(tissues, I, J, K)` in the order of `tissues.NAMES`, on a grid with an affine to RAS mm.

    `ventricle_mm` is the distance to the ventricles, positive outside; `depth_mm` the distance below the
    brain's hull, positive inside: both steer how a subject differs from the template.
    """

    fractions: torch.Tensor
    affine: np.ndarray
    ventricle_mm: torch.Tensor
    depth_mm: torch.Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid shape."""
        _, i, j, k = self.fractions.shape
        return (i, j, k)


def template_file(tissue: str) -> Path:
    """The path of a template map inside the nilearn package, found without importing it (that takes seconds)."""
    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise InputError("the head template is missing", remedy="pip install nilearn", finding="missing-file")
    path = Path(spec.origin).parent / "datasets" / "data" / TEMPLATE.format(tissue)
    if not path.is_file():
        raise InputError(f"nilearn holds no {path.name}", remedy="install nilearn 0.11 to 0.14", finding="missing-file")
    return path


@functools.lru_cache(maxsize=1)
def head() -> Head:
    """The template head, built once a process."""
    from scipy import ndimage

    grey, affine = _map("gm")
    white, _ = _map("wm")
    inside = ndimage.binary_fill_holes(ndimage.binary_closing((grey + white) > 0.15, iterations=4))
    inside = np.asarray(inside)
    outside_mm = ndimage.distance_transform_edt(~inside) * SPACING_MM
    depth_mm = ndimage.distance_transform_edt(inside) * SPACING_MM
    total = np.maximum(grey + white, 1.0)
    grey, white = grey / total * inside, white / total * inside
    csf = np.where(inside, 1 - grey - white, _band(outside_mm, 0.0, FLUID_MM))
    shells = _shells(outside_mm, affine)
    used = grey + white + csf + sum(shells.values())
    maps = {"grey": grey, "white": white, "csf": csf, **shells}
    fractions = [maps.get(name, np.zeros_like(grey)) / np.maximum(used, 1.0) for name in NAMES]
    ventricles = _ventricles(csf, depth_mm, affine)
    ventricle_mm = ndimage.distance_transform_edt(~ventricles) * SPACING_MM
    return Head(
        torch.from_numpy(np.stack(fractions).astype(np.float32)),
        affine,
        torch.from_numpy(ventricle_mm.astype(np.float32)),
        torch.from_numpy(depth_mm.astype(np.float32)),
    )


def _map(tissue: str) -> tuple[np.ndarray, np.ndarray]:
    """One template map as fractions at 2 mm, with room around the brain for skull and scalp."""
    from radfoundry.data.nifti import read_nifti

    volume = read_nifti(template_file(tissue)).volume.reorient("RAS")
    values = volume.array[0].astype(np.float32) / 255
    trimmed = values[: values.shape[0] // 2 * 2, : values.shape[1] // 2 * 2, : values.shape[2] // 2 * 2]
    i, j, k = (n // 2 for n in trimmed.shape)
    halved = trimmed.reshape(i, 2, j, 2, k, 2).mean(axis=(1, 3, 5))
    margin = 8
    affine = volume.affine.copy()
    affine[:3, :3] *= 2
    affine[:3, 3] += 0.5 - margin * SPACING_MM
    return np.pad(halved, margin), affine


def _band(distance_mm: np.ndarray, low: float, high: float) -> np.ndarray:
    """1 between two distances, 0 outside, with edges one voxel soft."""
    soft = SPACING_MM / 2
    rising = np.clip((distance_mm - low) / soft + 0.5, 0, 1) if low > 0 else (distance_mm > 0).astype(float)
    return rising * np.clip((high - distance_mm) / soft + 0.5, 0, 1)


def _shells(outside_mm: np.ndarray, affine: np.ndarray) -> dict[str, np.ndarray]:
    """Skull and scalp by distance from the brain; muscle at the temples and the neck instead of fat."""
    i, j, k = np.indices(outside_mm.shape)
    x, y, z = (axis * SPACING_MM + affine[row, 3] for row, axis in enumerate((i, j, k)))
    muscular = np.clip((np.abs(x) - 45) / 20, 0, 1) * np.clip((10 - z) / 30, 0, 1) + np.clip((-35 - z) / 15, 0, 1)
    muscular = np.clip(muscular, 0, 1) * (y < 65)
    marrow = _band(outside_mm, FLUID_MM + 2.2, SKULL_MM - 2.2)
    bone = _band(outside_mm, FLUID_MM, SKULL_MM) - marrow * 0.8
    soft = _band(outside_mm, SKULL_MM, SCALP_MM - 2.0)
    skin = _band(outside_mm, SCALP_MM - 2.0, SCALP_MM)
    return {
        "bone": np.clip(bone, 0, 1),
        "fat": marrow * 0.5 + soft * (1 - muscular) * 0.9,
        "muscle": soft * muscular + skin * 0.8 + soft * (1 - muscular) * 0.1,
    }


def _ventricles(csf: np.ndarray, depth_mm: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Fluid deep inside the brain near its middle: the lateral and third ventricles."""
    i, j, k = np.indices(csf.shape)
    x, y, z = (axis * SPACING_MM + affine[row, 3] for row, axis in enumerate((i, j, k)))
    middle = (np.abs(x) < 40) & (y > -60) & (y < 40) & (z > -15) & (z < 35)
    return (csf > 0.5) & (depth_mm > 22) & middle
