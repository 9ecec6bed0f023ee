"""Several processes that train one model together: who is there, what they share, and gradients across them."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from radfoundry.records import InputError


@dataclass(frozen=True)
class Place:
    """Where this process stands: its number, how many there are, and the device it computes on."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0


@contextmanager
def joined(device: str = "auto") -> Generator[Place]:
    """Join the processes that torchrun started (or be alone), and leave them at the end."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    kind = pick_device(device)
    if world == 1:
        yield Place(device=kind)
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if kind.startswith("cuda"):
        kind = f"cuda:{local}"
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if kind.startswith("cuda") else "gloo")
    try:
        yield Place(rank, world, kind)
    finally:
        dist.destroy_process_group()


def pick_device(device: str) -> str:
    """`auto` is the GPU where there is one; a device that is not there is refused."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"no device {device!r} here", remedy="set device=cpu or device=auto")
    return device


def gather(values: torch.Tensor) -> torch.Tensor:
    """Rows of all processes, in order of rank, with gradients that flow back to where each row came from.

    Every process then computes the same whole loss. The backward pass adds up the gradients of all processes, so
    that their average over processes, which data-parallel training takes, is the gradient of that one loss.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return values
    return _Gather.apply(values)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        ctx.rows = len(values)
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        whole = gradients[0].contiguous()
        dist.all_reduce(whole)
        start = dist.get_rank() * ctx.rows
        return whole[start : start + ctx.rows]


def averaged(values: torch.Tensor, place: Place) -> torch.Tensor:
    """The mean over processes of a small tensor."""
    if place.world == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / place.world


def from_first(value: float, place: Place) -> float:
    """The first process's number, so that all act on the same clock."""
    if place.world == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=place.device)
    dist.broadcast(shared, 0)
    return float(shared)


def agreed(values: Sequence[float], place: Place) -> list[float]:
    """The largest of every number over processes: what one of them decides, all do in the same step."""
    if place.world == 1:
        return [float(value) for value in values]
    shared = torch.tensor(list(values), dtype=torch.float64, device=place.device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return shared.tolist()


def rows_of(count: int) -> slice:
    """Where this process's `count` rows lie among gathered ones."""
    rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
    return slice(rank * count, (rank + 1) * count)
