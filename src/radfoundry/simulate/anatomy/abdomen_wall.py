"""The wall of the abdomen: skin, fat under it, muscles, lower ribs, lumbar spine, and the cavity they enclose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.shapes import Shape, ellipsoid, grow
from radfoundry.simulate.anatomy.texture import everywhere, noise, soft
from radfoundry.simulate.anatomy.trees import branches, cover_tree
from radfoundry.simulate.anatomy.trunk import Frame, column_of_vertebrae, paint_spine, rib_line

# The cavity inside the muscles of the reference man (body-mass index 23), mm: level, centre front-back, half width,
# half depth; the muscles' outside, same columns. After axial CT (Geraghty 2003, Radiology 229:227, for trunk sizes).
CAVITY = (
    (-140, 12, 108, 74),
    (-100, 12, 113, 76),
    (-50, 10, 115, 78),
    (0, 8, 118, 82),
    (60, 8, 125, 90),
    (140, 8, 122, 92),
)
MUSCLE = (
    (-140, -4, 126, 100),
    (-100, -5, 130, 102),
    (-50, -6, 131, 104),
    (0, -5, 133, 106),
    (60, -3, 139, 110),
    (140, 0, 138, 110),
)
VERTEBRAE_MM = (132.0, 103.0, 72.0, 39.0, 4.0, -32.0, -69.0, -107.0, -144.0)  # T10 to S1: Panjabi 1992, Spine 17:299
FRONTS_MM = (-58.0, -56.0, -53.0, -49.0, -45.0, -42.0, -41.0, -43.0, -50.0)
RIBS = ((132, 112, 84), (103, 88, 66), (72, 62, 44))  # level at the spine, angle of the end, fall


@dataclass(frozen=True)
class Trunk:
    """A person's frames: of the organs (stature) and of the cavity (stature and fat inside)."""

    organs: Frame
    cavity: Frame


def trunk_of(measures: Mapping[str, float]) -> Trunk:
    """The frames that belong to the drawn stature and to the fat inside the belly."""
    size, wide = measures["stature"], measures["cavity_scale"]
    return Trunk(Frame(size, size, size), Frame(size * wide, size * wide**1.6, size))


def solid(frame: Frame, table: tuple[tuple[float, ...], ...]) -> Shape:
    """A trunk-shaped solid from a table."""
    return frame.column(
        [row[0] for row in table], [(0.0, row[1]) for row in table], [(row[2], row[3]) for row in table], exponent=2.4
    )


def paint_wall(canvas: Canvas, measures: Mapping[str, float], *, seed: int) -> tuple[Trunk, torch.Tensor, torch.Tensor]:
    """Paint skin, fat and muscle; gives the frames, the places of the voxels and the distances to the cavity."""
    trunk, points, whole = trunk_of(measures), canvas.points(), everywhere(canvas)
    spacing = canvas.spacing_mm
    hole = solid(trunk.cavity, CAVITY).distance(points)
    flesh = solid(trunk.cavity, MUSCLE).distance(points)
    angle = torch.atan2(points[..., 1], points[..., 0].abs())  # fat is thickest over the buttocks' side of the back
    fat = measures["subcutaneous_fat_mm"] * (1 + 0.12 * noise(canvas, whole, wavelength_mm=100, seed=seed))
    surface = flesh - fat * (1 + 0.18 * torch.sin(2 * angle).abs())
    canvas.pour("skin", whole, soft(surface, spacing))
    canvas.pour("fat", whole, soft(surface + 2.0, spacing), name="subcutaneous-fat")
    canvas.pour("muscle", whole, soft(flesh, spacing), name="skeletal-muscle")
    strands = noise(canvas, whole, wavelength_mm=24, seed=seed + 1)
    for depth, strength in ((4.5, 0.8), (9.0, 0.65)):
        line = (1 - (flesh + depth + 0.6 * strands).abs() / max(1.6, spacing)).clamp(0, 1) * strength
        canvas.pour("fat", whole, line * (points[..., 0].abs() > 45 * trunk.cavity.width) * soft(flesh, spacing))
    canvas.mix("muscle", "fat", (measures["muscle_fat_share"] * (1 + strands)).clamp(0, 0.6), whole)
    canvas.pour("fat", whole, soft(hole, spacing), name="visceral-fat")
    _paint_straight_muscles(canvas, trunk, seed=seed)
    return trunk, points, hole


def _paint_straight_muscles(canvas: Canvas, trunk: Trunk, *, seed: int) -> None:
    """Psoas, square loin muscles, erectors of the back and the white line in front."""
    frame, cavity = trunk.organs, trunk.cavity
    for sign in (1, -1):
        psoas = frame.pipe(
            [
                (sign * 24, -50, 45),
                (sign * 34, -46, 0),
                (sign * 43, -42, -50),
                (sign * 52, -32, -110),
                (sign * 58, -20, -150),
            ],
            [7.0, 13.0, 18.0, 21.0, 20.0],
        )
        loin = frame.pipe([(sign * 52, -70, 40), (sign * 62, -72, -50), (sign * 70, -70, -110)], [9.0, 13.0, 12.0])
        for shape, name in ((psoas, "psoas"), (loin, "")):
            _muscle(canvas, shape, name, seed=seed)
        canvas.paint("fat", cavity.egg((sign * 30, -68, 0), (5, 22, 170)), strength=0.4, within="muscle")
    canvas.paint("fat", cavity.egg((0, 95, 0), (5, 9, 160)), strength=0.7, within="muscle")


def _muscle(canvas: Canvas, shape: Shape, name: str, *, seed: int) -> None:
    covered = canvas.cover(shape)
    if covered is not None:
        window, share = covered
        fat = (0.10 * noise(canvas, window, wavelength_mm=12, seed=seed + 2)).clamp(0, 0.3)
        canvas.pour("muscle", window, share * (1 - fat), name=name or "skeletal-muscle")


def paint_bones(canvas: Canvas, trunk: Trunk) -> None:
    """The lumbar and lowest thoracic spine, and the ends of the lower ribs."""
    frame = trunk.organs
    levels = [level * frame.height for level in VERTEBRAE_MM]
    fronts = [front * frame.depth for front in FRONTS_MM]
    paint_spine(canvas, column_of_vertebrae(levels, fronts, ((17.5, 13.5, 11.5), (24.0, 17.0, 14.0))))
    ring = grow(solid(trunk.cavity, CAVITY), 4.0)
    lines = []
    for level, end, drop in RIBS:
        for side in (-1, 1):
            line = rib_line(ring, (0.0, 0.0, level * frame.height), float(end), float(drop), side=side)
            lines.append([(side * 18.0, -70.0 * frame.depth, level * frame.height), *line])
    ribs = branches(lines, 4.8)
    canvas.pour("bone", *cover_tree(canvas, ribs), name="ribs")
    window, inner = cover_tree(canvas, ribs, widen_mm=-1.4)
    canvas.pour("red-marrow", window, inner * 0.85)
    for side in (-1, 1):  # the wings of the hip bones, where they reach up
        wing = ellipsoid(
            (side * 98.0 * trunk.cavity.width, -22, -140), (13, 52, 34), turn_deg=(0, side * 16.0, -side * 28.0)
        )
        canvas.paint("bone", wing, name="hip-bones")
        canvas.paint("red-marrow", grow(wing, -1.8), strength=0.9)
