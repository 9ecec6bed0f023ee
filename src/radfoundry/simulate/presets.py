"""Ready-made cohorts: each is a function from (seed, case number) to one simulated patient with known truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.body import Body
from radfoundry.simulate.headers import Scanner
from radfoundry.simulate.kspace import Faults
from radfoundry.simulate.people import Person, draw_person
from radfoundry.simulate.protocols import PROTOCOLS, draw_sequence
from radfoundry.simulate.scan import scan
from radfoundry.simulate.shortcuts import burn, tied
from radfoundry.simulate.sites import SEQUENCES, SITES, Site, draw_slab
from radfoundry.simulate.subject import Subject, build, draw_subject
from radfoundry.simulate.words import STYLES, Report, Statement, write_report
from radfoundry.volume import Volume

IN_PLANE_MM = {"small": (2.2, 2.6), "medium": (1.2, 1.5), "full": (0.8, 1.0)}


@dataclass(frozen=True, eq=False)
class SimulatedSeries:
    """One image series with its header, the truth on its own grid, where it was made and what went wrong."""

    name: str
    volume: Volume
    acquisition: Acquisition
    truth: Mapping[str, Volume] = field(default_factory=dict)
    site: str = ""
    exam: int = 1
    degradations: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SimulatedCase:
    """One simulated patient: the person, where, the series, the labels and the report."""

    person: Person
    site: str
    series: tuple[SimulatedSeries, ...]
    labels: Mapping[str, Any]
    report: Report


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
    """Heads in several sequences from several hospitals, some with disease; see `brain_multisequence`."""

    sites: tuple[Site, ...] = SITES
    sequences: tuple[str, ...] = SEQUENCES
    size: str = "small"
    lesion_rate: float | None = None
    marker_rate: float | None = None
    fault_rate: float = 0.0
    travelling: bool = False
    name: str = "brain-multisequence"

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient: anatomy, disease or none, and every sequence on one scanner, or on all when travelling."""
        rng = generator_for(seed, case)
        site = self.sites[int(rng.integers(len(self.sites)))]
        subject = draw_subject(rng, lesion_rate=site.lesion_rate if self.lesion_rate is None else self.lesion_rate)
        person = draw_person(case, age_years=subject.age_years, sex=subject.sex, rng=rng)
        body = build(subject, spacing_mm=1.0 if self.size == "full" else 2.0)
        chosen = site.scanners[int(rng.integers(len(site.scanners)))]
        exams = [(site, chosen)]
        if self.travelling:
            exams = [(place, scanner) for place in self.sites for scanner in place.scanners]
        marked = self.marker_rate is not None and tied(bool(subject.findings), rate=self.marker_rate, rng=rng)
        series = [
            made
            for exam, (place, scanner) in enumerate(exams, start=1)
            for made in self._exam(body, place, scanner, exam=exam, marked=marked, rng=rng)
        ]
        labels = brain_labels(subject, body)
        labels |= {
            "site": "travelling" if self.travelling else site.name,
            "scanner": "several" if self.travelling else f"{chosen.manufacturer} {chosen.model}",
            "field_strength_t": 0.0 if self.travelling else chosen.field_strength_t,
        }
        if self.marker_rate is not None:
            labels["marker"] = int(marked)
        report = write_report(
            brain_statements(subject),
            rng=rng,
            style=STYLES[int(rng.integers(len(STYLES)))],
            technique=f"MRI of the head, {', '.join(self.sequences)}.",
            history=f"{'Woman' if subject.sex == 'F' else 'Man'} of {int(subject.age_years)} years. Headache.",
        )
        return SimulatedCase(person, str(labels["site"]), tuple(series), labels, report)

    def _exam(
        self, body: Body, site: Site, scanner: Scanner, *, exam: int, marked: bool, rng: np.random.Generator
    ) -> list[SimulatedSeries]:
        series = []
        for name in self.sequences:
            protocol = "T1w-gradient" if name == "T1w" and rng.random() < site.gradient_t1 else name
            sequence = draw_sequence(protocol, rng=rng)
            slab = draw_slab(site, name, rng=rng, in_plane_mm=IN_PLANE_MM[self.size])
            faults = draw_faults(rng) if self.fault_rate and rng.random() < self.fault_rate else Faults()
            made = scan(body, sequence, scanner, slab, rng=rng, faults=faults)
            volume = burn(made.volume, "L") if marked else made.volume
            series.append(
                SimulatedSeries(name, volume, made.acquisition, made.truth, site.name, exam, made.degradations)
            )
        return series


def brain_labels(subject: Subject, body: Body) -> dict[str, Any]:
    """What is true of a simulated head, one value a column."""
    first = subject.findings[0] if subject.findings else None
    return {
        "lesion_present": int(first is not None),
        "lesion_volume_ml": round(float(body.truth["lesion"].sum()) * body.voxel_ml, 3),
        "lesion_side": first.side if first else "none",
        "lesion_kind": first.kind if first else "none",
        "lesion_count": len(subject.findings),
        "age_years": subject.age_years,
        "sex": subject.sex,
        "ventricle_widening_mm": round(subject.ventricles_mm, 3),
        "brain_fluid_ml": round(float(body.share("csf").sum()) * body.voxel_ml, 1),
    }


def brain_statements(subject: Subject) -> list[Statement]:
    """What a report on this person should say."""
    stated = []
    for kind in ("tumour", "infarct", "demyelination", "haemorrhage"):
        sides = {lesion.side for lesion in subject.findings if lesion.kind == kind}
        for side in sorted(sides):
            largest = max(item.diameter_mm for item in subject.findings if item.kind == kind and item.side == side)
            stated.append(Statement(kind, side=side, size_mm=round(largest)))
        if not sides:
            stated.append(Statement(kind, "absent"))
    wide = "present" if subject.ventricles_mm > 3.0 else "absent"
    spots = sum(lesion.incidental for lesion in subject.lesions)
    stated.append(Statement("ventricle-widening", wide))
    stated.append(Statement("atrophy", "present" if subject.sulci > 0.45 else "absent"))
    stated.append(Statement("small-vessel-disease", "present" if spots > 8 else "uncertain" if spots > 5 else "absent"))
    return stated


def draw_faults(rng: np.random.Generator) -> Faults:
    """One artefact of a strength that a technician would notice."""
    kind = int(rng.integers(4))
    if kind == 0:
        return Faults(motion_mm=float(rng.uniform(2, 8)))
    if kind == 1:
        return Faults(ghosting=float(rng.uniform(0.1, 0.45)))
    if kind == 2:
        return Faults(spikes=int(rng.integers(1, 4)))
    return Faults(noise=float(rng.uniform(0.05, 0.2)))


def brain_multisequence(
    *,
    size: str = "small",
    lesion_rate: float | None = None,
    sequences: tuple[str, ...] = SEQUENCES,
    marker_rate: float | None = None,
    fault_rate: float = 0.0,
    travelling: bool = False,
) -> BrainMultisequence:
    """Heads as T1w, T2w, PDw and FLAIR from two hospitals with four scanners; about half have a lesion.

    `size` is small (2.2-2.6 mm in plane, quick), medium or full (0.8-1 mm). `lesion_rate` replaces the
    sites' own share of patients with a lesion. `sequences` are names of `protocols.PROTOCOLS`. `marker_rate`
    burns a letter into the images of that share of the diseased (and 1 - that share of the healthy): a shortcut.
    `fault_rate` is the share of series with an artefact. `travelling` scans everybody on every scanner.
    """
    if size not in IN_PLANE_MM:
        raise InputError(f"unknown size {size!r}", remedy=f"one of {', '.join(IN_PLANE_MM)}", finding="unknown-name")
    for name, share in (("lesion_rate", lesion_rate), ("marker_rate", marker_rate), ("fault_rate", fault_rate)):
        if share is not None and not 0 <= share <= 1:
            raise InputError(f"{name} {share} is not a share", remedy="give a number from 0 to 1")
    unknown = [name for name in sequences if name not in PROTOCOLS]
    if unknown or not sequences:
        raise InputError(
            f"unknown sequences {', '.join(unknown) or '(none given)'}", remedy=f"known: {', '.join(PROTOCOLS)}"
        )
    made = BrainMultisequence(size=size, lesion_rate=lesion_rate, sequences=tuple(sequences))
    return replace(made, marker_rate=marker_rate, fault_rate=fault_rate, travelling=travelling)
