"""Smooth random fields and interpolation on tensors: cubic B-splines, warps, and grids in mm."""

from __future__ import annotations

import functools

import numpy as np
import torch

from radfoundry.records import InputError


def spline_field(coefficients: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """A smooth field `(…, I, J, K)` from a coarse grid of cubic B-spline coefficients `(…, a, b, c)`.

    Twice continuously differentiable; coefficients that are all equal give that constant (the basis sums to 1).
    As a displacement it folds nowhere while every coefficient stays below 0.40 of the distance between
    control points (Choi and Lee 2000, Graphical Models 62:411). Refuses fewer than 4 points an axis.

    >>> bool(torch.allclose(spline_field(torch.full((5, 5, 5), 2.0), (7, 8, 9)), torch.tensor(2.0)))
    True
    """
    field = coefficients
    for axis in (-3, -2, -1):
        basis = _basis(shape[axis], coefficients.shape[axis]).to(field)
        field = torch.movedim(torch.tensordot(torch.movedim(field, axis, -1), basis.T, dims=1), -1, axis)
    return field


@functools.lru_cache(maxsize=64)
def _basis(length: int, points: int) -> torch.Tensor:
    """Weights `(length, points)` of uniform cubic B-splines over a line."""
    if points < 4:
        raise InputError(f"a cubic spline needs 4 control points an axis, got {points}")
    place = torch.linspace(0, points - 3, length, dtype=torch.float64).clamp(max=points - 3 - 1e-9)
    left = place.floor()
    u = place - left
    weights = torch.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], dim=1)
    table = torch.zeros(length, points, dtype=torch.float64)
    rows = torch.arange(length)
    for offset in range(4):
        table[rows, left.long() + offset] = weights[:, offset] / 6
    return table.float()


def random_field(
    shape: tuple[int, int, int], *, points: int, deviation: float, channels: int, rng: np.random.Generator
) -> torch.Tensor:
    """A smooth random field `(channels, I, J, K)` whose values have about the given standard deviation."""
    raw = rng.standard_normal((channels, points, points, points)).astype(np.float32)
    # A cubic B-spline keeps on average 0.479 of the variance along each axis (mean over u of the summed squares).
    return spline_field(torch.from_numpy(raw) * (deviation / 0.4794**1.5), shape)


def grid_points(shape: tuple[int, int, int], affine: np.ndarray) -> torch.Tensor:
    """Positions in mm `(I, J, K, 3)` of every voxel of a grid."""
    matrix = torch.from_numpy(np.asarray(affine, dtype=np.float64)).float()
    axes = [torch.arange(size, dtype=torch.float32) for size in shape]
    i, j, k = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([i, j, k], dim=-1) @ matrix[:3, :3].T + matrix[:3, 3]


def interpolate(maps: torch.Tensor, affine: np.ndarray, points_mm: torch.Tensor) -> torch.Tensor:
    """Linear interpolation of maps `(C, I, J, K)` at positions `(…, 3)` in mm; 0 outside the grid: `(C, …)`."""
    inverse = torch.from_numpy(np.linalg.inv(affine)).float().to(maps.device)
    sizes = torch.tensor(maps.shape[-3:], dtype=torch.float32, device=maps.device)
    scale = 2 / (sizes - 1).clamp_min(1)
    matrix = inverse[:3, :3] * scale[:, None]
    offset = inverse[:3, 3] * scale - 1
    grid = (points_mm.reshape(-1, 3) @ matrix.T + offset).flip(-1)[None, :, None, None]
    found = torch.nn.functional.grid_sample(maps[None], grid, align_corners=True, padding_mode="zeros")
    return found[0, :, :, 0, 0].reshape(maps.shape[0], *points_mm.shape[:-1])


def resample(maps: torch.Tensor, affine: np.ndarray, shape: tuple[int, int, int], target: np.ndarray) -> torch.Tensor:
    """Maps `(C, I, J, K)` on another grid, by linear interpolation; 0 outside. Target affine and result in mm.

    The same as `interpolate` at every voxel of the target grid, without writing the positions down.
    """
    sizes = np.array(maps.shape[-3:], dtype=float)
    scale = 2 / np.maximum(sizes - 1, 1)
    matrix = np.linalg.inv(affine) @ target
    steps, start = matrix[:3, :3] * scale[:, None], matrix[:3, 3] * scale - 1
    axes = [torch.arange(size, dtype=torch.float32, device=maps.device) for size in shape]
    columns = []
    for row in (2, 1, 0):  # grid_sample wants the last axis first
        i, j, k = (axis * float(step) for axis, step in zip(axes, steps[row], strict=True))
        columns.append((i + float(start[row]))[:, None, None] + j[None, :, None] + k[None, None, :])
    grid = torch.stack(columns, dim=-1)[None]
    return torch.nn.functional.grid_sample(maps[None], grid, align_corners=True, padding_mode="zeros")[0]


def rows_at(rows: torch.Tensor, shape: tuple[int, int, int], places: torch.Tensor) -> torch.Tensor:
    """Linear interpolation of maps kept as one row a voxel: rows `(I*J*K, C)`, places `(n, 3)` in voxels: `(n, C)`.

    The same as `interpolate`, several times faster where there are many maps, because the values of a voxel lie
    together. Places outside the grid read its edge.

    >>> rows_at(torch.arange(8.0)[:, None], (2, 2, 2), torch.tensor([[0.5, 0.0, 1.0]]))
    tensor([[3.]])
    """
    i, j, k = shape
    if min(shape) < 2:
        raise InputError(f"no interpolation on a grid of {shape}", remedy="give at least two voxels an axis")
    top = torch.tensor([i - 2, j - 2, k - 2], dtype=torch.float32)
    steps = torch.tensor([0, 1, k, k + 1, j * k, j * k + 1, (j + 1) * k, (j + 1) * k + 1], dtype=torch.int32)
    found = torch.empty(len(places), rows.shape[1])
    for first in range(0, len(places), 65536):  # pieces that stay in the processor's cache
        part = places[first : first + 65536]
        base = part.floor().clamp_min(0).minimum(top)
        share = (part - base).clamp(0, 1)
        x, y, z = (torch.stack([1 - axis, axis], dim=1) for axis in share.unbind(dim=1))
        weights = (x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]).reshape(-1, 8)
        corner = base.to(torch.int32) @ torch.tensor([j * k, k, 1], dtype=torch.int32)
        found[first : first + 65536] = torch.nn.functional.embedding_bag(
            corner[:, None] + steps, rows, mode="sum", per_sample_weights=weights
        )
    return found


def enlarged(maps: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Smooth maps `(C, a, b, c)` on a finer grid with the same corners, by linear interpolation."""
    for axis in (-3, -2, -1):
        weights = _straight(shape[axis], maps.shape[axis])
        maps = torch.movedim(torch.tensordot(torch.movedim(maps, axis, -1), weights.T, dims=1), -1, axis)
    return maps


@functools.lru_cache(maxsize=64)
def _straight(length: int, points: int) -> torch.Tensor:
    """Weights `(length, points)` of linear interpolation over a line."""
    place = torch.linspace(0, points - 1, length, dtype=torch.float64)
    return (1 - (place[:, None] - torch.arange(points)).abs()).clamp_min(0).float()


def rotation(degrees: np.ndarray | tuple[float, float, float]) -> np.ndarray:
    """The 3x3 matrix that turns about the x, then y, then z axis."""
    a, b, c = np.radians(np.asarray(degrees, dtype=float))
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return z @ y @ x
