"""Honest numbers from a few audited cases and many that only a model has labelled (prediction-powered inference)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import clusters, finite_numbers, interval_level, true_or_false


def prediction_powered_mean(
    audited: ArrayLike,
    audited_guess: ArrayLike,
    unaudited_guess: ArrayLike,
    *,
    patient: ArrayLike | None = None,
    unaudited_patient: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """The mean of the truth over all cases, when a person checked only some and a model guessed all.

    The guesses' mean is corrected by how wrong they were where somebody looked, weighted so that useless guesses
    change nothing: the interval is never much wider than that of the audited cases alone, and never trusts the model.
    The audited cases must be a random draw of all.

    Args:
        audited: (n,) truth of the audited cases (0/1 or numbers).
        audited_guess: (n,) the model's guess for the same cases.
        unaudited_guess: (m,) the model's guess for the others.
        patient: (n,) patients of the audited cases where they repeat.
        unaudited_patient: (m,) patients of the others where they repeat.
        level: confidence level.

    Sources: Angelopoulos et al., Science 2023;382:669; Angelopoulos, Duchi & Zrnic, arXiv 2311.01453 (tuned weight).

    >>> guess = [1, 1, 0, 0, 1, 0] * 50
    >>> print(prediction_powered_mean([1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 1, 0], guess))
    0.33 (-0.05 to 0.72)
    """
    truth, guess = finite_numbers(audited, "audited"), finite_numbers(audited_guess, "audited_guess")
    others = finite_numbers(unaudited_guess, "unaudited_guess")
    if len(truth) != len(guess):
        raise InputError(f"{len(truth)} audited truths but {len(guess)} guesses", remedy="give one guess per case")
    if len(others) == 0:
        raise InputError("no unaudited case", remedy="use the audited cases alone")
    people = _groups(patient, len(truth)), _groups(unaudited_patient, len(others))
    count, n, title = int(people[0].max()) + 1, len(truth), "prediction-powered mean, tuned"
    interval_level(level)
    if count < 2:
        return Estimate(float(truth.mean()), level=level, method=title, n=n, note="fewer than two audited patients")
    value, variance, weight = _tuned(truth, guess, others, people=people)
    worth = f"weight of the guesses {weight:.2f}, {n} audited and {len(others)} guessed"
    if variance <= 0:
        return Estimate(value, level=level, method=title, n=n, note=f"no variance among the audited cases; {worth}")
    quantile = float(stdtrit(_freedom(truth - weight * guess, people[0]), 0.5 + level / 2))
    reach = quantile * math.sqrt(variance)
    gain = float(_mean_covariance(truth[None], people[0])[0, 0]) / variance
    note = f"{worth}; worth {gain:.1f} times the audited cases alone"
    return Estimate(value, value - reach, value + reach, level=level, method=title, n=n, note=note)


def prediction_powered_ratio(
    audited: tuple[ArrayLike, ArrayLike],
    audited_guess: tuple[ArrayLike, ArrayLike],
    unaudited_guess: tuple[ArrayLike, ArrayLike],
    *,
    level: float = 0.95,
) -> Estimate:
    """The share of one thing among another, for example sensitivity = found lesions / lesions, from few audited cases.

    Each argument is a pair (numerator, denominator) with a number for each case: (called and present, present). The
    ratio solves mean(numerator - ratio x denominator) = 0, that mean being the prediction-powered one; the interval
    holds every ratio that its test does not reject (for useless guesses this is close to Wilson's interval).

    >>> present, called = np.array([1, 1, 1, 0, 0, 1]), np.array([1, 1, 0, 0, 1, 1])
    >>> pair = (present * called, present)
    >>> wide = prediction_powered_ratio(pair, pair, tuple(np.tile(c, 30) for c in pair))
    >>> round(wide.value, 2)
    0.75
    """
    interval_level(level)
    top, bottom = (finite_numbers(column, "audited") for column in audited)
    guesses = [finite_numbers(column, "audited_guess") for column in audited_guess]
    others = [finite_numbers(column, "unaudited_guess") for column in unaudited_guess]
    n, title = len(top), "prediction-powered ratio"
    if bottom.sum() == 0:
        return Estimate.undefined("the denominator is empty among the audited cases", n=n, method=title, level=level)
    if len({len(bottom), n, *(len(guess) for guess in guesses)}) > 1 or len(others[0]) != len(others[1]):
        raise InputError("columns of different lengths", remedy="give numerator and denominator for the same cases")
    people, sides = (np.arange(n), np.arange(len(others[0]))), (bottom, guesses[1], others[1])

    def equation(ratio: float) -> tuple[float, float, float]:
        tops = (top, guesses[0], others[0])
        return _tuned(*(above - ratio * below for above, below in zip(tops, sides, strict=True)), people=people)

    # Newton steps of mean(top - ratio * bottom) = 0; its slope is the mean denominator.
    value = float(top.sum() / bottom.sum())
    for _ in range(20):
        miss, _, weight = equation(value)
        slope = float(bottom.mean() - weight * (guesses[1].mean() - others[1].mean()))
        if slope <= 0:
            return Estimate.undefined("the denominator is not above 0", n=n, method=title, level=level)
        value += miss / slope
    spread = math.sqrt(max(equation(value)[1], 0.0)) / slope
    residual = top - value * bottom - weight * (guesses[0] - value * guesses[1])
    quantile = float(stdtrit(_freedom(residual, people[0]), 0.5 + level / 2))
    note = f"weight of the guesses {weight:.2f}, {n} audited and {len(others[0])} guessed"
    if spread == 0:
        return Estimate(value, level=level, method=title, n=n, note=f"no variance among the audited cases; {note}")
    low, high = (_turning(equation, value, sign * spread, quantile) for sign in (-1, 1))
    return Estimate(value, low, high, level=level, method=f"{title}, test inverted", n=n, note=note)


def _turning(
    equation: Callable[[float], tuple[float, float, float]], value: float, step: float, quantile: float
) -> float:
    """Where, walking from the value in steps, the test of "this is the ratio" begins to reject; NaN if never."""
    from scipy.optimize import brentq

    def excess(ratio: float) -> float:
        miss, variance, _ = equation(ratio)
        return miss**2 - quantile**2 * variance

    near = value
    for _ in range(200):
        far = near + step / 2
        if excess(far) > 0:
            return float(brentq(excess, near, far))
        near = far
    return math.nan


def prediction_powered_rates(
    audited_truth: ArrayLike,
    audited_call: ArrayLike,
    audited_guess: ArrayLike,
    *,
    call: ArrayLike,
    guess: ArrayLike,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Sensitivity, specificity and predictive values of a device from few audited cases and many silver labels.

    Args:
        audited_truth: (n,) 0/1, the checked truth.
        audited_call: (n,) 0/1, what the device said.
        audited_guess: (n,) silver label (0/1 or a probability), for example from the report, on the audited cases.
        call: (m,) what the device said on the unaudited cases.
        guess: (m,) silver labels there.
        level: confidence level.
    """
    truth, said = true_or_false(audited_truth, "audited_truth"), true_or_false(audited_call, "audited_call")
    silver, rest = finite_numbers(audited_guess, "audited_guess"), finite_numbers(guess, "guess")
    told = true_or_false(call, "call").astype(float)
    real, called = truth.astype(float), said.astype(float)
    rates = {
        "sensitivity": ((real * called, real), (silver * called, silver), (rest * told, rest)),
        "specificity": (
            ((1 - real) * (1 - called), 1 - real),
            ((1 - silver) * (1 - called), 1 - silver),
            ((1 - rest) * (1 - told), 1 - rest),
        ),
        "positive_predictive_value": ((real * called, called), (silver * called, called), (rest * told, told)),
        "negative_predictive_value": (
            ((1 - real) * (1 - called), 1 - called),
            ((1 - silver) * (1 - called), 1 - called),
            ((1 - rest) * (1 - told), 1 - told),
        ),
    }
    return {name: _within_one(prediction_powered_ratio(*three, level=level)) for name, three in rates.items()}


def _within_one(estimate: Estimate) -> Estimate:
    """A rate cut at 0 and 1, which the correction by few audited cases may overstep."""
    low, value, high = (float(np.clip(part, 0, 1)) for part in (estimate.low, estimate.value, estimate.high))
    return replace(estimate, low=low, value=value, high=high)


def _groups(patient: ArrayLike | None, rows: int) -> np.ndarray:
    if patient is None:
        return np.arange(rows)
    group, _ = clusters(patient)
    if len(group) != rows:
        raise InputError(f"{rows} rows but {len(group)} patients", remedy="give one patient per row")
    return group


def _tuned(
    truth: np.ndarray, guess: np.ndarray, others: np.ndarray, *, people: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float, float]:
    """Audited mean - weight x (audited guesses' mean - other guesses' mean), its variance, and the weight.

    The weight makes the variance least and stays within 0 and 1.
    """
    audited = _mean_covariance(np.stack([truth, guess]), people[0])
    noise = float(audited[1, 1] + _mean_covariance(others[None], people[1])[0, 0])
    weight = min(max(float(audited[0, 1]) / noise, 0.0), 1.0) if noise > 0 else 0.0
    value = float(truth.mean() - weight * (guess.mean() - others.mean()))
    variance = float(audited[0, 0] - 2 * weight * audited[0, 1] + weight**2 * noise)
    return value, variance, weight


def _freedom(residual: np.ndarray, group: np.ndarray) -> float:
    """Degrees of freedom of a variance that hangs on few residuals: Satterthwaite's, from their kurtosis.

    When guesses are good, only the few cases where they are wrong say how wrong; normal residuals give the number
    of patients less one.
    """
    summed = np.bincount(group, residual - residual.mean())
    count, squares = len(summed), float((summed**2).sum())
    kurtosis = count * float((summed**4).sum()) / squares**2 if squares > 0 else 1.0
    return min(max(2 * count / (kurtosis - 1), 1.0), count - 1) if kurtosis > 1 else count - 1


def _mean_covariance(columns: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(k, k) covariance of the means of k columns, patients being the independent units; 0 for one patient only."""
    count, rows = int(group.max()) + 1, columns.shape[1]
    residual = np.stack([np.bincount(group, column - column.mean(), count) for column in columns])
    return residual @ residual.T * count / max(count - 1, 1) / rows**2
