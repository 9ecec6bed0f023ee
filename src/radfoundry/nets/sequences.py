"""Sets of sequences: any subset may be missing, and their order does not matter."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from radfoundry import registry
from radfoundry.nets.conv import expect_channels
from radfoundry.records import Features, InputError


class SequenceSet(nn.Module):
    """One encoder looks at every sequence that is there; the exam is the mean and the maximum of what it saw.

    Sequences are not told apart by their place in the set: T1 before T2 gives the same vector as T2 before T1,
    and an exam of two sequences is read by the same weights as one of five. The pooled vector is twice as
    long as the inner encoder's; tokens are the mean over the sequences present, so the grid is the inner one's.
    """

    def __init__(self, inner: Any, *, sequences: int, options: dict[str, Any]) -> None:
        super().__init__()
        if inner.spec.channels != 1:
            raise InputError(f"{inner.spec.name} reads {inner.spec.channels} channels at once", remedy="use channels=1")
        if sequences < 1:
            raise InputError(f"a set of {sequences} sequences", remedy="give at least one")
        self.inner = inner
        # Absent sequences never reach the inner encoder, so its own constant for them is never used.
        if isinstance(getattr(inner, "missing", None), nn.Parameter):
            inner.missing.requires_grad_(False)
        self.options = options
        self.spec = dataclasses.replace(inner.spec, name=f"sequences-{inner.spec.name}", channels=sequences)

    def encode(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Features:
        """x: (batch, sequences, I, J, K); present: (batch, sequences); refuses an exam with no sequence at all.

        Any number of sequences is accepted, not only the spec's.
        """
        if x.ndim != 5 or x.shape[1] < 1:
            expect_channels(x, self.spec)
        batch, count = x.shape[:2]
        there = torch.ones(batch, count, dtype=torch.bool, device=x.device) if present is None else present.bool()
        empty = (~there.any(dim=1)).nonzero().flatten().tolist()
        if empty:
            raise InputError(
                "no sequence is present", where=f"exam {empty[0]} of the batch", remedy="leave the exam out"
            )
        seen = self.inner.encode(x[there][:, None])
        average, brightest = over_present(seen.pooled, there)
        tokens = None if seen.tokens is None else over_present(seen.tokens, there)[0]
        return Features(pooled=torch.cat([average, brightest], dim=1), tokens=tokens, grid=seen.grid)

    def forward(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Features:
        """The same as `encode`."""
        return self.encode(x, present)


def over_present(values: torch.Tensor, there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and maximum over the sequences of each exam.

    values: (all sequences present, ...) in the order of `there`, which is (batch, sequences) booleans.

    >>> mean, highest = over_present(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([[True, True], [False, True]]))
    >>> mean.flatten().tolist(), highest.flatten().tolist()
    ([2.0, 5.0], [3.0, 5.0])
    """
    exam = there.nonzero()[:, 0]
    places = exam.view(-1, *[1] * (values.ndim - 1)).expand_as(values)
    start = values.new_zeros(len(there), *values.shape[1:])
    average = start.scatter_reduce(0, places, values, "mean", include_self=False)
    return average, start.scatter_reduce(0, places, values, "amax", include_self=False)


def build(*, encoder: str = "vit3d-tiny", sequences: int = 4, seed: int = 0) -> SequenceSet:
    """A set encoder around a single-channel encoder of the registry, with fresh weights from `seed`."""
    inner = registry.build("encoders", encoder, seed=seed)
    return SequenceSet(
        inner, sequences=sequences, options={"encoder": encoder, "sequences": sequences, "seed": seed}
    ).eval()
