"""The question `retrieve`: which report belongs to this study, and which study to this report?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from radfoundry.records import Estimate, InputError, Task
from radfoundry.stats import bootstrap, retrieval
from radfoundry.tasks.in_words import KIND, Asked

NEAREST = (1, 5, 10)
LEAST = 20
MEDIAN_DRAWS = 1000


def build() -> Task:
    """Which report belongs to which study: recall among all reports of the unseen studies, with what guessing gives."""
    return Task("retrieve", "reports", KIND, metrics=("recall@10",), about="Which report belongs to this study?")


@dataclass(frozen=True, eq=False)
class Found:
    """Metrics with intervals, and one value per study for those that can be compared in pairs."""

    metrics: Mapping[str, Estimate]
    rows: Mapping[str, np.ndarray]
    patient: np.ndarray


def measure(asked: Asked, *, seed: int = 0) -> Found:
    """Recall at 1, 5 and 10 of the own report among all, and of the own study among all; ranks; ties by lot.

    `recall@10-over-chance` is recall in units of guessing. `within-region` is how often the own report is nearer than
    one of another study of the same region (0.5 for guessing), where regions are known. Refuses fewer than 20 studies.
    """
    if len(asked) < LEAST:
        raise InputError(f"{len(asked)} studies are too few to search among", remedy=f"at least {LEAST}")
    likeness = (asked.seen @ asked.model.said(asked.texts).T).numpy()
    rows = {f"recall@{nearest}": retrieval.hits(likeness, nearest=nearest) for nearest in NEAREST}
    rows["report-to-study-recall@10"] = retrieval.hits(likeness.T, nearest=10)
    found = {name: retrieval.recall(hit, asked.patient, name=name) for name, hit in rows.items()}
    found["recall@10-over-chance"] = retrieval.over_chance(found["recall@10"], nearest=10)
    found["median-rank"] = _median(retrieval.ranks(likeness), seed=seed)
    if asked.region is not None:
        within = nearer_within(likeness, asked.region)
        known = ~np.isnan(within)
        rows["within-region"] = np.where(known, within, 0.5)
        found["within-region"] = retrieval.mean_of(within[known], asked.patient[known], rng=seed)
    return Found(found, rows, asked.patient)


def nearer_within(likeness: np.ndarray, region: np.ndarray) -> np.ndarray:
    """`(N,)` share of the other reports of the same region that are further away than the own one; NaN if alone.

    >>> nearer_within(np.eye(3), np.array(["a", "a", "b"])).tolist()
    [1.0, 1.0, nan]
    """
    shares = []
    for row, name in enumerate(region):
        others = [place for place in np.flatnonzero(region == name) if place != row]
        gap = likeness[row, row] - likeness[row, others]
        beaten = (gap > retrieval.TIE).sum() + (np.abs(gap) <= retrieval.TIE).sum() / 2
        shares.append(float(beaten) / len(others) if others else np.nan)
    return np.array(shares)


def difference(first: Found, second: Found, *, seed: int = 0) -> dict[str, Estimate]:
    """How much more often the first model finds, study by study."""
    return {
        name: retrieval.difference(values, second.rows[name], first.patient, rng=seed)
        for name, values in first.rows.items()
        if name in second.rows
    }


def _median(ranks: np.ndarray, *, seed: int) -> Estimate:
    weights = bootstrap.draw_weights(np.arange(len(ranks)), draws=MEDIAN_DRAWS, rng=seed).astype(int)
    drawn = [float(np.median(np.repeat(ranks, row))) for row in weights]
    low, high = np.quantile(drawn, [0.025, 0.975])
    method = f"bootstrap, percentile, {MEDIAN_DRAWS} draws"
    return Estimate(float(np.median(ranks)), float(low), float(high), method=method, n=len(ranks))
