"""The frozen record types every other module speaks in: nouns only, no reading, no arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from radfoundry.volume import Volume


class InputError(ValueError):
    """Something the user gave cannot be used: what, where, and what to do about it, in one line.

    `finding` is the machine-readable name of the problem (for example `slice-gap`), so that
    tables of rejected files can be counted and filtered.

    >>> str(InputError("slices 4 and 5 are missing", where="series 12", remedy="set repair.gaps=resample"))
    'series 12: slices 4 and 5 are missing; set repair.gaps=resample'
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "", finding: str = "") -> None:
        self.what, self.where, self.remedy, self.finding = what, where, remedy, finding
        super().__init__(": ".join(part for part in (where, what) if part) + (f"; {remedy}" if remedy else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_error, (type(self), self.what, self.where, self.remedy, self.finding))


def counted(number: int, noun: str, plural: str = "") -> str:
    """How many, as a person says it.

    >>> counted(1, "image"), counted(2, "image"), counted(0, "series", "series")
    ('1 image', '2 images', '0 series')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def _rebuild_error(kind: type[InputError], what: str, where: str, remedy: str, finding: str) -> InputError:
    return kind(what, where=where, remedy=remedy, finding=finding)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its doubt: the value, the interval around it, how it was made and from how many.

    An undefined value is NaN with the reason in `note`, never 0. `p_value` belongs to the null
    hypothesis named in `note` or `method` and is None where nothing was tested.

    >>> str(Estimate(0.832, 0.711, 0.921, method="DeLong", n=61))
    '0.83 (0.71-0.92)'
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    level: float = 0.95
    method: str = ""
    n: int = 0
    note: str = ""
    p_value: float | None = None

    def __str__(self) -> str:
        return self.text()

    def text(self, digits: int = 2) -> str:
        """Value and interval in the form papers print them; an undefined value says why."""
        if math.isnan(self.value):
            return f"undefined ({self.note or 'no reason recorded'})"
        if self.counted:
            return f"{self.value:g}"
        if math.isnan(self.low) or math.isnan(self.high):
            return f"{self.value:.{digits}f} (no interval: {self.note or 'not available'})"
        # A hyphen before a minus sign reads as a typing error, so negative limits get "to".
        joint = " to " if self.low < 0 or self.high < 0 else "-"
        return f"{self.value:.{digits}f} ({self.low:.{digits}f}{joint}{self.high:.{digits}f})"

    @property
    def counted(self) -> bool:
        """Whether it is a count that cannot be off: its interval is the number itself."""
        return self.method == "counted" and self.low == self.value == self.high

    @property
    def defined(self) -> bool:
        """Whether there is a value at all."""
        return not math.isnan(self.value)

    @classmethod
    def undefined(cls, note: str, *, n: int = 0, method: str = "", level: float = 0.95) -> Estimate:
        """The estimate that could not be made, with the reason."""
        return cls(math.nan, math.nan, math.nan, level=level, method=method, n=n, note=note)

    @classmethod
    def exact(cls, count: int) -> Estimate:
        """A count, which has no doubt."""
        return cls(count, count, count, method="counted", n=count, note="a count, exact")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN and infinities become None."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Estimate:
        """The inverse of `to_dict`; None in value, low or high reads as NaN."""
        known = {item.name for item in fields(cls)}
        kept = {key: value for key, value in values.items() if key in known}
        for key in ("value", "low", "high"):
            kept[key] = math.nan if kept.get(key) is None else float(kept[key])
        return cls(**kept)


@dataclass(frozen=True, slots=True)
class Acquisition:
    """How an image was acquired, as its header states it: a value or missing (None), never a guess.

    Times are in ms, lengths in mm, angles in degrees, field strength in tesla, b-values in s/mm².
    `series_description` is free text that may name people or sites; readers drop it when
    pseudonymising unless told to keep it.
    """

    modality: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    software: str | None = None
    field_strength_t: float | None = None
    body_part: str | None = None
    series_description: str | None = None
    protocol_name: str | None = None
    sequence_name: str | None = None
    scanning_sequence: tuple[str, ...] | None = None
    sequence_variant: tuple[str, ...] | None = None
    scan_options: tuple[str, ...] | None = None
    image_type: tuple[str, ...] | None = None
    acquisition_type: str | None = None
    contrast_agent: str | None = None
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    echo_train_length: int | None = None
    echo_number: int | None = None
    averages: float | None = None
    bandwidth_hz_per_pixel: float | None = None
    b_value_s_per_mm2: float | None = None
    diffusion_directionality: str | None = None
    slice_thickness_mm: float | None = None
    slice_gap_mm: float | None = None
    matrix: tuple[int, int] | None = None
    field_of_view_mm: tuple[float, float] | None = None
    tube_voltage_kv: float | None = None
    tube_current_ma: float | None = None
    exposure_mas: float | None = None
    convolution_kernel: str | None = None
    view_position: str | None = None
    laterality: str | None = None
    patient_position: str | None = None
    photometric: str | None = None
    transfer_syntax: str | None = None
    receive_coil: str | None = None
    angio_flag: str | None = None
    acquisition_contrast: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields that are present, as plain JSON values."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if value is not None
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Acquisition:
        """The inverse of `to_dict`; unknown keys are refused by name."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"unknown acquisition fields {', '.join(unknown)}", remedy="see records.Acquisition")
        kept: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**kept)


@dataclass(frozen=True)
class Series:
    """One image series: where its pixels live and what its header says; pixels come with `load()`.

    `key` and `patient` are pseudonyms. `sequence` and `plane` are stated by the header rules or the
    source; None means unknown. `repairs` lists every named finding that was mended on reading.
    """

    key: str
    patient: str
    case: str
    acquisition: Acquisition
    shape: tuple[int, int, int, int]
    spacing_mm: tuple[float, float, float]
    site: str | None = None
    sequence: str | None = None
    plane: str | None = None
    content: str = ""
    repairs: tuple[str, ...] = ()
    loader: Callable[[Series], Volume] | None = field(default=None, compare=False, repr=False)

    def load(self) -> Volume:
        """The pixels with their geometry; refused when the series was made without a place to read from."""
        if self.loader is None:
            raise InputError("no pixels are attached", where=f"series {self.key}", remedy="open it from a cohort")
        return self.loader(self)


@dataclass(frozen=True)
class Case:
    """One patient's exam: its series, reports and labels; the unit of analysis.

    In a pseudonymised cohort `date` is moved by a number of days of the patient's own, so that only
    intervals within a patient mean anything; `year` is the true year where it was asked to be kept.
    """

    key: str
    patient: str
    series: tuple[Series, ...] = ()
    reports: tuple[str, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    site: str | None = None
    age_years: float | None = None
    sex: str | None = None
    date: str | None = None
    priors: tuple[str, ...] = ()
    year: int | None = None


@dataclass(frozen=True)
class Cohort:
    """An immutable table of cases with its splits and the fingerprint of everything in it."""

    cases: tuple[Case, ...]
    fingerprint: str = ""
    splits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def patients(self) -> tuple[str, ...]:
        """Patient pseudonyms, each once, in order of first appearance."""
        return tuple(dict.fromkeys(case.patient for case in self.cases))

    @property
    def series(self) -> tuple[Series, ...]:
        """All series of all cases, in order."""
        return tuple(series for case in self.cases for series in case.series)

    def part(self, split: str, name: str) -> Cohort:
        """The cases that a named split puts into one part, for example `part("default", "train")`."""
        if split not in self.splits:
            known = ", ".join(sorted(self.splits)) or "none yet"
            raise InputError(
                f"no split named {split!r}", remedy=f"splits here: {known}; make one with radfoundry split"
            )
        parts = self.splits[split]
        return replace(self, cases=tuple(case for case in self.cases if parts.get(case.key) == name))


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder expects of an image; stored inside its checkpoint so that it cannot be lost."""

    name: str
    modality: tuple[str, ...] = ("MR",)
    orientation: str = "RAS"
    spacing_mm: tuple[float, float, float] | None = None
    shape: tuple[int, int, int] | None = None
    intensity: str = "percentile"
    channels: int = 1
    dimensions: int = 3
    width: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Features:
    """What an encoder says of a batch: one vector per image, one per place, and the grid of places."""

    pooled: Any
    tokens: Any = None
    grid: tuple[int, ...] | None = None


@runtime_checkable
class Encoder(Protocol):
    """Anything that turns a batch of images into features and states what images it expects."""

    spec: EncoderSpec

    def encode(self, x: Any, present: Any = None) -> Features:
        """x: (batch, channels, I, J, K) prepared as `spec` says; present: (batch, channels) booleans."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """One clinical question: which label answers it, of what kind, and how the answer is judged."""

    name: str
    target: str
    kind: str = "binary"
    unit: str = "patient"
    metrics: tuple[str, ...] = ()
    about: str = ""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers beside the truth, one row per case: the only input that `stats` takes.

    `target` and `score` are (n,) or (n, classes); `patient` groups rows that are not independent.
    Refuses columns of unequal length, and NaN in targets or scores.

    >>> p = Predictions.of([0, 1, 1], [0.2, 0.7, 0.9])
    >>> len(p), p.patient.tolist()
    (3, ['0', '1', '2'])
    """

    case: np.ndarray
    patient: np.ndarray
    target: np.ndarray
    score: np.ndarray
    site: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.case)
        for name in ("patient", "target", "score", "site"):
            column = getattr(self, name)
            if column is not None and len(column) != n:
                raise InputError(f"column {name} has {len(column)} rows, case has {n}", remedy="give one row per case")
        for name in ("target", "score"):
            column = getattr(self, name)
            if column.dtype.kind == "f" and np.isnan(column).any():
                count = int(np.isnan(column.reshape(n, -1)).any(axis=1).sum())
                raise InputError(f"{count} of {n} rows of {name} are NaN", remedy="drop or impute them and say so")

    def __len__(self) -> int:
        return len(self.case)

    @classmethod
    def of(
        cls,
        target: Sequence[Any] | np.ndarray,
        score: Sequence[Any] | np.ndarray,
        *,
        patient: Sequence[Any] | np.ndarray | None = None,
        site: Sequence[Any] | np.ndarray | None = None,
        case: Sequence[Any] | np.ndarray | None = None,
    ) -> Predictions:
        """Predictions from plain arrays; without patients every row is a patient of its own."""
        truth, scores = np.asarray(target), np.asarray(score)
        rows = np.arange(len(truth)).astype(str) if case is None else np.asarray(case).astype(str)
        return cls(
            case=rows,
            patient=rows if patient is None else np.asarray(patient).astype(str),
            target=truth,
            score=scores.astype(float) if scores.dtype.kind in "biuf" else scores,
            site=None if site is None else np.asarray(site).astype(str),
        )

    def take(self, rows: np.ndarray) -> Predictions:
        """The rows named by a boolean mask or an index array."""
        site = None if self.site is None else self.site[rows]
        return Predictions(self.case[rows], self.patient[rows], self.target[rows], self.score[rows], site)


@dataclass(frozen=True)
class Run:
    """A finished run folder: what was asked, with which seed and versions, on what, and what came out."""

    path: str
    stage: str
    config: Mapping[str, Any]
    seed: int
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
