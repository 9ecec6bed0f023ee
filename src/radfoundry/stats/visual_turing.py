"""Visual Turing test: can readers tell synthetic images from real ones, and do they err in one direction?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import clusters, interval_level
from radfoundry.stats.mrmc import reader_average
from radfoundry.stats.readers import ReaderStudy
from radfoundry.stats.readers_two_way import binary_readers, two_way_mean


@dataclass(frozen=True)
class VisualTuring:
    """What readers could tell.

    `sensitivity`: synthetic images called synthetic; `specificity`: real images called real; `balanced_accuracy`:
    their mean, with the p-value for guessing (0.5). `d_prime` is 0 for guessing and grows with what can be seen,
    whatever the readers' habit of calling; `criterion` is that habit: below 0 they call too many synthetic.
    """

    sensitivity: Estimate
    specificity: Estimate
    balanced_accuracy: Estimate
    d_prime: Estimate
    criterion: Estimate
    readers: dict[str, tuple[float, float]]


def visual_turing_test(
    called_synthetic: ArrayLike, synthetic: ArrayLike, *, patient: ArrayLike | None = None, level: float = 0.95
) -> VisualTuring:
    """Judge a test in which every reader called every image real or synthetic, for new readers and new images.

    Args:
        called_synthetic: (readers, images) 0/1.
        synthetic: (images,) 0/1, both kinds present.
        patient: (images,) names where patients give several images.
        level: confidence level.

    An accuracy near 0.5 alone does not show that images are realistic: read both error types, and how narrow the
    interval is. Rates of 0 and 1 are moved by half a case for d' and criterion (log-linear rule).

    Source: Macmillan & Creelman, Detection Theory, 2nd ed. 2005; Hautus, Behav Res Methods 1995;27:46.

    >>> calls = [[1, 0, 1, 0, 1, 0], [1, 1, 0, 0, 0, 1]]
    >>> print(visual_turing_test(calls, [1, 1, 1, 0, 0, 0]).sensitivity.value.__round__(2))
    0.67
    """
    interval_level(level)
    study = ReaderStudy.of([called_synthetic], synthetic, arms=("test",), patient=patient)
    if study.truth.all() or not study.truth.any():
        raise InputError("only one kind of image", remedy="show readers real and synthetic images")
    rates = [binary_readers(study, measure=name, level=level).averages[0] for name in ("sensitivity", "specificity")]
    calls = study.ratings[0]
    share = study.truth.mean()
    # Weighted so that both kinds count alike, however many of each were shown.
    right = (calls == study.truth) / np.where(study.truth, 2 * share, 2 * (1 - share))
    above_chance = two_way_mean(right - 0.5, patient=study.patient, level=level, test=True)
    balanced = replace(
        above_chance,
        value=above_chance.value + 0.5,
        low=max(above_chance.low + 0.5, 0.0),
        high=min(above_chance.high + 0.5, 1.0),
        note=above_chance.note or "p for guessing (0.5)",
    )
    figures = _signal(calls, study.truth, np.ones(len(study.truth), dtype=bool))
    left_out = _jackknife(calls, study)
    detection = [_average(figures[index], left_out[index], study, level) for index in (0, 1)]
    per_reader = {
        name: (float(row[study.truth].mean()), float(1 - row[~study.truth].mean()))
        for name, row in zip(study.readers, calls, strict=True)
    }
    return VisualTuring(rates[0], rates[1], balanced, detection[0], detection[1], per_reader)


def _signal(calls: np.ndarray, truth: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(2, readers): d' and criterion of each reader over the images kept."""
    z_hit, z_false = (
        ndtri((calls[:, rows].sum(axis=1) + 0.5) / (rows.sum() + 1)) for rows in (truth & kept, ~truth & kept)
    )
    return np.stack([z_hit - z_false, -(z_hit + z_false) / 2])


def _jackknife(calls: np.ndarray, study: ReaderStudy) -> np.ndarray:
    """(2, readers, patients): both figures when each patient's images are left out."""
    group, count = clusters(study.patient)
    return np.stack([_signal(calls, study.truth, group != index) for index in range(count)], axis=2)


def _average(figures: np.ndarray, left_out: np.ndarray, study: ReaderStudy, level: float) -> Estimate:
    centred = left_out - left_out.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T * (left_out.shape[1] - 1) / left_out.shape[1]
    found = reader_average(figures, covariance, level=level, cases=len(study.truth), test=True)
    note = found.note or "mean over readers; p for 0"
    return replace(found, method="jackknife over images, random readers", note=note)
