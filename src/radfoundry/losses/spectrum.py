"""How far two images are apart in their waves and in their structure."""

from __future__ import annotations

import torch

SMALLEST = 1e-3


def log_amplitude_distance(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the logarithms of two images' Fourier amplitudes; images `(B, 1, I, J, K)`.

    >>> one = torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> float(log_amplitude_distance(one, one)), bool(log_amplitude_distance(one, 2 * one) > 0.5)
    (0.0, True)
    """
    spectra = [torch.fft.rfftn(image, dim=(-3, -2, -1), norm="ortho").abs() for image in (found, wanted)]
    return (torch.log(spectra[0] + SMALLEST) - torch.log(spectra[1] + SMALLEST)).abs().mean()


def structural_similarity(
    found: torch.Tensor, wanted: torch.Tensor, *, width: int = 3, span: float = 1.0
) -> torch.Tensor:
    """Mean structural similarity (1 for equal images) in cubes of `width` voxels; `span` is the range of values.

    Wang, Bovik, Sheikh and Simoncelli 2004 (IEEE Trans. Image Processing 13:600), with a flat window.

    >>> one = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> round(float(structural_similarity(one, one)), 4)
    1.0
    """

    def mean(image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool3d(image, width, stride=1)

    first, second = mean(found), mean(wanted)
    spread = mean(found**2) - first**2 + mean(wanted**2) - second**2
    shared = mean(found * wanted) - first * second
    small, smaller = (0.01 * span) ** 2, (0.03 * span) ** 2
    return (
        (2 * first * second + small) * (2 * shared + smaller)
        / ((first**2 + second**2 + small) * (spread + smaller))
    ).mean()  # fmt: skip
