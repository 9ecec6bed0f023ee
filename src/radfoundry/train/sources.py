"""Where training batches come from: every source is a function of the step number alone."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from radfoundry.simulate import stream
from radfoundry.train.batches import Batch
from radfoundry.train.processes import Place
from radfoundry.train.scaling import scaled

READ_AHEAD = 2


class Source(Protocol):
    """Anything that makes the batch of a step."""

    def batch(self, step: int) -> Batch:
        """The batch of this process at a step; the same step gives the same batch."""
        ...


@dataclass(frozen=True)
class Simulated:
    """Batches from the endless simulator: patients that never come twice, each under several sequences.

    Processes share every step's patients without overlap. `device` is where crops are rendered.
    """

    plan: stream.CropPlan
    size: int
    seed: int
    intensity: str
    place: Place
    device: str = "cpu"

    def batch(self, step: int) -> Batch:
        """`size` patients of this process."""
        cases = self.cases(step)
        draws = [stream.draw_crop(self.plan, seed=self.seed, case=case) for case in cases]
        made = stream.batch(draws, self.plan, cases=cases, device=self.device)
        centre = made.centre_mm[:, None].expand(-1, made.images.shape[1], -1)
        return Batch(
            images=scaled(made.images.flatten(0, 1), self.intensity).reshape(made.images.shape),
            case=made.case,
            step=step,
            protocol=made.protocol,
            settings=made.settings,
            labels=made.labels,
            lesion=made.lesion,
            centre_mm=centre,
            age_years=made.age_years,
        )

    def cases(self, step: int) -> list[int]:
        """The numbers of this process's patients at a step."""
        first = step * self.size * self.place.world
        return [first + self.place.rank + self.place.world * offset for offset in range(self.size)]


class _Steps(torch.utils.data.Dataset[Batch]):
    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, index: int) -> Batch:
        return self.source.batch(index)


@contextmanager
def ahead(source: Source, *, start: int, workers: int) -> Generator[Iterator[Batch]]:
    """Batches from step `start` on, made ahead by worker processes (0: made here when asked for), always in order."""
    if workers == 0:
        yield (source.batch(step) for step in _count(start))
        return
    options: dict[str, Any] = {"multiprocessing_context": "fork", "prefetch_factor": READ_AHEAD}
    stream.head(2.0)  # built before the workers start, so that they share it
    loader = torch.utils.data.DataLoader(
        _Steps(source), batch_size=None, sampler=_From(start), num_workers=workers, **options
    )
    batches = iter(loader)
    try:
        yield batches
    finally:
        del batches


def _count(start: int) -> Iterator[int]:
    step = start
    while True:
        yield step
        step += 1


class _From(torch.utils.data.Sampler[int]):
    """Step numbers without end."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return _count(self.start)
