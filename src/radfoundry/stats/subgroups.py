"""Does it work for everybody: the same measures by site, age band, sex or scanner, with the power to tell stated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.auc import auroc, auroc_difference
from radfoundry.stats.comparisons import mean_difference
from radfoundry.stats.inputs import binary_columns, clusters, finite_numbers, interval_level
from radfoundry.stats.multiplicity import adjust
from radfoundry.stats.proportions import clustered_proportion

POWER = 0.8


@dataclass(frozen=True)
class Subgroup:
    """One group of one factor: how well the model does there, and how that differs from everybody else.

    `difference` is the group's AUROC minus that of all other rows, with the p-value adjusted (Holm) over every row of
    the table; `detectable` is the smallest true difference this group could show with 80 % power. `calibration` is
    the observed share minus the mean probability (undefined when scores are no probabilities). `verdict` is one of
    "too few to say", "no difference seen" or "differs".
    """

    factor: str
    group: str
    n: int
    patients: int
    positives: int
    auroc: Estimate
    sensitivity: Estimate
    specificity: Estimate
    calibration: Estimate
    difference: Estimate
    detectable: float
    verdict: str


def age_bands(age_years: ArrayLike, borders: ArrayLike = (40, 60, 75)) -> np.ndarray:
    """(n,) names of age bands; a border belongs to the band above it; NaN becomes "unknown".

    >>> age_bands([30, 60, 80]).tolist()
    ['<40', '60-74', '>=75']
    """
    ages, edges = np.asarray(age_years, float), [f"{edge:g}" for edge in np.asarray(borders, float)]
    upper = [f"{edge - 1:g}" for edge in np.asarray(borders, float)]
    inner = [f"{low}-{high}" for low, high in zip(edges[:-1], upper[1:], strict=True)]
    names = np.array([f"<{edges[0]}", *inner, f">={edges[-1]}", "unknown"], dtype=object)
    place = np.where(np.isnan(ages), len(names) - 1, np.searchsorted(np.asarray(borders, float), ages, side="right"))
    return names[place].astype(str)


def age_quarters(age_years: ArrayLike) -> np.ndarray:
    """(n,) the quarter of these very patients by age, named `youngest`, `younger`, `older`, `oldest`; NaN "unknown".

    Patients of the same age are in the same quarter.

    >>> age_quarters([30, 45, 60, 75]).tolist()
    ['youngest', 'younger', 'older', 'oldest']
    """
    ages = np.asarray(age_years, float)
    known = ages[~np.isnan(ages)]
    borders = np.quantile(known, [0.25, 0.5, 0.75]) if len(known) else np.zeros(3)
    names = np.array(["youngest", "younger", "older", "oldest", "unknown"], dtype=object)
    return names[np.where(np.isnan(ages), 4, np.searchsorted(borders, ages, side="left"))].astype(str)


def subgroup_table(
    data: Predictions,
    factors: Mapping[str, ArrayLike],
    *,
    threshold: float = 0.5,
    level: float = 0.95,
    worth_knowing: float = 0.1,
) -> list[Subgroup]:
    """The model's measures in every group of every factor, each against all other rows, adjusted for many looks.

    Args:
        data: predictions with targets 0/1.
        factors: name of a factor -> (n,) group of each row, for example {"sex": [...], "site": [...]}; missing
            values should be named ("unknown"), they are a group like any other.
        threshold: cut-off of sensitivity and specificity.
        level: confidence level.
        worth_knowing: an AUROC difference one would want to see; a group that could not show it with 80 % power, and
            shows nothing else, gets "too few to say", which is a result and not an all-clear.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 2, 400)
    >>> table = subgroup_table(Predictions.of(truth, truth + rng.normal(size=400)), {"sex": ["F", "M"] * 200})
    >>> [row.group for row in table], table[0].verdict
    (['F', 'M'], 'too few to say')
    """
    interval_level(level)
    truth, _ = binary_columns(data)
    rows = []
    for factor, column in factors.items():
        groups = np.asarray(column).astype(str)
        if len(groups) != len(truth):
            raise InputError(f"factor {factor} has {len(groups)} rows, predictions {len(truth)}", remedy="one per row")
        rows += [
            _one_group(data, factor, str(name), groups == name, threshold=threshold, level=level)
            for name in np.unique(groups)
        ]
    raw = [math.nan if row.difference.p_value is None else row.difference.p_value for row in rows]
    adjusted = adjust(raw, method="holm")
    asked = int((~np.isnan(adjusted)).sum())
    return [_judged(row, float(p), asked, level, worth_knowing) for row, p in zip(rows, adjusted, strict=True)]


def _one_group(
    data: Predictions, factor: str, name: str, inside: np.ndarray, *, threshold: float, level: float
) -> Subgroup:
    """Measures of the rows inside, and their AUROC against that of the rows outside."""
    group, others = data.take(inside), data.take(~inside)
    truth, score = binary_columns(group)
    called = score >= threshold
    shares = []
    for part, hit, reason in ((truth, called, "no positive case"), (~truth, ~called, "no negative case")):
        known = part.any()
        shares.append(
            clustered_proportion(hit[part], group.patient[part], level=level)
            if known
            else Estimate.undefined(reason, method="Wilson", level=level)
        )
    if len(others):
        difference = _difference(group, others, level=level)
    else:
        difference = Estimate.undefined("no rows outside this group", n=len(data), level=level)
    spread = (difference.high - difference.low) / (2 * _reach(level)) if difference.defined else math.nan
    detectable = float(spread * (ndtri(0.975) + ndtri(POWER)))
    return Subgroup(
        factor,
        name,
        len(group),
        clusters(group.patient)[1],
        int(truth.sum()),
        auroc(group, level=level),
        shares[0],
        shares[1],
        _calibration(truth, score, group.patient, level=level),
        difference,
        detectable,
        "",
    )


def _reach(level: float) -> float:
    return float(ndtri(0.5 + level / 2))


def _difference(group: Predictions, others: Predictions, *, level: float) -> Estimate:
    """Unpaired; a patient with rows on both sides (two scanners) is usually read alike there, so this is cautious."""
    shared = len(np.intersect1d(group.patient, others.patient))
    difference = auroc_difference(group, others, level=level, paired=False)
    if shared and difference.defined:
        note = f"{difference.note}; {shared} patients are on both sides and are treated as different ones"
        return replace(difference, note=note)
    return difference


def _calibration(truth: np.ndarray, score: np.ndarray, patient: np.ndarray, *, level: float) -> Estimate:
    values = finite_numbers(score, "score")
    if ((values < 0) | (values > 1)).any():
        return Estimate.undefined("scores are no probabilities", n=len(truth), level=level)
    estimate = mean_difference(truth.astype(float), values, patient=patient, level=level)
    return replace(estimate, method="observed share minus mean probability")


def _judged(row: Subgroup, p_value: float, asked: int, level: float, worth_knowing: float) -> Subgroup:
    """The row with its adjusted p-value and its verdict in words."""
    if math.isnan(p_value):
        return replace(row, verdict="too few to say")
    note = f"{row.difference.note}; Holm over {asked}, unadjusted {row.difference.p_value:.3g}"
    difference = replace(row.difference, p_value=p_value, note=note)
    if p_value < 1 - level:
        verdict = "differs"
    elif row.detectable > worth_knowing:
        verdict = "too few to say"
    else:
        verdict = "no difference seen"
    return replace(row, difference=difference, verdict=verdict)
