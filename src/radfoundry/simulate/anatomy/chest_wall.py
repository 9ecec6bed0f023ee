"""The wall of the chest: rib cage, breastbone, shoulder girdle, spine, muscles, breasts, fat and skin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.shapes import Point, Shape, box, grow, tube, union
from radfoundry.simulate.anatomy.texture import everywhere, noise, soft
from radfoundry.simulate.anatomy.trees import branches, cover_tree
from radfoundry.simulate.anatomy.trunk import (
    Frame,
    column_of_vertebrae,
    paint_bone,
    paint_layers,
    paint_spine,
    rib_line,
)

# The outside of the rib cage of the reference man, mm: level, centre front-back, half width, half depth. Widest inner
# diameter about 265 mm at the lower ribs, depth 190 mm (Bellemare 2003, Am J Respir Crit Care Med 168:305, from films;
# Gayzik 2008, Ann Biomed Eng 36:1427, for how the cage widens downwards and deepens with age).
CAGE = (
    (-190, -2, 124, 88),
    (-150, 0, 129, 93),
    (-100, 4, 137, 101),
    (-50, 6, 139, 103),
    (0, 4, 135, 97),
    (50, -3, 122, 85),
    (90, -11, 99, 68),
    (120, -20, 69, 47),
    (150, -26, 40, 30),
)
# The outside of the muscles of trunk and neck, same columns.
TRUNK = (
    (-190, -2, 138, 104),
    (-150, 0, 143, 109),
    (-100, 3, 150, 113),
    (-50, 3, 153, 115),
    (0, 2, 154, 112),
    (50, -6, 152, 104),
    (90, -14, 142, 90),
    (115, -20, 112, 74),
    (135, -24, 72, 60),
    (160, -26, 58, 54),
)
VERTEBRAE = 12
# How far each rib falls from the spine to its front end, and the angle where bone ends (180 is the breastbone):
# drawn after standard plates of the thorax (Netter, Atlas of Human Anatomy, plates 183-184).
RIBS = (
    (34, 152),
    (48, 156),
    (62, 156),
    (76, 155),
    (88, 153),
    (98, 150),
    (106, 146),
    (104, 138),
    (96, 126),
    (86, 114),
    (56, 78),
    (34, 52),
)


def frame_of(measures: Mapping[str, float]) -> Frame:
    """The person's frame from the drawn width, depth and height of the rib cage."""
    return Frame(
        measures["thorax_width_mm"] / 278,
        measures["thorax_depth_mm"] / 206,
        measures["thorax_height_mm"] / 253,
    )


def shell_of(frame: Frame, table: tuple[tuple[float, ...], ...], *, exponent: float) -> Shape:
    """A trunk-shaped solid from a table of level, centre, half width and half depth."""
    return frame.column(
        [row[0] for row in table],
        [(0.0, row[1]) for row in table],
        [(row[2], row[3]) for row in table],
        exponent=exponent,
    )


def cage(frame: Frame) -> Shape:
    """The outside of the rib cage."""
    return shell_of(frame, CAGE, exponent=2.35)


def vertebra_levels(frame: Frame) -> np.ndarray:
    """Heights of the middles of the twelve thoracic vertebrae, from the first down."""
    steps = np.linspace(18.6, 27.4, VERTEBRAE - 1)  # body and disc: Panjabi 1991, Spine 16:888
    return (124 - np.concatenate([[0], np.cumsum(steps)])) * frame.height


def spine_front(frame: Frame, level_mm: float) -> float:
    """How far front the middle of a vertebral body lies at a level: the thoracic spine is bowed backwards."""
    reference = np.interp(level_mm / frame.height, [-160, -60, 20, 80, 125], [-52, -60, -64, -54, -42])
    return float(reference) * frame.depth


def arms(frame: Frame, measures: Mapping[str, float]) -> list[tuple[list[Point], float]]:
    """Midlines of both upper arms from the shoulder joint, with the half thickness of the arm's soft tissue."""
    lift = np.radians(measures["arm_lift_deg"])
    lines = []
    for side in (-1, 1):
        start = frame.at(side * 158, -28, 104)
        end = (start[0] + side * 170 * np.sin(lift), start[1], start[2] - 170 * np.cos(lift))
        lines.append(([start, (float(end[0]), float(end[1]), float(end[2]))], 40.0 * frame.width))
    return lines


def paint_wall(canvas: Canvas, measures: Mapping[str, float], *, seed: int) -> tuple[Frame, torch.Tensor]:
    """Paint the wall from the skin inwards; gives the frame and the distances to the outside of the rib cage."""
    frame = frame_of(measures)
    points, whole = canvas.points(), everywhere(canvas)
    ring = cage(frame).distance(points)
    flesh = shell_of(frame, TRUNK, exponent=2.3).distance(points)
    for line, radius in arms(frame, measures):
        shoulder = union(tube(line, radius), tube([frame.at(0, -26, 92), line[0]], [48.0, 40.0 * frame.width]))
        flesh = _smooth_min(flesh, shoulder.distance(points), 24.0)
    wave = noise(canvas, whole, wavelength_mm=90, seed=seed)
    fat = measures["subcutaneous_fat_mm"] * (1 + 0.18 * wave)
    surface = flesh - fat
    for breast in _breasts(frame, measures):
        surface = _smooth_min(surface, breast.distance(points), 14.0)
    paint_layers(canvas, surface, skin_mm=1.8)
    _paint_muscles(canvas, flesh, ring, seed=seed)
    canvas.pour("muscle", whole, soft(ring, canvas.spacing_mm))
    _paint_breast_tissue(canvas, frame, measures, seed=seed)
    return frame, ring


def _smooth_min(first: torch.Tensor, second: torch.Tensor, blend_mm: float) -> torch.Tensor:
    share = (0.5 + 0.5 * (second - first) / blend_mm).clamp(0, 1)
    return second * (1 - share) + first * share - blend_mm * share * (1 - share)


def _breasts(frame: Frame, measures: Mapping[str, float]) -> list[Shape]:
    size = measures["breast_mm"]
    if size < 5:
        return []
    front = TRUNK[4][1] + TRUNK[4][3]
    made = []
    for side in (-1, 1):
        centre = frame.at(side * 78, front - 30, -6)
        made.append(Frame().egg(centre, (62 * frame.width, 22 + size, 62), turn_deg=(-12, 0, -side * 16.0)))
    return made


def _paint_breast_tissue(canvas: Canvas, frame: Frame, measures: Mapping[str, float], *, seed: int) -> None:
    for breast in _breasts(frame, measures):
        covered = canvas.cover(grow(breast, -12.0))
        if covered is not None:
            window, cover = covered
            lobes = (noise(canvas, window, wavelength_mm=14, seed=seed + 3) > 0.1).float()
            fat = canvas.map("fat")[window]
            canvas.pour("glandular", window, cover * lobes * fat * 0.85, name="breast-tissue")


def _paint_muscles(canvas: Canvas, flesh: torch.Tensor, ring: torch.Tensor, *, seed: int) -> None:
    """Muscle between the rib cage and the fat under the skin, with fat planes and strands in it."""
    whole = everywhere(canvas)
    share = soft(flesh, canvas.spacing_mm)
    strands = noise(canvas, whole, wavelength_mm=22, seed=seed + 1)
    depth = (ring - 9.0 - 2 * strands).abs()
    plane = (1 - depth / max(2.0, canvas.spacing_mm)).clamp(0, 1) * 0.75
    armpit = (1.3 * strands - 0.6).clamp(0, 1) * (ring > 18)
    canvas.pour("muscle", whole, share * (1 - torch.maximum(plane, armpit * 0.85)))


def paint_bones(canvas: Canvas, frame: Frame, measures: Mapping[str, float]) -> None:
    """Ribs with their cartilage, breastbone, collar bones, shoulder blades, upper arms and the thoracic spine."""
    ring = grow(cage(frame), -4.8)
    levels = vertebra_levels(frame)
    bones, gristle = [], []
    for number, ((drop, end), level) in enumerate(zip(RIBS, levels, strict=True)):
        for side in (-1, 1):
            line = rib_line(ring, (0.0, 0.0, float(level)), end, drop * frame.height, side=side)
            bones.append([(side * 16.0, spine_front(frame, level) - 12.0, float(level) + 2), *line])
            if number < 10:
                gristle.append([line[-1], *_cartilage(frame, number, side)])
    canvas.pour("cartilage", *cover_tree(canvas, branches(gristle, 4.6)))
    ribs = branches(bones, 4.8)
    canvas.pour("bone", *cover_tree(canvas, ribs), name="ribs")
    window, inner = cover_tree(canvas, ribs, widen_mm=-1.4)
    canvas.pour("red-marrow", window, inner * 0.85)
    _paint_sternum(canvas, frame)
    for side in (-1, 1):
        collar = [(14, 57, 86), (55, 55, 96), (105, 28, 112), (146, -8, 119)]
        paint_bone(
            canvas, frame.pipe([(side * x, y, z) for x, y, z in collar], [8.0, 6.0, 6.0, 6.5]), 1.8, name="clavicles"
        )
        _paint_blade(canvas, frame, side)
    for line, _ in arms(frame, measures):
        shaft = union(tube([line[0], line[0]], 23.0), tube(line, [14.0, 11.5]), blend_mm=12.0)
        paint_bone(canvas, shaft, 2.6, name="humeri")
    fronts = [spine_front(frame, level) for level in levels]
    halves = ((13.0, 8.5, 7.5), (19.0, 14.5, 12.0))  # half sizes of T1 and T12: Panjabi 1991
    paint_spine(canvas, column_of_vertebrae(levels.tolist(), fronts, halves))


def _front(frame: Frame, level: float) -> float:
    """The front of the cage, mm, at a reference level."""
    rows = sorted(CAGE)
    return float(np.interp(level, [row[0] for row in rows], [row[1] + row[3] for row in rows])) * frame.depth


def _cartilage(frame: Frame, number: int, side: int) -> list[Point]:
    """From the end of a rib to the breastbone, the lower ones by way of the arch of the ribs."""
    target = (70, 52, 32, 12, -6, -22, -32, -36, -38, -40)[number]
    if number < 7:
        return [(side * 14.0, _front(frame, target) - 7.0, target * frame.height)]
    x, level = ((40, -62), (66, -84), (86, -104))[number - 7]
    return [(side * x * frame.width, _front(frame, level) - 16 - 0.17 * x, level * frame.height)]


def _paint_sternum(canvas: Canvas, frame: Frame) -> None:
    levels = [-52, -34, -10, 30, 58, 72, 86]
    halves = [(5, 3), (14, 4.5), (17, 5), (15, 5), (16, 5.5), (26, 6), (24, 6)]
    solid = Frame(1, 1, 1).column(
        [level * frame.height for level in levels],
        [(0.0, _front(frame, level) - 6.0) for level in levels],
        [(float(a), float(b)) for a, b in halves],
        exponent=3.0,
    )
    paint_bone(canvas, solid, 1.3, name="sternum")


def _paint_blade(canvas: Canvas, frame: Frame, side: int) -> None:
    centre = frame.at(side * 98, -80, 48)
    blade = box(centre, (36.0, 3.2, 62.0 * frame.height), rounding_mm=3.0, turn_deg=(8.0, side * 14.0, side * 40.0))
    ridge = frame.pipe([(side * 66, -96, 78), (side * 110, -82, 98), (side * 152, -36, 124)], [3.5, 5.0, 5.5])
    socket = frame.egg((side * 134, -36, 102), (10, 13, 17))
    neck = frame.pipe([(side * 134, -36, 102), (side * 108, -68, 84)], [9.0, 5.0])
    canvas.paint("muscle", grow(blade, 9.0))
    paint_bone(canvas, union(blade, ridge, socket, neck, blend_mm=4.0), 1.3, name="scapulae")
