"""How well a prediction separates and calibrates at a given time when some patients are lost before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.bootstrap import Weighted, bootstrap, bootstrap_many
from radfoundry.stats.follow_up import follow_up, still_followed
from radfoundry.stats.inputs import Seed, finite_numbers

DRAWS = 1000


def auroc_at(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    *,
    moment: float,
    patient: ArrayLike | None = None,
    rng: Seed = 0,
) -> Estimate:
    """How well a risk separates patients with the event by `moment` from those still without it (cumulative/dynamic).

    Args:
        time: (n,) follow-up.
        event: (n,) 1 when the event happened, 0 when censored.
        risk: (n,) predicted risk, higher means earlier.
        moment: the time to judge at.
        patient: (n,) names; rows of one patient are drawn together.
        rng: seed or generator.

    Patients censored before `moment` are neither; those with the event stand in for them by the inverse share not
    yet censored when it happened. 95 % interval from 1,000 draws of patients, each with its own censoring curve.
    Undefined (NaN) when nobody has the event by then or nobody is left without it.

    Source: Uno et al. 2007, JASA 102:527; Hung & Chiang 2010; Blanche et al. 2013, Biom J 55:687.
    """
    times, events = follow_up(time, event)
    _check_moment(moment)
    method = f"cumulative/dynamic AUROC at {moment:g}, IPCW"
    case, control = events & (times <= moment), times > moment
    if not case.any() or not control.any():
        reason = f"nobody has the event by {moment:g}" if not case.any() else f"nobody is followed beyond {moment:g}"
        return Estimate.undefined(reason, n=len(times), method=method)
    data = _predictions(times, events, finite_numbers(risk, "risk"), patient)
    found = bootstrap(_auroc_statistic(moment), data, draws=DRAWS, rng=rng)
    return Estimate(found.value, found.low, found.high, found.level, f"{method}, {found.method}", found.n, found.note)


def _auroc_statistic(moment: float) -> Weighted:
    def prepare(data: Predictions) -> Callable[[np.ndarray], np.ndarray]:
        times, events = data.target[:, 0], data.target[:, 1] > 0
        case, control = events & (times <= moment), times > moment
        order = np.argsort(data.score, kind="stable")
        _, start = np.unique(data.score[order], return_index=True)

        def values(weights: np.ndarray) -> np.ndarray:
            followed = still_followed(times, events, weights).before(times)
            weighted = np.divide(weights * case, followed, out=np.zeros_like(weights), where=followed > 0)
            cases = np.add.reduceat(weighted[:, order], start, axis=1)
            controls = np.add.reduceat((weights * control)[:, order], start, axis=1)
            below = np.cumsum(controls, axis=1) - controls / 2
            with np.errstate(invalid="ignore", divide="ignore"):
                return (cases * below).sum(axis=1) / (cases.sum(axis=1) * controls.sum(axis=1))

        return values

    return Weighted(f"auroc at {moment:g}", prepare)


@dataclass(frozen=True)
class BrierOverTime:
    """Brier scores at each time, for the prediction and for the Kaplan-Meier curve without it, and their integrals.

    `scaled` is 1 - integrated / integrated of the curve: the share of the error that the prediction removes.
    """

    moments: tuple[float, ...]
    scores: tuple[Estimate, ...]
    reference: tuple[float, ...]
    integrated: Estimate
    integrated_reference: float
    scaled: Estimate


def brier_over_time(
    time: ArrayLike,
    event: ArrayLike,
    survival: ArrayLike,
    *,
    moments: ArrayLike,
    patient: ArrayLike | None = None,
    rng: Seed = 0,
) -> BrierOverTime:
    """Mean squared error of predicted survival at one or more times, corrected for censoring; lower is better.

    Args:
        time: (n,) follow-up.
        event: (n,) 1 when the event happened, 0 when censored.
        survival: (n, moments) predicted probability of being without the event at each moment, 0..1.
        moments: increasing times; the integrated score averages between the first and the last (trapezoids), and
            is the single score when there is one.
        patient: (n,) names; rows of one patient are drawn together.
        rng: seed or generator.

    95 % intervals from 1,000 draws of patients, each with its own censoring curve. Undefined (NaN) at a moment
    beyond follow-up.

    Source: Graf et al. 1999, Stat Med 18:2529.
    """
    times, events = follow_up(time, event)
    grid = np.atleast_1d(finite_numbers(moments, "moments"))
    predicted = np.asarray(survival, float).reshape(len(times), -1)
    if predicted.shape[1] != len(grid) or (np.diff(grid) <= 0).any():
        raise InputError(
            f"survival has {predicted.shape[1]} columns for {len(grid)} moments",
            remedy="one column a moment",
        )
    if not ((predicted >= 0) & (predicted <= 1)).all():
        raise InputError("survival leaves 0..1", remedy="give probabilities of being without the event")
    _check_moment(float(grid[0]))
    data = _predictions(times, events, predicted, patient)
    pieces = {f"{place}": _brier_statistic(grid, [place]) for place in range(len(grid))}
    pieces |= {"all": _brier_statistic(grid, None), "scaled": _brier_statistic(grid, None, scaled=True)}
    found = bootstrap_many(pieces, data, draws=DRAWS, rng=rng)
    ones = np.ones((1, len(times)))
    flat = [float(value) for value in _brier_means(data, grid, ones, reference=True)[0]]
    beyond = f"follow-up ended at {times.max():g}"
    scores = tuple(_named(found[str(place)], f"Brier at {moment:g}", beyond) for place, moment in enumerate(grid))
    return BrierOverTime(
        tuple(float(moment) for moment in grid),
        scores,
        tuple(flat),
        _named(found["all"], "integrated Brier", beyond),
        float(_integral(np.array([flat]), grid)[0]),
        _named(found["scaled"], "scaled integrated Brier", beyond),
    )


def _named(found: Estimate, name: str, beyond: str) -> Estimate:
    if math.isnan(found.value):
        return Estimate.undefined(beyond, n=found.n, method=name, level=found.level)
    return Estimate(found.value, found.low, found.high, found.level, f"{name}, {found.method}", found.n, found.note)


def _brier_statistic(grid: np.ndarray, places: list[int] | None, *, scaled: bool = False) -> Weighted:
    def prepare(data: Predictions) -> Callable[[np.ndarray], np.ndarray]:
        def values(weights: np.ndarray) -> np.ndarray:
            if places is not None:
                return _brier_means(data, grid, weights, only=places)[:, 0]
            total = _integral(_brier_means(data, grid, weights), grid)
            if not scaled:
                return total
            whole = _integral(_brier_means(data, grid, weights, reference=True), grid)
            return 1 - np.divide(total, whole, out=np.full(len(total), np.nan), where=whole > 0)

        return values

    return Weighted("brier", prepare)


def _brier_means(
    data: Predictions,
    grid: np.ndarray,
    weights: np.ndarray,
    *,
    only: list[int] | None = None,
    reference: bool = False,
) -> np.ndarray:
    """(draws, moments) weighted mean squared errors; with `reference` of the pooled survival curve of each draw."""
    times, events = data.target[:, 0], data.target[:, 1] > 0
    curve = still_followed(times, events, weights)
    at_event = curve.before(times)
    total = weights.sum(axis=1)
    columns = []
    for place in range(len(grid)) if only is None else only:
        moment = grid[place]
        case, control = events & (times <= moment), times > moment
        left = curve.at(np.array([moment]))
        of_case = np.divide(weights * case, at_event, out=np.zeros_like(weights), where=at_event > 0)
        of_control = np.divide(weights * control, left, out=np.zeros_like(weights), where=left > 0)
        if reference:
            pooled = of_control.sum(axis=1) / total
            errors = of_case.sum(axis=1) * pooled**2 + of_control.sum(axis=1) * (1 - pooled) ** 2
        else:
            column = data.score.reshape(len(data), -1)[:, place]
            errors = of_case @ column**2 + of_control @ (1 - column) ** 2
        columns.append(np.where(left[:, 0] > 0, errors / total, np.nan))
    return np.stack(columns, axis=1)


def _integral(scores: np.ndarray, grid: np.ndarray) -> np.ndarray:
    if len(grid) == 1:
        return scores[:, 0]
    return np.trapezoid(scores, grid, axis=1) / (grid[-1] - grid[0])


def _predictions(time: np.ndarray, event: np.ndarray, score: np.ndarray, patient: ArrayLike | None) -> Predictions:
    if len(score) != len(time):
        raise InputError(f"{len(time)} times for {len(score)} predictions", remedy="give one prediction a patient")
    names = None if patient is None else np.asarray(patient)
    return Predictions.of(np.stack([time, event.astype(float)], axis=1), score, patient=names)


def _check_moment(moment: float) -> None:
    if not (math.isfinite(moment) and moment > 0):
        raise InputError(f"moment is {moment}", remedy="give a time above 0")
