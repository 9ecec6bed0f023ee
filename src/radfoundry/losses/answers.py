"""How wrong an answer is: losses for classes, grades, findings, quantities and time to an event."""

from __future__ import annotations

import torch
from torch.nn import functional

from radfoundry.losses.precision import full_precision
from radfoundry.records import InputError


@full_precision
def focal(raw: torch.Tensor, share: torch.Tensor, *, gamma: float = 2.0) -> torch.Tensor:
    """(batch, …) log loss of yes-or-no answers in which easy cases count less; gamma 0 is the plain log loss.

    raw: logits; share: targets from 0 to 1. Source: Lin et al., ICCV 2017, equation 4.

    >>> raw, share = torch.tensor([3.0, -3.0]), torch.tensor([1.0, 1.0])
    >>> easy, hard = focal(raw, share, gamma=2.0) / focal(raw, share, gamma=0.0)
    >>> bool(easy < 0.01 < hard)
    True
    """
    plain = functional.binary_cross_entropy_with_logits(raw, share, reduction="none")
    if gamma == 0:
        return plain
    sure = torch.sigmoid(raw) * share + torch.sigmoid(-raw) * (1 - share)
    return plain * (1 - sure) ** gamma


@full_precision
def focal_classes(raw: torch.Tensor, share: torch.Tensor, *, gamma: float = 2.0) -> torch.Tensor:
    """(batch,) log loss of classes; share: (batch, classes) targets that add up to 1."""
    logs = functional.log_softmax(raw, dim=1)
    return -(share * (1 - logs.exp()) ** gamma * logs).sum(dim=1) if gamma else -(share * logs).sum(dim=1)


@full_precision
def ordered(place: torch.Tensor, thresholds: torch.Tensor, grade: torch.Tensor) -> torch.Tensor:
    """(batch,) log loss of grades under proportional odds; thresholds: (grades - 1,) rising (McCullagh 1980)."""
    edges = torch.cat([place.new_tensor([-1e4]), thresholds, place.new_tensor([1e4])])
    upper, lower = torch.sigmoid(edges[grade + 1] - place), torch.sigmoid(edges[grade] - place)
    return -(upper - lower).clamp_min(1e-7).log()


@full_precision
def cox(risk: torch.Tensor, time: torch.Tensor, event: torch.Tensor) -> torch.Tensor:
    """The negative log partial likelihood per event, among the patients of the batch; 0 without events.

    risk, time, event: (batch,); ties by Breslow's rule. Source: Cox 1972; Katzman et al. 2018 for networks.

    >>> time, event = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0, 0.0])
    >>> bool(cox(torch.tensor([2.0, 0.0, -2.0]), time, event) < cox(torch.tensor([-2.0, 0.0, 2.0]), time, event))
    True
    """
    if not len(risk) == len(time) == len(event):
        raise InputError(f"{len(risk)} risks, {len(time)} times, {len(event)} events", remedy="give one of each")
    there = time[None] >= time[:, None]
    total = torch.logsumexp(risk[None].expand_as(there).masked_fill(~there, -torch.inf), dim=1)
    count = event.sum()
    return ((total - risk) * event).sum() / count.clamp_min(1)
