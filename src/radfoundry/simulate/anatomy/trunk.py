"""What chest and abdomen share: a person's frame, the spine, the ribs, and layers of skin, fat and muscle."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.shapes import Point, Shape, box, ellipsoid, loft, tube, union
from radfoundry.simulate.anatomy.texture import everywhere, soft


@dataclass(frozen=True)
class Frame:
    """How much wider, deeper and taller a person is than the reference man: turns reference places into theirs."""

    width: float = 1.0
    depth: float = 1.0
    height: float = 1.0

    def at(self, x: float, y: float, z: float) -> Point:
        """A reference place in this person, in RAS mm."""
        return (x * self.width, y * self.depth, z * self.height)

    def egg(self, centre: Point, radii: Point, *, turn_deg: Point = (0.0, 0.0, 0.0)) -> Shape:
        """An ellipsoid, place and size scaled."""
        return ellipsoid(self.at(*centre), self.at(*radii), turn_deg=turn_deg)

    def pipe(self, points: Sequence[Point], radii: Sequence[float] | float) -> Shape:
        """A tube along scaled places; its radius is given in mm and kept."""
        return tube([self.at(*point) for point in points], radii)

    def column(
        self,
        levels: Sequence[float],
        centres: Sequence[tuple[float, float]],
        radii: Sequence[tuple[float, float]],
        *,
        exponent: float = 2.0,
    ) -> Shape:
        """A loft along the body's axis, everything scaled."""
        scale = (self.width, self.depth)
        return loft(
            [level * self.height for level in levels],
            [(x * scale[0], y * scale[1]) for x, y in centres],
            [(a * scale[0], b * scale[1]) for a, b in radii],
            exponent=exponent,
        )


@dataclass(frozen=True)
class Vertebra:
    """One vertebra: the middle of its body and the body's half sizes (sideways, front-back, up-down) in mm."""

    centre_mm: Point
    half_mm: Point
    spinous_mm: float = 32.0
    transverse_mm: float = 26.0


def paint_spine(canvas: Canvas, vertebrae: Sequence[Vertebra], *, name: str = "spine") -> None:
    """Vertebrae from top to bottom with discs between, the canal with fluid and cord, arches and processes."""
    for upper, lower in itertools.pairwise(vertebrae):
        canvas.paint("cartilage", _disc(upper, lower), name=name)
    for bone in vertebrae:
        paint_bone(canvas, _vertebra(bone), 1.6, name=name)
    canal = [_canal(bone) for bone in vertebrae]
    points = [place for place, _ in canal]
    canvas.paint("fat", tube(points, [radius for _, radius in canal]))
    canvas.paint("csf", tube(points, [radius - 1.5 for _, radius in canal]))
    canvas.paint("cord", tube(points, [radius * 0.55 for _, radius in canal]))


def paint_bone(canvas: Canvas, solid: Shape, cortex_mm: float, *, name: str) -> None:
    """A bone: a hard shell of the given thickness round marrow with fine beams of bone in it."""
    found = canvas.depth(solid)
    if found is not None:
        window, depth = found
        canvas.pour("bone", window, canvas.soft(depth), name=name)
        canvas.pour("red-marrow", window, canvas.soft(depth + cortex_mm) * 0.9)


def _vertebra(bone: Vertebra) -> Shape:
    (x, y, z), (_, b, c) = bone.centre_mm, bone.half_mm
    back, arch = y - b, c * 0.25
    parts = [box(bone.centre_mm, bone.half_mm, rounding_mm=min(8.0, c * 0.7))]
    for side in (-1, 1):
        pedicle, joint = (x + side * 11, back + 3, z + arch), (x + side * 13, back - 13, z)
        parts.append(tube([pedicle, joint], [5.0, 5.5]))
        parts.append(tube([joint, (x + side * 2, back - 22, z - c * 0.4)], 4.0))
        tip = (x + side * (13 + bone.transverse_mm), back - 17, z + c * 0.3)
        parts.append(tube([joint, tip], [5.0, 4.0]))
    parts.append(tube([(x, back - 22, z - c * 0.4), (x, back - 22 - bone.spinous_mm * 0.8, z - c * 1.1)], [4.0, 3.5]))
    return union(*parts, blend_mm=2.0)


def _disc(upper: Vertebra, lower: Vertebra) -> Shape:
    middle = tuple((a + b) / 2 for a, b in zip(upper.centre_mm, lower.centre_mm, strict=True))
    half = (lower.half_mm[0] * 0.95, lower.half_mm[1] * 0.95)
    reach = abs(upper.centre_mm[2] - lower.centre_mm[2]) / 2 - min(upper.half_mm[2], lower.half_mm[2]) * 0.9
    return box((middle[0], middle[1], middle[2]), (*half, max(reach, 2.0) + 1), rounding_mm=min(2.0, max(reach, 1.5)))


def _canal(bone: Vertebra) -> tuple[Point, float]:
    x, y, z = bone.centre_mm
    return (x, y - bone.half_mm[1] - 8.0, z), 8.5


def column_of_vertebrae(
    levels_mm: Sequence[float], fronts_mm: Sequence[float], halves_mm: tuple[Point, Point]
) -> list[Vertebra]:
    """Vertebrae at levels from top to bottom: centres forward by `fronts_mm`, half sizes from the first to the last."""
    first, last = np.array(halves_mm[0]), np.array(halves_mm[1])
    made = []
    for number, (level, front) in enumerate(zip(levels_mm, fronts_mm, strict=True)):
        share = number / max(1, len(levels_mm) - 1)
        a, b, c = first * (1 - share) + last * share
        made.append(Vertebra((0.0, front, level), (float(a), float(b), float(c))))
    return made


def paint_layers(canvas: Canvas, surface: torch.Tensor, *, skin_mm: float) -> None:
    """Skin and fat inside a body surface given as distances over the whole canvas."""
    canvas.pour("skin", everywhere(canvas), soft(surface, canvas.spacing_mm))
    canvas.pour("fat", everywhere(canvas), soft(surface + skin_mm, canvas.spacing_mm))


def rib_line(ring: Shape, start_mm: Point, end_deg: float, drop_mm: float, *, side: int) -> list[Point]:
    """The midline of a rib on the outside of a thorax: from the spine round to `end_deg`, falling by `drop_mm`.

    Angles run from 0 at the spine to 180 at the breastbone, seen from above about the middle of the thorax.
    """
    angles = np.radians(np.linspace(14.0, end_deg, 14))
    levels = start_mm[2] + 3.0 * np.sin(angles * 2).clip(0) - drop_mm * (1 - np.cos(angles)) / 2
    reach = np.linspace(0, 220, 111)
    ways = np.stack([side * np.sin(angle) * reach for angle in angles]), np.stack([-np.cos(a) * reach for a in angles])
    places = np.stack([*ways, np.broadcast_to(levels[:, None], ways[0].shape)], axis=-1)
    outside = ring.distance(torch.from_numpy(places).float()).numpy() > 0
    first = np.where(outside.any(axis=1), np.maximum(1, outside.argmax(axis=1)), len(reach) - 1)
    return [(float(x), float(y), float(z)) for x, y, z in places[np.arange(len(angles)), first]]
