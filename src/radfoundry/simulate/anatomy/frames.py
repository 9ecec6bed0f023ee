"""One set of drawn coordinates for people of all sizes: a canvas whose mm stretch with the person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.regions import Finding
from radfoundry.simulate.anatomy.shapes import Point, Shape, tube, union
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
    """A flat ligament or tendon along points: pipes side by side over the width, in the direction `across`."""
    arrow = np.asarray(across, float) / np.linalg.norm(across)
    count = max(2, round(width_mm / thickness_mm / 0.7) + 1)
    pipes = []
    for offset in np.linspace(-0.5, 0.5, count) * max(width_mm - thickness_mm, 0.1):
        line = [tuple(float(v) for v in np.asarray(point) + arrow * offset) for point in points_mm]
        pipes.append(tube(line, thickness_mm / 2))  # ty: ignore[invalid-argument-type]
    return union(*pipes)
