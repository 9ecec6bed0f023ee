"""Whether a stated probability can be believed: reliability curve, calibration error, Brier score and its parts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.bootstrap import Weighted, bootstrap
from radfoundry.stats.inputs import Seed, as_predictions, at_least, binary_columns, clusters, generator, interval_level
from radfoundry.stats.proportions import effective_rows, limits_at
from radfoundry.stats.weighted import Prepared, ratio, weighted_brier


@dataclass(frozen=True)
class ReliabilityCurve:
    """Predicted probability against observed frequency, bin by bin, with Wilson intervals; empty bins are left out.

    All arrays are (bins,). `predicted` is the mean probability in the bin, `observed` the share of positives,
    `edges` are the (bins_asked + 1,) borders.
    """

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray
    edges: np.ndarray
    level: float
    n: int


def reliability_curve(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    bins: int | ArrayLike = 10,
    level: float = 0.95,
) -> ReliabilityCurve:
    """How often the finding was there among cases given about the same probability, with Wilson intervals.

    Args:
        data: predictions, or (n,) targets 0/1.
        score: (n,) probabilities; anything outside 0 to 1 is refused.
        patient: (n,) patient names; intervals widen when rows of one patient repeat.
        bins: a number of bins with equal numbers of cases, or the borders themselves (np.linspace(0, 1, 11) gives
            ten of equal width).
        level: confidence level.

    >>> reliability_curve([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], bins=2).observed.tolist()
    [0.0, 1.0]
    """
    found = as_predictions(data, score, patient=patient)
    interval_level(level)
    truth, probability = probabilities(found)
    edges = bin_edges(probability, bins)
    place = bin_of(probability, edges)
    kept = np.unique(place)
    limits = [_bin_limits(truth[place == one], found.patient[place == one], level) for one in kept]
    count = np.bincount(place)[kept]
    low, high = (np.array(side) for side in zip(*limits, strict=True))
    return ReliabilityCurve(
        np.bincount(place, probability)[kept] / count,
        np.bincount(place, truth)[kept] / count,
        low,
        high,
        count,
        edges,
        level,
        len(found),
    )


def _bin_limits(truth: np.ndarray, patient: np.ndarray, level: float) -> tuple[float, float]:
    group, count = clusters(patient)
    effective = float(len(truth)) if count == len(truth) else effective_rows(truth, group, count)
    return limits_at(float(truth.mean()), effective, level=level, method="wilson")


def probabilities(found: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Truth as booleans and score as probabilities; scores outside 0 to 1 are refused."""
    truth, score = binary_columns(found)
    outside = int(((score < 0) | (score > 1)).sum())
    if outside:
        raise InputError(
            f"{outside} of {len(score)} scores are outside 0 to 1", remedy="give probabilities, or recalibrate first"
        )
    return truth, score


def bin_edges(probability: np.ndarray, bins: int | ArrayLike) -> np.ndarray:
    """Borders from 0 to 1: as given, or with equal numbers of cases between them (borders that coincide are merged)."""
    borders = np.asarray(bins, float)
    if borders.ndim == 0:
        number = at_least(int(borders), 1, "bins")
        inner = np.quantile(probability, np.linspace(0, 1, number + 1)[1:-1])
        return np.unique(np.r_[0.0, inner, 1.0])
    if borders.ndim != 1 or len(borders) < 2 or borders[0] != 0 or borders[-1] != 1 or (np.diff(borders) <= 0).any():
        raise InputError("bin borders must rise from 0 to 1", remedy="give a number of bins, or np.linspace(0, 1, 11)")
    return borders


def bin_of(probability: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each probability; a border belongs to the bin above it, 1 to the last."""
    # np.linspace(0, 1, 6) holds 0.6000000000000001: without the slack a score of 0.6 would fall below its border.
    return np.clip(np.searchsorted(edges, probability + 1e-12, side="right") - 1, 0, len(edges) - 2)


def weighted_calibration_error(bins: int | ArrayLike) -> Weighted:
    """The calibration error as a weighted statistic; the borders are those of the rows as they are."""

    def prepare(data: Predictions) -> Prepared:
        truth, probability = probabilities(data)
        edges = bin_edges(probability, bins)
        member = bin_of(probability, edges)[:, None] == np.arange(len(edges) - 1)
        gap = (truth - probability)[:, None] * member
        return lambda weights: ratio(np.abs(weights @ gap).sum(axis=1), weights.sum(axis=1))

    return Weighted("expected calibration error", prepare)


def calibration_error(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    bins: int | ArrayLike = 10,
    level: float = 0.95,
    rng: Seed = 0,
) -> Estimate:
    """Expected calibration error (ECE): by how much probability and frequency differ on average over bins.

    Binned error is biased upwards: a perfectly calibrated model scores above 0 in a finite sample. The draws of a
    bootstrap carry that bias twice, so the interval is the reflected (basic) one, cut at 0, and the note gives the
    error that a perfectly calibrated model with these probabilities would show by chance.

    Source: Naeini et al., AAAI 2015 (ECE); Bröcker & Smith, Weather Forecast 2007;22:651 (chance level).

    >>> round(calibration_error([0, 0, 1, 1], [0.1, 0.1, 0.9, 0.9], bins=2).value, 3)
    0.1
    """
    found = as_predictions(data, score, patient=patient)
    _, probability = probabilities(found)
    statistic = weighted_calibration_error(bins)
    drawn = bootstrap(statistic, found, level=level, rng=rng, method="percentile")
    low, high = max(0.0, 2 * drawn.value - drawn.high), max(0.0, 2 * drawn.value - drawn.low)
    chance = chance_calibration_error(probability, bins=bins, rng=rng)
    method = drawn.method.replace("percentile", "basic") + f", {len(bin_edges(probability, bins)) - 1} bins"
    note = f"perfect calibration would show {chance:.3f}"
    return replace(drawn, low=low, high=high, method=method, note=note)


def chance_calibration_error(probability: np.ndarray, *, bins: int | ArrayLike = 10, rng: Seed = 0) -> float:
    """The calibration error expected when every probability is exactly right, from 200 simulated outcomes."""
    random = generator(rng)
    edges = bin_edges(probability, bins)
    member = (bin_of(probability, edges)[:, None] == np.arange(len(edges) - 1)).astype(float)
    outcome = random.random((200, len(probability))) < probability
    return float(np.abs((outcome - probability) @ member).sum(axis=1).mean() / len(probability))


def brier_score(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    level: float = 0.95,
    method: str = "bca",
    rng: Seed = 0,
) -> Estimate:
    """The mean squared distance between probability and outcome: 0 is perfect, always saying 0.5 scores 0.25.

    Source: Brier, Mon Weather Rev 1950;78:1.

    >>> brier_score([0, 1], [0.0, 0.5]).value
    0.125
    """
    found = as_predictions(data, score, patient=patient)
    truth, _ = probabilities(found)
    drawn = bootstrap(weighted_brier, found, level=level, method=method, rng=rng)
    return beside_prevalence(drawn, truth)


def beside_prevalence(drawn: Estimate, truth: np.ndarray) -> Estimate:
    """A Brier score with the score of always saying the prevalence in its note."""
    prevalence = float(truth.mean())
    trivial = f"always saying the prevalence scores {prevalence * (1 - prevalence):.3f}"
    return replace(drawn, note="; ".join(part for part in (drawn.note, trivial) if part))


@dataclass(frozen=True)
class BrierParts:
    """Brier score = reliability - resolution + uncertainty + within-bin remainder.

    `reliability` is the calibration part (smaller is better), `resolution` how far the groups' frequencies lie
    from the overall one (larger is better), `uncertainty` what the prevalence alone gives; `within` is what binning
    hides and is 0 when the score takes one value per bin.
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float
    n: int


def brier_parts(
    data: Predictions | ArrayLike, score: ArrayLike | None = None, *, bins: int | ArrayLike = 10
) -> BrierParts:
    """The Brier score taken apart: is it the calibration or the separation that fails.

    Source: Murphy, J Appl Meteorol 1973;12:595; Stephenson et al., Weather Forecast 2008;23:752 (within-bin terms).

    >>> parts = brier_parts([0, 0, 1, 1], [0.2, 0.2, 0.8, 0.8], bins=2)
    >>> round(parts.reliability, 3), round(parts.resolution, 3), round(parts.uncertainty, 3)
    (0.04, 0.25, 0.25)
    """
    truth, probability = probabilities(as_predictions(data, score))
    place = bin_of(probability, bin_edges(probability, bins))
    count = np.bincount(place)
    with np.errstate(invalid="ignore"):
        said, seen = np.bincount(place, probability) / count, np.bincount(place, truth) / count
    prevalence, n = float(truth.mean()), len(truth)
    filled = count > 0
    reliability = float((count * (said - seen) ** 2)[filled].sum() / n)
    resolution = float((count * (seen - prevalence) ** 2)[filled].sum() / n)
    brier = float(((probability - truth) ** 2).mean())
    uncertainty = prevalence * (1 - prevalence)
    # What is left by rounding alone is no remainder.
    within = brier - (reliability - resolution + uncertainty)
    within = 0.0 if math.isclose(within, 0, abs_tol=1e-12) else within
    return BrierParts(brier, reliability, resolution, uncertainty, within, n)
