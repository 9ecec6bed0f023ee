"""Darkening by blood and iron on susceptibility-weighted images: the field they make, its phase, and the mask of it."""

from __future__ import annotations

import numpy as np
import torch

from radfoundry.simulate.body import Body

GYROMAGNETIC_RAD_PER_S_T = 2.6752e8
# Volume susceptibility against water in parts per million (SI). Venous blood at 70 % saturation and deep grey matter:
# Haacke et al. 2015, Magn Reson Imaging 33:1; acute clot: deoxyhaemoglobin throughout, about four times that of veins.
SUSCEPTIBILITY_PPM = {"blood": 0.28, "haemorrhage": 1.0, "deep-grey": 0.06, "liver": 0.1}
HIGH_PASS_MM = 12.0  # what varies over more than this is taken out of the phase, as scanners do


def field_shift_ppm(body: Body, *, high_pass_mm: float = 0.0) -> torch.Tensor:
    """How far the tissues shift the main field at every voxel `(I, J, K)`, in parts per million.

    The dipole of every voxel, summed by one transform pair: `(1/3 - kz² / k²)` times the susceptibility (Marques and
    Bowtell 2005, Concepts Magn Reson B 25:65). The main field runs along the third axis, feet to head. The body is
    zero-padded by half its size, so that dipoles do not come back on the other side. `high_pass_mm` is the deviation
    of the Gaussian whose smooth part is taken away; 0 keeps everything.
    """
    shape = body.shape
    map_ppm = torch.zeros(shape)
    for name, value in SUSCEPTIBILITY_PPM.items():
        if name in body.tissues:
            map_ppm.add_(body.share(name), alpha=value)
    size = [_easy(1.5 * count) for count in shape]
    spacing = np.linalg.norm(body.affine[:3, :3], axis=0)
    first, second = (torch.fft.fftfreq(count, float(d)) for count, d in zip(size[:2], spacing[:2], strict=True))
    third = torch.fft.rfftfreq(size[2], float(spacing[2]))
    squared = first[:, None, None] ** 2 + second[:, None] ** 2 + third**2
    kernel = 1 / 3 - third**2 / squared.clamp_min(1e-12)
    kernel[0, 0, 0] = 0
    if high_pass_mm > 0:
        kernel = kernel * (1 - torch.exp(-2 * (torch.pi * high_pass_mm) ** 2 * squared))
    space = torch.fft.rfftn(map_ppm, s=size)
    return torch.fft.irfftn(space * kernel, s=size)[: shape[0], : shape[1], : shape[2]].contiguous()


def _easy(count: float) -> int:
    """The next size that transforms quickly: a multiple of 8 with small factors."""
    size = 8 * int(np.ceil(count / 8))
    while max(_factors(size)) > 7:
        size += 8
    return size


def _factors(number: int) -> list[int]:
    found, divisor = [1], 2
    while number > 1:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found


def susceptibility_mask(body: Body, *, field_t: float, echo_time_ms: float, power: int = 4) -> torch.Tensor:
    """What a susceptibility-weighted image multiplies its magnitude by, `(I, J, K)` from 0 to 1.

    The phase that the field shift has gained by the echo, high-pass filtered; where it is positive the mask falls
    linearly to 0 at pi, then raised to `power` (Haacke et al. 2004, Magn Reson Med 52:612).
    """
    shift = field_shift_ppm(body, high_pass_mm=HIGH_PASS_MM)
    phase = GYROMAGNETIC_RAD_PER_S_T * field_t * echo_time_ms * 1e-9 * shift
    return (1 - phase.clamp(0, torch.pi) / torch.pi) ** power
