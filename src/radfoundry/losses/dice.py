"""Losses for outlining: soft overlap and cross-entropy, voxel by voxel or weighted."""

from __future__ import annotations

import torch
from torch import nn

SMOOTH = 1.0


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """(batch, I, J, K) whole numbers to (batch, classes, I, J, K) zeros and ones.

    >>> one_hot(torch.tensor([[[[0, 2]]]]), 3).flatten(2)[0].tolist()
    [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
    """
    return nn.functional.one_hot(labels.long(), classes).movedim(-1, 1).float()


def soft_dice(shares: torch.Tensor, truth: torch.Tensor, *, weight: torch.Tensor | None = None) -> torch.Tensor:
    """One minus the mean overlap of the structures, background left out; 0 is perfect.

    shares, truth: (batch, classes, I, J, K), the first class being background; the sums run over the batch, so that a
    structure absent from one image does not count by itself. weight: (batch, 1, I, J, K), how much each voxel counts.

    Source: Milletari, Navab and Ahmadi, 3DV 2016 (V-Net), with the plain instead of the squared denominator.

    >>> truth = one_hot(torch.tensor([[[[0, 1]]]]), 2)
    >>> round(float(soft_dice(truth, truth)), 3)
    0.0
    """
    if weight is None:
        weight = torch.ones_like(shares[:, :1])
    axes = (0, *range(2, shares.ndim))
    shared = (weight * shares * truth).sum(dim=axes)[1:]
    total = (weight * (shares + truth)).sum(dim=axes)[1:]
    return 1 - ((2 * shared + SMOOTH) / (total + SMOOTH)).mean()


def dice_and_cross_entropy(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice: the usual loss of outlining. scores (batch, classes, …), labels (batch, …)."""
    truth = one_hot(labels, scores.shape[1])
    return nn.functional.cross_entropy(scores, labels.long()) + soft_dice(scores.softmax(dim=1), truth)
