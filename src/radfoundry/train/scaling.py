"""Grey values of a batch brought to the scale an encoder asks for, on any device; the rules of `data.intensity`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from radfoundry.data.intensity import HISTOGRAM_BINS
from radfoundry.records import InputError


def scaled(images: torch.Tensor, rule: str) -> torch.Tensor:
    """`(N, I, J, K)` images, each judged by itself, under the intensity rule `none`, `percentile` or `zscore`."""
    if rule not in RULES:
        raise InputError(f"training crops cannot be scaled by the rule {rule!r}", remedy=f"known: {', '.join(RULES)}")
    return RULES[rule](images.flatten(1).float()).reshape(images.shape)


def _unchanged(rows: torch.Tensor) -> torch.Tensor:
    return rows


def _percentile(rows: torch.Tensor) -> torch.Tensor:
    ordered = rows.sort(dim=1).values
    low, high = (_between(ordered, share) for share in (0.005, 0.995))
    width = high - low
    return ((rows - low) / torch.where(width > 0, width, torch.inf)).clamp(0, 1)


def _between(ordered: torch.Tensor, share: float) -> torch.Tensor:
    """The quantile of sorted rows, linear between neighbours."""
    place = share * (ordered.shape[1] - 1)
    below = int(place)
    above = min(below + 1, ordered.shape[1] - 1)
    return torch.lerp(ordered[:, below], ordered[:, above], place - below)[:, None]


def _zscore(rows: torch.Tensor) -> torch.Tensor:
    inside = (rows > otsu(rows)).float()
    # A flat image has no brighter half: judge it by all of itself.
    inside = torch.where(inside.sum(dim=1, keepdim=True) > 0, inside, torch.ones_like(inside))
    count = inside.sum(dim=1, keepdim=True)
    mean = (rows * inside).sum(dim=1, keepdim=True) / count
    spread = (((rows - mean).square() * inside).sum(dim=1, keepdim=True) / count).sqrt()
    return (rows - mean) / torch.where(spread > 0, spread, torch.inf)


def otsu(rows: torch.Tensor) -> torch.Tensor:
    """`(N, 1)`: the value that best parts dark background from bright tissue in every row (Otsu 1979)."""
    low = rows.amin(dim=1, keepdim=True)
    count = rows.shape[1]
    high = rows.kthvalue(max(1, round(0.999 * count)), dim=1, keepdim=True).values
    width = torch.where(high > low, high - low, torch.ones_like(low))
    bins = ((rows - low) / width * HISTOGRAM_BINS).long().clamp(0, HISTOGRAM_BINS - 1)
    counts = torch.zeros(len(rows), HISTOGRAM_BINS, device=rows.device)
    counts.scatter_add_(1, bins, torch.ones_like(rows))
    centres = low + width * (torch.arange(HISTOGRAM_BINS, device=rows.device) + 0.5) / HISTOGRAM_BINS
    below, sums = counts.cumsum(dim=1)[:, :-1], (counts * centres).cumsum(dim=1)
    above, total = count - below, sums[:, -1:]
    gap = sums[:, :-1] / below.clamp_min(1) - (total - sums[:, :-1]) / above.clamp_min(1)
    best = (below * above * gap.square()).argmax(dim=1, keepdim=True)
    return low + width * (best + 1) / HISTOGRAM_BINS


RULES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": _unchanged,
    "percentile": _percentile,
    "zscore": _zscore,
}
