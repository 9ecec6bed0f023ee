"""Soft tissue around the spine: trunk or neck, muscles beside the column, vessels, airway and lungs."""

from __future__ import annotations

import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.frames import band
from radfoundry.simulate.anatomy.limbs import Muscle, pack, wrap
from radfoundry.simulate.anatomy.shapes import Shape, ellipsoid, loft, tube
from radfoundry.simulate.anatomy.spine_plans import along
from radfoundry.simulate.anatomy.vertebrae import Vertebra


def surround(canvas: Canvas, region: str, column: list[Vertebra], *, fat_mm: float) -> None:
    """Skin, fat, muscles, vessels and viscera of one part of the trunk on an empty canvas."""
    {"cervical-spine": _neck, "thoracic-spine": _chest, "lumbar-spine": _loin}[region](canvas, column, fat_mm)


def _pair(x: float, y: float, column: list[Vertebra], radius: float | list[float]) -> list[Muscle]:
    sides = []
    for side in (-1, 1):
        line = along(column, side * x, y)
        radii = _spread(radius, len(line)) if isinstance(radius, list) else radius
        sides.append(Muscle("muscle", tube(line, radii)))
    return sides


def _spread(radii: list[float], count: int) -> list[float]:
    """Radii at a few places spread evenly over the points of a line."""
    place = torch.linspace(0, len(radii) - 1, count)
    left = place.floor().clamp(max=len(radii) - 2).long()
    values = torch.tensor(radii)
    return (values[left] + (values[left + 1] - values[left]) * (place - left)).tolist()


def _back(column: list[Vertebra], reach_mm: float, width_mm: float, depth_mm: float, *, lag: float) -> Shape:
    """A trunk whose back follows the column's curve by a share `lag`, `reach_mm` behind the middle level."""
    marks = sorted((one.centre_mm[2], one.centre_mm[1] * lag) for one in column[::3])
    levels = [-400.0, *(z for z, _ in marks), 400.0]
    backs = [marks[0][1], *(y for _, y in marks), marks[-1][1]]
    centres = [(0.0, y - reach_mm + depth_mm) for y in backs]
    return loft(levels, centres, [(width_mm, depth_mm)] * len(levels), exponent=2.3)


def _loin(canvas: Canvas, column: list[Vertebra], fat_mm: float) -> None:
    deep = column[4].depth_mm / 2 + column[4].canal_depth_mm
    fascia = wrap(canvas, _back(column, deep + 48 + fat_mm, 165, 110, lag=0.75), skin_mm=2.2, fat_mm=fat_mm)
    muscles = [
        *_pair(13, -deep - 16, column, [9.0, 10.0, 13.0, 12.0]),
        *_pair(32, -deep - 17, column, [14.0, 15.0, 13.0, 6.0]),
        *_pair(53, -deep - 9, column, [12.0, 14.0, 12.0, 4.0]),
        *_pair(60, -18, column[2:7], [5.0, 10.0, 10.0]),
        *_pair(36, -3, column[1:], [5.0, 11.0, 18.0, 19.0]),
    ]
    pack(canvas, muscles, fascia, grow_mm=3.5, septum_mm=1.5)
    upper = column[:6]  # the aorta divides in front of L4
    canvas.paint("flowing-blood", tube(along(upper, -9, 11, from_front=True)[:-1], 8.5), name="aorta")
    canvas.paint("flowing-blood", tube(along(column[:7], 15, 10, from_front=True)[:-1], 9.5))
    for side in (-1, 1):
        canvas.paint("flowing-blood", tube(along(column[5:], side * 17, 10, from_front=True)[1:], 5.5))
    for x, y, z, radius in (
        (-38, 48, 60, 15),
        (-6, 50, 20, 13),
        (36, 47, -8, 15),
        (-34, 52, -20, 13),
        (14, 52, 62, 14),
    ):
        canvas.paint("muscle", ellipsoid((x, y, z), (radius * 1.4, radius, radius)))
        canvas.paint("water", ellipsoid((x, y, z), (radius * 1.4 - 3, radius - 3, radius - 3)), strength=0.55)


def _neck(canvas: Canvas, column: list[Vertebra], fat_mm: float) -> None:
    deep = column[3].depth_mm / 2 + column[3].canal_depth_mm
    outline = loft(
        [-220, -75, -50, -20, 20, 60, 200],
        [(0, -20), (0, -20), (0, -14), (0, -5), (0, -2), (0, 0), (0, 2)],
        [(130, 66), (110, 65), (72, 60), (58, 55), (56, 56), (60, 62), (64, 66)],
        exponent=2.2,
    )
    fascia = wrap(canvas, outline, skin_mm=2.0, fat_mm=0.8 * fat_mm)
    muscles = [
        *_pair(8, -deep - 8, column, 6.0),
        *_pair(13, -deep - 17, column, [11.0, 10.0, 9.0]),
        *_pair(24, -deep - 10, column, [11.0, 10.0, 11.0]),
        *_pair(24, -deep - 23, column, [5.0, 6.0, 12.0]),
        *_pair(36, -20, column, [9.0, 11.0, 14.0]),
        *_pair(23, 0, column, 6.0),
        *_pair(6, 11.5, column, 3.2),
        Muscle("muscle", tube([(50, -22, 90), (44, 2, 10), (26, 34, -75)], [8, 10, 8])),
        Muscle("muscle", tube([(-50, -22, 90), (-44, 2, 10), (-26, 34, -75)], [8, 10, 8])),
        Muscle("muscle", tube([(-13, 46, 30), (-11, 42, -80)], 4.5)),
        Muscle("muscle", tube([(13, 46, 30), (11, 42, -80)], 4.5)),
    ]
    pack(canvas, muscles, fascia, grow_mm=3.0, septum_mm=1.2)
    _neck_organs(canvas)


def _neck_organs(canvas: Canvas) -> None:
    """Throat, windpipe, gullet, thyroid, and the vessels of the neck."""
    canvas.paint("muscle", tube([(0, 19, 100), (0, 21, 10), (0, 22, -14)], [11, 10, 9]))
    canvas.paint("muscle", ellipsoid((0, 42, 68), (22, 26, 30)))  # the tongue's root
    canvas.paint("air", band([(0, 22, 100), (0, 23, 8)], width_mm=20, thickness_mm=7, across=(1, 0, 0)))
    canvas.paint("cartilage", tube([(0, 34, 2), (0, 32, -24), (0, 28, -120)], [14, 12, 10.5]))
    canvas.paint("air", tube([(0, 26, 10), (0, 33, 0), (0, 31, -24), (0, 27, -120)], [6, 7, 9, 8.5]))
    canvas.paint("muscle", tube([(-3, 16.5, -14), (-4, 12.5, -120)], 5))
    for side in (-1, 1):
        canvas.paint("spleen", ellipsoid((side * 16, 29, -30), (7, 8, 18)))  # thyroid: as cellular and as well perfused
        canvas.paint("flowing-blood", tube([(side * 27, 14, 90), (side * 24, 20, 0), (side * 20, 22, -100)], 3.3))
        canvas.paint("flowing-blood", tube([(side * 33, 8, 90), (side * 33, 18, 0), (side * 28, 22, -100)], 5.0))
        canvas.paint("kidney", ellipsoid((side * 34, 26, 42), (8, 10, 14)))  # submandibular gland


def _chest(canvas: Canvas, column: list[Vertebra], fat_mm: float) -> None:
    deep = column[6].depth_mm / 2 + column[6].canal_depth_mm
    fascia = wrap(canvas, _back(column, deep + 42 + fat_mm, 150, 105, lag=0.85), skin_mm=2.2, fat_mm=fat_mm)
    for side in (-1, 1):
        line = along(column, side * 58, 14)
        canvas.paint("lung", tube(line, _spread([28.0, 42.0, 45.0, 46.0], len(line))), name="lungs")
    muscles = [
        *_pair(9, -deep - 12, column, 7.5),
        *_pair(25, -deep - 13, column, [8.0, 10.0, 12.0]),
        *_pair(42, -deep - 12, column, [7.0, 9.0, 12.0]),
        *_pair(20, -deep - 25, column[:9], [8.0, 6.0, 3.0]),
        *_pair(48, -deep - 24, column, 6.0),
    ]
    pack(canvas, muscles, fascia, grow_mm=3.0, septum_mm=1.4)
    canvas.paint("muscle", ellipsoid((-18, 62, -60), (44, 36, 44)), name="")
    canvas.paint("flowing-blood", ellipsoid((-14, 62, -58), (32, 26, 34)))
    canvas.paint("flowing-blood", tube(along(column[4:], -13, -1, from_front=True), 10.5), name="aorta")
    canvas.paint("flowing-blood", tube([(-13, 14, 66), (-10, 30, 78), (4, 48, 74)], [10.5, 11.5, 13]))
    canvas.paint("muscle", tube(along(column, -3, 6, from_front=True), 6.0))
    top = along(column[:5], 1, 21, from_front=True)
    canvas.paint("cartilage", tube(top, 10.0))
    canvas.paint("air", tube(top, 8.0))
