"""The head: ICBM-152 tissue maps with fluid, skull, scalp, eyes, face and neck around them."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from radfoundry.records import InputError

TEMPLATE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
TISSUES = ("grey", "white", "csf", "deep-grey", "bone", "marrow", "fat", "muscle", "skin", "vitreous")
# Room around the template, in mm: left, right, back, front, below, above.
MARGIN_MM = ((14, 14), (16, 24), (20, 16))
# Distance outside the brain's hull, in mm: dura and fluid, inner table, marrow, outer table, then the scalp.
FLUID_MM, SKULL_MM = 2.0, 8.5
EYES_MM = ((-32.0, 62.0, -38.0), (32.0, 62.0, -38.0))
EYE_RADIUS_MM = 12.0


@dataclass(frozen=True, eq=False)
class HeadTemplate:
    """Tissue fractions `(tissues, I, J, K)` in the order of TISSUES, what is left is air; affine to RAS mm.

    `push` `(3, I, J, K)` points away from the ventricles, longest at their wall (1) and fading over a centimetre;
    `depth_mm` is the distance below the brain's hull; `skull_mm` the distance outside it.
    """

    fractions: torch.Tensor
    affine: np.ndarray
    push: torch.Tensor
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


@functools.lru_cache(maxsize=2)
def head(spacing_mm: float = 2.0) -> HeadTemplate:
    """The template head at 1 or 2 mm, built once a process."""
    from scipy import ndimage

    factor = round(spacing_mm)
    if factor != spacing_mm or factor not in (1, 2):
        raise InputError(f"no head at {spacing_mm} mm", remedy="choose 1 or 2 mm")
    grey, affine = template_map("gm", factor)
    white, _ = template_map("wm", factor)
    hull = np.asarray(template_map("t1", factor)[0] > 0.02)
    hull = np.asarray(ndimage.binary_fill_holes(ndimage.binary_closing(hull, iterations=max(2, 4 // factor))))
    total = np.maximum(grey + white, 1.0)
    grey, white = grey / total * hull, white / total * hull
    x, y, z = axes_mm(hull.shape, affine)
    depth_mm = ndimage.distance_transform_edt(hull).astype(np.float32) * spacing_mm
    # A smoothed hull keeps the skull from following every gyrus.
    smooth = ndimage.gaussian_filter(hull.astype(np.float32), 5 / spacing_mm) > 0.5
    outside_mm = ndimage.distance_transform_edt(~(smooth | hull)).astype(np.float32) * spacing_mm
    deep = (np.abs(x) < 33) & (y > -36) & (y < 28) & (z > -12) & (z < 24) & (depth_mm > 26)
    csf = np.clip(np.where(hull, 1 - grey - white, band(outside_mm, -1.0, FLUID_MM, spacing_mm)), 0, 1)
    brain = {"grey": grey * ~deep, "white": white, "csf": csf, "deep-grey": grey * deep}
    maps = _around(outside_mm, (x, y, z), spacing_mm)
    taken = sum(brain.values())
    maps = {name: value * np.clip(1 - taken, 0, 1) for name, value in maps.items()}
    stacked = [{**maps, **brain}.get(name, np.zeros_like(grey)).astype(np.float32) for name in TISSUES]
    ventricles = (csf > 0.5) & (depth_mm > 22) & (np.abs(x) < 40) & (y > -60) & (y < 40) & (z > -15) & (z < 35)
    return HeadTemplate(
        torch.from_numpy(np.stack(stacked)), affine, _push(ventricles, spacing_mm), torch.from_numpy(depth_mm)
    )


def template_map(tissue: str, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """One template map as fractions, averaged over `factor` voxels, with room around the brain for the head."""
    from radfoundry.data.nifti import read_nifti

    volume = read_nifti(template_file(tissue)).volume.reorient("RAS")
    values = volume.array[0].astype(np.float32) / 255
    i, j, k = (n // factor for n in values.shape)
    values = values[: i * factor, : j * factor, : k * factor]
    values = values.reshape(i, factor, j, factor, k, factor).mean(axis=(1, 3, 5))
    margin = [(low // factor, high // factor) for low, high in MARGIN_MM]
    affine = volume.affine.copy()
    affine[:3, :3] *= factor
    affine[:3, 3] += (factor - 1) / 2 - np.array([low * factor for low, _ in margin])
    return np.pad(values, margin), affine


def axes_mm(shape: tuple[int, ...], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three coordinates of a grid along RAS axes, as open arrays that broadcast."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    x, y, z = ((axis * affine[row, row] + affine[row, 3]).astype(np.float32) for row, axis in enumerate((i, j, k)))
    return x, y, z


def band(distance_mm: np.ndarray, low: float, high: float, spacing_mm: float) -> np.ndarray:
    """1 between two distances and 0 outside, with edges one voxel soft."""
    rising = np.clip((distance_mm - low) / spacing_mm + 0.5, 0, 1)
    return rising * np.clip((high - distance_mm) / spacing_mm + 0.5, 0, 1)


def ball(
    points: tuple[np.ndarray, np.ndarray, np.ndarray], centre: tuple[float, float, float], radii: tuple[float, ...]
) -> np.ndarray:
    """Signed distance in mm to an ellipsoid, roughly: negative inside."""
    scaled = sum(((axis - c) / r) ** 2 for axis, c, r in zip(points, centre, radii, strict=True))
    return (np.sqrt(np.asarray(scaled)) - 1) * min(radii)


def _inside(distance_mm: np.ndarray, spacing_mm: float) -> np.ndarray:
    return np.clip(0.5 - distance_mm / spacing_mm, 0, 1)


def _around(
    outside_mm: np.ndarray, points: tuple[np.ndarray, np.ndarray, np.ndarray], spacing_mm: float
) -> dict[str, np.ndarray]:
    """Everything that is not brain, painted from the skin inwards: later paints cover earlier ones."""
    x, y, z = points
    thick = 14.5 + 2.0 * np.clip((z - 10) / 60, 0, 1) * np.clip(-y / 80, 0, 1) - 1.5 * np.clip((y - 50) / 20, 0, 1)
    face = ball(points, (0, 38, -62), (62, 56, 66))
    neck = np.maximum(ball(points, (0, -22, -90), (58, 66, 75)), (z + 40) / 1.0)
    surface = _soft_union(_soft_union(outside_mm - thick, face, 8.0), neck, 8.0)
    full = _inside(surface, spacing_mm)
    paints: list[tuple[str, np.ndarray]] = [("skin", full), ("fat", _inside(surface + 2.2, spacing_mm))]
    temple = np.clip((np.abs(x) - 42) / 18, 0, 1) * np.clip((22 - z) / 24, 0, 1) * (y < 52)
    nape = np.clip((-42 - z) / 12, 0, 1) * (y < 5)
    muscle = np.maximum(_inside(surface + 4.5, spacing_mm) * np.clip(temple + nape, 0, 1), 0)
    deep_face = _inside(face + 9, spacing_mm) * (outside_mm > SKULL_MM) * (z < -10)
    paints += [("muscle", muscle), ("muscle", deep_face * 0.75)]
    skull = band(outside_mm, FLUID_MM, SKULL_MM, spacing_mm) * _inside(surface + 3, spacing_mm)
    skull = skull * np.clip((z + 88) / 6, 0, 1)
    diploe = band(outside_mm, FLUID_MM + 2.0, SKULL_MM - 2.0, spacing_mm) * np.clip((z + 20) / 30, 0, 1)
    paints += [("bone", skull), ("marrow", diploe * 0.85)]
    paints += _face(points, outside_mm, spacing_mm)
    return _painted(paints, outside_mm.shape)


def _face(
    points: tuple[np.ndarray, np.ndarray, np.ndarray], outside_mm: np.ndarray, spacing_mm: float
) -> list[tuple[str, np.ndarray]]:
    """Orbits with eyes and their nerves and muscles, sinuses, nose and airway, teeth-bearing bone."""
    paints: list[tuple[str, np.ndarray]] = []
    free = outside_mm > FLUID_MM + 1
    for side, (ex, ey, ez) in zip((-1, 1), EYES_MM, strict=True):
        orbit = ball(points, (ex * 0.93, ey - 14, ez), (17, 30, 16))
        paints.append(("fat", _inside(orbit, spacing_mm) * free))
        axis = ball(points, (ex - side * 6, ey - 24, ez), (2.4, 22, 2.4))
        paints.append(("white", _inside(axis, spacing_mm) * free))
        for lateral in (-1, 1):
            strap = ball(points, (ex - side * 4 + lateral * 10.5, ey - 14, ez), (2.2, 18, 5))
            paints.append(("muscle", _inside(strap, spacing_mm) * free))
        eye = ball(points, (ex, ey, ez), (EYE_RADIUS_MM,) * 3)
        paints += [("muscle", _inside(eye, spacing_mm)), ("vitreous", _inside(eye + 1.3, spacing_mm))]
        lens = ball(points, (ex, ey + 8.0, ez), (4.2, 2.2, 4.2))
        paints.append(("muscle", _inside(lens, spacing_mm)))
        antrum = ball(points, (side * 27, 44, -72), (13, 16, 16))
        paints.append(("air", _inside(antrum, spacing_mm) * free))
    for centre, radii in (
        ((0, 46, -44), (10, 20, 12)),
        ((0, 50, -72), (9, 26, 16)),
        ((0, 22, -42), (11, 10, 8)),
        ((0, 72, -16), (14, 4, 9)),
        ((0, 8, -88), (11, 8, 34)),
    ):
        paints.append(("air", _inside(ball(points, centre, radii), spacing_mm) * free))
    septum = ball(points, (0, 50, -60), (1.2, 26, 24))
    paints.append(("bone", _inside(septum, spacing_mm) * free))
    for side in (-1, 1):
        turbinate = ball(points, (side * 5.5, 46, -66), (2.6, 18, 8))
        paints.append(("skin", _inside(turbinate, spacing_mm) * free))
        mastoid = ball(points, (side * 54, -32, -48), (8, 12, 13))
        paints.append(("air", _inside(mastoid, spacing_mm) * free * 0.8))
    return paints


def _painted(paints: list[tuple[str, np.ndarray]], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Fractions after painting in order: each paint takes its share from what lay there before."""
    maps: dict[str, np.ndarray] = {}
    for name, cover in paints:
        for value in maps.values():
            value *= 1 - cover
        if name != "air":
            maps[name] = maps.get(name, np.zeros(shape, np.float32)) + cover.astype(np.float32)
    return maps


def _soft_union(first: np.ndarray, second: np.ndarray, blend_mm: float) -> np.ndarray:
    """Smooth minimum of two signed distances, so that joined shapes have no crease."""
    share = np.clip(0.5 + 0.5 * (second - first) / blend_mm, 0, 1)
    return second * (1 - share) + first * share - blend_mm * share * (1 - share)


def _push(ventricles: np.ndarray, spacing_mm: float) -> torch.Tensor:
    """Arrows away from the ventricles with length 1 at the wall, e^-1 at 9 mm."""
    from scipy import ndimage

    apart = ndimage.distance_transform_edt(~ventricles) - ndimage.distance_transform_edt(ventricles)
    distance = ndimage.gaussian_filter(apart.astype(np.float32) * spacing_mm, 2.0 / spacing_mm)
    slope = np.stack(np.gradient(distance, spacing_mm))
    direction = slope / np.maximum(np.linalg.norm(slope, axis=0), 0.3)
    reach = np.exp(-np.maximum(distance, 0) / 9) * np.exp(np.minimum(distance, 0) / 4)
    return torch.from_numpy((direction * reach).astype(np.float32))
