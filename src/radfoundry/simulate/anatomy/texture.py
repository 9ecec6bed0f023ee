"""Smooth random patterns fixed in mm, so that a person looks the same at every resolution."""

from __future__ import annotations

import numpy as np
import torch

from radfoundry.records import InputError
from radfoundry.simulate.anatomy.canvas import Canvas

Window = tuple[slice, slice, slice]


def everywhere(canvas: Canvas) -> Window:
    """The window of the whole canvas."""
    i, j, k = canvas.shape
    return (slice(0, i), slice(0, j), slice(0, k))


def noise(canvas: Canvas, window: Window, *, wavelength_mm: float, seed: int) -> torch.Tensor:
    """A cloudy pattern over a window: mean 0, deviation about 1, lumps of about the given size.

    A lattice of random numbers, one every half wavelength, smoothed by cubic B-splines. The lattice hangs on
    the canvas' corner, so the same seed gives the same pattern at every spacing. Lumps smaller than four
    voxels cannot be shown; there the pattern is sampled as it is.
    """
    if wavelength_mm <= 0:
        raise InputError(f"a pattern of {wavelength_mm} mm", remedy="give a positive wavelength in mm")
    step = wavelength_mm / 2
    counts = [int(np.ceil((b - a) / step)) + 5 for a, b in zip(canvas.low_mm, canvas.high_mm, strict=True)]
    lattice = np.random.default_rng(seed).standard_normal(counts, dtype=np.float32)
    pattern = torch.from_numpy(lattice) / 0.4794**1.5  # what the spline takes from the deviation, see fields
    for axis, part in enumerate(window):
        places = torch.arange(part.start, part.stop, dtype=torch.float32) * canvas.spacing_mm / step
        first = int(places[0])
        last = int(places[-1]) + 4
        weights = _weights(places - first, last - first)
        kept = pattern.narrow(axis, first, last - first)
        pattern = torch.movedim(torch.tensordot(kept, weights, dims=([axis], [1])), -1, axis)
    return pattern


def _weights(places: torch.Tensor, count: int) -> torch.Tensor:
    """Cubic B-spline weights `(places, count)`; place 0 lies between the first four lattice points."""
    left = places.floor()
    u = places - left
    four = torch.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], dim=1) / 6
    table = torch.zeros(len(places), count)
    rows = torch.arange(len(places))
    for offset in range(4):
        table[rows, left.long() + offset] = four[:, offset]
    return table


def soft(distance_mm: torch.Tensor, spacing_mm: float) -> torch.Tensor:
    """How much of a voxel lies inside a surface, from the distance of its middle: edges one voxel soft."""
    return (0.5 - distance_mm / spacing_mm).clamp(0, 1)
