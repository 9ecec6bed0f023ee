"""The one image type: an array with the affine that places it in the patient, in mm, RAS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from radfoundry.records import InputError

AXIS_CODES = ("LR", "PA", "IS")  # negative, positive direction of each RAS axis


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of an image lie, without the voxels: grid shape and affine to RAS mm."""

    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along each array axis."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))

    @property
    def orientation(self) -> str:
        """The anatomical direction each array axis runs towards, for example `RAS` or `LPI`."""
        return orientation_of(self.affine)

    def matches(self, other: Geometry, *, tolerance_mm: float = 1e-3) -> bool:
        """Whether every voxel of both grids lies at the same place, within the tolerance."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(3, -1).T
        apart = points_to_world(self.affine, corners) - points_to_world(other.affine, corners)
        return bool(np.abs(apart).max() <= tolerance_mm)


@dataclass(frozen=True, eq=False)
class Volume:
    """An image `(C, I, J, K)` with a 4x4 affine to RAS mm; a 2D image has K = 1.

    `units` says what the numbers mean (`HU`, `arbitrary`, `mm2/s`, …); `channels` names the first
    axis when it is time, echo, b-value or colour. Refuses zero-size axes, a singular or non-finite
    affine, and arrays that are not four-dimensional.

    >>> Volume.of(np.zeros((4, 5, 6)), np.diag([2.0, 2.0, 3.0, 1.0])).spacing_mm
    (2.0, 2.0, 3.0)
    """

    array: np.ndarray
    affine: np.ndarray
    units: str = "arbitrary"
    channels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.array.ndim != 4:
            raise InputError(f"a volume has 4 axes (C, I, J, K), got shape {self.array.shape}", finding="shape")
        if 0 in self.array.shape:
            raise InputError(f"an axis has no voxels: shape {self.array.shape}", finding="empty-axis")
        affine = np.array(self.affine, dtype=float)  # our own copy: the record is frozen, its arrays too
        check_affine(affine)
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        if self.channels and len(self.channels) != self.array.shape[0]:
            raise InputError(f"{len(self.channels)} channel names for {self.array.shape[0]} channels")

    @classmethod
    def of(cls, array: np.ndarray, affine: np.ndarray, *, units: str = "arbitrary") -> Volume:
        """A single-channel volume from an `(I, J, K)` or `(I, J)` array."""
        array = np.asarray(array)
        if array.ndim not in (2, 3):
            raise InputError(f"expected an (I, J) or (I, J, K) array, got shape {array.shape}", finding="shape")
        return cls(array[None, :, :, None] if array.ndim == 2 else array[None], affine, units)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid shape (I, J, K), without channels."""
        _, i, j, k = self.array.shape
        return (i, j, k)

    @property
    def geometry(self) -> Geometry:
        """The grid without the voxels."""
        return Geometry(self.shape, self.affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along each array axis."""
        return self.geometry.spacing_mm

    @property
    def orientation(self) -> str:
        """The anatomical direction each array axis runs towards, for example `RAS`."""
        return orientation_of(self.affine)

    def with_array(self, array: np.ndarray) -> Volume:
        """Other values on the same grid; refuses an array of another grid shape."""
        if array.shape[-3:] != self.shape:
            raise InputError(f"shape {array.shape} does not fit the grid {self.shape}", finding="shape")
        array = array[None] if array.ndim == 3 else array
        return replace(self, array=array, channels=self.channels if len(array) == len(self.array) else ())

    def crop(self, start: Sequence[int], size: Sequence[int]) -> Volume:
        """The box of `size` voxels that begins at voxel `start`; refuses a box that leaves the grid."""
        low, length = np.asarray(start, dtype=int), np.asarray(size, dtype=int)
        if (low < 0).any() or (length < 1).any() or (low + length > self.shape).any():
            raise InputError(f"box {low.tolist()}+{length.tolist()} leaves the grid {self.shape}", finding="crop")
        affine = self.affine.copy()
        affine[:3, 3] = points_to_world(self.affine, low[None])[0]
        window = tuple(slice(a, a + n) for a, n in zip(low, length, strict=True))
        return replace(self, array=self.array[(slice(None), *window)], affine=affine)

    def reorient(self, orientation: str = "RAS") -> Volume:
        """The same voxels with array axes running towards the named directions; no interpolation.

        `orientation` is three letters, one of each pair L/R, P/A, I/S.
        """
        permutation, flips = reorientation(self.affine, orientation)
        array = np.transpose(self.array, (0, *(1 + axis for axis in permutation)))
        affine = self.affine[:, [*permutation, 3]].copy()
        for axis, flipped in enumerate(flips):
            if flipped:
                array = np.flip(array, axis=axis + 1)
                affine[:3, 3] += affine[:3, axis] * (array.shape[axis + 1] - 1)
                affine[:3, axis] *= -1
        return replace(self, array=array, affine=affine)


def check_affine(affine: np.ndarray) -> None:
    """Refuse an affine that is not 4x4, not finite, projective, or that squashes the image flat."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise InputError(f"the affine must be a finite 4x4 matrix, got shape {affine.shape}", finding="affine")
    if not np.allclose(affine[3], [0, 0, 0, 1]):
        raise InputError("the last row of the affine must be 0 0 0 1", finding="affine")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths == 0).any() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
        raise InputError("the affine is singular: two axes coincide or a spacing is 0", finding="affine")


def points_to_world(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Voxel coordinates `(n, 3)` to RAS mm `(n, 3)`."""
    return np.asarray(points, dtype=float) @ affine[:3, :3].T + affine[:3, 3]


def points_to_voxels(affine: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
    """RAS mm `(n, 3)` to voxel coordinates `(n, 3)`, the inverse of `points_to_world`."""
    return np.linalg.solve(affine[:3, :3], (np.asarray(points_mm, dtype=float) - affine[:3, 3]).T).T


def orientation_of(affine: np.ndarray) -> str:
    """Three letters naming the nearest anatomical direction of each array axis, each pair used once."""
    axes = closest_axes(affine)
    return "".join(AXIS_CODES[axis][int(affine[axis, column] > 0)] for column, axis in enumerate(axes))


def closest_axes(affine: np.ndarray) -> tuple[int, int, int]:
    """For each array axis the RAS axis it runs along, each used once.

    Shear is taken out first (polar decomposition), then the best aligned array axis chooses first: the rule of
    nibabel, so that images near 45 degrees are named as other software names them.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(directions)
    cosines = np.abs(left @ right)
    chosen = [0, 0, 0]
    for column in np.argsort(-cosines.max(axis=0), kind="stable"):
        axis = int(np.argmax(cosines[:, column]))
        chosen[column] = axis
        cosines[axis] = -1.0
    return (chosen[0], chosen[1], chosen[2])


def reorientation(affine: np.ndarray, orientation: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Which array axis goes where, and which of the new axes are then flipped, to reach `orientation`."""
    wanted = [next((axis for axis, pair in enumerate(AXIS_CODES) if letter in pair), None) for letter in orientation]
    if len(orientation) != 3 or sorted(axis for axis in wanted if axis is not None) != [0, 1, 2]:
        raise InputError(f"orientation {orientation!r} is not one letter of each of L/R, P/A, I/S", remedy="use RAS")
    current, letters = closest_axes(affine), orientation_of(affine)
    permutation = tuple(current.index(axis) for axis in wanted if axis is not None)
    flips = tuple(letters[source] != letter for source, letter in zip(permutation, orientation, strict=True))
    return (permutation[0], permutation[1], permutation[2]), (flips[0], flips[1], flips[2])
