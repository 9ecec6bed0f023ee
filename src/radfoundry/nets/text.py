"""A small transformer that reads reports: token numbers in, one vector per token and one per report out."""

from __future__ import annotations

import torch
from torch import nn

from radfoundry.records import Features, InputError
from radfoundry.text.tokens import PAD

HEAD_WIDTH = 32


class TextEncoder(nn.Module):
    """Reports as features; empty places (token 0) take no part."""

    def __init__(self, *, vocabulary: int, width: int, depth: int, length: int) -> None:
        super().__init__()
        self.vocabulary, self.width, self.depth, self.length = vocabulary, width, depth, length
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                max(1, width // HEAD_WIDTH),
                4 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(depth)
        )
        self.last = nn.LayerNorm(width)

    def encode(self, words: torch.Tensor) -> Features:
        """`(B, T)` token numbers to `pooled` `(B, width)`, the mean over words, and `tokens` `(B, T, width)`.

        Refuses token numbers outside the vocabulary and texts longer than `length`; a report without words gives 0.
        """
        if words.ndim != 2 or words.shape[1] > self.length:
            raise InputError(
                f"reports of shape {tuple(words.shape)}", remedy=f"(B, at most {self.length}) token numbers"
            )
        empty = words == PAD
        tokens = self.words(words.long()) + self.places[: words.shape[1]]
        # A row without any word would have nothing to attend to; let it attend to its empty places.
        ignored = empty & ~empty.all(dim=1, keepdim=True)
        for block in self.blocks:
            tokens = block(tokens, src_key_padding_mask=ignored)
        tokens = self.last(tokens) * ~empty[:, :, None]
        pooled = tokens.sum(dim=1) / (~empty).sum(dim=1, keepdim=True).clamp_min(1)
        return Features(pooled=pooled, tokens=tokens, grid=(int(words.shape[1]),))

    def forward(self, words: torch.Tensor) -> Features:
        """The same as `encode`."""
        return self.encode(words)


def small(*, vocabulary: int, width: int = 128, depth: int = 2, length: int = 160, seed: int = 0) -> TextEncoder:
    """A text encoder with fresh weights; about half a million of them with 1,024 tokens.

    >>> small(vocabulary=300).encode(torch.tensor([[1, 5, 9, 0]])).pooled.shape
    torch.Size([1, 128])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = TextEncoder(vocabulary=vocabulary, width=width, depth=depth, length=length)
    encoder.requires_grad_(True)
    return encoder.eval()
