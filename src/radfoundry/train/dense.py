"""Learning to outline: so many steps of a few patches each, the same for every network that is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from radfoundry.losses.dice import dice_and_cross_entropy
from radfoundry.records import InputError
from radfoundry.train.dense_augment import Change, matrix, patch_start, regreyed, taken

Progress = Callable[[str, int, int], None]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
WARM_UP = 10
LARGEST_STEP = 5.0


@dataclass(frozen=True, eq=False)
class Drawn:
    """One prepared image (C, I, J, K) with its classes (I, J, K), or classes of several annotators (A, I, J, K)."""

    image: torch.Tensor
    labels: torch.Tensor
    patient: str = ""


@dataclass(frozen=True)
class Fit:
    """How long and how fast: `rate` is that of the decoder, an encoder that learns takes a tenth of it.

    `inside` is the share of patches laid around a structure.
    """

    steps: int = 250
    batch: int = 2
    rate: float = 2e-3
    encoder_share: float = 0.1
    weight_decay: float = 0.01
    inside: float = 0.34
    change: Change = field(default_factory=Change)
    seed: int = 0
    loss: Loss = dice_and_cross_entropy

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.rate <= 0 or not 0 <= self.inside <= 1:
            raise InputError(
                f"steps={self.steps} batch={self.batch} rate={self.rate} inside={self.inside}",
                where="tune",
                remedy="steps and batch from 1, rate above 0, inside from 0 to 1",
            )


def fit(
    model: Any,
    examples: Sequence[Drawn],
    patch: Sequence[int],
    how: Fit,
    *,
    name: str = "outline",
    progress: Progress | None = None,
) -> list[float]:
    """Teach a network; gives the loss of every step. AdamW with a warm-up and a linear decay to zero.

    The same seed gives the same weights, and two networks with the same seed see the same patches in the same order.
    Refuses to go on when the loss is no number.
    """
    if not examples:
        raise InputError("no images to learn from", where=name)
    groups = model.groups(how.rate, how.encoder_share)
    optimiser = torch.optim.AdamW(groups, weight_decay=how.weight_decay)
    tops = [group["lr"] for group in optimiser.param_groups]
    weights = [value for group in groups for value in group["params"]]
    rng = np.random.default_rng(how.seed)
    losses = []
    model.train()
    for step in range(how.steps):
        for group, top in zip(optimiser.param_groups, tops, strict=True):
            group["lr"] = top * min(1.0, (step + 1) / WARM_UP) * (1 - step / how.steps)
        images, labels = batch_of(examples, patch, how, rng=rng)
        found = how.loss(model(images), labels)
        descend(optimiser, weights, found, said=f"{name} diverged at step {step + 1}")
        losses.append(float(found.detach()))
        if progress is not None and (step + 1) % 10 == 0:
            progress(name, step + 1, how.steps)
    model.eval()
    return losses


def descend(
    optimiser: torch.optim.Optimizer, weights: Iterable[nn.Parameter], found: torch.Tensor, *, said: str
) -> None:
    """One step down a loss, of bounded length; refuses, with what is `said`, a loss that is no number."""
    if not torch.isfinite(found):
        raise InputError(said, remedy="lower tune.rate", finding="diverged")
    optimiser.zero_grad()
    found.backward()
    nn.utils.clip_grad_norm_(weights, LARGEST_STEP)
    optimiser.step()


def batch_of(
    examples: Sequence[Drawn], patch: Sequence[int], how: Fit, *, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch, C, *patch) changed patches and (batch, *patch) labels; patients are drawn evenly."""
    images, labels = [], []
    flat = patch[2] == 1
    for _ in range(how.batch):
        chosen = examples[int(rng.integers(len(examples)))]
        drawn = chosen.labels if chosen.labels.ndim == 3 else chosen.labels[int(rng.integers(len(chosen.labels)))]
        start = patch_start(drawn.numpy(), patch, rng=rng, inside=bool(rng.random() < how.inside))
        image, mask = taken(chosen.image, drawn, patch, start, matrix(how.change, flat=flat, rng=rng))
        images.append(regreyed(image, how.change, rng=rng))
        labels.append(mask)
    return torch.stack(images), torch.stack(labels)
