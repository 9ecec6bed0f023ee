"""Lesion by lesion: which reference lesions a prediction found, which marks are extra, and how well the hits fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError
from radfoundry.stats.bootstrap import draw_weights
from radfoundry.stats.inputs import Seed, at_least, choice, interval_level
from radfoundry.stats.masks import bounding_box, label_pair, mask_pair, voxel_size

MEASURES = ("iou", "dice", "cover")


@dataclass(frozen=True)
class Match:
    """A reference lesion and the predicted one that was given to it, with the overlap that joined them."""

    reference: int
    predicted: int
    overlap: float


@dataclass(frozen=True)
class Matching:
    """The outcome of matching one case: pairs, reference lesions nobody found, predicted lesions without a partner."""

    pairs: tuple[Match, ...]
    missed: tuple[int, ...]
    extra: tuple[int, ...]

    @property
    def lesions(self) -> int:
        """How many reference lesions there are."""
        return len(self.pairs) + len(self.missed)


@dataclass(frozen=True)
class LesionScores:
    """Lesion-wise results over cases: detection, fit of the hits, and both in one number."""

    sensitivity: Estimate
    precision: Estimate
    f1: Estimate
    fit: Estimate
    panoptic_quality: Estimate
    extra_per_case: Estimate
    found: int
    missed: int
    extra: int


def lesion_labels(
    mask: ArrayLike, *, spacing_mm: Sequence[float], smallest_mm3: float = 0.0, corners_connect: bool = True
) -> np.ndarray:
    """Number the separate lesions of a mask 1, 2, ...; specks below a volume are dropped.

    Args:
        mask: 2D or 3D mask of 0 and 1.
        spacing_mm: voxel size, one length an axis (in 2D the smallest size is an area in mm²).
        smallest_mm3: lesions of less volume become background.
        corners_connect: voxels that touch by an edge or corner belong together (26 neighbours in 3D, 8 in 2D);
            otherwise only faces connect (6 and 4).

    >>> lesion_labels([[1, 0, 0], [0, 1, 0], [0, 0, 0]], spacing_mm=(1.0, 1.0)).max()
    np.int32(1)
    """
    from scipy.ndimage import generate_binary_structure, label

    first, _ = mask_pair(mask, mask)
    voxel = float(voxel_size(spacing_mm, first.ndim).prod())
    labels, _count = label(first, generate_binary_structure(first.ndim, first.ndim if corners_connect else 1))
    if smallest_mm3 > 0:
        large = np.bincount(labels.ravel()) * voxel >= smallest_mm3
        large[0] = False
        labels = (np.cumsum(large) * large).astype(labels.dtype)[labels]
    return labels


def match_lesions(
    reference: ArrayLike, predicted: ArrayLike, *, threshold: float = 0.5, measure: str = "iou"
) -> Matching:
    """Give every reference lesion at most one predicted lesion and the reverse.

    A pair may be joined when its overlap reaches `threshold` (and is above 0); among all ways to join lesions one to
    one, the one of largest summed overlap is taken. With IoU of at least 0.5 there is only one way.

    Args:
        reference: map of lesion numbers, 0 is background (from `lesion_labels`, or instances as annotated).
        predicted: map of the same shape.
        threshold: smallest overlap that counts as found.
        measure: "iou", "dice", or "cover" (share of the reference lesion that is covered).

    Source: Kirillov et al. 2019 (arXiv 1801.00868); assignment: Kuhn 1955.

    >>> match_lesions([1, 1, 0, 2], [5, 5, 0, 0])
    Matching(pairs=(Match(reference=1, predicted=5, overlap=1.0),), missed=(2,), extra=())
    """
    from scipy.optimize import linear_sum_assignment

    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}", remedy="give a share from 0 to 1")
    first, second = label_pair(reference, predicted)
    either = (first != 0) | (second != 0)
    if either.any():
        # Lesions fill little of an image, and sorting labels is the slow part.
        box = bounding_box(either)
        first, second = first[box], second[box]
    names_first, names_second, overlap = _overlaps(first, second, choice(measure, MEASURES, "measure"))
    allowed = (overlap >= threshold) & (overlap > 0)
    rows, columns = linear_sum_assignment(np.where(allowed, overlap, 0.0), maximize=True)
    joined = [(row, column) for row, column in zip(rows, columns, strict=True) if allowed[row, column]]
    pairs = tuple(
        Match(int(names_first[row]), int(names_second[column]), float(overlap[row, column])) for row, column in joined
    )
    taken_first = {pair.reference for pair in pairs}
    taken_second = {pair.predicted for pair in pairs}
    return Matching(
        pairs,
        tuple(int(name) for name in names_first if int(name) not in taken_first),
        tuple(int(name) for name in names_second if int(name) not in taken_second),
    )


def _overlaps(first: np.ndarray, second: np.ndarray, measure: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lesion numbers of both maps and the (lesions, lesions) table of their overlap."""
    names_first, index_first = np.unique(first, return_inverse=True)
    names_second, index_second = np.unique(second, return_inverse=True)
    flat = index_first.ravel() * len(names_second) + index_second.ravel()
    shared = np.bincount(flat, minlength=len(names_first) * len(names_second))
    shared = shared.reshape(len(names_first), len(names_second))
    size_first, size_second = shared.sum(axis=1), shared.sum(axis=0)
    whole = {
        "iou": lambda: size_first[:, None] + size_second - shared,
        "dice": lambda: (size_first[:, None] + size_second) / 2,
        "cover": lambda: np.broadcast_to(size_first[:, None], shared.shape),
    }[measure]()
    rows, columns = names_first != 0, names_second != 0
    return names_first[rows], names_second[columns], (shared / whole)[rows][:, columns]


def lesion_scores(
    matchings: Sequence[Matching],
    *,
    patient: ArrayLike | None = None,
    level: float = 0.95,
    draws: int = 2000,
    rng: Seed = 0,
) -> LesionScores:
    """Lesion-wise sensitivity, precision, F1, fit and panoptic quality, pooled over cases.

    Lesions are pooled (every lesion counts once) and patients are drawn for the intervals, because lesions of one
    patient are found or missed together. A measure without anything to count is undefined (NaN): sensitivity
    without reference lesions, precision without predicted ones.

    Args:
        matchings: one case each, from `match_lesions`.
        patient: (cases,) names; cases of one patient are drawn together.
        level: confidence level.
        draws: bootstrap draws (percentile).
        rng: seed or generator.

    F1 is the recognition quality, fit the mean overlap of the pairs (segmentation quality), and their product the
    panoptic quality of Kirillov et al. 2019.
    """
    if not matchings:
        raise InputError("no cases", remedy="give at least one matching")
    counts = np.array(
        [
            (len(one.pairs), len(one.missed), len(one.extra), sum(pair.overlap for pair in one.pairs), 1.0)
            for one in matchings
        ]
    )
    names = np.arange(len(matchings)).astype(str) if patient is None else np.asarray(patient).astype(str)
    at_least(draws, 20, "draws")
    weights = draw_weights(names, draws=draws, rng=rng)
    values, drawn = _ratios(counts.sum(axis=0)[None])[0], _ratios(weights @ counts)
    patients = len(np.unique(names))
    tail = (1 - interval_level(level)) / 2
    sensitivity, precision, f1, fit, quality, extra = (
        _pooled(value, column, tail, (len(matchings), patients, name))
        for name, value, column in zip(_NAMES, values, drawn.T, strict=True)
    )
    totals = [int(total) for total in counts.sum(axis=0)[:3]]
    return LesionScores(sensitivity, precision, f1, fit, quality, extra, *totals)


_NAMES = (
    "lesion sensitivity",
    "lesion precision",
    "lesion-wise F1",
    "mean overlap of found lesions",
    "panoptic quality",
    "extra lesions per case",
)


def _ratios(totals: np.ndarray) -> np.ndarray:
    """(draws, 6) measures from (draws, 5) totals: found, missed, extra, summed overlap, cases."""
    found, missed, extra, overlap, cases = totals.T
    with np.errstate(invalid="ignore", divide="ignore"):
        either = found + (missed + extra) / 2
        columns = (
            found / (found + missed),
            found / (found + extra),
            found / either,
            overlap / found,
            overlap / either,
            extra / cases,
        )
    return np.stack(columns, axis=1)


def _pooled(value: float, drawn: np.ndarray, tail: float, about: tuple[int, int, str]) -> Estimate:
    """One pooled measure with percentile limits from the draws in which it is defined."""
    cases, patients, name = about
    method = f"{name}, bootstrap of {patients} patients"
    level = 1 - 2 * tail
    if np.isnan(value):
        return Estimate.undefined("no lesions to count", n=cases, method=method, level=level)
    if patients < 2:
        return Estimate(float(value), level=level, method=method, n=cases, note="one patient")
    defined = drawn[~np.isnan(drawn)]
    low, high = np.quantile(defined, [tail, 1 - tail])
    lost = len(drawn) - len(defined)
    note = f"undefined in {lost} of {len(drawn)} draws" if lost else ""
    return Estimate(float(value), float(low), float(high), round(level, 12), method, cases, note)
