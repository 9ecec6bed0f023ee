"""Friedman's test over tasks and the critical-difference groups of models that cannot be told apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, fdtrc, ndtr

from radfoundry.records import Estimate, InputError
from radfoundry.stats.bootstrap import draw_weights
from radfoundry.stats.inputs import Seed, interval_level
from radfoundry.stats.ranking import case_table, rank_rows


@dataclass(frozen=True)
class FriedmanTest:
    """Whether any model differs: Friedman's chi-squared, and Iman and Davenport's less cautious F."""

    chi2: float
    df: int
    p_value: float
    f: float
    f_df: tuple[int, int]
    f_p_value: float


@dataclass(frozen=True)
class CriticalDifference:
    """Models from best to worst mean rank, the difference in mean rank that matters, and the groups within it.

    The intervals of `ranks` come from redrawing tasks. `groups` lists every largest set of neighbours that Nemenyi's
    test cannot separate; a model in no group differs from all others.
    """

    models: tuple[str, ...]
    ranks: tuple[Estimate, ...]
    difference: float
    groups: tuple[tuple[str, ...], ...]
    friedman: FriedmanTest


def friedman(table: ArrayLike, *, higher_is_better: bool = True) -> FriedmanTest:
    """Test that all models rank alike over tasks, corrected for ties.

    Args:
        table: (tasks, models) scores.
        higher_is_better: False for errors.

    Sources: Friedman, J Am Stat Assoc 1937;32:675; Iman & Davenport, Commun Stat 1980;9:571.

    >>> round(friedman([[0.9, 0.8, 0.7], [0.8, 0.7, 0.6], [0.7, 0.65, 0.6]]).chi2, 6)
    6.0
    """
    values = np.asarray(table, dtype=float)
    if values.ndim != 2 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise InputError(f"a table of shape {values.shape}", remedy="give finite (tasks, models), two of each or more")
    ranks = rank_rows(-values if higher_is_better else values)
    tasks, models = ranks.shape
    between = tasks * float(((ranks.mean(axis=0) - (models + 1) / 2) ** 2).sum())
    within = float(((ranks - (models + 1) / 2) ** 2).sum()) / (tasks * (models - 1))
    if within == 0:
        raise InputError("every model ties in every task", remedy="report more digits")
    chi2 = between / within
    df, f_df = models - 1, (models - 1, (models - 1) * (tasks - 1))
    spare = tasks * df - chi2
    f = (tasks - 1) * chi2 / spare if spare > 1e-12 else np.inf
    f_p = float(fdtrc(*f_df, f)) if np.isfinite(f) else 0.0
    return FriedmanTest(chi2, df, float(chdtrc(df, chi2)), float(f), f_df, f_p)


def critical_difference(
    scores: Mapping[str, ArrayLike],
    *,
    higher_is_better: bool = True,
    level: float = 0.95,
    draws: int = 2000,
    rng: Seed = 0,
) -> CriticalDifference:
    """Rank models over tasks and group those whose mean ranks differ by less than chance allows (Nemenyi).

    Args:
        scores: model -> (tasks,) score in each task.
        higher_is_better: False for errors.
        level: 1 minus the chance of any false separation when all models are equal.
        draws, rng: bootstrap over tasks for the intervals of the mean ranks.

    Source: Demšar, J Mach Learn Res 2006;7:1.

    >>> found = critical_difference({"a": [3, 3, 3, 3], "b": [2, 1, 2, 1], "c": [1, 2, 1, 2]}, draws=50)
    >>> found.models, round(found.difference, 2)
    (('a', 'b', 'c'), 1.66)
    """
    interval_level(level)
    table = case_table(scores)
    test = friedman(table, higher_is_better=higher_is_better)
    ranks = rank_rows(-table if higher_is_better else table)
    tasks, count = ranks.shape
    reach = critical_range(count, level=level) * np.sqrt(count * (count + 1) / (6 * tasks))
    mean = ranks.mean(axis=0)
    drawn = draw_weights(np.arange(tasks), draws=draws, rng=rng) @ ranks / tasks
    limits = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    names = list(scores)
    order = sorted(range(count), key=lambda index: (mean[index], names[index]))
    title = f"bootstrap over tasks, {draws} draws, percentile"
    estimates = tuple(
        Estimate(float(mean[i]), float(limits[0, i]), float(limits[1, i]), level=level, method=title, n=tasks)
        for i in order
    )
    ordered = tuple(names[index] for index in order)
    groups = tuple(tuple(ordered[a:b]) for a, b in cliques(mean[order], float(reach)))
    return CriticalDifference(ordered, estimates, float(reach), groups, test)


def critical_range(models: int, *, level: float = 0.95) -> float:
    """Nemenyi's q: the studentised range for that many models, divided by the square root of 2.

    >>> round(critical_range(4), 3)
    2.569
    """
    grid = np.linspace(-8.0, 8.0, 4001)
    weight = models * np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi) * (grid[1] - grid[0])
    below = ndtr(grid)
    low, high = 0.0, 20.0
    # The range of `models` standard normals: one of them is the largest, all others lie within the range below it.
    while high - low > 1e-10:
        middle = (low + high) / 2
        chance = float((weight * (below - ndtr(grid - middle)) ** (models - 1)).sum())
        low, high = (middle, high) if chance < level else (low, middle)
    return (low + high) / 2 / math.sqrt(2)


def cliques(ordered_ranks: np.ndarray, difference: float) -> list[tuple[int, int]]:
    """Largest runs [start, stop) of at least two neighbours whose ranks span no more than the difference.

    >>> cliques(np.array([1.0, 1.5, 2.4, 4.0]), 1.0)
    [(0, 2), (1, 3)]
    """
    found, reached = [], 0
    for start in range(len(ordered_ranks)):
        stop = int(np.searchsorted(ordered_ranks, ordered_ranks[start] + difference, side="right"))
        if stop - start > 1 and stop > reached:
            found.append((start, stop))
            reached = stop
    return found
