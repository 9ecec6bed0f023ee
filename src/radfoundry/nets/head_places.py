"""Where an MR head lies in the template's space, read off the bundled encoder block by block; no registration."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from radfoundry.data.defacing import FEWEST_BLOCKS, HeadPlace, from_brain_mm, moved_to_forehead, registered
from radfoundry.nets.bundled import PLACE_SCALE_MM, TISSUES, WINDOW
from radfoundry.volume import Volume

SPACING_MM = 3.0
BLOCK = 4  # voxels of a token
LONGEST_WINDOWS = 3
FEATURES = 48
SCALE = 1.05  # the template is larger than most heads
SOFT_MM = 4.0
PRIOR = 2e-3
BRAIN = [TISSUES.index(name) for name in ("grey", "white", "deep-grey", "disease", "finding")]
ROUNDS = 12


def locate(volume: Volume, encoder: Any) -> HeadPlace:
    """Place a volume in the template: the robust affine through what every 12 mm block says of its own place.

    `volume` is one MR head in any sequence and geometry; of several channels the first is used. A scan that is no
    head gets a place all the same: ask `is_head`.
    """
    grid, affine = _on_grid(volume)
    with torch.no_grad():
        features = encoder.encode(torch.from_numpy(grid)[None, None])
    rows = features.tokens[0].float().numpy()
    counts = features.grid
    index = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    voxels = np.asarray(index, float) * BLOCK + (BLOCK - 1) / 2
    scan_mm = voxels @ affine[:3, :3].T + affine[:3, 3]
    told_mm = rows[:, FEATURES : FEATURES + 3] * PLACE_SCALE_MM
    logits = rows[:, FEATURES + 3 : FEATURES + 3 + len(TISSUES)]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    filled = grid.reshape(counts[0], BLOCK, counts[1], BLOCK, counts[2], BLOCK).max(axis=(1, 3, 5)).ravel() > 0.05
    brain = np.clip(1.4 * shares[:, BRAIN].sum(axis=1) / shares.sum(axis=1), 0, 1) * filled
    count = int((brain > 0.5).sum())
    if count < FEWEST_BLOCKS:
        return HeadPlace(np.eye(4), float("nan"), count, 0.0)
    found, residual, overlap = _fitted(scan_mm[filled], told_mm[filled], brain[filled])
    better = moved_to_forehead(grid, affine, registered(grid, affine, found))
    return HeadPlace(better, residual, count, overlap)


def _on_grid(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """The first channel on a RAS grid of 3 mm around its middle, scaled to 0 to 1; and that grid's affine."""
    from scipy import ndimage

    array = np.asarray(volume.array[0], np.float32)
    affine = np.asarray(volume.affine, float)
    corners = np.array(np.meshgrid(*((0, size - 1) for size in array.shape))).reshape(3, -1)
    corners_mm = affine[:3, :3] @ corners + affine[:3, 3:]
    low, high = corners_mm.min(axis=1), corners_mm.max(axis=1)
    windows = np.clip(np.ceil((high - low) / (SPACING_MM * WINDOW)), 1, LONGEST_WINDOWS).astype(int)
    shape = tuple(int(count) * WINDOW for count in windows)
    target = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    target[:3, 3] = (low + high) / 2 - SPACING_MM * (np.array(shape) - 1) / 2
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    smooth = ndimage.gaussian_filter(array, np.maximum(0.4 * SPACING_MM / spacing - 0.4, 0))
    across = np.linalg.inv(affine) @ target
    grid = ndimage.affine_transform(smooth, across[:3, :3], across[:3, 3], output_shape=shape, order=1, cval=0.0)
    seen = array[array > array.min()]
    low_value, high_value = np.percentile(seen, (1, 99)) if seen.size else (0.0, 1.0)
    return np.clip((grid - low_value) / max(high_value - low_value, 1e-6), 0, 1).astype(np.float32), target


def _fitted(scan_mm: np.ndarray, told_mm: np.ndarray, brain: np.ndarray) -> tuple[np.ndarray, float, float]:
    """First the rigid motion that brings the brain's blocks to the places they tell, then shape: brain onto brain.

    The places alone would shrink the head: a block that is not sure says a place nearer to the middle.
    """
    from scipy.optimize import minimize

    inside = brain > 0.5
    centre, aim = np.median(scan_mm[inside], axis=0), np.median(told_mm[inside], axis=0)
    turn = _rotation(scan_mm[inside] - centre, told_mm[inside] - aim)

    def cost(change: np.ndarray) -> float:
        there = (scan_mm - centre) @ _shape(turn, change).T + aim + 10 * change[:3]
        expected = 1 / (1 + np.exp(np.clip(from_brain_mm(there) / SOFT_MM, -30, 30)))
        return float(
            np.mean((expected - brain) ** 2) + PRIOR * np.sum(change[3:6] ** 2) + 10 * PRIOR * np.sum(change[6:] ** 2)
        )

    best = minimize(cost, np.zeros(9), method="Powell", options={"maxiter": 12, "xtol": 0.01, "ftol": 1e-5}).x
    affine = np.eye(4)
    affine[:3, :3] = _shape(turn, best)
    affine[:3, 3] = aim + 10 * best[:3] - affine[:3, :3] @ centre
    placed = scan_mm[inside] @ affine[:3, :3].T + affine[:3, 3]
    residual = float(np.median(np.linalg.norm(placed - told_mm[inside], axis=1)))
    there = from_brain_mm(scan_mm @ affine[:3, :3].T + affine[:3, 3]) < 0
    overlap = 2 * float((there & inside).sum()) / max(int(there.sum() + inside.sum()), 1)
    return affine, residual, overlap


def _rotation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The rotation that brings points nearest to others, outliers weighing less (Kabsch 1976, with weights)."""
    weights, turn = np.ones(len(first)), np.eye(3)
    for _ in range(ROUNDS):
        left, _, right = np.linalg.svd((second * weights[:, None]).T @ first)
        turn = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
        away = np.linalg.norm(first @ turn.T - second, axis=1)
        weights = 1 / (1 + (away / max(float(np.median(away)), 1.0)) ** 2)
    return turn


def _shape(turn: np.ndarray, change: np.ndarray) -> np.ndarray:
    """A rotation, turned a little further, with a scale of its own for each axis of the template."""
    from scipy.spatial.transform import Rotation

    return np.diag(SCALE * np.exp(0.2 * change[6:])) @ Rotation.from_rotvec(0.2 * change[3:6]).as_matrix() @ turn
