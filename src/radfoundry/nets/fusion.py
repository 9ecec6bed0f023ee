"""Several images of one patient in one answer: places for each of them, and attention over those that are there."""

from __future__ import annotations

import torch
from torch import nn

WIDTH = 16
HIDDEN = 16


class Readout(nn.Module):
    """From one vector per patient to raw answers; the last layer starts at zero, so that everybody starts alike."""

    def __init__(self, width: int, outputs: int, *, grades: int = 0, dropout: float = 0.2) -> None:
        super().__init__()
        self.first = nn.Linear(width, HIDDEN)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(HIDDEN, outputs)
        self.gaps = nn.Parameter(torch.zeros(max(grades - 1, 0)))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """(batch, width) to (batch, outputs)."""
        return self.last(self.dropout(nn.functional.gelu(self.first(seen))))

    def thresholds(self) -> torch.Tensor:
        """The rising borders between grades."""
        return torch.cumsum(torch.cat([self.gaps[:1] - 1, nn.functional.softplus(self.gaps[1:])]), dim=0)


class SlotTokens(nn.Module):
    """One vector of a shared width per slot, with the slot's own mark, so that slots are told apart by what they are.

    What an absent slot's features hold is never looked at.
    """

    def __init__(self, slots: int, features: int, *, width: int = WIDTH) -> None:
        super().__init__()
        self.stems = nn.Parameter(torch.randn(slots, features, width) * features**-0.5)
        self.marks = nn.Parameter(torch.randn(slots, width) * 0.1)

    def forward(self, seen: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Features (batch, slots, features) and present (batch, slots) to (batch, slots, width); absent ones are 0."""
        tokens = torch.einsum("bsf,sfw->bsw", seen, self.stems) + self.marks
        return torch.where(present[..., None], tokens, torch.zeros_like(tokens))


class Trusted(nn.Module):
    """What each slot says by itself, added up with a weight per slot; what is absent adds nothing."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((slots,), slots**-0.5))

    def forward(self, evidence: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Evidence (batch, slots, outputs) and present (batch, slots) to (batch, outputs)."""
        kept = torch.where(present[..., None], evidence, torch.zeros_like(evidence))
        return torch.einsum("bso,s->bo", kept, self.weights)


class SlotAttention(nn.Module):
    """Attention over the slots that are there, beside what each says by itself.

    A learned weight for each, which add up to one over those present; with nothing present the answer is that of a
    zero vector. Source: Ilse et al., ICML 2018 (attention-based pooling).
    """

    def __init__(self, slots: int, features: int, outputs: int, *, grades: int = 0) -> None:
        super().__init__()
        self.trusted = Trusted(slots)
        self.tokens = SlotTokens(slots, features)
        self.weigh = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))
        self.readout = Readout(WIDTH, outputs, grades=grades)

    def forward(self, seen: torch.Tensor, evidence: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Seen (batch, slots, features), evidence (batch, slots, outputs), present (batch, slots): (batch, outputs)."""
        tokens = self.tokens(seen, present)
        weights = over_present(self.weigh(tokens)[..., 0], present)
        return self.trusted(evidence, present) + self.readout((weights[..., None] * tokens).sum(dim=1))


def over_present(scores: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Softmax along the last axis over what is present; all zeros where nothing is.

    >>> over_present(torch.zeros(2, 3), torch.tensor([[True, True, False], [False, False, False]])).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    shares = scores.masked_fill(~present, -torch.inf).softmax(dim=-1)
    return torch.where(present, shares, torch.zeros_like(shares))
