"""One simulated patient as a record: who, the series with their truth, the labels, the report and the judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from radfoundry.records import Acquisition
from radfoundry.simulate.people import Person
from radfoundry.simulate.words import Draft, Report
from radfoundry.volume import Volume


@dataclass(frozen=True, eq=False)
class SimulatedSeries:
    """One image series with its header, the truth on its own grid, where it was made and what went wrong.

    `days` is how long after the first exam it was made; `study` what the exam is called.
    """

    name: str
    volume: Volume
    acquisition: Acquisition
    truth: Mapping[str, Volume] = field(default_factory=dict)
    site: str = ""
    exam: int = 1
    degradations: Mapping[str, float] = field(default_factory=dict)
    days: float = 0.0
    study: str = "MRI head"


@dataclass(frozen=True, eq=False)
class SimulatedCase:
    """One simulated patient: the person, where, the series, the labels and the report.

    `judged` holds what readers and tools say of the patient, `draft` what a machine wrote before the radiologist,
    `known` whatever else only the simulator knows; both are plain values.
    """

    person: Person
    site: str
    series: tuple[SimulatedSeries, ...]
    labels: Mapping[str, Any]
    report: Report
    judged: Mapping[str, Any] = field(default_factory=dict)
    draft: Draft | None = None
    known: Mapping[str, Any] = field(default_factory=dict)


class Preset(Protocol):
    """Anything that makes patients by number: the same seed and case give the same patient, always."""

    @property
    def name(self) -> str:
        """What the cohort is called."""
        ...

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """Patient number `case` (from 0) of the cohort that `seed` names."""
        ...


def generator_for(seed: int, case: int) -> np.random.Generator:
    """The random numbers of one case: they depend on the seed and the case alone, not on who else is drawn."""
    return np.random.default_rng(np.random.SeedSequence([seed, case]))
