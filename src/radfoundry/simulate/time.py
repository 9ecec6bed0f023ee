"""What happens to simulated people over time: survival with a known hazard, growth, treatment, repeat visits, drift."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from radfoundry.records import InputError


@dataclass(frozen=True, eq=False)
class Survival:
    """Follow-up of n people: time in days, whether the event was seen, and the true log hazard ratio of each."""

    time_days: np.ndarray
    event: np.ndarray
    log_hazard: np.ndarray


def draw_survival(
    covariates: np.ndarray,
    log_hazard_ratios: np.ndarray,
    *,
    rng: np.random.Generator,
    median_days: float = 730.0,
    shape: float = 1.2,
    censored: float = 0.3,
) -> Survival:
    """Survival times from a Weibull proportional-hazards model with random censoring.

    covariates `(n, p)`, log hazard ratios `(p,)` per unit; `median_days` is the median of somebody whose covariates
    are all 0; `censored` the share expected to be lost to follow-up (met by bisection on an exponential censoring
    rate). Times by inversion, Bender, Augustin and Blettner 2005, Stat Med 24:1713. Refuses shares outside 0 to 0.95.
    """
    if not 0 <= censored <= 0.95:
        raise InputError(f"censored share {censored} is outside 0 to 0.95")
    if median_days <= 0 or shape <= 0:
        raise InputError("the median survival and the Weibull shape must be positive")
    score = np.asarray(covariates, dtype=float) @ np.asarray(log_hazard_ratios, dtype=float)
    scale = np.log(2) / median_days**shape
    event_days = (-np.log(rng.random(len(score))) / (scale * np.exp(score))) ** (1 / shape)
    unit = -np.log(rng.random(len(score)))
    low, high = 1e-9, 1e6
    for _ in range(200):  # the censored share falls as the mean follow-up grows
        mean = float(np.sqrt(low * high))
        low, high = (mean, high) if (unit * mean < event_days).mean() > censored else (low, mean)
    censor_days = unit * high if censored > 0 else np.full(len(score), np.inf)
    return Survival(np.minimum(event_days, censor_days), event_days <= censor_days, score)


def follow_up(
    log_hazard: float,
    *,
    rng: np.random.Generator,
    median_days: float = 730.0,
    shape: float = 1.2,
    censored: float = 0.3,
    spread: float = 0.6,
) -> tuple[int, int]:
    """One person's follow-up in days and whether the event was seen (1) or not (0), from their log hazard ratio.

    The same model as `draw_survival`, but for people drawn one by one: `censored` is the share lost to follow-up in
    a population whose log hazard has deviation `spread`.
    """
    mean_days = _censoring_mean(median_days, shape, censored, spread)
    scale = np.log(2) / median_days**shape
    event_days = (-np.log(rng.random()) / (scale * np.exp(log_hazard))) ** (1 / shape)
    censor_days = -np.log(rng.random()) * mean_days
    return max(1, round(float(min(event_days, censor_days)))), int(event_days <= censor_days)


@functools.lru_cache(maxsize=16)
def _censoring_mean(median_days: float, shape: float, censored: float, spread: float) -> float:
    """Mean of the exponential censoring times that censors a share of a population of known spread."""
    from scipy import special

    if censored <= 0:
        return np.inf
    grid = (np.arange(400) + 0.5) / 400
    quantiles = special.ndtri(grid) * spread
    scale = np.log(2) / median_days**shape
    days = (-np.log(grid)[:, None] / (scale * np.exp(quantiles))) ** (1 / shape)
    low, high = 1e-3, 1e9
    for _ in range(100):  # a person with event day t is censored with probability 1 - exp(-t / mean)
        mean = float(np.sqrt(low * high))
        low, high = (mean, high) if float((1 - np.exp(-days / mean)).mean()) > censored else (low, mean)
    return high


def grown_volume_ml(
    start_ml: float, days: np.ndarray, *, doubling_days: float, limit_ml: float = 250.0, response: float = 0.0
) -> np.ndarray:
    """A tumour's volume over time: Gompertz growth that begins with the given doubling time and ends at a limit.

    `response` is the share of cells that treatment kills from day 0 on, decaying over 60 days into regrowth.
    Refuses volumes at or above the limit.
    """
    if not 0 < start_ml < limit_ml or doubling_days <= 0 or not 0 <= response < 1:
        raise InputError(f"growth from {start_ml} ml to {limit_ml} ml in {doubling_days} days cannot be")
    span = np.log(limit_ml / start_ml)
    rate = np.log(2) / doubling_days / span
    days = np.asarray(days, dtype=float)
    shrunk = np.log1p(-response) * (1 - np.exp(-np.maximum(days, 0) / 60))
    return start_ml * np.exp(span * (1 - np.exp(-rate * days)) + shrunk)


def visit_days(count: int, *, interval_days: float, jitter_days: float, rng: np.random.Generator) -> np.ndarray:
    """Days of repeat visits, the first on day 0, each about an interval after the last and never before it."""
    if count < 1 or interval_days <= 0 or not jitter_days >= 0:
        raise InputError("visits need a count of at least 1, a positive interval and a jitter of at least 0")
    steps = np.maximum(1.0, interval_days + rng.normal(0, jitter_days, count - 1)) if count > 1 else np.zeros(0)
    return np.round(np.concatenate([[0.0], np.cumsum(steps)]))


def training_effect(
    baseline: np.ndarray, *, mean_change: float, between_sd: float, measurement_sd: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Measurements before and after six weeks of training: each person changes by a share of their baseline.

    `mean_change` 0.03 is 3 %; both visits carry independent measurement error. Gives (before, after).
    """
    change = rng.normal(mean_change, between_sd, len(baseline))
    before = baseline + rng.normal(0, measurement_sd, len(baseline))
    return before, baseline * (1 + change) + rng.normal(0, measurement_sd, len(baseline))


def drifted(day: float, *, onset_day: float, size: float, ramp_days: float = 0.0) -> float:
    """How far a drift has come by a day: 0 before its onset, `size` after it, linear over the ramp between."""
    if ramp_days <= 0:
        return size if day >= onset_day else 0.0
    return size * float(np.clip((day - onset_day) / ramp_days, 0, 1))
