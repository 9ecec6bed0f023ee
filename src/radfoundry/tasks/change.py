"""Change between two visits from two lesion masks: which lesions are new or grew, and by how much in all."""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radfoundry import runs
from radfoundry.data.change import CALLS, LesionChange, lesion_changes
from radfoundry.records import Estimate, InputError
from radfoundry.stats.progression import change as volume_change
from radfoundry.volume import Volume

MOST_SHOWN = 100


@dataclass(frozen=True)
class Options:
    """`growth`: share of volume gained that counts as enlarging · `smallest_mm3`: smaller lesions are ignored ·
    `error`: coefficient of variation of one volume measured twice, with which the doubt of the change is worked out."""

    growth: float = 0.5
    smallest_mm3: float = 10.0
    error: float = 0.15

    def __post_init__(self) -> None:
        if not (self.growth > 0 and self.error > 0 and self.smallest_mm3 >= 0):
            raise InputError("growth and error must be above 0, smallest_mm3 0 or more", finding="options")


@dataclass(frozen=True)
class Changed:
    """The lesions of both visits with what became of each, and the numbers over all of them."""

    lesions: tuple[LesionChange, ...]
    metrics: dict[str, Estimate]
    options: Options


def compare(before: Volume, after: Volume, *, tolerance_mm: float, options: Options | None = None) -> Changed:
    """What changed between an earlier lesion mask and a later one, on one grid.

    before, after: masks, everything above 0 is lesion; tolerance_mm: how far apart two parts of one lesion may lie,
    which has to cover the error of the registration. The doubt of the total volume comes from the error of measuring
    twice alone; it does not know how well the lesions were outlined here.

    >>> import numpy as np
    >>> first, second = np.zeros((2, 12, 12, 12))
    >>> first[2:5, 2:5, 2:5] = second[2:5, 2:5, 2:5] = second[8:11, 8:11, 8:11] = 1
    >>> said = compare(Volume.of(first, np.eye(4)), Volume.of(second, np.eye(4)), tolerance_mm=1.0)
    >>> [(lesion.call, lesion.after_mm3) for lesion in said.lesions], str(said.metrics["lesions-new"].value)
    ([('new', 27.0), ('stable', 27.0)], '1')
    """
    asked = options or Options()
    found = lesion_changes(
        before, after, tolerance_mm=tolerance_mm, smallest_mm3=asked.smallest_mm3, change=asked.growth
    )
    counts = Counter(lesion.call for lesion in found)
    metrics = {f"lesions-{call}": Estimate.exact(counts[call]) for call in CALLS}
    volumes = [sum(getattr(lesion, name) for lesion in found) / 1000 for name in ("before_mm3", "after_mm3")]
    metrics["volume-before-ml"] = _measured(volumes[0], asked.error)
    metrics["volume-after-ml"] = _measured(volumes[1], asked.error)
    metrics["volume-new-ml"] = _measured(
        sum(lesion.after_mm3 for lesion in found if lesion.call == "new") / 1000, asked.error
    )
    if min(volumes) > 0:
        metrics["volume-change"] = volume_change(*volumes, error=asked.error, kind="relative").relative
    else:
        metrics["volume-change"] = Estimate.undefined("no lesion at one of the visits", n=len(found))
    return Changed(tuple(found), metrics, asked)


def write(said: Changed, path: Path) -> None:
    """One row per lesion as CSV: call, place in RAS mm, volumes in mm³, relative change where it was there before."""
    with runs.atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        table.writerow(["call", "x_mm", "y_mm", "z_mm", "before_mm3", "after_mm3", "change"])
        for lesion in said.lesions:
            share = f"{lesion.after_mm3 / lesion.before_mm3 - 1:.3f}" if lesion.before_mm3 else ""
            place = [f"{value:.1f}" for value in lesion.place_mm]
            table.writerow([lesion.call, *place, f"{lesion.before_mm3:.1f}", f"{lesion.after_mm3:.1f}", share])


def blocks(said: Changed) -> list[dict[str, Any]]:
    """The blocks of a run page: a sentence and the table of lesions."""
    counts = Counter(lesion.call for lesion in said.lesions)
    listed = ", ".join(f"{counts[call]} {call}" for call in CALLS if counts[call]) or "none"
    total = said.metrics["volume-change"]
    line = f"Lesions: {listed}. Change of their total volume: {total}; the interval is that of measuring twice with a "
    line += f"coefficient of variation of {said.options.error:g}."
    rows = [
        {
            "call": lesion.call,
            "place": " ".join(f"{value:.0f}" for value in lesion.place_mm),
            "before": _exact(lesion.before_mm3),
            "after": _exact(lesion.after_mm3),
        }
        for lesion in said.lesions[:MOST_SHOWN]
    ]
    columns = [("call", "change"), ("place", "place (RAS mm)"), ("before", "before (mm³)"), ("after", "after (mm³)")]
    shown = [{"key": key, "label": label} for key, label in columns]
    text = {"kind": "text", "title": "Change between the visits", "paragraphs": [line]}
    return [text, {"kind": "table", "title": "Lesions", "columns": shown, "rows": rows}]


def _exact(value: float) -> str:
    return f"{value:.0f}" if value else "none"


def _measured(value: float, error: float) -> Estimate:
    """A volume with the interval that measuring it twice would give, on the logarithm."""
    if value <= 0:
        return Estimate(0.0, 0.0, 0.0, method="measured", n=1, note="nothing there")
    half = 1.96 * math.sqrt(math.log1p(error**2))
    return Estimate(value, value * math.exp(-half), value * math.exp(half), method="measured once", n=1)
