"""Single slices of simulated series of every type, in many renderings: what a reader of slices learns from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from radfoundry.simulate.anatomy.regions import draw_anatomy, region
from radfoundry.simulate.body import Body
from radfoundry.simulate.fields import interpolate, rotation, spline_field
from radfoundry.simulate.protocols import draw_sequence
from radfoundry.simulate.region_presets import built
from radfoundry.simulate.scan import weighted
from radfoundry.simulate.series_images import BRAIN
from radfoundry.simulate.subject import build, draw_subject
from radfoundry.simulate.tissues import at_field

Rng = np.random.Generator
Image = torch.Tensor
HEAD_CENTRE_MM, HEAD_FIELD_MM = (0.0, -14.0, 2.0), (190.0, 230.0, 190.0)
BODY_MM, HEADS = 2.0, 0.75
REGIONS = ("cervical-spine", "cervical-spine", "thoracic-spine", "lumbar-spine", "knee", "hip", "abdomen", "breast")
HEAD_ALONE = ("T2-FLAIR", "SWI", "ASL")
STRIPPED = ("T1", "T1c", "T2", "T2-FLAIR", "DWI", "ADC")  # types that research hands on without skull
FIELDS_T = (1.5, 3.0)
BOLD, REFERENCE, DIFFUSION_MAP = "BOLD", "EPI-reference", "ADC"
ECHO_PLANAR: Mapping[str, tuple[str, ...]] = {BOLD: ("T2star",), REFERENCE: ("DWI-b0", "T2star")}
READ_AT_ONCE = (BOLD, REFERENCE, DIFFUSION_MAP, "DWI-b0", "DWI-b1000", "ASL")  # bent along the slow direction
# Sides of a voxel in mm that scanners use; all others 0.8 to 2.2.
VOXELS_MM: Mapping[str, tuple[float, float]] = {
    BOLD: (2.5, 4.0),
    "ASL": (2.5, 4.0),
    REFERENCE: (2.0, 3.5),
    "calibration": (3.0, 6.0),
    "DWI-b0": (1.2, 2.6),
    "DWI-b1000": (1.2, 2.6),
    DIFFUSION_MAP: (1.2, 2.6),
}
FINE_MM = (0.8, 2.2)
# Type -> protocols it is drawn from (a name twice counts twice) and how often it is drawn.
TYPES: Mapping[str, tuple[tuple[str, ...], float]] = {
    "T1": (("T1w", "T1w-gradient", "MPRAGE", "MPRAGE", "Dixon-water", "Dixon-opposed"), 4),
    "T1c": (("T1c", "T1c", "T1c-gradient"), 3),
    "T2": (("T2w", "T2w", "T2w-fat-suppressed"), 4),
    "T2-FLAIR": (("FLAIR",), 4),
    "DWI": (("DWI-b0", "DWI-b1000", "DWI-b1000"), 3),
    "ADC": ((DIFFUSION_MAP,), 1.5),
    "MRA": (("TOF",), 1.5),
    "T2*": (("T2star",), 2),
    "SWI": (("SWI",), 1.5),
    "SSFP": (("bSSFP",), 1),
    "ASL": (("ASL",), 0.7),
    "CAL": (("calibration",), 0.7),
    "LOC": (("localizer",), 1),
    "other": (("PDw", "PDw-fat-suppressed", "STIR", BOLD, BOLD, REFERENCE), 4),
}


@dataclass(frozen=True, eq=False)
class Patient:
    """A body, where images of it are centred and how far they reach in mm, and whether it is a head."""

    body: Body
    centre_mm: np.ndarray
    field_mm: np.ndarray
    head: bool


def draw_patient(rng: Rng) -> Patient:
    """Three of four are heads, some with disease; the others one of REGIONS."""
    if rng.random() < HEADS:
        body = build(draw_subject(rng, lesion_rate=0.6), spacing_mm=BODY_MM)
        return Patient(body, np.array(HEAD_CENTRE_MM), np.array(HEAD_FIELD_MM), True)
    name = str(rng.choice(REGIONS))
    chosen = region(name)
    body = built(draw_anatomy(name, rng=rng), spacing_mm=BODY_MM)
    return Patient(body, np.array(chosen.centre_mm), np.array(chosen.field_of_view_mm), False)


def cut(patient: Patient, side: int, spacing_mm: float, *, rng: Rng) -> Body:
    """One slice `(side, side, 1)` in any plane and of any thickness, its tissues averaged through it."""
    normal = int(rng.choice(3, p=(0.2, 0.2, 0.6) if patient.head else (0.4, 0.25, 0.35)))
    across = [axis for axis in range(3) if axis != normal]
    thickness_mm = float(np.exp(rng.uniform(np.log(1), np.log(6.5))))
    centre = patient.centre_mm + rng.normal(0, 0.04, 3) * patient.field_mm
    centre[normal] = patient.centre_mm[normal] + rng.uniform(-0.33, 0.33) * patient.field_mm[normal]
    layers = max(1, round(thickness_mm / 1.6))
    along = (np.arange(side) - (side - 1) / 2) * spacing_mm * rng.uniform(0.85, 1.1)
    points = np.zeros((side, side, layers, 3))
    points[..., across[0]], points[..., across[1]] = along[:, None, None], along[None, :, None]
    points[..., normal] = (np.arange(layers) - (layers - 1) / 2) * thickness_mm / layers
    places = torch.from_numpy((points @ rotation(rng.normal(0, 6, 3)).T + centre).astype(np.float32))
    body = patient.body
    gain = torch.ones(body.shape) if body.gain is None else body.gain
    found = interpolate(torch.cat([body.fractions, gain[None] - 1]), body.affine, places).mean(dim=-1)
    return Body(body.tissues, found[:-1, ..., None], np.eye(4), {}, found[-1][..., None] + 1)


def rendered(seen: Body, kind: str, spacing_mm: float, *, head: bool, rng: Rng) -> Image:
    """What an image of a type shows of a slice: `(side, side)`, from 0 up, in no unit.

    Tissues vary, skulls are sometimes taken away, voxels are as large as the protocol's, echo-planar images bend,
    coils shade, noise is Rician and fields of view end early.
    """
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    protocol = str(rng.choice(TYPES[kind][0]))
    varied = torch.from_numpy(np.exp(rng.normal(0, 0.08, len(seen.tissues))).astype(np.float32))
    fractions = seen.fractions * varied[:, None, None, None]
    stripped = head and rng.random() < (0.45 if kind in STRIPPED else 0.2)
    body = Body(seen.tissues, fractions * _brain(seen) if stripped else fractions, seen.affine, {}, seen.gain)
    image = _diffusion_map(body, rng, noise) if protocol == DIFFUSION_MAP else _signal(body, protocol, rng)
    level = float(image[image > image.mean()].mean()) if bool((image > 0).any()) else 1.0
    image, side = _voxels(image, protocol, spacing_mm, rng), image.shape[0]
    cells = torch.from_numpy(rng.standard_normal((1, 4, 4, 4)).astype(np.float32)) * float(rng.uniform(0.02, 0.3))
    image = image * torch.exp(spline_field(cells, (image.shape[0], image.shape[1], 1))[0, ..., 0])
    if protocol in READ_AT_ONCE and rng.random() < 0.7:
        image = _bent(image, rng)
    image = _noisy(image, level * float(np.exp(rng.uniform(np.log(0.008), np.log(0.1)))), noise, protocol, stripped)
    if not stripped and rng.random() < 0.25:  # many programs darken the air
        image = torch.where(image > 0.08 * level, image, image * float(rng.uniform(0, 1)))
    image = torch.nn.functional.interpolate(image[None, None], size=(side, side), mode="bilinear")[0, 0]
    image = image.clamp_min(0) ** float(np.exp(rng.normal(0, 0.15)))
    return _ended(image, rng) if rng.random() < 0.3 else image


def _signal(body: Body, protocol: str, rng: Rng) -> Image:
    name = str(rng.choice(ECHO_PLANAR[protocol])) if protocol in ECHO_PLANAR else protocol
    image = weighted(body, draw_sequence(name, rng=rng), field_t=float(rng.choice(FIELDS_T)))[..., 0].abs()
    if protocol in ECHO_PLANAR:  # their fat is suppressed
        image = image * (1 - 0.8 * (body.share("fat") + body.share("marrow"))[..., 0].clamp(0, 1))
    return image


def _diffusion_map(body: Body, rng: Rng, noise: torch.Generator) -> Image:
    table = at_field(FIELDS_T[0], names=body.tissues)
    water = (table.proton_density * (1 - table.fat_fraction) * (table.t2_ms > 20))[:, None, None]
    there = (water * body.fractions[..., 0]).sum(dim=0)
    moving = (table.diffusivity_um2_per_ms[:, None, None] * water * body.fractions[..., 0]).sum(dim=0)
    draw = torch.randn(there.shape, generator=noise)
    seen = moving / there.clamp_min(0.05) + draw * float(rng.uniform(0.03, 0.25))
    outside = draw.abs() * float(rng.uniform(0.3, 1.2)) if rng.random() < 0.5 else torch.zeros_like(seen)
    return torch.where(there > 0.15, seen, outside).clamp(0, 4.095)


def _brain(seen: Body) -> torch.Tensor:
    inside = torch.stack([seen.share(name) for name in BRAIN]).sum(dim=0)[..., 0] > 0.5
    return torch.from_numpy(ndimage.binary_fill_holes(inside.numpy()).astype(np.float32))[..., None]


def _voxels(image: Image, protocol: str, spacing_mm: float, rng: Rng) -> Image:
    low, high = VOXELS_MM.get(protocol, FINE_MM)
    voxel_mm = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    if voxel_mm <= spacing_mm:
        return image
    count = max(16, round(image.shape[0] * spacing_mm / voxel_mm))
    return torch.nn.functional.interpolate(image[None, None], size=(count, count), mode="area")[0, 0]


def _bent(image: Image, rng: Rng) -> Image:
    size = image.shape[0]
    cells = torch.from_numpy(rng.standard_normal((1, 5, 5, 4)).astype(np.float32)) * float(rng.uniform(0, 0.06))
    shift = spline_field(cells, (size, size, 1))[0, ..., 0]
    first, second = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    first, second = (first + shift, second) if rng.random() < 0.5 else (first, second + shift)
    places = torch.stack([second, first], dim=-1)[None]
    return torch.nn.functional.grid_sample(image[None, None], places, align_corners=True)[0, 0]


def _noisy(image: Image, deviation: float, noise: torch.Generator, protocol: str, stripped: bool) -> Image:
    if protocol == DIFFUSION_MAP:
        return image
    real, other = (torch.randn(image.shape, generator=noise) * deviation for _ in range(2))
    seen = torch.hypot(image + real, other)
    return torch.where(image > 0, seen, torch.zeros(())) if stripped else seen


def _ended(image: Image, rng: Rng) -> Image:
    ends = rng.integers(0, round(0.23 * image.shape[0]), 4)
    kept = torch.zeros_like(image)
    rows, columns = slice(ends[0], image.shape[0] - ends[1]), slice(ends[2], image.shape[1] - ends[3])
    kept[rows, columns] = image[rows, columns]
    return kept
