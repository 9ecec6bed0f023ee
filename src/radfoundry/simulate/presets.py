"""Ready-made cohorts: each is a function from (seed, case number) to one simulated patient with known truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.people import Person, draw_person
from radfoundry.simulate.protocols import draw_sequence
from radfoundry.simulate.reports import brain_report
from radfoundry.simulate.scan import scan
from radfoundry.simulate.sites import SEQUENCES, SITES, Site, draw_slab
from radfoundry.simulate.subject import build, draw_subject
from radfoundry.volume import Volume

IN_PLANE_MM = {"small": (2.2, 2.6), "medium": (1.2, 1.5), "full": (0.8, 1.0)}


@dataclass(frozen=True, eq=False)
class SimulatedSeries:
    """One image series with its header and the truth on its own grid (masks by name)."""

    name: str
    volume: Volume
    acquisition: Acquisition
    truth: Mapping[str, Volume] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SimulatedCase:
    """One simulated exam: the person, where, the series, the labels and the report."""

    person: Person
    site: str
    series: tuple[SimulatedSeries, ...]
    labels: Mapping[str, Any]
    report: str


class Preset(Protocol):
    """Anything that makes patients by number: the same seed and case give the same patient, always."""

    name: str

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """Patient number `case` (from 0) of the cohort that `seed` names."""
        ...


def generator_for(seed: int, case: int) -> np.random.Generator:
    """The random numbers of one case: they depend on the seed and the case alone, not on who else is drawn."""
    return np.random.default_rng(np.random.SeedSequence([seed, case]))


@dataclass(frozen=True)
class BrainMultisequence:
    """Heads in several sequences from several hospitals, some with a lesion; see `brain_multisequence`."""

    sites: tuple[Site, ...] = SITES
    sequences: tuple[str, ...] = SEQUENCES
    size: str = "small"
    lesion_rate: float | None = None
    name: str = "brain-multisequence"

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient: anatomy, lesion or none, and every sequence on one scanner of one site."""
        rng = generator_for(seed, case)
        site = self.sites[int(rng.integers(len(self.sites)))]
        subject = draw_subject(rng, lesion_rate=site.lesion_rate if self.lesion_rate is None else self.lesion_rate)
        person = draw_person(case, age_years=subject.age_years, sex=subject.sex, rng=rng)
        body = build(subject, spacing_mm=1.0 if self.size == "full" else 2.0)
        scanner = site.scanners[int(rng.integers(len(site.scanners)))]
        series = []
        for name in self.sequences:
            protocol = "T1w-gradient" if name == "T1w" and rng.random() < site.gradient_t1 else name
            sequence = draw_sequence(protocol, rng=rng)
            slab = draw_slab(site, name, rng=rng, in_plane_mm=IN_PLANE_MM[self.size])
            made = scan(body, sequence, scanner, slab, rng=rng)
            series.append(SimulatedSeries(name, made.volume, made.acquisition, made.truth))
        labels = {
            "lesion_present": int(bool(subject.findings)),
            "lesion_volume_ml": round(float(body.truth["lesion"].sum()) * body.voxel_ml, 3),
            "lesion_side": subject.findings[0].side if subject.findings else "none",
            "lesion_kind": subject.findings[0].kind if subject.findings else "none",
            "lesion_count": len(subject.findings),
            "age_years": subject.age_years,
            "sex": subject.sex,
            "site": site.name,
            "scanner": f"{scanner.manufacturer} {scanner.model}",
            "field_strength_t": scanner.field_strength_t,
            "ventricle_widening_mm": round(subject.ventricles_mm, 3),
        }
        report = brain_report(
            age_years=subject.age_years,
            sex=subject.sex,
            ventricles_mm=subject.ventricles_mm,
            lesions=[(lesion.side, lesion.diameter_mm) for lesion in subject.findings],
            sequences=self.sequences,
            rng=rng,
        )
        return SimulatedCase(person, site.name, tuple(series), labels, report)


def brain_multisequence(
    *, size: str = "small", lesion_rate: float | None = None, sequences: tuple[str, ...] = SEQUENCES
) -> BrainMultisequence:
    """Heads as T1w, T2w, PDw and FLAIR from two hospitals with four scanners; about half have a lesion.

    `size` is small (2.2-2.6 mm in plane, quick), medium or full (0.8-1 mm). `lesion_rate` replaces the
    sites' own share of patients with a lesion.
    """
    if size not in IN_PLANE_MM:
        raise InputError(f"unknown size {size!r}", remedy=f"one of {', '.join(IN_PLANE_MM)}", finding="unknown-name")
    if lesion_rate is not None and not 0 <= lesion_rate <= 1:
        raise InputError(f"lesion_rate {lesion_rate} is not a share", remedy="give a number from 0 to 1")
    return BrainMultisequence(size=size, lesion_rate=lesion_rate, sequences=tuple(sequences))
