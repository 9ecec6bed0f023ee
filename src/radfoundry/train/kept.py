"""A finite number of simulated patients, made once, kept in memory and shown again and again in a new order."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import lru_cache

import torch

from radfoundry.records import InputError
from radfoundry.simulate.stream import draw_crop
from radfoundry.train import draws
from radfoundry.train.batches import Batch
from radfoundry.train.sources import Simulated, shared_cases

HALVED = ("images", "lesion")


@lru_cache(maxsize=1)
def shelf_of(source: Simulated) -> dict[int, Batch]:
    """The patients of a simulator that were made so far; runs in one process on the same ones share them."""
    del source
    return {}


@dataclass(frozen=True, eq=False)
class Kept:
    """Batches from the first `patients` of a simulator, every one once in each round, rounds in different orders.

    A patient's crop is made when it is first asked for and kept with half precision, so that a step on a CPU costs
    what the encoder costs. Numbers of samples go on from round to round, so that masks differ; the study stays the
    patient's. Worker processes each keep their own.
    """

    source: Simulated
    patients: int
    words: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)
    orders: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.patients < self.source.size * self.source.place.world:
            raise InputError(
                f"{self.patients} patients are fewer than a batch",
                where="crops.patients",
                remedy=f"at least {self.source.size * self.source.place.world}",
            )

    def batch(self, step: int) -> Batch:
        """The patients of this process at a step."""
        numbers = shared_cases(step, self.source.size, self.source.place)
        cases = [self.order(number // self.patients)[number % self.patients] for number in numbers]
        rows = joined(self.pictures(cases))
        case = torch.tensor(numbers, device=rows.case.device)
        return replace(rows, case=case, step=step, **self.told(cases))

    def pictures(self, cases: list[int]) -> list[Batch]:
        """The patients without their reports, made when they are first asked for."""
        plain = replace(self.source, size=1, tokeniser=None, report_length=0, shuffled=False)
        shelf = shelf_of(plain)
        missing = sorted({case for case in cases if case not in shelf})
        if missing:
            made = plain.made(missing)
            shelf.update((case, row_of(made, place)) for place, case in enumerate(missing))
        return [shelf[case] for case in cases]

    def told(self, cases: list[int]) -> dict[str, torch.Tensor]:
        """Words, findings, concepts and study of the patients' reports; nothing where none are read."""
        if self.source.tokeniser is None:
            return {}
        missing = sorted({case for case in cases if case not in self.words})
        if missing:
            drawn = [draw_crop(self.source.plan, seed=self.source.seed, case=case) for case in missing]
            made = self.source.reports(drawn, missing)
            self.words.update(
                (case, {name: value[place : place + 1] for name, value in made.items()})
                for place, case in enumerate(missing)
            )
        return {name: torch.cat([self.words[case][name] for case in cases]) for name in self.words[cases[0]]}

    def order(self, turn: int) -> list[int]:
        """Which patient comes when in a round; the first round is in the order of their numbers."""
        if turn not in self.orders:
            self.orders.clear()
            chance = draws.uniform(torch.arange(self.patients), 1, seed=self.source.seed, purpose=f"round {turn}")
            self.orders[turn] = chance[:, 0].argsort(stable=True).tolist() if turn else list(range(self.patients))
        return self.orders[turn]


def row_of(batch: Batch, place: int) -> Batch:
    """One patient of a batch, as small as it can be kept."""
    values = {item.name: getattr(batch, item.name) for item in fields(batch)}
    rows = {
        name: (value[place : place + 1].half() if name in HALVED else value[place : place + 1].clone())
        for name, value in values.items()
        if isinstance(value, torch.Tensor)
    }
    return replace(batch, **rows)


def joined(rows: list[Batch]) -> Batch:
    """Patients kept one by one as a batch again."""
    first = rows[0]
    values = {}
    for item in fields(first):
        if isinstance(getattr(first, item.name), torch.Tensor):
            value = torch.cat([getattr(row, item.name) for row in rows])
            values[item.name] = value.float() if item.name in HALVED else value
    return replace(first, **values)
