"""FROC: how many lesions are found for how many false marks an image, with intervals that draw patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.records import Estimate, InputError
from radfoundry.stats.bootstrap import draw_weights
from radfoundry.stats.inputs import Seed, at_least, choice, interval_level
from radfoundry.stats.marks import Marks
from radfoundry.stats.proportions import wilson_limits

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
GRID = 101
BLOCK = 4_000_000


@dataclass(frozen=True, eq=False)
class Froc:
    """A free-response curve with its summary numbers.

    `threshold`, `false_positives` (per case) and `sensitivity` are the operating points, surest first; `grid`, `low`
    and `high` are the pointwise band. `at` is the sensitivity at given rates of false marks and `mean` the average
    of those (the competition score of LUNA16 for the default rates).
    """

    threshold: np.ndarray
    false_positives: np.ndarray
    sensitivity: np.ndarray
    grid: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    at: dict[float, Estimate]
    mean: Estimate

    def curve(self, name: str) -> dict[str, Any]:
        """What `plots.plot_froc` draws."""
        return {
            "name": name,
            "false_positives": self.grid,
            "sensitivity": self.middle,
            "low": self.low,
            "high": self.high,
            "estimate": self.mean,
        }


def froc(
    marks: Marks,
    *,
    rates: Sequence[float] = RATES,
    per: str = "all",
    level: float = 0.95,
    draws: int = 2000,
    rng: Seed = 0,
) -> Froc:
    """Lesion sensitivity against false marks per case over all thresholds.

    Args:
        marks: rated marks; see `Marks.of`, `marks_from_boxes`, `marks_from_points`.
        rates: false marks per case at which sensitivity is read off (linear between operating points, and constant
            beyond the last one: a reader who sets few marks is not extrapolated).
        per: false marks are counted on "all" cases or on "normal" ones (without lesions) only.
        level: confidence level.
        draws: bootstrap draws of patients.
        rng: seed or generator.

    Undefined (NaN) without any lesion, or with `per="normal"` without a normal case.

    Source: Chakraborty & Winter 1990; interval: patients drawn whole, as in Samuelson & Petrick 2006.

    >>> marks = Marks.of(["a", "b", "b"], [3, 2, 1], [0, -1, 0], lesions={"a": 1, "b": 1, "c": 0})
    >>> found = froc(marks, rates=(1.0,), draws=200)
    >>> found.sensitivity.tolist(), found.false_positives.round(2).tolist()
    ([0.5, 0.5, 1.0], [0.0, 0.33, 0.33])
    """
    interval_level(level)
    at_least(draws, 20, "draws")
    counted = np.ones(len(marks.cases)) if choice(per, ("all", "normal"), "per") == "all" else marks.lesions == 0
    wanted = np.asarray(rates, float)
    if wanted.ndim != 1 or not len(wanted) or not (wanted > 0).all():
        raise InputError(f"rates are {list(rates)}", remedy="give numbers of false marks per case above 0")
    reason = "no case has a lesion" if marks.lesions.sum() == 0 else "no case is normal" if not counted.any() else ""
    if reason:
        return _nothing(reason, wanted.tolist(), len(marks.cases), level)
    path = _Path(marks, np.asarray(counted, float))
    ones = np.ones((1, len(marks.cases)))
    false_rate, sensitivity = (column[0] for column in path.walk(ones))
    grid = np.linspace(0.0, float(wanted.max()), GRID)
    places = np.concatenate([wanted, grid])
    value = path.read(ones, places)[0]
    weights = draw_weights(marks.patient, draws=draws, rng=rng)
    drawn = path.read(weights, places)
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore"):
        low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
        mean_low, mean_high = np.nanquantile(drawn[:, : len(wanted)].mean(axis=1), [tail, 1 - tail])
    patients = len(np.unique(marks.patient))
    sick = len(np.unique(np.asarray(marks.patient)[marks.lesions > 0]))
    low, high = _with_width(value, low, high, sick, level)
    (mean_low,), (mean_high,) = _with_width(
        value[: len(wanted)].mean(keepdims=True), np.array([mean_low]), np.array([mean_high]), sick, level
    )
    method = f"bootstrap of {patients} patients"
    n = len(marks.cases)
    at = {
        float(rate): Estimate(
            float(value[k]), float(low[k]), float(high[k]), level, f"sensitivity at {rate:g} false, {method}", n
        )
        for k, rate in enumerate(wanted)
    }
    mean = Estimate(
        float(value[: len(wanted)].mean()), float(mean_low), float(mean_high), level, f"mean sensitivity, {method}", n
    )
    band = slice(len(wanted), None)
    return Froc(path.threshold, false_rate, sensitivity, grid, value[band], low[band], high[band], at, mean)


def _with_width(
    value: np.ndarray, low: np.ndarray, high: np.ndarray, patients: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where everything or nothing was found every draw says the same; Wilson's limits of so many patients say more."""
    edge = ((value == 0) | (value == 1)) & (low == high)
    least, most = wilson_limits(value * patients, np.full(len(value), float(patients)), level=level)
    return np.where(edge, least, low), np.where(edge, most, high)


def _nothing(reason: str, rates: list[float], n: int, level: float) -> Froc:
    empty = np.zeros(0)
    nothing = Estimate.undefined(reason, n=n, method="FROC", level=level)
    return Froc(empty, empty, empty, empty, empty, empty, empty, dict.fromkeys(rates, nothing), nothing)


class _Path:
    """The marks in order of falling rating, ready to be walked down under many weightings of the cases."""

    def __init__(self, marks: Marks, counted: np.ndarray) -> None:
        order = np.argsort(-marks.rating, kind="stable")
        self.case, rating = marks.case[order], marks.rating[order]
        false = marks.false[order]
        self.hit = (~false).astype(float)
        self.false = false * counted[self.case]
        # Marks of one rating enter together, so only the last of them is an operating point.
        self.last = np.nonzero(np.diff(np.concatenate([rating, [-np.inf]])))[0]
        self.threshold = rating[self.last]
        self.counted, self.lesions = counted, marks.lesions.astype(float)

    def walk(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """False marks per case and sensitivity at each operating point, each (draws, points)."""
        of_mark = weights[:, self.case]
        with np.errstate(invalid="ignore", divide="ignore"):
            false = np.cumsum(of_mark * self.false, axis=1)[:, self.last] / (weights @ self.counted)[:, None]
            found = np.cumsum(of_mark * self.hit, axis=1)[:, self.last] / (weights @ self.lesions)[:, None]
        return false, found

    def read(self, weights: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """(draws, rates) sensitivity at rates of false marks, linear between operating points."""
        step = max(1, BLOCK // max(len(self.case), 1))
        parts = []
        for start in range(0, len(weights), step):
            false, found = self.walk(weights[start : start + step])
            for row_false, row_found in zip(false, found, strict=True):
                parts.append(_interpolated(rates, row_false, row_found))
        return np.array(parts)


def _interpolated(rates: np.ndarray, false: np.ndarray, found: np.ndarray) -> np.ndarray:
    if len(found) == 0:
        return np.zeros(len(rates))
    # From the last point at or below each rate (vertical steps end at their top) to the next one.
    padded_false, padded_found = np.concatenate([[0.0], false]), np.concatenate([[0.0], found])
    left = np.searchsorted(padded_false, rates, side="right") - 1
    right = np.minimum(left + 1, len(padded_false) - 1)
    width = padded_false[right] - padded_false[left]
    share = np.divide(rates - padded_false[left], width, out=np.zeros(len(rates)), where=width > 0)
    return padded_found[left] + np.minimum(share, 1.0) * (padded_found[right] - padded_found[left])
