"""What the scanner does to an image between the body and the screen: resolution, motion, ghosts, spikes, noise.

Everything that happens in k-space is applied between one forward and one inverse transform per slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.records import InputError


@dataclass(frozen=True)
class Faults:
    """How strong each artefact is; 0 is none. The phase-encoding direction is the second axis.

    motion_mm: deviation of a random walk of the head along the phase direction · ghosting: share of the signal
    that comes back half a field of view away · spikes: number of wrong samples in every slice ·
    aliasing: share of the field of view that folds over · noise: standard deviation of each channel, in
    signal units of a voxel.
    """

    motion_mm: float = 0.0
    ghosting: float = 0.0
    spikes: int = 0
    aliasing: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if min(self.motion_mm, self.ghosting, self.spikes, self.aliasing, self.noise) < 0:
            raise InputError("the strength of an artefact is negative", remedy="0 is none")
        if self.aliasing >= 0.5 or self.ghosting > 1:
            raise InputError("aliasing is below 0.5 of the field of view, ghosting at most 1")


def acquire(
    image: torch.Tensor,
    matrix: tuple[int, int],
    *,
    faults: Faults,
    spacing_mm: float,
    generator: torch.Generator,
    partial: float = 1.0,
) -> torch.Tensor:
    """Magnitude image `(…, matrix, K)` of a finer signed image `(…, X, Y, K)`, as its k-space would give it.

    The samples beyond the matrix are cut off, which blurs and rings (Gibbs) as on a scanner; `partial` is the
    share of phase-encoding lines that are measured before zero filling. Noise is Gaussian in both channels, so
    the magnitude is Rician (Gudbjartsson and Patz 1995). `spacing_mm` is the size of an output voxel along the
    phase direction. Mean brightness is kept. Refuses a matrix larger than the image.
    """
    rows, columns = image.shape[-3], image.shape[-2]
    if matrix[0] > rows or matrix[1] > columns or not 0 < partial <= 1:
        raise InputError(f"matrix {matrix} with {partial} of its lines does not fit an image of {rows} x {columns}")
    if faults.aliasing:
        image = fold(image, faults.aliasing)
    space = torch.fft.fftshift(torch.fft.fft2(image, dim=(-3, -2), norm="forward"), dim=(-3, -2))
    space = _centre(space, matrix)
    space = _disturb(space, faults, spacing_mm=spacing_mm, generator=generator)
    if faults.noise:
        # A voxel sums matrix-many samples, so each sample carries 1/sqrt(matrix) of the voxel's noise.
        share = faults.noise / (matrix[0] * matrix[1]) ** 0.5
        noise = torch.randn(2, *space.shape, generator=generator, device=space.device)
        space = space + torch.complex(noise[0], noise[1]) * share
    if partial < 1:
        space = space * _lines(matrix[1], partial).to(space.device)[:, None]
    return torch.fft.ifft2(torch.fft.ifftshift(space, dim=(-3, -2)), dim=(-3, -2), norm="forward").abs()


def _centre(space: torch.Tensor, matrix: tuple[int, int]) -> torch.Tensor:
    """The middle of k-space; the zero frequency sits at half the size, rounded down, before and after."""
    first = space.shape[-3] // 2 - matrix[0] // 2
    second = space.shape[-2] // 2 - matrix[1] // 2
    return space[..., first : first + matrix[0], second : second + matrix[1], :]


def _lines(count: int, partial: float) -> torch.Tensor:
    """1 for the phase-encoding lines that are measured, the same number on both sides of the centre."""
    away = (torch.arange(count) - count // 2).abs()
    return (away <= partial * count / 2).float()


def _disturb(space: torch.Tensor, faults: Faults, *, spacing_mm: float, generator: torch.Generator) -> torch.Tensor:
    rows, columns, slices = space.shape[-3:]
    if faults.motion_mm:
        # A shift between two lines is a phase ramp along the lines (Fourier shift theorem).
        steps = torch.randn(columns, slices, generator=generator, device=space.device)
        walk = torch.cumsum(steps, dim=0)
        walk = (walk - walk[columns // 2]) / max(float(columns) ** 0.5, 1.0) * faults.motion_mm
        frequency = (torch.arange(columns, device=space.device) - columns // 2) / columns
        phase = -2 * np.pi * frequency[:, None] * walk / spacing_mm
        space = space * torch.polar(torch.ones_like(phase), phase)
    if faults.ghosting:
        # Odd lines weaker by g: half of g appears shifted by half the field of view.
        odd = (torch.arange(columns, device=space.device) - columns // 2) % 2
        space = space * (1 - faults.ghosting * odd.float())[:, None]
    for _ in range(faults.spikes):
        row = int(torch.randint(rows, (1,), generator=generator, device=space.device))
        column = int(torch.randint(columns, (1,), generator=generator, device=space.device))
        space = space.clone()
        space[..., row, column, :] += space.abs().amax(dim=(-3, -2)) * 0.25
    return space


def fold(image: torch.Tensor, share: float) -> torch.Tensor:
    """Aliasing along the phase direction: the outer `share` of the field of view appears on the other side."""
    columns = image.shape[-2]
    cut = round(columns * share / 2)
    if cut == 0:
        return image
    kept = torch.zeros_like(image)
    kept[..., cut : columns - cut, :] = image[..., cut : columns - cut, :]
    kept[..., columns - 2 * cut : columns - cut, :] += image[..., :cut, :]
    kept[..., cut : 2 * cut, :] += image[..., columns - cut :, :]
    return kept
