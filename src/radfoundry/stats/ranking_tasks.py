"""Models over many tasks: mean ranks with intervals, and what "first in 39 of 44 tasks" is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtrc

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.inputs import Seed, at_least, generator, interval_level
from radfoundry.stats.proportions import proportion
from radfoundry.stats.ranking import draw_figures, rank_rows

Tasks = Mapping[str, Mapping[str, ArrayLike | Predictions]]


@dataclass(frozen=True)
class WinCount:
    """How often a model is best.

    `wins`: tasks it comes first in (ties shared), with the interval from redrawing the cases of these tasks.
    `share`: wins as a share of tasks, with the interval for tasks of the same kind that were not tried.
    `clear`: tasks it wins in at least 95 of 100 redrawn case samples. `mean_rank`: averaged over tasks.
    """

    model: str
    wins: Estimate
    share: Estimate
    clear: int
    mean_rank: Estimate


def win_counts(
    tasks: Tasks,
    *,
    patients: Mapping[str, ArrayLike] | None = None,
    higher_is_better: bool = True,
    draws: int = 10_000,
    rng: Seed = 0,
    level: float = 0.95,
) -> tuple[WinCount, ...]:
    """Count every model's first places over tasks, with both uncertainties: which cases, and which tasks.

    Args:
        tasks: task -> model -> (cases,) scores or Predictions; the same models in every task.
        patients: task -> (cases,) patient names where patients repeat.
        higher_is_better: False for errors.
        draws, rng: redrawn case samples per task.
        level: confidence level.

    Redrawing widens close races, so the observed count of a narrow winner can lie near the upper limit: it was lucky.
    """
    interval_level(level)
    models = _same_models(tasks)
    source = generator(rng)
    sign = -1.0 if higher_is_better else 1.0
    won, drawn_won, rank, drawn_rank, clear = [], 0.0, [], 0.0, 0
    for name, scores in tasks.items():
        ordered = {model: scores[model] for model in models}
        patient = (patients or {}).get(name)
        values, drawn, _ = draw_figures(ordered, patient=patient, draws=at_least(draws, 20, "draws"), rng=source)
        observed, ranks = rank_rows(sign * values[None]), rank_rows(sign * drawn)
        won.append(_leaders(observed)[0])
        rank.append(observed[0])
        shares = _leaders(ranks)
        drawn_won, drawn_rank = drawn_won + shares, drawn_rank + ranks / len(tasks)
        clear = clear + (shares.mean(axis=0) >= 0.95).astype(int)
    totals, means = np.sum(won, axis=0), np.mean(rank, axis=0)
    tail = [(1 - level) / 2, (1 + level) / 2]
    limits, rank_limits = np.quantile(drawn_won, tail, axis=0), np.quantile(drawn_rank, tail, axis=0)
    title = f"bootstrap of the cases within each task, {draws} draws, percentile"
    found = [
        WinCount(
            model,
            Estimate(float(totals[i]), *limits[:, i].tolist(), level=level, method=title, n=len(tasks)),
            win_share(float(totals[i]), len(tasks), models=len(models), level=level),
            int(np.asarray(clear)[i]),
            Estimate(float(means[i]), *rank_limits[:, i].tolist(), level=level, method=title, n=len(tasks)),
        )
        for i, model in enumerate(models)
    ]
    return tuple(sorted(found, key=lambda row: (row.mean_rank.value, row.model)))


def win_share(wins: float, tasks: int, *, models: int = 2, level: float = 0.95) -> Estimate:
    """A published "first in 39 of 44 tasks" as a share with its exact interval; p is for equal models.

    It takes the tasks as a sample of independent tasks of one kind; tasks that share patients or images make the
    true interval wider. Half wins (ties) are rounded down for the p-value. Source: Clopper & Pearson 1934.

    >>> print(win_share(39, 44, models=5))
    0.89 (0.75-0.96)
    """
    at_least(models, 2, "models")
    if not 0 <= wins <= tasks or tasks < 1:
        raise InputError(f"{wins} wins of {tasks} tasks", remedy="give 0 <= wins <= tasks")
    whole = proportion(int(wins), tasks, level=level, method="clopper-pearson")
    above = proportion(min(int(np.ceil(wins)), tasks), tasks, level=level, method="clopper-pearson")
    p_value = 1.0 if int(wins) == 0 else float(bdtrc(int(wins) - 1, tasks, 1 / models))
    note = f"tasks taken as independent; p for a chance of 1/{models} in each"
    return Estimate(
        wins / tasks, whole.low, above.high, level=level, method="Clopper-Pearson", n=tasks, note=note, p_value=p_value
    )


def _leaders(ranks: np.ndarray) -> np.ndarray:
    """(rows, models) share of the first place; ties split it."""
    best = ranks == ranks.min(axis=1, keepdims=True)
    return best / best.sum(axis=1, keepdims=True)


def _same_models(tasks: Tasks) -> list[str]:
    if not tasks:
        raise InputError("no tasks", remedy="give task -> model -> scores")
    models = list(next(iter(tasks.values())))
    for name, scores in tasks.items():
        if set(scores) != set(models):
            odd = sorted(set(scores) ^ set(models))
            raise InputError(f"models differ: {', '.join(odd)}", where=f"task {name}", remedy="score all everywhere")
    return models
