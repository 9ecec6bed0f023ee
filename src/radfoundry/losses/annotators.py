"""Learning from several outlines of one image, each voxel of each weighted by how far it can be trusted.

The idea is that of UMA-Net (arXiv 2304.00466): uncertainty maps for every annotation, annotations pulled together where
they are reliable, and images parted into better and worse by those maps. The paper's equations are not published in a
form that could be read; those below are our interpretation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from radfoundry.losses.dice import one_hot, soft_dice

BAND = 5
AGREEMENT_WEIGHT = 0.1
PRICE = 0.3  # of doubt: a voxel is doubted where the network gives its label less than exp(-0.3) = 74 %
LOW_WEIGHT = 0.5


def uncertain_segmentation(
    scores: torch.Tensor, drawn: torch.Tensor, doubt: torch.Tensor, *, ramp: float = 1.0
) -> torch.Tensor:
    """(batch,) loss of scores against every annotator's mask, each voxel by its doubt.

    scores (batch, classes, …); drawn (batch, annotators, …) classes; doubt (batch, annotators, …) a from 0. The
    cross-entropy is weighted by exp(-a) and a is added at a price, so that doubting everything does not pay: the best a
    is the logarithm of the cross-entropy over the price where that is above 0. Soft Dice counts voxels by it too. The
    weights of a voxel are brought to a mean of 1 over the annotators: a hard voxel for which all are doubted still
    counts, only who is believed there changes.
    `ramp` from 0 to 1 says how far the scores already learn by the doubt; at 0 they learn from every voxel alike while
    the doubt learns from them.

    Source of the weighting: Kendall and Gal, NeurIPS 2017, in its form for classification without sampling. There a may
    be negative; then the many easy voxels of the background outweigh everything, which is why it may not here.
    """
    log_shares = scores.log_softmax(dim=1)
    shares = log_shares.exp()
    weights = trusted(ramp * doubt.detach())
    weights = weights / weights.mean(dim=1, keepdim=True)
    losses = []
    for annotator in range(drawn.shape[1]):
        labels, a, weight = drawn[:, annotator], doubt[:, annotator], weights[:, annotator]
        entropy = -log_shares.gather(1, labels.long()[:, None])[:, 0]
        voxelwise = weight * entropy + trusted(a) * entropy.detach() + PRICE * a
        truth = one_hot(labels, scores.shape[1])
        overlap = torch.stack(
            [soft_dice(shares[n : n + 1], truth[n : n + 1], weight=weight[n : n + 1, None]) for n in range(len(scores))]
        )
        losses.append(voxelwise.flatten(1).mean(dim=1) + overlap)
    return torch.stack(losses).mean(dim=0)


def trusted(doubt: torch.Tensor) -> torch.Tensor:
    """How far a voxel is trusted, from 1 (no doubt) down to 0: exp(-a)."""
    return torch.exp(-doubt)


def agreement(drawn: torch.Tensor, doubt: torch.Tensor, classes: int) -> torch.Tensor:
    """(batch,) how far the masks are from their own trusted mean where they are trusted themselves.

    Lowering it means doubting the annotator who stands alone. drawn and doubt (batch, annotators, …).
    """
    trust = trusted(doubt)
    truth = torch.stack([one_hot(drawn[:, k], classes) for k in range(drawn.shape[1])], dim=1)
    weighted = (trust[:, :, None] * truth).sum(dim=1) / trust.sum(dim=1, keepdim=True).clamp_min(1e-6)
    mean = weighted.detach().clamp(1e-4, 1 - 1e-4)[:, None]
    apart = -(truth * mean.log() + (1 - truth) * (1 - mean).log()).sum(dim=2)
    return (trust * apart).flatten(1).mean(dim=1)


def quality(drawn: torch.Tensor, doubt: torch.Tensor) -> torch.Tensor:
    """(batch,) how well each image is annotated: mean trust in a band around the outlines."""
    inside = (drawn > 0).float()
    pad = BAND // 2
    flat = inside.shape[-1] == 1
    kernel, padding = ((BAND, BAND, 1), (pad, pad, 0)) if flat else ((BAND,) * 3, (pad,) * 3)
    grown = nn.functional.max_pool3d(inside, kernel, 1, padding)
    shrunk = 1 - nn.functional.max_pool3d(1 - inside, kernel, 1, padding)
    band = (grown - shrunk).clamp(0, 1)
    trust = trusted(doubt)
    axes = tuple(range(1, band.ndim))
    return (trust * band).sum(dim=axes) / band.sum(dim=axes).clamp_min(1.0)


@dataclass(eq=False)
class QualitySplit:
    """Which images count as well annotated: those above a slowly moving median of what was seen lately.

    During the first `warm_up` steps every image belongs to both groups.
    """

    warm_up: int
    decay: float = 0.99
    memory: int = 64
    step: int = 0
    threshold: float = 0.0
    seen: list[float] = field(default_factory=list)

    def groups(self, found: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch,) booleans: who teaches the first head and who the second."""
        self.seen = [*self.seen, *found.detach().tolist()][-self.memory :]
        median = sorted(self.seen)[len(self.seen) // 2]
        started = self.step >= self.warm_up
        self.threshold = self.decay * self.threshold + (1 - self.decay) * median if started else median
        self.step += 1
        everybody = torch.ones_like(found, dtype=torch.bool)
        if not started:
            return everybody, everybody
        high = found >= self.threshold
        return high, ~high
