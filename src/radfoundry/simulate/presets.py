"""Ready-made cohorts of the head: from (seed, case number) to one simulated patient with known truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.records import InputError
from radfoundry.simulate.body import Body
from radfoundry.simulate.cases import Preset, SimulatedCase, SimulatedSeries, generator_for
from radfoundry.simulate.exams import Patient, Scene, assemble
from radfoundry.simulate.landmarks import landmark_labels
from radfoundry.simulate.lesion_course import course
from radfoundry.simulate.lesions import KINDS, Lesion, midline_shift_mm
from radfoundry.simulate.options import CohortOptions
from radfoundry.simulate.sites import SEQUENCES, Part
from radfoundry.simulate.subject import Subject, build, draw_subject
from radfoundry.simulate.words import Statement

__all__ = ["BrainMultisequence", "Preset", "SimulatedCase", "SimulatedSeries", "brain_multisequence", "generator_for"]

HEAD = Part()
SHIFT_REPORTED_MM = 3.0
MOST_AROUND_MM = 200.0


@dataclass(frozen=True, kw_only=True)
class BrainMultisequence(CohortOptions):
    """Heads as T1w, T2w, PDw and FLAIR from two hospitals with four scanners; about half have a lesion.

    `kinds` are the diseases there may be: demyelination, tumour, infarct, haemorrhage. Besides the names of
    `protocols.PROTOCOLS`, `sequences` may name a bundle: `DWI` (with its ADC map), `dynamic`. With `landmarks` the
    labels say where eyes and commissures lie at the first visit (`eye_left_x_mm` …, RAS mm of the scans). `around_mm`
    scans a cube of that side around the lesion alone, as crops for a question about it. All other options are those
    of `options.CohortOptions`.
    """

    kinds: Sequence[str] = KINDS
    landmarks: bool = False
    around_mm: float = 0.0
    name: str = "brain-multisequence"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "kinds", tuple(self.kinds))
        object.__setattr__(self, "sequences", self.sequences or SEQUENCES)
        if not 0 <= self.around_mm <= MOST_AROUND_MM:
            raise InputError(f"around_mm {self.around_mm}", remedy=f"give a length from 0 to {MOST_AROUND_MM:g} mm")
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise InputError(f"no lesions called {', '.join(unknown) or '(none)'}", remedy=f"known: {', '.join(KINDS)}")

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient: anatomy, disease or none, and every sequence on one scanner, or on all when travelling."""
        return assemble(self, self._draw, case=case, seed=seed)

    def _draw(self, rng: np.random.Generator, rate: float, days: np.ndarray) -> Patient:
        subject = draw_subject(rng, lesion_rate=rate, kinds=tuple(self.kinds))
        subjects = course(subject, days, response=self.response, rng=rng)
        bodies = [build(item, spacing_mm=1.0 if self.size == "full" else 2.0) for item in subjects]
        labels = brain_labels(subjects[0], bodies[0])
        if self.landmarks:
            labels |= landmark_labels(subjects[0])
        for number, body in enumerate(bodies[1:], start=2):
            labels[f"lesion_volume_ml_{number}"] = _volume_ml(body)
        shown = ("lesion", "enhancing", "lesion-core", "lesion-halo") if self.signal else ("lesion", "enhancing")
        prior = subjects[-2] if len(subjects) > 1 else None
        return Patient(
            subject.age_years,
            subject.sex,
            bool(subject.findings),
            [[Scene(lambda body=body: body, HEAD, self.sequences, shown, around_mm=self.around_mm)] for body in bodies],
            labels,
            brain_statements(subjects[-1], prior),
            history=f"{'Woman' if subject.sex == 'F' else 'Man'} of {int(subject.age_years)} years. Headache.",
            conspicuity=labels["lesion_volume_ml"],
            hazard=0.25 * (subject.age_years - 52) / 10 + 0.01 * min(labels["lesion_volume_ml"], 100),
            known={"lesions": [_plain(item) for item in subject.findings], "days": [int(day) for day in days]},
        )


brain_multisequence = BrainMultisequence


def _plain(lesion: Lesion) -> dict[str, Any]:
    return {
        "kind": lesion.kind,
        "centre_mm": [round(value, 1) for value in lesion.centre_mm],
        "radii_mm": [round(value, 1) for value in lesion.radii_mm],
        "enhancing": lesion.enhancing,
        "mass_effect": round(lesion.mass_effect, 3),
    }


def _volume_ml(body: Body) -> float:
    return round(float(body.truth["lesion"].sum()) * body.voxel_ml, 3)


def brain_labels(subject: Subject, body: Body) -> dict[str, Any]:
    """What is true of a simulated head, one value a column."""
    first = subject.findings[0] if subject.findings else None
    enhancing = body.truth.get("enhancing")
    return {
        "lesion_present": int(first is not None),
        "lesion_volume_ml": _volume_ml(body),
        "lesion_side": first.side if first else "none",
        "lesion_kind": first.kind if first else "none",
        "lesion_count": len(subject.findings),
        "enhancement": int(any(lesion.enhancing for lesion in subject.findings)),
        "enhancing_volume_ml": 0.0 if enhancing is None else round(float(enhancing.sum()) * body.voxel_ml, 3),
        "midline_shift_mm": round(midline_shift_mm(subject.findings), 2),
        "age_years": subject.age_years,
        "sex": subject.sex,
        "ventricle_widening_mm": round(subject.ventricles_mm, 3),
        "brain_fluid_ml": round(float(body.share("csf").sum()) * body.voxel_ml, 1),
    }


def brain_statements(subject: Subject, prior: Subject | None = None) -> list[Statement]:
    """What a report on this person should say, compared with an earlier visit when there was one."""
    stated = []
    for kind in KINDS:
        sides = {lesion.side for lesion in subject.findings if lesion.kind == kind}
        for side in sorted(sides):
            before = None if prior is None else _largest_mm(prior, kind, side)
            stated.append(Statement(kind, side=side, size_mm=_largest_mm(subject, kind, side), prior_size_mm=before))
        if not sides:
            stated.append(Statement(kind, "absent"))
    shift = midline_shift_mm(subject.findings)
    if shift >= SHIFT_REPORTED_MM:
        towards = "left" if subject.findings[0].side == "right" else "right"
        stated.append(Statement("midline-shift", side=towards, size_mm=round(shift)))
    else:
        stated.append(Statement("midline-shift", "absent"))
    wide = "present" if subject.ventricles_mm > 3.0 else "absent"
    spots = sum(lesion.incidental for lesion in subject.lesions)
    stated.append(Statement("ventricle-widening", wide))
    stated.append(Statement("atrophy", "present" if subject.sulci > 0.45 else "absent"))
    stated.append(Statement("small-vessel-disease", "present" if spots > 8 else "uncertain" if spots > 5 else "absent"))
    return stated


def _largest_mm(subject: Subject, kind: str, side: str) -> float | None:
    sizes = [item.diameter_mm for item in subject.findings if item.kind == kind and item.side == side]
    return float(round(max(sizes))) if sizes else None
