"""Reading an image off between its voxels: axis by axis where grids are parallel, anywhere else through ITK."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# Full width at half maximum to standard deviation of a Gaussian.
SIGMA_PER_WIDTH = 1.0 / math.sqrt(8.0 * math.log(2.0))
TRUNCATE_SIGMAS = 3.0
# Voxel numbers this close to a boundary are meant to lie on it; rounding of an affine makes differences this small.
TIE_VOXELS = 1e-6


def blur_sigma(factor: float) -> float:
    """How far to blur, in voxels, before voxels become `factor` times larger; 0 up to a factor of 1.

    The Gaussian turns a point spread as wide as the old voxel into one as wide as the new voxel:
    sigma² = (factor² - 1) / (8 ln 2). Source: M. J. Cardoso et al., "Scale factor point spread function
    matching: beyond aliasing in image resampling", MICCAI 2015.

    >>> round(blur_sigma(2.0), 3), blur_sigma(0.5)
    (0.736, 0.0)
    """
    return math.sqrt(factor**2 - 1.0) * SIGMA_PER_WIDTH if factor > 1.0 + 1e-3 else 0.0


def along_axes(
    array: np.ndarray,
    step: np.ndarray,
    shape: tuple[int, int, int],
    *,
    order: int,
    antialias: bool,
    outside: float | None,
) -> np.ndarray:
    """`(C, I, J, K)` at the voxels of a parallel grid: voxel x along axis a is old voxel `step[a, a] x + step[a, 3]`.

    Order 0 keeps the voxel type, order 1 gives float32. Places more than half a voxel outside become
    `outside`, or the nearest voxel when that is None.
    """
    # Files with the first axis running fastest arrive as transposed views; working in memory order avoids a copy.
    turned = not array.flags.c_contiguous and array.transpose(0, 3, 2, 1).flags.c_contiguous
    result = array.transpose(0, 3, 2, 1) if turned else array
    result = result if order == 0 else np.ascontiguousarray(result, dtype=np.float32)
    for axis in range(3):
        at = step[axis, axis] * np.arange(shape[axis]) + step[axis, 3]
        place = 3 - axis if turned else axis + 1
        if order == 0:
            nearest = np.floor(at + 0.5 + TIE_VOXELS).astype(int)
            result = np.take(result, nearest, axis=place, mode="clip")
        else:
            sigma = blur_sigma(abs(step[axis, axis])) if antialias and array.shape[axis + 1] > 1 else 0.0
            result = _weighted(result, linear_weights(at, array.shape[axis + 1], sigma), place)
    result = result.transpose(0, 3, 2, 1) if turned else result
    if outside is not None:
        result = _emptied(result, step, array.shape[1:], outside)
    return result


def linear_weights(at: np.ndarray, count: int, sigma: float) -> Any:
    """The sparse matrix `(len(at), count)` that blurs by `sigma` voxels and then interpolates linearly at `at`."""
    from scipy.sparse import csr_matrix

    at = np.clip(at, 0, count - 1)
    low = np.clip(np.floor(at).astype(int), 0, max(0, count - 2))
    part = at - low
    rows = np.arange(len(at))
    weights = csr_matrix(
        (
            np.concatenate([1 - part, part]),
            (np.concatenate([rows, rows]), np.concatenate([low, np.minimum(low + 1, count - 1)])),
        ),
        shape=(len(at), count),
    )
    if sigma > 0:
        weights = weights @ blur_weights(count, sigma)
    weights.eliminate_zeros()
    return weights.astype(np.float32)


def blur_weights(count: int, sigma: float) -> Any:
    """The sparse matrix `(count, count)` of a Gaussian blur that repeats the edge voxels beyond the edge."""
    from scipy.sparse import csr_matrix

    reach = int(TRUNCATE_SIGMAS * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    rows = np.repeat(np.arange(count), len(offsets))
    columns = np.clip(rows + np.tile(offsets, count), 0, count - 1)
    return csr_matrix((np.tile(kernel, count), (rows, columns)), shape=(count, count))


def _weighted(array: np.ndarray, weights: Any, axis: int) -> np.ndarray:
    before, count, after = int(np.prod(array.shape[:axis])), array.shape[axis], int(np.prod(array.shape[axis + 1 :]))
    shape = (*array.shape[:axis], weights.shape[0], *array.shape[axis + 1 :])
    if after < 8:  # the sparse product runs along the axes after this one; without them a dense product is faster
        flat = np.moveaxis(array, axis, -1).reshape(-1, count) @ weights.toarray().T
        moved = (*array.shape[:axis], *array.shape[axis + 1 :], weights.shape[0])
        return np.ascontiguousarray(np.moveaxis(flat.reshape(moved), -1, axis))
    blocks = array.reshape(before, count, after)
    result = np.empty((before, weights.shape[0], after), np.float32)
    for number in range(before):
        result[number] = weights @ blocks[number]
    return result.reshape(shape)


def _emptied(array: np.ndarray, step: np.ndarray, source: tuple[int, ...], outside: float) -> np.ndarray:
    for axis in range(3):
        at = step[axis, axis] * np.arange(array.shape[axis + 1]) + step[axis, 3]
        beyond = (at < -0.5 - TIE_VOXELS) | (at > source[axis] - 0.5 + TIE_VOXELS)
        if beyond.any():
            window: list[Any] = [slice(None)] * 4
            window[axis + 1] = beyond
            array[tuple(window)] = outside
    return array


def anywhere(
    channel: np.ndarray, step: np.ndarray, shape: tuple[int, int, int], *, order: int, outside: float | None
) -> np.ndarray:
    """One channel `(I, J, K)` at the voxels of any grid: new voxel numbers x are old voxel numbers `step @ x`.

    Order 0 keeps the voxel type, 1 and 3 (cubic B-spline) give float32.
    """
    # ITK works here in voxel numbers instead of mm, so that sheared grids, which it does not know, are no exception.
    import SimpleITK as sitk

    kept = channel.dtype
    channel = channel.astype(_carrier(kept) if order == 0 else np.dtype(np.float32), copy=False)
    image: Any = sitk.GetImageFromArray(np.ascontiguousarray(channel.transpose(2, 1, 0)))
    move = sitk.AffineTransform(3)
    move.SetMatrix(step[:3, :3].ravel().tolist())
    move.SetTranslation(step[:3, 3].tolist())
    sampler: Any = sitk.ResampleImageFilter()
    sampler.SetSize([int(n) for n in shape])
    sampler.SetTransform(move)
    sampler.SetInterpolator({0: sitk.sitkNearestNeighbor, 1: sitk.sitkLinear, 3: sitk.sitkBSpline}[order])
    sampler.SetUseNearestNeighborExtrapolator(outside is None)
    sampler.SetDefaultPixelValue(0.0 if outside is None else outside)
    sampled = sitk.GetArrayFromImage(sampler.Execute(image)).transpose(2, 1, 0)
    return sampled.astype(kept if order == 0 else np.float32, copy=False)


def _carrier(kind: np.dtype) -> np.dtype:
    """The ITK voxel type that carries a numpy type unchanged."""
    if kind.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if kind == np.float16 else kind.newbyteorder("=")


def blurred(array: np.ndarray, factors: list[float]) -> np.ndarray:
    """`(C, I, J, K)` blurred as voxels `factors` times larger would, for grids that are not parallel; float32."""
    array = np.ascontiguousarray(array, dtype=np.float32)
    for axis, factor in enumerate(factors, start=1):
        sigma = blur_sigma(factor)
        if sigma > 0 and array.shape[axis] > 1:
            array = _weighted(array, blur_weights(array.shape[axis], sigma).astype(np.float32), axis)
    return array
