"""Losses by which one network teaches another, or a slow copy of itself."""

from __future__ import annotations

import torch
from torch.nn.functional import kl_div, log_softmax, normalize, softmax

from radfoundry.losses.precision import full_precision
from radfoundry.records import InputError


def cross_entropy(
    student: torch.Tensor, target: torch.Tensor, *, temperature: float = 0.1, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy of the student's softmax against the teacher's shares; smallest when the two agree.

    student: `(…, K)` logits, target: `(…, K)` shares that sum to 1 (no gradient flows into them); weight: `(…)`, 0
    where a row does not count. The mean over the rows that count.
    """
    cost = -(target.detach() * log_softmax(student.float() / temperature, dim=-1)).sum(dim=-1)
    if weight is None:
        return cost.mean()
    counted = weight.to(cost.dtype)
    return (cost * counted).sum() / counted.sum().clamp_min(1e-6)


@full_precision
@torch.no_grad()
def sinkhorn(logits: torch.Tensor, *, temperature: float = 0.05, iterations: int = 3) -> torch.Tensor:
    """Shares `(B, K)` of prototypes for every row, such that over the batch every prototype is used alike.

    Adding a constant to all logits changes nothing. Source: Sinkhorn-Knopp as in SwAV, Caron et al. 2020.
    """
    table = logits.float() / temperature
    table = (table - table.max()).exp()
    for _ in range(iterations):
        table = table / table.sum(dim=0, keepdim=True).clamp_min(1e-12)
        table = table / table.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return table


@full_precision
def koleo(rows: torch.Tensor) -> torch.Tensor:
    """Minus the mean log distance of every row to its nearest neighbour on the unit sphere: pushes rows apart.

    Lengths and order of the rows do not matter. Source: Sablayrolles et al. 2019, equation 5. Refuses one row.
    """
    if len(rows) < 2:
        raise InputError("one row has no neighbour", remedy="give two or more")
    unit = normalize(rows.float(), dim=1)
    near = unit @ unit.T
    near = near.masked_fill(torch.eye(len(unit), dtype=torch.bool, device=unit.device), -2.0)
    apart = (unit - unit[near.argmax(dim=1)]).square().sum(dim=1)
    return -(apart + 1e-8).sqrt().log().mean()


def similarity_shares(rows: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log shares `(B, B - 1)` of every row's likeness to each of the others; itself left out."""
    unit = normalize(rows.float(), dim=1)
    likeness = unit @ unit.T / temperature
    other = ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    return log_softmax(likeness[other].reshape(len(unit), -1), dim=1)


@full_precision
def relational(
    student: torch.Tensor, teacher: torch.Tensor, *, temperature: float = 0.1, as_released: bool = False
) -> torch.Tensor:
    """How differently student and teacher rank which cases are alike; widths need not match; 0 when they agree.

    student `(B, D)`, teacher `(B, E)`: the divergence of each row's likeness to the other rows, teacher against
    student. Rotating or scaling either side's features changes nothing. `as_released` takes it the other way round,
    as the released VersaMammo code does (arXiv 2509.20271). Refuses fewer than three rows.
    """
    if len(student) < 3 or len(student) != len(teacher):
        raise InputError(f"{len(student)} rows against {len(teacher)}", remedy="give the same three or more rows")
    ours, theirs = similarity_shares(student, temperature), similarity_shares(teacher.detach(), temperature)
    if as_released:
        ours, theirs = theirs, ours
    return kl_div(ours, theirs, log_target=True, reduction="batchmean")


@full_precision
def likeness_kept(changed: torch.Tensor, original: torch.Tensor, *, temperature: float = 0.07) -> torch.Tensor:
    """Cross-entropy between who is alike before and after a change of resolution; the original teaches.

    changed, original: `(B, D)`. Source: the resolution loss of VersaMammo, arXiv 2509.20271, with normalised
    features and no gradient into the original.
    """
    target = similarity_shares(original.detach(), temperature).exp()
    return -(target * similarity_shares(changed, temperature)).sum(dim=1).mean()


@full_precision
def finding_similarity(
    images: torch.Tensor, texts: torch.Tensor, *, high: float = 0.75, low: float = 0.25
) -> torch.Tensor:
    """Images of patients with like reports should be alike: mean absolute gap between the two cosine matrices.

    images `(N, D)`, texts `(N, E)` without gradient. Pairs of texts above the quantile `high` of all pairs keep their
    cosine as target, pairs below the quantile `low` get 0, pairs between are left out. Quantiles instead of the
    published fixed cosines, because averages of word vectors are all alike. Source: MG-3D, arXiv 2412.05876.
    """
    if not 0 <= low <= high <= 1 or len(images) < 2:
        raise InputError(f"quantiles {low} and {high} of {len(images)} rows", remedy="0 <= low <= high <= 1, two rows")
    apart = torch.triu(torch.ones(len(images), len(images), dtype=torch.bool, device=images.device), diagonal=1)
    words = normalize(texts.detach().float(), dim=1)
    target = (words @ words.T)[apart]
    seen = normalize(images.float(), dim=1)
    found = (seen @ seen.T)[apart]
    upper, lower = torch.quantile(target, high), torch.quantile(target, low)
    # Where all texts are alike, the quantiles meet and every pair belongs together.
    alike = target >= upper
    unlike = (target <= lower) & ~alike
    gap = (found - torch.where(alike, target, torch.zeros_like(target))).abs()
    counted = (alike | unlike).to(gap.dtype)
    return (gap * counted).sum() / counted.sum().clamp_min(1.0)


def soft_targets(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """A teacher's logits as shares, sharpened by a low temperature."""
    return softmax(logits.detach().float() / temperature, dim=-1)
