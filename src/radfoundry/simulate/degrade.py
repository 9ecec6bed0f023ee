"""Any image made worse by known amounts: what wrong settings, a moving patient or a poor scanner would have done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields

import numpy as np
import torch

from radfoundry.records import InputError
from radfoundry.simulate.fields import random_field
from radfoundry.simulate.kspace import Faults, acquire

# Ladders of growing strength, for tests of what claims to measure quality.
LADDERS: Mapping[str, tuple[float, ...]] = {
    "noise": (0.0, 0.03, 0.06, 0.1, 0.16, 0.24),
    "motion_mm": (0.0, 1.0, 2.0, 3.0, 5.0, 8.0),
    "ghosting": (0.0, 0.08, 0.16, 0.26, 0.4, 0.6),
    "spikes": (0.0, 1.0, 2.0, 3.0, 5.0, 8.0),
    "aliasing": (0.0, 0.08, 0.15, 0.22, 0.3, 0.4),
    "blur": (0.0, 0.15, 0.3, 0.42, 0.54, 0.65),
    "shading": (0.0, 0.15, 0.3, 0.45, 0.65, 0.9),
    "thickening": (0.0, 1.0, 2.0, 3.0, 4.0, 6.0),
    "clipping": (0.0, 0.02, 0.05, 0.1, 0.18, 0.3),
}


@dataclass(frozen=True)
class Strengths:
    """How much of everything that spoils an image; 0 is none.

    noise: deviation as a share of the image's brightness · motion_mm, ghosting, spikes, aliasing: as `kspace.Faults` ·
    blur: share of the outer k-space that is not measured, along both directions · shading: deviation of the
    logarithm of the coil's sensitivity · thickening: how many neighbouring slices are averaged with each ·
    clipping: share of the body's voxels cut off at one brightness.
    """

    noise: float = 0.0
    motion_mm: float = 0.0
    ghosting: float = 0.0
    spikes: float = 0.0
    aliasing: float = 0.0
    blur: float = 0.0
    shading: float = 0.0
    thickening: float = 0.0
    clipping: float = 0.0

    def __post_init__(self) -> None:
        if min(astuple(self)) < 0:
            raise InputError("the strength of a degradation is negative", remedy="0 is none")
        if self.blur > 0.8 or self.clipping >= 1:
            raise InputError("blur is at most 0.8 of k-space, clipping below 1")

    def vector(self) -> np.ndarray:
        """`(9,)` the strengths in the order of KINDS."""
        return np.array(astuple(self), dtype=float)


KINDS = tuple(field.name for field in fields(Strengths))


def degrade(
    image: np.ndarray,
    strengths: Strengths,
    *,
    spacing_mm: float,
    rng: np.random.Generator,
    slices: np.ndarray | None = None,
) -> np.ndarray:
    """A stack of slices `(I, J, K)` made worse; gives `(I, J, S)` float32, by default with all slices.

    Taken through k-space as the simulator's scanner does, the phase-encoding direction along J. Two calls with
    generators of the same state differ by the strengths alone: the same noise, the same walk of the patient, the same
    coil. Only the numbered `slices` are made when given. `spacing_mm` is the voxel size along J.

    >>> image = np.ones((24, 24, 3), dtype="float32")
    >>> made = degrade(image, Strengths(noise=0.1), spacing_mm=1.0, rng=np.random.default_rng(0))
    >>> 0.08 < float(made.std()) < 0.12
    True
    """
    chosen = np.arange(image.shape[2]) if slices is None else np.asarray(slices)
    coil_rng = np.random.default_rng(rng.integers(2**62))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    stack = torch.from_numpy(_thickened(image, chosen, round(strengths.thickening)))
    level = brightness(stack.numpy())
    rows, columns, depth = (int(size) for size in stack.shape)
    if strengths.shading:
        coil = random_field((rows, columns, depth), points=4, deviation=strengths.shading, channels=1, rng=coil_rng)
        stack = stack * torch.exp(coil[0])
    matrix = (max(16, round(rows * (1 - strengths.blur))), max(16, round(columns * (1 - strengths.blur))))
    faults = Faults(
        strengths.motion_mm,
        strengths.ghosting,
        round(strengths.spikes),
        strengths.aliasing,
        strengths.noise * level,
    )
    seen = acquire(
        stack,
        matrix,
        faults=faults,
        spacing_mm=spacing_mm * columns / matrix[1],
        generator=generator,
    )
    if matrix != (rows, columns):
        enlarged = torch.nn.functional.interpolate(
            seen.movedim(-1, 0)[:, None], size=(rows, columns), mode="bicubic", align_corners=False
        )
        seen = enlarged[:, 0].movedim(0, -1).clamp_min(0)
    made = seen.numpy()
    if strengths.clipping:
        made = np.minimum(made, np.quantile(made[made > 0.5 * level], 1 - strengths.clipping))
    return np.ascontiguousarray(made, dtype=np.float32)


def brightness(stack: np.ndarray) -> float:
    """The typical brightness of what is not air: the mean above half of the 99th percentile's third."""
    sampled = stack.ravel()[:: max(1, stack.size // 50_000)]
    bright = sampled[sampled > np.percentile(sampled, 99) / 3]
    return float(bright.mean()) if len(bright) else 1.0


def _thickened(image: np.ndarray, chosen: np.ndarray, extra: int) -> np.ndarray:
    """The chosen slices, each the mean over `extra` slices more than itself, half to either side; ends are repeated."""
    if not extra:
        return np.ascontiguousarray(image[..., chosen], dtype=np.float32)
    reach = (extra + 1) // 2
    total = np.zeros((*image.shape[:2], len(chosen)), dtype=np.float32)
    for offset in range(-reach, reach + 1):
        share = 0.5 if extra % 2 and abs(offset) == reach else 1.0  # of an odd number the outermost count half
        total += share * image[..., np.clip(chosen + offset, 0, image.shape[2] - 1)]
    return total / (extra + 1)
