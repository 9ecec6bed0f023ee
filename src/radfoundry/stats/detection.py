"""Other ways to score detectors: average precision, mean best IoU, and the pointing game."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError
from radfoundry.stats.bootstrap import draw_weights
from radfoundry.stats.inputs import Seed, interval_level
from radfoundry.stats.marks import Marks, as_boxes, box_overlap
from radfoundry.stats.masks import voxel_size
from radfoundry.stats.proportions import clustered_proportion, proportion


def detection_precision(marks: Marks, *, level: float = 0.95, draws: int = 1000, rng: Seed = 0) -> Estimate:
    """Average precision of rated marks: the area under precision against lesion sensitivity.

    Precision at each sensitivity is the best at that or a higher one (the usual envelope), summed over the found
    lesions. Undefined (NaN) without lesions; 0 without marks. Patients are drawn for the interval.

    Source: Everingham et al. 2010, IJCV 88:303 (area of the interpolated curve, all points).

    >>> marks = Marks.of(["a", "b", "b"], [3, 2, 1], [0, -1, 0], lesions={"a": 1, "b": 1, "c": 0})
    >>> detection_precision(marks, draws=100).value.__round__(3)
    0.833
    """
    return mean_average_precision([marks], level=level, draws=draws, rng=rng)


def mean_average_precision(
    marks: Sequence[Marks], *, level: float = 0.95, draws: int = 1000, rng: Seed = 0
) -> Estimate:
    """The mean of `detection_precision` over classes of lesions, or over IoU thresholds, of the same cases.

    Classes without a lesion are left out and counted in the note. Patients are drawn once for all classes.
    """
    interval_level(level)
    if not marks:
        raise InputError("no classes", remedy="give the marks of at least one class")
    cases = marks[0].cases
    if any(not np.array_equal(one.cases, cases) for one in marks):
        raise InputError("classes list different cases", remedy="name the same cases in the same order")
    kept = [one for one in marks if one.lesions.sum() > 0]
    left_out = len(marks) - len(kept)
    method = f"mean average precision over {len(kept)}" if len(marks) > 1 else "average precision"
    if not kept:
        return Estimate.undefined("no case has a lesion", n=len(cases), method=method, level=level)
    weights = draw_weights(marks[0].patient, draws=draws, rng=rng)
    value = np.mean([_average_precision(one, np.ones((1, len(cases))))[0] for one in kept])
    drawn = np.mean([_average_precision(one, weights) for one in kept], axis=0)
    tail = (1 - level) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    patients = len(np.unique(marks[0].patient))
    note = f"{left_out} classes without lesions left out" if left_out else ""
    title = f"{method}, bootstrap of {patients} patients"
    return Estimate(float(value), float(low), float(high), level, title, len(cases), note)


def _average_precision(marks: Marks, weights: np.ndarray) -> np.ndarray:
    """(draws,) area under the envelope of precision, under many weightings of the cases."""
    order = np.argsort(-marks.rating, kind="stable")
    if len(order) == 0:
        return np.zeros(len(weights))
    rating, false = marks.rating[order], marks.false[order]
    last = np.nonzero(np.diff(np.concatenate([rating, [-np.inf]])))[0]
    of_mark = weights[:, marks.case[order]]
    found = np.cumsum(of_mark * ~false, axis=1)[:, last]
    wrong = np.cumsum(of_mark * false, axis=1)[:, last]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(found + wrong > 0, found / (found + wrong), 0.0)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        steps = np.diff(found, axis=1, prepend=0.0) / (weights @ marks.lesions)[:, None]
        return (envelope * steps).sum(axis=1)


def mean_best_overlap(
    predicted: Sequence[ArrayLike],
    truth: Sequence[ArrayLike],
    *,
    patient: ArrayLike | None = None,
    level: float = 0.95,
    draws: int = 1000,
    rng: Seed = 0,
) -> Estimate:
    """The mean over lesions of the best IoU that any predicted box reaches. Inferior: it ignores false marks.

    Kept to reproduce published tables only: a detector that covers the image with boxes of all sizes scores well.
    Report `froc`, `jafroc` or `detection_precision` instead; the note says so.

    Args:
        predicted: boxes of each case, (n, 4) or (n, 6).
        truth: boxes of the true lesions of each case.
        patient: (cases,) names; cases of one patient are drawn together.
        level: confidence level.
        draws: bootstrap draws.
        rng: seed or generator.

    >>> mean_best_overlap([[[0, 0, 2, 2]], []], [[[0, 0, 2, 1]], [[0, 0, 1, 1]]], draws=100).value
    0.25
    """
    interval_level(level)
    if len(predicted) != len(truth) or not len(truth):
        raise InputError(f"{len(predicted)} predicted and {len(truth)} true cases", remedy="give one entry a case")
    best = [_best(boxes, lesions) for boxes, lesions in zip(predicted, truth, strict=True)]
    total, count = np.array([one.sum() for one in best]), np.array([float(len(one)) for one in best])
    method, n = "mean best IoU per lesion", len(truth)
    if count.sum() == 0:
        return Estimate.undefined("no case has a lesion", n=n, method=method, level=level)
    names = np.arange(n).astype(str) if patient is None else np.asarray(patient).astype(str)
    weights = draw_weights(names, draws=draws, rng=rng)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = (weights @ total) / (weights @ count)
    tail = (1 - level) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    title = f"{method}, bootstrap of {len(np.unique(names))} patients"
    note = "ignores false marks; prefer FROC or average precision"
    return Estimate(float(total.sum() / count.sum()), float(low), float(high), level, title, n, note)


def _best(boxes: ArrayLike, lesions: ArrayLike) -> np.ndarray:
    true = as_boxes(lesions)
    found = as_boxes(boxes)
    if len(true) == 0 or len(found) == 0:
        return np.zeros(len(true))
    return box_overlap(found, true).max(axis=0)


def pointing_game(
    maps: Sequence[ArrayLike],
    masks: Sequence[ArrayLike],
    *,
    spacing_mm: Sequence[float],
    margin_mm: float = 0.0,
    patient: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """How often the highest point of a heat map lies in the lesion: the share of hits over cases with a lesion.

    Args:
        maps: one heat map a case.
        masks: the lesion mask of each case, same shape; cases with an empty mask are left out and counted.
        spacing_mm: voxel size of all maps, one length an axis.
        margin_mm: a peak this close to the lesion still counts.
        patient: (cases,) names; cases of one patient are not treated as independent.
        level: confidence level (Wilson).

    When several points share the highest value (a flat map), the hit is the share of them that lies in the lesion,
    rounded to a hit above one half: a flat map does not hit by the luck of its first voxel. Compare with the share
    of the image that the lesion fills, in the note: that is what a random point scores.

    Source: Zhang et al. 2018, IJCV 126:1084.

    >>> heat, lesion = np.eye(4), np.zeros((4, 4))
    >>> heat[1, 2], lesion[1, 1:3] = 9, 1
    >>> pointing_game([heat], [lesion], spacing_mm=(1.0, 1.0)).value
    1.0
    """
    if len(maps) != len(masks):
        raise InputError(f"{len(maps)} maps and {len(masks)} masks", remedy="give one of each a case")
    if margin_mm < 0:
        raise InputError(f"margin_mm is {margin_mm}", remedy="give a length of 0 mm or more")
    names = np.arange(len(maps)).astype(str) if patient is None else np.asarray(patient).astype(str)
    hits, kept, area = [], [], []
    for index, (heat, mask) in enumerate(zip(maps, masks, strict=True)):
        values, lesion = np.asarray(heat, float), np.asarray(mask) > 0
        if values.shape != lesion.shape or not np.isfinite(values).all():
            raise InputError("map and mask differ in shape, or the map is not finite", where=f"case {index}")
        if lesion.any():
            target = _widened(lesion, voxel_size(spacing_mm, lesion.ndim), margin_mm)
            hits.append(float(target[values == values.max()].mean()) > 0.5)
            kept.append(names[index])
            area.append(float(target.mean()))
    left_out = len(maps) - len(hits)
    if not hits:
        return Estimate.undefined("no case has a lesion", n=0, method="pointing game", level=level)
    found = (
        proportion(sum(hits), len(hits), level=level)
        if patient is None
        else clustered_proportion(np.array(hits), np.array(kept), level=level)
    )
    note = f"a random point scores {np.mean(area):.2g}" + (
        f"; {left_out} cases without lesion left out" if left_out else ""
    )
    return Estimate(found.value, found.low, found.high, level, f"pointing game, {found.method}", len(hits), note)


def _widened(mask: np.ndarray, spacing: np.ndarray, margin_mm: float) -> np.ndarray:
    if margin_mm == 0:
        return mask
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~mask, sampling=spacing) <= margin_mm * (1 + 1e-9)
