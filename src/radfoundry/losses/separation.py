"""Losses that keep two descriptions of one image apart: what is there, and how it was acquired."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import softplus

from radfoundry.losses.precision import full_precision
from radfoundry.records import InputError


def reverse_gradient(values: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    """The values as they are; on the way back their gradient is turned round and scaled.

    A head behind it learns to read something, while what lies before it learns to hide it. Source: Ganin and
    Lempitsky 2015.
    """
    return _Reverse.apply(values, strength)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, strength: float) -> torch.Tensor:
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.strength * gradients[0], None


@full_precision
def cross_covariance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean squared correlation between every column of one set of features and every column of the other.

    first `(B, D)`, second `(B, E)`. 0 when the two are linearly unrelated, 1 when both are one and the same column;
    shifting or stretching columns changes nothing. Refuses fewer than two rows.
    """
    if len(first) < 2 or len(first) != len(second):
        raise InputError(f"{len(first)} rows against {len(second)}", remedy="give the same two or more rows")
    correlation = standardised(first).T @ standardised(second) / len(first)
    return correlation.square().mean()


def standardised(values: torch.Tensor) -> torch.Tensor:
    """Columns with mean 0 and spread 1; a constant column becomes 0."""
    centred = values.float() - values.float().mean(dim=0)
    return centred / (centred.square().mean(dim=0) + 1e-6).sqrt()


def looks_real(logit: torch.Tensor) -> torch.Tensor:
    """Small where an image is judged real: the non-saturating adversarial loss (Goodfellow et al. 2014).

    >>> float(looks_real(torch.tensor([100.0])))
    0.0
    """
    return softplus(-logit.float()).mean()


def looks_made(logit: torch.Tensor) -> torch.Tensor:
    """Small where an image is judged made up."""
    return softplus(logit.float()).mean()
