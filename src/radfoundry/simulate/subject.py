"""How one person differs from the template head: pose, shape, age in ventricles and sulci, and disease."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.simulate.body import Body
from radfoundry.simulate.fields import grid_points, interpolate, rotation, spline_field
from radfoundry.simulate.head import TISSUES, head
from radfoundry.simulate.lesions import Lesion, draw_ageing, draw_finding, place, push_aside

CONTROL_POINTS = 9
BEND_MM = 7.0  # deviation of the spline coefficients; half of it remains in the field


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


def draw_subject(rng: np.random.Generator, *, lesion_rate: float = 0.5) -> Subject:
    """A person drawn at random: age 20 to 85, ventricles and sulci widening with age, disease in some.

    Ventricles about double in volume from 20 to 80 years, faster after 60 (Walhovd et al. 2011, Neurobiol Aging
    32:916); men's heads are some 4 % longer on every axis (Rushton and Ankney 2009, Int J Neurosci 119:691).
    """
    age = round(float(rng.uniform(20, 85)), 1)
    sex = "F" if rng.random() < 0.5 else "M"
    older = (age - 20) / 65
    size = rng.normal(1.0, 0.025, 3) * (1.018 if sex == "M" else 0.982)
    pose = np.eye(4)
    pose[:3, :3] = rotation(rng.normal(0, 4, 3)) @ np.diag(1 / size)
    pose[:3, 3] = rng.normal(0, 3, 3)
    bend = np.clip(rng.normal(0, BEND_MM, (3,) + (CONTROL_POINTS,) * 3), -12, 12).astype(np.float32)
    ventricles = float(-1.0 + 6.5 * older**1.5 + (0.25 if sex == "M" else 0.0) + rng.normal(0, 0.55))
    sulci = float(np.clip(0.03 + 0.6 * older**1.3 + rng.normal(0, 0.05), 0, 0.8))
    ageing = draw_ageing(white_matter_mm(), age_years=age, rng=rng)
    findings = draw_finding(white_matter_mm(), rng) if rng.random() < lesion_rate else ()
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


def build(subject: Subject, *, spacing_mm: float = 2.0) -> Body:
    """The person's tissues on a grid of the given spacing (1 or 2 mm), with lesions and their truth.

    Every voxel is carried to the template by pose, bend, mass effect and ventricular push, and the template is
    read there once, so that the maps are interpolated a single time.
    """
    template = head(spacing_mm)
    points = grid_points(template.shape, template.affine)
    pose = torch.from_numpy(subject.pose).float()
    bend = torch.movedim(spline_field(torch.from_numpy(subject.bend_mm), template.shape), 0, -1)
    places = points @ pose[:3, :3].T + pose[:3, 3] + bend
    there = push_aside(subject.lesions, places)
    push = interpolate(template.push, template.affine, there)
    there = there - subject.ventricles_mm * torch.movedim(push, 0, -1)
    maps = torch.cat([template.fractions, template.depth_mm[None]])
    found = interpolate(maps, template.affine, there)
    fractions = _widen_sulci(found[:-1], found[-1], subject.sulci)
    body = Body(TISSUES, fractions, template.affine)
    return place(body, subject.lesions, places, spacing_mm=spacing_mm)


def _widen_sulci(fractions: torch.Tensor, depth_mm: torch.Tensor, sulci: float) -> torch.Tensor:
    """Turn outer grey matter that touches fluid into fluid; the sum of the fractions stays as it is."""
    grey, csf = TISSUES.index("grey"), TISSUES.index("csf")
    wet = torch.nn.functional.avg_pool3d(fractions[csf][None], 3, stride=1, padding=1)[0]
    lost = fractions[grey] * (sulci * 2.2 * wet).clamp(0, 0.9) * torch.exp(-depth_mm / 25) * (depth_mm > 0)
    fractions = fractions.clone()
    fractions[grey] -= lost
    fractions[csf] += lost
    return fractions
