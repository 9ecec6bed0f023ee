"""Has the data changed? Tests for columns and embeddings that together keep to a stated budget of false alarms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, kolmogorov

from radfoundry.records import Estimate, InputError
from radfoundry.stats.drift_kernels import classifier_test, mmd_test
from radfoundry.stats.inputs import Seed, finite_numbers, generator, interval_level
from radfoundry.stats.multiplicity import adjust


@dataclass(frozen=True)
class DriftFinding:
    """One column or embedding: its test, how far it moved, the adjusted p-value, and whether that is an alarm."""

    name: str
    test: Estimate
    adjusted_p: float
    alarm: bool
    about: str


@dataclass(frozen=True)
class DriftReport:
    """All findings of one look, and the budget kept: `alpha` is the chance of any false alarm in this look."""

    findings: tuple[DriftFinding, ...]
    alpha: float
    budget: str

    @property
    def alarms(self) -> tuple[str, ...]:
        """Names of what has drifted."""
        return tuple(item.name for item in self.findings if item.alarm)


def ks_test(reference: ArrayLike, current: ArrayLike) -> Estimate:
    """The largest gap between two cumulative distributions of a number (Kolmogorov-Smirnov), with its p-value.

    Exact for up to 10,000 pairs without ties, asymptotic above or with ties.

    >>> round(ks_test([1, 2, 3, 4], [5, 6, 7, 8]).value, 2)
    1.0
    """
    one, other = np.sort(finite_numbers(reference, "reference")), np.sort(finite_numbers(current, "current"))
    m, n = len(one), len(other)
    if min(m, n) == 0:
        return Estimate.undefined("one side has no values", n=m + n, method="Kolmogorov-Smirnov")
    grid = np.concatenate([one, other])
    gap = np.abs(np.searchsorted(one, grid, "right") / m - np.searchsorted(other, grid, "right") / n)
    value = float(gap.max())
    tied = len(np.unique(grid)) < m + n
    exact = m * n <= 10_000 and not tied
    p_value = _ks_exact(value, m, n) if exact else float(kolmogorov(value * math.sqrt(m * n / (m + n))))
    note = f"{'exact' if exact else 'asymptotic'} p for one distribution; a test statistic, so without interval"
    return Estimate(value, method="Kolmogorov-Smirnov", n=m + n, note=note, p_value=min(p_value, 1.0))


def _ks_exact(value: float, m: int, n: int) -> float:
    """The share of orderings of both samples whose gap reaches the value, counted along all lattice paths."""
    row = np.zeros(n + 1)
    limit = value - 1e-9
    for i in range(m + 1):
        # Outside the band a path has already reached the gap; `row` is the chance of staying inside.
        inside = np.abs(i / m - np.arange(n + 1) / n) < limit
        fresh = np.zeros(n + 1)
        for j in range(n + 1):
            if not inside[j]:
                continue
            if i == 0 and j == 0:
                fresh[j] = 1.0
                continue
            left, steps = m - i, n - j
            from_one = row[j] * (left + 1) / (left + 1 + steps) if i else 0.0
            from_other = fresh[j - 1] * (steps + 1) / (left + steps + 1) if j else 0.0
            fresh[j] = from_one + from_other
        row = fresh
    return 1.0 - float(row[n])


def chi2_test(reference: ArrayLike, current: ArrayLike) -> Estimate:
    """Whether the shares of categories changed; the value is Cramér's V (0 alike, 1 disjoint), with its p-value.

    Categories expected fewer than five times on the smaller side are joined to "rare", so that the chi-squared
    distribution holds.

    >>> chi2_test(["GE"] * 30 + ["Siemens"] * 30, ["GE"] * 30 + ["Siemens"] * 30).p_value
    1.0
    """
    one, other = np.asarray(reference).astype(str), np.asarray(current).astype(str)
    if min(len(one), len(other)) == 0:
        return Estimate.undefined("one side has no values", n=len(one) + len(other), method="chi-squared")
    names = np.unique(np.concatenate([one, other]))
    table = np.stack([[np.count_nonzero(side == name) for name in names] for side in (one, other)]).astype(float)
    expected = table.sum(axis=0) * min(len(one), len(other)) / table.sum()
    rare = expected < 5
    if rare.any():
        joined = table[:, rare].sum(axis=1, keepdims=True)
        table = np.concatenate([table[:, ~rare], joined], axis=1)
    return chi2_table(table)


def chi2_table(counts: ArrayLike) -> Estimate:
    """Pearson's chi-squared for a (sides, categories) table of counts, as Cramér's V with its p-value."""
    table = np.asarray(counts, dtype=float)
    table = table[:, table.sum(axis=0) > 0]
    total = float(table.sum())
    if table.shape[1] < 2:
        note = "one common category (after joining rare ones)"
        return Estimate(0.0, method="chi-squared, Cramér's V", n=int(total), note=note, p_value=1.0)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    statistic = float(((table - expected) ** 2 / expected).sum())
    df = (table.shape[0] - 1) * (table.shape[1] - 1)
    strength = math.sqrt(statistic / (total * min(table.shape[0] - 1, table.shape[1] - 1)))
    note = f"chi-squared {statistic:.2f} with {df} df; p for the same shares; without interval"
    p_value = float(chdtrc(df, statistic))
    return Estimate(strength, method="chi-squared, Cramér's V", n=int(total), note=note, p_value=p_value)


def drift_report(
    reference: Mapping[str, ArrayLike],
    current: Mapping[str, ArrayLike],
    *,
    false_alarms_per_year: float = 1.0,
    looks_per_year: float = 12.0,
    embeddings: tuple[ArrayLike, ArrayLike] | None = None,
    rng: Seed = 0,
) -> DriftReport:
    """Compare a new period with a stable one, column by column, keeping to a yearly budget of false alarms.

    Numbers are tested by Kolmogorov-Smirnov, text and booleans by chi-squared, embeddings by MMD and a classifier.
    All p-values of one look are adjusted (Holm), so that the chance of any false alarm per look is the budget divided
    by the looks. Columns are compared row by row: give one row per patient.

    Args:
        reference, current: column name -> values of the stable and of the new period.
        false_alarms_per_year, looks_per_year: the budget, for example 1 false alarm in 12 monthly looks.
        embeddings: (n, width) arrays of the stable and of the new period.
        rng: seed or generator of the permutation tests.
    """
    alpha = false_alarms_per_year / looks_per_year if looks_per_year > 0 else math.nan
    if not 0 < alpha < 1:
        raise InputError(
            f"{false_alarms_per_year} false alarms in {looks_per_year} looks", remedy="allow less than 1 per look"
        )
    missing = sorted(set(reference) ^ set(current))
    if missing:
        raise InputError(f"columns differ: {', '.join(missing)}", remedy="give the same columns for both periods")
    tests = {name: _column_test(name, reference[name], current[name]) for name in reference}
    if embeddings is not None:
        source = generator(rng)
        # A permutation p-value cannot fall below 1/(permutations + 1): make it small enough to survive adjustment.
        count = max(500, math.ceil(2 * (len(tests) + 2) / alpha))
        tests["embeddings (MMD)"] = mmd_test(*embeddings, permutations=count, rng=source)
        tests["embeddings (classifier)"] = classifier_test(*embeddings, permutations=count, rng=source)
    interval_level(1 - alpha)
    raw = [math.nan if test.p_value is None else test.p_value for test in tests.values()]
    findings = tuple(
        DriftFinding(name, test, float(p_value), bool(p_value <= alpha), _shift(reference, current, name))
        for (name, test), p_value in zip(tests.items(), adjust(raw) if raw else [], strict=True)
    )
    budget = f"{false_alarms_per_year:g} false alarms per year in {looks_per_year:g} looks: {alpha:.3g} per look"
    return DriftReport(findings, alpha, budget)


def _column_test(name: str, reference: ArrayLike, current: ArrayLike) -> Estimate:
    one, other = np.asarray(reference), np.asarray(current)
    numbers = one.dtype.kind in "iuf" and other.dtype.kind in "iuf"
    if not numbers:
        return chi2_test(one, other)
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise InputError(
            "missing numbers", where=f"column {name}", remedy="drop them, and chart their share as a column"
        )
    return ks_test(one, other)


def _shift(reference: Mapping[str, ArrayLike], current: Mapping[str, ArrayLike], name: str) -> str:
    """What moved, in words: medians of numbers, the category whose share changed most."""
    if name not in reference:
        return ""
    one, other = np.asarray(reference[name]), np.asarray(current[name])
    if min(len(one), len(other)) == 0:
        return "no values on one side"
    if one.dtype.kind in "iuf" and other.dtype.kind in "iuf":
        return f"median {np.median(one):.4g} -> {np.median(other):.4g}"
    names = np.unique(np.concatenate([one.astype(str), other.astype(str)]))
    shares = np.array([[np.mean(side.astype(str) == item) for item in names] for side in (one, other)])
    most = int(np.abs(shares[1] - shares[0]).argmax())
    return f"{names[most]} {shares[0, most]:.0%} -> {shares[1, most]:.0%}"
