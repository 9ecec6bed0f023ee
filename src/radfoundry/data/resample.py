"""New grids for an image: other spacing, the grid of another image, another size; the affine always follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from radfoundry.records import InputError
from radfoundry.volume import Geometry, Volume, points_to_world

ORDERS = {0: "nearest neighbour", 1: "linear", 3: "cubic B-spline"}
SAME_PLACE_VOXELS = 1e-6
# A point spread as wide as the voxel: full width at half maximum to standard deviation of a Gaussian.
SIGMA_PER_WIDTH = 1.0 / (8.0 * np.log(2.0)) ** 0.5


def resample(volume: Volume, spacing_mm: Sequence[float], *, order: int = 1, antialias: bool = True) -> Volume:
    """The same image at another voxel size, over the same field of view.

    `spacing_mm` has one length per array axis; an axis with one voxel (2D images) is left alone. The
    centre of the image stays where it is, the number of voxels is the nearest whole number that covers
    the field of view. Order 0 (label maps) takes the nearest voxel and keeps the voxel type, so that no
    label is invented; orders 1 and 3 give float32. Going coarser with order 1 or 3, the image is
    smoothed first so that detail finer than the new voxels does not come back as a false pattern (see
    `smoothed`). At the voxel size it already has, the volume is returned untouched.

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
    returns the volume untouched.
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


def smoothed(array: np.ndarray, factors: Sequence[float]) -> np.ndarray:
    """Blur `(C, I, J, K)` as voxels `factors` times larger would; axes with a factor up to 1 are left alone.

    The Gaussian turns a point spread as wide as the old voxel into one as wide as the new voxel:
    sigma² = (factor² - 1) / (8 ln 2), in old voxels. Source: M. J. Cardoso et al., "Scale factor point
    spread function matching: beyond aliasing in image resampling", MICCAI 2015.
    """
    from scipy.ndimage import gaussian_filter1d

    array = np.asarray(array, dtype=np.float32)
    for axis, factor in enumerate(factors, start=1):
        if factor > 1.0 + 1e-3 and array.shape[axis] > 1:
            sigma = (factor**2 - 1.0) ** 0.5 * SIGMA_PER_WIDTH
            array = gaussian_filter1d(array, sigma, axis=axis, mode="nearest", truncate=3.0)
    return array


def _onto(
    volume: Volume, grid: Geometry, *, order: int, antialias: bool, outside: float | None, extend: bool
) -> Volume:
    if order not in ORDERS:
        raise InputError(f"interpolation order {order} is not one of 0, 1, 3", remedy="use 0 for label maps, else 1")
    step = np.linalg.solve(volume.affine, grid.affine)  # new voxel numbers to old ones
    if grid.shape == volume.shape and _is_identity(step, grid.shape):
        return volume
    fill = float(volume.array.min()) if outside is None else float(outside)
    source = volume.array
    if order and antialias:
        source = smoothed(source, np.linalg.norm(step[:3, :3], axis=1).tolist())
    channels = [_sampled(channel, step, grid.shape, order, None if extend else fill) for channel in source]
    return replace(volume, array=np.stack(channels), affine=grid.affine.copy())


def _is_identity(step: np.ndarray, shape: tuple[int, int, int]) -> bool:
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1).T
    return bool(np.abs(points_to_world(step, corners) - corners).max() <= SAME_PLACE_VOXELS)


def _sampled(
    channel: np.ndarray, step: np.ndarray, shape: tuple[int, int, int], order: int, outside: float | None
) -> np.ndarray:
    # ITK works here in voxel numbers instead of mm, so that sheared grids, which it does not know, are no exception.
    import SimpleITK as sitk

    kept = channel.dtype
    if order == 0:
        channel = channel.astype(_whole_carrier(kept), copy=False)
    else:
        channel = channel.astype(np.float32, copy=False)
    image: Any = sitk.GetImageFromArray(np.ascontiguousarray(channel.transpose(2, 1, 0)))
    move = sitk.AffineTransform(3)
    move.SetMatrix(step[:3, :3].ravel().tolist())
    move.SetTranslation(step[:3, 3].tolist())
    filter_: Any = sitk.ResampleImageFilter()
    filter_.SetSize([int(n) for n in shape])
    filter_.SetTransform(move)
    filter_.SetInterpolator({0: sitk.sitkNearestNeighbor, 1: sitk.sitkLinear, 3: sitk.sitkBSpline}[order])
    filter_.SetUseNearestNeighborExtrapolator(outside is None)
    filter_.SetDefaultPixelValue(0.0 if outside is None else outside)
    sampled = sitk.GetArrayFromImage(filter_.Execute(image)).transpose(2, 1, 0)
    return sampled.astype(kept if order == 0 else np.float32, copy=False)


def _whole_carrier(kind: np.dtype) -> np.dtype:
    """The ITK voxel type that carries a numpy type unchanged."""
    if kind.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if kind == np.float16 else kind.newbyteorder("=")
