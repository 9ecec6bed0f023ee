"""Bones: a cortex around marrow, breaks in them, and what marrow looks like when it is bruised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.shapes import Point, Shape, ball, broken, ellipsoid
from radfoundry.simulate.fields import random_field
from radfoundry.simulate.tissues import TISSUES, index

MARROWS = ("yellow-marrow", "red-marrow", "marrow")
Window = tuple[slice, slice, slice]
Thickness = float | Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Bone:
    """A bone: its solid, how thick its cortex is in mm (one number, or a function of places), and its marrow.

    `rind` is the solid whose surface the cortex follows, where that is not the bone's own: broken faces have none.
    """

    name: str
    shape: Shape
    cortex_mm: Thickness = 1.2
    marrow: str = "yellow-marrow"
    rind: Shape | None = None


@dataclass(frozen=True)
class Break:
    """A fracture plane through a bone: a point on it, its normal, and the way the part in front of it slips."""

    bone: str
    point_mm: Point
    normal: Point
    slip: Point = (0.0, 0.0, 0.0)
    reach_mm: float = 40.0


def shaft_cortex(axis: int, start_mm: float, end_mm: float, *, thin_mm: float, thick_mm: float) -> Thickness:
    """Cortex that thickens from the joint (`start_mm` along the axis) towards the shaft (`end_mm`)."""

    def thickness(points: torch.Tensor) -> torch.Tensor:
        share = ((points[..., axis] - start_mm) / (end_mm - start_mm)).clamp(0, 1)
        return thin_mm + (thick_mm - thin_mm) * share * share * (3 - 2 * share)

    return thickness


def paint_bone(canvas: Canvas, bone: Bone) -> None:
    """Cortex and marrow of one bone; its name is kept as truth."""
    found = canvas.depth(bone.shape)
    if found is None:
        return
    paint_solid(canvas, bone, *found)


def paint_solid(canvas: Canvas, bone: Bone, window: Window, depth: torch.Tensor) -> None:
    """Cortex and marrow of a bone whose signed distances are known already."""
    cortex = bone.cortex_mm if isinstance(bone.cortex_mm, float | int) else bone.cortex_mm(canvas.points(window))
    canvas.pour("bone", window, canvas.soft(depth), name=bone.name)
    skin = depth if bone.rind is None else torch.maximum(depth - cortex, bone.rind.distance(canvas.points(window)))
    canvas.pour(bone.marrow, window, canvas.soft(skin + cortex))


def break_bone(bone: Bone, plane: Break, severity: float) -> Bone:
    """The bone with a fracture: from a hair line to a gap of 3 mm and a step of 6 mm with growing severity."""
    step = 6.0 * max(0.0, severity - 0.2)
    shift = (plane.slip[0] * step, plane.slip[1] * step, plane.slip[2] * step)
    gap = 0.8 + 2.2 * severity
    parts = broken(bone.shape, plane.point_mm, plane.normal, shift_mm=shift, gap_mm=gap)
    return replace(bone, shape=parts, rind=broken(bone.shape, plane.point_mm, plane.normal, shift_mm=shift, gap_mm=-1))


def bleed(canvas: Canvas, whole: Bone, plane: Break, severity: float, *, kind: str = "fracture") -> None:
    """Fill the gap of a break with clot, bruise the marrow beside it, and keep the broken zone as truth."""
    found = canvas.depth(whole.shape)
    if found is None:
        return
    window, depth = found
    points = canvas.points(window) - torch.tensor(plane.point_mm)
    normal = torch.nn.functional.normalize(torch.tensor(plane.normal), dim=0)
    ahead = (points @ normal).abs()
    near = canvas.soft(points.norm(dim=-1) - plane.reach_mm) * canvas.soft(depth)
    gap = 0.8 + 2.2 * severity
    line = canvas.soft(ahead - gap / 2) * near
    hollow = line * (1 - canvas.map("bone")[window].clamp(0, 1) * 0.3)
    canvas.pour("haemorrhage", window, hollow)
    halo = torch.exp(-((ahead / (4 + 9 * severity)) ** 2)) * near * (0.35 + 0.55 * severity)
    bruise(canvas, window, halo)
    keep(canvas, kind, window, canvas.soft(ahead - gap / 2 - 1.5) * near)


def bruise(canvas: Canvas, window: Window, share: torch.Tensor) -> None:
    """Turn a share of the marrow in a window into watery marrow."""
    for marrow in MARROWS:
        if marrow in canvas.maps:
            canvas.mix(marrow, "marrow-oedema", share, window)


def oedema(canvas: Canvas, centre_mm: Point, radius_mm: float, severity: float, *, seed: int) -> None:
    """A patch of bone marrow oedema with a soft, uneven edge; marrow only. Truth: `marrow-oedema`."""
    found = canvas.depth(ball(centre_mm, radius_mm * 1.6))
    if found is None:
        return
    window, _ = found
    away = (canvas.points(window) - torch.tensor(centre_mm)).norm(dim=-1)
    shape = (away.shape[0], away.shape[1], away.shape[2])
    ragged = random_field(shape, points=6, deviation=0.12, channels=1, rng=np.random.default_rng(seed))[0]
    patch = torch.sigmoid((1 + ragged - away / radius_mm) * 7)
    marrow = sum((canvas.map(name)[window] for name in MARROWS if name in canvas.maps), torch.zeros(shape))
    bruise(canvas, window, patch * (0.3 + 0.6 * severity))
    keep(canvas, "marrow-oedema", window, (patch > 0.5).float() * marrow.clamp(0, 1))


def harden(canvas: Canvas, centre_mm: Point, radii_mm: Point, share: float) -> None:
    """Sclerosis: denser trabeculae in the marrow of an egg-shaped place."""
    covered = canvas.cover(ellipsoid(centre_mm, radii_mm))
    if covered is not None:
        window, cover = covered
        for marrow in MARROWS:
            if marrow in canvas.maps:
                canvas.mix(marrow, "bone", cover * share, window)


def cysts(canvas: Canvas, places_mm: list[Point], radius_mm: float) -> None:
    """Small cysts in the marrow: fluid with a thin hard rim."""
    for place in places_mm:
        canvas.paint("bone", ball(place, radius_mm + 0.8), strength=0.6)
        canvas.paint("synovial-fluid", ball(place, radius_mm))


def keep(canvas: Canvas, name: str, window: Window, share: torch.Tensor) -> None:
    """Keep a share of a window as truth; what else is known of the place stays."""
    kept = canvas.truth.setdefault(name, torch.zeros(canvas.shape))
    kept[window] = torch.maximum(kept[window], share.clamp(0, 1))


def trabeculae(canvas: Canvas, *, share: float, seed: int) -> None:
    """Fine bone in all marrow: an uneven share of some per cent, coarser than the eye resolves."""
    rng = np.random.default_rng([seed, 1])
    points = max(6, round(max(canvas.high_mm[axis] - canvas.low_mm[axis] for axis in range(3)) / 7))
    uneven = random_field(canvas.shape, points=points, deviation=0.35, channels=1, rng=rng)[0]
    whole = tuple(slice(0, count) for count in canvas.shape)
    for marrow in MARROWS:
        if marrow in canvas.maps:
            canvas.mix(marrow, "bone", (share * (1 + uneven)).clamp(0, 0.6), whole)  # ty: ignore[invalid-argument-type]


def colour_marrow(canvas: Canvas, *, fat_fraction: float, seed: int) -> None:
    """Turn a share of the red marrow yellow, unevenly, for a mean proton-density fat fraction."""
    red, yellow = TISSUES[index("red-marrow")], TISSUES[index("yellow-marrow")]
    wet = red.proton_density * (fat_fraction - red.fat_fraction)
    share = wet / (yellow.proton_density * (yellow.fat_fraction - fat_fraction) + wet)
    rng = np.random.default_rng([seed, 3])
    uneven = random_field(canvas.shape, points=26, deviation=0.12, channels=1, rng=rng)[0]
    everywhere = (slice(0, canvas.shape[0]), slice(0, canvas.shape[1]), slice(0, canvas.shape[2]))
    canvas.mix("red-marrow", "yellow-marrow", (share + uneven).clamp(0, 1), everywhere)
