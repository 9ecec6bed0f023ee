"""How well masks were drawn: every image and structure scored, then means with intervals and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.data.masks import Labels
from radfoundry.records import Estimate
from radfoundry.stats.masks import bounding_box
from radfoundry.stats.segmentation import dice, over_cases
from radfoundry.stats.surface import hausdorff, surface_dice

METRICS = ("dice", "hd95_mm", "surface_dice")
OURS, COMPARATOR = "segmenter", "unet"


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of some tested images by one model: metric -> (images, labels), NaN where undefined."""

    case: tuple[str, ...]
    patient: tuple[str, ...]
    labels: tuple[str, ...]
    values: Mapping[str, np.ndarray]

    def of_image(self, metric: str) -> np.ndarray:
        """(images,) means over the structures of an image that have a value; NaN where none has."""
        values = self.values[metric]
        known = ~np.isnan(values)
        total = np.where(known, values, 0).sum(axis=1)
        return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


def score(
    truth: np.ndarray, predicted: np.ndarray, labels: Labels, *, spacing_mm: Sequence[float], tolerance_mm: float
) -> dict[str, list[float]]:
    """Dice, HD95 and surface Dice of every label of one image, 2D when it has one slice; NaN where undefined."""
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    flat = truth.shape[2] == 1
    for index in range(1, len(labels) + 1):
        first, second = truth == index, predicted == index
        if (first | second).any():
            box = bounding_box(first | second)
            first, second = first[box], second[box]
        spacing = list(spacing_mm)
        if flat:
            first, second, spacing = first[:, :, 0], second[:, :, 0], spacing[:2]
        found["dice"].append(dice(first, second).value)
        found["hd95_mm"].append(hausdorff(first, second, spacing_mm=spacing).value)
        found["surface_dice"].append(surface_dice(first, second, spacing_mm=spacing, tolerance_mm=tolerance_mm).value)
    return found


def together(rows: Sequence[tuple[str, str, Mapping[str, list[float]]]], labels: Labels) -> Scored:
    """Scores of single images (case, patient, scores) as one table."""
    values = {name: np.array([row[2][name] for row in rows], float) for name in METRICS}
    return Scored(tuple(row[0] for row in rows), tuple(row[1] for row in rows), tuple(labels), values)


def metrics(found: Scored, *, prefix: str = "", seed: int = 0) -> dict[str, Estimate]:
    """Means over images with intervals from drawing patients: all structures, and each where there are several."""
    owner = f"{prefix}/" if prefix else ""
    result = {}
    for name in METRICS:
        result[f"{owner}{name}"] = over_cases(found.of_image(name), patient=found.patient, rng=seed)
    if len(found.labels) > 1:
        for index, label in enumerate(found.labels):
            values = found.values["dice"][:, index]
            result[f"{owner}dice-{label}"] = over_cases(values, patient=found.patient, rng=seed)
    return result


def differences(first: Scored, second: Scored, *, names: tuple[str, str], seed: int = 0) -> dict[str, Estimate]:
    """First minus second on the same images, patients drawn together; images undefined for either are left out."""
    owner = f"{names[0]}-minus-{names[1]}"
    return {
        f"{owner}/{name}": over_cases(first.of_image(name) - second.of_image(name), patient=first.patient, rng=seed)
        for name in METRICS
    }


def table(named: Mapping[str, Scored]) -> list[dict[str, Any]]:
    """One row per image, structure and model, for a file."""
    rows = []
    for model, found in named.items():
        for place, (case, patient) in enumerate(zip(found.case, found.patient, strict=True)):
            for column, label in enumerate(found.labels):
                scores = {name: float(found.values[name][place, column]) for name in METRICS}
                rows.append({"case": case, "patient": patient, "structure": label, "model": model, **scores})
    return rows


def ranked(found: Scored) -> dict[str, int]:
    """The images with the best, the median and the worst Dice."""
    values = found.of_image("dice")
    order = np.argsort(np.where(np.isnan(values), -1, values), kind="stable")
    known = order[~np.isnan(values[order])]
    known = known if len(known) else order
    return {"best": int(known[-1]), "median": int(known[len(known) // 2]), "worst": int(known[0])}
