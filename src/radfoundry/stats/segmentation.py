"""How well a predicted mask covers a reference: overlap, volume, and a table of all structures of a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.bootstrap import bootstrap
from radfoundry.stats.inputs import Seed, choice, finite_numbers
from radfoundry.stats.masks import BOTH_EMPTY, bounding_box, empty_reason, label_pair, mask_pair, single, voxel_size
from radfoundry.stats.surface import surface_scores
from radfoundry.stats.weighted import weighted_mean_score

BOTH_EMPTY_RULES = ("undefined", "perfect")


def dice(reference: ArrayLike, predicted: ArrayLike, *, both_empty: str = "undefined") -> Estimate:
    """Twice the shared volume over the sum of both volumes: 1 is perfect, 0 is no overlap.

    0 when exactly one mask is empty. When both are, the answer is undefined (NaN) because a correct "nothing here"
    is a matter of specificity; `both_empty="perfect"` scores it 1 instead, and the note says so.

    Source: Dice 1945.

    >>> print(dice([0, 1, 1, 0], [0, 1, 0, 0]).value.__round__(3))
    0.667
    """
    first, second = mask_pair(reference, predicted)
    shared, total = int((first & second).sum()), int(first.sum()) + int(second.sum())
    return _overlap(2 * shared, total, empty_reason(first, second), method="Dice", both_empty=both_empty)


def iou(reference: ArrayLike, predicted: ArrayLike, *, both_empty: str = "undefined") -> Estimate:
    """The shared volume over the volume of the union (Jaccard index); empty masks as in `dice`.

    Source: Jaccard 1901.

    >>> iou([0, 1, 1, 0], [0, 1, 0, 0]).value
    0.5
    """
    first, second = mask_pair(reference, predicted)
    shared, union = int((first & second).sum()), int((first | second).sum())
    return _overlap(shared, union, empty_reason(first, second), method="IoU", both_empty=both_empty)


def _overlap(part: int, whole: int, reason: str, *, method: str, both_empty: str) -> Estimate:
    if choice(both_empty, BOTH_EMPTY_RULES, "both_empty") == "perfect" and reason == BOTH_EMPTY:
        return single(1.0, method, f"{BOTH_EMPTY}; scored 1 by choice")
    if reason == BOTH_EMPTY:
        return Estimate.undefined(reason, n=1, method=method)
    return single(part / whole, method, reason or "one pair of masks")


def volume_error(
    reference: ArrayLike, predicted: ArrayLike, *, spacing_mm: Sequence[float], relative: bool = False
) -> Estimate:
    """Predicted minus reference volume in ml, or as a share of the reference volume.

    The relative error is undefined (NaN) when the reference is empty. 2D masks are refused: they have no volume.

    >>> volume_error(np.ones((1, 2, 5)), np.zeros((1, 2, 5)), spacing_mm=(10.0, 10.0, 10.0)).value
    -10.0
    """
    first, second = mask_pair(reference, predicted)
    spacing = voxel_size(spacing_mm, 3)
    if first.ndim != 3:
        raise InputError(f"masks have {first.ndim} axes", remedy="give 3D masks, or compare areas yourself")
    voxel_ml = float(spacing.prod()) / 1000
    error = (int(second.sum()) - int(first.sum())) * voxel_ml
    if not relative:
        return single(error, "volume error, ml")
    if not first.any():
        return Estimate.undefined("the reference mask is empty", n=1, method="relative volume error")
    return single(error / (int(first.sum()) * voxel_ml), "relative volume error")


def segmentation_scores(
    reference: ArrayLike,
    predicted: ArrayLike,
    *,
    spacing_mm: Sequence[float],
    tolerance_mm: float,
    structures: Mapping[str, int] | None = None,
    definition: str = "voxels",
) -> dict[str, dict[str, Estimate]]:
    """Every segmentation measure for every structure of one case.

    Args:
        reference: 3D label map of whole numbers, 0 is background.
        predicted: label map of the same shape.
        spacing_mm: voxel size, one length an axis.
        tolerance_mm: tolerance of the surface Dice.
        structures: names and labels to judge; by default every label found in either map.
        definition: which surface; see `surface.surfaces`.

    Returns name -> {dice, iou, volume_error_ml, relative_volume_error, hd95_mm, assd_mm, surface_dice}.

    >>> truth = np.zeros((8, 8, 8), int)
    >>> truth[2:6, 2:6, 2:6] = 3
    >>> scores = segmentation_scores(truth, truth, spacing_mm=(1.0, 1.0, 1.0), tolerance_mm=1.0)
    >>> scores["3"]["dice"].value, scores["3"]["hd95_mm"].value
    (1.0, 0.0)
    """
    first, second = label_pair(reference, predicted)
    named = structures if structures is not None else _labels_found(first, second)
    table = {}
    for name, label in named.items():
        masks = first == label, second == label
        union = masks[0] | masks[1]
        if union.any():
            box = bounding_box(union)
            masks = masks[0][box], masks[1][box]
        table[name] = {
            "dice": dice(*masks),
            "iou": iou(*masks),
            "volume_error_ml": volume_error(*masks, spacing_mm=spacing_mm),
            "relative_volume_error": volume_error(*masks, spacing_mm=spacing_mm, relative=True),
        } | surface_scores(*masks, spacing_mm=spacing_mm, tolerance_mm=tolerance_mm, definition=definition)
    return table


def _labels_found(first: np.ndarray, second: np.ndarray) -> dict[str, int]:
    found = np.union1d(np.unique(first), np.unique(second))
    return {str(label): int(label) for label in found if label != 0}


def over_cases(
    scores: Sequence[Estimate] | Sequence[float] | np.ndarray,
    *,
    patient: ArrayLike | None = None,
    level: float = 0.95,
    draws: int = 2000,
    rng: Seed = 0,
) -> Estimate:
    """The mean of a measure over cases, with an interval from drawing patients.

    Undefined cases (both masks empty, say) are left out and counted in the note, never scored 0 or 1.

    Args:
        scores: one estimate or number a case.
        patient: (n,) names; cases of one patient are drawn together.
        level: confidence level.
        draws: bootstrap draws; the interval is bias-corrected and accelerated (BCa).
        rng: seed or generator.

    >>> found = over_cases([0.9, 0.8, float("nan"), 0.7, 0.85])
    >>> round(found.value, 4), found.n, found.note
    (0.8125, 4, '1 undefined cases left out')
    """
    values = np.array([score.value if isinstance(score, Estimate) else float(score) for score in scores])
    names = np.arange(len(values)).astype(str) if patient is None else np.asarray(patient).astype(str)
    if len(names) != len(values):
        raise InputError(f"{len(values)} scores for {len(names)} patients", remedy="name the patient of every case")
    kept = ~np.isnan(values)
    left_out = int((~kept).sum())
    method = "mean over cases"
    if not kept.any():
        return Estimate.undefined(f"undefined in all {len(values)} cases", n=0, method=method, level=level)
    finite = finite_numbers(values[kept], "scores")
    found = bootstrap(
        weighted_mean_score,
        Predictions.of(finite, finite, patient=names[kept]),
        draws=draws,
        rng=rng,
        level=level,
        method="bca",
    )
    note = "; ".join(part for part in (found.note, f"{left_out} undefined cases left out" if left_out else "") if part)
    return Estimate(found.value, found.low, found.high, level, f"{method}, {found.method}", len(finite), note)
