"""How one person differs from the template: pose, shape, age in the ventricles and sulci, and a lesion or none."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from radfoundry.simulate.head import Head, head
from radfoundry.simulate.tissues import NAMES
from radfoundry.volume import points_to_voxels, points_to_world

FIELD_POINTS = 7


@dataclass(frozen=True)
class Lesion:
    """A ball with a wavy surface in the white matter: centre in RAS mm of the template, radius in mm.

    `waves` are the amplitudes of the surface, relative to the radius.
    """

    centre_mm: tuple[float, float, float]
    radius_mm: float
    waves: tuple[float, ...] = ()
    side: str = ""


@dataclass(frozen=True, eq=False)
class Subject:
    """One person: everything that does not depend on the scanner.

    `pose` maps RAS mm of the person to the template; `bend_mm` is a coarse grid `(3, n, n, n)` of smooth
    displacements over the template; `ventricles_mm` widens the ventricles and `sulci` (0 to 1) thins the cortex.
    """

    age_years: float
    sex: str
    pose: np.ndarray
    bend_mm: torch.Tensor
    ventricles_mm: float
    sulci: float
    lesions: tuple[Lesion, ...] = ()
    labels: dict[str, float | int | str] = field(default_factory=dict)


def draw_subject(rng: np.random.Generator, *, lesion_rate: float = 0.5) -> Subject:
    """A person drawn at random: age 20 to 85, ventricles and sulci widening with age, a lesion in some.

    Ventricular volume roughly doubles from 20 to 80 years (Walhovd et al., Neurobiol Aging 2011;32:916), men a
    little ahead of women.
    """
    age = float(rng.uniform(20, 85))
    sex = "F" if rng.random() < 0.5 else "M"
    older = (age - 20) / 65
    size = rng.normal(1.0, 0.025, 3) * (1.02 if sex == "M" else 0.98)
    pose = _pose(rng.normal(0, 4, 3), rng.normal(0, 3, 3), size)
    bend = torch.from_numpy(rng.normal(0, 2.2, (3, FIELD_POINTS, FIELD_POINTS, FIELD_POINTS)).astype(np.float32))
    ventricles = max(0.0, 3.6 * older**1.4 + (0.3 if sex == "M" else 0.0) + rng.normal(0, 0.45))
    sulci = float(np.clip(0.06 + 0.34 * older + rng.normal(0, 0.05), 0, 0.6))
    lesions = (draw_lesion(rng),) if rng.random() < lesion_rate else ()
    return Subject(round(age, 1), sex, pose, bend, ventricles, sulci, lesions)


def draw_lesion(rng: np.random.Generator) -> Lesion:
    """A lesion of 4 to 10 mm radius somewhere in the white matter of either hemisphere."""
    template = head()
    white = template.fractions[NAMES.index("white")].numpy()
    x = np.arange(template.shape[0]) * template.affine[0, 0] + template.affine[0, 3]
    allowed = (white > 0.8) & (np.abs(x) > 12)[:, None, None]
    allowed[:, :, : template.shape[2] // 3] = False
    places = np.argwhere(allowed)
    centre = points_to_world(template.affine, places[rng.integers(len(places))][None])[0]
    waves = tuple(float(value) for value in rng.normal(0, 0.13, 6))
    side = "right" if centre[0] > 0 else "left"
    return Lesion(tuple(float(value) for value in centre), float(rng.uniform(4, 10)), waves, side)


def _pose(degrees: np.ndarray, shift_mm: np.ndarray, size: np.ndarray) -> np.ndarray:
    a, b, c = np.radians(degrees)
    turn_x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    turn_y = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    turn_z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3] = turn_x @ turn_y @ turn_z @ np.diag(1 / size)
    pose[:3, 3] = shift_mm
    return pose


def sample(subject: Subject, points_mm: torch.Tensor) -> torch.Tensor:
    """Tissue fractions `(tissues, n)` of a person at points `(n, 3)` in RAS mm, lesions included; air is 0.

    The points are carried to the template by pose, smooth bend and ventricular push in one go, so that the maps
    are interpolated once.
    """
    template = head()
    pose = torch.from_numpy(subject.pose.astype(np.float32))
    places = points_mm @ pose[:3, :3].T + pose[:3, 3]
    places = places + _bend(subject, template, places)
    places = places - _push(subject, template, places)
    fractions = _interpolate(template.fractions, template, places)
    fractions = _thin_cortex(fractions, _interpolate(template.depth_mm[None], template, places)[0], subject.sulci)
    for lesion in subject.lesions:
        share = lesion_share(lesion, places) * (fractions[:3].sum(dim=0) > 0.5)
        fractions = fractions * (1 - share)
        fractions[NAMES.index("lesion")] += share
    return fractions


def lesion_share(lesion: Lesion, points_mm: torch.Tensor) -> torch.Tensor:
    """How much of a point `(n, 3)` in template mm is lesion: 1 inside, 0 outside, soft over 1 mm."""
    away = points_mm - torch.tensor(lesion.centre_mm, dtype=points_mm.dtype)
    distance = away.norm(dim=1)
    direction = away / distance.clamp_min(1e-6)[:, None]
    x, y, z = direction.unbind(dim=1)
    shapes = (x * y, y * z, z * x, x**2 - y**2, 3 * z**2 - 1, x * y * z)
    surface = 1 + sum(weight * shape for weight, shape in zip(lesion.waves, shapes, strict=False))
    return ((lesion.radius_mm * surface - distance) + 0.5).clamp(0, 1)


def lesion_volume_ml(subject: Subject, *, spacing_mm: float = 1.0) -> float:
    """The volume of a person's lesions, counted on a fine grid in the person's own space."""
    total = 0.0
    for lesion in subject.lesions:
        reach = int(lesion.radius_mm * 1.8 / spacing_mm) + 1
        axis = torch.arange(-reach, reach + 1, dtype=torch.float32) * spacing_mm
        grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        shares = lesion_share(lesion, grid + torch.tensor(lesion.centre_mm))
        total += float(shares.sum()) * spacing_mm**3 / abs(float(np.linalg.det(subject.pose[:3, :3])))
    return total / 1000


def _interpolate(maps: torch.Tensor, template: Head, points_mm: torch.Tensor) -> torch.Tensor:
    """Linear interpolation of `(channels, I, J, K)` at points in RAS mm; 0 outside."""
    voxels = torch.from_numpy(points_to_voxels(template.affine, points_mm.numpy()).astype(np.float32))
    sizes = torch.tensor(template.shape, dtype=torch.float32)
    grid = (voxels / (sizes - 1) * 2 - 1).flip(-1)[None, :, None, None]
    return torch.nn.functional.grid_sample(maps[None], grid, align_corners=True, padding_mode="zeros")[0, :, :, 0, 0]


def _bend(subject: Subject, template: Head, points_mm: torch.Tensor) -> torch.Tensor:
    voxels = torch.from_numpy(points_to_voxels(template.affine, points_mm.numpy()).astype(np.float32))
    grid = (voxels / (torch.tensor(template.shape, dtype=torch.float32) - 1) * 2 - 1).flip(-1)[None, :, None, None]
    smooth = torch.nn.functional.interpolate(
        subject.bend_mm[None], scale_factor=4, mode="trilinear", align_corners=True
    )
    return torch.nn.functional.grid_sample(smooth, grid, align_corners=True, padding_mode="border")[0, :, :, 0, 0].T


def _push(subject: Subject, template: Head, points_mm: torch.Tensor) -> torch.Tensor:
    """Displacement away from the ventricles, largest at their wall and gone 20 mm further out."""
    if subject.ventricles_mm <= 0:
        return torch.zeros_like(points_mm)
    step = 2.0
    distance = _interpolate(template.ventricle_mm[None], template, points_mm)[0]
    slope = torch.stack(
        [
            _interpolate(template.ventricle_mm[None], template, points_mm + torch.eye(3)[axis] * step)[0] - distance
            for axis in range(3)
        ],
        dim=1,
    )
    outwards = slope / slope.norm(dim=1, keepdim=True).clamp_min(1e-3)
    strength = subject.ventricles_mm * torch.exp(-distance / 8) * (slope.norm(dim=1) > 0.2)
    return outwards * strength[:, None]


def _thin_cortex(fractions: torch.Tensor, depth_mm: torch.Tensor, sulci: float) -> torch.Tensor:
    """Turn a share of the outer grey matter into fluid: wider sulci."""
    grey, csf = NAMES.index("grey"), NAMES.index("csf")
    lost = fractions[grey] * sulci * torch.exp(-depth_mm / 12) * (depth_mm > 0)
    fractions = fractions.clone()
    fractions[grey] -= lost
    fractions[csf] += lost
    return fractions
