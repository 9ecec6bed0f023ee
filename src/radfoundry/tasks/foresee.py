"""The later state from the first visit: learned from patients seen twice, said with an interval for each patient.

The change is a line in time and in the first visit's value (growth goes by size), plus what the image adds to it. The
interval is conformal with a width that grows with the value and the time (Lei et al. 2018, J Am Stat Assoc 113:1094,
"locally weighted"): its share of patients is right whatever the shape of the errors, its width for one patient is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.data.pseudonyms import parse_date
from radfoundry.records import Case, Cohort, InputError, counted
from radfoundry.tasks import heads, questions

KIND = "foresight"
FEWEST = 20
DAYS_A_YEAR = 365.25
NARROWEST = 0.02  # of the mean error: an interval never gets narrower, however alike the patients were


@dataclass(frozen=True)
class ForeseeTask:
    """What to foresee: the label, whether its value at the first visit is known, and how sure the interval is."""

    target: str
    measured: bool = True
    level: float = 0.9
    days: str = ""


@dataclass(frozen=True)
class Pair:
    """One patient's first visit and the next one with a value: both values, and the days between."""

    patient: str
    case: str
    later_case: str
    first: float
    later: float
    days: float

    @property
    def years(self) -> float:
        """The time between in years."""
        return self.days / DAYS_A_YEAR

    @property
    def change(self) -> float:
        """Later minus first."""
        return self.later - self.first


def build(*, target: str = "", measured: bool = True, level: float = 0.9, days: str = "") -> ForeseeTask:
    """What will the label `target` be at the next visit? Only the first visit is looked at.

    The label belongs to each exam; or one table of patients holds `NAME` (first visit) and `NAME_2` (second). With
    `measured` the first visit's value is known when the question is asked. `level` is the share of patients whose later
    value the interval should hold. `days` names a label of the later exam with the days since the first one, where
    exams have no dates. Refuses a level outside 0.5 to 0.99.
    """
    if not isinstance(level, (int, float)) or not 0.5 <= level <= 0.99:
        raise InputError(f"level {level} is not between 0.5 and 0.99", where="task.level", remedy="use for example 0.9")
    if not isinstance(target, str) or not target:
        raise InputError(f"target {target!r} is no label", where="task.target", remedy="name a label")
    return ForeseeTask(target, bool(measured), float(level), days)


def pairs(cohort: Cohort, task: ForeseeTask) -> dict[str, Pair]:
    """First case -> what became of it, for every patient with two visits that have a value and a time between.

    Refuses a cohort in which too few patients were seen twice, no change is known, or nobody knows the time between.
    """
    visits: dict[str, list[Case]] = {}
    for case in cohort.cases:
        visits.setdefault(case.patient, []).append(case)
    found: dict[str, Pair] = {}
    timeless = 0
    for patient, cases in visits.items():
        ordered = sorted(cases, key=lambda case: (len(case.priors), case.date or "", case.key))
        known = [
            (case, value) for n, case in enumerate(ordered, 1) if (value := _value(case, task.target, n)) is not None
        ]
        if len(known) < 2:
            continue
        (one, first), (other, later) = known[:2]
        days = _days(one, other, task.days)
        if days is None or days <= 0:
            timeless += 1
            continue
        found[one.key] = Pair(patient, one.key, other.key, first, later, days)
    where = f"label {task.target}"
    if timeless and not found:
        raise InputError(
            f"the time between the visits of {counted(timeless, 'patient')} is not known",
            where=where,
            remedy="ingest scans with dates, or name a label with the days by task.days",
            finding="no-time",
        )
    if not found and all(_value(case, task.target, 1) is None for case in cohort.cases):
        raise questions.no_label(cohort, where=where, name=task.target)
    if len(found) < FEWEST:
        raise InputError(
            f"{counted(len(found), 'patient has', 'patients have')} two visits with a value; at least {FEWEST} are "
            "needed to learn what comes",
            where=where,
            remedy="label both visits (--on case), or give NAME and NAME_2 for each patient",
            finding="too-few",
        )
    if all(pair.change == 0 for pair in found.values()):
        raise InputError(
            "is the same at both visits of everybody",
            where=where,
            remedy="a label of patients does not change: label both visits (--on case), or give NAME and NAME_2",
            finding="no-change",
        )
    return found


def _value(case: Case, target: str, visit: int) -> float | None:
    """The label at a visit: `NAME_2` and so on of a table of patients, else the exam's own `NAME`."""
    own = questions.value_of(case, f"{target}_{visit}") if visit > 1 else None
    value = questions.value_of(case, target) if own is None else own
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _no_quantity(value, target) from None
    if isinstance(value, bool):
        raise _no_quantity(value, target)
    return number if math.isfinite(number) else None


def _no_quantity(value: Any, target: str) -> InputError:
    return InputError(f"{value!r} is not a number", where=f"label {target}", remedy="foresee a quantity")


def _days(first: Case, later: Case, label: str) -> float | None:
    if label:
        value = questions.value_of(later, label)
        return float(value) if isinstance(value, (int, float)) else None
    one, other = parse_date(first.date), parse_date(later.date)
    return None if one is None or other is None else float((other - one).days)


@dataclass(frozen=True, eq=False)
class Foreseer:
    """What was learned: a line in time and value, a head on the image, and the width of the interval.

    `line` (2,) is the change a year and its share that goes with the first value; `widths` (2,) the same of the
    interval; `reach` multiplies them. `lowest` is a value that nobody can fall below (0 when all training values were
    0 or more), or None.
    """

    line: np.ndarray
    head: heads.FittedHead | None
    widths: np.ndarray
    reach: float
    narrowest: float
    lowest: float | None

    def change(self, features: np.ndarray, first: np.ndarray, years: np.ndarray) -> np.ndarray:
        """The change (n,) to expect from features (n, width), first values (n,) and years (n,) to come."""
        seen = 0.0 if self.head is None else self.head.predict(features)
        return _terms(first, years) @ self.line + seen

    def later(self, features: np.ndarray, first: np.ndarray, years: np.ndarray) -> np.ndarray:
        """`(n, 3)`: the later value to expect, and the interval's low and high end."""
        middle = first + self.change(features, first, years)
        half = self.reach * np.maximum(_terms(np.abs(first), years) @ self.widths, self.narrowest)
        found = np.stack([middle, middle - half, middle + half], axis=1)
        return found if self.lowest is None else np.maximum(found, self.lowest)


def _terms(first: np.ndarray, years: np.ndarray) -> np.ndarray:
    return np.stack([years, years * first], axis=1)


@dataclass(frozen=True, eq=False)
class Rows:
    """What is learned from, one row a patient: features (n, width), first values, later values and years (n,)."""

    features: np.ndarray
    first: np.ndarray
    later: np.ndarray
    years: np.ndarray

    def take(self, rows: np.ndarray) -> Rows:
        """Some of the rows."""
        return Rows(self.features[rows], self.first[rows], self.later[rows], self.years[rows])


def rows_of(features: np.ndarray, asked: Sequence[Pair], *, measured: bool) -> Rows:
    """Rows from pairs; where the first value is not known when the question is asked, it plays no part (0)."""
    first = np.array([pair.first for pair in asked]) if measured else np.zeros(len(asked))
    later = first + np.array([pair.change for pair in asked])
    return Rows(np.asarray(features, float), first, later, np.array([pair.years for pair in asked]))


def fit(rows: Rows, *, head: heads.Head | None, level: float, folds: int = 5, seed: int = 0) -> Foreseer:
    """Learn the change on the rows, and the interval from the errors on rows that were held out inside them.

    Without a head the image plays no part. Refuses fewer rows than an interval of that level needs.
    """
    count = len(rows.first)
    place = math.ceil((count + 1) * level)
    if place > count or count < folds:
        need = max(folds, math.ceil(level / (1 - level)))
        raise InputError(
            f"{counted(count, 'patient is', 'patients are')} too few for an interval of {level:.0%}",
            remedy=f"at least {need}",
        )
    held = np.zeros(count)
    order = np.random.default_rng(seed).permutation(count)
    for part in np.array_split(order, folds):
        inside = np.setdiff1d(order, part)
        line, fitted = _middle(rows.take(inside), head)
        tested = rows.take(part)
        seen = 0.0 if fitted is None else fitted.predict(tested.features)
        held[part] = tested.first + _terms(tested.first, tested.years) @ line + seen
    lowest = 0.0 if min(rows.first.min(), rows.later.min()) >= 0 and rows.first.any() else None
    if lowest is not None:
        held = np.maximum(held, lowest)
    error = np.abs(rows.later - held)
    widths = _widths(_terms(np.abs(rows.first), rows.years), error)
    narrowest = NARROWEST * float(error.mean()) + 1e-12
    ratio = error / np.maximum(_terms(np.abs(rows.first), rows.years) @ widths, narrowest)
    line, fitted = _middle(rows, head)
    return Foreseer(line, fitted, widths, float(np.sort(ratio)[place - 1]), narrowest, lowest)


def _middle(rows: Rows, head: heads.Head | None) -> tuple[np.ndarray, heads.FittedHead | None]:
    """The line by least squares, and a head on what it leaves."""
    terms = _terms(rows.first, rows.years)
    line = np.linalg.lstsq(terms, rows.later - rows.first, rcond=None)[0]
    left = rows.later - rows.first - terms @ line
    if head is None:
        return line, None
    patients = np.arange(len(left)).astype(str)
    return line, heads.fit(head, rows.features, left, patients, kind="regression")


def _widths(terms: np.ndarray, error: np.ndarray) -> np.ndarray:
    """How the error grows with time and value, never falling (non-negative least squares)."""
    from scipy.optimize import nnls

    return nnls(terms, error)[0]


def to_dict(found: Foreseer) -> dict[str, Any]:
    """Everything but the head, as plain values for JSON."""
    return {
        "line": found.line.tolist(),
        "widths": found.widths.tolist(),
        "reach": found.reach,
        "narrowest": found.narrowest,
        "lowest": found.lowest,
    }


def restored(values: Mapping[str, Any], head: heads.FittedHead) -> Foreseer:
    """The inverse of `to_dict`, around its head."""
    line, widths = (np.array(values[name], float) for name in ("line", "widths"))
    return Foreseer(line, head, widths, values["reach"], values["narrowest"], values["lowest"])
