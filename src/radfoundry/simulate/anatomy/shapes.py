"""Shapes in millimetres as signed distances: negative inside, zero on the surface, with the box they fit in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.records import InputError
from radfoundry.simulate.fields import rotation

Point = tuple[float, float, float]
EVERYWHERE = (-1e6, -1e6, -1e6), (1e6, 1e6, 1e6)


@dataclass(frozen=True, eq=False)
class Shape:
    """A solid: `distance` maps points `(…, 3)` in RAS mm to signed distances `(…)`; `low` and `high` are its box.

    Distances are exact or a little short of exact near the surface, which is where they are used.
    """

    distance: Callable[[torch.Tensor], torch.Tensor]
    low: Point
    high: Point


def ellipsoid(centre_mm: Point, radii_mm: Point, *, turn_deg: Point = (0.0, 0.0, 0.0)) -> Shape:
    """An egg: three half axes, turned about its centre.

    >>> ball = ellipsoid((0, 0, 0), (10, 10, 10))
    >>> [round(float(value), 3) for value in ball.distance(torch.tensor([[0.0, 0, 12], [10, 0, 0]]))]
    [2.0, 0.0]
    """
    _positive(radii_mm)
    turn, centre = _turn(turn_deg), torch.tensor(centre_mm, dtype=torch.float32)
    radii = torch.tensor(radii_mm, dtype=torch.float32)

    def distance(points: torch.Tensor) -> torch.Tensor:
        local = (points - centre) @ turn
        first = _length(local / radii)
        # Quilez' bound: exact on spheres, second order near the surface of every ellipsoid.
        slope = _length(local / radii**2).clamp_min(1e-6)
        return torch.where(first < 1e-3, -radii.min(), first * (first - 1) / slope)

    return Shape(distance, *_turned_box(centre_mm, radii_mm, turn))


def ball(centre_mm: Point, radius_mm: float) -> Shape:
    """A ball: an egg with three equal half axes."""
    return ellipsoid(centre_mm, (radius_mm, radius_mm, radius_mm))


def box(centre_mm: Point, half_mm: Point, *, rounding_mm: float = 0.0, turn_deg: Point = (0.0, 0.0, 0.0)) -> Shape:
    """A block with rounded edges: `half_mm` are half its sides, the rounding included."""
    _positive(half_mm)
    turn, centre = _turn(turn_deg), torch.tensor(centre_mm, dtype=torch.float32)
    half = torch.tensor(half_mm, dtype=torch.float32) - rounding_mm

    def distance(points: torch.Tensor) -> torch.Tensor:
        apart = ((points - centre) @ turn).abs() - half
        return apart.clamp_min(0).norm(dim=-1) + apart.amax(dim=-1).clamp_max(0) - rounding_mm

    return Shape(distance, *_turned_box(centre_mm, half_mm, turn))


def tube(points_mm: Sequence[Point], radii_mm: Sequence[float] | float) -> Shape:
    """A pipe along a line of points, round at the ends, its radius changing evenly from point to point."""
    line = torch.tensor(points_mm, dtype=torch.float32)
    radii = torch.as_tensor(radii_mm, dtype=torch.float32).expand(len(line)).clone()
    if len(line) < 2:
        raise InputError(f"a tube needs two points, got {len(line)}")
    _positive(tuple(radii.tolist()))

    def distance(points: torch.Tensor) -> torch.Tensor:
        nearest = torch.full(points.shape[:-1], 1e6)
        x, y, z = (part.contiguous() for part in points.unbind(-1))  # parts are quicker than norms over three
        for first, second, wide, narrow in zip(ends[:-1], ends[1:], sizes[:-1], sizes[1:], strict=True):
            a, b, c = (end - start for start, end in zip(first, second, strict=True))
            u, v, w = x - first[0], y - first[1], z - first[2]
            share = ((u * a + v * b + w * c) / max(a * a + b * b + c * c, 1e-6)).clamp_(0, 1)
            u, v, w = u.sub_(share * a), v.sub_(share * b), w.sub_(share * c)
            away = (u.square_() + v.square_() + w.square_()).sqrt_()
            nearest = torch.minimum(nearest, away - (wide + (narrow - wide) * share))
        return nearest

    ends, sizes = line.tolist(), radii.tolist()
    reach = float(radii.max())
    low, high = line.amin(dim=0) - reach, line.amax(dim=0) + reach
    return Shape(distance, _point(low), _point(high))


def loft(
    levels_mm: Sequence[float],
    centres_mm: Sequence[tuple[float, float]],
    radii_mm: Sequence[tuple[float, float]],
    *,
    axis: int = 2,
    exponent: float = 2.0,
) -> Shape:
    """A limb or trunk: cross-sections (centre and two radii, other axes in RAS order) at levels along an axis.

    Between levels everything changes smoothly; `exponent` 2 gives ellipses, 3 or 4 squarer sections. The
    ends are flat: outside the levels nothing is inside. Levels must rise.
    """
    if len(levels_mm) < 2 or any(b <= a for a, b in itertools.pairwise(levels_mm)):
        raise InputError("the levels of a loft must rise", remedy="give at least two")
    from scipy.interpolate import PchipInterpolator

    table = np.concatenate([np.asarray(centres_mm, float), np.asarray(radii_mm, float)], axis=1)
    fine = np.linspace(levels_mm[0], levels_mm[-1], 129)
    smooth = torch.from_numpy(PchipInterpolator(np.asarray(levels_mm, float), table)(fine)).float()
    others = [index for index in range(3) if index != axis]
    first, last = float(levels_mm[0]), float(levels_mm[-1])

    def distance(points: torch.Tensor) -> torch.Tensor:
        height = _line(points, axis)
        place = ((height - first) / (last - first)).clamp(0, 1) * 128
        left = place.floor().clamp(max=127).long()
        share = (place - left)[..., None]
        row = smooth[left] * (1 - share) + smooth[left + 1] * share
        across = (points[..., others[0]] - row[..., 0]) / row[..., 2]
        along = (points[..., others[1]] - row[..., 1]) / row[..., 3]
        away = (across.square() + along.square()).sqrt().clamp_min(1e-6)
        ratio = away
        if exponent != 2:
            powers = across.abs().clamp_min(1e-6) ** exponent + along.abs().clamp_min(1e-6) ** exponent
            ratio = powers ** (1 / exponent)
        steepness = ((across / row[..., 2]).square() + (along / row[..., 3]).square()).sqrt() / away
        side = (ratio - 1) / steepness.clamp_min(1e-6)
        ends = torch.maximum(first - points[..., axis], points[..., axis] - last)
        return torch.maximum(side, ends)

    low, high = [0.0] * 3, [0.0] * 3
    low[axis], high[axis] = first, last
    for column, index in enumerate(others):
        low[index] = float((smooth[:, column] - smooth[:, column + 2]).min())
        high[index] = float((smooth[:, column] + smooth[:, column + 2]).max())
    return Shape(distance, (low[0], low[1], low[2]), (high[0], high[1], high[2]))


def half_space(point_mm: Point, normal: Point) -> Shape:
    """Everything behind a plane: the normal points out of it."""
    arrow = torch.tensor(normal, dtype=torch.float32)
    arrow = arrow / arrow.norm()
    place = torch.tensor(point_mm, dtype=torch.float32)
    return Shape(lambda points: (points - place) @ arrow, *EVERYWHERE)


def union(*shapes: Shape, blend_mm: float = 0.0) -> Shape:
    """Several shapes as one; `blend_mm` rounds the crease where they meet."""

    def distance(points: torch.Tensor) -> torch.Tensor:
        nearest = shapes[0].distance(points)
        for other in shapes[1:]:
            away = other.distance(points)
            if blend_mm:
                share = (0.5 + 0.5 * (away - nearest) / blend_mm).clamp(0, 1)
                nearest = away * (1 - share) + nearest * share - blend_mm * share * (1 - share)
            else:
                nearest = torch.minimum(nearest, away)
        return nearest

    low = tuple(min(shape.low[axis] for shape in shapes) - blend_mm / 4 for axis in range(3))
    high = tuple(max(shape.high[axis] for shape in shapes) + blend_mm / 4 for axis in range(3))
    return Shape(distance, (low[0], low[1], low[2]), (high[0], high[1], high[2]))


def common(*shapes: Shape) -> Shape:
    """What lies in all of the shapes."""

    def distance(points: torch.Tensor) -> torch.Tensor:
        return torch.stack([shape.distance(points) for shape in shapes]).amax(dim=0)

    low = tuple(max(shape.low[axis] for shape in shapes) for axis in range(3))
    high = tuple(min(shape.high[axis] for shape in shapes) for axis in range(3))
    return Shape(distance, (low[0], low[1], low[2]), (high[0], high[1], high[2]))


def cut(shape: Shape, *others: Shape) -> Shape:
    """The shape without what lies in the others."""

    def distance(points: torch.Tensor) -> torch.Tensor:
        left = shape.distance(points)
        for other in others:
            left = torch.maximum(left, -other.distance(points))
        return left

    return Shape(distance, shape.low, shape.high)


def grow(shape: Shape, by_mm: float) -> Shape:
    """The shape with its surface moved outwards (inwards when negative)."""
    low = tuple(value - by_mm for value in shape.low)
    high = tuple(value + by_mm for value in shape.high)
    return Shape(lambda points: shape.distance(points) - by_mm, (low[0], low[1], low[2]), (high[0], high[1], high[2]))


def shell(shape: Shape, *, thickness_mm: float) -> Shape:
    """The outer layer of a shape: what lies inside it within `thickness_mm` of its surface."""

    def distance(points: torch.Tensor) -> torch.Tensor:
        depth = shape.distance(points)
        return torch.maximum(depth, -depth - thickness_mm)

    return Shape(distance, shape.low, shape.high)


def wavy(shape: Shape, *, amplitude_mm: float, wavelength_mm: float, seed: int) -> Shape:
    """The shape with an uneven surface: a sum of six random waves moves it in and out."""
    rng = np.random.default_rng(seed)
    waves = rng.standard_normal((6, 3))
    waves *= 2 * np.pi / wavelength_mm / np.linalg.norm(waves, axis=1, keepdims=True)
    directions = torch.from_numpy(waves).float()
    phases = torch.from_numpy(rng.uniform(0, 2 * np.pi, 6)).float()

    def distance(points: torch.Tensor) -> torch.Tensor:
        swell = torch.sin(points @ directions.T + phases).sum(dim=-1) / 3**0.5
        return shape.distance(points) - amplitude_mm * swell

    spread = 2 * amplitude_mm
    return Shape(distance, grow(shape, spread).low, grow(shape, spread).high)


def mirrored(shape: Shape) -> Shape:
    """The same shape on the other side of the body's midline (x turned to -x)."""
    flip = torch.tensor([-1.0, 1.0, 1.0])
    low, high = shape.low, shape.high
    return Shape(lambda points: shape.distance(points * flip), (-high[0], low[1], low[2]), (-low[0], high[1], high[2]))


def moved(shape: Shape, shift_mm: Point, *, turn_deg: Point = (0.0, 0.0, 0.0)) -> Shape:
    """The same shape turned about the origin, then shifted."""
    turn, shift = _turn(turn_deg), torch.tensor(shift_mm, dtype=torch.float32)
    corners = torch.tensor(list(itertools.product(*zip(shape.low, shape.high, strict=True)))) @ turn.T + shift
    low, high = corners.amin(dim=0), corners.amax(dim=0)
    return Shape(lambda points: shape.distance((points - shift) @ turn), _point(low), _point(high))


def broken(shape: Shape, point_mm: Point, normal: Point, *, shift_mm: Point, gap_mm: float) -> Shape:
    """The shape broken along a plane: what lies in front of it (along the normal) is shifted, with a gap between."""
    arrow = torch.nn.functional.normalize(torch.tensor(normal, dtype=torch.float32), dim=0)
    place, shift = torch.tensor(point_mm, dtype=torch.float32), torch.tensor(shift_mm, dtype=torch.float32)

    def distance(points: torch.Tensor) -> torch.Tensor:
        ahead = (points - place) @ arrow
        apart = shape.distance(points - shift * (ahead > 0)[..., None])
        return torch.maximum(apart, gap_mm / 2 - ahead.abs())

    reach = float(shift.abs().max())
    return Shape(distance, grow(shape, reach).low, grow(shape, reach).high)


def _length(vectors: torch.Tensor) -> torch.Tensor:
    """Lengths of vectors along the last axis; quicker than a norm over three."""
    x, y, z = vectors.unbind(-1)
    return (x * x + y * y + z * z).sqrt()


def _line(points: torch.Tensor, axis: int) -> torch.Tensor:
    """One coordinate of all points; of a grid along the axes only a line of it, which broadcasts to the rest."""
    values = points[..., axis]
    if points.ndim == 4:
        line = values
        for other in range(3):
            if other != axis:
                line = line.narrow(other, 0, 1)
        if bool((values == line).all()):
            return line
    return values


def _positive(sizes: Sequence[float]) -> None:
    if min(sizes) <= 0:
        raise InputError(f"a shape of size {tuple(sizes)} mm", remedy="give positive sizes in mm")


def _turn(turn_deg: Point) -> torch.Tensor:
    return torch.from_numpy(rotation(turn_deg)).float()


def _turned_box(centre_mm: Point, half_mm: Point, turn: torch.Tensor) -> tuple[Point, Point]:
    reach = turn.abs() @ torch.tensor(half_mm, dtype=torch.float32)
    centre = torch.tensor(centre_mm, dtype=torch.float32)
    return _point(centre - reach), _point(centre + reach)


def _point(values: torch.Tensor) -> Point:
    x, y, z = values.tolist()
    return (x, y, z)
