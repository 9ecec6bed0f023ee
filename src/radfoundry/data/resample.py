"""New grids for an image: other spacing, the grid of another image, another size; the affine always follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from radfoundry.data.interpolation import along_axes, anywhere, blurred
from radfoundry.records import InputError
from radfoundry.volume import Geometry, Volume, points_to_world

ORDERS = {0: "nearest neighbour", 1: "linear", 3: "cubic B-spline"}
# Two grids whose voxels lie this close to each other are the same grid; float32 affines differ by less.
SAME_PLACE_VOXELS = 1e-4


def resample(volume: Volume, spacing_mm: Sequence[float], *, order: int = 1, antialias: bool = True) -> Volume:
    """The same image at another voxel size, over the same field of view.

    `spacing_mm` has one length per array axis; an axis with one voxel (2D images) is left alone. The
    centre of the image stays where it is, the number of voxels is the nearest whole number that covers
    the field of view. Order 0 (label maps) takes the nearest voxel and keeps the voxel type, so that no
    label is invented; orders 1 and 3 give float32. Going coarser with order 1 or 3, the image is
    smoothed first so that detail finer than the new voxels does not come back as a false pattern (see
    `interpolation.blur_sigma`). At the voxel size it already has, the volume is returned untouched.

    >>> head = Volume.of(np.zeros((10, 10, 4), np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
    >>> resample(head, (2, 2, 2)).shape
    (5, 5, 6)
    """
    wanted = np.asarray(spacing_mm, dtype=float)
    if wanted.shape != (3,) or not (np.isfinite(wanted).all() and (wanted > 0).all()):
        raise InputError(f"spacing {spacing_mm} is not three positive lengths in mm", remedy="for example 1 1 1")
    shape, present = np.array(volume.shape), np.array(volume.spacing_mm)
    wanted = np.where(shape == 1, present, wanted)
    size = np.maximum(1, np.floor(shape * present / wanted + 0.5)).astype(int)
    affine = volume.affine.copy()
    affine[:3, :3] *= wanted / present
    centre = points_to_world(volume.affine, ((shape - 1) / 2)[None])[0]
    affine[:3, 3] = centre - affine[:3, :3] @ ((size - 1) / 2)
    grid = Geometry((int(size[0]), int(size[1]), int(size[2])), affine)
    return _onto(volume, grid, order=order, antialias=antialias, outside=None, extend=True)


def resample_to(
    volume: Volume, geometry: Geometry, *, order: int = 1, outside: float | None = None, antialias: bool = True
) -> Volume:
    """An image read off at the voxels of another grid, whatever its direction, spacing or shear.

    Places outside the image get `outside`, by default the smallest value of the image (air, or no
    label). Orders, voxel types and smoothing as in `resample`. A grid that is already the image's own
    returns the volume untouched, one whose voxels lie within a ten-thousandth of a voxel counts as the same.
    """
    return _onto(volume, geometry, order=order, antialias=antialias, outside=outside, extend=False)


def fit(volume: Volume, shape: Sequence[int], *, outside: float | None = None) -> Volume:
    """The image cut or filled up around its centre to `shape` voxels; no interpolation, every voxel keeps its place.

    Filled places get `outside`, by default the smallest value of the image. An axis with one voxel is
    left alone, so that a 2D image stays one.

    >>> fit(Volume.of(np.ones((4, 9, 5)), np.eye(4)), (6, 6, 5)).shape
    (6, 6, 5)
    """
    wanted = tuple(int(n) for n in shape)
    if len(wanted) != 3 or min(wanted) < 1:
        raise InputError(f"shape {tuple(shape)} is not three positive numbers of voxels", finding="shape")
    wanted = tuple(n if have > 1 else 1 for n, have in zip(wanted, volume.shape, strict=True))
    if wanted == volume.shape:
        return volume
    start = [(have - n) // 2 for n, have in zip(wanted, volume.shape, strict=True)]
    taken = [slice(max(0, a), min(have, a + n)) for a, n, have in zip(start, wanted, volume.shape, strict=True)]
    array = volume.array[(slice(None), *taken)]
    if array.shape[1:] != wanted:
        fill = volume.array.min() if outside is None else outside
        padded = np.full((len(array), *wanted), fill, dtype=array.dtype)
        place = [slice(max(0, -a), max(0, -a) + (s.stop - s.start)) for a, s in zip(start, taken, strict=True)]
        padded[(slice(None), *place)] = array
        array = padded
    affine = volume.affine.copy()
    affine[:3, 3] = points_to_world(volume.affine, np.array([start]))[0]
    return replace(volume, array=array, affine=affine)


def _onto(
    volume: Volume, grid: Geometry, *, order: int, antialias: bool, outside: float | None, extend: bool
) -> Volume:
    if order not in ORDERS:
        raise InputError(f"interpolation order {order} is not one of 0, 1, 3", remedy="use 0 for label maps, else 1")
    step = _step(volume, grid)
    if grid.shape == volume.shape and _same_place(step, np.eye(4), grid.shape):
        return volume
    fill = None if extend else float(volume.array.min() if outside is None else outside)
    turned = volume.reorient(grid.orientation)
    step = _step(turned, grid)
    parallel = np.eye(4)
    parallel[:3] = np.diag([*np.diag(step)[:3], 1.0])[:3]
    parallel[:3, 3] = step[:3, 3]
    if order < 3 and _same_place(step, parallel, grid.shape):
        array = along_axes(turned.array, parallel, grid.shape, order=order, antialias=antialias, outside=fill)
    else:
        factors = np.linalg.norm(step[:3, :3], axis=1).tolist()
        source = blurred(turned.array, factors) if order and antialias else turned.array
        array = np.stack([anywhere(part, step, grid.shape, order=order, outside=fill) for part in source])
    return replace(volume, array=array, affine=grid.affine.copy())


def _step(volume: Volume, grid: Geometry) -> np.ndarray:
    """The matrix from voxel numbers of the grid to those of the volume."""
    return np.linalg.solve(volume.affine, grid.affine)


def _same_place(first: np.ndarray, second: np.ndarray, shape: tuple[int, int, int]) -> bool:
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1).T
    apart = points_to_world(first, corners) - points_to_world(second, corners)
    return bool(np.abs(apart).max() <= SAME_PLACE_VOXELS)
