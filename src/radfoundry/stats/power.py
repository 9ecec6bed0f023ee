"""The power of paired comparisons by simulation: how many cases until a true difference is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, ndtr, ndtri, stdtr

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import Seed, at_least, finite_numbers, generator, interval_level
from radfoundry.stats.proportions import proportion

Power = Callable[[int], Estimate]


@dataclass(frozen=True)
class SizePlan:
    """The power at every size tried, and the smallest size whose power reaches the aim (None when none does)."""

    tried: tuple[tuple[int, Estimate], ...]
    smallest: int | None
    aim: float


def auroc_power(
    auroc: tuple[float, float],
    *,
    cases: tuple[int, int],
    correlation: float = 0.5,
    alpha: float = 0.05,
    simulations: int = 1000,
    rng: Seed = 0,
) -> Estimate:
    """The chance that the paired DeLong test tells two models' AUROCs apart.

    Args:
        auroc: the true AUROC of each model.
        cases: numbers of positive and of negative cases, each read by both models.
        correlation: of the two models' scores within positives and within negatives.
        alpha: two-sided error rate.
        simulations: simulated data sets; the interval is the simulation's own uncertainty.
        rng: seed or generator.

    Scores are normal with equal variances in both classes (binormal).

    >>> 0.2 < auroc_power((0.75, 0.85), cases=(40, 40), simulations=200).value < 0.8
    True
    """
    if not -1 < correlation < 1 or not all(0 < area < 1 for area in auroc):
        raise InputError(
            f"AUROCs {auroc}, correlation {correlation}", remedy="give 0 < AUROC < 1, -1 < correlation < 1"
        )
    positives, negatives = (at_least(count, 2, "cases of a class") for count in cases)
    source, shift = generator(rng), np.sqrt(2) * ndtri(np.array(auroc))

    def scores(size: int, runs: int) -> np.ndarray:
        one, other = source.standard_normal((2, runs, size))
        return np.stack([one, correlation * one + np.sqrt(1 - correlation**2) * other], axis=1)

    def p_values(runs: int) -> tuple[np.ndarray, np.ndarray]:
        above = scores(positives, runs) + shift[None, :, None]
        return _delong(above, scores(negatives, runs))

    return _rejections(p_values, float(auroc[1] - auroc[0]), alpha, simulations, "paired DeLong")


def _delong(above: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Second minus first AUROC and its p-value for (runs, 2, positives) and (runs, 2, negatives) scores."""
    positives, negatives = above.shape[2], below.shape[2]
    order = np.argsort(np.argsort(np.concatenate([above, below], axis=2), axis=2), axis=2) + 1.0
    own_above = np.argsort(np.argsort(above, axis=2), axis=2) + 1.0
    own_below = np.argsort(np.argsort(below, axis=2), axis=2) + 1.0
    # Midranks without ties: scores are continuous here.
    beaten = (order[:, :, :positives] - own_above) / negatives
    missed = 1 - (order[:, :, positives:] - own_below) / positives
    gap = beaten[:, 1] - beaten[:, 0], missed[:, 1] - missed[:, 0]
    value = gap[0].mean(axis=1)
    variance = gap[0].var(axis=1, ddof=1) / positives + gap[1].var(axis=1, ddof=1) / negatives
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(variance > 0, value / np.sqrt(variance), 0.0)
    return value, 2 * ndtr(-np.abs(z))


def score_power(
    differences: ArrayLike | tuple[float, float],
    cases: int,
    *,
    gain: float | None = None,
    alpha: float = 0.05,
    simulations: int = 2000,
    rng: Seed = 0,
) -> Estimate:
    """The chance that a paired t test over cases finds a difference in a per-case score such as Dice.

    Args:
        differences: per-case differences of a pilot, redrawn with their true shape; or (mean, SD) for normal ones.
        cases: of the planned comparison.
        gain: the true mean difference to plan for; the pilot is shifted to it. Without it the pilot's own mean is
            taken, which is too hopeful when the pilot was chosen for its result.
        alpha: two-sided error rate.
        simulations: simulated comparisons.
        rng: seed or generator.

    >>> round(score_power((0.02, 0.05), 40, rng=1).value, 1)
    0.7
    """
    at_least(cases, 2, "cases")
    source = generator(rng)
    if isinstance(differences, tuple) and len(differences) == 2:
        mean, spread = np.asarray(differences, dtype=float).tolist()
        target = mean if gain is None else gain

        def sample(runs: int) -> np.ndarray:
            return target + spread * source.standard_normal((runs, cases))
    else:
        pilot = finite_numbers(np.asarray(differences), "differences")
        at_least(len(pilot), 5, "pilot cases")
        target = float(pilot.mean()) if gain is None else gain
        shifted = pilot - pilot.mean() + target

        def sample(runs: int) -> np.ndarray:
            return source.choice(shifted, (runs, cases))

    def p_values(runs: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = sample(runs)
        value, error = drawn.mean(axis=1), drawn.std(axis=1, ddof=1) / np.sqrt(cases)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(error > 0, value / error, np.where(value == 0, 0.0, np.inf))
        return value, 2 * stdtr(cases - 1, -np.abs(t))

    return _rejections(p_values, target, alpha, simulations, "paired t over cases")


def binary_power(
    discordant: tuple[float, float], cases: int, *, alpha: float = 0.05, simulations: int = 5000, rng: Seed = 0
) -> Estimate:
    """The chance that McNemar's mid-p test finds a difference in right and wrong answers of two models.

    Args:
        discordant: share of cases only the second model gets right, and share only the first gets right.
        cases: of the planned comparison.
        alpha: two-sided error rate.
        simulations: simulated comparisons.
        rng: seed or generator.
    """
    better, worse = discordant
    if min(discordant) < 0 or better + worse > 1:
        raise InputError(f"discordant shares {discordant}", remedy="give two shares adding to at most 1")
    source = generator(rng)
    at_least(cases, 1, "cases")

    def p_values(runs: int) -> tuple[np.ndarray, np.ndarray]:
        counts = source.multinomial(cases, [better, worse, 1 - better - worse], size=runs)
        up, total = counts[:, 0], counts[:, 0] + counts[:, 1]
        least = np.minimum(up, total - up)
        below = np.where(least > 0, bdtr(least - 1.0, total, 0.5), 0.0)
        tail = bdtr(least.astype(float), total, 0.5)
        # Mid-p: the observed count weighs half; two-sided by doubling.
        return (2.0 * up - total) / cases, np.where(2 * least == total, 1.0, np.minimum(tail + below, 1.0))

    return _rejections(p_values, better - worse, alpha, simulations, "McNemar mid-p")


def _rejections(
    p_values: Callable[[int], tuple[np.ndarray, np.ndarray]], gain: float, alpha: float, simulations: int, test: str
) -> Estimate:
    """The share of simulations that reject in the direction of the true gain (either direction when it is 0)."""
    interval_level(1 - alpha)
    value, p_value = p_values(at_least(simulations, 20, "simulations"))
    found = (p_value < alpha) & ((value * gain > 0) if gain != 0 else True)
    note = f"share of {simulations} simulated comparisons with p < {alpha:g}; true difference {gain:g}"
    return replace(
        proportion(int(found.sum()), simulations, name="power"), method=f"simulated power, {test}", note=note
    )


def size_for_power(power: Power, sizes: Sequence[int], *, aim: float = 0.8) -> SizePlan:
    """Try sizes in turn and name the smallest whose simulated power reaches the aim, simulation error included.

    Args:
        power: a function of the number of cases, for example `lambda n: score_power((0.02, 0.05), n)`.
        sizes: to try, growing.
        aim: the wanted power; it must be reached by the lower limit.

    >>> size_for_power(lambda n: score_power((0.02, 0.05), n, rng=0), [20, 40, 60, 80]).smallest
    60
    """
    interval_level(aim)
    if not sizes or list(sizes) != sorted(set(sizes)):
        raise InputError(f"sizes {list(sizes)}", remedy="give growing sizes")
    tried: list[tuple[int, Estimate]] = []
    for size in sizes:
        tried.append((size, power(size)))
        if tried[-1][1].low >= aim:
            return SizePlan(tuple(tried), size, aim)
    return SizePlan(tuple(tried), None, aim)
