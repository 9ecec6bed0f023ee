"""How well one set of findings matches another: precision, recall and F1 per finding, with intervals by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError
from radfoundry.stats.bootstrap import draw_weights
from radfoundry.stats.proportions import wilson_limits

DRAWS = 2000
MEASURES = ("precision", "recall", "f1")


def finding_scores(
    truth: np.ndarray, said: np.ndarray, names: Sequence[str], *, patient: ArrayLike | None = None, seed: int = 0
) -> dict[str, dict[str, Estimate]]:
    """Finding -> precision, recall and F1; `macro` is the mean over findings that occur, `micro` pools all of them.

    truth, said: `(n, findings)` booleans. Intervals come from drawing patients (rows when none are given) again and
    again; where every draw gives the same (nothing or everything is right), from Wilson's limits for so many patients.
    A measure without cases to count is undefined with the reason. Refuses tables of unequal shape.

    >>> made = finding_scores(np.eye(2, dtype=bool)[[0, 1, 1]], np.eye(2, dtype=bool)[[0, 1, 0]], ["a", "b"])
    >>> round(made["a"]["precision"].value, 2), round(made["macro"]["f1"].value, 2)
    (0.5, 0.67)
    """
    truth, said = _tables(truth, said, names)
    group = np.arange(len(truth)) if patient is None else np.asarray(patient)
    weights = np.vstack([np.ones(len(truth)), draw_weights(group, draws=DRAWS, rng=seed)])
    counts = _counts(truth, said, weights)
    counted = truth.any(axis=0)
    found: dict[str, dict[str, Estimate]] = {}
    people = len(np.unique(group))
    for place, name in enumerate(names):
        found[name] = _each([part[:, place] for part in counts], n=int(truth[:, place].sum()), people=people)
    each = _measures(*counts)
    found["micro"] = _each([part.sum(axis=1) for part in counts], n=int(truth.sum()), people=people)
    found["macro"] = {
        key: _estimate(_mean(value[:, counted]), n=int(counted.sum()), what=key) for key, value in each.items()
    }
    return found


def f1_difference(
    truth: np.ndarray, one: np.ndarray, other: np.ndarray, *, patient: ArrayLike | None = None, seed: int = 0
) -> Estimate:
    """Micro-F1 of one set of answers minus that of another about the same cases, paired by patient.

    >>> truth = np.eye(3, dtype=bool)
    >>> f1_difference(truth, truth, ~truth).value
    1.0
    """
    names = [str(place) for place in range(np.asarray(truth).shape[1])]
    first, second = _tables(truth, one, names), _tables(truth, other, names)
    group = np.arange(len(first[0])) if patient is None else np.asarray(patient)
    weights = np.vstack([np.ones(len(first[0])), draw_weights(group, draws=DRAWS, rng=seed)])
    scores = [_measures(*(part.sum(axis=1) for part in _counts(*pair, weights)))["f1"] for pair in (first, second)]
    return _estimate(scores[0] - scores[1], n=len(np.unique(group)), what="difference of f1")


def mean_count(values: ArrayLike, *, patient: ArrayLike | None = None, seed: int = 0) -> Estimate:
    """The mean of a count per report, drawn by patient."""
    column = np.asarray(values, float)
    group = np.arange(len(column)) if patient is None else np.asarray(patient)
    weights = np.vstack([np.ones(len(column)), draw_weights(group, draws=DRAWS, rng=seed)])
    with np.errstate(invalid="ignore"):
        drawn = weights @ column / weights.sum(axis=1)
    return _estimate(drawn, n=len(column), what="mean")


def _tables(truth: np.ndarray, said: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    one, other = np.asarray(truth, bool), np.asarray(said, bool)
    if one.shape != other.shape or one.ndim != 2 or one.shape[1] != len(names) or len(one) == 0:
        raise InputError(
            f"tables of {one.shape} and {other.shape} for {len(names)} findings", remedy="one row a report in both"
        )
    return one, other


def _counts(truth: np.ndarray, said: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(draws, findings) hits, false alarms and misses."""
    return weights @ (truth & said), weights @ (~truth & said), weights @ (truth & ~said)


def _measures(hits: np.ndarray, alarms: np.ndarray, misses: np.ndarray) -> Mapping[str, np.ndarray]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "precision": hits / (hits + alarms),
            "recall": hits / (hits + misses),
            "f1": 2 * hits / (2 * hits + alarms + misses),
        }


def _each(counts: Sequence[np.ndarray], *, n: int, people: int) -> dict[str, Estimate]:
    """Every measure of the counts (draws,) of hits, false alarms and misses."""
    hits, alarms, misses = (float(part[0]) for part in counts)
    of = {"precision": hits + alarms, "recall": hits + misses, "f1": hits + alarms + misses}
    values = {key: _estimate(value, n=n, what=key) for key, value in _measures(*counts).items()}
    return {
        key: _at_the_edge(value, hits / of[key], min(of[key], people), key) if value.low == value.high else value
        for key, value in values.items()
    }


def _at_the_edge(value: Estimate, share: float, total: float, what: str) -> Estimate:
    """Limits of a share that no draw changes. F1 is 2 J / (1 + J), J the share of hits in all that is true or said."""
    low, high = (float(limit) for limit in wilson_limits(share * total, total))
    if what == "f1":
        low, high = 2 * low / (1 + low), 2 * high / (1 + high)
    return Estimate(value.value, low, high, n=value.n, method="Wilson, by patient: every draw gives the same")


def _mean(columns: np.ndarray) -> np.ndarray:
    """The mean over findings that are defined in a draw."""
    known = ~np.isnan(columns)
    return np.divide(
        np.where(known, columns, 0).sum(axis=1),
        known.sum(axis=1),
        out=np.full(len(columns), np.nan),
        where=known.any(axis=1),
    )


def _estimate(drawn: np.ndarray, *, n: int, what: str) -> Estimate:
    """First row: the value; the others: draws of patients."""
    value, rest = float(drawn[0]), drawn[1:][~np.isnan(drawn[1:])]
    method = "bootstrap by patient, percentile"
    if np.isnan(value):
        return Estimate.undefined(f"no case to count for {what}", n=n, method=method)
    if len(rest) < DRAWS / 2:
        return Estimate(value, n=n, method=method, note="too few cases for an interval")
    low, high = np.quantile(rest, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n=n, method=method)
