"""Charts over time: Shewhart, EWMA and CUSUM with limits set by simulating how often a stable process would alarm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import Seed, at_least, choice, finite_numbers, generator, interval_level

KINDS = ("shewhart", "ewma", "cusum")
Sampler = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


@dataclass(frozen=True)
class ChartDesign:
    """A chart and its limit.

    `tuning`: EWMA weight of the newest value, or CUSUM allowance in standard deviations (half the shift that
    matters). `limit` is in standard deviations of the values (Shewhart, CUSUM) or of the EWMA. `run_length` is the
    mean number of points until a false alarm, with the simulation's own interval. `sides`: 2, or 1 for upward only.
    """

    kind: str
    tuning: float
    limit: float
    sides: int
    run_length: Estimate

    def false_alarms(self, points_per_year: float) -> float:
        """False alarms to expect in a year of a stable process."""
        return points_per_year / self.run_length.value


@dataclass(frozen=True, eq=False)
class ChartResult:
    """A chart that was run: `upper` and `lower` statistics (points,), where they alarm, and the design's limit.

    `lower` is the statistic for falls, mirrored so that larger means further down; one-sided charts hold it at 0.
    `since` is the last point at which an alarming CUSUM was at 0, an estimate of when the change began.
    """

    design: ChartDesign
    upper: np.ndarray
    lower: np.ndarray
    alarms: tuple[int, ...]
    first_alarm: int | None
    direction: str
    since: int | None


def design_chart(
    kind: str,
    run_length: float,
    *,
    tuning: float | None = None,
    sides: int = 2,
    baseline: ArrayLike | None = None,
    rng: Seed = 0,
) -> ChartDesign:
    """Set a chart's limit so that a stable process gives, on average, one false alarm in `run_length` points.

    Args:
        kind: "shewhart" (sees large jumps), "ewma" or "cusum" (see small lasting shifts).
        run_length: wanted points between false alarms, for example 370, or points per year times years.
        tuning: EWMA weight (default 0.1) or CUSUM allowance (default 0.5).
        sides: 2, or 1 for alarms on rises only.
        baseline: (points,) standardised values of a stable period, redrawn in the simulation so that skewed or
            discrete values get their own limit; normal values without it.
        rng: seed or generator.

    Sources: Page, Biometrika 1954;41:100; Lucas & Saccucci, Technometrics 1990;32:1; Montgomery, Introduction to
    Statistical Quality Control.

    >>> design_chart("cusum", 50, rng=1).limit.__round__(0)
    3.0
    """
    choice(kind, KINDS, "kind")
    weight = {"shewhart": 0.0, "ewma": 0.1, "cusum": 0.5}[kind] if tuning is None else float(tuning)
    if run_length < 5 or sides not in (1, 2):
        raise InputError(
            f"run length {run_length}, sides {sides}", remedy="give a run length of 5 or more and 1 or 2 sides"
        )
    if (kind == "ewma" and not 0 < weight <= 1) or weight < 0:
        raise InputError(f"tuning {weight}", where=kind, remedy="0 < EWMA weight <= 1; CUSUM allowance >= 0")
    frame = ChartDesign(kind, weight, math.nan, sides, Estimate(math.nan))
    record = _simulated_maxima(frame, run_length, _sampler(baseline), generator(rng))
    limit = _limit_for(record, run_length)
    return ChartDesign(kind, weight, limit, sides, _run_length(record, limit))


def _sampler(baseline: ArrayLike | None) -> Sampler:
    if baseline is None:
        return lambda rng, shape: rng.standard_normal(shape)
    values = finite_numbers(baseline, "baseline")
    at_least(len(values), 20, "baseline points")
    return lambda rng, shape: rng.choice(values, shape)


def _simulated_maxima(frame: ChartDesign, run_length: float, sample: Sampler, rng: np.random.Generator) -> np.ndarray:
    """(points, streams) highest statistic so far in many stable streams: the first crossing of any limit is in it."""
    points, streams = math.ceil(4 * run_length), 1500
    step = _stepper(frame, streams)
    record = np.empty((points, streams), dtype=np.float32)
    highest = np.zeros(streams)
    block = max(1, 2_000_000 // streams)
    for start in range(0, points, block):
        values = sample(rng, (min(block, points - start), streams))
        for offset, row in enumerate(values):
            np.maximum(highest, step(row), out=highest)
            record[start + offset] = highest
    return record


def _stepper(frame: ChartDesign, streams: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function that takes the next value of every stream and returns the larger of its two statistics."""
    upper, lower = np.zeros(streams), np.zeros(streams)
    time = 0

    def step(value: np.ndarray) -> np.ndarray:
        nonlocal time
        time += 1
        _advance(frame, value, upper, lower, time=time)
        scale = _ewma_scale(frame, time)
        return np.maximum(upper, lower) / scale if frame.sides == 2 else upper / scale

    return step


def _advance(frame: ChartDesign, value: np.ndarray, upper: np.ndarray, lower: np.ndarray, *, time: int) -> None:
    """Update both statistics in place."""
    if frame.kind == "cusum":
        np.maximum(upper + value - frame.tuning, 0.0, out=upper)
        np.maximum(lower - value - frame.tuning, 0.0, out=lower)
        return
    weight = 1.0 if frame.kind == "shewhart" else frame.tuning
    upper += weight * (value - upper)
    lower[:] = -upper


def _ewma_scale(frame: ChartDesign, time: int) -> float:
    """Standard deviation of the EWMA after so many points: it starts at its first value, so early alarms are fair."""
    if frame.kind != "ewma":
        return 1.0
    weight = frame.tuning
    return math.sqrt(weight / (2 - weight) * (1 - (1 - weight) ** (2 * time)))


def _mean_run(record: np.ndarray, limit: float) -> tuple[float, int]:
    """Mean points until the limit is passed, and how many streams passed it; streams that did not count their time."""
    waited = int((record <= limit).sum())
    crossed = int((record[-1] > limit).sum())
    return (waited + crossed) / max(crossed, 1), crossed


def _limit_for(record: np.ndarray, run_length: float) -> float:
    low, high = 0.0, float(record.max())
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _mean_run(record, middle)[0] < run_length else (low, middle)
    return (low + high) / 2


def _run_length(record: np.ndarray, limit: float) -> Estimate:
    mean, crossed = _mean_run(record, limit)
    # Waiting times are nearly exponential: their logarithm is known to one over the square root of the count.
    factor = math.exp(float(ndtri(0.975)) / math.sqrt(max(crossed, 1)))
    title = f"{record.shape[1]} simulated stable streams of {record.shape[0]} points"
    return Estimate(mean, mean / factor, mean * factor, method=title, n=crossed, note="points between false alarms")


def run_chart(values: ArrayLike, design: ChartDesign) -> ChartResult:
    """Run a designed chart over standardised values, in order of time.

    Args:
        values: (points,) numbers with mean 0 and standard deviation 1 while all is well; see `standardised` and
            `standardised_rates`.
        design: from `design_chart`.

    A CUSUM goes on after an alarm without a reset, so that the chart keeps showing how long the trouble lasts.

    >>> design = design_chart("shewhart", 100, rng=1)
    >>> run_chart([0.1, -0.4, 0.3, 5.0], design).alarms
    (3,)
    """
    series = finite_numbers(values, "values")
    upper, lower = np.zeros((2, len(series)))
    up, down = np.zeros(1), np.zeros(1)
    for time, value in enumerate(series, start=1):
        _advance(design, np.array([value]), up, down, time=time)
        scale = _ewma_scale(design, time)
        upper[time - 1], lower[time - 1] = up[0] / scale, down[0] / scale
    if design.sides == 1:
        lower[:] = 0.0
    alarms = tuple(int(place) for place in np.flatnonzero(np.maximum(upper, lower) > design.limit))
    first = alarms[0] if alarms else None
    direction = "" if first is None else "up" if upper[first] >= lower[first] else "down"
    since = None
    if first is not None and design.kind == "cusum":
        path = upper if direction == "up" else lower
        quiet = np.flatnonzero(path[:first] <= 0)
        since = int(quiet[-1]) + 1 if len(quiet) else 0
    return ChartResult(design, upper, lower, alarms, first, direction, since)


def standardised(values: ArrayLike, baseline: ArrayLike) -> np.ndarray:
    """Values in standard deviations from the mean of a stable period.

    Few baseline points make the mean and spread uncertain, and false alarms more frequent than designed: give 100 or
    more where possible; fewer than 20 are refused.
    """
    stable = finite_numbers(baseline, "baseline")
    at_least(len(stable), 20, "baseline points")
    spread = float(stable.std(ddof=1))
    if spread == 0:
        raise InputError("the baseline never varies", remedy="chart something that can change")
    return (finite_numbers(values, "values") - stable.mean()) / spread


def standardised_rates(hits: ArrayLike, totals: ArrayLike, rate: float) -> np.ndarray:
    """Rates per period (for example findings omitted of findings present) in standard deviations from a stable rate.

    Args:
        hits, totals: (periods,) counts; periods with a total of 0 are refused.
        rate: the rate while all is well.
    """
    interval_level(rate)
    found, count = finite_numbers(hits, "hits"), finite_numbers(totals, "totals")
    if len(found) != len(count) or (count <= 0).any() or (found < 0).any() or (found > count).any():
        raise InputError(
            "hits and totals do not fit", remedy="give 0 <= hits <= totals, totals above 0, one per period"
        )
    return (found - count * rate) / np.sqrt(count * rate * (1 - rate))
