"""Soft tissue around bones: skin, fat under it, muscles packed side by side, and the fat within them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.shapes import Shape, grow
from radfoundry.simulate.fields import spline_field
from radfoundry.simulate.tissues import TISSUES, index


@dataclass(frozen=True, eq=False)
class Muscle:
    """One muscle: the group it is counted to, its solid, and how far its surface has drawn back from wasting."""

    group: str
    shape: Shape
    lost_mm: float = 0.0


def wrap(
    canvas: Canvas, outline: Shape, *, skin_mm: float, fat_mm: float | torch.Tensor, deep: str = "fat"
) -> torch.Tensor:
    """Skin and the fat under it on an empty canvas; gives the distance to the fascia everywhere.

    What lies below the fascia is filled with `deep`. Truth: `subcutaneous-fat`.
    """
    depth = outline.distance(canvas.points())
    outer, under, fascia = canvas.soft(depth), canvas.soft(depth + skin_mm), depth + skin_mm + fat_mm
    inner = torch.minimum(canvas.soft(fascia), under)
    canvas.map("skin").copy_(outer - under)
    canvas.map("fat").copy_(under - inner)
    canvas.map(deep).add_(inner)
    canvas.truth["subcutaneous-fat"] = under - inner
    return fascia


def pack(
    canvas: Canvas, muscles: Sequence[Muscle], fascia: torch.Tensor, *, grow_mm: float = 3.0, septum_mm: float = 1.2
) -> None:
    """Muscles that grow until they meet their neighbours or the fascia, with a thin layer of fat between."""
    found = apart(canvas, [muscle.shape for muscle in muscles], gap_mm=septum_mm, grow_mm=grow_mm)
    for muscle, reached in zip(muscles, found, strict=True):
        if reached is not None:
            window, depth = reached
            limit = torch.maximum(depth, fascia[window] + 0.6 * septum_mm)
            canvas.pour("muscle", window, canvas.soft(limit + muscle.lost_mm), name=muscle.group)


def apart(
    canvas: Canvas, shapes: Sequence[Shape], *, gap_mm: float, grow_mm: float = 0.0
) -> list[tuple[tuple[slice, slice, slice], torch.Tensor] | None]:
    """Signed distances to shapes that have grown but keep a gap to each other: where two meet, each gives way."""
    nearest, second = torch.full(canvas.shape, 1e3), torch.full(canvas.shape, 1e3)
    found = [canvas.depth(grow(shape, grow_mm)) for shape in shapes]
    for reached in found:
        if reached is not None:
            window, depth = reached
            old = nearest[window].clone()
            nearest[window] = torch.minimum(old, depth)
            second[window] = torch.minimum(second[window], torch.maximum(old, depth))
    kept = []
    for reached in found:
        if reached is None:
            kept.append(None)
            continue
        window, depth = reached
        # The rival is the best of the others: the second best where this one is the best itself.
        rival = torch.where(depth <= nearest[window], second[window], nearest[window])
        kept.append((window, torch.maximum(depth, (depth - rival + gap_mm) / 2)))
    return kept


def marble(canvas: Canvas, *, fat_fraction: float, seed: int, streak_mm: float = 6.0, axis: int = 2) -> None:
    """Fat within the muscles, in streaks along an axis, so that their mean proton-density fat fraction is as given."""
    share = share_for(fat_fraction)
    rng = np.random.default_rng([seed, 2])
    sizes = [high - low for low, high in zip(canvas.low_mm, canvas.high_mm, strict=True)]
    steps = [streak_mm * (5 if place == axis else 1) for place in range(3)]
    points = [max(5, round(size / step) + 3) for size, step in zip(sizes, steps, strict=True)]
    raw = torch.from_numpy(rng.standard_normal(points).astype(np.float32))
    streaks = torch.exp(2.2 * spline_field(raw, canvas.shape))
    muscle = canvas.map("muscle")
    mean = float((streaks * muscle).sum() / muscle.sum().clamp_min(1e-6))
    whole = tuple(slice(0, count) for count in canvas.shape)
    canvas.mix("muscle", "fat", (streaks / mean * share).clamp(0, 0.85), whole)  # ty: ignore[invalid-argument-type]


def share_for(fat_fraction: float) -> float:
    """The share of fat tissue that gives muscle a proton-density fat fraction.

    >>> round(share_for(0.0), 3)
    0.0
    """
    fat, muscle = TISSUES[index("fat")], TISSUES[index("muscle")]
    wanted = fat_fraction * muscle.proton_density
    return wanted / (fat.proton_density * (fat.fat_fraction - fat_fraction) + wanted)
