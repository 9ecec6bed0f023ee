"""The baseline every encoder has to beat: how bright the image is, and a coarse picture of it; no weights at all."""

from __future__ import annotations

import torch
from torch import nn

from radfoundry.records import EncoderSpec, Features, InputError

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)
STATISTICS = len(PERCENTILES) + 6
COARSE = 6


class IntensityFeatures:
    """First-order statistics and a coarse grid of mean brightness, as one feature vector per image.

    Statistics are taken over the voxels brighter than the image's own foreground threshold, so that
    the air around the patient does not decide them.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        self.spec = spec

    def encode(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Features:
        """x: (batch, channels, I, J, K); a missing channel (present False) gives zeros."""
        batch, channels = x.shape[:2]
        values = x.reshape(batch * channels, *x.shape[2:]).float()
        cells = (COARSE, COARSE, COARSE if self.spec.dimensions == 3 else 1)
        coarse = nn.functional.adaptive_avg_pool3d(values[:, None], cells).flatten(1)
        rows = torch.cat([first_order(values.flatten(1)), coarse], dim=1).reshape(batch, channels, -1)
        if present is not None:
            rows = rows * present[:, :, None].to(rows.dtype)
        return Features(pooled=rows.flatten(1), tokens=coarse.reshape(batch, channels, -1).transpose(1, 2), grid=cells)


def first_order(values: torch.Tensor) -> torch.Tensor:
    """(images, voxels) to (images, 17): percentiles, mean, spread, skewness, kurtosis, entropy, foreground share.

    Definitions follow the Image Biomarker Standardisation Initiative (Zwanenburg et al. 2020, section 3.3).
    """
    return torch.stack([_first_order_row(row) for row in values])


def _first_order_row(row: torch.Tensor) -> torch.Tensor:
    inside = row[row > row.mean()]
    if inside.numel() < 2:
        inside = row
    levels = torch.tensor(PERCENTILES, dtype=torch.float32, device=row.device) / 100
    ordered = inside.sort().values
    percentiles = ordered[(levels * (ordered.numel() - 1)).round().long()]
    mean, spread = inside.mean(), inside.std(correction=min(1, inside.numel() - 1)).clamp_min(1e-6)
    centred = (inside - mean) / spread
    counts = torch.histc(inside, bins=32)
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * shares.log2()).sum()
    share = torch.tensor(inside.numel() / row.numel(), device=row.device)
    shape = torch.stack([mean, spread, (centred**3).mean(), (centred**4).mean(), entropy, share])
    return torch.cat([percentiles, shape])


def build(*, channels: int = 1, dimensions: int = 3, spacing_mm: float = 3.0) -> IntensityFeatures:
    """The baseline for volumes (`dimensions=3`, 64³ voxels of 3 mm) or pictures (`dimensions=2`, 128 x 128)."""
    if dimensions not in (2, 3):
        raise InputError(f"images have no {dimensions} dimensions", where="encoder.dimensions", remedy="give 2 or 3")
    flat = dimensions == 2
    spec = EncoderSpec(
        name="intensity",
        modality=("MR", "CT", "US", "MG", "DX", "CR", "OT"),
        orientation="RAS",
        spacing_mm=None if flat else (spacing_mm, spacing_mm, spacing_mm),
        shape=(128, 128, 1) if flat else (64, 64, 64),
        intensity="zscore",
        channels=channels,
        dimensions=dimensions,
    )
    return IntensityFeatures(spec)
