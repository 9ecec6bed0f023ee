"""Training crops without end: batches of the same anatomy under several sequences, made on any device.

Every case's random numbers come from its own generator, so a batch does not depend on how it was cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from radfoundry.simulate.fields import rotation, spline_field
from radfoundry.simulate.head import TISSUES, HeadTemplate, head
from radfoundry.simulate.lesions import paint
from radfoundry.simulate.protocols import draw_sequence
from radfoundry.simulate.sequences import tissue_signals
from radfoundry.simulate.subject import Subject, draw_subject
from radfoundry.simulate.tissues import at_field

MAPS = (*TISSUES, "plaque", "oedema", "tumour", "necrosis", "haemorrhage", "enhancing")
SETTINGS = ("log_repetition_time_ms", "log_echo_time_ms", "log_inversion_time_ms", "flip_angle_deg", "field_t")
DEFAULT_PROTOCOLS = ("T1w", "T1w-gradient", "MPRAGE", "T2w", "PDw", "FLAIR", "T2star")


@dataclass(frozen=True, eq=False)
class CropBatch:
    """Crops of B patients under S sequences each, with everything that is known about them.

    images `(B, S, I, J, K)`, brightness of each between about 0 and 1 · protocol `(B, S)` index into the protocols ·
    settings `(B, S, 5)` as SETTINGS names them (0 where there is none) · labels `(B, I, J, K)` the most frequent
    tissue, 0 air, else 1 + its place in MAPS · lesion `(B, I, J, K)` share · centre_mm `(B, 3)` of the crop in the
    template · affine `(B, 3, 4)` from crop voxels to the patient's mm · age_years `(B,)` · case `(B,)`.
    """

    images: torch.Tensor
    protocol: torch.Tensor
    settings: torch.Tensor
    labels: torch.Tensor
    lesion: torch.Tensor
    centre_mm: torch.Tensor
    affine: torch.Tensor
    age_years: torch.Tensor
    case: torch.Tensor


@dataclass(frozen=True)
class CropPlan:
    """What crops to make: voxels a side, range of voxel sizes in mm, sequences per patient, share with disease."""

    size: int = 64
    spacing_mm: tuple[float, float] = (1.0, 2.5)
    thickness_mm: tuple[float, float] = (1.0, 6.0)
    views: int = 2
    protocols: tuple[str, ...] = DEFAULT_PROTOCOLS
    lesion_rate: float = 0.5
    noise: tuple[float, float] = (0.005, 0.06)
    shading: tuple[float, float] = (0.0, 0.35)


@dataclass(frozen=True, eq=False)
class CropDraw:
    """The random choices of one crop, made on the CPU from its own generator."""

    subject: Subject
    affine: np.ndarray
    thickness_voxels: np.ndarray
    axis: int
    protocol: np.ndarray
    settings: np.ndarray
    signals: torch.Tensor
    noise: np.ndarray
    shading: torch.Tensor
    noise_seed: int


def draw_crop(plan: CropPlan, *, seed: int, case: int) -> CropDraw:
    """Everything random about crop number `case`: it depends on the seed and the number alone."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, case]))
    subject = draw_subject(rng, lesion_rate=plan.lesion_rate)
    spacing = np.exp(rng.uniform(*np.log(plan.spacing_mm)))
    affine = np.eye(4)
    affine[:3, :3] = rotation(rng.normal(0, 5, 3)) * spacing
    centre = np.array([0, -16, 8]) + rng.uniform(-1, 1, 3) * np.maximum(
        np.array([75, 95, 75]) - plan.size * spacing / 2.5, 8
    )
    affine[:3, 3] = centre - affine[:3, :3] @ np.full(3, (plan.size - 1) / 2)
    protocol = rng.permutation(len(plan.protocols))[: plan.views]
    if len(protocol) < plan.views:
        protocol = rng.integers(len(plan.protocols), size=plan.views)
    signals, settings, shading = [], [], []
    for index in protocol:
        field_t = float(rng.choice([1.5, 3.0], p=[0.55, 0.45]))
        sequence = draw_sequence(plan.protocols[int(index)], rng=rng)
        signals.append(tissue_signals(sequence, at_field(field_t, names=MAPS)))
        inversion = sequence.inversion_time_ms
        settings.append(
            [
                np.log(sequence.repetition_time_ms),
                np.log(max(sequence.echo_time_ms, 0.1)),
                0.0 if inversion is None else np.log(inversion),
                sequence.flip_angle_deg,
                field_t,
            ]
        )
        strength = float(rng.uniform(*plan.shading))
        shading.append(torch.from_numpy(rng.standard_normal((5, 5, 5)).astype(np.float32)) * strength)
    thickness = np.maximum(rng.uniform(*plan.thickness_mm, size=plan.views), spacing) / spacing
    return CropDraw(
        subject,
        affine,
        thickness,
        int(rng.integers(3)),
        protocol,
        np.array(settings, dtype=np.float32),
        torch.stack(signals),
        np.exp(rng.uniform(*np.log(plan.noise), size=plan.views)),
        torch.stack(shading),
        int(rng.integers(2**62)),
    )


def batch(draws: Sequence[CropDraw], plan: CropPlan, *, cases: Sequence[int], device: str = "cpu") -> CropBatch:
    """Render drawn crops together on a device."""
    template = _on(device)
    fractions, lesion, centre = _anatomy(draws, plan, template, device)
    images = torch.stack([_render(draw, maps, device) for draw, maps in zip(draws, fractions, strict=True)])
    best, place = fractions.max(dim=1)
    labels = torch.where(best > 1 - fractions.sum(dim=1), place + 1, torch.zeros_like(place))
    return CropBatch(
        images=images,
        protocol=torch.from_numpy(np.stack([draw.protocol for draw in draws])).to(device),
        settings=torch.from_numpy(np.stack([draw.settings for draw in draws])).to(device),
        labels=labels.to(torch.uint8),
        lesion=lesion,
        centre_mm=centre,
        affine=torch.from_numpy(np.stack([draw.affine[:3] for draw in draws])).float().to(device),
        age_years=torch.tensor([draw.subject.age_years for draw in draws], device=device),
        case=torch.tensor(list(cases), device=device),
    )


def crops(
    plan: CropPlan | None = None, *, batch_size: int, seed: int, device: str = "cpu", start: int = 0, step: int = 1
) -> Iterator[CropBatch]:
    """Batches without end: cases start, start + step, start + 2 step … of the seed.

    With `start` = rank and `step` = world size several processes share the cases without overlap.

    >>> first = next(crops(CropPlan(size=16, views=1), batch_size=1, seed=0))
    >>> tuple(first.images.shape)
    (1, 1, 16, 16, 16)
    """
    plan = plan or CropPlan()
    case = start
    while True:
        cases = [case + step * offset for offset in range(batch_size)]
        case = cases[-1] + step
        draws = [draw_crop(plan, seed=seed, case=number) for number in cases]
        yield batch(draws, plan, cases=cases, device=device)


@lru_cache(maxsize=4)
def _on(device: str) -> tuple[HeadTemplate, torch.Tensor]:
    template = head(2.0)
    return template, torch.cat([template.fractions, template.push])[None].to(device)


def _anatomy(
    draws: Sequence[CropDraw], plan: CropPlan, template: tuple[HeadTemplate, torch.Tensor], device: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tissue fractions `(B, maps, I, J, K)`, lesion shares and the centre of every crop in the template's mm."""
    shape, maps = template[0].shape, template[1]
    found, lesions, centres = [], [], []
    axis = torch.arange(plan.size, dtype=torch.float32, device=device)
    voxels = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    for draw in draws:
        subject = draw.subject
        matrix = torch.from_numpy(subject.pose @ draw.affine).float().to(device)
        pose = torch.from_numpy(subject.pose).float().to(device)
        inverse = torch.linalg.inv(pose)
        places = voxels @ matrix[:3, :3].T + matrix[:3, 3]
        patient = places @ inverse[:3, :3].T + inverse[:3, 3]
        coarse = spline_field(torch.from_numpy(subject.bend_mm), tuple(n // 4 for n in shape))[None].to(device)  # ty: ignore[invalid-argument-type]
        places = places + torch.movedim(_look(coarse, template[0], patient), 0, -1)
        push = _look(maps[:, len(TISSUES) :], template[0], places)
        there = places - subject.ventricles_mm * torch.movedim(push, 0, -1)
        fractions = _look(maps[:, : len(TISSUES)], template[0], there)
        fractions = torch.cat([fractions, fractions.new_zeros(len(MAPS) - len(TISSUES), *fractions.shape[1:])])
        spacing = float(np.linalg.norm(draw.affine[:3, 0]))
        lesions.append(paint(fractions, MAPS, subject.lesions, places, spacing_mm=spacing)["lesion"])
        middle = places.shape[0] // 2
        found.append(fractions)
        centres.append(places[middle, middle, middle])
    return torch.stack(found), torch.stack(lesions), torch.stack(centres)


def _look(maps: torch.Tensor, template: HeadTemplate, points_mm: torch.Tensor) -> torch.Tensor:
    """Maps `(1, C, …)` that span the template's box, read at points `(I, J, K, 3)`."""
    extent = (np.array(template.shape) - 1) * np.diag(template.affine)[:3]
    low = torch.from_numpy(template.affine[:3, 3]).float().to(points_mm.device)
    grid = (points_mm - low) / torch.from_numpy(extent).float().to(points_mm.device) * 2 - 1
    return torch.nn.functional.grid_sample(maps, grid.flip(-1)[None], align_corners=True, padding_mode="zeros")[0]


def _render(draw: CropDraw, fractions: torch.Tensor, device: str) -> torch.Tensor:
    """The images `(S, I, J, K)` of one patient: signal, shading, thick slices, noise, and a common brightness."""
    images = []
    shape = (int(fractions.shape[1]), int(fractions.shape[2]), int(fractions.shape[3]))
    generator = torch.Generator(device=device).manual_seed(draw.noise_seed)
    for values, coefficients, noise, thick in zip(
        draw.signals, draw.shading, draw.noise, draw.thickness_voxels, strict=True
    ):
        image = torch.zeros_like(fractions[0])
        for value, share in zip(values.tolist(), fractions, strict=True):
            image += value * share
        image = image * torch.exp(spline_field(coefficients.to(device), shape))
        image = _thick(image.movedim(draw.axis, -1), float(thick)).movedim(-1, draw.axis)
        scale = float(values[MAPS.index("white")].abs()) * 1.6
        pair = torch.randn(2, *shape, generator=generator, device=device) * (float(noise) * scale / 1.6)
        images.append(torch.sqrt((image + pair[0]) ** 2 + pair[1] ** 2) / scale)
    return torch.stack(images)


def _thick(image: torch.Tensor, voxels: float) -> torch.Tensor:
    """Average along the last axis over a slice of so many voxels, ends repeated."""
    if voxels <= 1.05:
        return image
    half = int(np.ceil((voxels - 1) / 2))
    offsets = torch.arange(-half, half + 1, dtype=image.dtype, device=image.device)
    weights = (voxels / 2 + 0.5 - offsets.abs()).clamp(0, 1)
    lines = image.reshape(-1, 1, image.shape[-1])
    padded = torch.nn.functional.pad(lines, (half, half), mode="replicate")
    return torch.nn.functional.conv1d(padded, (weights / weights.sum())[None, None]).reshape(image.shape)
