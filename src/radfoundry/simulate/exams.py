"""From a patient to their examinations: who is scanned when and where, every series, labels, report and judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from radfoundry.simulate.body import Body
from radfoundry.simulate.bundles import BUNDLES, scan_bundle
from radfoundry.simulate.cases import SimulatedCase, SimulatedSeries, generator_for
from radfoundry.simulate.headers import Scanner, Slab
from radfoundry.simulate.judges import Judged, judge, outlined
from radfoundry.simulate.kspace import Faults
from radfoundry.simulate.options import CohortOptions
from radfoundry.simulate.panel import opinions
from radfoundry.simulate.people import draw_date, draw_person
from radfoundry.simulate.placement import Sign, draw_sign, leaning, with_sign
from radfoundry.simulate.protocols import draw_sequence
from radfoundry.simulate.scan import Scanned, scan
from radfoundry.simulate.shortcuts import burn, tied
from radfoundry.simulate.sites import Part, Site, draw_slab
from radfoundry.simulate.time import follow_up, visit_days
from radfoundry.simulate.tissue_maps import tissue_truth
from radfoundry.simulate.words import STYLES, Statement, draft_report, write_report

SHOWN = ("lesion", "enhancing")  # truths that are always written; others when their signal is asked for


@dataclass(frozen=True)
class Scene:
    """One part of the body as it is at one visit: what is there, which part, which sequences, what is marked there.

    `around_mm` lays slices of that field of view, straight, around the middle of the disease; 0 is the whole part.
    """

    body: Callable[[], Body]
    part: Part
    sequences: Sequence[str]
    shown: Sequence[str] = SHOWN
    organs: Sequence[str] = ()
    around_mm: float = 0.0


@dataclass(frozen=True)
class Patient:
    """Who is examined: age, sex, disease, what lies in them at each visit, and what a report should say.

    `conspicuity` is how plain the disease is to see (ml for lesions); `hazard` the log hazard ratio that age and
    disease bring; `visits` one list of scenes a visit.
    """

    age_years: float
    sex: str
    diseased: bool
    visits: Sequence[Sequence[Scene]]
    labels: Mapping[str, Any]
    statements: Sequence[Statement]
    history: str = ""
    conspicuity: float = 0.0
    hazard: float = 0.0
    known: Mapping[str, Any] = field(default_factory=dict)


Draw = Callable[[np.random.Generator, float, np.ndarray], Patient]


def assemble(options: CohortOptions, draw: Draw, *, case: int, seed: int) -> SimulatedCase:
    """One patient of a cohort: `draw(rng, lesion rate, days of visits)` gives who they are, the rest happens here."""
    rng = generator_for(seed, case)
    sites = options.sites
    site = sites[int(rng.integers(len(sites)))]
    scanner = site.scanners[int(rng.integers(len(site.scanners)))]
    date = draw_date(rng)
    days = visit_days(options.visits, interval_days=options.visit_interval_days or 1.0, jitter_days=3.0, rng=rng)
    patient = draw(rng, _lesion_rate(options, site, date), days)
    person = draw_person(case, age_years=patient.age_years, sex=patient.sex, rng=rng, study_date=date)
    marked = options.marker_rate is not None and tied(patient.diseased, rate=options.marker_rate, rng=rng)
    sign = _sign(options, patient, rng)
    places = [(site, scanner)]
    if options.travelling:
        places = [(place, machine) for place in sites for machine in place.scanners]
    broad = int(rng.random() < 0.5) if options.broad_strength else 0
    session = _Session(options, marked, sign, rng, broad)
    series = []
    for number, (scenes, day) in enumerate(zip(patient.visits, days, strict=True)):
        for offset, (place, machine) in enumerate(places):
            machine = _drifted(machine, options) if options.after_drift(date) else machine
            exam = number * len(places) + offset + 1
            series += session.series(scenes, place, machine, exam=exam, day=float(day))
    labels = _labels(options, patient, site, scanner, sign, rng)
    if options.marker_rate is not None:
        labels["marker"] = int(marked)
    if options.broad_strength:
        labels["broad"] = broad
    if options.raters:
        labels |= opinions(series, raters=options.raters, rng=np.random.default_rng(rng.integers(2**62)))
    style = STYLES[int(rng.integers(len(STYLES)))]
    studies = dict.fromkeys(item.study for item in series)
    names = dict.fromkeys(name for scenes in patient.visits for scene in scenes for name in scene.sequences)
    report = write_report(
        patient.statements,
        rng=rng,
        style=style,
        technique=f"{', '.join(studies)}: {', '.join(names)}.",
        history=patient.history,
        contradiction_rate=options.contradiction_rate,
    )
    draft = None
    if options.omission_rate is not None:
        draft = draft_report(patient.statements, rng=rng, omission_rate=options.omission_rate, style=style)
    seen = Judged(patient.diseased, patient.conspicuity, patient.age_years, case)
    judged = judge(seen, readers=options.readers, vendor=options.vendor, rng=rng)
    return SimulatedCase(
        person, str(labels["site"]), tuple(series), labels, report, judged=judged, draft=draft, known=patient.known
    )


def _lesion_rate(options: CohortOptions, site: Site, date: str) -> float:
    if options.later_lesion_rate is not None and options.after_drift(date):
        return options.later_lesion_rate
    return site.lesion_rate if options.lesion_rate is None else options.lesion_rate


def _drifted(scanner: Scanner, options: CohortOptions) -> Scanner:
    """The scanner after an update: noisier and harder."""
    return replace(
        scanner, noise=scanner.noise * (1 + options.drift_size), curve=scanner.curve * (1 + 0.3 * options.drift_size)
    )


def _sign(options: CohortOptions, patient: Patient, rng: np.random.Generator) -> Sign | None:
    if not options.signal:
        return None
    fading = float(np.clip((patient.age_years - 20) / 65, 0, 1)) if options.signal_fades else 0.0
    status = None if patient.diseased else 0
    strength, spread = options.signal_strength, options.signal_spread
    return draw_sign(options.signal, strength=strength, spread=spread, fading=fading, status=status, rng=rng)


def _labels(
    options: CohortOptions, patient: Patient, site: Site, scanner: Scanner, sign: Sign | None, rng: np.random.Generator
) -> dict[str, Any]:
    labels = dict(patient.labels)
    travelling = options.travelling
    labels |= {
        "site": "travelling" if travelling else site.name,
        "scanner": "several" if travelling else f"{scanner.manufacturer} {scanner.model}",
        "field_strength_t": 0.0 if travelling else scanner.field_strength_t,
    }
    if sign is not None:
        labels["status"] = sign.status
    if options.survival:
        hazard = patient.hazard - (0.7 * sign.status if sign is not None else 0.0)
        time_days, event = follow_up(hazard, rng=rng)
        labels |= {"survival_days": time_days, "died": event, "log_hazard": round(hazard, 4)}
    return labels


@dataclass(frozen=True)
class _Session:
    """How one patient's series are made: what was asked for, and the patient's own random numbers."""

    options: CohortOptions
    marked: bool
    sign: Sign | None
    rng: np.random.Generator
    broad: int = 0

    def series(
        self, scenes: Sequence[Scene], site: Site, scanner: Scanner, *, exam: int, day: float
    ) -> list[SimulatedSeries]:
        """Every series of one examination."""
        made = []
        for scene in scenes:
            body = scene.body() if not self.broad else leaning(scene.body(), self.options.broad_strength)
            for name in scene.sequences:
                base, _, plane = name.partition("@")
                part = replace(scene.part, plane=plane, fixed=True) if plane else scene.part
                slab = draw_slab(site, base, part, rng=self.rng, size=self.options.size)
                if scene.around_mm:
                    slab = around(slab, body, scene.around_mm)
                for key, scanned in self._scanned(name, body, site, scanner, slab, scene).items():
                    volume = burn(scanned.volume, "L") if self.marked else scanned.volume
                    truth = self._truth(scanned, body, slab, scene)
                    shown = f"{key}-{plane}" if plane else key
                    item = SimulatedSeries(shown, volume, scanned.acquisition, truth, site.name, exam)
                    made.append(replace(item, degradations=scanned.degradations, days=day, study=scene.part.study))
        return made

    def _scanned(
        self, name: str, body: Body, site: Site, scanner: Scanner, slab: Slab, scene: Scene
    ) -> dict[str, Scanned]:
        seen = replace(body, truth={key: body.truth[key] for key in scene.shown if key in body.truth})
        faulty = self.options.fault_rate and self.rng.random() < self.options.fault_rate
        faults = draw_faults(self.rng) if faulty else Faults()
        signed = seen if self.sign is None else replace(with_sign(body, self.sign, name), truth=seen.truth)
        base = name.partition("@")[0]
        if base in BUNDLES:
            return scan_bundle(
                base,
                lambda sequence, machine: scan(signed, sequence, machine, slab, rng=self.rng, faults=faults),
                scanner,
                slab,
                rng=self.rng,
            )
        gradient = base == "T1w" and self.rng.random() < site.gradient_t1
        sequence = draw_sequence("T1w-gradient" if gradient else base, rng=self.rng)
        return {base: scan(signed, sequence, scanner, slab, rng=self.rng, faults=faults)}

    def _truth(self, scanned: Scanned, body: Body, slab: Slab, scene: Scene) -> dict[str, Any]:
        truth = dict(scanned.truth)
        if self.options.tissues:
            truth |= tissue_truth(body, slab, organs=scene.organs)
        if self.options.annotators and "lesion" in truth:
            truth |= outlined(truth["lesion"], count=self.options.annotators, rng=self.rng)
        return truth


def around(slab: Slab, body: Body, side_mm: float) -> Slab:
    """The slab laid straight around the middle of the disease, so many mm a side; as it was where there is none."""
    share = body.truth.get("lesion")
    if share is None or not bool(share.any()):
        return slab
    weight = share.double()
    axes = [torch.arange(size, dtype=torch.float64) for size in share.shape]
    sums = [weight.sum(dim=[other for other in range(3) if other != axis]) for axis in range(3)]
    middle = np.array([float((one * place).sum() / one.sum()) for one, place in zip(sums, axes, strict=True)])
    x, y, z = body.affine[:3, :3] @ middle + body.affine[:3, 3]
    return replace(
        slab,
        plane="axial",
        tilt_deg=(0.0, 0.0, 0.0),
        field_of_view_mm=(side_mm, side_mm, side_mm),
        centre_mm=(float(x), float(y), float(z)),
    )


def draw_faults(rng: np.random.Generator) -> Faults:
    """One artefact of a strength that a technician would notice."""
    kind = int(rng.integers(5))
    if kind == 0:
        return Faults(motion_mm=float(rng.uniform(2, 8)))
    if kind == 1:
        return Faults(ghosting=float(rng.uniform(0.1, 0.45)))
    if kind == 2:
        return Faults(spikes=int(rng.integers(1, 4)))
    if kind == 3:
        return Faults(aliasing=float(rng.uniform(0.1, 0.3)))
    return Faults(noise=float(rng.uniform(0.05, 0.2)))
