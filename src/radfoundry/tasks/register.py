"""Registration: bring one volume onto another, by a matrix or by a smooth displacement, and say how well it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from radfoundry.data.resample import resample
from radfoundry.losses.similarity import descriptor_distance
from radfoundry.nets import descriptors, warp
from radfoundry.records import InputError
from radfoundry.tasks import register_affine, register_deform
from radfoundry.tasks.register_affine import Describe, Pair
from radfoundry.tasks.register_transform import Transform
from radfoundry.volume import Geometry, Volume, points_to_voxels, points_to_world

MODELS = ("rigid", "affine", "deformable")
STARTS = ("header", "centre")
MOST_VOXELS = 42**3
FEWEST_VOXELS = 8
BODY = 0.08  # of the span from the 1st to the 99th percentile: above lies the patient
LEAST_SEEN = 0.02
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Options:
    """How two images are matched.

    `model`: rigid, affine or deformable · `start`: the `header`'s positions, or the `centre` of both images ·
    `spacing_mm`: voxel size of the work, None for about 42³ voxels, never finer than the images ·
    `smooth`: weight of the smoothness of a deformable result · `steps`: its gradient steps.
    """

    model: str = "deformable"
    start: str = "header"
    spacing_mm: float | None = None
    smooth: float = 0.3
    steps: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"unknown model {self.model!r}", remedy=f"use {', '.join(MODELS)}", finding="model")
        if self.start not in STARTS:
            raise InputError(f"unknown start {self.start!r}", remedy=f"use {' or '.join(STARTS)}", finding="start")
        if self.spacing_mm is not None and not self.spacing_mm > 0:
            raise InputError(f"spacing_mm is {self.spacing_mm}", remedy="give a length above 0")
        if self.steps < 0 or not self.smooth >= 0:
            raise InputError("steps and smooth must be 0 or more", finding="options")


@dataclass(frozen=True, eq=False)
class Registered:
    """A transform from fixed to moving points, the one found the other way round, and how well they hold.

    `unlike_before` and `unlike_after` are mean squared differences of descriptors (0 is the same);
    `inverse_gap_mm` holds, for places of the patient, how far one lands from where one started after going there with
    `transform` and back with `backward`; `folded_share` is the share of places with a Jacobian determinant of 0 or
    less; `changes` are local volume changes (1 keeps volume).
    """

    transform: Transform
    backward: Transform
    unlike_before: float
    unlike_after: float
    inverse_gap_mm: np.ndarray
    folded_share: float
    changes: np.ndarray
    spacing_mm: float


def register(
    moving: Volume,
    fixed: Volume,
    *,
    encoder: Any = None,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Registered:
    """Find where each point of the fixed image lies in the moving one.

    encoder: a frozen 3D encoder whose dense features are compared, or None for a hand-made descriptor (`mind`) that
    needs no learning and no particular body part. Refuses 2D images, images of one single value, and, with
    `start="header"`, images whose positions in space do not overlap.

    Without displacement (rigid, affine) `backward` is a registration of its own with the images exchanged.
    """
    asked = options or Options()
    for name, volume in (("moving", moving), ("fixed", fixed)):
        _usable(volume, name)
    spacing = asked.spacing_mm or working_spacing(fixed, moving)
    describe = describer(encoder)
    pair = pair_on_grid(moving, fixed, spacing, describe, asked.seed)
    start = beginning(moving, fixed, asked)
    kind = "affine" if asked.model == "deformable" else asked.model
    before = register_affine.unlike(pair, start)
    if progress:
        progress("align", 0, 2)
    there = register_affine.align(pair, kind=kind, start=start, turns=asked.start == "centre")
    if progress:
        progress("align", 1, 2)
    if asked.model == "deformable":
        return deformed(pair, there.matrix, before, (asked, spacing), progress)
    other = pair_on_grid(fixed, moving, spacing, describe, asked.seed)
    back = register_affine.align(other, kind=kind, start=np.linalg.inv(start), turns=asked.start == "centre")
    if progress:
        progress("align", 2, 2)
    transform, backward = Transform(there.matrix), Transform(back.matrix)
    places = _patient(pair)
    gap = np.linalg.norm(backward.points(transform.points(places)) - places, axis=1)
    change = float(np.linalg.det(there.matrix[:3, :3]))
    return Registered(
        transform,
        backward,
        before,
        register_affine.unlike(pair, there.matrix),
        gap,
        float(change <= 0),
        np.array([change]),
        spacing,
    )


def deformed(
    pair: Pair, matrix: np.ndarray, before: float, asked: tuple[Options, float], progress: Progress | None
) -> Registered:
    """A displacement on top of a matrix, found in both directions at once."""
    options, spacing = asked
    image, reach = pair.brought(matrix)
    fixed, moving = pair.describe(pair.fixed, 1), pair.describe(image, 1)
    weights = (pair.weight * reach, body(image) * reach)
    settings = register_deform.Settings(smooth=options.smooth, steps=options.steps, seed=options.seed)
    fields = register_deform.deform(fixed, moving, weights, settings, progress=progress)
    affine = pair.fixed.affine
    forward = Transform(matrix, _in_mm(fields.forward, affine))
    # Back: first the matrix's inverse, then the displacement; written as displacement first, then matrix.
    back_field = _in_mm(fields.backward, affine)
    linear = matrix[:3, :3]
    turned = np.einsum("ab,bijk->aijk", linear, back_field.array).astype(np.float32)
    backward = Transform(np.linalg.inv(matrix), Volume(turned, matrix @ affine, "mm"))
    counted = (pair.weight * reach).numpy() > 0
    gap = fields.gap().numpy()[counted] * spacing
    after = float(descriptor_distance(fixed, warp.moved_by(moving, fields.forward), pair.weight * reach))
    change = forward.volume_change()[counted[:-1, :-1, :-1]] * float(np.linalg.det(linear))
    return Registered(forward, backward, before, after, gap, forward.folded_share(counted), change, spacing)


def describer(encoder: Any = None) -> Describe:
    """How an image on the working grid is described: by `mind`, or by an encoder's dense features.

    The answer is a function (volume, factor) to maps `(C, …)` on the grid made coarser by that factor.
    """

    def plainly(volume: Volume, factor: int) -> torch.Tensor:
        image = warp.pooled(torch.from_numpy(np.ascontiguousarray(volume.array[:1], np.float32)), factor)[0]
        return descriptors.mind(image - image.min(), distance=1 if factor > 1 else 2)

    if encoder is None:
        return _kept(plainly)

    def by_encoder(volume: Volume, factor: int) -> torch.Tensor:
        if factor > 1:
            return warp.pooled(described(volume, 1), factor)
        seen = descriptors.describe_by_encoder(volume, encoder)
        step = np.linalg.solve(seen.affine, volume.affine)
        places = points_to_world(step, warp.grid(volume.shape).reshape(-1, 3).numpy())
        read = warp.sample(torch.from_numpy(seen.array), torch.from_numpy(places).float())
        return read.reshape(-1, *volume.shape)

    described = _kept(by_encoder)
    return described


def _kept(describe: Describe) -> Describe:
    """The same function that remembers what it said of the last few images."""
    said: dict[tuple[int, int], tuple[Volume, torch.Tensor]] = {}

    def again(volume: Volume, factor: int) -> torch.Tensor:
        key = (id(volume), factor)
        if key not in said:
            if len(said) >= 8:
                said.pop(next(iter(said)))
            said[key] = (volume, describe(volume, factor))
        return said[key][1]

    return again


def working_spacing(fixed: Volume, moving: Volume) -> float:
    """The voxel size of the work: about 42³ voxels over the fixed image, never finer than both images."""
    extent = np.array(fixed.shape) * np.array(fixed.spacing_mm)
    coarse = float((extent.prod() / MOST_VOXELS) ** (1 / 3))
    return max(coarse, min(*fixed.spacing_mm, *moving.spacing_mm))


def body(volume: Volume) -> torch.Tensor:
    """1 where an image shows the patient and not air, a voxel of margin included, else 0; `(I, J, K)`."""
    from scipy import ndimage

    values = volume.array[0].astype(np.float32)
    low, high = np.percentile(values.ravel()[:: max(values.size // 50_000, 1)], [1, 99])
    seen = values > low + BODY * (high - low)
    seen = ndimage.binary_dilation(ndimage.binary_opening(seen), iterations=2)
    if seen.mean() < LEAST_SEEN:
        seen = np.ones_like(seen)
    return torch.from_numpy(seen).float()


def pair_on_grid(moving: Volume, fixed: Volume, spacing_mm: float, describe: Describe, seed: int) -> Pair:
    """Two images ready to be matched, both in cubic voxels of `spacing_mm`."""
    image = _single(resample(fixed.reorient("RAS"), (spacing_mm,) * 3))
    other = _single(resample(moving.reorient("RAS"), (spacing_mm,) * 3))
    return Pair(image, body(image), other, describe, seed)


def _single(volume: Volume) -> Volume:
    """The mean over time points, echoes or colours."""
    return Volume(volume.array.mean(axis=0, keepdims=True, dtype=np.float32), volume.affine, volume.units)


def _usable(volume: Volume, name: str) -> None:
    where = f"the {name} image"
    if min(volume.shape) == 1:
        raise InputError("is a single slice", where=where, remedy="registration needs volumes", finding="2d")
    if min(volume.shape) < FEWEST_VOXELS and np.prod(volume.shape) < FEWEST_VOXELS**3:
        raise InputError(
            f"has only {volume.shape} voxels", where=where, remedy="give the whole volume", finding="small"
        )
    if not np.isfinite(volume.array).all():
        raise InputError("has values that are not finite", where=where, finding="not-finite")
    if float(volume.array.max()) <= float(volume.array.min()):
        raise InputError("is empty: every voxel has the same value", where=where, finding="empty")


def beginning(moving: Volume, fixed: Volume, asked: Options) -> np.ndarray:
    """Where the search begins, 4x4 from fixed to moving mm: as the headers say, or with both middles together.

    Refuses two images whose headers put them apart.
    """
    start = np.eye(4)
    if asked.start == "centre":
        start[:3, 3] = _middle(moving.geometry) - _middle(fixed.geometry)
        return start
    if overlap(moving.geometry, fixed.geometry) == 0:
        raise InputError(
            "the two volumes do not overlap in space",
            remedy="if their headers do not share a frame of reference, use start=centre",
            finding="no-overlap",
        )
    return start


def _middle(geometry: Geometry) -> np.ndarray:
    return points_to_world(geometry.affine, (np.array([geometry.shape]) - 1) / 2)[0]


def overlap(moving: Geometry, fixed: Geometry, *, samples: int = 24) -> float:
    """The share of the fixed field of view that the moving one covers, by their headers."""
    axes = [np.linspace(0, n - 1, min(samples, n)) for n in fixed.shape]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    voxels = points_to_voxels(moving.affine, points_to_world(fixed.affine, places))
    return float(((voxels >= -0.5) & (voxels <= np.array(moving.shape) - 0.5)).all(axis=1).mean())


def covered(moving: Geometry, fixed: Geometry, matrix: np.ndarray) -> float:
    """The share of the fixed field of view that the moving one covers once it is moved by a matrix (fixed to moving).

    >>> cube, shift = Geometry((8, 8, 8), np.eye(4)), np.eye(4)
    >>> shift[0, 3] = 4.0
    >>> covered(cube, cube, np.eye(4)), covered(cube, cube, shift)
    (1.0, 0.5)
    """
    return overlap(Geometry(moving.shape, np.linalg.solve(matrix, moving.affine)), fixed)


def _patient(pair: Pair, *, most: int = 20_000) -> np.ndarray:
    """Places of the patient in the fixed image, mm `(n, 3)`."""
    voxels = torch.nonzero(pair.weight > 0).numpy().astype(float)
    return points_to_world(pair.fixed.affine, voxels[:: max(len(voxels) // most, 1)])


def _in_mm(field: torch.Tensor, affine: np.ndarray) -> Volume:
    array = np.einsum("ab,bijk->aijk", affine[:3, :3], field.numpy()).astype(np.float32)
    return Volume(array, affine, "mm", ("R", "A", "S"))
