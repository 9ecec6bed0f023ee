"""How far off an answer is, beside answers that need no image, with intervals that draw patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from radfoundry.records import Estimate, Predictions
from radfoundry.stats.bootstrap import Statistic, bootstrap, bootstrap_difference
from radfoundry.stats.comparisons import mcnemar
from radfoundry.stats.proportions import clustered_proportion
from radfoundry.tasks.localise import HIGH, LOW, Asked

OURS, USUAL, MIDDLE, FRESH = "localiser", "mean-place", "scan-centre", "untrained"
DRAWS = 2000


def errors_mm(items: Sequence[Asked], said: Sequence[np.ndarray]) -> np.ndarray:
    """(n,) distance of each answer's point from the true one."""
    return np.array(
        [np.linalg.norm(points[0] - item.points[0]) for item, points in zip(items, said, strict=True)], float
    )


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """The shared volume of two boxes over that of both together; points are (3, 3): centre, low and high corner.

    >>> box = np.array([[1, 1, 1], [0, 0, 0], [2, 2, 2]], float)
    >>> round(overlap(box, box + [1, 0, 0]), 3)
    0.333
    """
    sides = np.minimum(one[HIGH], other[HIGH]) - np.maximum(one[LOW], other[LOW])
    shared = float(np.prod(np.maximum(sides, 0)))
    volumes = [float(np.prod(np.maximum(box[HIGH] - box[LOW], 0))) for box in (one, other)]
    union = sum(volumes) - shared
    return shared / union if union > 0 else 0.0


def measures(
    items: Sequence[Asked], answers: Mapping[str, Sequence[np.ndarray]], *, within_mm: float, seed: int
) -> dict[str, Estimate]:
    """Median error, share within reach and mean overlap of boxes of each answerer; ours minus each of the others."""
    patient = [item.patient for item in items]
    ours: dict[str, tuple[np.ndarray, str]] = {}
    found: dict[str, Estimate] = {}
    gaps: dict[str, Estimate] = {}
    for name, said in answers.items():
        columns = _columns(items, said, within_mm)
        if name == OURS:
            ours = columns
        for key, (values, how) in columns.items():
            found[key if name == OURS else f"{name}/{key}"] = _measured(values, patient, how, seed)
            if name != OURS:
                gaps[f"{OURS}-minus-{name}/{key}"] = _difference(ours[key][0], values, patient, how, seed)
    return {**found, **gaps}


def _measured(values: np.ndarray, patient: Sequence[str], how: str, seed: int) -> Estimate:
    # Redrawing patients who were all found gives an interval without width; a share has one of its own.
    if how == "share":
        return clustered_proportion(values, patient)
    return bootstrap(_statistic(how), _held(values, patient), draws=DRAWS, rng=seed)


def _difference(ours: np.ndarray, other: np.ndarray, patient: Sequence[str], how: str, seed: int) -> Estimate:
    if how == "share":
        return mcnemar(ours, other, patient=list(patient))
    pair = (_held(ours, patient), _held(other, patient))
    return bootstrap_difference(_statistic(how), *pair, draws=DRAWS, rng=seed)


def _columns(items: Sequence[Asked], said: Sequence[np.ndarray], within_mm: float) -> dict[str, tuple[np.ndarray, str]]:
    error = errors_mm(items, said)
    found = {"error-mm": (error, "median"), f"within-{within_mm:g}-mm": ((error <= within_mm).astype(float), "share")}
    if all(len(points) == 3 for points in said):
        boxes = [overlap(points, item.points) for item, points in zip(items, said, strict=True)]
        found["box-overlap"] = (np.array(boxes), "mean")
    return found


def _held(values: np.ndarray, patient: Sequence[str]) -> Predictions:
    return Predictions.of(np.zeros(len(values)), values, patient=patient)


def _statistic(how: str) -> Statistic:
    return _median if how == "median" else _mean


def _median(sample: Predictions) -> float:
    return float(np.median(sample.score))


def _mean(sample: Predictions) -> float:
    return float(sample.score.mean())
