"""Deformable registration of two descriptor maps on one grid: a discrete search, then gradient refinement.

Both directions are found together, so that one undoes the other.
Sources: Siebert et al. 2021, arXiv 2112.03053 (convex initialisation, Adam refinement); Heinrich et al. 2014, MICCAI
8674:597 (coupled convex optimisation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from radfoundry.losses.similarity import descriptor_distance, folding, roughness
from radfoundry.nets import warp

COUPLING = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
MEMORY = (0.9, 0.999)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Settings:
    """How far to look and how smooth to stay.

    `stride`: voxels of the maps per node of the displacement grid · `search_stride`: the same in the discrete search ·
    `reach`: nodes of the search looked at each way ·
    `steps`: gradient steps · `rate`: voxels moved per step at most · `smooth`: weight of roughness ·
    `symmetric`: weight of not undoing each other · `unfold`: weight of folding.
    """

    stride: int = 2
    search_stride: int = 3
    reach: int = 2
    steps: int = 12
    rate: float = 0.15
    smooth: float = 0.3
    symmetric: float = 0.05
    unfold: float = 5.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Fields:
    """Displacements in voxels of the maps, `(3, I, J, K)`: x + forward(x) of the second map fits x of the first."""

    forward: torch.Tensor
    backward: torch.Tensor

    def gap(self) -> torch.Tensor:
        """How far from x one lands after going forward and back, `(I, J, K)` in voxels."""
        return warp.composed(self.forward, self.backward).norm(dim=0)


def deform(
    fixed: torch.Tensor,
    moving: torch.Tensor,
    weights: tuple[torch.Tensor, torch.Tensor],
    settings: Settings,
    *,
    progress: Progress | None = None,
) -> Fields:
    """The displacements between two maps `(C, I, J, K)` on one grid; weights say what counts in each."""
    step = settings.search_stride
    small = [warp.pooled(maps, step) for maps in (fixed, moving)]
    forward = discrete(small[0], small[1], settings.reach)
    backward = discrete(small[1], small[0], settings.reach)
    found = [field * step for field in warp.made_inverse(forward, backward)]
    nodes = warp.grid(tuple(-(-n // settings.stride) for n in fixed.shape[1:])) * settings.stride
    forward, backward = (at_places(field, nodes + (settings.stride - 1) / 2, step) for field in found)
    start = Fields(forward, backward)
    return refine(fixed, moving, weights, start, settings, progress=progress)


def discrete(fixed: torch.Tensor, moving: torch.Tensor, reach: int) -> torch.Tensor:
    """The displacement `(3, i, j, k)` in whole voxels and their means, best under a smoothness that grows step by step.

    Every displacement of up to `reach` voxels each way is compared at every place; then places choose in turn for
    likeness and for being near the mean of their neighbours.
    """
    axes = [torch.arange(-reach, reach + 1) if n > 1 else torch.zeros(1, dtype=torch.long) for n in fixed.shape[1:]]
    steps = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    padding = [amount for axis in reversed(axes) for amount in (len(axis) // 2,) * 2]
    near = torch.nn.functional.pad(moving[None], padding, mode="replicate")[0]
    half = [len(axis) // 2 for axis in axes]
    cost = torch.empty(len(steps), *fixed.shape[1:])
    for row, step in enumerate(steps.tolist()):
        i, j, k = (slice(h + s, h + s + n) for h, s, n in zip(half, step, fixed.shape[1:], strict=True))
        cost[row] = ((fixed - near[:, i, j, k]) ** 2).mean(dim=0)
    spread = warp.smoothed(cost, times=1)
    unit = (spread.mean() - spread.amin(dim=0).mean()).clamp_min(1e-9)
    moves = steps.T.float()
    field = warp.smoothed(moves[:, spread.argmin(dim=0)])
    for weight in COUPLING:
        far = (moves**2).sum(dim=0)[:, None, None, None] - 2 * torch.einsum("ad,aijk->dijk", moves, field)
        field = warp.smoothed(moves[:, (cost / unit + weight * far).argmin(dim=0)])
    return field


def refine(
    fixed: torch.Tensor,
    moving: torch.Tensor,
    weights: tuple[torch.Tensor, torch.Tensor],
    start: Fields,
    settings: Settings,
    *,
    progress: Progress | None = None,
) -> Fields:
    """Gradient descent (Adam) on the nodes of both displacements, from a start on the nodes' grid.

    At each step the likeness is looked at in one voxel of each block of `stride`, drawn anew.
    """
    shape = tuple(fixed.shape[1:])
    nodes = [field.clone().requires_grad_(True) for field in (start.forward, start.backward)]
    optimiser = Adam(nodes, settings.rate)
    draw = torch.Generator().manual_seed(settings.seed)
    places = warp.grid(shape)
    for step in range(settings.steps):
        offset = [int(torch.randint(min(settings.stride, n), (1,), generator=draw)) for n in shape]
        i, j, k = (slice(a, None, settings.stride) for a in offset)
        here = places[i, j, k]
        part = [(a - (settings.stride - 1) / 2) / settings.stride for a in offset]
        smooth = [warp.smoothed(field) for field in nodes]
        on_grid = [warp.slid(field, part)[:, : here.shape[0], : here.shape[1], : here.shape[2]] for field in smooth]
        loss = _unlike(fixed[:, i, j, k], moving, here + on_grid[0].movedim(0, -1), weights[0][i, j, k])
        loss = loss + _unlike(moving[:, i, j, k], fixed, here + on_grid[1].movedim(0, -1), weights[1][i, j, k])
        in_nodes = [field / settings.stride for field in smooth]
        loss = loss + settings.smooth * sum(roughness(field) for field in in_nodes)
        loss = loss + settings.unfold * sum(folding(field) for field in in_nodes)
        first, then = in_nodes if step % 2 else in_nodes[::-1]
        loss = loss + settings.symmetric * settings.stride**2 * (warp.composed(first, then) ** 2).mean()
        optimiser.step(torch.autograd.grad(loss, nodes))
        if progress:
            progress("refine", step + 1, settings.steps)
    with torch.no_grad():
        in_nodes = [warp.smoothed(field) / settings.stride for field in nodes]
        forward, backward = warp.made_inverse(*in_nodes, steps=5)
        whole = [at_places(field * settings.stride, places, settings.stride) for field in (forward, backward)]
    return Fields(whole[0], whole[1])


class Adam:
    """Steps of about `rate` down a noisy slope (Kingma and Ba 2015, arXiv 1412.6980), for a few tensors.

    torch's own loads its compiler when first used, which takes longer than a registration.
    """

    def __init__(self, values: list[torch.Tensor], rate: float) -> None:
        self.values, self.rate, self.count = values, rate, 0
        self.slopes = [torch.zeros_like(value) for value in values]
        self.squares = [torch.zeros_like(value) for value in values]

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """Move the values by their gradients."""
        self.count += 1
        first, second = 1 - MEMORY[0] ** self.count, 1 - MEMORY[1] ** self.count
        for value, slope, square, found in zip(self.values, self.slopes, self.squares, gradients, strict=True):
            slope.mul_(MEMORY[0]).add_(found, alpha=1 - MEMORY[0])
            square.mul_(MEMORY[1]).addcmul_(found, found, value=1 - MEMORY[1])
            value.addcdiv_(slope, (square / second).sqrt().add_(1e-8), value=-self.rate / first)


def at_places(field: torch.Tensor, places: torch.Tensor, stride: int) -> torch.Tensor:
    """A field on the nodes read off at voxels of the maps `(…, 3)`."""
    return warp.sample(field, (places - (stride - 1) / 2) / stride)


def _unlike(wanted: torch.Tensor, maps: torch.Tensor, places: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    # Means over what counts would let a field push unlike parts out of view, so every place counts in the divisor.
    return descriptor_distance(wanted, warp.sample(maps, places), weight)
