"""Fusing by descent: a small network over the slots that are there, which learns with slots hidden at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from radfoundry.losses import answers as losses
from radfoundry.nets.experts import ModalityExperts
from radfoundry.nets.fusion import SlotAttention
from radfoundry.records import InputError
from radfoundry.tasks import fusion_heads, heads
from radfoundry.tasks.head_answers import logistic, ordinal_shares, softmax
from radfoundry.tasks.slots import Exams

KINDS = ("binary", "multiclass", "ordinal", "multilabel", "regression", "survival")
INNER_FOLDS = 3
PER_EXAMS = 100  # weights are held back less the more exams teach
MOST_HELD = 0.5  # of a weight, in one step


@dataclass(frozen=True)
class Descent:
    """How a fusing network learns.

    `drop`: share of slots hidden in every step, never all of an exam's · `steps` over all training exams at once ·
    `rate` of AdamW, and its `decay` with 100 exams (less with more) · `components`: principal directions kept of each
    slot's features · `experts` of the mixture.
    """

    drop: float = 0.2
    steps: int = 60
    rate: float = 1e-2
    decay: float = 16.0
    components: int = 6
    experts: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1 or self.steps < 1 or self.rate <= 0 or self.decay < 0:
            raise InputError(
                f"drop={self.drop} steps={self.steps} rate={self.rate} decay={self.decay}",
                where="fuse",
                remedy="drop from 0 to below 1, steps from 1, rate above 0, decay from 0",
            )
        if self.components < 1 or self.experts < 1:
            raise InputError(
                f"components={self.components} experts={self.experts}", where="fuse", remedy="give at least one"
            )


@dataclass(frozen=True, eq=False)
class FusedNet:
    """A fitted network over slots: what each slot's own head says, and the directions its features are looked at in."""

    name: str
    descent: Descent
    kind: str
    outputs: int
    classes: int
    heads: Mapping[str, heads.FittedHead]
    views: Mapping[str, tuple[np.ndarray, np.ndarray]]
    network: Any
    centre: float = 0.0
    spread: float = 1.0

    def scores(self, exams: Exams) -> np.ndarray:
        """One score per exam."""
        said = {name: head.predict(exams.seen(name)) for name, head in self.heads.items()}
        with torch.no_grad():
            raw = self.network(*_inputs(self, exams, said), torch.from_numpy(exams.present)).numpy().astype(float)
        if self.kind == "regression":
            return raw[:, 0] * self.spread + self.centre
        if self.kind == "survival":
            return raw[:, 0]
        if self.kind == "ordinal":
            return ordinal_shares(raw[:, 0], self.network.readout.thresholds().detach().numpy().astype(float))
        if self.kind == "binary":
            return logistic(raw[:, 0])
        return logistic(raw) if self.kind == "multilabel" else softmax(raw)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What describes it."""
        about: dict[str, Any] = {"descent": asdict(self.descent), "outputs": self.outputs, "heads": {}}
        arrays = {f"net.{name}": value.numpy() for name, value in self.network.state_dict().items()}
        for name, (mean, directions) in self.views.items():
            arrays |= {f"mean.{name}": mean, f"directions.{name}": directions}
        for name, head in self.heads.items():
            about["heads"][name], own = fusion_heads.of_head(head, name)
            arrays |= own
        return about | {"centre": self.centre, "spread": self.spread}, arrays


def fit(
    name: str, descent: Descent, head: heads.Head, exams: Exams, *, kind: str, classes: int
) -> tuple[FusedNet, np.ndarray | None]:
    """Fit on inner folds for held-out scores, then on all exams; `head` is what each slot's own answer comes from."""
    heads.check_fit(name, KINDS, exams.answer, exams.patient, kind=kind)
    held_out = None
    for held in heads.inner_parts(exams.answer, exams.patient, kind=kind, folds=INNER_FOLDS):
        learn = np.setdiff1d(np.arange(len(exams)), held)
        if kind in heads.CLASSES and len(np.unique(exams.answer[learn])) < 2:
            continue
        said = train(name, descent, head, exams.take(learn), kind=kind, classes=classes).scores(exams.take(held))
        held_out = np.full((len(exams), *said.shape[1:]), np.nan) if held_out is None else held_out
        held_out[held] = said
    complete = held_out is not None and not np.isnan(held_out).any()
    return train(name, descent, head, exams, kind=kind, classes=classes), held_out if complete else None


def _build(name: str, descent: Descent, sizes: tuple[int, int, int], grades: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(descent.seed)
        if name == "experts":
            return ModalityExperts(*sizes, grades=grades, experts=descent.experts)
        return SlotAttention(*sizes, grades=grades)


def train(name: str, descent: Descent, head: heads.Head, exams: Exams, *, kind: str, classes: int) -> FusedNet:
    """One fit: AdamW over all exams at once, cosine decay to zero, no look at any held-out patient."""
    own, said = fusion_heads.own_answers(head, exams, kind=kind, classes=classes)
    said |= {slot: own[slot].predict(exams.seen(slot)) for slot in own if slot not in said}
    views = {slot: _directions(exams, slot, descent.components) for slot in exams.slots}
    outputs = max(2, classes) if kind == "multiclass" else exams.answer.shape[1] if kind == "multilabel" else 1
    network = _build(name, descent, _sizes(exams.slots, outputs, descent), classes if kind == "ordinal" else 0)
    plain = kind == "regression"
    centre = float(exams.answer.mean()) if plain else 0.0
    spread = max(float(exams.answer.std()), 1e-6) if plain else 1.0
    fitted = FusedNet(name, descent, kind, outputs, classes, own, views, network, centre, spread)
    _descend(fitted, _inputs(fitted, exams, said), exams)
    return fitted


def _sizes(slots: Sequence[str], outputs: int, descent: Descent) -> tuple[int, int, int]:
    return len(slots), outputs + descent.components, outputs


def _descend(fitted: FusedNet, inputs: tuple[torch.Tensor, torch.Tensor], exams: Exams) -> None:
    descent, network = fitted.descent, fitted.network
    target = _target(fitted, exams.answer)
    kept = [value for name, value in network.named_parameters() if name.startswith(("trusted", "readout.gaps"))]
    rest = [value for name, value in network.named_parameters() if not name.startswith(("trusted", "readout.gaps"))]
    groups = [
        {"params": kept, "weight_decay": 0.0},
        {"params": rest, "weight_decay": min(descent.decay * PER_EXAMS / len(exams), MOST_HELD / descent.rate)},
    ]
    optimiser = torch.optim.AdamW(groups, lr=descent.rate, fused=True)
    fading = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, descent.steps)
    rng = np.random.default_rng(descent.seed)
    # Dropout draws from torch's own state, which is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(descent.seed)
        network.train()
        for _ in range(descent.steps):
            optimiser.zero_grad()
            raw = network(*inputs, torch.from_numpy(_hidden(exams.present, descent.drop, rng)))
            loss = _loss(fitted, raw, target)
            if not torch.isfinite(loss):
                raise InputError(f"fusion {fitted.name} diverged", where="fuse", finding="diverged")
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            fading.step()
        network.eval()


def _hidden(present: np.ndarray, drop: float, rng: np.random.Generator) -> np.ndarray:
    """What is present less a random share; an exam always keeps one of its slots."""
    kept = present & (rng.random(present.shape) >= drop)
    return np.where(kept.any(axis=1, keepdims=True), kept, present)


def _directions(exams: Exams, slot: str, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean of a slot's features, and (width, components) directions in which they have spread 1 or less.

    Features are first divided by their own spread; principal directions are then divided by that of the first, so
    that small ones stay small.
    """
    seen = exams.features[slot][exams.present[:, exams.slots.index(slot)]]
    mean, spread = seen.mean(axis=0), seen.std(axis=0)
    spread = np.where(spread > 1e-9, spread, np.inf)
    _, sizes, right = np.linalg.svd((seen - mean) / spread, full_matrices=False)
    kept = max(1, min(most, int((sizes > 1e-9).sum())))
    # Half way between whitened and plain: strong directions do not drown weak ones, nor the reverse.
    stretch = np.sqrt(len(seen)) / np.sqrt(np.maximum(sizes[:kept], 1e-9) * max(float(sizes[0]), 1e-9))
    return mean, (right[:kept] * stretch[:, None]).T / spread[:, None]


def _inputs(fitted: FusedNet, exams: Exams, said: Mapping[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """(exams, slots, features) and (exams, slots, outputs): what is seen, and what each slot says by itself."""
    seen = np.zeros((len(exams), len(exams.slots), fitted.outputs + fitted.descent.components))
    evidence = np.zeros((len(exams), len(exams.slots), fitted.outputs))
    for place, name in enumerate(exams.slots):
        mean, directions = fitted.views[name]
        there = exams.present[:, place]
        if name in said:
            evidence[:, place] = np.where(there[:, None], _opinion(fitted, said[name]), 0)
        looked = (np.where(there[:, None], exams.features[name], mean) - mean) @ directions
        seen[:, place, fitted.outputs : fitted.outputs + directions.shape[1]] = np.clip(looked, -6, 6)
    seen[:, :, : fitted.outputs] = np.clip(evidence, -6, 6)
    return torch.from_numpy(seen.astype(np.float32)), torch.from_numpy(evidence.astype(np.float32))


def _opinion(fitted: FusedNet, scores: np.ndarray) -> np.ndarray:
    """(exams, outputs): a head's scores on the network's own scale."""
    if fitted.kind == "regression":
        return ((scores - fitted.centre) / fitted.spread)[:, None]
    if fitted.kind == "ordinal":
        return (scores @ np.arange(scores.shape[1]) - (scores.shape[1] - 1) / 2)[:, None]
    found = fusion_heads.to_open(fitted.kind, scores)
    if fitted.kind == "multiclass":
        found = found - found.mean(axis=1, keepdims=True)
    return np.clip(found.reshape(len(found), -1), -6, 6)


def _target(fitted: FusedNet, answer: np.ndarray) -> torch.Tensor:
    if fitted.kind == "multiclass":
        return torch.from_numpy(np.eye(fitted.outputs, dtype=np.float32)[answer.astype(int)])
    if fitted.kind == "regression":
        return torch.from_numpy(((answer - fitted.centre) / fitted.spread).astype(np.float32))
    return torch.from_numpy(np.asarray(answer, np.float32))


def _loss(fitted: FusedNet, raw: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if fitted.kind == "survival":
        return losses.cox(raw[:, 0], target[:, 0], target[:, 1])
    if fitted.kind == "regression":
        return nn.functional.smooth_l1_loss(raw[:, 0], target)
    if fitted.kind == "multiclass":
        return losses.focal_classes(raw, target, gamma=0.0).mean()
    if fitted.kind == "ordinal":
        return losses.ordered(raw[:, 0], fitted.network.readout.thresholds(), target.long()).mean()
    return losses.focal(raw if fitted.kind == "multilabel" else raw[:, 0], target, gamma=0.0).mean()


def restore(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> FusedNet:
    """The model that `state` described."""
    descent, kind, classes = Descent(**about["descent"]), about["kind"], int(about["classes"])
    views = {name: (arrays[f"mean.{name}"], arrays[f"directions.{name}"]) for name in about["slots"]}
    own = {name: fusion_heads.restore_head(about, arrays, name) for name in about["heads"]}
    outputs = int(about["outputs"])
    sizes = _sizes(about["slots"], outputs, descent)
    network = _build(about["fusion"], descent, sizes, classes if kind == "ordinal" else 0)
    weights = {key.removeprefix("net."): value for key, value in arrays.items() if key.startswith("net.")}
    network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in weights.items()})
    network.eval()
    centre, spread = float(about["centre"]), float(about["spread"])
    return FusedNet(about["fusion"], descent, kind, outputs, classes, own, views, network, centre, spread)
