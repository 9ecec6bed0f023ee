"""Readers with and without help: time saved, agreement gained, order effects, and what happens when the AI is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError
from radfoundry.stats.bootstrap import draw_weights
from radfoundry.stats.inputs import Seed, at_least, choice, finite_numbers, generator, interval_level, true_or_false
from radfoundry.stats.readers import ReaderStudy
from radfoundry.stats.readers_two_way import binary_readers, two_way_mean

Kappa = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class AidedChange:
    """What help changes: the figure without, with, and their paired difference (with minus without)."""

    without: Estimate
    aided: Estimate
    change: Estimate


def reading_time_ratio(
    without_s: ArrayLike, aided_s: ArrayLike, *, patient: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """How many times longer (above 1) or shorter (below 1) readers take with help, as a ratio of typical times.

    The ratio is of geometric means, with reader x case variance on the log scale; p is for a ratio of 1.

    Args:
        without_s, aided_s: (readers, cases) reading times in seconds, all above zero.
        patient: (cases,) names where patients repeat.
        level: confidence level.

    >>> print(reading_time_ratio([[300, 200, 250], [320, 310, 200]], [[200, 100, 190], [150, 160, 140]]).text(1))
    0.6 (0.3-1.0)
    """
    times = [np.asarray(table, dtype=float) for table in (without_s, aided_s)]
    if times[0].shape != times[1].shape or any((table <= 0).any() for table in times):
        raise InputError("times must be above 0 s and of one shape", remedy="give (readers, cases) seconds for both")
    log_ratio = two_way_mean(np.log(times[1] / times[0]), patient=patient, level=level, test=True)
    value, low, high = (math.exp(limit) for limit in (log_ratio.value, log_ratio.low, log_ratio.high))
    note = log_ratio.note or "p for a ratio of 1"
    return replace(log_ratio, value=value, low=low, high=high, note=note, method="two-way variance of log times")


def order_effect(
    difference: ArrayLike, aided_first: ArrayLike, *, patient: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """Half the gap between readings that had the aided session second and those that had it first.

    Above zero, the second session looks better than the first whatever the help: memory or learning, which a
    washout and a balanced order are meant to remove.

    Args:
        difference: (readers, cases) aided minus unaided.
        aided_first: (readers, cases) or (readers, 1) booleans.
        patient: (cases,) names where patients repeat.
        level: confidence level.
    """
    table = np.asarray(difference, dtype=float)
    side = np.broadcast_to(np.where(np.asarray(aided_first, dtype=bool), -1.0, 1.0), table.shape)
    centred = side - side.mean()
    weight = float((centred**2).mean())
    if weight == 0.0:
        return Estimate.undefined("every reading was made in the same order", n=table.shape[1], level=level)
    slope = float((centred * table).mean()) / weight
    residual = table - table.mean() - slope * centred
    found = two_way_mean(slope + centred * residual / weight, patient=patient, level=level, test=True)
    return replace(found, method="order effect, two-way reader x case variance", note=found.note or "p for none")


def change_by_ai(
    study: ReaderStudy, ai_call: ArrayLike, *, measure: str = "accuracy", level: float = 0.95
) -> dict[str, AidedChange]:
    """The change in accuracy where the AI was right and where it was wrong; a loss in the latter is automation bias.

    Args:
        study: two arms of yes/no readings, without help first, with help second.
        ai_call: (cases,) what the AI said, 0 or 1.
        measure: "accuracy", "sensitivity" or "specificity".
        level: confidence level.
    """
    calls = true_or_false(ai_call, "ai_call")
    if len(calls) != len(study.truth):
        raise InputError(f"{len(calls)} AI calls for {len(study.truth)} cases", remedy="give one call per case")
    two_arms(study)
    right = calls == study.truth
    return {
        name: aided_change(study.part(rows), measure=measure, level=level)
        for name, rows in (("AI right", right), ("AI wrong", ~right))
    }


def aided_change(study: ReaderStudy, *, measure: str = "accuracy", level: float = 0.95) -> AidedChange:
    """Accuracy, sensitivity or specificity without and with help, and the change, for new readers and patients."""
    two_arms(study)
    found = binary_readers(study, measure=measure, level=level)
    gap = found.differences[0].estimate
    change = replace(gap, value=-gap.value, low=-gap.high, high=-gap.low)
    return AidedChange(found.averages[0], found.averages[1], change)


def two_arms(study: ReaderStudy) -> None:
    """Refuse a study that does not have exactly two arms."""
    if len(study.arms) != 2:
        raise InputError(f"{len(study.arms)} arms", remedy="give two arms: without help first, with help second")


def kappa_change(
    study: ReaderStudy, *, against: str = "truth", draws: int = 1000, rng: Seed = 0, level: float = 0.95
) -> AidedChange:
    """Agreement beyond chance (kappa) without and with help, and its change.

    Args:
        study: two arms of yes/no readings, without help first.
        against: "truth" (each reader with the truth, averaged) or "readers" (all pairs of readers, averaged).
        draws, rng: of the bootstrap that draws readers and patients together.
        level: confidence level.

    Drawing both is cautious: the interval is a little wide. Source: Cohen, Educ Psychol Meas 1960;20:37; Owen,
    Ann Appl Stat 2007;1:386 (drawing rows and columns of a table).
    """
    two_arms(study)
    choice(against, ("truth", "readers"), "against")
    interval_level(level)
    decisions = true_or_false(study.ratings.reshape(-1), "reading").reshape(study.ratings.shape).astype(float)
    kappa = _truth_kappa(study.truth) if against == "truth" else _pair_kappa
    readers, cases = decisions.shape[1:]
    source = generator(rng)
    weights = draw_weights(study.patient, draws=at_least(draws, 50, "draws"), rng=source)
    chosen = source.integers(0, readers, (draws, readers))
    plain = np.array([kappa(arm, np.ones(cases), np.arange(readers)) for arm in decisions])
    drawn = np.array(
        [[kappa(arm, row, picked) for arm in decisions] for row, picked in zip(weights, chosen, strict=True)]
    )
    columns = (drawn[:, 0], drawn[:, 1], drawn[:, 1] - drawn[:, 0])
    values = (plain[0], plain[1], plain[1] - plain[0])
    return AidedChange(*(_percentile(v, c, level, cases) for v, c in zip(values, columns, strict=True)))


def _truth_kappa(truth: np.ndarray) -> Kappa:
    def average(calls: np.ndarray, weight: np.ndarray, picked: np.ndarray) -> float:
        share = weight / weight.sum()
        base, called = float(share @ truth), calls[picked] @ share
        agree = (calls[picked] == truth) @ share
        return _mean_kappa(agree, base * called + (1 - base) * (1 - called))

    return average


def _pair_kappa(calls: np.ndarray, weight: np.ndarray, picked: np.ndarray) -> float:
    share = weight / weight.sum()
    table = calls[picked]
    called = table @ share
    both = (table * share) @ table.T
    agree = 1 - called[:, None] - called[None, :] + 2 * both
    chance = np.outer(called, called) + np.outer(1 - called, 1 - called)
    # A reader drawn twice agrees with himself: such pairs say nothing.
    rows, columns = np.nonzero(np.triu(picked[:, None] != picked[None, :], 1))
    return _mean_kappa(agree[rows, columns], chance[rows, columns]) if len(rows) else math.nan


def _mean_kappa(agree: np.ndarray, chance: np.ndarray) -> float:
    known = chance < 1
    return float(((agree[known] - chance[known]) / (1 - chance[known])).mean()) if known.any() else math.nan


def _percentile(value: float, drawn: np.ndarray, level: float, cases: int) -> Estimate:
    title = "bootstrap over readers and patients, percentile"
    kept = drawn[np.isfinite(drawn)]
    if math.isnan(value) or len(kept) < 50:
        return Estimate.undefined("all readings are alike", n=cases, method=title, level=level)
    tail = (1 - level) / 2
    low, high = (float(limit) for limit in np.quantile(finite_numbers(kept, "draws"), [tail, 1 - tail]))
    return Estimate(value, low, high, level=level, method=title, n=cases)
