"""Losses that pull together what belongs together and push apart what does not."""

from __future__ import annotations

import torch
from torch.nn.functional import log_softmax, logsigmoid, normalize

from radfoundry.losses.precision import full_precision
from radfoundry.records import InputError


@full_precision
def info_nce(
    first: torch.Tensor,
    second: torch.Tensor,
    *,
    temperature: float | torch.Tensor = 0.1,
    positives: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """How hard it is to find each row's partner among all rows of the other set, both ways.

    first, second: `(…, B, D)`, row i of one belongs to row i of the other; further leading axes are separate sets.
    positives: `(B, B)` with 1 (or a weight) where a pair belongs together, if that is more than the diagonal; its
    rows and columns are scaled to sum to 1. weight: `(…, B)` how much each row counts, 0 for rows that are only there
    to be told from; all alike if left out. Values are log B for features that say nothing, near 0 for perfect ones
    at a low temperature. Lengths of the rows do not matter. Source: van den Oord et al. 2018, equation 4, with
    normalised features; soft targets as in Decipher-MR stage 2.

    >>> rows = torch.eye(4)
    >>> bool(info_nce(rows, rows, temperature=0.05) < 1e-6)
    True
    """
    if first.shape != second.shape:
        raise InputError(f"rows {tuple(first.shape)} against {tuple(second.shape)}", remedy="give partners row by row")
    logits = normalize(first.float(), dim=-1) @ normalize(second.float(), dim=-1).transpose(-1, -2) / temperature
    if positives is None:
        there = -log_softmax(logits, dim=-1).diagonal(dim1=-2, dim2=-1)
        back = -log_softmax(logits, dim=-2).diagonal(dim1=-2, dim2=-1)
    else:
        there = -(log_softmax(logits, dim=-1) * shares(positives, dim=-1)).sum(dim=-1)
        back = -(log_softmax(logits, dim=-2) * shares(positives, dim=-2)).sum(dim=-2)
    cost = (there + back) / 2
    return cost.mean() if weight is None else (cost * weight).sum() / weight.sum().clamp_min(1e-6)


def shares(weights: torch.Tensor, *, dim: int) -> torch.Tensor:
    """Weights scaled to sum to 1 along an axis; refuses a row without any partner."""
    total = weights.float().sum(dim=dim, keepdim=True)
    if bool((total <= 0).any()):
        raise InputError("a row has no partner at all", remedy="give every row at least one positive")
    return weights / total


@full_precision
def sigmoid_pairs(
    first: torch.Tensor,
    second: torch.Tensor,
    *,
    scale: torch.Tensor | float,
    bias: torch.Tensor | float,
    positives: torch.Tensor | None = None,
) -> torch.Tensor:
    """Each pair judged on its own as belonging together or not; the mean over first of the sum over second.

    positives: `(B, N)` booleans; the diagonal if left out. Source: SigLIP, Zhai et al. 2023, algorithm 1.
    """
    logits = normalize(first.float(), dim=-1) @ normalize(second.float(), dim=-1).T * scale + bias
    if positives is None:
        positives = torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
    sign = positives.to(logits.dtype) * 2 - 1
    return -logsigmoid(sign * logits).sum(dim=1).mean()


@full_precision
def region_concepts(
    patches: torch.Tensor,
    concepts: torch.Tensor,
    belongs: torch.Tensor,
    *,
    scale: torch.Tensor | float,
    bias: torch.Tensor | float,
    ignore: torch.Tensor | None = None,
) -> torch.Tensor:
    """Each concept has to be found at its best place in the images that have it, and nowhere in the others.

    patches: `(B, P, D)` normalised here; concepts: `(C, D)`; belongs: `(B, C)` booleans; ignore: `(B, C)` pairs that
    are left out (the same concept named in another image's report). Mean over concepts of the sum over images.
    Source: ConceptCLIP, arXiv 2501.15579, RC-Align.
    """
    near = torch.einsum("bpd,cd->bpc", normalize(patches.float(), dim=-1), normalize(concepts.float(), dim=-1))
    logits = near.amax(dim=1) * scale + bias
    cost = -logsigmoid((belongs.to(logits.dtype) * 2 - 1) * logits)
    if ignore is not None:
        cost = cost.masked_fill(ignore & ~belongs, 0.0)
    return cost.sum(dim=0).mean()
