"""Is the difference more than chance: tests for pairs and for two groups, each with an effect size and an interval."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, ndtr, ndtri, stdtrit

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.auc import auroc
from radfoundry.stats.bootstrap import Statistic
from radfoundry.stats.inputs import (
    Seed,
    at_least,
    choice,
    clusters,
    finite_numbers,
    generator,
    interval_level,
    same_cases,
    true_or_false,
)

EXACT_PATIENTS = 14
EXACT_GROUP = 50


def mcnemar(
    first_right: ArrayLike,
    second_right: ArrayLike,
    *,
    patient: ArrayLike | None = None,
    method: str = "mid-p",
    level: float = 0.95,
) -> Estimate:
    """Whether two readers or models are right equally often on the same cases; the value is first minus second.

    Only cases where exactly one is right count. When patients have several rows the test turns into the clustered
    one (differences summed per patient) and `method` is ignored.

    Args:
        first_right: (n,) 0/1, whether the first was right.
        second_right: (n,) the same cases for the second.
        patient: (n,) patient names where rows of one patient repeat.
        method: "exact" (binomial, cautious), "mid-p" (less cautious, keeps its level nearly) or "chi2" (large counts).
        level: confidence level of the difference.

    Sources: McNemar, Psychometrika 1947;12:153; Fagerland et al., BMC Med Res Methodol 2013;13:91 (mid-p);
    Bonett & Price, Br J Math Stat Psychol 2012;65:430 (interval); Durkalski et al., Stat Med 2003;22:2417 (clusters).

    >>> test = mcnemar([1, 1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0, 1], method="exact")
    >>> round(test.p_value, 3)
    0.125
    """
    choice(method, ("exact", "mid-p", "chi2"), "method")
    interval_level(level)
    first, second = true_or_false(first_right, "first_right"), true_or_false(second_right, "second_right")
    _same_length(first, second)
    n = len(first)
    if patient is not None and len(np.unique(np.asarray(patient))) < n:
        difference = mean_difference(first.astype(float), second.astype(float), patient=patient, level=level)
        return replace(difference, method="McNemar, clustered by patient")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    # Bonett and Price add one case to each discordant cell, so the interval has width without any disagreement.
    share_first, share_second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    centre = share_first - share_second
    reach = float(ndtri(0.5 + level / 2)) * math.sqrt((share_first + share_second - centre**2) / (n + 2))
    return Estimate(
        (only_first - only_second) / n,
        max(centre - reach, -1.0),
        min(centre + reach, 1.0),
        level=level,
        method=f"McNemar {method}, Bonett-Price interval",
        n=n,
        note=f"only the first right in {only_first}, only the second in {only_second}",
        p_value=mcnemar_p(only_first, only_second, method=method),
    )


def mcnemar_p(only_first: int, only_second: int, *, method: str = "mid-p") -> float:
    """McNemar's two-sided p-value from the two discordant counts.

    >>> mcnemar_p(6, 1, method="exact")
    0.125
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    if total == 0:
        return 1.0
    if method == "chi2":
        return float(2 * ndtr(-abs(only_first - only_second) / math.sqrt(total)))
    tail = float(bdtr(fewer, total, 0.5))
    if method == "exact":
        return min(1.0, 2 * tail)
    at = tail - (float(bdtr(fewer - 1, total, 0.5)) if fewer else 0.0)
    return min(1.0, 2 * tail - at)


def _same_length(first: np.ndarray, second: np.ndarray) -> None:
    if len(first) != len(second) or len(first) == 0:
        raise InputError(f"columns of {len(first)} and {len(second)} rows", remedy="give the same cases in both")


def mean_difference(
    first: ArrayLike, second: ArrayLike, *, patient: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """The mean of first minus second over pairs with Student's interval; patients are the independent units.

    With one row per patient this is the paired t-test.

    >>> round(mean_difference([3, 5, 4], [1, 2, 4]).value, 3)
    1.667
    """
    gap = finite_numbers(first, "first") - finite_numbers(second, "second")
    group, count = clusters(np.arange(len(gap)) if patient is None else patient)
    title = "paired t" if count == len(gap) else "paired t, clustered by patient"
    if count < 2:
        return Estimate(float(gap.mean()), level=level, method=title, n=len(gap), note="fewer than two patients")
    value = float(gap.mean())
    residual = np.bincount(group, gap - value, count)
    spread = math.sqrt(count / (count - 1) * float((residual**2).sum())) / len(gap)
    if spread == 0:
        p_value = 1.0 if value == 0 else None
        return Estimate(value, level=level, method=title, n=len(gap), note="all pairs differ alike", p_value=p_value)
    from scipy.special import stdtr

    reach = float(stdtrit(count - 1, 0.5 + interval_level(level) / 2)) * spread
    p_value = float(2 * stdtr(count - 1, -abs(value) / spread))
    note = "p for no difference"
    return Estimate(
        value, value - reach, value + reach, level=level, method=title, n=len(gap), note=note, p_value=p_value
    )


def mean_amount(values: ArrayLike, *, patient: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """The mean of an amount (an error, a size) with Student's interval; no test, for no amount is 0 by chance.

    >>> mean_amount([1.0, 2.0, 3.0]).p_value is None
    True
    """
    amounts = finite_numbers(values, "values")
    found = mean_difference(amounts, np.zeros(len(amounts)), patient=patient, level=level)
    title = "mean, Student's t" + (", clustered by patient" if "clustered" in found.method else "")
    alike = found.note == "all pairs differ alike"
    note = "all values are alike" if alike else "" if found.p_value is not None else found.note
    return replace(found, method=title, p_value=None, note=note)


def paired_permutation(
    first: ArrayLike,
    second: ArrayLike,
    *,
    patient: ArrayLike | None = None,
    draws: int = 10_000,
    level: float = 0.95,
    rng: Seed = 0,
) -> Estimate:
    """Whether first and second differ on average, by swapping the two at random within patients.

    Exact (all swaps) up to 14 patients, otherwise random draws with one added to both counts. The interval is
    Student's over patients.

    >>> paired_permutation([2, 3, 4, 5, 6], [1, 1, 1, 1, 1]).p_value
    0.0625
    """
    estimate = mean_difference(first, second, patient=patient, level=level)
    gap = finite_numbers(first, "first") - finite_numbers(second, "second")
    group, count = clusters(np.arange(len(gap)) if patient is None else patient)
    sums = np.bincount(group, gap, count)
    observed = abs(sums.sum()) * (1 - 1e-12)
    if count <= EXACT_PATIENTS:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        p_value, how = float((np.abs(signs @ sums) >= observed).mean()), f"all {2**count} swaps"
    else:
        at_least(draws, 100, "draws")
        extreme = _extreme_flips(sums, observed, draws=draws, random=generator(rng))
        p_value, how = (extreme + 1) / (draws + 1), f"{draws} random swaps"
    return replace(estimate, method=f"paired permutation, {how} within {count} patients", p_value=p_value)


def _extreme_flips(sums: np.ndarray, observed: float, *, draws: int, random: np.random.Generator) -> int:
    """How many random sign flips give a sum at least as large as observed, in blocks that fit in memory."""
    step, extreme = max(1, 4_000_000 // len(sums)), 0
    for start in range(0, draws, step):
        flips = random.integers(0, 2, size=(min(step, draws - start), len(sums)), dtype=np.int8)
        extreme += int((np.abs(sums.sum() - 2 * (flips @ sums)) >= observed).sum())
    return extreme


def permutation_test(
    statistic: Statistic, first: Predictions, second: Predictions, *, draws: int = 2000, rng: Seed = 0
) -> Estimate:
    """Whether any statistic differs between two predictors, by swapping their scores at random within patients.

    Scores are swapped as they are, so both predictors must speak on one scale (probabilities, or ranks). The value
    is first minus second; there is no interval (see `bootstrap_difference` for one).

    Source: Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005; Venkatraman & Begg, Biometrika 1996.
    """
    same_cases(first, second)
    at_least(draws, 100, "draws")
    random = generator(rng)
    group, count = clusters(first.patient)
    value = float(statistic(first)) - float(statistic(second))
    title = f"permutation, {draws} random swaps within {count} patients"
    if math.isnan(value):
        return Estimate.undefined("undefined for one of the two", n=len(first), method=title)
    extreme = 0
    for _ in range(draws):
        swap = random.integers(0, 2, count).astype(bool)[group]
        swap = swap[:, None] if first.score.ndim == 2 else swap
        one = replace(first, score=np.where(swap, second.score, first.score))
        other = replace(second, score=np.where(swap, first.score, second.score))
        extreme += abs(float(statistic(one)) - float(statistic(other))) >= abs(value) * (1 - 1e-12)
    note = "p for no difference; no interval from a permutation test"
    return Estimate(value, method=title, n=len(first), note=note, p_value=(extreme + 1) / (draws + 1))


def mann_whitney(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Whether one group's values tend to be larger; the value is the chance that a random first beats a random second.

    0.5 means no tendency, ties count half. The p-value is exact below 50 per group without ties, otherwise normal
    with tie and continuity correction. The interval is DeLong's on the logit scale.

    Sources: Mann & Whitney, Ann Math Stat 1947;18:50; Newcombe, Stat Med 2006;25:543 (effect size).

    >>> print(mann_whitney([3, 4, 5], [1, 2, 3.5]))
    0.89 (0.26-0.99)
    """
    from scipy.stats import mannwhitneyu

    one, other = finite_numbers(first, "first"), finite_numbers(second, "second")
    if not len(one) or not len(other):
        return Estimate.undefined("a group is empty", n=len(one) + len(other), method="Mann-Whitney", level=level)
    target = np.r_[np.ones(len(one), int), np.zeros(len(other), int)]
    effect = auroc(target, np.r_[one, other], level=level)
    untied = len(np.unique(np.r_[one, other])) == len(target)
    how = "exact" if untied and max(len(one), len(other)) < EXACT_GROUP else "asymptotic"
    p_value = float(mannwhitneyu(one, other, alternative="two-sided", method=how).pvalue)
    note = f"rank-biserial correlation {2 * effect.value - 1:.2f}; p for no tendency"
    note = "; ".join(part for part in (note, effect.note) if part)
    return replace(effect, method=f"Mann-Whitney, {effect.method} interval", note=note, p_value=p_value)


def wilcoxon(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Whether paired differences lie to one side of 0; the value is their pseudo-median (Hodges-Lehmann) with interval.

    The p-value is exact up to 50 pairs without ties or zeros, otherwise normal. The interval reads order statistics
    of all pairwise averages, with the exact distribution up to 50 pairs.

    Sources: Wilcoxon, Biometrics 1945;1:80; Hollander & Wolfe, Nonparametric Statistical Methods, section 3.

    >>> wilcoxon([1.8, 0.5, 1.6, 2.5], [0.9, 0.7, 0.6, 2.0]).p_value
    0.25
    """
    from scipy.stats import wilcoxon as signed_rank

    interval_level(level)
    one, other = finite_numbers(first, "first"), finite_numbers(second, "second")
    _same_length(one, other)
    gap = one - other
    n = len(gap)
    if n > 6000:
        raise InputError(f"{n} pairs make too many pairwise averages", remedy="use paired_permutation")
    if not gap.any():
        note = "all pairs are equal"
        return Estimate(0.0, level=level, method="Wilcoxon signed rank", n=n, note=note, p_value=1.0)
    rows, columns = np.triu_indices(n)
    walsh = np.sort((gap[rows] + gap[columns]) / 2)
    skip = _skipped(n, (1 - level) / 2)
    note = "pseudo-median; p for symmetry around 0"
    low, high = (walsh[skip - 1], walsh[-skip]) if skip else (math.nan, math.nan)
    if not skip:
        note = f"too few pairs for a {level:.0%} interval"
    p_value = float(signed_rank(gap).pvalue)
    value = float(np.median(walsh))
    title = "Wilcoxon signed rank"
    return Estimate(value, float(low), float(high), level=level, method=title, n=n, note=note, p_value=p_value)


def _skipped(n: int, tail: float) -> int:
    """Which ordered average is the limit: the lower `tail` quantile of the signed-rank statistic; 0 when none is."""
    if n > 50:
        centre, spread = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return max(round(centre + float(ndtri(tail)) * spread), 0)
    # The number of sign patterns with each rank sum, built rank by rank.
    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, n + 1):
        ways[rank:] = ways[rank:] + ways[:-rank]
    return int(np.searchsorted(np.cumsum(ways) / 2.0**n, tail, side="left"))
