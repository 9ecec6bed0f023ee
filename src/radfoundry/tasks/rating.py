"""How well scores of image quality agree with people's: order, line and typical miss, each with its doubt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats import regression
from radfoundry.stats.bootstrap import draw_weights
from radfoundry.stats.correlation import correlation

METRICS = ("srcc", "plcc", "rmse")


def measure(predictions: Predictions, *, seed: int = 0) -> dict[str, Estimate]:
    """Spearman's and Pearson's correlation with the given scores and the root mean square error, by patient.

    >>> rng = np.random.default_rng(0)
    >>> given = rng.uniform(0, 100, 60)
    >>> measure(Predictions.of(given, given + rng.normal(0, 5, 60)))["srcc"].value > 0.95
    True
    """
    pairs = (predictions.target, predictions.score)
    return {
        "srcc": correlation(*pairs, kind="spearman", patient=predictions.patient),
        "plcc": correlation(*pairs, kind="pearson", patient=predictions.patient),
        "rmse": regression.root_mean_square_error(predictions, rng=seed),
    }


def mean_srcc(learnings: Sequence[Predictions], *, draws: int = 500, seed: int = 0) -> Estimate:
    """Spearman's correlation averaged over raters taught by different few scans; patients and teachings are drawn."""
    return _over_learnings(learnings, None, draws=draws, seed=seed)


def srcc_difference(
    first: Sequence[Predictions], second: Sequence[Predictions], *, draws: int = 500, seed: int = 0
) -> Estimate:
    """By how much the first way of teaching orders scans better than the second, on the same patients.

    Both were taught several times, each time with the same few scored scans. The interval draws patients and
    teachings together, so it holds for other patients and other scored scans.
    """
    return _over_learnings(first, second, draws=draws, seed=seed)


def _over_learnings(
    first: Sequence[Predictions], second: Sequence[Predictions] | None, *, draws: int, seed: int
) -> Estimate:
    data = first[0]
    others = [*first, *(second or ())]
    if any(not np.array_equal(item.case, data.case) for item in others) or (second and len(second) != len(first)):
        raise InputError("the teachings were not tested on the same scans", remedy="test all on the same ones")
    tables = [np.stack([item.score for item in part]) for part in (first, second or ()) if part]
    rng = np.random.default_rng(seed)
    weights = draw_weights(data.patient, draws=draws, rng=rng)
    turns = rng.integers(len(first), size=(draws, len(first)))
    drawn = np.array([_gap(tables, data.target, row, turn) for row, turn in zip(weights, turns, strict=True)])
    everything = np.ones(len(data))
    value = _gap(tables, data.target, everything, np.arange(len(first)))
    known = drawn[np.isfinite(drawn)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) > draws / 2 else (np.nan, np.nan)
    what = "difference of Spearman correlations" if second else "Spearman correlation"
    method = f"{what}, mean of {len(first)} teachings, bootstrap of patients and teachings"
    return Estimate(value, float(low), float(high), method=method, n=len(data))


def _gap(tables: Sequence[np.ndarray], target: np.ndarray, weights: np.ndarray, turns: np.ndarray) -> float:
    """The mean correlation of the first table's rows, less that of the second's where there is one."""
    rows = np.repeat(np.arange(len(weights)), weights.astype(int))
    wanted = _ranked(target[rows])
    means = [float(np.mean([(_ranked(table[turn, rows]) * wanted).mean() for turn in turns])) for table in tables]
    return means[0] - means[1] if len(means) == 2 else means[0]


def _ranked(values: np.ndarray) -> np.ndarray:
    """Ranks with mean 0 and spread 1; not a number where all are alike."""
    ranks = rankdata(values)
    spread = ranks.std()
    return (ranks - ranks.mean()) / (spread if spread > 0 else np.nan)
