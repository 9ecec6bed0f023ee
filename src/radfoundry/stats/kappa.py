"""Kappa: agreement on categories beyond chance, for two readers (weighted or not) and for many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from radfoundry.records import Estimate, InputError
from radfoundry.stats.influence import from_influence, limits
from radfoundry.stats.inputs import choice, clusters
from radfoundry.stats.proportions import proportion

WEIGHTS = ("none", "linear", "quadratic")


def cohen_kappa(
    first: ArrayLike,
    second: ArrayLike,
    *,
    weights: str = "none",
    labels: Sequence[Any] | None = None,
    patient: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Agreement of two readers on categories beyond what chance would give: 1 is perfect, 0 is chance.

    Args:
        first, second: (n,) categories given by two readers.
        weights: "none" counts agreement alone; "linear" and "quadratic" give partial credit to near misses on an
            ordered scale.
        labels: the categories in their order; by default all that occur, sorted. Unused ones change the weights.
        patient: (n,) names; findings of one patient are not treated as independent.
        level: confidence level.

    The interval uses the large-sample error on the Fisher scale after one or two extra items are spread over the
    table: without them rare categories and high agreement give intervals that are far too short (see the coverage
    table in the documentation). Undefined (NaN) when both readers use one and the same category throughout.

    Source: Cohen 1960, 1968; standard error: Fleiss, Cohen & Everitt 1969, Psychol Bull 72:323.

    >>> print(cohen_kappa([1, 1, 2, 2, 3, 3, 1, 2], [1, 1, 2, 3, 3, 3, 1, 1]))
    0.63 (-0.23 to 0.87)
    """
    one, two, count = _coded(first, second, labels)
    credit = _credit(count, choice(weights, WEIGHTS, "weights"))
    method = "Cohen's kappa" if weights == "none" else f"weighted kappa ({weights})"
    n = len(one)
    table = np.zeros((count, count))
    np.add.at(table, (one, two), 1.0)
    if n < 2 or np.count_nonzero(table.sum(axis=0) + table.sum(axis=1)) < 2:
        reason = "fewer than two rated items" if n < 2 else "both readers used one category throughout"
        return Estimate.undefined(reason, n=n, method=method, level=level)
    value, _ = _kappa_and_influence(table, credit)
    extra = _extra_items(table, weighted=weights != "none")
    centre, influence = _kappa_and_influence(table + extra, credit)
    moved = influence[one, two]
    group, patients = (np.arange(n), n) if patient is None else clusters(patient)
    if patients < 2:
        return Estimate(value, level=level, method=method, n=n, note="no interval: one patient")
    squares = float((np.bincount(group, moved) ** 2).sum()) + float((extra * influence**2).sum())
    error = math.sqrt(squares / (n * (n + extra.sum())) * patients / (patients - 1))
    low, high = limits(centre, error, level=level, scale="fisher", degrees=patients - 1)
    note = "" if patient is None else f"{patients} patients"
    return Estimate(value, min(low, value), max(high, value), level, method, n, note)


def _extra_items(table: np.ndarray, *, weighted: bool) -> np.ndarray:
    """What is added to the table before its error is taken, found by simulation of coverage.

    Unweighted: two items spread evenly. Weighted: one item spread as chance would, because an even spread puts
    disagreements where ordered scales never have them and doubles the interval.
    """
    count = len(table)
    if not weighted:
        return np.full((count, count), 2 / count**2)
    rows, columns = (table.sum(axis=axis) + 0.5 for axis in (1, 0))
    return np.outer(rows / rows.sum(), columns / columns.sum())


def kappa_error(table: ArrayLike, *, weights: str = "none") -> tuple[float, float]:
    """Kappa of a square table of counts and its published large-sample standard error.

    Source: Fleiss, Cohen & Everitt 1969, equation 13 (unweighted) and 26 (weighted).

    >>> [round(number, 3) for number in kappa_error([[106, 10, 4], [22, 28, 10], [2, 12, 6]])]
    [0.429, 0.054]
    """
    counts = np.asarray(table, float)
    value, influence = _kappa_and_influence(counts, _credit(len(counts), choice(weights, WEIGHTS, "weights")))
    return value, math.sqrt(float((counts * influence**2).sum())) / float(counts.sum())


def _kappa_and_influence(table: np.ndarray, credit: np.ndarray) -> tuple[float, np.ndarray]:
    """Kappa of a table of (weighted) counts, and how much an item in each cell would move it, times the items."""
    shares = table / table.sum()
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    observed, chance = float((shares * credit).sum()), float(rows @ credit @ columns)
    value = (observed - chance) / (1 - chance)
    expected = (credit @ columns)[:, None] + (rows @ credit)[None, :]
    return value, (credit - observed - (1 - value) * (expected - 2 * chance)) / (1 - chance)


def _coded(first: ArrayLike, second: ArrayLike, labels: Sequence[Any] | None) -> tuple[np.ndarray, np.ndarray, int]:
    """Both readers' categories as numbers 0..count-1 in the order of the labels."""
    one, two = np.asarray(first), np.asarray(second)
    if one.ndim != 1 or one.shape != two.shape:
        raise InputError(f"ratings have shapes {one.shape} and {two.shape}", remedy="give one category an item each")
    known = list(labels) if labels is not None else np.unique(np.concatenate([one, two])).tolist()
    place = {label: index for index, label in enumerate(known)}
    unknown = sorted({str(value) for value in [*one.tolist(), *two.tolist()] if value not in place})
    if unknown:
        raise InputError(f"categories {', '.join(unknown)} are not among the labels", remedy="name every category")
    return np.array([place[v] for v in one.tolist()]), np.array([place[v] for v in two.tolist()]), len(known)


def _credit(count: int, weights: str) -> np.ndarray:
    """(count, count) credit for each pair of categories, 1 on the diagonal."""
    if weights == "none" or count < 2:
        return np.eye(count)
    apart = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) / (count - 1)
    return 1 - (apart if weights == "linear" else apart**2)


def fleiss_kappa(
    ratings: ArrayLike, *, counts: bool = False, patient: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """Agreement of many readers on unordered categories beyond chance.

    Args:
        ratings: (items, readers) categories, or with `counts` (items, categories) how many readers chose each.
            Every item needs the same number of readers, at least two.
        counts: whether the table holds counts.
        patient: (items,) names; items of one patient are not treated as independent.
        level: confidence level.

    The interval treats items as the sample (infinitesimal jackknife); the p-value is for "no agreement beyond
    chance" with the null error of Fleiss, Nee & Landis 1979. Undefined (NaN) when only one category occurs.

    Source: Fleiss 1971, Psychol Bull 76:378.

    >>> print(fleiss_kappa([[3, 0], [0, 3], [2, 1], [3, 0]], counts=True))
    0.63 (-0.64 to 1.89)
    """
    table = _counted(ratings, counts)
    items, readers = len(table), int(table[0].sum())
    method = f"Fleiss' kappa of {readers} readers"
    shares = table.sum(axis=0) / table.sum()
    chance = float((shares**2).sum())
    if items < 2 or math.isclose(chance, 1.0):
        reason = "fewer than two items" if items < 2 else "only one category occurs"
        return Estimate.undefined(reason, n=items, method=method, level=level)
    agreement = ((table**2).sum(axis=1) - readers) / (readers * (readers - 1))
    value = float((agreement.mean() - chance) / (1 - chance))
    moved = 2 * (table / readers - shares) @ shares
    influence = (agreement - agreement.mean() - (1 - value) * moved) / (1 - chance) / items
    found = from_influence(value, influence, patient=patient, level=level, method=method)
    if patient is not None:
        return found
    odds = shares * (1 - shares)
    null = 2 / (items * readers * (readers - 1)) * (odds.sum() ** 2 - (odds * (1 - 2 * shares)).sum())
    p_value = 2 * float(ndtr(-abs(value) * odds.sum() / math.sqrt(null)))
    return Estimate(value, found.low, found.high, level, method, items, found.note, p_value)


def _counted(ratings: ArrayLike, counts: bool) -> np.ndarray:
    table = np.asarray(ratings)
    if table.ndim != 2 or table.shape[1] < 2 or len(table) == 0:
        raise InputError(f"ratings have shape {table.shape}", remedy="give (items, readers) or (items, categories)")
    if not counts:
        names, codes = np.unique(table, return_inverse=True)
        codes = codes.reshape(table.shape)
        return np.stack([(codes == code).sum(axis=1) for code in range(len(names))], axis=1).astype(float)
    table = table.astype(float)
    readers = table.sum(axis=1)
    if (table < 0).any() or (readers != readers[0]).any() or readers[0] < 2:
        raise InputError("items have different numbers of readers", remedy="give the same two or more readers each")
    return table


def category_agreement(
    first: ArrayLike, second: ArrayLike, *, patient: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """The plain share of items on which two readers agree; read beside kappa, which depends on prevalence.

    Wilson interval, or a clustered one on the logit scale when patients are named.

    >>> print(category_agreement(["a", "b", "b", "a"], ["a", "b", "a", "a"]))
    0.75 (0.30-0.95)
    """
    one, two, _ = _coded(first, second, None)
    same = one == two
    if patient is None:
        return proportion(int(same.sum()), len(same), level=level)
    influence = (same - same.mean()) / len(same)
    return from_influence(
        float(same.mean()), influence, patient=patient, level=level, scale="logit", method="observed agreement"
    )
