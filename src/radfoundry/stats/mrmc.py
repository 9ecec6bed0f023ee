"""Multi-reader multi-case analysis: is one arm better than another for new readers and new patients?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, fdtrc, ndtr, ndtri, stdtr, stdtrit

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import Seed, choice, interval_level
from radfoundry.stats.mrmc_covariance import auc_covariance, reader_aucs
from radfoundry.stats.readers import ReaderStudy

RANDOM = ("both", "cases", "readers")
_ANALYSIS = {
    "both": "random readers, random cases",
    "cases": "fixed readers, random cases",
    "readers": "random readers, fixed cases",
}


@dataclass(frozen=True)
class Components:
    """Mean squares and variance components of Obuchowski and Rockette's model.

    `covariance1`: same reader, other arm; `covariance2`: other reader, same arm; `covariance3`: both other.
    """

    ms_arm: float
    ms_reader: float
    ms_arm_reader: float
    variance: float
    covariance1: float
    covariance2: float
    covariance3: float
    variance_reader: float
    variance_arm_reader: float


@dataclass(frozen=True)
class ArmDifference:
    """First arm minus second, averaged over readers, with interval and p-value."""

    first: str
    second: str
    estimate: Estimate


@dataclass(frozen=True, eq=False)
class ReaderComparison:
    """What a reader study says: each arm's average over readers, every difference, and the test that all are equal.

    `figures` is (arms, readers); `statistic` is F (or chi-squared where readers are fixed) with `df1`, `df2`.
    """

    analysis: str
    arms: tuple[str, ...]
    figures: np.ndarray
    averages: tuple[Estimate, ...]
    differences: tuple[ArmDifference, ...]
    statistic: float
    df1: float
    df2: float
    p_value: float
    components: Components


def obuchowski_rockette(
    study: ReaderStudy,
    *,
    covariance: str = "jackknife",
    random: str = "both",
    level: float = 0.95,
    draws: int = 1000,
    rng: Seed = 0,
) -> ReaderComparison:
    """Compare the AUC of arms over readers and cases; the conclusion holds for new readers and new patients.

    Args:
        study: a crossed reader study.
        covariance: how AUCs vary with the cases: "jackknife", "delong", "unbiased" or "bootstrap".
        random: what a repeated study would draw anew: "both", only "cases" (these very readers) or only "readers".
        level: confidence level.
        draws, rng: of the bootstrap covariance.

    Each arm's own interval lies on the logit scale, where it holds 95 % better than the published one on the AUC's own
    scale, which `compare_arms` gives; see docs/statistics-readers.md.

    Sources: Obuchowski & Rockette, Commun Stat Simul 1995;24:285; Hillis, Stat Med 2007;26:596 (degrees of freedom);
    Hillis, Berbaum & Metz, Acad Radiol 2008;15:647 (single arms).

    >>> ratings = [[[1, 2, 2, 4], [1, 3, 2, 3]], [[1, 2, 4, 4], [1, 2, 3, 5]]]
    >>> result = obuchowski_rockette(ReaderStudy.of(ratings, [0, 0, 1, 1], arms=["alone", "with AI"]))
    >>> round(result.differences[0].estimate.value, 4)
    -0.25
    """
    matrix = auc_covariance(study, method=covariance, draws=draws, rng=rng)
    found = compare_arms(
        reader_aucs(study), matrix, arms=study.arms, random=random, level=level, cases=len(study.truth)
    )
    return replace(found, averages=tuple(within_unit(average) for average in found.averages))


def compare_arms(
    figures: ArrayLike,
    covariance: ArrayLike,
    *,
    arms: tuple[str, ...] | None = None,
    random: str = "both",
    level: float = 0.95,
    cases: int = 0,
) -> ReaderComparison:
    """The same analysis for any figure of merit, given its covariance over the sample of cases.

    Intervals lie on the figure's own scale, as published and as OR-DBM MRMC prints them.

    Args:
        figures: (arms, readers) figures of merit, for example JAFROC areas or sensitivities.
        covariance: (arms x readers) square covariance due to cases, readers varying fastest.
        arms: names.
        random: "both", "cases" or "readers".
        level: confidence level.
        cases: number of cases, kept as n.
    """
    table, matrix = np.asarray(figures, dtype=float), np.asarray(covariance, dtype=float)
    if table.ndim != 2 or matrix.shape != (table.size, table.size):
        raise InputError(
            f"figures {table.shape} and covariance {matrix.shape} do not fit",
            remedy="give (arms, readers) and a square of arms x readers",
        )
    choice(random, RANDOM, "random")
    interval_level(level)
    names = arms or tuple(f"arm {index + 1}" for index in range(len(table)))
    parts = components(table, matrix)
    averages = tuple(
        reader_average(table[index], _block(matrix, index, table.shape[1]), random=random, level=level, cases=cases)
        for index in range(len(table))
    )
    variance, df = _difference_variance(parts, table.shape, random)
    differences = tuple(
        ArmDifference(
            names[i],
            names[j],
            t_interval(
                Estimate(
                    float(table[i].mean() - table[j].mean()),
                    level=level,
                    n=cases,
                    method=f"Obuchowski-Rockette, {_ANALYSIS[random]}",
                    note="p for no difference between arms",
                ),
                variance,
                df,
            ),
        )
        for i, j in combinations(range(len(table)), 2)
    )
    statistic, df1, df2, p_value = _overall(parts, table.shape, random, variance, df)
    return ReaderComparison(_ANALYSIS[random], names, table, averages, differences, statistic, df1, df2, p_value, parts)


def components(figures: np.ndarray, covariance: np.ndarray) -> Components:
    """Mean squares and the four covariances; NaN where there are too few arms or readers to have them."""
    arms, readers = figures.shape
    grand, by_arm, by_reader = figures.mean(), figures.mean(axis=1), figures.mean(axis=0)
    residual = figures - by_arm[:, None] - by_reader[None, :] + grand
    ms_arm = _ratio(readers * float(((by_arm - grand) ** 2).sum()), arms - 1)
    ms_reader = _ratio(arms * float(((by_reader - grand) ** 2).sum()), readers - 1)
    ms_arm_reader = _ratio(float((residual**2).sum()), (arms - 1) * (readers - 1))
    grid = covariance.reshape(arms, readers, arms, readers)
    same_arm, same_reader = np.eye(arms)[:, None, :, None], np.eye(readers)[None, :, None, :]
    variance = _masked(grid, same_arm * same_reader)
    cov1 = _masked(grid, (1 - same_arm) * same_reader)
    cov2 = _masked(grid, same_arm * (1 - same_reader))
    cov3 = _masked(grid, (1 - same_arm) * (1 - same_reader))
    reader = (ms_reader - ms_arm_reader) / arms - cov1 + cov3
    interaction = ms_arm_reader - variance + cov1 + max(cov2 - cov3, 0.0)
    return Components(ms_arm, ms_reader, ms_arm_reader, variance, cov1, cov2, cov3, reader, interaction)


def _ratio(total: float, count: int) -> float:
    return total / count if count > 0 else math.nan


def _masked(grid: np.ndarray, mask: np.ndarray) -> float:
    weight = np.broadcast_to(mask, grid.shape)
    return _ratio(float((grid * weight).sum()), int(weight.sum()))


def _block(matrix: np.ndarray, arm: int, readers: int) -> np.ndarray:
    place = slice(arm * readers, (arm + 1) * readers)
    return matrix[place, place]


def reader_average(
    row: np.ndarray,
    covariance: np.ndarray,
    *,
    random: str = "both",
    level: float = 0.95,
    cases: int = 0,
    test: bool = False,
) -> Estimate:
    """One arm's mean over readers, from each reader's figure (readers,) and their (readers, readers) covariance.

    `test` also tests that the mean is zero, for figures such as d' whose chance value is zero.
    """
    readers = len(row)
    spread = float(row.var(ddof=1)) if readers > 1 else math.nan
    shared = float(covariance[~np.eye(readers, dtype=bool)].mean()) if readers > 1 else 0.0
    if random == "both":
        part = max(readers * shared, 0.0)
        variance, df = (spread + part) / readers, _hillis_df(spread, part, readers - 1)
    elif random == "cases":
        variance, df = float(covariance.sum()) / readers**2, math.inf
    else:
        variance, df = spread / readers, readers - 1.0
    title = f"Obuchowski-Rockette, {_ANALYSIS[random]}"
    frame = Estimate(float(row.mean()), level=level, n=cases, method=title)
    return t_interval(frame, variance, df, test=test)


def _hillis_df(reader_part: float, case_part: float, df: float) -> float:
    """Hillis' degrees of freedom: the reader mean square carries all of the uncertainty about the error term."""
    if df <= 0 or math.isnan(reader_part):
        return math.nan
    return df * ((reader_part + case_part) / reader_part) ** 2 if reader_part > 0 else math.inf


def _difference_variance(parts: Components, shape: tuple[int, int], random: str) -> tuple[float, float]:
    """Variance of a difference between two arms' averages, and its degrees of freedom."""
    arms, readers = shape
    if arms < 2:
        return math.nan, math.nan
    shared = max(parts.covariance2 - parts.covariance3, 0.0) if readers > 1 else 0.0
    freedom = float((arms - 1) * (readers - 1))
    if random == "cases":
        return 2 / readers * (parts.variance - parts.covariance1 + (readers - 1) * shared), math.inf
    if random == "readers":
        return 2 / readers * parts.ms_arm_reader, freedom
    total = parts.ms_arm_reader + readers * shared
    return 2 / readers * total, _hillis_df(parts.ms_arm_reader, readers * shared, freedom)


def _overall(
    parts: Components, shape: tuple[int, int], random: str, variance: float, df: float
) -> tuple[float, float, float, float]:
    """The test that all arms are equal: statistic, degrees of freedom, p-value."""
    df1 = float(shape[0] - 1)
    error = variance * shape[1] / 2
    if df1 < 1 or not error > 0:
        return math.nan, df1, df, math.nan
    statistic = parts.ms_arm / error
    if random == "cases":
        statistic *= df1
        return statistic, df1, math.inf, float(chdtrc(df1, statistic))
    return (
        statistic,
        df1,
        df,
        float(fdtrc(df1, df, statistic)) if math.isfinite(df) else float(chdtrc(df1, statistic * df1)),
    )


def t_interval(frame: Estimate, variance: float, df: float, *, test: bool = True) -> Estimate:
    """The estimate with an interval from a variance and its degrees of freedom; infinite degrees mean the normal.

    Args:
        frame: value, level, method and n.
        variance: of the value.
        df: degrees of freedom of that variance.
        test: also test that the true value is zero.

    >>> print(t_interval(Estimate(0.1, n=40), 0.0025, 19.0))
    0.10 (-0.00 to 0.20)
    """
    if math.isnan(variance) or math.isnan(df):
        return replace(frame, note="too few readers or arms for this analysis")
    spread = math.sqrt(max(variance, 0.0))
    if spread == 0.0:
        return replace(frame, note="readers and cases show no variation at all")
    normal = math.isinf(df)
    reach = spread * float(ndtri(0.5 + frame.level / 2) if normal else stdtrit(df, 0.5 + frame.level / 2))
    score = -abs(frame.value) / spread
    p_value = 2 * float(ndtr(score) if normal else stdtr(df, score)) if test else None
    return replace(frame, low=frame.value - reach, high=frame.value + reach, p_value=p_value)


def within_unit(found: Estimate) -> Estimate:
    """A symmetric interval moved to the logit scale, so that the limits of a share or an area stay within 0 and 1.

    >>> print(within_unit(Estimate(0.9, 0.78, 1.02)))
    0.90 (0.70-0.97)
    """
    value = found.value
    if math.isnan(found.low) or not 0 < value < 1:
        return found
    reach = (found.high - value) / (value * (1 - value))
    centre = math.log(value / (1 - value))
    low, high = (1 / (1 + math.exp(-(centre + side * reach))) for side in (-1, 1))
    return replace(found, low=low, high=high, method=f"{found.method}, logit scale")
