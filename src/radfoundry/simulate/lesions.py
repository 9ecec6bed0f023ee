"""Brain disease as parameterised shapes: what it looks like, where it sits, and how much of a voxel it fills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

# Each kind from the outside in: (tissue, radius as a share of the whole, how much of the voxel it replaces).
LAYERS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "gliosis": (("plaque", 1.0, 0.55),),
    "demyelination": (("plaque", 1.0, 0.9),),
    "active-demyelination": (("plaque", 1.0, 0.9), ("enhancing", 0.75, 0.45)),
    "tumour": (("oedema", 1.0, 0.75), ("tumour", 0.62, 0.95), ("necrosis", 0.3, 0.9)),
    "enhancing-tumour": (
        ("oedema", 1.0, 0.75),
        ("tumour", 0.62, 0.95),
        ("enhancing", 0.58, 0.95),
        ("necrosis", 0.36, 0.95),
    ),
    "infarct": (("oedema", 1.0, 0.85),),
    "haemorrhage": (("oedema", 1.0, 0.6), ("haemorrhage", 0.72, 1.0)),
}
KINDS = ("demyelination", "tumour", "infarct", "haemorrhage")  # what a patient can have
CORE = {"tumour": 0.62, "haemorrhage": 0.72}  # where oedema ends and the lesion itself begins, as a share of the radius
CHANCES = {"demyelination": 0.4, "tumour": 0.33, "infarct": 0.15, "haemorrhage": 0.12}

GRID_STEP_MM = 2.0  # the coarsest grid lesions are drawn on; the search for their window steps over four voxels
SEPTUM_MM = (0.0, 5.0, 14.0)  # septum pellucidum in the template, where radiologists measure midline shift
SHIFT_REACH_MM = (62.0, 80.0, 60.0)


@dataclass(frozen=True)
class Lesion:
    """One lesion: kind (one of KINDS, or gliosis), centre in RAS mm, half-axes in mm and the waves of its surface.

    `mass_effect` is how far the tissue is pushed aside, as a share of the radius; `shift_mm` how far the whole half
    of the brain moves over the midline. `enhancing` lesions take up contrast agent. `incidental` lesions belong
    to ageing and are no finding.
    """

    kind: str
    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    waves: tuple[float, ...] = ()
    mass_effect: float = 0.0
    incidental: bool = False
    shift_mm: float = 0.0
    enhancing: bool = False

    @property
    def side(self) -> str:
        """Left or right of the midline, in RAS."""
        return "right" if self.centre_mm[0] > 0 else "left"

    @property
    def diameter_mm(self) -> float:
        """The longest diameter."""
        return 2 * max(self.radii_mm)

    @property
    def layers(self) -> tuple[tuple[str, float, float], ...]:
        """What it is made of, from the outside in."""
        enhancing = {"demyelination": "active-demyelination", "tumour": "enhancing-tumour"}
        return LAYERS[enhancing.get(self.kind, self.kind) if self.enhancing else self.kind]


def surface_mm(lesion: Lesion, points_mm: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
    """Distance in mm from the wavy surface, negative inside, for points `(…, 3)`; exact for balls."""
    reach, edge = _reach(lesion, points_mm)
    return (reach - edge * scale) * min(lesion.radii_mm)


def _reach(lesion: Lesion, points_mm: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance from the centre in radii, and how many radii away the wavy surface lies in that direction."""
    x, y, z = (axis - middle for axis, middle in zip(points_mm.unbind(dim=-1), lesion.centre_mm, strict=True))
    long = torch.sqrt(x * x + y * y + z * z).clamp_min_(1e-6)
    a, b, c = lesion.radii_mm
    reach = torch.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
    x, y, z = x / long, y / long, z / long
    edge = torch.ones_like(x)
    shapes = (x * y, y * z, z * x, x**2 - y**2, 3 * z**2 - 1, 5 * x * y * z, x * (5 * x**2 - 3), y * (5 * y**2 - 3))
    for weight, shape in zip(lesion.waves, shapes, strict=False):
        edge.add_(shape, alpha=weight)
    return reach, edge


def paint(
    fractions: torch.Tensor,
    names: Sequence[str],
    lesions: Sequence[Lesion],
    points_mm: torch.Tensor,
    *,
    spacing_mm: float,
) -> dict[str, torch.Tensor]:
    """Put lesions into tissue fractions `(tissues, I, J, K)` in place; gives the truth, shares `(I, J, K)` by name.

    `points_mm` `(I, J, K, 3)` are the places of the voxels in the space of the lesions. Lesions stay inside the
    brain: where there is no grey or white matter they fill nothing. Truth: `lesion`, and if there are any,
    `lesion-core` (without its oedema), `lesion-halo` (its oedema) and `enhancing` (what takes up contrast agent).
    """
    brain = fractions[[names.index(name) for name in ("grey", "white", "deep-grey")]].sum(dim=0).clamp_(0, 1)
    truth = {"lesion": torch.zeros_like(brain)}
    for lesion in lesions:
        near = _window(lesion, points_mm)
        if near is None:
            continue
        reach, edge = _reach(lesion, points_mm[near])
        steep = min(lesion.radii_mm) / spacing_mm
        for depth, (tissue, scale, strength) in enumerate(lesion.layers):
            inside = (0.5 - (reach - edge * scale) * steep).clamp_(0, 1) * brain[near]
            fractions[(slice(None), *near)] *= 1 - inside * strength
            fractions[(names.index(tissue), *near)] += inside * strength
            if depth == 0 and not lesion.incidental:
                truth["lesion"][near] = torch.maximum(truth["lesion"][near], inside)
                core = (0.5 - (reach - edge * CORE.get(lesion.kind, 1.0)) * steep).clamp_(0, 1)
                _mark(truth, near, inside, torch.minimum(inside, core))
    if "enhancing" in names:
        truth["enhancing"] = fractions[names.index("enhancing")].clone()
    return truth


def _mark(
    truth: dict[str, torch.Tensor], near: tuple[slice, slice, slice], whole: torch.Tensor, core: torch.Tensor
) -> None:
    """Keep the core and the oedema of one lesion as truth."""
    for name, share in (("lesion-core", core), ("lesion-halo", whole - core)):
        kept = truth.setdefault(name, torch.zeros_like(truth["lesion"]))
        kept[near] = torch.maximum(kept[near], share)


def _window(lesion: Lesion, points_mm: torch.Tensor) -> tuple[slice, slice, slice] | None:
    """The part of the grid a lesion can reach; None when it is outside."""
    reach = 1.6 * max(lesion.radii_mm) + 3
    centre = torch.tensor(lesion.centre_mm)
    step = float((points_mm[1, 1, 1] - points_mm[0, 0, 0]).abs().amax())
    coarse = ((points_mm[::4, ::4, ::4] - centre).abs().amax(dim=-1) < reach + 4 * max(step, GRID_STEP_MM)).nonzero()
    if not len(coarse):
        return None
    low, high = (coarse.amin(dim=0) * 4).tolist(), (coarse.amax(dim=0) * 4 + 4).tolist()
    return (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))


def push_aside(lesions: Sequence[Lesion], points_mm: torch.Tensor) -> torch.Tensor:
    """Where the tissue now at `points_mm` came from: masses press their surroundings outwards, and the midline over.

    The pull is towards the centre and never more than the distance to it, and the shift is largest in the middle
    and gone at the skull (steepest 0.025 a mm for every mm of shift), so nothing folds.
    """
    for lesion in lesions:
        centre = torch.tensor(lesion.centre_mm, dtype=points_mm.dtype)
        if lesion.mass_effect > 0:
            away = points_mm - centre
            squared = (away * away).sum(dim=-1, keepdim=True) / (1.8 * max(lesion.radii_mm)) ** 2
            share = lesion.mass_effect * torch.exp(-squared)
            points_mm = points_mm - away * share
        if lesion.shift_mm > 0:
            middle = (torch.tensor(SEPTUM_MM) + torch.tensor([0.0, *lesion.centre_mm[1:]])) / 2
            apart = ((points_mm - middle) / torch.tensor(SHIFT_REACH_MM)).clamp(-1, 1)
            weight = (torch.cos(apart * torch.pi / 2) ** 2).prod(dim=-1)
            moved = torch.zeros_like(points_mm)
            moved[..., 0] = lesion.shift_mm * weight * (1 if lesion.side == "right" else -1)
            points_mm = points_mm + moved
    return points_mm


def midline_shift_mm(lesions: Sequence[Lesion]) -> float:
    """How far masses move the septum pellucidum from the midline, in mm, as a radiologist would measure it.

    The place whose tissue came from the septum is found by iteration of `push_aside`, which converges because
    nothing folds.
    """
    septum = torch.tensor(SEPTUM_MM, dtype=torch.float64)
    place = septum.clone()
    for _ in range(60):
        place = place + septum - push_aside(lesions, place)
    return abs(float(place[0] - septum[0]))


def draw_finding(
    places_mm: np.ndarray, rng: np.random.Generator, *, kinds: Sequence[str] = KINDS
) -> tuple[Lesion, ...]:
    """What a patient with a lesion has: a mass, an infarct, a haemorrhage, or several demyelinating plaques.

    `places_mm` `(n, 3)` are the places in white matter where it may sit; `kinds` what it may be. About four tumours
    in five take up contrast agent, and one plaque in six. Haemorrhages shift the midline by about a millimetre for
    every 7 ml, with much variation and never more than 15 mm.
    """
    chances = np.array([CHANCES[kind] for kind in kinds])
    kind = str(rng.choice(list(kinds), p=chances / chances.sum()))
    if kind == "demyelination":
        plaques = [draw_blob(kind, places_mm, rng, radius_mm=(3.0, 8.5)) for _ in range(int(rng.integers(4, 16)))]
        return tuple(replace(plaque, enhancing=bool(rng.random() < 1 / 6)) for plaque in plaques)
    if kind == "tumour":
        mass = draw_blob(kind, places_mm, rng, radius_mm=(13, 26))
        return (replace(mass, mass_effect=float(rng.uniform(0.1, 0.45)), enhancing=bool(rng.random() < 0.8)),)
    if kind == "haemorrhage":
        clot = draw_blob(kind, places_mm, rng, radius_mm=(11, 27))
        volume_ml = 4 / 3 * np.pi * float(np.prod(clot.radii_mm)) * CORE[kind] ** 3 / 1000
        shift = float(np.clip(volume_ml / 7 + rng.normal(0, 1.2), 0, 15))
        return (replace(clot, mass_effect=float(rng.uniform(0.1, 0.3)), shift_mm=shift),)
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
