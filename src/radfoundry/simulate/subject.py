"""How one person differs from the template head: pose, shape, age in ventricles and sulci, and disease."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.simulate.body import Body
from radfoundry.simulate.fields import enlarged, grid_points, interpolate, rotation, rows_at, spline_field
from radfoundry.simulate.head import TISSUES, HeadTemplate, head
from radfoundry.simulate.lesions import KINDS, Lesion, draw_ageing, draw_finding, paint, push_aside

CONTROL_POINTS = 9
BEND_MM = 7.0  # deviation of the spline coefficients; half of it remains in the field
COARSE_MM = 4.0  # displacements are smooth, so they are worked out on this grid and interpolated
TEXTURE = 0.02  # deviation of the signal between neighbouring voxels of one tissue


@dataclass(frozen=True, eq=False)
class Subject:
    """One person: everything that does not depend on the scanner.

    `pose` maps RAS mm of the person to the template; `bend_mm` `(3, n, n, n)` are spline coefficients of a smooth
    displacement; `ventricles_mm` is how far the ventricles' walls stand off the template's, `sulci` (0 to 1)
    how much of the outer cortex has turned to fluid. Lesions are in the template's mm.
    """

    age_years: float
    sex: str
    pose: np.ndarray
    bend_mm: np.ndarray
    ventricles_mm: float
    sulci: float
    texture_seed: int
    lesions: tuple[Lesion, ...] = ()

    @property
    def findings(self) -> tuple[Lesion, ...]:
        """The lesions a report should name: not those of normal ageing."""
        return tuple(lesion for lesion in self.lesions if not lesion.incidental)


def draw_subject(
    rng: np.random.Generator,
    *,
    lesion_rate: float = 0.5,
    kinds: tuple[str, ...] = KINDS,
    age_years: float | None = None,
    sex: str | None = None,
) -> Subject:
    """A person drawn at random: age 20 to 85, ventricles and sulci widening with age, disease in some.

    Ventricles about double in volume from 20 to 80 years, faster after 60 (Walhovd et al. 2011, Neurobiol Aging
    32:916); men's heads are some 4 % longer on every axis (Rushton and Ankney 2009, Int J Neurosci 119:691).
    `kinds` are the findings the diseased may have; age and sex may be given.
    """
    drawn_age, drawn_sex = round(float(rng.uniform(20, 85)), 1), "F" if rng.random() < 0.5 else "M"
    age, sex = drawn_age if age_years is None else age_years, sex or drawn_sex
    older = max(0.0, (age - 20) / 65)
    size = rng.normal(1.0, 0.025, 3) * (1.018 if sex == "M" else 0.982)
    pose = np.eye(4)
    pose[:3, :3] = rotation(rng.normal(0, 4, 3)) @ np.diag(1 / size)
    pose[:3, 3] = rng.normal(0, 3, 3)
    bend = np.clip(rng.normal(0, BEND_MM, (3,) + (CONTROL_POINTS,) * 3), -12, 12).astype(np.float32)
    ventricles = float(-1.0 + 6.5 * older**1.5 + (0.25 if sex == "M" else 0.0) + rng.normal(0, 0.55))
    sulci = float(np.clip(0.03 + 0.6 * older**1.3 + rng.normal(0, 0.05), 0, 0.8))
    ageing = draw_ageing(white_matter_mm(), age_years=age, rng=rng)
    findings = draw_finding(white_matter_mm(), rng, kinds=kinds) if rng.random() < lesion_rate else ()
    texture = int(rng.integers(2**31))
    return Subject(age, sex, pose, bend, ventricles, sulci, texture, ageing + findings)


@functools.lru_cache(maxsize=1)
def white_matter_mm() -> np.ndarray:
    """Places `(n, 3)` in the template's deep white matter where lesions may sit."""
    template = head(2.0)
    white = template.fractions[TISSUES.index("white")].numpy()
    voxels = np.argwhere((white > 0.9) & (template.depth_mm.numpy() > 8))
    places = voxels * template.affine[0, 0] + template.affine[:3, 3]
    return places[(np.abs(places[:, 0]) > 10) & (places[:, 2] > -12)]


@functools.lru_cache(maxsize=2)
def _rows(spacing_mm: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The template as one row a voxel (tissues, then depth), and where it or a neighbour is not air."""
    template = head(spacing_mm)
    maps = torch.cat([template.fractions, template.depth_mm[None]])
    # Rows of a whole number of eight values are read several times faster.
    rows = torch.zeros(maps[0].numel(), -(-len(maps) // 8) * 8)
    rows[:, : len(maps)] = maps.reshape(len(maps), -1).T
    there = torch.nn.functional.max_pool3d(template.fractions.sum(dim=0)[None], 3, stride=1, padding=1)[0] > 0
    return rows, there.reshape(-1)


def build(subject: Subject, *, spacing_mm: float = 2.0) -> Body:
    """The person's tissues on a grid of the given spacing (1 or 2 mm), with lesions and their truth.

    Every voxel is carried to the template by pose, bend, mass effect and ventricular push, and the template is
    read there once, so that the maps are interpolated a single time.
    """
    template = head(spacing_mm)
    moved = enlarged(displaced(subject, template), template.shape)
    kinds = [tissue for lesion in subject.lesions for tissue, _, _ in lesion.layers]
    names = tuple(dict.fromkeys((*TISSUES, *kinds)))
    fractions = _looked_up(template, moved[3:], len(names), sulci=subject.sulci, spacing_mm=spacing_mm)
    truth = paint(fractions, names, subject.lesions, torch.movedim(moved[:3], 0, -1), spacing_mm=spacing_mm)
    generator = torch.Generator().manual_seed(subject.texture_seed)
    gain = torch.randn(template.shape, generator=generator).mul_(TEXTURE).add_(1)
    return Body(names, fractions, template.affine, truth, gain)


def displaced(subject: Subject, template: HeadTemplate) -> torch.Tensor:
    """On a coarse grid `(6, …)`: each place in the template's mm before disease, and the template's voxel it shows."""
    spacing = float(template.affine[0, 0])
    step = max(1, round(COARSE_MM / spacing))
    i, j, k = (-(-(size - 1) // step) + 1 for size in template.shape)
    affine = template.affine.copy()
    affine[:3, :3] *= (np.array(template.shape) - 1) / (np.array([i, j, k]) - 1)
    pose = torch.from_numpy(subject.pose).float()
    bend = torch.movedim(spline_field(torch.from_numpy(subject.bend_mm), (i, j, k)), 0, -1)
    places = grid_points((i, j, k), affine) @ pose[:3, :3].T + pose[:3, 3] + bend
    there = push_aside(subject.lesions, places)
    push = interpolate(template.push, template.affine, there)
    there = there - subject.ventricles_mm * torch.movedim(push, 0, -1)
    voxels = (there - torch.from_numpy(template.affine[:3, 3]).float()) / spacing
    return torch.movedim(torch.cat([places, voxels], dim=-1), -1, 0)


def _looked_up(
    template: HeadTemplate, voxels: torch.Tensor, count: int, *, sulci: float, spacing_mm: float
) -> torch.Tensor:
    """Tissue fractions `(count, I, J, K)` read from the template at voxel places `(3, I, J, K)`; air is not read."""
    rows, there = _rows(spacing_mm)
    flat = voxels.reshape(3, -1)
    strides = (template.shape[1] * template.shape[2], template.shape[2], 1)
    nearest, inside = torch.zeros(flat.shape[1], dtype=torch.int64), torch.ones(flat.shape[1], dtype=torch.bool)
    for place, size, stride in zip(flat, template.shape, strides, strict=True):
        inside &= (place >= 0) & (place <= size - 1)
        nearest += place.round().clamp_(0, size - 1).to(torch.int64) * stride
    filled = (inside & there[nearest]).nonzero()[:, 0]
    found = rows_at(rows, template.shape, flat[:, filled].T.contiguous())
    fractions = torch.zeros(count, *template.shape)
    table = fractions.reshape(count, -1)
    for number in range(len(TISSUES)):
        table[number, filled] = found[:, number]
    _widen_sulci(fractions, filled, found, sulci)
    return fractions


def _widen_sulci(fractions: torch.Tensor, filled: torch.Tensor, found: torch.Tensor, sulci: float) -> None:
    """Turn outer grey matter that touches fluid into fluid; the sum of the fractions stays as it is."""
    grey, csf = TISSUES.index("grey"), TISSUES.index("csf")
    wet = fractions[csf]
    for axis in range(3):  # the mean of 27 neighbours as three means of three
        total = wet.clone()
        size = wet.shape[axis]
        total.narrow(axis, 1, size - 1).add_(wet.narrow(axis, 0, size - 1))
        total.narrow(axis, 0, size - 1).add_(wet.narrow(axis, 1, size - 1))
        wet = total.div_(3)
    depth = found[:, len(TISSUES)]
    lost = found[:, grey] * (sulci * 2.2 * wet.reshape(-1)[filled]).clamp(0, 0.9)
    lost *= torch.exp(-depth / 25) * (depth > 0)
    fractions[grey].view(-1)[filled] -= lost
    fractions[csf].view(-1)[filled] += lost
