"""How weights move: AdamW with decay where it belongs, a warm-up and a cosine, and a slow average of the encoder."""

from __future__ import annotations

import math

import torch
from torch import nn


def adamw(module: nn.Module, *, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019); biases, norms and other vectors are not decayed, frozen weights left out."""
    moving = [weight for weight in module.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in moving if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in moving if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate, betas=(0.9, 0.95))


def schedule(step: int, progress: float, *, warmup_steps: int, floor: float = 0.01) -> float:
    """The share of the learning rate: rising over the first steps, then a half cosine down to `floor`.

    >>> [round(schedule(step, step / 100, warmup_steps=10), 2) for step in (0, 9, 50, 100)]
    [0.1, 0.98, 0.51, 0.01]
    """
    rising = min(1.0, (step + 1) / max(1, warmup_steps))
    return rising * (floor + (1 - floor) * (1 + math.cos(math.pi * min(1.0, progress))) / 2)


class SlowAverage:
    """Exponential moving average of a module's weights, in float32; the early steps count less (Polyak averaging)."""

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().float().clone() for name, value in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move a little towards the present weights; after few steps, move more."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in module.named_parameters():
            self.weights[name].lerp_(value.detach().float(), share)
