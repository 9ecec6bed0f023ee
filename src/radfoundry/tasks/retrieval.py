"""The question `retrieve`: which report belongs to this study, and which study to this report?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from radfoundry.records import Estimate, InputError, Predictions, Task, counted
from radfoundry.stats import bootstrap, retrieval
from radfoundry.stats.bootstrap import Weighted
from radfoundry.tasks.in_words import KIND, Asked

NEAREST = (1, 5, 10)
LEAST = 20
MEDIAN_DRAWS = 1000
PAIR_DRAWS = 300
EMPTY = Predictions.of([0], [0.0])


def build() -> Task:
    """Which report belongs to which study: recall among all reports of the unseen studies, with what guessing gives."""
    return Task("retrieve", "reports", KIND, metrics=("recall@10",), about="Which report belongs to this study?")


@dataclass(frozen=True, eq=False)
class Found:
    """Metrics with intervals, and one value per study for those that can be compared in pairs."""

    metrics: Mapping[str, Estimate]
    rows: Mapping[str, np.ndarray]
    patient: np.ndarray
    pairs: Mapping[str, np.ndarray] = field(default_factory=dict)


def measure(asked: Asked, *, seed: int = 0) -> Found:
    """Recall at 1, 5 and 10 of the own report among all, and of the own study among all; ranks; ties by lot.

    `recall@10-over-chance` is recall in units of guessing. `within-region` is how often the own report is nearer than
    one of another study of the same region (0.5 for guessing), where regions are known. `finding-likeness` is
    Spearman's correlation, over pairs of studies, between the likeness of their images and the findings they share.
    Refuses fewer than 20 studies.
    """
    if len(asked) < LEAST:
        raise InputError(
            f"{counted(len(asked), 'study is', 'studies are')} too few to search among", remedy=f"at least {LEAST}"
        )
    likeness = (asked.seen @ asked.model.said(asked.texts).T).numpy()
    rows = {f"recall@{nearest}": retrieval.hits(likeness, nearest=nearest) for nearest in NEAREST}
    rows["report-to-study-recall@10"] = retrieval.hits(likeness.T, nearest=10)
    found = {name: retrieval.recall(hit, asked.patient, name=name) for name, hit in rows.items()}
    for nearest in NEAREST:
        found[f"recall@{nearest}-over-chance"] = retrieval.over_chance(found[f"recall@{nearest}"], nearest=nearest)
    found["median-rank"] = _median(retrieval.ranks(likeness), seed=seed)
    if asked.region is not None:
        within = nearer_within(likeness, asked.region)
        known = ~np.isnan(within)
        rows["within-region"] = np.where(known, within, 0.5)
        found["within-region"] = retrieval.mean_of(within[known], asked.patient[known], rng=seed)
    pairs = {}
    if asked.findings:
        pairs["finding-likeness"] = pair_ranks(asked.seen.numpy(), np.stack(list(asked.findings.values()), axis=1))
        found["finding-likeness"] = _correlated(pairs["finding-likeness"], asked.patient, seed=seed)
    return Found(found, rows, asked.patient, pairs)


def pair_ranks(seen: np.ndarray, findings: np.ndarray) -> np.ndarray:
    """`(2, N, N)` centred ranks of every pair of studies: likeness of their images, and of their findings (Jaccard).

    Two studies without any finding are fully alike; a study with itself has rank 0 in both and counts for nothing.
    """
    from scipy.stats import rankdata

    here = np.nan_to_num(findings)
    both, either = here @ here.T, here.sum(axis=1)
    either = either[:, None] + either[None] - both
    shared = np.where(either > 0, both / np.maximum(either, 1), 1.0)
    upper = np.triu_indices(len(here), 1)
    tables = np.zeros((2, len(here), len(here)))
    for table, values in zip(tables, (seen @ seen.T, shared), strict=True):
        ranks = rankdata(values[upper])
        table[upper] = (ranks - ranks.mean()) / max(float(ranks.std()), 1e-12)
    return tables


def _correlation(tables: np.ndarray) -> Weighted:
    """Spearman's correlation over pairs, a pair weighing as its two studies do together; ranks stay those of all."""

    def of(weights: np.ndarray) -> np.ndarray:
        first, second = tables
        sums = [
            np.einsum("di,ij,dj->d", weights, table, weights, optimize=True)
            for table in (first * second, first, second, first**2, second**2, np.triu(np.ones_like(first), 1))
        ]
        cross, one, two, one_squared, two_squared, count = sums
        top = cross - one * two / count
        return top / np.sqrt((one_squared - one**2 / count) * (two_squared - two**2 / count))

    return Weighted("Spearman over pairs of studies", lambda _: of)


def _correlated(tables: np.ndarray, patient: np.ndarray, *, seed: int) -> Estimate:
    data = Predictions.of(np.zeros(len(patient), int), np.zeros(len(patient)), patient=patient)
    return bootstrap.bootstrap(_correlation(tables), data, rng=seed, draws=PAIR_DRAWS, method="percentile")


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
    found = {
        name: retrieval.difference(values, second.rows[name], first.patient, rng=seed)
        for name, values in first.rows.items()
        if name in second.rows
    }
    for name, tables in first.pairs.items():
        one, other = _correlation(tables).prepare(EMPTY), _correlation(second.pairs[name]).prepare(EMPTY)
        gap = Weighted("difference of correlations", lambda _, one=one, other=other: lambda w: one(w) - other(w))
        data = Predictions.of(np.zeros(len(first.patient), int), np.zeros(len(first.patient)), patient=first.patient)
        found[name] = bootstrap.bootstrap(gap, data, rng=seed, draws=PAIR_DRAWS, method="percentile")
    return found


def _median(ranks: np.ndarray, *, seed: int) -> Estimate:
    weights = bootstrap.draw_weights(np.arange(len(ranks)), draws=MEDIAN_DRAWS, rng=seed).astype(int)
    drawn = [float(np.median(np.repeat(ranks, row))) for row in weights]
    low, high = np.quantile(drawn, [0.025, 0.975])
    method = f"bootstrap, percentile, {MEDIAN_DRAWS} draws"
    return Estimate(float(np.median(ranks)), float(low), float(high), method=method, n=len(ranks))
