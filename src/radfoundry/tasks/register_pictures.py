"""A chess board of two images: where they fit, edges run on from field to field."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radfoundry.data.thumbnails import thumbnail
from radfoundry.runs import atomic
from radfoundry.volume import Volume

FIELDS = 8
SIDE_PIXELS = 512


def checkerboard(fixed: Volume, moved: Volume, *, fields: int = FIELDS) -> Volume:
    """Both images on one grid, alternating in cubes; each between its own 1st and 99th percentile.

    `fields`: how many cubes along the longest side.
    """
    extent = np.array(fixed.shape) * np.array(fixed.spacing_mm)
    side = float(extent.max()) / fields
    axes = [
        np.floor((np.arange(n) + 0.5) * step / side).astype(int)
        for n, step in zip(fixed.shape, fixed.spacing_mm, strict=True)
    ]
    i, j, k = np.meshgrid(*axes, indexing="ij")
    mixed = np.where((i + j + k) % 2 == 0, _scaled(fixed), _scaled(moved))
    return Volume.of(mixed.astype(np.float32), fixed.affine)


def write_checkerboard(path: Path, fixed: Volume, moved: Volume) -> None:
    """The chess board as a PNG: the middle planes, the patient's right on the left."""
    from PIL import Image

    with atomic(path) as partial:
        picture = thumbnail(checkerboard(fixed, moved), side_pixels=SIDE_PIXELS)
        Image.fromarray(picture).save(partial, format="PNG", optimize=True)


def _scaled(volume: Volume) -> np.ndarray:
    values = volume.array[0].astype(np.float32)
    low, high = np.percentile(values.ravel()[:: max(values.size // 50_000, 1)], [1, 99])
    return np.clip((values - low) / max(float(high - low), 1e-9), 0, 1)
