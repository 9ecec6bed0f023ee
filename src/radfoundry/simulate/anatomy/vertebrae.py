"""One vertebra as solids about the centre of its body: body, arch, processes, and the sizes they follow from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from radfoundry.simulate.anatomy.frames import band
from radfoundry.simulate.anatomy.shapes import Point, Shape, box, ellipsoid, tube, union


@dataclass(frozen=True)
class Vertebra:
    """Sizes of one vertebra in mm, where its body's centre lies, and how it leans (degrees; up and forwards < 0).

    `wedge` is the share of the front height that a fracture took, `dent` that of the middle of the upper end plate.
    """

    level: str
    width_mm: float
    depth_mm: float
    height_mm: float
    canal_depth_mm: float
    canal_width_mm: float
    centre_mm: Point
    lean_deg: float
    wedge: float = 0.0
    dent: float = 0.0

    @property
    def turn(self) -> Point:
        """The turn about the three axes."""
        return (self.lean_deg, 0.0, 0.0)


def block(vertebra: Vertebra, *, waist: float = 0.09, hollow_mm: float = 1.3) -> Shape:
    """The body: a kidney-shaped drum with a waist and hollow end plates, lower in front where it is wedged."""
    half_width, half_depth, half = vertebra.width_mm / 2, vertebra.depth_mm / 2, vertebra.height_mm / 2
    narrow = min(half_width, half_depth)

    def distance(points: torch.Tensor) -> torch.Tensor:
        across, ahead, up = points.unbind(-1)
        # The back wall bends in towards the canal.
        ahead_of = ahead - torch.exp(-((across / (0.45 * half_width)) ** 2)) * (ahead < 0) * 0.07 * half_depth
        radius = ((across.abs() / half_width) ** 2.5 + (ahead_of.abs() / half_depth) ** 2.5).clamp_min(1e-9) ** 0.4
        girth = 1 - waist * (1 - (up / half) ** 2).clamp_min(0)
        side = (radius / girth - 1) * narrow
        bowl = (1 - radius**2).clamp_min(0)
        lost = vertebra.height_mm * (vertebra.wedge * ((ahead / half_depth + 1) / 2).clamp(0, 1) + vertebra.dent * bowl)
        end = torch.maximum(up - half + lost + hollow_mm * bowl, -up - half + hollow_mm * bowl)
        return torch.maximum(side, end)

    return Shape(distance, (-half_width, -half_depth, -half), (half_width, half_depth, half))


def lumbar_arch(vertebra: Vertebra) -> Shape:
    """Pedicles, joints, laminae, broad transverse processes and a square spinous process."""
    back, canal, height = -vertebra.depth_mm / 2, vertebra.canal_depth_mm, vertebra.height_mm
    out, parts = vertebra.canal_width_mm / 2 + 4, []
    for side in (-1, 1):
        parts += [
            tube(
                [(side * (out - 1), back + 5, 0.22 * height), (side * (out + 1), back - 0.6 * canal, 0.2 * height)], 5
            ),
            tube(
                [(side * (out + 5), back - 0.75 * canal, 0.6 * height), (side * (out + 1), back - canal, 0)], [4.5, 5]
            ),
            tube(
                [(side * (out + 1), back - canal, 0), (side * (out - 3), back - 1.2 * canal, -0.72 * height)], [5, 4.5]
            ),
            tube([(side * out, back - canal, -0.1 * height), (0, back - 1.4 * canal, -0.35 * height)], 3.4),
            tube(
                [(side * out, back - 0.6 * canal, 0.2 * height), (side * 42, back - 0.8 * canal, 0.25 * height)], [4, 3]
            ),
        ]
    spine = box(
        (0, back - 1.4 * canal - 13, -0.38 * height), (3.3, 16, 0.4 * height), rounding_mm=3, turn_deg=(8, 0, 0)
    )
    return union(*parts, spine, blend_mm=3)


def thoracic_arch(vertebra: Vertebra) -> Shape:
    """A narrow arch with a long spinous process that slopes down, and the ribs that begin beside it."""
    back, canal, height = -vertebra.depth_mm / 2, vertebra.canal_depth_mm, vertebra.height_mm
    out, parts = vertebra.canal_width_mm / 2 + 3, []
    for side in (-1, 1):
        parts += [
            tube([(side * (out - 1), back + 4, 0.25 * height), (side * out, back - 0.8 * canal, 0.2 * height)], 3.2),
            tube([(side * out, back - 0.9 * canal, 0.55 * height), (side * out, back - canal, -0.55 * height)], 3.2),
            tube([(side * out, back - canal, -0.1 * height), (0, back - 1.35 * canal, -0.4 * height)], 2.8),
            tube(
                [(side * out, back - 0.9 * canal, 0.1 * height), (side * 27, back - 1.5 * canal, 0.2 * height)],
                [3.5, 3.5],
            ),
        ]
    spine = [(0.0, back - 1.3 * canal, -0.2 * height), (0.0, back - 1.3 * canal - 22, -1.35 * height)]
    return union(*parts, band(spine, width_mm=7, thickness_mm=4.5, across=(0, 0.5, 1)), blend_mm=2)


def ribs(vertebra: Vertebra, *, girth_mm: float = 70.0) -> Shape:
    """The back ends of a pair of ribs, from the upper edge of the body round to the side."""
    back, canal, height = -vertebra.depth_mm / 2, vertebra.canal_depth_mm, vertebra.height_mm
    pair = []
    for side in (-1, 1):
        line: list[Point] = [
            (side * (vertebra.width_mm / 2 + 1), back + 2, 0.5 * height),
            (side * 30, back - 1.3 * canal, 0.3 * height),
            (side * 52, back - 1.5 * canal, -0.2 * height),
            (side * girth_mm, back - 0.3 * canal, -0.9 * height),
            (side * (girth_mm + 14), back + 30, -1.8 * height),
        ]
        pair.append(band(line, width_mm=9, thickness_mm=5, across=(0, 0, 1)))
    return union(*pair)


def cervical_arch(vertebra: Vertebra) -> Shape:
    """Lateral masses stacked beside the canal, thin laminae and a short spinous process, longest at C7."""
    back, canal, height = -vertebra.depth_mm / 2, vertebra.canal_depth_mm, vertebra.height_mm
    out, parts = vertebra.canal_width_mm / 2 + 3, []
    length = {"C2": 19, "C6": 19, "C7": 25, "T1": 26, "T2": 26}.get(vertebra.level, 15)
    for side in (-1, 1):
        parts += [
            tube([(side * 7, back + 4, 0), (side * out, back - 3, 0)], 2.8),
            ellipsoid((side * (out + 2.5), back - 0.5 * canal, 0), (5.5, 6, 0.58 * height), turn_deg=(-35, 0, 0)),
            tube([(side * (out + 1), back - 0.7 * canal, -1), (0, back - 1.2 * canal, -0.25 * height)], [2.8, 2.6]),
            tube([(side * 9, back + 7, -1), (side * (out + 6), back + 2, -2), (side * (out + 4), back - 4, -1)], 2.0),
        ]
    spine = [(0.0, back - 1.2 * canal, -0.25 * height), (0.0, back - 1.2 * canal - length, -0.75 * height)]
    return union(*parts, band(spine, width_mm=0.7 * height, thickness_mm=4.5, across=(0, 0, 1)), blend_mm=2)


def dens(vertebra: Vertebra) -> Shape:
    """The peg of the axis, standing up from its body."""
    top = vertebra.height_mm / 2
    return union(tube([(0, 0, top - 5), (0, 0.5, top + 8), (0, -0.5, top + 16)], [6.5, 5, 5]), blend_mm=1)


def atlas(axis: Vertebra) -> Shape:
    """The ring of C1 around the peg, in the coordinates of C2."""
    top, canal = axis.height_mm / 2, axis.canal_depth_mm
    masses = [ellipsoid((side * 17, -5, top + 9), (7.5, 9, 8)) for side in (-1, 1)]
    front = tube([(-15, 3, top + 9), (0, 9.5, top + 10), (15, 3, top + 9)], 4.2)
    behind = tube(
        [(-16, -9, top + 9), (-13, -20, top + 8), (0, -13 - canal, top + 7), (13, -20, top + 8), (16, -9, top + 9)], 3.6
    )
    return union(front, behind, *masses, blend_mm=2)


def sacral_wings(vertebra: Vertebra) -> Shape:
    """The side parts of a sacral segment and the low ridge behind its canal."""
    wide, back, canal = vertebra.width_mm / 2, -vertebra.depth_mm / 2, vertebra.canal_depth_mm
    sides = [ellipsoid((side * (wide + 12), back + 8, 0), (24, 15, 0.62 * vertebra.height_mm)) for side in (-1, 1)]
    behind = [tube([(side * 16, back - 6, 0), (0, back - canal - 4, 0)], [4, 4.5]) for side in (-1, 1)]
    return union(*sides, *behind, blend_mm=3)
