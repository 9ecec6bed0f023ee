"""Branching trees of vessels, airways and ducts that fill an organ, and how much of every voxel they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.shapes import Point, Shape
from radfoundry.simulate.anatomy.texture import Window

SPLIT_SHARE = 0.4  # how far a branch goes towards the middle of what it supplies: Tawhai 2000


@dataclass(frozen=True, eq=False)
class Tree:
    """Straight branches: starts and ends `(branches, 3)` in mm and their radii `(branches,)`, parents first."""

    starts: np.ndarray
    ends: np.ndarray
    radii_mm: np.ndarray

    def thinner_than(self, radius_mm: float) -> Tree:
        """The branches below a radius."""
        kept = self.radii_mm < radius_mm
        return Tree(self.starts[kept], self.ends[kept], self.radii_mm[kept])


def seeds_inside(shape: Shape, count: int, *, margin_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Places spread evenly at random inside a shape, at least `margin_mm` below its surface: `(count or fewer, 3)`."""
    low, high = np.array(shape.low), np.array(shape.high)
    places = torch.from_numpy(rng.uniform(low, high, size=(count * 8, 3)).astype(np.float32))
    inside = shape.distance(places) < -margin_mm
    return places[inside][:count].numpy()


def grow_tree(root_mm: Point, seeds_mm: np.ndarray, *, radius_mm: float) -> Tree:
    """A tree from a root that reaches every seed point.

    Each branch goes part of the way to the middle of its points, which are then split in two across the body axis
    along which they spread most (Tawhai 2000, Ann Biomed Eng 28:793). Radii follow Murray's law: their cubes add
    up at every fork
    (Murray 1926, J Gen Physiol 9:835), so a branch that feeds a share s of the points has radius R s^(1/3).
    """
    branches: list[tuple[np.ndarray, np.ndarray, float]] = []
    waiting = [(np.array(root_mm, dtype=float), seeds_mm.astype(float))]
    while waiting:
        start, points = waiting.pop(0)
        if not len(points):
            continue
        radius = radius_mm * (len(points) / len(seeds_mm)) ** (1 / 3)
        if len(points) == 1:
            branches.append((start, points[0], radius))
            continue
        middle = points.mean(axis=0)
        end = start + SPLIT_SHARE * (middle - start)
        branches.append((start, end, radius))
        along = points[:, int(points.std(axis=0).argmax())]
        side = along > np.median(along)
        if side.all() or not side.any():
            side = np.arange(len(points)) % 2 == 0
        waiting += [(end, points[side]), (end, points[~side])]
    starts, ends, radii = (np.array(column) for column in zip(*branches, strict=True)) if branches else _nothing()
    return Tree(starts, ends, radii)


def branches(lines_mm: Sequence[Sequence[Point]], radius_mm: float) -> Tree:
    """Lines of points, all of one thickness, as the branches of a tree: quick to paint however many there are."""
    starts = np.array([place for line in lines_mm for place in line[:-1]], dtype=float)
    ends = np.array([place for line in lines_mm for place in line[1:]], dtype=float)
    return Tree(starts, ends, np.full(len(starts), float(radius_mm)))


def cover_tree(canvas: Canvas, tree: Tree, *, widen_mm: float = 0.0) -> tuple[Window, torch.Tensor]:
    """The share of every voxel that lies in a tree's branches: the whole canvas' window and the map.

    Branches thinner than a voxel keep their volume: their share is lowered to make up for the soft edge.
    """
    spacing = canvas.spacing_mm
    result = torch.zeros(canvas.shape)
    for low, high in ((0, 1), (1, 2), (2, 4), (4, 1e6)):  # reach in voxels, so that thin branches stay cheap
        radii = (tree.radii_mm + widen_mm) / spacing
        kept = (radii > low) & (radii <= high)
        if kept.any():
            places, sizes = _along(tree.starts[kept], tree.ends[kept], radii[kept] * spacing, spacing / 2)
            _splat(canvas, result, places, sizes)
    i, j, k = canvas.shape
    return (slice(0, i), slice(0, j), slice(0, k)), result


def thin_share(radius_mm: torch.Tensor, spacing_mm: float) -> torch.Tensor:
    """What the soft edge adds to a thin tube, turned round: true cross-section over the drawn one, at most 1.

    A profile 0.5 - (d - r) / h over all distances d integrates to pi (h/2 + r)^3 / (3 h) while r < h / 2.
    """
    drawn = (spacing_mm / 2 + radius_mm) ** 3 / (3 * spacing_mm)
    return torch.where(radius_mm < spacing_mm / 2, radius_mm**2 / drawn, 1.0 / (1 + spacing_mm**2 / radius_mm**2 / 12))


def _nothing() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0)


def _along(starts: np.ndarray, ends: np.ndarray, radii: np.ndarray, step: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Places every `step` mm along all branches, and the radius at each."""
    counts = np.maximum(2, np.ceil(np.linalg.norm(ends - starts, axis=1) / step).astype(int) + 1)
    owner = np.repeat(np.arange(len(starts)), counts)
    order = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (order / (counts[owner] - 1))[:, None]
    places = starts[owner] * (1 - share) + ends[owner] * share
    return torch.from_numpy(places).float(), torch.from_numpy(radii[owner]).float()


def _splat(canvas: Canvas, result: torch.Tensor, places: torch.Tensor, radii: torch.Tensor) -> None:
    """Put a ball at every place into the map, the largest share winning."""
    reach = int(np.ceil(float(radii.max()) / canvas.spacing_mm + 0.5))
    steps = torch.arange(-reach, reach + 1)
    offsets = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), dim=-1).reshape(-1, 3)
    exact = (places - torch.tensor(canvas.low_mm)) / canvas.spacing_mm
    size = torch.tensor(canvas.shape)
    factor = thin_share(radii, canvas.spacing_mm)
    for part in range(0, len(exact), 20000 // len(offsets) * 8 + 64):
        chunk = slice(part, part + 20000 // len(offsets) * 8 + 64)
        voxels = exact[chunk].round().long()[:, None] + offsets
        away = (voxels - exact[chunk][:, None]).norm(dim=-1) * canvas.spacing_mm - radii[chunk][:, None]
        share = (0.5 - away / canvas.spacing_mm).clamp(0, 1) * factor[chunk][:, None]
        good = ((voxels >= 0) & (voxels < size)).all(dim=-1) & (share > 0)
        flat = (voxels[..., 0] * size[1] + voxels[..., 1]) * size[2] + voxels[..., 2]
        result.view(-1).scatter_reduce_(0, flat[good], share[good], reduce="amax")
