"""How an image was acquired, as tokens beside the image's own; every value may be unknown."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from radfoundry.records import Acquisition

# Field of the header and the value that counts as one unit; what matters is the ratio of two values.
NUMBERS = {
    "repetition_time_ms": 500.0,
    "echo_time_ms": 10.0,
    "inversion_time_ms": 500.0,
    "flip_angle_deg": 15.0,
    "field_strength_t": 0.5,
    "echo_train_length": 4.0,
    "b_value_s_per_mm2": 100.0,
    "slice_thickness_mm": 1.0,
}
CATEGORIES = {
    "modality": ("MR", "CT", "US", "MG", "DX", "CR"),
    "manufacturer": ("siemens", "ge", "philips", "canon", "toshiba", "hitachi", "fujifilm", "united imaging"),
    "acquisition_type": ("2D", "3D"),
    "contrast_agent": ("given",),
}
WAVES = 8


class AcquisitionTokens(nn.Module):
    """Header values to one token each: (batch, fields, width). An unknown value is a token of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        fields = len(NUMBERS) + len(CATEGORIES)
        self.numbers = nn.Parameter(torch.randn(len(NUMBERS), 2 * WAVES, width) / math.sqrt(2 * WAVES))
        self.categories = nn.ModuleList(nn.Embedding(len(names) + 1, width) for names in CATEGORIES.values())
        self.unknown = nn.Parameter(torch.randn(fields, width) * 0.02)

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        """numbers: (batch, NUMBERS), NaN where unknown; categories: (batch, CATEGORIES), -1 where unknown."""
        known = numbers.isfinite()
        waves = _waves(torch.where(known, numbers, torch.zeros_like(numbers)))
        tokens = torch.einsum("bnw,nwd->bnd", waves, self.numbers)
        chosen = [table(categories[:, index].clamp_min(0)) for index, table in enumerate(self.categories)]
        tokens = torch.cat([tokens, torch.stack(chosen, dim=1)], dim=1)
        stated = torch.cat([known, categories >= 0], dim=1)[..., None]
        return torch.where(stated, tokens, self.unknown.expand_as(tokens))


def _waves(numbers: torch.Tensor) -> torch.Tensor:
    """(batch, fields) to (batch, fields, 2 x WAVES): sines and cosines of the logarithm, from coarse to fine."""
    scale = torch.tensor(list(NUMBERS.values()), dtype=numbers.dtype, device=numbers.device)
    level = (numbers.clamp_min(0) / scale).log1p()[..., None]
    frequencies = 2.0 ** torch.arange(WAVES, dtype=numbers.dtype, device=numbers.device) * (math.pi / 16)
    return torch.cat([(level * frequencies).sin(), (level * frequencies).cos()], dim=-1)


def stated(acquisitions: Sequence[Acquisition]) -> tuple[torch.Tensor, torch.Tensor]:
    """The numbers and categories of headers, for `AcquisitionTokens`; missing stays missing.

    A value outside the known categories counts as "another one" (the last index), which is not unknown.

    >>> numbers, categories = stated([Acquisition(modality="MR", echo_time_ms=90.0)])
    >>> int(numbers.isfinite().sum()), categories.tolist()
    (1, [[0, -1, -1, -1]])
    """
    numbers = [[_number(getattr(item, name)) for name in NUMBERS] for item in acquisitions]
    categories = [[_category(name, getattr(item, name)) for name in CATEGORIES] for item in acquisitions]
    return torch.tensor(numbers, dtype=torch.float32), torch.tensor(categories, dtype=torch.long)


def nothing_stated(rows: int, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """The numbers and categories of so many headers of which nothing is known."""
    numbers = torch.full((rows, len(NUMBERS)), math.nan, device=device)
    return numbers, torch.full((rows, len(CATEGORIES)), -1, device=device)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _category(name: str, value: str | None) -> int:
    if value is None:
        return -1
    if name == "contrast_agent":
        return 0 if value.strip() else -1
    lowered = value.strip().lower()
    for index, known in enumerate(CATEGORIES[name]):
        if lowered == known.lower() or (name == "manufacturer" and lowered.startswith(known)):
            return index
    return len(CATEGORIES[name])
