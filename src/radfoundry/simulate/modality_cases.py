"""What cohorts of films, CT and ultrasound share: options, hospitals, who is examined, labels and the finished case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from radfoundry.records import InputError
from radfoundry.simulate.anatomy.regions import Anatomy, draw_anatomy, region
from radfoundry.simulate.cases import SimulatedCase, SimulatedSeries, generator_for
from radfoundry.simulate.ct import CtScanner
from radfoundry.simulate.mammogram import MammographyUnit
from radfoundry.simulate.people import draw_person
from radfoundry.simulate.radiograph import Detector, Display, Room, Tube, box_of
from radfoundry.simulate.region_words import history_of, statements_of
from radfoundry.simulate.scan import Scanned
from radfoundry.simulate.shortcuts import tied
from radfoundry.simulate.ultrasound import Machine
from radfoundry.simulate.words import STYLES, write_report

SIZES = ("small", "medium", "full")


@dataclass(frozen=True)
class Hospital:
    """One hospital: how often disease is seen, and its machines; `room` and `portable` take films."""

    name: str
    lesion_rate: float
    room: Room
    portable: Room
    ct: CtScanner
    kernel: str
    mammography: MammographyUnit
    ultrasound: Machine


HOSPITALS = (
    Hospital(
        "Northgate Hospital",
        0.55,
        Room(Tube(120.0, copper_mm=0.1), Detector("Philips Medical Systems", "DigitalDiagnost", scatter_fraction=0.25)),
        Room(
            Tube(85.0, quanta_per_mm2=1.2e5, exposure_mas=1.6),
            Detector("Philips Medical Systems", "MobileDiagnost", scatter_fraction=0.5, blur_mm=0.2),
        ),
        CtScanner("SIEMENS", "SOMATOM Definition AS", noise_hu=9.0),
        "standard",
        MammographyUnit("HOLOGIC, Inc.", "Selenia Dimensions"),
        Machine("Canon Medical Systems", "Aplio i800", looks=4),
    ),
    Hospital(
        "Lakeside Clinic",
        0.3,
        Room(
            Tube(110.0, copper_mm=0.2, quanta_per_mm2=3e5),
            Detector("FUJIFILM Corporation", "FDR AcSelerate", scatter_fraction=0.35, blur_mm=0.22),
            Display(contrast=5.0, flattening=0.12, edges=0.15, photometric="MONOCHROME1"),
        ),
        Room(
            Tube(90.0, quanta_per_mm2=9e4, exposure_mas=2.0),
            Detector("FUJIFILM Corporation", "FDR Go", scatter_fraction=0.55, blur_mm=0.25),
            Display(contrast=4.5, flattening=0.12, edges=0.15, photometric="MONOCHROME1"),
        ),
        CtScanner("GE MEDICAL SYSTEMS", "Revolution EVO", noise_hu=12.0, modulation=0.8),
        "sharp",
        MammographyUnit(
            "SIEMENS", "MAMMOMAT Inspiration", contrast=4.0, equalised=0.5, edges=0.2, photometric="MONOCHROME1"
        ),
        Machine("GE Healthcare", "LOGIQ E9", dynamic_range_db=66.0, looks=2, gain_db=2.0),
    ),
)


@dataclass(frozen=True, kw_only=True)
class ModalityOptions:
    """What every cohort of films, CT and ultrasound can be asked for.

    size: small, medium or full resolution · lesion_rate: share with disease, instead of the hospitals' own ·
    findings: the kinds there may be (all that the region knows unless given), most: how many of them at once ·
    marker_rate: a burned-in letter in this share of the diseased and in 1 - share of the healthy (a shortcut).
    """

    size: str = "small"
    lesion_rate: float | None = None
    findings: Sequence[str] = ()
    most: int = 2
    marker_rate: float | None = None
    hospitals: tuple[Hospital, ...] = field(default=HOSPITALS, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", tuple(self.findings))
        if self.size not in SIZES:
            raise InputError(f"unknown size {self.size!r}", remedy=f"one of {', '.join(SIZES)}", finding="unknown-name")
        for name in ("lesion_rate", "marker_rate", "portable_rate"):
            share = getattr(self, name, None)
            if share is not None and not 0 <= share <= 1:
                raise InputError(f"{name} {share} is not a share", remedy="give a number from 0 to 1")
        if self.most < 1:
            raise InputError(f"most {self.most}", remedy="give at least 1 finding")

    def known(self, name: str, kinds: Sequence[str]) -> tuple[str, ...]:
        """The findings asked for, all of `kinds` unless given; refuses others, naming the cohort."""
        unknown = [kind for kind in self.findings if kind not in kinds]
        if unknown:
            raise InputError(
                f"no findings called {', '.join(unknown)}", where=name, remedy=f"known: {', '.join(kinds)}"
            )
        return tuple(self.findings) or tuple(kinds)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Who is examined where: the random numbers, the hospital, the anatomy, and whether the shortcut is there."""

    rng: np.random.Generator
    hospital: Hospital
    anatomy: Anatomy
    kinds: tuple[str, ...]
    marked: bool

    @property
    def diseased(self) -> bool:
        """Whether there is any finding."""
        return bool(self.anatomy.findings)


def draw_patient(
    options: ModalityOptions, name: str, kinds: Sequence[str], *, case: int, seed: int, sex: str | None = None
) -> Drawn:
    """A patient of a region with findings at the hospital's rate; the same seed and case give the same."""
    rng = generator_for(seed, case)
    hospital = options.hospitals[int(rng.integers(len(options.hospitals)))]
    rate = hospital.lesion_rate if options.lesion_rate is None else options.lesion_rate
    diseased = rng.random() < rate
    count = int(rng.integers(1, min(options.most, len(kinds)) + 1))
    given = tuple(rng.permutation(list(kinds))[:count].tolist()) if diseased else ()
    age = round(float(rng.uniform(40 if name == "breast" else 22, 88)), 1)
    anatomy = draw_anatomy(name, rng=rng, age_years=age, sex=sex, findings=given)
    marked = options.marker_rate is not None and tied(diseased, rate=options.marker_rate, rng=rng)
    return Drawn(rng, hospital, anatomy, tuple(kinds), marked)


def series_of(made: Scanned, name: str, drawn: Drawn, *, study: str) -> SimulatedSeries:
    """One picture or scan of the exam."""
    return SimulatedSeries(
        name,
        made.volume,
        made.acquisition,
        made.truth,
        drawn.hospital.name,
        degradations=made.degradations,
        study=study,
    )


def finished(
    options: ModalityOptions,
    drawn: Drawn,
    series: Sequence[SimulatedSeries],
    *,
    case: int,
    technique: str,
    labels: Mapping[str, Any],
) -> SimulatedCase:
    """The case with its person, labels, report, and the boxes of the findings on every film."""
    anatomy, rng = drawn.anatomy, drawn.rng
    person = draw_person(case, age_years=anatomy.age_years, sex=anatomy.sex, rng=rng)
    columns = finding_labels(drawn) | dict(labels)
    if options.marker_rate is not None:
        columns["marker"] = int(drawn.marked)
    report = write_report(
        statements_of(anatomy, drawn.kinds),
        rng=rng,
        style=STYLES[int(rng.integers(len(STYLES)))],
        technique=technique,
        history=history_of(anatomy.region, anatomy.age_years, anatomy.sex),
    )
    boxes = {
        item.name: {name: box_of(mask) for name, mask in item.truth.items() if mask.array.any()}
        for item in series
        if item.volume.shape[2] == 1
    }
    known = {"boxes": boxes, "measures": {name: round(float(value), 4) for name, value in anatomy.measures.items()}}
    return SimulatedCase(person, drawn.hospital.name, tuple(series), columns, report, known=known)


def finding_labels(drawn: Drawn) -> dict[str, Any]:
    """What is true of a patient, one value a column: a severity for every finding, the worst one, the hospital."""
    anatomy = drawn.anatomy
    worst = max(anatomy.findings, key=lambda item: item.severity, default=None)
    labels: dict[str, Any] = {
        "region": anatomy.region,
        "age_years": anatomy.age_years,
        "sex": anatomy.sex,
        "site": drawn.hospital.name,
        "lesion_present": int(worst is not None),
        "lesion_kind": worst.kind if worst else "none",
        "lesion_side": worst.side if worst else "none",
        "lesion_site": worst.site if worst else "none",
        "lesion_severity": round(worst.severity, 3) if worst else 0.0,
    }
    for kind in region(anatomy.region).kinds:
        found = [item.severity for item in anatomy.findings if item.kind == kind]
        labels[kind.replace("-", "_")] = round(max(found, default=0.0), 3)
    return labels
