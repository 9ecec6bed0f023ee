"""Fitting the upper rungs: a few steps of gradient descent, the same for every rung, held-out scores beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from radfoundry.losses import answers as losses
from radfoundry.records import InputError
from radfoundry.tasks import heads
from radfoundry.tasks.examples import Examples
from radfoundry.tasks.tuned import FREE, FittedTuned, Tuning, build, set_training, views_of
from radfoundry.tasks.views import Views, seen

KINDS = ("binary", "multiclass", "ordinal", "multilabel", "regression", "survival")
ENCODER_SHARE = 0.1  # the encoder's own weights learn ten times slower than what is new
SCRATCH_SHARE = 0.5
SCALED_ON = 32


@dataclass(frozen=True, eq=False)
class Tuned:
    """A rung of the ladder above the frozen head, as something that learns from rows."""

    tuning: Tuning
    views: Views

    @property
    def name(self) -> str:
        """The rung's name."""
        return self.tuning.rung

    def fit(self, rows: Examples, *, kind: str, classes: int) -> FittedTuned:
        """Fit on inner folds for held-out scores, then on all rows."""
        heads.check_fit(self.name, KINDS, rows.answer, rows.patient, kind=kind)
        folds = self.tuning.inner_folds
        parts = heads.inner_parts(rows.answer, rows.patient, kind=kind, folds=folds) if folds > 1 else []
        held_out = None
        for held in parts:
            learn = np.setdiff1d(np.arange(len(rows)), held)
            if kind in heads.CLASSES and len(np.unique(rows.answer[learn])) < 2:
                continue
            said = train(self.tuning, rows.take(learn), kind=kind, classes=classes).predict(rows.take(held))
            held_out = np.full((len(rows), *said.shape[1:]), np.nan) if held_out is None else held_out
            held_out[held] = said
        complete = held_out is not None and not np.isnan(held_out).any()
        fitted = train(self.tuning, rows, kind=kind, classes=classes)
        return replace(fitted, held_out=held_out if complete else None)


def train(tuning: Tuning, rows: Examples, *, kind: str, classes: int) -> FittedTuned:
    """One fit: AdamW, cosine decay to zero over a fixed number of steps, no look at any held-out patient."""
    views = views_of(rows)
    with torch.no_grad():
        pooled, places = (
            views.places(rows.row) if tuning.rung == "head" else seen(views.encoder, views.images(rows.row[:1]))
        )
    outputs = _outputs(kind, classes, rows.answer)
    sizes = (pooled.shape[1], places.shape[2])
    network = build(tuning, views.encoder, kind=kind, classes=classes, outputs=outputs, sizes=sizes)
    scale = pooled if tuning.rung == "head" else torch.from_numpy(rows.features.astype(np.float32))
    if tuning.rung == "scratch":  # its features have another scale than those of the encoder as given
        with torch.no_grad():
            scale = seen(network.encoder, views.images(rows.row[:SCALED_ON]))[0]
    if scale.shape[1] == sizes[0]:
        network.head.mean.copy_(scale.mean(dim=0))
        network.head.spread.copy_(scale.std(dim=0, correction=0).clamp_min(1e-3))
    plain = kind == "regression"
    centre = float(rows.answer.mean()) if plain else 0.0
    spread = max(float(rows.answer.std()), 1e-6) if plain else 1.0
    fitted = FittedTuned(tuning, kind, classes, outputs, network, centre, spread)
    _descend(fitted, rows)
    return fitted


def _outputs(kind: str, classes: int, answer: np.ndarray) -> int:
    if kind == "multiclass":
        return max(2, classes)
    return answer.shape[1] if kind == "multilabel" else 1


def _descend(fitted: FittedTuned, rows: Examples) -> None:
    tuning, network = fitted.tuning, fitted.network
    rng = np.random.default_rng(tuning.seed)
    groups: list[dict[str, Any]] = [{"params": list(network.head.parameters()), "lr": tuning.rate}]
    if network.added is not None:
        groups.append({"params": list(network.added.parameters()), "lr": tuning.rate})
    elif tuning.rung in FREE:
        share = SCRATCH_SHARE if tuning.rung == "scratch" else ENCODER_SHARE
        learning = [value for value in network.encoder.parameters() if value.requires_grad]
        groups.append({"params": learning, "lr": tuning.rate * share})
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, tuning.steps)
    weights = _weights(fitted, rows.answer)
    # Dropout draws from torch's own state, which is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(tuning.seed)
        set_training(network, True)
        for _ in range(tuning.steps):
            chosen = _draw(fitted, rows.answer, rng)
            optimiser.zero_grad()
            loss = _loss(fitted, rows, chosen, rng=rng, weights=weights)
            if not torch.isfinite(loss):
                raise InputError(f"rung {tuning.rung} diverged", remedy="lower its rate", finding="diverged")
            loss.backward()
            nn.utils.clip_grad_norm_([value for group in groups for value in group["params"]], 1.0)
            optimiser.step()
            decay.step()
        set_training(network, False)


def _draw(fitted: FittedTuned, answer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of one batch; balanced ones hold every class equally often."""
    count = min(fitted.tuning.batch, len(answer))
    if not fitted.tuning.balanced or fitted.kind not in heads.CLASSES:
        return rng.choice(len(answer), count, replace=False)
    classes = rng.permutation(np.unique(answer))
    return np.array([rng.choice(np.flatnonzero(answer == classes[place % len(classes)])) for place in range(count)])


def _weights(fitted: FittedTuned, answer: np.ndarray) -> torch.Tensor:
    """(rows,) 1, or the inverse of each class's share."""
    weights = np.ones(len(answer))
    if fitted.tuning.weighted and fitted.kind in heads.CLASSES:
        values, group, counts = np.unique(answer, return_inverse=True, return_counts=True)
        weights = len(answer) / (len(values) * counts[group])
    return torch.from_numpy(weights.astype(np.float32))


def _loss(
    fitted: FittedTuned, rows: Examples, chosen: np.ndarray, *, rng: np.random.Generator, weights: torch.Tensor
) -> torch.Tensor:
    views = views_of(rows)
    network, answer = fitted.network, rows.answer[chosen]
    mixes = fitted.tuning.mixup > 0 and fitted.kind not in ("ordinal", "survival")
    share = float(rng.beta(fitted.tuning.mixup, fitted.tuning.mixup)) if mixes else 1.0
    partner = rng.permutation(len(chosen))
    if fitted.tuning.rung == "head":
        raw = network.head(*(_mixed(part, share, partner) for part in views.places(rows.row[chosen])))
    else:
        raw = network.raw(_mixed(views.images(rows.row[chosen]), share, partner))
    target = _mixed(_target(fitted, answer), share, partner)
    if fitted.kind == "survival":
        return losses.cox(raw[:, 0], target[:, 0], target[:, 1])
    each = _each(fitted, raw, target)
    weight = weights[torch.from_numpy(chosen)]
    return (each * weight).sum() / weight.sum()


def _mixed(values: torch.Tensor, share: float, partner: np.ndarray) -> torch.Tensor:
    """Every row with a share of its partner's (Zhang et al., ICLR 2018)."""
    return values if share == 1.0 else share * values + (1 - share) * values[torch.from_numpy(partner)]


def _target(fitted: FittedTuned, answer: np.ndarray) -> torch.Tensor:
    if fitted.kind == "multiclass":
        return torch.from_numpy(np.eye(fitted.outputs, dtype=np.float32)[answer.astype(int)])
    if fitted.kind == "regression":
        return torch.from_numpy(((answer - fitted.centre) / fitted.spread).astype(np.float32))
    return torch.from_numpy(np.asarray(answer, np.float32))


def _each(fitted: FittedTuned, raw: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(batch,) losses."""
    gamma = fitted.tuning.focal
    if fitted.kind == "regression":
        return nn.functional.smooth_l1_loss(raw[:, 0], target, reduction="none")
    if fitted.kind == "multiclass":
        return losses.focal_classes(raw, target, gamma=gamma)
    if fitted.kind == "ordinal":
        return losses.ordered(raw[:, 0], fitted.network.head.thresholds(), target.long())
    found = losses.focal(raw if fitted.kind == "multilabel" else raw[:, 0], target, gamma=gamma)
    return found.mean(dim=1) if found.ndim == 2 else found
