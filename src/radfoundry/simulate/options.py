"""What every simulated MR cohort can be asked for, checked before anything is made."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field

from radfoundry.records import InputError
from radfoundry.simulate.annotators import PANEL
from radfoundry.simulate.bundles import BUNDLES
from radfoundry.simulate.protocols import PROTOCOLS
from radfoundry.simulate.scan import PLANES
from radfoundry.simulate.sites import DIFFERENCES, LOW_FIELD, SITES, Site

SIZES = ("small", "medium", "full")
PLACES = ("core", "halo", "texture")
FAILURES = ("random", "subgroup", "subtle")


@dataclass(frozen=True, kw_only=True)
class CohortOptions:
    """What a cohort of MR examinations can be asked for; everything has a default.

    size: small, medium or full resolution · lesion_rate: share with disease, instead of the sites' own ·
    sequences: names of `protocols.PROTOCOLS` or `bundles.BUNDLES`, with `@sagittal` and the like for another plane ·
    marker_rate: a burned-in letter in this share of the diseased and in 1 - share of the healthy · fault_rate: share
    of series with an artefact · travelling: everybody on every scanner · low_field: a hospital with a 0.55 T scanner
    besides · sites_differ: three hospitals with the same scanner that differ in the slow lean of their `coil` or in
    their `noise` alone.

    signal: where a hidden status (label `status`) of the diseased shows: `core`, `halo` (oedema), `texture`
    (a band of wavelengths) or the one sequence of that name · signal_strength: by how much of the brightness ·
    broad_strength: a second status (label `broad`), independent of all disease, that makes the whole body brighter
    towards the front, by this much of the logarithm of brightness over 100 mm ·
    signal_spread: deviation of the same between patients whatever their status · signal_fades: it vanishes with age.

    visits: examinations a patient, visit_interval_days apart · response: share of a tumour that treatment kills, or
    of muscle that training adds · survival: follow-up labels with a known hazard · drift_date (YYYYMMDD): from then
    on images are noisier and harder by drift_size, and later_lesion_rate are diseased.

    annotators: outlines by so many of `annotators.PANEL` · readers: scores of so many readers, aided and not ·
    vendor: yes or no of a tool that fails at random, in a subgroup (65 years and older) or on subtle disease ·
    contradiction_rate: reports that contradict themselves · omission_rate: drafts that leave out findings ·
    tissues: tissue fractions and a label map of every series among the truth · raters: so many people score the
    quality of every series, for reading and for measuring (labels `reading_T1w`, `measuring_T1w`).
    """

    size: str = "small"
    lesion_rate: float | None = None
    sequences: Sequence[str] = ()
    marker_rate: float | None = None
    fault_rate: float = 0.0
    travelling: bool = False
    low_field: bool = False
    sites_differ: str = ""
    signal: str = ""
    signal_strength: float = 0.3
    signal_spread: float = 0.0
    signal_fades: bool = False
    broad_strength: float = 0.0
    visits: int = 1
    visit_interval_days: float = 90.0
    response: float = 0.0
    survival: bool = False
    drift_date: str = ""
    drift_size: float = 0.5
    later_lesion_rate: float | None = None
    annotators: int = 0
    readers: int = 0
    vendor: str = ""
    contradiction_rate: float = 0.0
    omission_rate: float | None = None
    tissues: bool = False
    raters: int = 0
    hospitals: tuple[Site, ...] = field(default=SITES, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sequences", tuple(self.sequences))
        object.__setattr__(self, "drift_date", str(self.drift_date))
        self._check_numbers()
        if self.size not in SIZES:
            raise InputError(f"unknown size {self.size!r}", remedy=f"one of {', '.join(SIZES)}", finding="unknown-name")
        unknown = [name for name in self.sequences if not _is_sequence(name)]
        if unknown:
            known = ", ".join((*PROTOCOLS, *BUNDLES))
            raise InputError(f"unknown sequences {', '.join(unknown)}", remedy=f"known: {known}; @axial … for a plane")
        if self.signal and self.signal not in PLACES and not _is_sequence(self.signal):
            raise InputError(f"no signal in {self.signal!r}", remedy=f"{', '.join(PLACES)} or the name of a sequence")
        if self.vendor and self.vendor not in FAILURES:
            raise InputError(f"unknown failure {self.vendor!r}", remedy=f"one of {', '.join(FAILURES)}")
        if self.sites_differ not in ("", *DIFFERENCES):
            raise InputError(f"sites cannot differ in {self.sites_differ!r}", remedy=f"one of {', '.join(DIFFERENCES)}")
        if self.drift_date:
            _day(self.drift_date)

    def _check_numbers(self) -> None:
        shares = ("lesion_rate", "marker_rate", "fault_rate", "response", "later_lesion_rate", "contradiction_rate")
        for name in (*shares, "omission_rate"):
            share = getattr(self, name)
            if share is not None and not (_is_number(share) and 0 <= share <= 1):
                raise InputError(f"{name} {share} is not a share", remedy="give a number from 0 to 1")
        limits = {"visits": (1, 6), "annotators": (0, len(PANEL)), "readers": (0, 100), "raters": (0, 100)}
        for name, (low, high) in limits.items():
            count = getattr(self, name)
            if not isinstance(count, int) or isinstance(count, bool) or not low <= count <= high:
                raise InputError(f"{name} {count} is not a whole number from {low} to {high}")
        for name in ("signal_strength", "signal_spread", "broad_strength", "visit_interval_days", "drift_size"):
            if not _is_number(getattr(self, name)) or getattr(self, name) < 0:
                raise InputError(f"{name} {getattr(self, name)} is not a number of at least 0")

    @property
    def sites(self) -> tuple[Site, ...]:
        """The hospitals of the cohort."""
        hospitals = DIFFERENCES.get(self.sites_differ, self.hospitals)
        return (*hospitals, LOW_FIELD) if self.low_field else hospitals

    def after_drift(self, study_date: str) -> bool:
        """Whether a date (YYYYMMDD) lies on or after the day things change."""
        return bool(self.drift_date) and _day(study_date) >= _day(self.drift_date)


def _is_sequence(name: str) -> bool:
    base, _, plane = str(name).partition("@")
    return base in (*PROTOCOLS, *BUNDLES) and plane in ("", *PLANES)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _day(text: str) -> datetime.date:
    try:
        return datetime.datetime.strptime(str(text), "%Y%m%d").date()
    except ValueError:
        raise InputError(f"{text!r} is no date", remedy="write it as YYYYMMDD, such as 20220701") from None
