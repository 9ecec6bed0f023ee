"""Numbers read off the ROC and precision-recall curves: partial areas, and sensitivity at a fixed specificity."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.bootstrap import Weighted, bootstrap
from radfoundry.stats.inputs import Seed, as_predictions, binary_columns, choice, one_class_note
from radfoundry.stats.jackknife import jackknife
from radfoundry.stats.roc import rates, sensitivity_at
from radfoundry.stats.weighted import Ladder, Prepared, weighted_average_precision


def sensitivity_at_specificity(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    specificity: float = 0.9,
    level: float = 0.95,
    rng: Seed = 0,
) -> Estimate:
    """The sensitivity reached when the cut-off is set for a given specificity on these same cases.

    The curve is joined by straight lines. The interval (stratified bootstrap) includes the doubt about where the
    cut-off lies; a cut-off fixed on other data has less doubt: see `operating.choose_operating_point`.

    >>> sensitivity_at_specificity([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], specificity=1.0).value
    0.5
    """
    found = as_predictions(data, score, patient=patient)
    return _read(_at_specificity(_share(specificity, "specificity"), swap=False), found, level=level, rng=rng)


def specificity_at_sensitivity(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    sensitivity: float = 0.9,
    level: float = 0.95,
    rng: Seed = 0,
) -> Estimate:
    """The specificity left when the cut-off is set for a given sensitivity on these same cases.

    >>> specificity_at_sensitivity([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], sensitivity=1.0).value
    0.5
    """
    found = as_predictions(data, score, patient=patient)
    return _read(_at_specificity(_share(sensitivity, "sensitivity"), swap=True), found, level=level, rng=rng)


def partial_auroc(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    between: tuple[float, float] = (0.8, 1.0),
    along: str = "specificity",
    level: float = 0.95,
) -> Estimate:
    """The area under only the useful part of the ROC curve, for example where specificity is at least 0.8.

    The value is the plain area (at most the width of the part); `standardised_partial` turns it into the scale where
    0.5 is chance and 1 is perfect. Interval: stratified percentile bootstrap.

    Args:
        data: predictions, or (n,) targets 0/1.
        score: (n,) scores.
        patient: (n,) patient names where rows of one patient repeat.
        between: lower and upper end of the part.
        along: "specificity" or "sensitivity", the rate that `between` limits.
        level: confidence level.

    Source: McClish, Med Decis Making 1989;9:190.

    >>> round(partial_auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], between=(0.5, 1.0)).value, 3)
    0.25
    """
    found = as_predictions(data, score, patient=patient)
    choice(along, ("specificity", "sensitivity"), "along")
    low, high = sorted(_share(end, along) for end in between)
    if low == high:
        raise InputError("the part of the curve has no width", remedy="give two different ends")
    estimate = _read(_partial(low, high, swap=along == "sensitivity"), found, level=level, rng=0)
    scale = f"plain area for {along} {low:g} to {high:g}, at most {high - low:.3g}"
    if estimate.defined:
        scale += f"; standardised {standardised_partial(estimate.value, low, high):.2f}"
        return replace(estimate, note="; ".join(part for part in (scale, estimate.note) if part))
    return estimate


def standardised_partial(area: float, low: float, high: float) -> float:
    """McClish's scale for a partial area between two specificities (or sensitivities): 0.5 chance, 1 perfect.

    >>> standardised_partial(0.2, 0.8, 1.0)
    1.0
    """
    least, most = ((1 - low) ** 2 - (1 - high) ** 2) / 2, high - low
    return 0.5 * (1 + (area - least) / (most - least))


def average_precision(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    level: float = 0.95,
    method: str = "jackknife",
    rng: Seed = 0,
) -> Estimate:
    """Area under the precision-recall curve as the step sum (average precision); chance equals the prevalence.

    Straight lines between precision-recall points would be too optimistic, so steps are used; ties are one step.
    The interval leaves one patient out at a time, on the logit scale, with Student's t for the patients that have a
    positive: it holds 95 % where a bootstrap holds 91 to 93 % (docs/statistics-coverage.md). A perfect ranking has
    none. Any method of `bootstrap` may be named instead.

    Source: Davis & Goadrich, ICML 2006;233; interval: `jackknife.jackknife`.

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).value, 4)
    0.8333
    """
    found = as_predictions(data, score, patient=patient)
    truth, _ = binary_columns(found)
    if not truth.any():
        return Estimate.undefined(one_class_note(truth), n=len(truth), method=method, level=level)
    if method == "jackknife":
        units = len(np.unique(found.patient[truth]))
        drawn = jackknife(weighted_average_precision, found, scale="logit", level=level, units=units)
    else:
        drawn = bootstrap(weighted_average_precision, found, level=level, method=method, rng=rng)
    note = "; ".join(part for part in (f"chance is the prevalence, {truth.mean():.2f}", drawn.note) if part)
    return replace(drawn, note=note)


def _share(value: float, name: str) -> float:
    if not 0 <= value <= 1:
        raise InputError(f"{name} is {value}", remedy="give a share between 0 and 1")
    return float(value)


def _read(statistic: Weighted, found: Predictions, *, level: float, rng: Seed) -> Estimate:
    """A reading of the curve with a bootstrap interval that keeps the number of positive patients."""
    truth, _ = binary_columns(found)
    note = one_class_note(truth)
    if note:
        return Estimate.undefined(note, n=len(truth), method=statistic.name, level=level)
    drawn = bootstrap(statistic, found, level=level, method="stratified percentile", rng=rng)
    if drawn.low == drawn.high:
        return replace(drawn, low=math.nan, high=math.nan, note="no draw differs from the others")
    return drawn


def _turned(data: Predictions, swap: bool) -> Ladder:
    """The curve, or with `swap` the curve seen from the other class: specificity against 1 - sensitivity."""
    truth, score = binary_columns(data)
    return Ladder(~truth, -score) if swap else Ladder(truth, score)


def _at_specificity(specificity: float, *, swap: bool) -> Weighted:
    def prepare(data: Predictions) -> Prepared:
        ladder, places = _turned(data, swap), np.array([1 - specificity])
        return lambda weights: sensitivity_at(*rates(ladder, weights), places=places)[:, 0]

    return Weighted("ROC reading, stratified bootstrap", prepare)


def _partial(low: float, high: float, *, swap: bool) -> Weighted:
    def prepare(data: Predictions) -> Prepared:
        ladder = _turned(data, swap)

        def area(weights: np.ndarray) -> np.ndarray:
            up, right = rates(ladder, weights)
            return area_up_to(up, right, 1 - low) - area_up_to(up, right, 1 - high)

        return area

    return Weighted("partial area, stratified bootstrap", prepare)


def area_up_to(sensitivity: np.ndarray, alarms: np.ndarray, end: float) -> np.ndarray:
    """(draws,) trapezoidal area under each curve from false-positive rate 0 to `end`."""
    start, stop = np.minimum(alarms[:, :-1], end), np.minimum(alarms[:, 1:], end)
    width, whole = stop - start, alarms[:, 1:] - alarms[:, :-1]
    share = np.divide(width, whole, out=np.zeros_like(width), where=whole > 0)
    last = sensitivity[:, :-1] + share * (sensitivity[:, 1:] - sensitivity[:, :-1])
    return (width * (sensitivity[:, :-1] + last) / 2).sum(axis=1)
