"""Disease of the breast: masses with spicules, and clusters of small calcifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.regions import Finding
from radfoundry.simulate.anatomy.shapes import ellipsoid, wavy
from radfoundry.simulate.anatomy.texture import everywhere
from radfoundry.simulate.anatomy.trees import Tree, cover_tree


def draw_findings(rng: np.random.Generator, kinds: Sequence[str], measures: Mapping[str, float]) -> tuple[Finding, ...]:
    """One finding of each kind in a quadrant; the upper outer one is the most frequent (Sohn 2008, World J Surg)."""
    found = []
    for kind in kinds:
        severity = round(float(rng.uniform(0.1, 1.0)), 3)
        side = "right" if rng.random() < 0.5 else "left"
        outer, upper = rng.random() < 0.65, rng.random() < 0.65
        sign = 1 if side == "right" else -1
        x = 87 + (1 if outer else -1) * rng.uniform(10, 0.38 * measures["half_width_mm"])
        z = -4 + (1 if upper else -1) * rng.uniform(8, 0.38 * measures["half_height_mm"])
        y = measures["projection_mm"] * rng.uniform(0.3, 0.5)
        size = 6 + 28 * severity if kind == "breast-mass" else 8 + 22 * severity
        place = (round(sign * float(x), 2), round(float(y), 2), round(float(z), 2))
        site = f"{'upper' if upper else 'lower'} {'outer' if outer else 'inner'} quadrant"
        found.append(Finding(kind, severity, place, round(size, 2), side, site))
    return tuple(found)


def paint_findings(canvas: Canvas, findings: Sequence[Finding], room: torch.Tensor, *, seed: int) -> None:
    """Paint what was drawn; `room` is the share of every voxel inside the breast."""
    for number, finding in enumerate(findings):
        if finding.kind == "breast-mass":
            _mass(canvas, finding, room, seed=seed + 50 + number)
        else:
            _calcify(canvas, finding, room, seed=seed + 50 + number)


def _mass(canvas: Canvas, finding: Finding, room: torch.Tensor, *, seed: int) -> None:
    """A lobed mass; the more severe, the more and longer its spicules."""
    rng = np.random.default_rng(seed)
    radius = finding.size_mm / 2
    ball = ellipsoid(finding.centre_mm, (radius, radius * 0.85, radius * 0.8))
    shape = wavy(ball, amplitude_mm=0.07 * radius, wavelength_mm=max(4.0, 1.4 * radius), seed=seed)
    count = int(6 + 34 * finding.severity)
    arrows = rng.standard_normal((count, 3))
    arrows /= np.linalg.norm(arrows, axis=1, keepdims=True)
    middle = np.array(finding.centre_mm)
    inner, reach = middle + arrows * radius * 0.7, radius * rng.uniform(1.2, 1.3 + 0.9 * finding.severity, (count, 1))
    half = (inner + middle + arrows * reach) / 2
    thick = np.full(count, 0.45 + 0.035 * finding.size_mm)
    spikes = Tree(
        np.concatenate([inner, half]),
        np.concatenate([half, middle + arrows * reach]),
        np.concatenate([thick, thick * 0.6]),
    )
    window, share = cover_tree(canvas, spikes)
    canvas.pour("carcinoma", window, share * room * 0.8)
    covered = canvas.cover(shape)
    if covered is None:
        return
    window, share = covered
    share = share * room[window]
    canvas.pour("carcinoma", window, share * 0.95)
    kept = canvas.truth.setdefault(finding.kind, torch.zeros(canvas.shape))
    kept[window] = torch.maximum(kept[window], share)


def _calcify(canvas: Canvas, finding: Finding, room: torch.Tensor, *, seed: int) -> None:
    """Grains of 0.2-0.9 mm in a cluster: five or more in a square centimetre make it one (BI-RADS 5th ed.)."""
    rng = np.random.default_rng(seed)
    count = int(6 + 30 * finding.severity)
    radius = finding.size_mm / 2
    places = np.array(finding.centre_mm) + np.clip(rng.standard_normal((count, 3)) * 0.5, -1, 1) * radius
    sizes = rng.uniform(0.2, 0.3 + 0.6 * finding.severity, count)
    share = sprinkle(canvas, places, sizes * sizes * sizes * np.pi / 6)
    canvas.pour("calcification", everywhere(canvas), share * (room > 0.5))
    canvas.mark(finding.kind, ellipsoid(finding.centre_mm, (radius, radius, radius)))


def sprinkle(canvas: Canvas, places_mm: np.ndarray, volumes_mm3: np.ndarray) -> torch.Tensor:
    """The share of every voxel that small grains fill: each grain's volume is kept whatever the spacing.

    A grain is spread over the eight voxels around it; a voxel never holds more than itself.
    """
    result = torch.zeros(canvas.shape)
    exact = (places_mm - np.array(canvas.low_mm)) / canvas.spacing_mm
    low = np.floor(exact).astype(int)
    for corner in np.ndindex(2, 2, 2):
        voxels = low + corner
        weight = np.prod(1 - np.abs(exact - voxels), axis=1) * volumes_mm3 / canvas.spacing_mm**3
        good = ((voxels >= 0) & (voxels < np.array(canvas.shape))).all(axis=1)
        i, j, k = torch.from_numpy(voxels[good].T)
        result.index_put_((i, j, k), torch.from_numpy(weight[good]).float(), accumulate=True)
    return result.clamp(max=1)
