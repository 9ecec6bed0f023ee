"""A small transformer that reads votes as tokens and gives one answer."""

from __future__ import annotations

import torch
from torch import nn

SILENCED, REVERSED = 0.2, 0.1


class VoteReader(nn.Module):
    """Each source of evidence is one token: who says it, how sure, and whether it said anything.

    sources: how many sources there are. Reads `(n, sources)` log odds and `(n, sources)` booleans of what was said;
    gives `(n,)` log odds of yes. A decision is the pooled vote (attention decides whose) plus a learned departure.
    """

    def __init__(self, sources: int, *, width: int = 16, heads: int = 2, layers: int = 1) -> None:
        super().__init__()
        self.who = nn.Parameter(torch.randn(sources, width) * 0.02)
        self.said = nn.Linear(2, width)
        block = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.loudness = nn.Linear(width, 1)
        self.scale = nn.Parameter(torch.ones(()))
        self.offset = nn.Parameter(torch.zeros(()))
        nn.init.zeros_(self.loudness.weight)

    def forward(self, logits: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """`(n,)` log odds; a source that said nothing is not listened to."""
        heard = present.to(logits.dtype)
        tokens = self.said(torch.stack([logits / 4, heard], dim=-1)) + self.who
        loud = self.loudness(self.body(tokens)).squeeze(-1).masked_fill(~present, -30.0)
        return self.scale * (loud.softmax(dim=-1) * logits * heard).sum(dim=-1) + self.offset


def train(
    logits: torch.Tensor,
    present: torch.Tensor,
    answers: torch.Tensor,
    *,
    steps: int = 200,
    seed: int = 0,
) -> VoteReader:
    """Learn from log odds `(n, sources)` and answers `(n,)`; some votes are silenced and some reversed on purpose.

    That keeps the reader from trusting one source blindly. Everything random comes from the seed.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = VoteReader(logits.shape[1])
    optimiser = torch.optim.AdamW(reader.parameters(), lr=0.01, weight_decay=0.05)
    for _ in range(steps):
        quiet = torch.rand(logits.shape, generator=generator) < SILENCED
        turned = torch.rand(logits.shape, generator=generator) < REVERSED
        heard = present & ~quiet
        heard |= (~heard.any(dim=1, keepdim=True)) & present
        said = torch.where(turned, -logits, logits)
        loss = nn.functional.binary_cross_entropy_with_logits(reader(said, heard), answers)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return reader.eval()
