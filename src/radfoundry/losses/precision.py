"""Losses are computed in full precision, whatever the network around them uses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

import torch

Arguments = ParamSpec("Arguments")


def full_precision(loss: Callable[Arguments, torch.Tensor]) -> Callable[Arguments, torch.Tensor]:
    """Switch automatic half precision off inside a loss; sums of small differences do not survive three digits.

    >>> full_precision(torch.sum)(torch.tensor([1.0, 2.0])).item()
    3.0
    """

    @functools.wraps(loss)
    def careful(*args: Arguments.args, **kwargs: Arguments.kwargs) -> torch.Tensor:
        first = args[0]
        kind = first.device.type if isinstance(first, torch.Tensor) else "cpu"
        with torch.autocast(kind, enabled=False):
            return loss(*args, **kwargs)

    return careful
