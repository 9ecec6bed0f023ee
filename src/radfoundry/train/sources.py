"""Where training batches come from: every source is a function of the step number alone."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from radfoundry.records import InputError
from radfoundry.simulate import stream
from radfoundry.text.tokens import Tokeniser
from radfoundry.train import draws, reports
from radfoundry.train.batches import Batch
from radfoundry.train.processes import Place
from radfoundry.train.scaling import scaled
from radfoundry.train.views import cut

READ_AHEAD = 2


class Source(Protocol):
    """Anything that makes the batch of a step."""

    def batch(self, step: int) -> Batch:
        """The batch of this process at a step; the same step gives the same batch."""
        ...


@dataclass(frozen=True)
class Simulated:
    """Batches from the endless simulator: patients that never come twice, each under several sequences.

    Processes share every step's patients without overlap. `device` is where crops are rendered. With a tokeniser
    every patient has a report of `report_length` tokens at most; `shuffled` gives everybody the report of somebody
    else, a negative control. With `shift` every view of a patient begins at its own voxel, up to so many apart along
    each axis.
    """

    plan: stream.CropPlan
    size: int
    seed: int
    intensity: str
    place: Place
    device: str = "cpu"
    tokeniser: Tokeniser | None = None
    report_length: int = 128
    shuffled: bool = False
    shift: int = 0

    def batch(self, step: int) -> Batch:
        """`size` patients of this process."""
        return replace(self.made(shared_cases(step, self.size, self.place)), step=step)

    def made(self, cases: list[int]) -> Batch:
        """The patients of these numbers."""
        block = replace(self.plan, size=self.plan.size + self.shift)
        drawn = [stream.draw_crop(block, seed=self.seed, case=case) for case in cases]
        made = self.shifted(stream.batch(drawn, block, cases=cases, device=self.device))
        facts = self.reports(drawn, cases) if self.tokeniser is not None else {}
        quality = torch.stack([quality_of(draw) for draw in drawn]).to(self.device)
        images = scaled(made.images.flatten(0, 1), self.intensity).reshape(made.images.shape)
        return replace(made, images=images, quality=quality, **facts)

    def shifted(self, made: stream.CropBatch) -> Batch:
        """Each view's own box of the rendered block, with the place of its middle."""
        count, views = made.images.shape[:2]
        centre = made.centre_mm[:, None].expand(-1, views, -1)
        whole = Batch(
            images=made.images,
            case=made.case,
            protocol=made.protocol,
            settings=made.settings,
            labels=made.labels,
            lesion=made.lesion,
            centre_mm=centre,
            age_years=made.age_years,
        )
        if self.shift == 0:
            return whole
        random = draws.uniform(made.case, 3 * views, seed=self.seed, purpose="shift").reshape(count, views, 3)
        start = (random * (self.shift + 1)).long()
        size = (self.plan.size, self.plan.size, self.plan.size)
        moved_mm = torch.einsum("bxy,bsy->bsx", made.affine[:, :, :3], start - self.shift / 2)
        return replace(
            whole,
            images=cut(made.images.flatten(0, 1), start.flatten(0, 1), size).reshape(count, views, *size),
            labels=cut(made.labels, start[:, 0], size),
            lesion=cut(made.lesion, start[:, 0], size),
            centre_mm=centre + moved_mm,
            shift=start,
        )

    def reports(self, drawn: list[stream.CropDraw], cases: list[int]) -> dict[str, torch.Tensor]:
        """Words, findings, concepts and study numbers."""
        if self.tokeniser is None:
            return {}
        if self.shuffled:
            drawn = [stream.draw_crop(self.plan, seed=self.seed + 1, case=case) for case in cases]
        told = [
            reports.written(
                reports.report_of(draw, self.plan, seed=self.seed, case=case),
                self.tokeniser,
                length=self.report_length,
            )
            for draw, case in zip(drawn, cases, strict=True)
        ]
        stacked = {
            name: torch.from_numpy(np.stack([getattr(one, name) for one in told])).to(self.device)
            for name in ("words", "findings", "concepts")
        }
        return {**stacked, "study": torch.tensor(cases, device=self.device)}


@dataclass(frozen=True)
class Parted:
    """Another source's batches with the last view of every patient given to the next one: a negative control.

    What is known of that view moves with it, so that only the bond between the views of a patient is cut.
    """

    source: Source

    def batch(self, step: int) -> Batch:
        """The batch of the other source, its last views dealt out anew."""
        made = self.source.batch(step)
        if made.views < 2 or len(made) < 2:
            raise InputError(
                "partners need two views and two patients a batch", where="shuffle_partners", remedy="set crops.views=2"
            )
        names = ("images", "protocol", "settings", "centre_mm", "shift", "quality")
        moved = {}
        for name in names:
            value = getattr(made, name)
            if value is not None:
                moved[name] = torch.cat([value[:, :-1], value[:, -1:].roll(1, dims=0)], dim=1)
        return replace(made, **moved)


def quality_of(draw: stream.CropDraw) -> torch.Tensor:
    """`(S, 3)`: noise, shading and slice thickness of every view, each about 0 on average with a spread of about 1."""
    noise = torch.from_numpy(np.log(draw.noise)).float()
    shading = draw.shading.flatten(1).std(dim=1)
    thickness_mm = torch.from_numpy(np.log(draw.thickness_voxels * np.linalg.norm(draw.affine[:3, 0]))).float()
    return torch.stack([(noise + 4.0) / 0.7, (shading - 0.17) / 0.1, (thickness_mm - 1.1) / 0.5], dim=1)


QUALITY = ("noise", "shading", "slice-thickness")


def shared_cases(step: int, size: int, place: Place) -> list[int]:
    """The numbers of a process's samples at a step: all processes together take the next ones in order."""
    first = step * size * place.world
    return [first + place.rank + place.world * offset for offset in range(size)]


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
