"""Self-distillation: a slow copy of the encoder teaches it, over crops of different size and over sequences."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from radfoundry.losses.distillation import cross_entropy, koleo, sinkhorn
from radfoundry.losses.precision import full_precision
from radfoundry.records import InputError
from radfoundry.train import draws
from radfoundry.train.objectives.masked import block_mask, hide
from radfoundry.train.processes import gather, rows_of
from radfoundry.train.scene import Scene, Shapes, Terms
from radfoundry.train.views import cut


class Prototypes(nn.Module):
    """Features to their likeness with learned prototypes, all of length one."""

    def __init__(self, incoming: int, width: int, count: int) -> None:
        super().__init__()
        self.bottleneck = nn.Sequential(
            nn.LayerNorm(incoming), nn.Linear(incoming, width), nn.GELU(), nn.Linear(width, width)
        )
        self.prototypes = nn.Parameter(torch.randn(count, width))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`(…, incoming)` to cosines `(…, count)`."""
        return cosines(self.bottleneck(features), self.prototypes)


@full_precision
def cosines(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """`(…, D)` and `(K, D)` to `(…, K)`."""
    return normalize(rows.float(), dim=-1) @ normalize(columns.float(), dim=-1).T


class Distil(nn.Module):
    """DINO on whole crops, iBOT on hidden places, KoLeo for spread; views are sequences and smaller boxes."""

    needs: tuple[str, ...] = ()

    def __init__(
        self, shapes: Shapes, *, width: int, prototypes: int, mask_ratio: float, local: int, momentum: float
    ) -> None:
        super().__init__()
        self.shapes, self.mask_ratio, self.local, self.momentum = shapes, mask_ratio, local, momentum
        self.head = Prototypes(shapes.pooled, width, prototypes)
        self.place_head = Prototypes(shapes.width, width, prototypes)
        self.teacher: Any = None
        self.teacher_head: Any = copy.deepcopy(self.head).requires_grad_(False)
        self.teacher_place_head: Any = copy.deepcopy(self.place_head).requires_grad_(False)

    def attach(self, encoder: Any) -> None:
        """The teacher starts as the encoder."""
        self.teacher = copy.deepcopy(encoder).requires_grad_(False)

    def after_step(self, encoder: Any, progress: float) -> None:
        """The teacher follows; ever more slowly towards the end of the run."""
        share = (1 - self.momentum) * (1 + math.cos(math.pi * progress)) / 2
        followed = ((self.teacher, encoder), (self.teacher_head, self.head), (self.teacher_place_head, self.place_head))
        for slow, fast in followed:
            for kept, moved in zip(slow.parameters(), fast.parameters(), strict=True):
                kept.lerp_(moved.detach().to(kept.dtype), share)

    def forward(self, scene: Scene) -> Terms:
        """Terms `dino`, `ibot`, `koleo` and `loss` = dino + ibot + 0.1 koleo."""
        hidden = block_mask(
            scene.row, self.shapes.grid, share=self.mask_ratio, block=2, seed=scene.seed, purpose="distil"
        )
        seen = scene.encoder.encode(hide(scene.images, hidden, self.shapes.grid))
        with torch.no_grad():
            taught = self.teacher.encode(scene.images)
            target = spread_evenly(self.teacher_head(taught.pooled))
        dino = self.dino(scene, seen.pooled, target)
        ibot = self.ibot(seen.tokens, taught.tokens, hidden.flatten(1))
        first = seen.pooled.reshape(len(scene.batch), scene.views, -1)[:, 0]
        spread = koleo(gather(first))
        return {"loss": dino + ibot + 0.1 * spread, "dino": dino, "ibot": ibot, "koleo": spread}

    def dino(self, scene: Scene, pooled: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Every student crop against the teacher's answers for the other crops of the same patient."""
        views = scene.views
        asked = target.reshape(len(scene.batch), views, -1)
        answers = self.head(pooled).reshape(len(scene.batch), views, -1)
        parts = [
            cross_entropy(answers[:, ours], asked[:, theirs])
            for ours in range(views)
            for theirs in range(views)
            if ours != theirs or views == 1
        ]
        for number in range(self.local):
            small = self.head(scene.encoder.encode(self.box(scene, number)).pooled)
            small = small.reshape(len(scene.batch), views, -1)
            parts += [cross_entropy(small[:, n], asked[:, (n + 1) % views]) for n in range(views)]
        return torch.stack(parts).mean()

    def box(self, scene: Scene, number: int) -> torch.Tensor:
        """`(rows, 1, …)` boxes of half the side, each at its own place, on whole patches."""
        cells = [max(1, n // 2) for n in self.shapes.grid]
        steps = [side // n for side, n in zip(self.shapes.crop, self.shapes.grid, strict=True)]
        place = draws.uniform(scene.row, 3, seed=scene.seed, purpose=f"box-{number}")
        room = torch.tensor([n - c + 1 for n, c in zip(self.shapes.grid, cells, strict=True)], device=place.device)
        start = (place * room).long() * torch.tensor(steps, device=place.device)
        (i, j, k) = (cell * step for cell, step in zip(cells, steps, strict=True))
        return cut(scene.images[:, 0], start, (i, j, k))[:, None]

    def ibot(self, tokens: torch.Tensor, taught: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden places answered as the teacher, who sees them, does; every image has as many hidden places."""
        answers = self.place_head(tokens[hidden])
        with torch.no_grad():
            target = spread_evenly(self.teacher_place_head(taught[hidden]))
        return cross_entropy(answers, target)


def spread_evenly(logits: torch.Tensor) -> torch.Tensor:
    """Shares of prototypes used alike over the rows of all processes; this process's rows."""
    together = gather(logits)
    return sinkhorn(together)[rows_of(len(logits))]


def build(
    shapes: Shapes,
    *,
    width: int = 256,
    prototypes: int = 512,
    mask_ratio: float = 0.4,
    local: int = 2,
    momentum: float = 0.992,
) -> Distil:
    """DINO + iBOT + KoLeo native in 3D (DINOv2, Oquab et al. 2023; the first stage of Decipher-MR).

    The views of a patient are its sequences, so that the teacher's answer for one sequence is asked of another.
    prototypes: answers to choose from; mask_ratio: hidden share for iBOT; local: boxes of half the side per image;
    momentum of the teacher at the start, rising to 1.
    """
    if not 0 < mask_ratio < 1 or not 0 <= momentum < 1:
        raise InputError(f"mask_ratio {mask_ratio} or momentum {momentum} is not a share", where="objective distil")
    return Distil(shapes, width=width, prototypes=prototypes, mask_ratio=mask_ratio, local=local, momentum=momentum)
