"""The scanner: from a person to the image of one series, with its grid, bias field, noise and header."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.records import Acquisition
from radfoundry.simulate import signal
from radfoundry.simulate.signal import Sequence
from radfoundry.simulate.subject import Subject, sample
from radfoundry.simulate.tissues import NAMES
from radfoundry.volume import Volume, points_to_world

SUBSLICES = 3
PLANES = {"axial": "RAS", "sagittal": "PSR", "coronal": "RSA"}
FIELD_OF_VIEW_MM = (200.0, 232.0, 188.0)  # right-left, front-back, up-down: a head with its scalp


@dataclass(frozen=True)
class Scanner:
    """A machine at a site: make, model, field strength, its noise (share of white-matter signal) and its shading."""

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


def grid(slab: Slab) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and affine of the voxels: the third axis runs across the slices."""
    letters = PLANES[slab.plane]
    axes = [next(index for index, pair in enumerate(("RL", "AP", "SI")) if letter in pair) for letter in letters]
    signs = [1.0 if letter in "RAS" else -1.0 for letter in letters]
    steps = [slab.in_plane_mm, slab.in_plane_mm, slab.thickness_mm + slab.gap_mm]
    shape = [max(1, round(FIELD_OF_VIEW_MM[axis] / step)) for axis, step in zip(axes, steps, strict=True)]
    directions = np.zeros((3, 3))
    for column, (axis, sign, step) in enumerate(zip(axes, signs, steps, strict=True)):
        directions[axis, column] = sign * step
    affine = np.eye(4)
    affine[:3, :3] = _turn(slab.tilt_deg) @ directions
    affine[:3, 3] = np.array([0.0, -18.0, 8.0]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return (shape[0], shape[1], shape[2]), affine


def _turn(degrees: tuple[float, float, float]) -> np.ndarray:
    a, b, c = np.radians(degrees)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return x @ y @ z


def tissue_volume(subject: Subject, slab: Slab) -> tuple[torch.Tensor, np.ndarray]:
    """Tissue fractions `(tissues, I, J, K)` as the slices see them, averaged over the slice thickness."""
    shape, affine = grid(slab)
    index = np.indices(shape).reshape(3, -1).T
    covered = slab.thickness_mm / (slab.thickness_mm + slab.gap_mm)
    total = torch.zeros(len(NAMES), len(index))
    for part in range(SUBSLICES):
        offset = ((part + 0.5) / SUBSLICES - 0.5) * covered
        points = points_to_world(affine, index + np.array([0, 0, offset]))
        total += sample(subject, torch.from_numpy(points.astype(np.float32)))
    return (total / SUBSLICES).reshape(-1, *shape), affine


def render(
    fractions: torch.Tensor, sequence: Sequence, scanner: Scanner, *, spacing_mm: np.ndarray, generator: torch.Generator
) -> torch.Tensor:
    """Signal of the tissues under a sequence, shaded by the coil, with Rician noise: `(I, J, K)`, arbitrary units."""
    values = torch.tensor(
        [signal.tissue_signal(name, sequence, field_strength_t=scanner.field_strength_t) for name in NAMES]
    )
    image = torch.einsum("t,tijk->ijk", values, fractions)
    white = float(values[NAMES.index("white")])
    image = image * bias_field(image.shape, scanner.shading, generator=generator)
    deviation = scanner.noise * white * float((2.0 * 2.0 * 4.0 / np.prod(spacing_mm)) ** 0.5)
    image = rician(image, deviation, generator=generator)
    return image / white * scanner.brightness


def bias_field(shape: tuple[int, ...] | torch.Size, strength: float, *, generator: torch.Generator) -> torch.Tensor:
    """Smooth shading with mean near 1: the exponential of a random field with three waves across the head."""
    coarse = torch.randn(1, 1, 4, 4, 4, generator=generator) * strength
    size = (int(shape[0]), int(shape[1]), int(shape[2]))
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="trilinear", align_corners=True)[0, 0]
    return torch.exp(smooth - smooth.mean())


def rician(image: torch.Tensor, deviation: float, *, generator: torch.Generator) -> torch.Tensor:
    """The magnitude of a signal with Gaussian noise in both channels (Gudbjartsson and Patz 1995, equation 1)."""
    real = image + torch.randn(image.shape, generator=generator) * deviation
    imaginary = torch.randn(image.shape, generator=generator) * deviation
    return torch.sqrt(real**2 + imaginary**2)


def scan(
    subject: Subject, sequence: Sequence, scanner: Scanner, slab: Slab, *, seed: int
) -> tuple[Volume, Acquisition, Volume]:
    """One series of one person: the image in whole numbers, its header, and the lesion's share of each voxel."""
    fractions, affine = tissue_volume(subject, slab)
    spacing = np.array([slab.in_plane_mm, slab.in_plane_mm, slab.thickness_mm])
    generator = torch.Generator().manual_seed(seed)
    image = render(fractions, sequence, scanner, spacing_mm=spacing, generator=generator)
    array = image.clamp(0, 4095).round().numpy().astype(np.int16)
    truth = Volume.of(fractions[NAMES.index("lesion")].numpy().astype(np.float32), affine, units="share")
    return Volume.of(array, affine), header(sequence, scanner, slab, shape=array.shape), truth


def header(sequence: Sequence, scanner: Scanner, slab: Slab, *, shape: tuple[int, ...]) -> Acquisition:
    """The acquisition header that goes with a sequence, a scanner and a slab."""
    kinds = {"spin-echo": ("SE",), "inversion-recovery": ("SE", "IR"), "gradient-echo": ("GR",)}
    return Acquisition(
        modality="MR",
        manufacturer=scanner.manufacturer,
        model=scanner.model,
        field_strength_t=scanner.field_strength_t,
        body_part="HEAD",
        series_description=f"{sequence.name} {slab.plane[:3]}",
        scanning_sequence=kinds[sequence.kind],
        sequence_variant=("SK", "SP") if sequence.echo_train_length > 1 else ("SP",),
        image_type=("ORIGINAL", "PRIMARY", "M", "ND"),
        acquisition_type="2D",
        repetition_time_ms=round(sequence.repetition_time_ms, 2),
        echo_time_ms=round(sequence.echo_time_ms, 2),
        inversion_time_ms=None if sequence.inversion_time_ms is None else round(sequence.inversion_time_ms, 2),
        flip_angle_deg=round(sequence.flip_angle_deg, 1),
        echo_train_length=sequence.echo_train_length,
        slice_thickness_mm=slab.thickness_mm,
        slice_gap_mm=slab.gap_mm,
        matrix=(int(shape[0]), int(shape[1])),
        patient_position="HFS",
    )
