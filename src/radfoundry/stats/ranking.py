"""Who is really ahead: models ranked on the same cases, with rank intervals and permutation tests for pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.bootstrap import BLOCK, Sampler, patient_strata
from radfoundry.stats.inputs import Seed, at_least, clusters, finite_numbers, generator, interval_level, same_cases
from radfoundry.stats.multiplicity import adjust
from radfoundry.stats.weighted import weighted_auroc


@dataclass(frozen=True)
class ModelRank:
    """One model's score and place. `rank` 1 is best; `first` is the share of redrawn case samples it comes first in."""

    model: str
    score: Estimate
    rank: Estimate
    first: float


@dataclass(frozen=True)
class PairTest:
    """Two models on the same cases: mean paired difference (first minus second) with its raw and adjusted p-value."""

    first: str
    second: str
    difference: Estimate
    adjusted_p: float


def rank_models(
    scores: Mapping[str, ArrayLike | Predictions],
    *,
    patient: ArrayLike | None = None,
    higher_is_better: bool = True,
    draws: int = 10_000,
    rng: Seed = 0,
    level: float = 0.95,
) -> tuple[ModelRank, ...]:
    """Rank models by their mean score per case (or their AUROC), best first, with bootstrap intervals for the ranks.

    A rank interval from 1 to 6 says that another sample of patients could have put the model anywhere there.

    Args:
        scores: model name -> (cases,) score of each case, or -> Predictions, which are ranked by AUROC.
        patient: (cases,) names where patients repeat (not next to Predictions, which know their patients).
        higher_is_better: False for distances and errors.
        draws, rng: of the bootstrap over patients.
        level: confidence level.

    Source: the ranking protocol of Wiesenfarth et al., Sci Rep 2021;11:2369.

    >>> table = rank_models({"a": [0.9, 0.8, 0.7, 0.9], "b": [0.5, 0.6, 0.4, 0.6]}, draws=200)
    >>> [(row.model, str(row.rank)) for row in table]
    [('a', '1.00 (1.00-1.00)'), ('b', '2.00 (2.00-2.00)')]
    """
    interval_level(level)
    names = list(scores)
    values, drawn, cases = draw_figures(scores, patient=patient, draws=at_least(draws, 20, "draws"), rng=rng)
    sign = 1.0 if higher_is_better else -1.0
    ranks, observed = rank_rows(-sign * drawn), rank_rows(-sign * values[None])[0]
    tail = [(1 - level) / 2, (1 + level) / 2]
    spread, places = np.quantile(drawn, tail, axis=0), _outward(ranks, tail)
    leaders = ranks == ranks.min(axis=1, keepdims=True)
    first = (leaders / leaders.sum(axis=1, keepdims=True)).mean(axis=0)
    title = f"bootstrap over patients, {draws} draws, percentile"

    def estimate(value: float, limits: np.ndarray) -> Estimate:
        return Estimate(float(value), float(limits[0]), float(limits[1]), level=level, method=title, n=cases)

    rows = [
        ModelRank(name, estimate(values[i], spread[:, i]), estimate(observed[i], places[:, i]), float(first[i]))
        for i, name in enumerate(names)
    ]
    return tuple(sorted(rows, key=lambda row: (row.rank.value, row.model)))


def _outward(ranks: np.ndarray, tail: list[float]) -> np.ndarray:
    """Quantiles of ranks rounded away from the middle, so that a discrete interval is never too short."""
    low = np.quantile(ranks, tail[0], axis=0, method="lower")
    return np.stack([low, np.quantile(ranks, tail[1], axis=0, method="higher")])


def rank_rows(values: np.ndarray) -> np.ndarray:
    """(rows, models) ranks of each row's values, the smallest getting 1 and ties the mean of their places.

    >>> rank_rows(np.array([[0.1, 0.3, 0.3]])).tolist()
    [[1.0, 2.5, 2.5]]
    """
    ranks = np.empty(values.shape)
    for index in range(values.shape[1]):
        own = values[:, index : index + 1]
        ranks[:, index] = (values < own).sum(axis=1) + (values == own).sum(axis=1) / 2 + 0.5
    return ranks


def draw_figures(
    scores: Mapping[str, ArrayLike | Predictions], *, patient: ArrayLike | None = None, draws: int, rng: Seed = 0
) -> tuple[np.ndarray, np.ndarray, int]:
    """Every model's figure (models,), redrawn (draws, models) with the same patients for all, and the case count."""
    if len(scores) < 2:
        raise InputError(f"{len(scores)} models to rank", remedy="give at least two")
    predictions = [value for value in scores.values() if isinstance(value, Predictions)]
    if predictions:
        return _draw_areas(scores, predictions, patient, draws=draws, rng=rng)
    table = case_table(scores)
    sampler = Sampler.of(np.arange(len(table)) if patient is None else _of_length(patient, len(table)))
    source, found = generator(rng), np.empty((draws, table.shape[1]))
    step = max(1, BLOCK // len(table))
    for start in range(0, draws, step):
        weights = sampler.weights(sampler.positions(source, min(step, draws - start)))
        found[start : start + len(weights)] = weights @ table / weights.sum(axis=1, keepdims=True)
    return table.mean(axis=0), found, len(table)


def _draw_areas(
    scores: Mapping[str, ArrayLike | Predictions],
    predictions: list[Predictions],
    patient: ArrayLike | None,
    *,
    draws: int,
    rng: Seed,
) -> tuple[np.ndarray, np.ndarray, int]:
    if len(predictions) < len(scores) or patient is not None:
        raise InputError("predictions are mixed with arrays or patients", remedy="give Predictions for every model")
    base = predictions[0]
    for other in predictions[1:]:
        same_cases(base, other)
    areas = [weighted_auroc.prepare(item) for item in predictions]
    sampler, source = Sampler.of(base.patient, patient_strata(base)), generator(rng)
    values, found = np.empty(len(areas)), np.empty((draws, len(areas)))
    step = max(1, BLOCK // len(base))
    for start in range(0, draws, step):
        weights = sampler.weights(sampler.positions(source, min(step, draws - start)))
        found[start : start + len(weights)] = np.stack([area(weights) for area in areas], axis=1)
    for index, area in enumerate(areas):
        values[index] = area(np.ones((1, len(base))))[0]
    if np.isnan(values).any():
        raise InputError("AUROC is undefined: only one class", remedy="give cases with and without the finding")
    return values, found, len(base)


def case_table(scores: Mapping[str, ArrayLike | Predictions]) -> np.ndarray:
    """(cases, models) finite scores; refuses models with different numbers of cases."""
    columns = [finite_numbers(np.asarray(values), f"scores of {name}") for name, values in scores.items()]
    lengths = {name: len(column) for name, column in zip(scores, columns, strict=True)}
    if len(set(lengths.values())) > 1 or min(lengths.values()) == 0:
        raise InputError(f"models have different cases: {lengths}", remedy="score every model on the same cases")
    return np.stack(columns, axis=1)


def _of_length(patient: ArrayLike, rows: int) -> np.ndarray:
    names = np.asarray(patient)
    if len(names) != rows:
        raise InputError(f"patient has {len(names)} rows, the scores {rows}", remedy="give one patient per case")
    return names


def permutation_tests(
    scores: Mapping[str, ArrayLike],
    *,
    patient: ArrayLike | None = None,
    flips: int = 100_000,
    rng: Seed = 0,
    level: float = 0.95,
) -> tuple[PairTest, ...]:
    """Every pair of models compared on the same cases by swapping their scores at random, patient by patient.

    p counts the swaps that give a mean difference at least as large (one added to both counts, so never 0); it is
    adjusted for the number of pairs by Holm. The interval is the paired t interval over patients.

    Args:
        scores: model name -> (cases,) score of each case.
        patient: (cases,) names where patients repeat: their cases are swapped together.
        flips: random swaps.
        rng: seed or generator.
        level: confidence level.
    """
    interval_level(level)
    names, table = list(scores), case_table(scores)
    group, count = clusters(np.arange(len(table)) if patient is None else _of_length(patient, len(table)))
    sums = np.stack([np.bincount(group, column, count) for column in table.T], axis=1)
    pairs = list(combinations(range(len(names)), 2))
    reached = _flipped(sums, pairs, at_least(flips, 100, "flips"), generator(rng))
    raw = (reached + 1) / (flips + 1)
    adjusted = adjust(raw)
    size = np.bincount(group, minlength=count) / len(table)
    title = f"paired permutation by patient, {flips} swaps; t interval over patients"
    found = []
    for place, (i, j) in enumerate(pairs):
        value = float((table[:, i] - table[:, j]).mean())
        part = (sums[:, i] - sums[:, j]) / len(table) - size * value
        reach = _t_reach(part, level)
        estimate = Estimate(
            value,
            value - reach,
            value + reach,
            level=level,
            method=title,
            n=len(table),
            note="p for no difference",
            p_value=float(raw[place]),
        )
        found.append(PairTest(names[i], names[j], estimate, float(adjusted[place])))
    return tuple(found)


def _flipped(sums: np.ndarray, pairs: list[tuple[int, int]], flips: int, rng: np.random.Generator) -> np.ndarray:
    """How many random swaps reach each pair's observed difference."""
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    # Swapping two models' scores is flipping the sign of their difference; all pairs share one set of flips.
    centred = sums - sums.mean(axis=1, keepdims=True)
    total = centred.sum(axis=0)
    observed = np.abs(total[first] - total[second])
    scale = np.abs(centred).sum(axis=0).max()
    # Rounding must not turn an exact tie into a smaller value.
    observed -= 1e-12 * scale
    reached = np.zeros(len(pairs), dtype=np.int64)
    step = max(1, min(flips, BLOCK // (2 * max(len(sums), 20))))
    for start in range(0, flips, step):
        rows = min(step, flips - start)
        bits = np.unpackbits(np.frombuffer(rng.bytes(rows * (-(-len(sums) // 8))), np.uint8).reshape(rows, -1), axis=1)
        swung = np.ascontiguousarray(((2.0 * bits[:, : len(sums)] - 1.0) @ centred).T)
        for place, (i, j) in enumerate(pairs):
            reached[place] += np.count_nonzero(np.abs(swung[i] - swung[j]) >= observed[place])
    return reached


def _t_reach(part: np.ndarray, level: float) -> float:
    count = len(part)
    if count < 2:
        return math.nan
    return float(stdtrit(count - 1, 0.5 + level / 2)) * math.sqrt(count / (count - 1) * float((part**2).sum()))
