"""Boxes around findings: read from labels or from masks, checked against the image, in voxels and in the patient."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from radfoundry.records import InputError
from radfoundry.volume import points_to_world

NOTHING = ("none", "normal", "")


def parse_boxes(text: str, *, where: str = "") -> np.ndarray:
    """Boxes written in a label: `x0 y0 x1 y1; …` (volumes `x0 y0 z0 x1 y1 z1`), or `normal` for no finding.

    Numbers are voxel edges along the image's axes: the first pixel reaches from 0 to 1. Returns `(n, 6)`; pictures
    get 0 to 1 along the third axis. Refuses anything else, and boxes whose second corner is not beyond the first.

    >>> parse_boxes("3 4 10 9").tolist(), parse_boxes("normal").shape
    ([[3.0, 4.0, 0.0, 10.0, 9.0, 1.0]], (0, 6))
    """
    if str(text).strip().lower() in NOTHING:
        return np.zeros((0, 6))
    rows = []
    for part in str(text).split(";"):
        try:
            numbers = [float(word) for word in part.replace(",", " ").split()]
        except ValueError:
            numbers = []
        if len(numbers) == 4:
            numbers = [*numbers[:2], 0.0, *numbers[2:], 1.0]
        if len(numbers) != 6 or not np.isfinite(numbers).all():
            raise InputError(
                f"{part.strip()!r} is no box",
                where=where,
                remedy="write x0 y0 x1 y1 (pictures) or x0 y0 z0 x1 y1 z1, several with ; between, or normal",
                finding="box",
            )
        rows.append(numbers)
    boxes = np.array(rows)
    if (boxes[:, 3:] <= boxes[:, :3]).any():
        raise InputError(
            "a box is empty or upside down", where=where, remedy="give the lower corner first", finding="box"
        )
    return boxes


def check_inside(boxes: np.ndarray, shape: Sequence[int], *, where: str = "", slack: float = 0.51) -> np.ndarray:
    """The boxes `(n, 6)`, cut at the image's edge; refuses one that leaves the image by more than half a voxel."""
    size = np.asarray(shape, dtype=float)
    out = (boxes[:, :3] < -slack) | (boxes[:, 3:] > size + slack)
    if out.any():
        first = boxes[int(np.argmax(out.any(axis=1)))].round(1).tolist()
        raise InputError(
            f"the box {first} leaves the image of {tuple(int(n) for n in shape)} voxels",
            where=where,
            remedy="give voxels of this image: were the boxes drawn at another size?",
            finding="box-outside",
        )
    return np.concatenate([np.maximum(boxes[:, :3], 0), np.minimum(boxes[:, 3:], size)], axis=1)


def boxes_of_mask(mask: np.ndarray, *, fewest_voxels: int = 1) -> np.ndarray:
    """One box around each connected part of a mask `(I, J, K)`; corners count as connected. Returns `(n, 6)`.

    >>> mask = np.zeros((6, 6, 1))
    >>> mask[1:3, 2:5] = 1
    >>> boxes_of_mask(mask).tolist()
    [[1.0, 2.0, 0.0, 3.0, 5.0, 1.0]]
    """
    from scipy import ndimage

    labels, count = ndimage.label(np.asarray(mask) > 0, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    found = [
        [*(part.start for part in window), *(part.stop for part in window)]
        for number, window in enumerate(ndimage.find_objects(labels), start=1)
        if sizes[number] >= fewest_voxels
    ]
    return np.array(found, dtype=float).reshape(-1, 6)


def moved_boxes(boxes: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Boxes `(n, 6)` in the voxels of another grid; `step` is the 4x4 matrix from voxel numbers to voxel numbers.

    The smallest boxes along the new axes that hold the old ones.
    """
    if not len(boxes):
        return boxes.reshape(0, 6)
    corners = np.stack([[box[[a, 1 + b, 2 + c]] for a, b, c in itertools.product((0, 3), repeat=3)] for box in boxes])
    # Voxel numbers name voxel centres, boxes voxel edges: half a voxel apart.
    placed = points_to_world(step, corners.reshape(-1, 3) - 0.5).reshape(len(boxes), 8, 3) + 0.5
    return np.concatenate([placed.min(axis=1), placed.max(axis=1)], axis=1)


def centres_mm(boxes: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The middles of boxes in the patient, RAS mm `(n, 3)`."""
    return points_to_world(affine, (boxes[:, :3] + boxes[:, 3:]) / 2 - 0.5)


def holds(boxes: np.ndarray, points: np.ndarray, *, margin: float = 0.0) -> np.ndarray:
    """`(points, boxes)`: whether a point (voxel edges) lies in a box made larger by `margin` voxels all round."""
    at = np.asarray(points, float).reshape(-1, 1, 3)
    return np.all((at >= boxes[None, :, :3] - margin) & (at <= boxes[None, :, 3:] + margin), axis=2)
