"""What the upper rungs of the ladder fit: a head on places, alone, beside adapters, or with the encoder itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from radfoundry.nets import adapters
from radfoundry.records import InputError
from radfoundry.tasks.examples import Examples
from radfoundry.tasks.head_answers import logistic, ordinal_shares, softmax
from radfoundry.tasks.views import Views, seen

ADAPTED = ("mona", "lora")
FREE = ("partial", "full", "scratch")
HIDDEN = 32


class PlacesHead(nn.Module):
    """Looks where it matters: places weighed by a learned attention, beside the pooled vector, through two layers.

    The last layer starts at zero, so that training starts from the same answer for everybody. Source: Ilse et al.,
    ICML 2018 (attention-based pooling).
    """

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, pooled: int, places: int, outputs: int, *, grades: int = 0, dropout: float = 0.2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(places)
        self.weigh = nn.Sequential(nn.Linear(places, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))
        self.register_buffer("mean", torch.zeros(pooled))
        self.register_buffer("spread", torch.ones(pooled))
        self.first = nn.Linear(places + pooled, HIDDEN)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(HIDDEN, outputs)
        self.gaps = nn.Parameter(torch.zeros(max(grades - 1, 0)))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, pooled: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """(batch, pooled) and (batch, count, places) to (batch, outputs)."""
        normed = self.norm(places)
        weights = self.weigh(normed).softmax(dim=1)
        scaled = ((pooled - self.mean) / self.spread).clamp(-6, 6)
        inner = nn.functional.gelu(self.first(torch.cat([(weights * normed).sum(dim=1), scaled], dim=1)))
        return self.last(self.dropout(inner))

    def thresholds(self) -> torch.Tensor:
        """The rising borders between grades."""
        return torch.cumsum(torch.cat([self.gaps[:1] - 1, nn.functional.softplus(self.gaps[1:])]), dim=0)


@dataclass(frozen=True)
class Tuning:
    """How an upper rung is fitted.

    `rung`: head, mona, lora, partial (the last block), full or scratch (full, from weights that know nothing).
    `rate` is the head's; adapters learn at the same, the encoder itself at a tenth. `balanced`: every batch holds the
    classes equally often; `weighted`: rare classes weigh more; `focal`: the exponent of the focal loss; `mixup`: the
    parameter of the beta distribution images are mixed with (0: not).
    """

    rung: str
    steps: int = 60
    batch: int = 16
    rate: float = 2e-3
    size: int = 8
    balanced: bool = False
    weighted: bool = False
    focal: float = 0.0
    mixup: float = 0.0
    inner_folds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rung not in ("head", *ADAPTED, *FREE):
            raise InputError(f"rung {self.rung!r}", remedy=f"use one of head, {', '.join((*ADAPTED, *FREE))}")
        if self.steps < 1 or self.batch < 2 or self.mixup < 0 or self.focal < 0:
            raise InputError(
                f"steps={self.steps} batch={self.batch} mixup={self.mixup} focal={self.focal}",
                remedy="steps from 1, batch from 2, mixup and focal from 0",
            )


@dataclass(eq=False)
class Network:
    """An encoder (the given one, or a changed copy of it), adapters if any, and the head on top."""

    encoder: Any
    head: PlacesHead
    added: adapters.Adapters | None = None

    def raw(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channels, I, J, K) to (batch, outputs)."""
        return self.head(*seen(self.encoder, images))


def build(tuning: Tuning, encoder: Any, *, kind: str, classes: int, outputs: int, sizes: tuple[int, int]) -> Network:
    """A fresh network for one rung; the given encoder itself is never changed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(tuning.seed)
        head = PlacesHead(sizes[0], sizes[1], outputs, grades=classes if kind == "ordinal" else 0)
    if tuning.rung == "head":
        return Network(encoder, head)
    own = copy.deepcopy(encoder)
    if not isinstance(own, nn.Module) or not any(True for _ in own.parameters()):
        raise InputError(f"{encoder.spec.name} has no weights to tune", remedy="use rung=frozen", finding="no-weights")
    if tuning.rung in ADAPTED:
        return Network(own, head, adapters.insert(own, tuning.rung, size=tuning.size, seed=tuning.seed))
    if tuning.rung == "scratch":
        adapters.reset(own, seed=tuning.seed)
    for value in own.parameters():
        value.requires_grad_(tuning.rung != "partial")
    if tuning.rung == "partial":
        for value in _last_layers(own):
            value.requires_grad_(True)
    return Network(own, head)


def _last_layers(encoder: nn.Module) -> list[nn.Parameter]:
    """The weights of the last of the encoder's blocks, or of its last quarter where it has no list of them."""
    lists = [part for part in encoder.modules() if isinstance(part, (nn.ModuleList, nn.Sequential)) and len(part) > 1]
    blocks = max(lists, key=lambda part: sum(value.numel() for value in part.parameters()), default=None)
    if blocks is None:
        values = list(encoder.parameters())
        return values[-max(1, len(values) // 4) :]
    return list(blocks[-1].parameters())


@dataclass(frozen=True, eq=False)
class FittedTuned:
    """A fitted upper rung: it answers rows by their images, and can be written as arrays."""

    tuning: Tuning
    kind: str
    classes: int
    outputs: int
    network: Network
    centre: float
    spread: float
    held_out: np.ndarray | None = None

    def predict(self, rows: Examples) -> np.ndarray:
        """Scores of rows, as `head_answers.answer` describes them."""
        views = views_of(rows)
        set_training(self.network, False)
        raw = []
        with torch.no_grad():
            for start in range(0, len(rows), 16):
                chosen = rows.row[start : start + 16]
                own = self.tuning.rung == "head"
                part = self.network.head(*views.places(chosen)) if own else self.network.raw(views.images(chosen))
                raw.append(part.numpy().astype(float))
        return self.answers(np.concatenate(raw))

    def answers(self, raw: np.ndarray) -> np.ndarray:
        """Raw outputs as probabilities, quantities or risks."""
        if self.kind == "regression":
            return raw[:, 0] * self.spread + self.centre
        if self.kind == "survival":
            return raw[:, 0]
        if self.kind == "ordinal":
            return ordinal_shares(raw[:, 0], self.network.head.thresholds().detach().numpy().astype(float))
        if self.kind == "binary":
            return logistic(raw[:, 0])
        return logistic(raw) if self.kind == "multilabel" else softmax(raw)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What describes this model, and the weights that differ from the encoder's own."""
        arrays = {f"head.{name}": value.numpy() for name, value in self.network.head.state_dict().items()}
        if self.network.added is not None:
            arrays |= {f"encoder.{name}": value.detach().numpy() for name, value in self.network.added.state().items()}
        elif self.tuning.rung in FREE:
            arrays |= {f"encoder.{name}": value.numpy() for name, value in self.network.encoder.state_dict().items()}
        about = {
            "rung": "tuned",
            "tuning": self.tuning.__dict__,
            "kind": self.kind,
            "classes": self.classes,
            "outputs": self.outputs,
            "centre": self.centre,
            "spread": self.spread,
        }
        return about, arrays


def restore(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray], encoder: Any) -> FittedTuned:
    """The model that `FittedTuned.state` described, around the encoder it was fitted on."""
    tuning = Tuning(**about["tuning"])
    weights = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
    own = {name.removeprefix("head."): value for name, value in weights.items() if name.startswith("head.")}
    sizes = (len(own["mean"]), len(own["norm.weight"]))
    kind, classes, outputs = about["kind"], int(about["classes"]), int(about["outputs"])
    network = build(tuning, encoder, kind=kind, classes=classes, outputs=outputs, sizes=sizes)
    network.head.load_state_dict(own)
    rest = {name.removeprefix("encoder."): value for name, value in weights.items() if name.startswith("encoder.")}
    if network.added is not None:
        network.added.load(rest)
    elif tuning.rung in FREE:
        network.encoder.load_state_dict(rest)
    return FittedTuned(replace(tuning), kind, classes, outputs, network, float(about["centre"]), float(about["spread"]))


def views_of(rows: Examples) -> Views:
    """The images behind rows; refused where they came without."""
    if rows.views is None:
        raise InputError("these rows came without their images", remedy="use rung=frozen")
    return rows.views


def set_training(network: Network, on: bool) -> None:
    """Training mode for what is trained; a frozen encoder keeps its running statistics."""
    network.head.train(on)
    if network.added is not None:
        network.added.modules.train(on)
