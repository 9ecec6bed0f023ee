"""How features fill their space: do partners lie together, is the whole spread, how many directions are used."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from radfoundry.losses.precision import full_precision
from radfoundry.records import InputError


@full_precision
def alignment(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean squared distance on the unit sphere between partners: 0 when they coincide, 2 when unrelated.

    Source: Wang and Isola 2020, equation 6 with alpha 2.
    """
    return (normalize(first.float(), dim=1) - normalize(second.float(), dim=1)).square().sum(dim=1).mean()


@full_precision
def uniformity(rows: torch.Tensor) -> torch.Tensor:
    """Log of the mean heat between different rows on the unit sphere: 0 when all coincide, lower the more spread.

    Source: Wang and Isola 2020, equation 7 with t 2.
    """
    if len(rows) < 2:
        raise InputError("one row has no spread", remedy="give two or more")
    unit = normalize(rows.float(), dim=1)
    apart = torch.pdist(unit).square()
    return (apart * -2).exp().mean().log()


@full_precision
def effective_rank(rows: torch.Tensor) -> torch.Tensor:
    """How many directions features use: the exponential of the entropy of their singular values.

    rows: `(N, D)`; 1 when all lie on one line, at most min(N - 1, D). Shifting, scaling and rotating change nothing.
    Source: Roy and Vetterli 2007; as a check of pretraining RankMe, Garrido et al. 2023, on centred features.

    >>> round(float(effective_rank(torch.cat([torch.eye(4), -torch.eye(4)]))), 3)
    4.0
    """
    values = torch.linalg.svdvals(rows.double() - rows.double().mean(dim=0))
    total = values.sum()
    if not total > 0:
        return rows.new_tensor(1.0).double()
    weights = values / total
    weights = weights[weights > 0]
    return torch.exp(-(weights * weights.log()).sum())
