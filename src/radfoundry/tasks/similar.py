"""The question `similar`: which other patients look like this one, and do they share the answer?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats import bootstrap, proportions
from radfoundry.tasks.examples import Examples

NEAREST = (1, 5, 10)
QUERIES_AT_ONCE, ROWS_AT_ONCE = 256, 1 << 16


def unit(vectors: np.ndarray) -> np.ndarray:
    """(n, width) vectors of length one, in single precision; features are centred and scaled by the caller."""
    values = np.asarray(vectors, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def nearest(
    index: np.ndarray, queries: np.ndarray, *, count: int, owners: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` most alike rows of an index for every query, exactly: (queries, count) places and cosines.

    Args:
        index, queries: (n, width) and (m, width) vectors of length one.
        count: how many to give.
        owners: patients of index and queries as whole numbers; a query never gets an image of its own patient, and
            where too few others are left the places are -1.

    Blocks of queries are compared with blocks of the index, so that memory stays bounded whatever its size.

    >>> nearest(np.eye(3), np.array([[0.9, 0.1, 0.0]]), count=2)[0].tolist()
    [[0, 1]]
    """
    if index.ndim != 2 or queries.ndim != 2 or index.shape[1] != queries.shape[1]:
        raise InputError(f"an index {index.shape} asked by {queries.shape}", remedy="give vectors of one width")
    count = min(count, len(index))
    places, likeness = np.empty((len(queries), count), int), np.empty((len(queries), count), np.float32)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        own = None if owners is None else (owners[0], owners[1][part])
        places[part], likeness[part] = _block(index, queries[part], count, own)
    return np.where(np.isfinite(likeness), places, -1), likeness


def _block(
    index: np.ndarray, queries: np.ndarray, count: int, owners: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """The best of every block of the index, then the best of those."""
    asked = torch.from_numpy(np.ascontiguousarray(queries, np.float32))
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(index), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        alike = asked @ torch.from_numpy(np.ascontiguousarray(index[rows], np.float32)).T
        if owners is not None:
            alike[torch.from_numpy(owners[1][:, None] == owners[0][None, rows])] = -torch.inf
        best = torch.topk(alike, min(count, alike.shape[1]), dim=1)
        kept.append((best.indices.numpy() + start, best.values.numpy()))
    places, values = (np.concatenate([part[side] for part in kept], axis=1) for side in (0, 1))
    order = np.lexsort((places, -values), axis=1)[:, :count]
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(values, order, axis=1)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """What was found for every query: the neighbours' rows (-1: none) and how alike they are."""

    rows: Examples
    places: np.ndarray
    likeness: np.ndarray

    def table(self, labels: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """One row per query and rank: case, neighbour, how alike, and both answers."""
        count = self.places.shape[1]
        asked = np.repeat(self.rows.case, count)
        there = self.places.ravel() >= 0
        found = self.rows.case[self.places.ravel().clip(0)]
        columns = {
            "case": asked,
            "rank": np.tile(np.arange(1, count + 1), len(self.rows)),
            "neighbour": found,
            "cosine": self.likeness.ravel(),
            "answer": np.array([str(labels.get(case)) for case in asked]),
            "neighbour_answer": np.array([str(labels.get(case)) for case in found]),
        }
        return {name: column[there] for name, column in columns.items()}


def search(rows: Examples, *, count: int = max(NEAREST)) -> Neighbours:
    """For every image the most alike images of other patients, by the cosine of standardised features."""
    patients = np.unique(rows.patient, return_inverse=True)[1]
    if patients.max() < 2:
        raise InputError("fewer than three patients", remedy="give more patients to search among", finding="too-few")
    spread = rows.features.std(axis=0)
    scaled = unit((rows.features - rows.features.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0))
    places, likeness = nearest(scaled, scaled, count=count, owners=(patients, patients))
    return Neighbours(rows, places, likeness)


def measure(found: Neighbours, *, seed: int = 0) -> dict[str, Estimate]:
    """How often one of the nearest (recall@k), and what share of them (precision@k), has the same answer.

    Beside recall stands what as many images drawn blindly from other patients would give, on the same queries.
    """
    rows = found.rows
    same = (rows.answer[found.places.clip(0)] == rows.answer[:, None]) & (found.places >= 0)
    return agreement(same, _share_of_others(rows), rows.patient, seed=seed)


def agreement(same: np.ndarray, shares: np.ndarray, patient: np.ndarray, *, seed: int = 0) -> dict[str, Estimate]:
    """Recall, precision and blind recall at 1, 5 and 10, as far as neighbours reach.

    same (queries, neighbours): whether a neighbour shares the query's answer; shares (queries,): of the images of other
    patients, the part that does; patient (queries,).
    """
    metrics = {}
    for count in NEAREST:
        if count > same.shape[1]:
            continue
        hit = same[:, :count].any(axis=1)
        metrics[f"recall@{count}"] = proportions.clustered_proportion(hit, patient, name="recall")
        metrics[f"precision@{count}"] = _mean(same[:, :count].mean(axis=1), patient, seed=seed)
        metrics[f"chance-recall@{count}"] = _mean(1 - (1 - shares) ** count, patient, seed=seed)
    return metrics


def _share_of_others(rows: Examples) -> np.ndarray:
    """(n,) share of other patients' images with the same answer."""
    foreign = rows.patient[:, None] != rows.patient[None]
    alike = (rows.answer[:, None] == rows.answer[None]) & foreign
    return alike.sum(axis=1) / np.maximum(foreign.sum(axis=1), 1)


def _mean(values: np.ndarray, patient: np.ndarray, *, seed: int) -> Estimate:
    from radfoundry.stats.weighted import weighted_mean

    rows = Predictions.of(np.zeros(len(values)), values, patient=patient)
    return bootstrap.bootstrap(weighted_mean("mean", lambda data: data.score), rows, rng=seed)
