"""The scanner: from a body to the image of one series, with its slices, shading, artefacts, noise and header."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.body import Body
from radfoundry.simulate.fields import random_field, resample, rotation
from radfoundry.simulate.kspace import Faults, acquire
from radfoundry.simulate.sequences import Sequence, tissue_signals
from radfoundry.simulate.tissues import at_field
from radfoundry.volume import Volume

# Directions of rows, columns and slices, as radiologists' scanners lay them.
PLANES = {"axial": "LPS", "sagittal": "PIL", "coronal": "LIP"}
REFERENCE_VOXEL_MM3 = 0.9 * 0.9 * 5.0


@dataclass(frozen=True)
class Scanner:
    """A machine at a site: make, model and field; its noise (share of white-matter signal at 0.9 x 0.9 x 5 mm),
    its coil's shading and the brightness it scales white matter to.
    """

    manufacturer: str
    model: str
    field_strength_t: float
    noise: float = 0.03
    shading: float = 0.2
    brightness: float = 600.0


@dataclass(frozen=True)
class Slab:
    """Where slices are laid: plane, in-plane voxel size, slice thickness and gap in mm, tilt in degrees."""

    plane: str = "axial"
    in_plane_mm: float = 2.5
    thickness_mm: float = 5.0
    gap_mm: float = 0.0
    tilt_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    field_of_view_mm: tuple[float, float, float] = (184.0, 224.0, 172.0)  # right-left, front-back, up-down
    centre_mm: tuple[float, float, float] = (0.0, -16.0, 6.0)


@dataclass(frozen=True)
class Scanned:
    """One series as scanned: image, header, truth on the same grid, and the strength of every degradation."""

    volume: Volume
    acquisition: Acquisition
    truth: dict[str, Volume]
    degradations: dict[str, float] = field(default_factory=dict)


def slab_grid(slab: Slab) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and affine of the voxels: the third axis runs across the slices. Refuses an unknown plane."""
    if slab.plane not in PLANES:
        raise InputError(f"unknown plane {slab.plane!r}", remedy=f"one of {', '.join(PLANES)}")
    steps = (slab.in_plane_mm, slab.in_plane_mm, slab.thickness_mm + slab.gap_mm)
    shape, directions = [], np.zeros((3, 3))
    for column, (letter, step) in enumerate(zip(PLANES[slab.plane], steps, strict=True)):
        axis = next(index for index, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        directions[axis, column] = step if letter in "RAS" else -step
        count = slab.field_of_view_mm[axis] / step
        shape.append(max(1, round(count)) if column == 2 else max(8, 2 * round(count / 2)))
    affine = np.eye(4)
    affine[:3, :3] = rotation(slab.tilt_deg) @ directions
    affine[:3, 3] = np.array(slab.centre_mm) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return (shape[0], shape[1], shape[2]), affine


def through_slices(maps: torch.Tensor, body_affine: np.ndarray, slab: Slab, *, finer: int = 1) -> torch.Tensor:
    """Maps `(C, …)` of a body averaged over the thickness of each slice: `(C, finer*I, finer*J, K)`."""
    shape, affine = slab_grid(slab)
    fine = affine.copy()
    fine[:3, :2] /= finer
    fine[:3, 3] -= affine[:3, :2].sum(axis=1) / 2 * (1 - 1 / finer)
    size = (shape[0] * finer, shape[1] * finer, shape[2])
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    spacing = float(np.linalg.norm(body_affine[:3, :3], axis=0).min())
    parts = max(1, round(slab.thickness_mm / (spacing * 1.1)))
    total = torch.zeros(maps.shape[0], *size)
    for part in range(parts):
        here = fine.copy()
        here[:3, 3] += normal * ((part + 0.5) / parts - 0.5) * slab.thickness_mm
        total += resample(maps, body_affine, size, here)
    return total / parts


def scan(
    body: Body,
    sequence: Sequence,
    scanner: Scanner,
    slab: Slab,
    *,
    rng: np.random.Generator,
    faults: Faults | None = None,
) -> Scanned:
    """One series of one body: whole-number image, its header, and its truth.

    The signal of the tissues is summed with its sign, shaded by the coil, averaged over each slice, and taken
    through k-space. Noise follows the voxel volume (thin slices are noisier).
    """
    faults = faults or Faults()
    table = at_field(scanner.field_strength_t, names=body.tissues)
    values = tissue_signals(sequence, table)
    image = torch.zeros(body.shape)
    for value, share in zip(values.tolist(), body.fractions, strict=True):  # in order, so sums never depend on threads
        image += value * share
    shading = torch.exp(random_field(body.shape, points=5, deviation=scanner.shading, channels=1, rng=rng)[0])
    texture = 1 + 0.02 * torch.from_numpy(rng.standard_normal(body.shape).astype(np.float32))
    finer = 2 if slab.in_plane_mm > 1.5 * float(body.affine[0, 0]) or slab.in_plane_mm > 1.4 else 1
    sliced = through_slices((image * shading * texture)[None], body.affine, slab, finer=finer)[0]
    shape, affine = slab_grid(slab)
    white = float(image[body.share("white") > 0.9].abs().mean()) if "white" in body.tissues else float(image.mean())
    voxel = slab.in_plane_mm**2 * slab.thickness_mm
    noise = scanner.noise * white * float(np.clip(REFERENCE_VOXEL_MM3 / voxel, 0.3, 2.0)) ** 0.5 + faults.noise * white
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    measured = Faults(faults.motion_mm, faults.ghosting, faults.spikes, faults.aliasing, noise)
    seen = acquire(sliced, shape[:2], faults=measured, spacing_mm=slab.in_plane_mm, generator=generator, partial=0.85)
    array = (seen / white * scanner.brightness).clamp(0, 32000).round().numpy().astype(np.int16)
    return Scanned(
        Volume.of(array, affine),
        header(sequence, scanner, slab, shape=shape),
        _truth(body, slab, affine),
        {
            "noise": noise / white,
            "shading": scanner.shading,
            "motion_mm": faults.motion_mm,
            "ghosting": faults.ghosting,
        },
    )


def _truth(body: Body, slab: Slab, affine: np.ndarray) -> dict[str, Volume]:
    masks = {}
    for name, share in body.truth.items():
        shape, _ = slab_grid(slab)
        there = through_slices(share[None], body.affine, slab)[0] if bool(share.any()) else torch.zeros(shape)
        masks[name] = Volume.of(there.numpy(), affine, units="share")
    return masks


def header(sequence: Sequence, scanner: Scanner, slab: Slab, *, shape: tuple[int, int, int]) -> Acquisition:
    """The acquisition header that goes with a sequence, a scanner and a slab."""
    return Acquisition(
        modality="MR",
        manufacturer=scanner.manufacturer,
        model=scanner.model,
        field_strength_t=scanner.field_strength_t,
        body_part="HEAD",
        series_description=describe(sequence, slab, scanner),
        scanning_sequence=sequence.scanning_sequence,
        sequence_variant=sequence.sequence_variant,
        scan_options=("FS",) if sequence.fat_suppressed else None,
        image_type=("ORIGINAL", "PRIMARY", "M", "ND") if "SIEMENS" in scanner.manufacturer else ("ORIGINAL", "PRIMARY"),
        acquisition_type="3D" if sequence.volumetric else "2D",
        repetition_time_ms=round(sequence.repetition_time_ms, 2),
        echo_time_ms=round(sequence.echo_time_ms, 2),
        inversion_time_ms=None if sequence.inversion_time_ms is None else round(sequence.inversion_time_ms, 2),
        flip_angle_deg=round(sequence.flip_angle_deg, 1),
        echo_train_length=sequence.echo_train_length,
        b_value_s_per_mm2=sequence.b_value_s_per_mm2,
        averages=1.0,
        slice_thickness_mm=slab.thickness_mm,
        slice_gap_mm=slab.gap_mm,
        matrix=(shape[0], shape[1]),
        field_of_view_mm=(round(shape[0] * slab.in_plane_mm, 1), round(shape[1] * slab.in_plane_mm, 1)),
        patient_position="HFS",
    )


def describe(sequence: Sequence, slab: Slab, scanner: Scanner) -> str:
    """The series description in the dialect of the make."""
    plane, name = slab.plane[:3], sequence.name
    weight = {"T1w": "t1", "T2w": "t2", "PDw": "pd", "FLAIR": "t2_flair"}.get(name, name.lower())
    technique = {"spin-echo": "tse" if sequence.echo_train_length > 1 else "se", "inversion-recovery": "tirm"}
    short = technique.get(sequence.kind, {"prepared-gradient-echo": "mprage"}.get(sequence.kind, "fl2d"))
    if "SIEMENS" in scanner.manufacturer:
        return f"{weight}_{short}_{plane[:3]}"
    if "GE" in scanner.manufacturer:
        return f"{plane.upper()} {weight.upper().replace('_', ' ')}"
    return f"{name} {short.upper()} {plane.capitalize()}"
