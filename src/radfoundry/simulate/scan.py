"""The scanner: from a body to the image of one series, with its slices, shading, artefacts, noise and header."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.body import Body
from radfoundry.simulate.dynamic import concentrations_mm
from radfoundry.simulate.fields import grid_points, random_field, resample, rotation
from radfoundry.simulate.headers import Scanner, Slab, header
from radfoundry.simulate.kspace import Faults, acquire
from radfoundry.simulate.sequences import Sequence, tissue_signals
from radfoundry.simulate.susceptibility import susceptibility_mask
from radfoundry.simulate.tissues import at_field
from radfoundry.volume import Volume

# Directions of rows, columns and slices, as radiologists' scanners lay them.
PLANES = {"axial": "LPS", "sagittal": "PIL", "coronal": "LIP"}
REFERENCE_VOXEL_MM3 = 0.9 * 0.9 * 5.0


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


def through_slices(
    maps: torch.Tensor, body_affine: np.ndarray, slab: Slab, *, matrix: tuple[int, int] | None = None
) -> torch.Tensor:
    """Maps `(C, …)` of a body averaged over the thickness of each slice: `(C, I, J, K)`.

    `matrix` (I, J) may be finer than the slab's own; the field of view stays. Slices within 10 degrees of an axis
    of the body are averaged along that axis first, so that the body is read once; others in several thin layers.
    """
    shape, affine = slab_grid(slab)
    rows, columns = matrix or shape[:2]
    fine = affine.copy()
    fine[:3, 0] *= shape[0] / rows
    fine[:3, 1] *= shape[1] / columns
    fine[:3, 3] -= (affine[:3, :2] - fine[:3, :2]).sum(axis=1) / 2
    size = (rows, columns, shape[2])
    return _sliced(maps, body_affine, (size, fine), slab.thickness_mm)


def _sliced(
    maps: torch.Tensor,
    body_affine: np.ndarray,
    grid: tuple[tuple[int, int, int], np.ndarray],
    thickness_mm: float,
) -> torch.Tensor:
    """Maps on a grid (shape, affine) whose third axis runs across slices of the given thickness."""
    size, affine = grid
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    spacing = np.linalg.norm(body_affine[:3, :3], axis=0)
    cosines = np.abs(body_affine[:3, :3].T @ normal) / spacing
    along = int(np.argmax(cosines))
    if cosines[along] > np.cos(np.radians(10)):
        thick = averaged(maps, thickness_mm / float(spacing[along]), axis=along + 1)
        return resample(thick, body_affine, size, affine)
    parts = max(1, round(thickness_mm / (float(spacing.min()) * 1.1)))
    total = torch.zeros(maps.shape[0], *size)
    for part in range(parts):
        here = affine.copy()
        here[:3, 3] += normal * ((part + 0.5) / parts - 0.5) * thickness_mm
        total += resample(maps, body_affine, size, here)
    return total / parts


def averaged(maps: torch.Tensor, width: float, *, axis: int) -> torch.Tensor:
    """The mean over `width` voxels along an axis, zero beyond the ends; a width of 1 or less changes nothing."""
    reach = (width - 1) / 2
    if reach <= 0:
        return maps
    total, size = maps.clone(), maps.shape[axis]
    for step in range(1, int(np.ceil(reach)) + 1):
        weight = min(1.0, reach - step + 1)  # the outermost voxels count in part
        if step < size:
            total.narrow(axis, step, size - step).add_(maps.narrow(axis, 0, size - step), alpha=weight)
            total.narrow(axis, 0, size - step).add_(maps.narrow(axis, step, size - step), alpha=weight)
    return total.div_(width)


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

    The signal of the tissues is summed with its sign, averaged over each slice, shaded by the coil, and taken
    through k-space. Noise follows the voxel volume (thin slices are noisier). Among the degradations, `reference` is
    the signal that became the scanner's brightness.
    """
    faults = faults or Faults()
    image = weighted(body, sequence, field_t=scanner.field_strength_t)
    reference = _reference(body, image) if scanner.receiver is None else scanner.receiver
    shape, affine = slab_grid(slab)
    sliced = through_slices(image[None], body.affine, slab, matrix=_fine_matrix(slab, body.affine))[0]
    size = (sliced.shape[0], sliced.shape[1], sliced.shape[2])
    coil = rng if slab.coil_seed is None else np.random.default_rng(slab.coil_seed)
    sliced *= torch.exp(random_field(size, points=5, deviation=scanner.shading, channels=1, rng=coil)[0])
    if any(scanner.slope):
        sliced *= lean(scanner.slope, size, affine, centre_mm=slab.centre_mm)
    voxel = slab.in_plane_mm**2 * slab.thickness_mm
    noise = scanner.noise * float(np.clip(REFERENCE_VOXEL_MM3 / voxel, 0.3, 2.0)) ** 0.5 + faults.noise
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    measured = replace(faults, noise=noise * reference)
    seen = acquire(sliced, shape[:2], faults=measured, spacing_mm=slab.in_plane_mm, generator=generator, partial=0.85)
    seen = (seen / reference).clamp_min_(0) ** scanner.curve
    array = (seen * scanner.brightness).clamp(0, 32000).round().numpy().astype(np.int16)
    strengths = {**asdict(faults), "noise": noise, "shading": scanner.shading, "curve": scanner.curve}
    strengths["reference"] = reference
    return Scanned(
        Volume.of(array, affine),
        header(sequence, scanner, slab, shape=shape),
        truth_on(body, slab),
        {name: round(float(value), 6) for name, value in strengths.items()},
    )


def lean(
    slope: tuple[float, float, float],
    shape: tuple[int, int, int],
    affine: np.ndarray,
    *,
    centre_mm: tuple[float, float, float],
) -> torch.Tensor:
    """A gain `(I, J, K)` whose logarithm changes by `slope` over 100 mm to the right, front and up; 1 at the centre."""
    points = grid_points(shape, affine) - torch.tensor(centre_mm)
    return torch.exp(points @ torch.tensor(slope) / 100)


def weighted(body: Body, sequence: Sequence, *, field_t: float) -> torch.Tensor:
    """The signed signal `(I, J, K)` of a body under a sequence, before slices, coil and noise.

    Contrast agent is in the tissues that take it up, blood that flows in is fresh, and susceptibility darkens where
    the sequence shows it.
    """
    table = at_field(field_t, names=body.tissues)
    minutes = sequence.minutes_after_contrast
    dose = None if minutes is None else concentrations_mm(body.tissues, minutes)
    values = tissue_signals(sequence, table, contrast_mm=dose)
    image = torch.zeros(body.shape)
    for value, share in zip(values.tolist(), body.fractions, strict=True):  # in order, so sums never depend on threads
        image.add_(share, alpha=value)
    if sequence.name == "SWI":
        image *= susceptibility_mask(body, field_t=field_t, echo_time_ms=sequence.echo_time_ms)
    return image if body.gain is None else image * body.gain


def _reference(body: Body, image: torch.Tensor) -> float:
    """The brightness that noise and gain refer to: of white matter, or of everything that is not air."""
    if "white" in body.tissues:
        there = body.share("white") > 0.9
    else:
        there = body.fractions.sum(dim=0) > 0.5
    level = float(image[there].abs().mean()) if bool(there.any()) else float(image.abs().mean())
    return max(level, 1e-6)


def _fine_matrix(slab: Slab, body_affine: np.ndarray) -> tuple[int, int]:
    """In-plane samples before k-space is cut to the matrix: as fine as the body, so that edges ring as they should."""
    shape, _ = slab_grid(slab)
    spacing = float(np.linalg.norm(body_affine[:3, :3], axis=0).min())
    factor = max(1.0, slab.in_plane_mm / spacing)
    rows, columns = (2 * round(size * factor / 2) for size in shape[:2])
    return max(rows, shape[0]), max(columns, shape[1])


def truth_on(body: Body, slab: Slab) -> dict[str, Volume]:
    """What is true of a body, by name, as shares of the voxels of a slab."""
    shape, affine = slab_grid(slab)
    masks = {}
    for name, share in body.truth.items():
        there = torch.zeros(shape)
        window = _reached(share, body.affine, slab)
        if window is not None:
            part, first, last = window
            size = (last[0] - first[0], last[1] - first[1], last[2] - first[2])
            corner = affine.copy()
            corner[:3, 3] += affine[:3, :3] @ np.array(first)
            box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
            near = body.affine.copy()
            near[:3, 3] += near[:3, :3] @ np.array([piece.start for piece in part])
            there[box] = _sliced(share[part][None], near, (size, corner), slab.thickness_mm)[0]
        masks[name] = Volume.of(there.numpy(), affine, units="share")
    return masks


def _reached(
    share: torch.Tensor, body_affine: np.ndarray, slab: Slab
) -> tuple[tuple[slice, ...], list[int], list[int]] | None:
    """The part of a body where a share is not zero, and the first and last voxels of a slab that can show it."""
    spans = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        there = share.amax(dim=others).nonzero()
        if not len(there):
            return None
        spans.append((int(there[0]), int(there[-1]) + 1))
    shape, affine = slab_grid(slab)
    spacing = float(np.linalg.norm(body_affine[:3, :3], axis=0).min())
    room = int(np.ceil(slab.thickness_mm / spacing)) + 1
    part = tuple(slice(max(0, a - room), min(size, b + room)) for (a, b), size in zip(spans, share.shape, strict=True))
    corners = np.array(np.meshgrid(*[(piece.start, piece.stop - 1) for piece in part], indexing="ij")).reshape(3, -1)
    world = body_affine[:3, :3] @ corners + body_affine[:3, 3:]
    voxels = np.linalg.solve(affine[:3, :3], world - affine[:3, 3:])
    first = np.clip(np.floor(voxels.min(axis=1)) - 1, 0, shape).astype(int)
    last = np.clip(np.ceil(voxels.max(axis=1)) + 2, 0, shape).astype(int)
    return (part, first.tolist(), last.tolist()) if bool((last > first).all()) else None
