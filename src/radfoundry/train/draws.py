"""Random numbers that depend on a seed, a purpose and a case number alone: the same on every machine and device.

A training run that draws all its masks and shifts here needs no random state in its checkpoints, and gives the
same numbers whether its patients are spread over one process or eight.
"""

from __future__ import annotations

import hashlib
import math

import torch

# The additive constant and the two multipliers of SplitMix64 (Steele, Lea and Flood 2014, OOPSLA), as signed integers.
GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
SECOND = 0x94D049BB133111EB - (1 << 64)


def uniform(case: torch.Tensor, count: int, *, seed: int, purpose: str) -> torch.Tensor:
    """`(B,)` case numbers to `(B, count)` float32 values spread evenly over [0, 1), without end and without state.

    >>> one = uniform(torch.tensor([7, 8]), 3, seed=0, purpose="mask")
    >>> torch.equal(one[1:], uniform(torch.tensor([8]), 3, seed=0, purpose="mask"))
    True
    """
    start = _mix(case.long() * GOLDEN + _key(seed, purpose))
    index = torch.arange(1, count + 1, device=case.device) * GOLDEN
    return (_shifted(_mix(start[:, None] + index), 40)).to(torch.float32) / float(1 << 24)


def normal(case: torch.Tensor, count: int, *, seed: int, purpose: str) -> torch.Tensor:
    """`(B,)` case numbers to `(B, count)` values of the standard normal distribution (Box and Muller 1958)."""
    pairs = uniform(case, 2 * count, seed=seed, purpose=purpose)
    radius = torch.sqrt(-2 * torch.log1p(-pairs[:, :count]))
    return radius * torch.cos(2 * math.pi * pairs[:, count:])


def chosen(case: torch.Tensor, places: int, share: float, *, seed: int, purpose: str) -> torch.Tensor:
    """`(B, places)` booleans with exactly `round(share * places)` true in every row, each set equally likely."""
    count = round(share * places)
    rank = uniform(case, places, seed=seed, purpose=purpose).argsort(dim=1).argsort(dim=1)
    return rank < count


def _key(seed: int, purpose: str) -> int:
    value = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8]
    return int.from_bytes(value, "little", signed=True)


def _mix(value: torch.Tensor) -> torch.Tensor:
    value = (value ^ _shifted(value, 30)) * FIRST
    value = (value ^ _shifted(value, 27)) * SECOND
    return value ^ _shifted(value, 31)


def _shifted(value: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift right without carrying the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
