"""One set of drawn coordinates for people of all sizes: a canvas whose mm stretch with the person."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.regions import Finding
from radfoundry.simulate.anatomy.shapes import Point, Shape
from radfoundry.simulate.body import Body


def stretched(
    centre_mm: Point, field_of_view_mm: Point, *, spacing_mm: float, scale: float, margin_mm: float = 0.0
) -> Canvas:
    """A canvas over a field of view in the patient's mm, to be painted in the coordinates of a person of scale 1."""
    half = tuple((round(size / 2 / spacing_mm) * spacing_mm + margin_mm) / scale for size in field_of_view_mm)
    low = tuple(middle / scale - reach for middle, reach in zip(centre_mm, half, strict=True))
    high = tuple(middle / scale + reach for middle, reach in zip(centre_mm, half, strict=True))
    return Canvas((low[0], low[1], low[2]), (high[0], high[1], high[2]), spacing_mm / scale)


def finished(canvas: Canvas, *, scale: float, left: bool = False) -> Body:
    """The painted body in the patient's mm; `left` makes the mirror image (the grid is symmetric in x)."""
    body = canvas.body()
    affine = np.diag([scale, scale, scale, 1.0]) @ body.affine
    fractions, truth = body.fractions, dict(body.truth)
    if left:
        fractions, truth = fractions.flip(1), {name: mask.flip(0) for name, mask in truth.items()}
    return Body(body.tissues, fractions, affine, truth)


def placed(finding: Finding, *, scale: float, left: bool) -> Finding:
    """A finding drawn at scale 1 on the right, in the patient's mm and on the patient's side."""
    x, y, z = (round(value * scale, 2) for value in finding.centre_mm)
    side = ("left" if left else "right") if finding.side == "none" else finding.side
    return replace(finding, centre_mm=(-x if left else x, y, z), size_mm=round(finding.size_mm * scale, 2), side=side)


def band(points_mm: Sequence[Point], *, width_mm: float, thickness_mm: float, across: Point) -> Shape:
    """A flat ligament or tendon along points: a pipe widened in the direction `across`, with round edges."""
    line = torch.tensor(points_mm, dtype=torch.float32)
    arrow = torch.nn.functional.normalize(torch.tensor(across, dtype=torch.float32), dim=0)
    flat, radius = max(width_mm - thickness_mm, 0.0) / 2, thickness_mm / 2

    def distance(points: torch.Tensor) -> torch.Tensor:
        nearest = torch.full(points.shape[:-1], 1e6)
        for first, second in itertools.pairwise(line):
            along = second - first
            share = (((points - first) @ along) / along.dot(along).clamp_min(1e-6)).clamp(0, 1)
            away = points - first - share[..., None] * along
            aside = (away @ arrow).clamp(-flat, flat)
            nearest = torch.minimum(nearest, (away - aside[..., None] * arrow).norm(dim=-1))
        return nearest - radius

    reach = arrow.abs() * flat + radius
    low, high = (line.amin(dim=0) - reach).tolist(), (line.amax(dim=0) + reach).tolist()
    return Shape(distance, (low[0], low[1], low[2]), (high[0], high[1], high[2]))
