"""Learning to outline from several annotators at once: every voxel of every mask weighted by its doubt, two heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.losses import annotators as losses
from radfoundry.nets.encoder_maps import Sizes
from radfoundry.nets.unet_annotators import TwoHeads
from radfoundry.records import InputError
from radfoundry.train.dense import WARM_UP, Drawn, Fit, descend
from radfoundry.train.dense_augment import matrix, patch_start, regreyed, taken

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Uncertain:
    """How the several masks are learned from.

    `heads` is two (images of low quality teach the second head), one (every image teaches the first) or drop (images
    of low quality teach nothing). `warm_up` is the share of the steps before images are parted.
    """

    heads: str = "two"
    warm_up: float = 0.3

    def __post_init__(self) -> None:
        if self.heads not in ("two", "one", "drop") or not 0 <= self.warm_up <= 1:
            raise InputError(f"heads={self.heads} warm_up={self.warm_up}", remedy="two, one or drop; 0 to 1")


def fit_uncertain(
    examples: Sequence[Drawn],
    sizes: Sizes,
    patch: Sequence[int],
    how: Fit,
    rule: Uncertain,
    progress: Progress | None = None,
) -> TwoHeads:
    """Teach a network from images with the masks of several annotators (A, I, J, K).

    Loss: that of the first head over well annotated images, half that of the second over the others, and a tenth of
    the agreement term. Same optimiser, steps and patches as `dense.fit`. Refuses examples with one mask.
    """
    if any(item.labels.ndim != 4 or len(item.labels) < 2 for item in examples):
        raise InputError("an image has one annotator", where="annotators", remedy="give several masks an image")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        model = TwoHeads(sizes)
    optimiser = torch.optim.AdamW(model.parameters(), lr=how.rate, weight_decay=how.weight_decay)
    split = losses.QualitySplit(round(rule.warm_up * how.steps))
    rng = np.random.default_rng(how.seed)
    for step in range(how.steps):
        for group in optimiser.param_groups:
            group["lr"] = how.rate * min(1.0, (step + 1) / WARM_UP) * (1 - step / how.steps)
        images, drawn = batch_of(examples, patch, how, rng=rng)
        found = loss(model, images, drawn, split, rule)
        descend(optimiser, model.parameters(), found, said=f"annotators diverged at step {step + 1}")
        if progress is not None and (step + 1) % 10 == 0:
            progress("annotators", step + 1, how.steps)
    return model.eval()


def loss(
    model: TwoHeads, images: torch.Tensor, drawn: torch.Tensor, split: losses.QualitySplit, rule: Uncertain
) -> torch.Tensor:
    """The loss of one batch; moves the quality split on."""
    high, low, features = model.both(images)
    doubt = model.doubt(features, drawn)
    agreed = losses.AGREEMENT_WEIGHT * losses.agreement(drawn, doubt, model.classes).mean()
    # The doubt is believed step by step: before the scores are any good it only says where they are not.
    ramp = min(1.0, split.step / max(1, 2 * split.warm_up))
    first = losses.uncertain_segmentation(high, drawn, doubt, ramp=ramp)
    well, badly = split.groups(losses.quality(drawn, doubt))
    if rule.heads == "one":
        return first.mean() + agreed
    total = agreed + (first * well).sum() / well.sum().clamp_min(1)
    if rule.heads == "two":
        second = losses.uncertain_segmentation(low, drawn, doubt, ramp=ramp)
        total = total + losses.LOW_WEIGHT * (second * badly).sum() / badly.sum().clamp_min(1)
    return total


def batch_of(
    examples: Sequence[Drawn], patch: Sequence[int], how: Fit, *, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch, C, *patch) changed patches and (batch, annotators, *patch) masks, moved together."""
    images, labels = [], []
    flat = patch[2] == 1
    for _ in range(how.batch):
        chosen = examples[int(rng.integers(len(examples)))]
        anybody = chosen.labels.amax(dim=0).numpy()
        start = patch_start(anybody, patch, rng=rng, inside=bool(rng.random() < how.inside))
        transform = matrix(how.change, flat=flat, rng=rng)
        parts = [taken(chosen.image, mask, patch, start, transform) for mask in chosen.labels]
        images.append(regreyed(parts[0][0], how.change, rng=rng))
        labels.append(torch.stack([mask for _, mask in parts]))
    return torch.stack(images), torch.stack(labels)
