"""A grid in mm to paint tissues on: each paint takes its share from what lay there before."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from radfoundry.records import InputError
from radfoundry.simulate.anatomy.shapes import Point, Shape
from radfoundry.simulate.body import Body
from radfoundry.simulate.tissues import index


@dataclass(eq=False)
class Canvas:
    """A box of the body, empty (air) at first. The third axis of every map runs along the patient's feet-to-head.

    Only the part of the grid that a shape can reach is computed, so small structures cost little.
    """

    low_mm: Point
    high_mm: Point
    spacing_mm: float
    maps: dict[str, torch.Tensor] = field(default_factory=dict)
    truth: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.spacing_mm <= 0 or any(b <= a for a, b in zip(self.low_mm, self.high_mm, strict=True)):
            raise InputError(f"no room between {self.low_mm} and {self.high_mm} at {self.spacing_mm} mm")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels an axis."""
        i, j, k = (round((b - a) / self.spacing_mm) + 1 for a, b in zip(self.low_mm, self.high_mm, strict=True))
        return (i, j, k)

    @property
    def affine(self) -> np.ndarray:
        """From voxels to RAS mm."""
        affine = np.diag([self.spacing_mm] * 3 + [1.0])
        affine[:3, 3] = self.low_mm
        return affine

    def window(self, shape: Shape) -> tuple[slice, slice, slice] | None:
        """The part of the grid a shape can reach; None when there is none."""
        bounds = []
        for low, high, start, count in zip(shape.low, shape.high, self.low_mm, self.shape, strict=True):
            first = max(0, int(np.floor((low - start) / self.spacing_mm)) - 1)
            last = min(count, int(np.ceil((high - start) / self.spacing_mm)) + 2)
            if first >= last:
                return None
            bounds.append(slice(first, last))
        return (bounds[0], bounds[1], bounds[2])

    def points(self, window: tuple[slice, slice, slice] | None = None) -> torch.Tensor:
        """Places in mm `(I, J, K, 3)` of the voxels of a window, or of all."""
        window = window or tuple(slice(0, count) for count in self.shape)  # ty: ignore[invalid-assignment]
        axes = [
            torch.arange(part.start, part.stop, dtype=torch.float32) * self.spacing_mm + start
            for part, start in zip(window or (), self.low_mm, strict=True)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)

    def cover(self, shape: Shape) -> tuple[tuple[slice, slice, slice], torch.Tensor] | None:
        """How much of every voxel in its window a shape fills, edges one voxel soft."""
        found = self.depth(shape)
        return None if found is None else (found[0], self.soft(found[1]))

    def depth(self, shape: Shape) -> tuple[tuple[slice, slice, slice], torch.Tensor] | None:
        """Signed distances to a shape in mm in the window it can reach; None when that is off the grid."""
        window = self.window(shape)
        return None if window is None else (window, shape.distance(self.points(window)))

    def soft(self, distance_mm: torch.Tensor) -> torch.Tensor:
        """How much of every voxel lies inside, from signed distances; edges one voxel soft."""
        return (0.5 - distance_mm / self.spacing_mm).clamp(0, 1)

    def paint(self, tissue: str, shape: Shape, *, strength: float = 1.0, name: str = "", within: str = "") -> None:
        """Fill a shape with a tissue (`air` empties it), `strength` of every voxel; later paints cover earlier ones.

        `name` keeps the filled share as truth. `within` confines the paint to where that tissue was.
        """
        index(tissue)
        covered = self.cover(shape)
        if covered is not None:
            window, cover = covered
            if within:
                cover = cover * self.map(within)[window].clamp(0, 1)
            self.pour(tissue, window, cover * strength, name=name)

    def pour(self, tissue: str, window: tuple[slice, slice, slice], share: torch.Tensor, *, name: str = "") -> None:
        """Turn a share of every voxel of a window into a tissue; truth painted before is covered as well."""
        for value in self.maps.values():
            value[window] *= 1 - share
        if name:
            for value in self.truth.values():
                value[window] *= 1 - share
            kept = self.truth.setdefault(name, torch.zeros(self.shape))
            kept[window] += share
        if tissue != "air":
            self.map(tissue)[window] += share

    def mix(self, tissue: str, other: str, share: torch.Tensor, window: tuple[slice, slice, slice]) -> None:
        """Turn a share of one tissue into another where it lies, for texture; nothing else changes."""
        moved = self.map(tissue)[window] * share
        self.map(tissue)[window] -= moved
        self.map(other)[window] += moved

    def mark(self, name: str, shape: Shape) -> None:
        """Keep a shape as truth without painting it."""
        covered = self.cover(shape)
        if covered is not None:
            window, cover = covered
            kept = self.truth.setdefault(name, torch.zeros(self.shape))
            kept[window] = torch.maximum(kept[window], cover)

    def map(self, tissue: str) -> torch.Tensor:
        """The fraction map of a tissue, made when first asked for."""
        if tissue not in self.maps:
            index(tissue)
            self.maps[tissue] = torch.zeros(self.shape)
        return self.maps[tissue]

    def body(self) -> Body:
        """What has been painted, ready to be scanned."""
        names = tuple(name for name, value in self.maps.items() if bool(value.any()))
        if not names:
            raise InputError("nothing has been painted")
        return Body(names, torch.stack([self.maps[name] for name in names]), self.affine, dict(self.truth))
