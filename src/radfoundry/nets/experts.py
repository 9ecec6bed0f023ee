"""A mixture of modality experts: each image first on its own path, then all that are there through shared experts."""

from __future__ import annotations

import torch
from torch import nn

from radfoundry.nets.fusion import WIDTH, Readout, SlotTokens, Trusted, over_present
from radfoundry.records import InputError

NARROW = 8


class SoftExperts(nn.Module):
    """Soft mixture of experts: every expert reads a weighted mean of all tokens, every token a weighted sum of experts.

    Nothing is dropped and nothing is chosen, so that it can be learned by descent; absent tokens are read by nobody.
    Source: Puigcerver et al., From sparse to soft mixtures of experts, ICLR 2024, equations 1 to 3.
    """

    def __init__(self, width: int, experts: int, *, hidden: int = 8) -> None:
        super().__init__()
        if experts < 1:
            raise InputError(f"{experts} experts", remedy="give at least one")
        self.routes = nn.Parameter(torch.randn(width, experts) * width**-0.5)
        self.up = nn.Parameter(torch.randn(experts, width, hidden) * width**-0.5)
        self.down = nn.Parameter(torch.randn(experts, hidden, width) * hidden**-0.5)

    def forward(self, tokens: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Tokens (batch, count, width) and present (batch, count) to (batch, count, width); absent ones give 0."""
        logits = tokens @ self.routes
        dispatch = over_present(logits.transpose(1, 2), present[:, None].expand(-1, logits.shape[2], -1))
        read = dispatch @ tokens
        inner = nn.functional.gelu(torch.einsum("bew,ewh->beh", read, self.up))
        said = torch.einsum("beh,ehw->bew", inner, self.down)
        return (logits.softmax(dim=2) @ said) * present[..., None]


class ModalityExperts(nn.Module):
    """Early separate, late mixed: an adapter of each slot's own, then attention and soft experts over all present.

    A token of its own, which belongs to no image, collects the answer, so that any image may be missing. Shape after
    Luo et al., MOME, Nature Communications 2025 (arXiv 2408.12606), at the size of a head on pooled features: there
    the early layers are a transformer per sequence, here they are the encoder that gave the features and what each
    slot says by itself (`evidence`), which is added to what the experts say.
    """

    def __init__(self, slots: int, features: int, outputs: int, *, grades: int = 0, experts: int = 8) -> None:
        super().__init__()
        self.trusted = Trusted(slots)
        self.tokens = SlotTokens(slots, features)
        self.own_norm = nn.LayerNorm(WIDTH)
        self.own_narrow = nn.Parameter(torch.randn(slots, WIDTH, NARROW) * WIDTH**-0.5)
        self.own_widen = nn.Parameter(torch.randn(slots, NARROW, WIDTH) * NARROW**-0.5)
        self.collects = nn.Parameter(torch.randn(WIDTH) * 0.1)
        self.before = nn.LayerNorm(WIDTH)
        self.mix = nn.Linear(WIDTH, 3 * WIDTH)
        self.between = nn.LayerNorm(WIDTH)
        self.narrow, self.widen = nn.Linear(WIDTH, NARROW), nn.Linear(NARROW, WIDTH)
        self.experts = SoftExperts(NARROW, experts)
        self.readout = Readout(WIDTH, outputs, grades=grades)

    def forward(self, seen: torch.Tensor, evidence: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Seen (batch, slots, features), evidence (batch, slots, outputs), present (batch, slots): (batch, outputs)."""
        tokens = self.tokens(seen, present)
        inner = nn.functional.gelu(torch.einsum("bsw,swn->bsn", self.own_norm(tokens), self.own_narrow))
        tokens = tokens + torch.einsum("bsn,snw->bsw", inner, self.own_widen)
        there = nn.functional.pad(present, (1, 0), value=True)
        mixed = torch.cat([self.collects.expand(len(tokens), 1, -1), tokens], dim=1)
        mixed = mixed + self._attend(self.before(mixed), there)
        mixed = mixed + self.widen(self.experts(self.narrow(self.between(mixed)), there))
        return self.trusted(evidence, present) + self.readout(mixed[:, 0])

    def _attend(self, seen: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        query, key, value = self.mix(seen).chunk(3, dim=2)
        scores = query @ key.transpose(1, 2) / WIDTH**0.5
        return over_present(scores, there[:, None].expand_as(scores)) @ value
