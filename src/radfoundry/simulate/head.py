"""The head: ICBM-152 tissue maps with fluid, skull, scalp, eyes, face and neck around them."""

from __future__ import annotations

import functools
import importlib.util
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from radfoundry.records import InputError

TEMPLATE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
TISSUES = (
    "grey",
    "white",
    "csf",
    "deep-grey",
    "bone",
    "marrow",
    "fat",
    "muscle",
    "skin",
    "vitreous",
    "blood",
    "flowing-blood",
)
# Room around the template, in mm: left, right, back, front, below, above.
MARGIN_MM = ((14, 14), (16, 24), (20, 16))
# Distance outside the brain's hull, in mm: dura and fluid, inner table, marrow, outer table, then the scalp.
FLUID_MM, SKULL_MM = 2.0, 8.5
EYES_MM = ((-32.0, 62.0, -38.0), (32.0, 62.0, -38.0))
EYE_RADIUS_MM = 12.0
Points = tuple[np.ndarray, np.ndarray, np.ndarray]
Window = tuple[slice, slice, slice]
# Vessels as lines of points in the template's mm with a radius; those not on the midline are mirrored. The first three
# are venous sinuses, where blood is slow; in the arteries it leaves the slice between the pulses of a spin echo.
VESSELS: tuple[tuple[tuple[tuple[float, float, float], ...], float], ...] = (
    (
        ((0, 60, 12), (0, 50, 44), (0, 24, 66), (0, -14, 79), (0, -56, 74), (0, -88, 44), (0, -104, 4), (0, -100, -8)),
        3.2,
    ),
    (((0, -100, -8), (24, -97, -14), (46, -80, -20), (60, -58, -26), (60, -46, -36)), 3.0),
    (((0, -46, 10), (0, -58, 22), (0, -78, 14), (0, -100, -8)), 2.2),
    (((14, -18, -92), (20, -10, -60), (18, 4, -44), (11, 6, -32), (9, 10, -22), (13, 5, -15)), 2.3),
    (((13, 5, -15), (26, 2, -18), (40, 2, -14), (46, -6, -2), (48, -22, 8)), 1.7),
    (((13, 5, -15), (3, 20, -14), (2, 36, -4), (2, 40, 14), (2, 28, 30)), 1.4),
    (((0, -32, -62), (0, -24, -46), (0, -18, -30), (0, -18, -18)), 1.9),
    (((0, -18, -18), (12, -22, -16), (24, -34, -12), (20, -62, -4)), 1.4),
)
CHOROID: tuple[tuple[tuple[float, float, float], ...], ...] = (((22, -40, 12), (24, -36, 4), (26, -28, -4)),)


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
    room = np.clip(1 - sum(brain.values()), 0, 1).astype(np.float32)
    stacked = np.zeros((len(TISSUES), *hull.shape), np.float32)
    for number, name in enumerate(TISSUES):
        if name in brain:
            stacked[number] = brain[name]
        elif name in maps:
            np.multiply(maps[name], room, out=stacked[number])
    _fill_vessels(stacked, affine, spacing_mm)
    ventricles = (csf > 0.5) & (depth_mm > 22) & (np.abs(x) < 40) & (y > -60) & (y < 40) & (z > -15) & (z < 35)
    return HeadTemplate(torch.from_numpy(stacked), affine, _push(ventricles, spacing_mm), torch.from_numpy(depth_mm))


def template_map(tissue: str, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """One template map as fractions, averaged over `factor` voxels, with room around the brain for the head."""
    from radfoundry.data.nifti import read_nifti

    volume = read_nifti(template_file(tissue)).volume.reorient("RAS")
    values = volume.array[0].astype(np.float32) / 255
    i, j, k = (n // factor for n in values.shape)
    values = values[: i * factor, : j * factor, : k * factor]
    for axis in range(3):
        parts = [values[(slice(None),) * axis + (slice(start, None, factor),)] for start in range(factor)]
        values = sum(parts[1:], parts[0]) / np.float32(factor)
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


def ball(points: Points, centre: tuple[float, float, float], radii: tuple[float, ...]) -> np.ndarray:
    """Signed distance in mm to an ellipsoid, roughly: negative inside."""
    scaled = sum(((axis - c) / r) ** 2 for axis, c, r in zip(points, centre, radii, strict=True))
    return (np.sqrt(np.asarray(scaled)) - 1) * min(radii)


def _inside(distance_mm: np.ndarray, spacing_mm: float) -> np.ndarray:
    return np.clip(0.5 - distance_mm / spacing_mm, 0, 1).astype(np.float32)


def _around(outside_mm: np.ndarray, points: Points, spacing_mm: float) -> dict[str, np.ndarray]:
    """Everything that is not brain, painted from the skin inwards: later paints cover earlier ones."""
    x, y, z = points
    thick = 14.5 + 2.0 * np.clip((z - 10) / 60, 0, 1) * np.clip(-y / 80, 0, 1) - 1.5 * np.clip((y - 50) / 20, 0, 1)
    face = ball(points, (0, 38, -62), (62, 56, 66))
    neck = np.maximum(ball(points, (0, -22, -90), (58, 66, 75)), (z + 40) / 1.0)
    surface = _soft_union(_soft_union(outside_mm - thick, face, 8.0), neck, 8.0)
    everywhere: Window = (slice(None), slice(None), slice(None))
    maps: dict[str, np.ndarray] = {}
    _cover(maps, "skin", everywhere, _inside(surface, spacing_mm))
    _cover(maps, "fat", everywhere, _inside(surface + 2.2, spacing_mm))
    temple = np.clip((np.abs(x) - 42) / 18, 0, 1) * np.clip((22 - z) / 24, 0, 1) * (y < 52)
    nape = np.clip((-42 - z) / 12, 0, 1) * (y < 5)
    _cover(maps, "muscle", everywhere, _inside(surface + 4.5, spacing_mm) * np.clip(temple + nape, 0, 1))
    deep_face = _inside(face + 9, spacing_mm) * (outside_mm > SKULL_MM) * (z < -10)
    _cover(maps, "muscle", everywhere, deep_face * 0.75)
    skull = band(outside_mm, FLUID_MM, SKULL_MM, spacing_mm) * _inside(surface + 3, spacing_mm)
    _cover(maps, "bone", everywhere, skull * np.clip((z + 88) / 6, 0, 1))
    diploe = band(outside_mm, FLUID_MM + 2.0, SKULL_MM - 2.0, spacing_mm) * np.clip((z + 20) / 30, 0, 1)
    _cover(maps, "marrow", everywhere, diploe * 0.85)
    for name, centre, radii, depth_mm, strength in _face():
        window = _window(points, centre, radii, spacing_mm)
        part = (x[window[0]], y[:, window[1]], z[:, :, window[2]])
        cover = _inside(ball(part, centre, radii) + depth_mm, spacing_mm)
        free = outside_mm[window] > FLUID_MM + 1
        _cover(maps, name, window, cover * (free | (name == "vitreous")) * strength)
    return maps


def _window(
    points: Points, centre: tuple[float, float, float], radii: tuple[float, float, float], spacing_mm: float
) -> Window:
    """The part of the grid that an ellipsoid reaches, edges included."""
    spans = []
    for axis, middle, radius in zip(points, centre, radii, strict=True):
        there = np.flatnonzero(np.abs(axis.ravel() - middle) <= radius * (1 + spacing_mm / min(radii)) + spacing_mm)
        spans.append(slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, 0))
    return (spans[0], spans[1], spans[2])


Egg = tuple[str, tuple[float, float, float], tuple[float, float, float], float, float]


def _face() -> list[Egg]:
    """Orbits with eyes and their nerves and muscles, sinuses, nose and airway, as ellipsoids in painting order.

    Each is (tissue, centre, radii, depth below the surface in mm where the paint begins, strength).
    """
    eggs: list[Egg] = []
    for side, (ex, ey, ez) in zip((-1, 1), EYES_MM, strict=True):
        eggs.append(("fat", (ex * 0.93, ey - 14, ez), (17, 30, 16), 0, 1))
        eggs.append(("white", (ex - side * 6, ey - 24, ez), (2.4, 22, 2.4), 0, 1))
        eggs += [("muscle", (ex - side * 4 + lateral * 10.5, ey - 14, ez), (2.2, 18, 5), 0, 1) for lateral in (-1, 1)]
        eye = (EYE_RADIUS_MM, EYE_RADIUS_MM, EYE_RADIUS_MM)
        eggs += [("muscle", (ex, ey, ez), eye, 0, 1), ("vitreous", (ex, ey, ez), eye, 1.3, 1)]
        eggs.append(("muscle", (ex, ey + 8.0, ez), (4.2, 2.2, 4.2), 0, 1))
        eggs.append(("air", (side * 27, 44, -72), (13, 16, 16), 0, 1))
    eggs += [
        ("air", (0, 46, -44), (10, 20, 12), 0, 1),
        ("air", (0, 50, -72), (9, 26, 16), 0, 1),
        ("air", (0, 22, -42), (11, 10, 8), 0, 1),
        ("air", (0, 72, -16), (14, 4, 9), 0, 1),
        ("air", (0, 8, -88), (11, 8, 34), 0, 1),
        ("bone", (0, 50, -60), (1.2, 26, 24), 0, 1),
    ]
    for side in (-1, 1):
        eggs.append(("skin", (side * 5.5, 46, -66), (2.6, 18, 8), 0, 1))
        eggs.append(("air", (side * 54, -32, -48), (8, 12, 13), 0, 0.8))
    return eggs


def _cover(maps: dict[str, np.ndarray], name: str, window: Window, cover: np.ndarray) -> None:
    """Paint a share of every voxel of a window: it takes its share from what lay there before."""
    left = 1 - cover
    for value in maps.values():
        value[window] *= left
    if name != "air":
        if name not in maps:
            shape = cover.shape if not maps else next(iter(maps.values())).shape
            maps[name] = np.zeros(shape, np.float32)
        maps[name][window] += cover


def _fill_vessels(stacked: np.ndarray, affine: np.ndarray, spacing_mm: float) -> None:
    """Sinuses and the large arteries full of blood, and the choroid plexus as a mixture, in place."""
    x, y, z = axes_mm(stacked.shape[1:], affine)
    lines = [(line, radius, 1.0, number < 3) for number, (line, radius) in enumerate(VESSELS)]
    lines += [(line, 2.6, 0.6, True) for line in CHOROID]
    for line, radius, strength, slow in lines:
        tissue = TISSUES.index("blood" if slow else "flowing-blood")
        sides = (1,) if all(point[0] == 0 for point in line) else (-1, 1)
        for side in sides:
            ends = np.array(line, dtype=float) * [side, 1, 1]
            for first, second in itertools.pairwise(ends):
                middle, half = (first + second) / 2, np.abs(second - first) / 2 + radius
                window = _window((x, y, z), tuple(middle), tuple(half), spacing_mm)
                grid = np.stack(np.broadcast_arrays(x[window[0]], y[:, window[1]], z[:, :, window[2]]), axis=-1)
                along = second - first
                share = np.clip((grid - first) @ along / (along @ along), 0, 1)
                away = np.linalg.norm(grid - first - share[..., None] * along, axis=-1)
                cover = _inside(away - radius, spacing_mm) * strength
                blood = stacked[tissue][window]
                cover = np.maximum(cover - blood, 0) / np.maximum(1 - blood, 1e-6)
                stacked[(slice(None), *window)] *= 1 - cover
                blood += cover


def _soft_union(first: np.ndarray, second: np.ndarray, blend_mm: float) -> np.ndarray:
    """Smooth minimum of two signed distances, so that joined shapes have no crease."""
    share = np.clip(0.5 + 0.5 * (second - first) / blend_mm, 0, 1)
    return second * (1 - share) + first * share - blend_mm * share * (1 - share)


def _push(ventricles: np.ndarray, spacing_mm: float) -> torch.Tensor:
    """Arrows away from the ventricles with length 1 at the wall, e^-1 at 9 mm; none beyond 4 cm."""
    from scipy import ndimage

    near = ndimage.find_objects(ventricles.astype(np.uint8))[0]
    room = round(40 / spacing_mm)
    window = tuple(
        slice(max(0, part.start - room), min(size, part.stop + room))
        for part, size in zip(near, ventricles.shape, strict=True)
    )
    inside = ventricles[window]
    apart = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    distance = ndimage.gaussian_filter(apart.astype(np.float32) * spacing_mm, 2.0 / spacing_mm)
    slope = np.stack(np.gradient(distance, spacing_mm))
    direction = slope / np.maximum(np.linalg.norm(slope, axis=0), 0.3)
    reach = np.exp(-np.maximum(distance, 0) / 9) * np.exp(np.minimum(distance, 0) / 4)
    push = np.zeros((3, *ventricles.shape), np.float32)
    push[(slice(None), *window)] = direction * reach
    return torch.from_numpy(push)
