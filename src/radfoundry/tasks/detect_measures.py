"""How well a detector does: is there a finding, and is it where the mark says; against another detector, paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from radfoundry.data.boxes import holds
from radfoundry.records import Estimate, Predictions
from radfoundry.stats.auc import auroc, auroc_difference
from radfoundry.stats.detection import detection_precision
from radfoundry.stats.froc import Froc, froc
from radfoundry.stats.jafroc import jafroc, jafroc_difference
from radfoundry.stats.marks import Marks, hits_by_rank
from radfoundry.tasks.detect import Example
from radfoundry.tasks.detect_fit import Marked

DRAWS = 1000


def as_marks(examples: Sequence[Example], said: Sequence[Marked], *, margin: float) -> Marks:
    """Marks for the statistics: a mark whose middle lies in a true box hits it; the surest mark chooses first."""
    names, ratings, hits = [], [], []
    for example, marked in zip(examples, said, strict=True):
        middles = (marked.boxes[:, :3] + marked.boxes[:, 3:]) / 2
        close = holds(example.boxes, middles, margin=margin).astype(float)
        names += [example.series.key] * len(marked.ratings)
        ratings.append(marked.ratings)
        hits.append(hits_by_rank(close, marked.ratings, 0.5))
    return Marks.of(
        np.array(names, dtype=str),
        np.concatenate(ratings),
        np.concatenate(hits),
        lesions={example.series.key: len(example.boxes) for example in examples},
        patient={example.series.key: example.patient for example in examples},
    )


def as_predictions(examples: Sequence[Example], said: Sequence[Marked]) -> Predictions:
    """Whether an image holds a finding, and the detector's score for the image."""
    return Predictions.of(
        [int(example.present) for example in examples],
        [marked.score for marked in said],
        patient=[example.patient for example in examples],
        case=[example.series.key for example in examples],
    )


def measures(
    examples: Sequence[Example], said: Sequence[Marked], *, margin: float, seed: int
) -> tuple[dict[str, Estimate], Froc]:
    """Every number of one detector on one set of images, and its curve; intervals draw or leave out patients.

    The figure of merit is weighted JAFROC against normal images, or against all where every image has a finding.
    """
    marks = as_marks(examples, said, margin=margin)
    curve = froc(marks, rates=(0.125, 0.25, 0.5, 1.0, 2.0), draws=DRAWS, rng=seed)
    found = {
        "auroc": _either(examples, lambda: auroc(as_predictions(examples, said))),
        "jafroc": _within(jafroc(marks, figure=figure_of(examples))),
        "froc-mean": curve.mean,
        "sensitivity-at-0.25": curve.at[0.25],
        "sensitivity-at-1": curve.at[1.0],
        "average-precision": detection_precision(marks, draws=DRAWS, rng=seed),
    }
    return found, curve


def _within(found: Estimate) -> Estimate:
    """An interval that left out patients gave, cut to what a share can be."""
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0)) if found.defined else found


def figure_of(examples: Sequence[Example]) -> str:
    """Which JAFROC figure these images allow."""
    return "wafroc" if any(not example.present for example in examples) else "wafroc1"


def differences(
    examples: Sequence[Example], first: Sequence[Marked], second: Sequence[Marked], *, margin: float
) -> dict[str, Estimate]:
    """First detector minus second on the same images, paired: AUROC and JAFROC."""
    one, other = (as_predictions(examples, said) for said in (first, second))
    marked = [as_marks(examples, said, margin=margin) for said in (first, second)]
    return {
        "auroc": _either(examples, lambda: auroc_difference(one, other)),
        "jafroc": jafroc_difference(marked[:1], marked[1:], figure=figure_of(examples)),
    }


def _either(examples: Sequence[Example], measured: Any) -> Estimate:
    """A number that needs images with and without a finding."""
    kinds = {example.present for example in examples}
    if len(kinds) < 2:
        return Estimate.undefined(f"every image is {'with' if True in kinds else 'without'} finding", n=len(examples))
    return measured()


def named(tables: Mapping[str, Mapping[str, Estimate]], *, part: str, called: str) -> dict[str, Estimate]:
    """Measures under the names of a run: MODEL/MEASURE, with the part (external) and a step's word behind."""
    ends = "".join(f"-{word}" for word in (part if part != "test" else "", called) if word)
    return {f"{model}/{name}{ends}": value for model, table in tables.items() for name, value in table.items()}
