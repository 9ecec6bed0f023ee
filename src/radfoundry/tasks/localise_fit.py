"""Voting for a place: every token of a frozen encoder says how far off the place lies, by ridge regression.

After the crops that vote for the position of organs (Criminisi et al., Med Image Anal 2013;17:1293), with tokens in
place of crops and a linear regression in place of a forest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.records import InputError, Series
from radfoundry.tasks.localise import Asked
from radfoundry.volume import points_to_voxels, points_to_world

STRENGTHS = tuple(10.0**power for power in range(-5, 2))
FEWEST = 8  # tokens that vote in the second round, however far they are
ROUNDS = 2
INNER_FOLDS = 3


@dataclass(frozen=True, eq=False)
class Seen:
    """What an encoder says of one scan: tokens `(n, width)` and the middle of each in RAS mm of the scan `(n, 3)`."""

    tokens: np.ndarray
    places_mm: np.ndarray


@dataclass(frozen=True, eq=False)
class Localiser:
    """What was learned: `far` and `near` `(width + 1, 3 points)` in mm, the last row being the constant.

    `usual` `(points, 3)` is the mean place as seen from the middle of the scan; `near_mm` how near a token must be to
    vote in the second round.
    """

    far: np.ndarray
    near: np.ndarray
    usual: np.ndarray
    near_mm: float


@dataclass(frozen=True, eq=False)
class Found:
    """An answer: points `(points, 3)` in RAS mm, and the median distance of the votes from the first in mm."""

    points: np.ndarray
    spread_mm: float


def see(series: Series, encoder: Any, folder: str | None = None) -> Seen:
    """Tokens of one scan with their places; refuses an encoder without tokens."""
    import torch

    from radfoundry.tasks import detect

    framed = detect.framed(series, encoder.spec, folder)
    with torch.no_grad():
        seen = encoder.encode(torch.from_numpy(np.ascontiguousarray(framed.array))[None])
    if seen.tokens is None or seen.grid is None or len(seen.grid) != 3:
        raise InputError(f"{encoder.spec.name} gives no places", where="encoder", remedy="choose another encoder")
    size = np.array(framed.array.shape[1:])
    step = np.ceil(size / np.array(seen.grid))  # encoders fill up to whole patches at the far end
    cells = np.stack(np.meshgrid(*(np.arange(n) for n in seen.grid), indexing="ij"), axis=-1).reshape(-1, 3)
    voxels = points_to_voxels(framed.step, cells * step + (step - 1) / 2)
    inside = ((voxels > -0.5) & (voxels < np.array(series.shape[1:]) - 0.5)).all(axis=1)
    inside = inside if inside.sum() >= FEWEST else np.ones(len(cells), bool)
    tokens = seen.tokens[0].float().numpy()
    return Seen(tokens[inside], points_to_world(framed.affine, voxels[inside]))


@dataclass(frozen=True, eq=False)
class _Sums:
    """What a ridge regression needs of some tokens; sums of patients add up."""

    square: np.ndarray
    cross: np.ndarray
    answers: np.ndarray

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(self.square + other.square, self.cross + other.cross, self.answers + other.answers)


def _sums(tokens: np.ndarray, offsets: np.ndarray) -> _Sums:
    """Every image counts the same, however many tokens it has."""
    rows = np.column_stack([tokens, np.ones(len(tokens))]).astype(float)
    share = 1 / len(rows)
    return _Sums(rows.T @ rows * share, rows.T @ offsets * share, (offsets**2).sum(axis=0) * share)


def _ridge(sums: _Sums, strength: float) -> np.ndarray:
    """Weights of the standardised regression, the constant unpunished."""
    count = sums.square[-1, -1]
    mean = sums.square[-1] / count
    spread = np.maximum(np.diag(sums.square) / count - mean**2, 1e-8)
    spread[-1] = 0.0
    return np.linalg.solve(sums.square + np.diag(spread * strength * count + 1e-9), sums.cross)


def _loss(sums: _Sums, weights: np.ndarray) -> float:
    """The summed squared error of weights on the tokens behind some sums."""
    fitted = np.einsum("ij,ik,kj->j", weights, sums.square, weights)
    return float((sums.answers - 2 * (weights * sums.cross).sum(axis=0) + fitted).sum())


def _chosen(by_patient: dict[str, _Sums]) -> np.ndarray:
    """The regression on all patients, as strong as is best on patients left out of it."""
    names = sorted(by_patient)
    groups = [names[turn::INNER_FOLDS] for turn in range(INNER_FOLDS)] if len(names) >= 2 * INNER_FOLDS else []
    whole = _total([by_patient[name] for name in names])
    if not groups:
        return _ridge(whole, STRENGTHS[len(STRENGTHS) // 2])
    losses = np.zeros(len(STRENGTHS))
    for group in groups:
        held = _total([by_patient[name] for name in group])
        rest = _total([by_patient[name] for name in names if name not in group])
        losses += [_loss(held, _ridge(rest, strength)) for strength in STRENGTHS]
    return _ridge(whole, STRENGTHS[int(np.argmin(losses))])


def _total(parts: Sequence[_Sums]) -> _Sums:
    first, *rest = parts
    for part in rest:
        first = first + part
    return first


def fit(items: Sequence[Asked], seen: Sequence[Seen], *, near_mm: float) -> Localiser:
    """Learn from scans with a true place; the order of the scans does not matter."""
    far: dict[str, _Sums] = {}
    near: dict[str, _Sums] = {}
    for item, scan in sorted(zip(items, seen, strict=True), key=lambda pair: (pair[0].patient, pair[0].series.key)):
        offsets = (item.points[None] - scan.places_mm[:, None]).reshape(len(scan.places_mm), -1)
        close = _close(scan, item.points[0], near_mm)
        for table, rows in ((far, slice(None)), (near, close)):
            made = _sums(scan.tokens[rows], offsets[rows])
            table[item.patient] = table[item.patient] + made if item.patient in table else made
    usual = np.mean([item.points - item.centre_mm for item in items], axis=0)
    return Localiser(_chosen(far), _chosen(near), usual, near_mm)


def find(fitted: Localiser, scan: Seen) -> Found:
    """The place that the tokens agree on: first all of them vote, then those near the answer.

    The middle vote along each axis counts, so that a few wild ones move nothing.
    """
    points = np.median(_votes(fitted.far, scan, slice(None)), axis=0)
    votes = points[None]
    for _ in range(ROUNDS):
        votes = _votes(fitted.near, scan, _close(scan, points[0], fitted.near_mm))
        points = np.median(votes, axis=0)
    spread = np.median(np.linalg.norm(votes[:, 0] - points[0], axis=1))
    return Found(points, float(spread))


def _votes(weights: np.ndarray, scan: Seen, rows: Any) -> np.ndarray:
    """(n, points, 3) where tokens say the points are."""
    places = scan.places_mm[rows]
    said = scan.tokens[rows].astype(float) @ weights[:-1] + weights[-1]
    return places[:, None] + said.reshape(len(places), -1, 3)


def _close(scan: Seen, place_mm: np.ndarray, near_mm: float) -> np.ndarray:
    """Indices of the tokens within reach of a place, of the nearest few where there are none."""
    away = np.linalg.norm(scan.places_mm - place_mm, axis=1)
    close = np.flatnonzero(away <= near_mm)
    return close if len(close) >= FEWEST else np.argsort(away, kind="stable")[:FEWEST]


def usual_place(fitted: Localiser, item: Asked) -> np.ndarray:
    """The answer without looking at the image: the mean place as seen from the middle of the scan."""
    return item.centre_mm + fitted.usual
