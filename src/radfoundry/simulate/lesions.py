"""Brain disease as parameterised shapes: what it looks like, where it sits, and how much of a voxel it fills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from radfoundry.simulate.body import Body

# Each kind from the outside in: (tissue, radius as a share of the whole, how much of the voxel it replaces).
LAYERS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "gliosis": (("plaque", 1.0, 0.55),),
    "demyelination": (("plaque", 1.0, 0.9),),
    "tumour": (("oedema", 1.0, 0.75), ("tumour", 0.62, 0.95), ("necrosis", 0.3, 0.9)),
    "infarct": (("oedema", 1.0, 0.85),),
    "haemorrhage": (("oedema", 1.0, 0.6), ("haemorrhage", 0.72, 1.0)),
}

GRID_STEP_MM = 2.0  # the coarsest grid lesions are drawn on; the search for their window steps over four voxels


@dataclass(frozen=True)
class Lesion:
    """One lesion: kind (a key of LAYERS), centre in RAS mm, half-axes in mm and the waves of its surface.

    `mass_effect` is how far the tissue is pushed aside, as a share of the radius. `incidental` lesions belong
    to ageing and are no finding.
    """

    kind: str
    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    waves: tuple[float, ...] = ()
    mass_effect: float = 0.0
    incidental: bool = False

    @property
    def side(self) -> str:
        """Left or right of the midline, in RAS."""
        return "right" if self.centre_mm[0] > 0 else "left"

    @property
    def diameter_mm(self) -> float:
        """The longest diameter."""
        return 2 * max(self.radii_mm)


def surface_mm(lesion: Lesion, points_mm: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
    """Distance in mm from the wavy surface, negative inside, for points `(…, 3)`; exact for balls."""
    away = points_mm - torch.tensor(lesion.centre_mm, dtype=points_mm.dtype)
    radii = torch.tensor(lesion.radii_mm, dtype=points_mm.dtype) * scale
    reach = (away / radii).norm(dim=-1)
    x, y, z = (away / away.norm(dim=-1, keepdim=True).clamp_min(1e-6)).unbind(dim=-1)
    shapes = (x * y, y * z, z * x, x**2 - y**2, 3 * z**2 - 1, 5 * x * y * z, x * (5 * x**2 - 3), y * (5 * y**2 - 3))
    wave = sum((weight * shape for weight, shape in zip(lesion.waves, shapes, strict=False)), torch.zeros_like(x))
    return (reach - (1 + wave)) * float(radii.min())


def place(body: Body, lesions: Sequence[Lesion], points_mm: torch.Tensor, *, spacing_mm: float) -> Body:
    """The body with its lesions in it; truth `lesion` holds the share of every voxel that is a finding.

    `points_mm` `(I, J, K, 3)` are the places of the voxels in the space of the lesions. Lesions stay inside
    the brain: where there is no grey or white matter they fill nothing.
    """
    kinds = [tissue for lesion in lesions for tissue, _, _ in LAYERS[lesion.kind]]
    names = tuple(dict.fromkeys((*body.tissues, *kinds)))
    fractions = torch.cat([body.fractions, torch.zeros(len(names) - len(body.tissues), *body.shape)])
    brain = sum((body.share(name) for name in ("grey", "white", "deep-grey")), torch.zeros(body.shape)).clamp(0, 1)
    found = torch.zeros(body.shape)
    for lesion in lesions:
        near = _window(lesion, points_mm)
        if near is None:
            continue
        for depth, (tissue, scale, strength) in enumerate(LAYERS[lesion.kind]):
            inside = (0.5 - surface_mm(lesion, points_mm[near], scale=scale) / spacing_mm).clamp(0, 1) * brain[near]
            fractions[(slice(None), *near)] *= 1 - inside * strength
            fractions[(names.index(tissue), *near)] += inside * strength
            if depth == 0 and not lesion.incidental:
                found[near] = torch.maximum(found[near], inside)
    return Body(names, fractions, body.affine, {**body.truth, "lesion": found})


def _window(lesion: Lesion, points_mm: torch.Tensor) -> tuple[slice, slice, slice] | None:
    """The part of the grid a lesion can reach; None when it is outside."""
    reach = 1.6 * max(lesion.radii_mm) + 3
    centre = torch.tensor(lesion.centre_mm)
    coarse = ((points_mm[::4, ::4, ::4] - centre).abs().amax(dim=-1) < reach + 4 * GRID_STEP_MM).nonzero()
    if not len(coarse):
        return None
    low, high = (coarse.amin(dim=0) * 4).tolist(), (coarse.amax(dim=0) * 4 + 4).tolist()
    return (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))


def push_aside(lesions: Sequence[Lesion], points_mm: torch.Tensor) -> torch.Tensor:
    """Where the tissue now at `points_mm` came from: masses press their surroundings outwards.

    The pull is towards the centre and never more than the distance to it, so nothing folds.
    """
    for lesion in lesions:
        if lesion.mass_effect <= 0:
            continue
        away = points_mm - torch.tensor(lesion.centre_mm, dtype=points_mm.dtype)
        radius = max(lesion.radii_mm)
        share = lesion.mass_effect * torch.exp(-((away.norm(dim=-1, keepdim=True) / (1.8 * radius)) ** 2))
        points_mm = points_mm - away * share
    return points_mm


def draw_finding(places_mm: np.ndarray, rng: np.random.Generator) -> tuple[Lesion, ...]:
    """What a patient with a lesion has: a mass, an infarct, or several demyelinating plaques.

    `places_mm` `(n, 3)` are the places in white matter where it may sit.
    """
    kind = str(rng.choice(["demyelination", "tumour", "infarct"], p=[0.45, 0.35, 0.2]))
    if kind == "demyelination":
        return tuple(draw_blob(kind, places_mm, rng, radius_mm=(3.0, 8.5)) for _ in range(int(rng.integers(4, 16))))
    if kind == "tumour":
        mass = draw_blob(kind, places_mm, rng, radius_mm=(13, 26))
        return (replace(mass, mass_effect=float(rng.uniform(0.1, 0.45))),)
    return (draw_blob(kind, places_mm, rng, radius_mm=(11, 25)),)


def draw_ageing(places_mm: np.ndarray, *, age_years: float, rng: np.random.Generator) -> tuple[Lesion, ...]:
    """Small white-matter spots that come with age and are no finding: less than one by 50 years, eight by 80."""
    expected = 8 * max(0.0, (age_years - 35) / 45) ** 2.2
    count = int(min(rng.poisson(expected * rng.gamma(2.0, 0.5)), 30))
    spots = [draw_blob("gliosis", places_mm, rng, radius_mm=(1.2, 2.8)) for _ in range(count)]
    return tuple(replace(spot, incidental=True) for spot in spots)


def draw_blob(kind: str, places_mm: np.ndarray, rng: np.random.Generator, *, radius_mm: tuple[float, float]) -> Lesion:
    """One lesion of a kind at one of the places, its radius log-uniform in a range, its surface wavy."""
    centre = places_mm[int(rng.integers(len(places_mm)))]
    radius = float(np.exp(rng.uniform(*np.log(radius_mm))))
    radii = radius * rng.uniform(0.7, 1.15, 3)
    waves = tuple(float(value) for value in rng.normal(0, 0.09, 8))
    return Lesion(
        kind,
        (float(centre[0]), float(centre[1]), float(centre[2])),
        (float(radii[0]), float(radii[1]), float(radii[2])),
        waves,
    )
