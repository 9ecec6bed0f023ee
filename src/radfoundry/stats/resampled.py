"""Doubt that does not come from cases alone: folds that share training data, and seeds of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtr, stdtrit

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.auc import cluster_covariance, placements
from radfoundry.stats.inputs import binary_columns, clusters, finite_numbers, interval_level, one_class_note, same_cases


def resampled_t(differences: ArrayLike, *, test_share: float, level: float = 0.95) -> Estimate:
    """The mean difference between two models over cross-validation runs, with the correction for overlapping training.

    A plain t-test over folds finds differences that are not there, because the training sets overlap.

    Args:
        differences: (runs,) first minus second, one for each fold of each repeat.
        test_share: test cases / training cases in each run (1/9 for ten folds).
        level: confidence level.

    Source: Nadeau & Bengio, Mach Learn 2003;52:239.

    >>> print(resampled_t([0.02, 0.03, 0.01, 0.04, 0.02], test_share=0.25))
    0.02 (0.00-0.05)
    """
    interval_level(level)
    values = finite_numbers(differences, "differences")
    if not test_share > 0:
        raise InputError(f"test_share is {test_share}", remedy="give test cases / training cases, 0.25 for five folds")
    title, runs = "corrected resampled t (Nadeau-Bengio)", len(values)
    mean = float(values.mean()) if runs else math.nan
    if runs < 2:
        return Estimate(mean, level=level, method=title, n=runs, note="fewer than two runs")
    spread = math.sqrt((1 / runs + test_share) * float(values.var(ddof=1)))
    if spread == 0:
        return Estimate(mean, level=level, method=title, n=runs, note="all runs differ alike")
    reach = float(stdtrit(runs - 1, 0.5 + level / 2)) * spread
    p_value = float(2 * stdtr(runs - 1, -abs(mean) / spread))
    note = "p for no difference; n counts runs"
    return Estimate(mean, mean - reach, mean + reach, level=level, method=title, n=runs, note=note, p_value=p_value)


@dataclass(frozen=True)
class SeedAndCases:
    """Two kinds of doubt kept apart.

    `over_cases` is the mean over these seeds with the doubt from cases alone; `over_both` adds the doubt about which
    seeds were drawn, so it speaks of training again. `seed_spread` is the standard deviation of the metric between
    seeds beyond what cases explain, `case_spread` the standard error from cases.
    """

    over_cases: Estimate
    over_both: Estimate
    seed_spread: float
    case_spread: float
    per_seed: np.ndarray


def auroc_over_seeds(seeds: Sequence[Predictions], *, level: float = 0.95) -> SeedAndCases:
    """The AUROC of a training recipe run with several seeds on the same test cases, seed and case variance apart.

    >>> truth = [0, 0, 0, 1, 1, 1]
    >>> runs = [Predictions.of(truth, s) for s in ([1, 2, 4, 3, 5, 6], [1, 3, 5, 2, 4, 6], [2, 1, 4, 3, 6, 5])]
    >>> round(auroc_over_seeds(runs).over_both.value, 3)
    0.815
    """
    if len(seeds) < 2:
        raise InputError(f"{len(seeds)} seeds", remedy="give at least two runs of one recipe")
    for other in seeds[1:]:
        same_cases(seeds[0], other)
    columns = [binary_columns(one) for one in seeds]
    note = one_class_note(columns[0][0])
    if note:
        raise InputError(note, remedy="the test needs cases with and without the finding")
    parts = [placements(*column) for column in columns]
    covariance = cluster_covariance(parts, *clusters(seeds[0].patient))
    return _apart(np.array([part.value for part in parts]), covariance, level=level, n=len(seeds[0]))


def mean_over_seeds(values: ArrayLike, *, patient: ArrayLike | None = None, level: float = 0.95) -> SeedAndCases:
    """The mean of a per-case metric (Dice, error, right or wrong) over seeds, seed and case variance apart.

    Args:
        values: (seeds, cases), finite.
        patient: (cases,) patient names where patients repeat.
        level: confidence level.

    >>> mean_over_seeds([[0.8, 0.9, 0.7], [0.7, 0.9, 0.6]]).over_cases.n
    3
    """
    table = np.asarray(values, float)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise InputError(f"values of shape {table.shape}", remedy="give a finite (seeds, cases) table, both at least 2")
    group, count = clusters(np.arange(table.shape[1]) if patient is None else patient)
    means = table.mean(axis=1)
    residual = np.stack([np.bincount(group, row, count) for row in table - means[:, None]])
    covariance = residual @ residual.T * count / (count - 1) / table.shape[1] ** 2
    return _apart(means, covariance, level=level, n=table.shape[1])


def _apart(values: np.ndarray, covariance: np.ndarray, *, level: float, n: int) -> SeedAndCases:
    """Split the doubt: the metric's variance between seeds holds case noise that is not shared by the seeds.

    With S seeds, E[sample variance of the seeds' values] = seed variance + (mean variance - mean covariance of the
    case error); what is left after subtracting the second is the seed part, cut at 0.
    """
    interval_level(level)
    seeds, mean = len(values), float(values.mean())
    shared = float((covariance.sum() - np.trace(covariance)) / (seeds * (seeds - 1)))
    own = float(np.trace(covariance)) / seeds - shared
    between = float(values.var(ddof=1))
    of_seed = max(between - own, 0.0)
    of_cases = max(float(covariance.mean()), 0.0)
    z = float(ndtri(0.5 + level / 2))
    reach = z * math.sqrt(of_cases)
    over_cases = Estimate(
        mean, mean - reach, mean + reach, level=level, method=f"these {seeds} seeds, cases drawn anew", n=n
    )
    total = of_cases + of_seed / seeds
    # Few seeds know their own variance badly: Satterthwaite's degrees of freedom, seeds carrying S - 1 of them.
    freedom = max((seeds - 1) * (total * seeds / of_seed) ** 2, seeds - 1) if of_seed > 0 else math.inf
    wide = (z if math.isinf(freedom) else float(stdtrit(freedom, 0.5 + level / 2))) * math.sqrt(total)
    share = of_seed / seeds / total if total > 0 else 0.0
    over_both = Estimate(
        mean,
        mean - wide,
        mean + wide,
        level=level,
        method=f"{seeds} seeds and cases drawn anew",
        n=n,
        note=f"seeds make {share:.0%} of the variance; one more training varies by {math.sqrt(of_seed):.3f} (SD)",
    )
    return SeedAndCases(over_cases, over_both, math.sqrt(of_seed), math.sqrt(of_cases), values)
