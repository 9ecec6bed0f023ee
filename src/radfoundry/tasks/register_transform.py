"""A spatial transform between two images: where each point of the fixed image lies in the moving one, in mm RAS."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from radfoundry.data.interpolation import blurred
from radfoundry.data.resample import resample_to
from radfoundry.losses.similarity import volume_change
from radfoundry.nets import warp
from radfoundry.records import InputError
from radfoundry.volume import Geometry, Volume, check_affine, points_to_voxels, points_to_world

ROWS = 400_000
INVERSE_STEPS = 30


@dataclass(frozen=True, eq=False)
class Transform:
    """From points of the fixed image to points of the moving one: first a displacement, then a matrix.

    `matrix` is 4x4 between RAS mm; `field` holds displacements in mm RAS as a volume of 3 channels (beyond its edge
    the nearest value counts), or None. Source of the direction: an image is read off at the places it comes from.

    >>> move = Transform(np.array([[1.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    >>> move.points(np.zeros((1, 3))).tolist(), move.inverse_points(np.zeros((1, 3))).tolist()
    ([[5.0, 0.0, 0.0]], [[-5.0, 0.0, 0.0]])
    """

    matrix: np.ndarray
    field: Volume | None = None

    def __post_init__(self) -> None:
        check_affine(self.matrix)
        if self.field is not None and len(self.field.array) != 3:
            raise InputError(f"a displacement has 3 channels, got {len(self.field.array)}", finding="field")

    def points(self, points_mm: np.ndarray) -> np.ndarray:
        """`(n, 3)` points of the fixed image to where they lie in the moving image."""
        points_mm = np.asarray(points_mm, dtype=float)
        return points_to_world(self.matrix, points_mm + self._shifts(points_mm))

    def inverse_points(self, points_mm: np.ndarray) -> np.ndarray:
        """`(n, 3)` points of the moving image to where they lie in the fixed image, found step by step."""
        target = points_to_voxels(self.matrix, np.asarray(points_mm, dtype=float))
        found = target.copy()
        for _ in range(INVERSE_STEPS if self.field is not None else 1):
            found = target - self._shifts(found)
        return found

    def displacement(self, geometry: Geometry) -> Volume:
        """How far each voxel of a grid is moved, `(3, I, J, K)` in mm along right-left, front-back and head-foot."""
        places = _places(geometry)
        moved = np.concatenate([self.points(places[a : a + ROWS]) for a in range(0, len(places), ROWS)])
        array = (moved - places).astype(np.float32).T.reshape(3, *geometry.shape)
        return Volume(array, geometry.affine, "mm", ("R", "A", "S"))

    def moved(self, volume: Volume, geometry: Geometry, *, order: int = 1) -> Volume:
        """An image brought to the grid of another: order 1 for images, 0 for label maps.

        Places the image does not reach get its smallest value (0 for label maps). An image of finer voxels is
        smoothed first.
        """
        if self.field is None:
            placed = replace(volume, affine=np.linalg.solve(self.matrix, volume.affine))
            return resample_to(placed, geometry, order=order, outside=0.0 if order == 0 else None)
        factors = np.array(geometry.spacing_mm).max() / np.array(volume.spacing_mm)
        source = volume.array if order == 0 else blurred(volume.array, np.maximum(factors, 1.0).tolist())
        values = torch.from_numpy(np.ascontiguousarray(source, dtype=None if order == 0 else np.float32))
        places = _places(geometry)
        parts = [self._read(values, volume.affine, places[a : a + ROWS], order) for a in range(0, len(places), ROWS)]
        array = torch.cat(parts, dim=1).reshape(len(values), *geometry.shape).numpy()
        return Volume(array, geometry.affine, volume.units, volume.channels)

    def _read(self, values: torch.Tensor, affine: np.ndarray, places: np.ndarray, order: int) -> torch.Tensor:
        voxels = torch.from_numpy(points_to_voxels(affine, self.points(places)))
        if order == 0:
            return warp.sample_nearest(values, voxels)
        read = warp.sample(values, voxels.float())
        lowest = values.flatten(1).amin(dim=1)[:, None]
        return torch.where(warp.inside(tuple(values.shape[1:]), voxels)[None], read, lowest)

    def folded_share(self, weight: np.ndarray | None = None) -> float:
        """The share of places where the Jacobian determinant of the displacement is 0 or less (folds); 0 without one.

        weight: which voxels of the field's grid count, `(I, J, K)`.
        """
        if self.field is None:
            return 0.0
        change = self.volume_change()
        counted = np.ones(change.shape, bool) if weight is None else weight[:-1, :-1, :-1] > 0
        return float((change[counted] <= 0).mean()) if counted.any() else 0.0

    def volume_change(self) -> np.ndarray:
        """The Jacobian determinant of the displacement on the field's grid (one voxel shorter along each axis)."""
        if self.field is None:
            raise InputError("the transform has no displacement", remedy="its determinant is that of the matrix")
        axes = torch.from_numpy(np.linalg.inv(self.field.affine[:3, :3])).float()
        voxels = torch.einsum("ab,bijk->aijk", axes, torch.from_numpy(self.field.array.astype(np.float32)))
        return volume_change(voxels).numpy()

    def _shifts(self, points_mm: np.ndarray) -> np.ndarray:
        if self.field is None:
            return np.zeros_like(points_mm)
        voxels = torch.from_numpy(points_to_voxels(self.field.affine, points_mm)).float()
        return warp.sample(torch.from_numpy(self.field.array.astype(np.float32)), voxels).numpy().T.astype(float)


def _places(geometry: Geometry) -> np.ndarray:
    """RAS mm of every voxel of a grid, `(n, 3)`."""
    return points_to_world(geometry.affine, warp.grid(geometry.shape).reshape(-1, 3).numpy())
