"""A small causal transformer that writes a report from image features: token by token, greedily or with a beam."""

from __future__ import annotations

import torch
from torch import nn

from radfoundry.records import InputError
from radfoundry.text.tokens import PAD, START

HEAD_WIDTH = 16
PREFIX = 4
BATCH, RATE, DECAY, CLIP = 16, 2e-3, 0.05, 1.0


class ReportDecoder(nn.Module):
    """Image features become a few leading tokens; every later token sees them and the words before it.

    vocabulary: how many tokens there are · features: width of an image's vector · length: most tokens of a report,
    the one that ends it included. Token 0 ends a report.
    """

    def __init__(self, *, vocabulary: int, features: int, width: int = 64, depth: int = 2, length: int = 96) -> None:
        super().__init__()
        self.vocabulary, self.features, self.width, self.depth, self.length = vocabulary, features, width, depth, length
        self.words = nn.Embedding(vocabulary, width)
        self.image = nn.Linear(features, PREFIX * width)
        self.places = nn.Parameter(torch.randn(PREFIX + length, width) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                max(1, width // HEAD_WIDTH),
                4 * width,
                dropout=0.1,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(depth)
        )
        self.last = nn.LayerNorm(width)

    def forward(self, features: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """`(B, features)` and token numbers `(B, T)` so far to logits `(B, T, vocabulary)` of what comes next."""
        if words.ndim != 2 or words.shape[1] > self.length or features.shape[-1] != self.features:
            raise InputError(
                f"features {tuple(features.shape)} and words {tuple(words.shape)}",
                remedy=f"(B, {self.features}) and (B, at most {self.length})",
            )
        leading = self.image(features).reshape(len(features), PREFIX, self.width)
        tokens = torch.cat([leading, self.words(words.long())], dim=1)
        count = tokens.shape[1]
        tokens = tokens + self.places[:count]
        later = torch.ones(count, count, dtype=torch.bool, device=tokens.device).triu(1)
        for block in self.blocks:
            tokens = block(tokens, src_mask=later)
        return self.last(tokens[:, PREFIX:]) @ self.words.weight.T


def small(
    *, vocabulary: int, features: int, width: int = 64, depth: int = 2, length: int = 96, seed: int = 0
) -> ReportDecoder:
    """A decoder with fresh weights; about 150,000 of them with 512 tokens.

    >>> small(vocabulary=300, features=8)(torch.zeros(2, 8), torch.ones(2, 5)).shape
    torch.Size([2, 5, 300])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = ReportDecoder(vocabulary=vocabulary, features=features, width=width, depth=depth, length=length)
        nn.init.normal_(made.words.weight, std=0.05)
    return made.eval()


def train(decoder: ReportDecoder, features: torch.Tensor, words: torch.Tensor, *, steps: int, seed: int = 0) -> None:
    """Teach a decoder to write reports `(n, T + 1)`, token numbers from the start on, from features `(n, features)`.

    Every next token is guessed, the end of the report included, while the learning rate falls to nothing. Everything
    random comes from the seed.
    """
    moving = torch.optim.AdamW(decoder.parameters(), lr=RATE, weight_decay=DECAY)
    falling = torch.optim.lr_scheduler.OneCycleLR(moving, RATE, total_steps=steps + 1, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    decoder.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(steps):
            rows = torch.randint(len(words), (min(BATCH, len(words)),), generator=generator)
            before, target = words[rows, :-1], words[rows, 1:].long()
            counted = (target == PAD).int().cumsum(dim=1) <= 1  # the first empty place is the end of the report
            logits = decoder(features[rows], before)
            loss = nn.functional.cross_entropy(logits[counted], target[counted])
            moving.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(decoder.parameters(), CLIP)
            moving.step()
            falling.step()
    decoder.eval()


@torch.no_grad()
def write(decoder: ReportDecoder, features: torch.Tensor, *, beam: int = 1) -> list[list[int]]:
    """The token numbers of one report an image, without the start and the end.

    features `(B, features)`. beam: how many unfinished reports are kept a step; 1 is greedy. The report with the
    highest probability of all its tokens wins. Refuses a beam below 1.
    """
    if beam < 1:
        raise InputError(f"a beam of {beam}", remedy="1 is greedy, 3 keeps three")
    count, device = len(features), features.device
    seen = features.repeat_interleave(beam, dim=0)
    words = torch.full((count, beam, 1), START, device=device)
    score = torch.full((count, beam), -torch.inf, device=device)
    score[:, 0] = 0.0  # all beams begin alike: only one of them counts
    over = torch.zeros(count, beam, dtype=torch.bool, device=device)
    for _ in range(decoder.length - 1):
        logits = decoder(seen, words.flatten(0, 1))[:, -1].reshape(count, beam, -1)
        logits[..., START] = -torch.inf
        gain = logits.log_softmax(dim=-1)
        ended = torch.full_like(gain, -torch.inf)
        ended[..., PAD] = 0.0  # a finished report stays as it is
        total = score[..., None] + torch.where(over[..., None], ended, gain)
        score, place = total.flatten(1).topk(beam, dim=1)
        source, token = place // decoder.vocabulary, place % decoder.vocabulary
        words = torch.cat([words.gather(1, source[..., None].expand(-1, -1, words.shape[2])), token[..., None]], dim=2)
        over = over.gather(1, source) | (token == PAD)
        if over.all():
            break
    best = words[:, 0, 1:].tolist()
    return [row[: row.index(PAD)] if PAD in row else row for row in best]
