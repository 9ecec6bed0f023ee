"""What pretraining gained: the encoder before, after and beside others, asked about the same held-out patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from radfoundry.records import Estimate, Predictions
from radfoundry.stats import auc, proportions
from radfoundry.stats.comparisons import mcnemar, mean_difference
from radfoundry.train import probes
from radfoundry.train.batches import Batch

LEAST_SPREAD = 1e-6


@torch.no_grad()
def features_of(encoder: Any, batches: list[Batch]) -> torch.Tensor:
    """Pooled features `(N, S, D)` of held-out patients, as the encoder gives them."""
    rows = []
    for batch in batches:
        images = batch.images.flatten(0, 1)[:, None]
        rows.append(encoder.encode(images).pooled.float().reshape(len(batch), batch.views, -1))
    return torch.cat(rows)


def found_again(features: torch.Tensor) -> np.ndarray:
    """`(N,)` whether each patient's last view is nearest, of all patients' last views, to the first."""
    near = normalize(features[:, 0], dim=1) @ normalize(features[:, -1], dim=1).T
    return (near.argmax(dim=1) == torch.arange(len(features))).numpy()


def place_errors_mm(features: torch.Tensor, place_mm: torch.Tensor) -> np.ndarray:
    """`(N / 2,)` distance between true and read place, taught in the first view of half the patients."""
    teach, ask = probes.halves(len(features))
    return (probes.ridge(features[teach, 0], place_mm[teach], features[ask, -1]) - place_mm[ask]).norm(dim=1).numpy()


def agreement(features: torch.Tensor) -> np.ndarray:
    """`(D,)` one-way intraclass correlation of every feature between the views of a patient (Shrout and Fleiss 1979).

    A feature that never changes has none and gets 0.
    """
    values = features.double().numpy()
    patients, views = values.shape[:2]
    mean = values.mean(axis=1)
    between = views * ((mean - mean.mean(axis=0)) ** 2).sum(axis=0) / (patients - 1)
    within = ((values - mean[:, None]) ** 2).sum(axis=(0, 1)) / (patients * (views - 1))
    total = between + (views - 1) * within
    return np.where(total > LEAST_SPREAD, (between - within) / np.maximum(total, LEAST_SPREAD), 0.0)


def median_agreement(features: torch.Tensor) -> float:
    """The median of `agreement` over features."""
    return float(np.median(agreement(features)))


def by_patient(statistic: Any, features: torch.Tensor, other: torch.Tensor | None = None) -> Estimate:
    """A statistic of all patients, or its difference between two encoders, with the jackknife's interval.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11.
    """

    def of(rows: torch.Tensor) -> float:
        return statistic(features[rows]) - (0.0 if other is None else statistic(other[rows]))

    count = len(features)
    value = of(torch.ones(count, dtype=torch.bool))
    left_out = np.array([of(row) for row in ~torch.eye(count, dtype=torch.bool)])
    spread = float(np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()))
    return Estimate(value, value - 1.96 * spread, value + 1.96 * spread, method="jackknife over patients", n=count)


def measured(batches: list[Batch], encoders: Mapping[str, Any], *, first: str = "pretrain") -> dict[str, Estimate]:
    """Metrics `NAME/METRIC` of every encoder, and `FIRST-minus-NAME/METRIC` paired by patient, positive is better.

    retrieval: the share of patients whose other sequence is the nearest of all · position: error in mm of a linear
    head, taught in one sequence and asked in the other · agreement: median intraclass correlation of features between
    sequences · lesion: AUROC of a linear head · sequence: the share of images whose sequence a linear head reads
    rightly, reported and never compared. Needs two views of each patient.
    """
    place = _joined(batches, "centre_mm")
    place_mm = None if place is None else place[:, 0].double()
    lesion, protocol = _joined(batches, "lesion"), _joined(batches, "protocol")
    truth = None if lesion is None else (lesion.flatten(1).sum(dim=1) > probes.LEAST_LESION_VOXELS).numpy()
    tables = {name: features_of(encoder, batches) for name, encoder in encoders.items()}
    found: dict[str, Estimate] = {}
    for name, features in tables.items():
        beside = tables[first] if name != first else None
        found |= {f"{name}/{key}": value for key, value in _alone(features, place_mm, truth, protocol).items()}
        if beside is not None:
            rows = _apart(beside, features, place_mm, truth)
            found |= {f"{first}-minus-{name}/{key}": value for key, value in rows.items()}
    return found


def _alone(
    features: torch.Tensor, place_mm: torch.Tensor | None, lesion: np.ndarray | None, protocol: torch.Tensor | None
) -> dict[str, Estimate]:
    hits = found_again(features)
    found = {
        "retrieval": proportions.proportion(int(hits.sum()), len(hits), name="found"),
        "agreement": by_patient(median_agreement, features),
    }
    if place_mm is not None:
        found["position"] = probes.median(np.sort(place_errors_mm(features, place_mm)))
    if lesion is not None and _both(lesion):
        found["lesion"] = auc.auroc(_lesion_scores(features, lesion))
    if protocol is not None:
        found["sequence"] = probes.named_rightly(features, protocol)
    return found


def _apart(
    first: torch.Tensor, second: torch.Tensor, place_mm: torch.Tensor | None, lesion: np.ndarray | None
) -> dict[str, Estimate]:
    found = {
        "retrieval": mcnemar(found_again(first), found_again(second)),
        "agreement": by_patient(median_agreement, first, second),
    }
    if place_mm is not None:
        found["position"] = mean_difference(place_errors_mm(second, place_mm), place_errors_mm(first, place_mm))
    if lesion is not None and _both(lesion):
        found["lesion"] = auc.auroc_difference(_lesion_scores(first, lesion), _lesion_scores(second, lesion))
    return found


def _both(lesion: np.ndarray) -> bool:
    _, ask = probes.halves(len(lesion))
    return len(set(lesion[ask].tolist())) == 2


def _lesion_scores(features: torch.Tensor, lesion: np.ndarray) -> Predictions:
    teach, ask = probes.halves(len(features))
    target = torch.from_numpy(lesion[teach].astype(float))[:, None]
    answers = probes.ridge(features[teach].mean(dim=1), target, features[ask].mean(dim=1))
    return Predictions.of(lesion[ask].astype(int), answers[:, 0].numpy())


def _joined(batches: list[Batch], name: str) -> torch.Tensor | None:
    values = [getattr(batch, name) for batch in batches]
    return None if any(value is None for value in values) else torch.cat([value.cpu() for value in values])
