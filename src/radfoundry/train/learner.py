"""An encoder with the objectives it learns from, as one module whose call gives the loss and its terms."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from radfoundry import registry
from radfoundry.config import Component
from radfoundry.nets import text as readers
from radfoundry.records import InputError
from radfoundry.train.batches import Batch
from radfoundry.train.locked import Locked
from radfoundry.train.scene import Scene, Shapes, Terms


class Learner(nn.Module):
    """The weighted sum of objectives on one batch; an objective that needs facts the batch lacks is left out."""

    def __init__(
        self, encoder: Any, objectives: Mapping[str, nn.Module], weights: Mapping[str, float], seed: int, *, text: Any
    ) -> None:
        super().__init__()
        self.text = text
        self.encoder = encoder
        self.objectives = nn.ModuleDict(objectives)
        self.weights = dict(weights)
        self.seed = seed
        self.locked: Locked | None = None

    def lock(self, *, remember: bool) -> Learner:
        """Keep the encoder as it is; remember: every showing of a study has the same images."""
        self.encoder.requires_grad_(False)
        self.locked = Locked(remember)
        return self

    def forward(self, batch: Batch, progress: float = 0.0, *, asked: bool = False) -> Terms:
        """Terms by name, `loss` being the one to minimise; `masked` and `contrast.dense` are parts of it.

        With `asked` nothing is learned: the images' features come back as `pooled`. Sharded weights are put together
        only by calling the whole module, so live checks have to come this way.
        """
        scene = Scene(batch, self.encoder, self.seed, progress, self.text)
        if asked:
            return {"pooled": scene.clean.pooled}
        if self.locked is not None:
            scene.clean = self.locked.features(scene)
        found: Terms = {}
        total = None
        for name, objective in self.objectives.items():
            missing = set(objective.needs) - batch.known  # ty: ignore[invalid-argument-type]
            if missing:
                continue
            terms = objective(scene)
            found |= {name if key == "loss" else f"{name}.{key}": value.detach() for key, value in terms.items()}
            part = terms["loss"] * self.weights[name]
            total = part if total is None else total + part
        if total is None:
            raise InputError(
                f"no objective can learn from a batch that knows {', '.join(sorted(batch.known))}",
                remedy="choose other objectives or other data",
                finding="objectives",
            )
        return {**found, "loss": total}

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Let objectives that keep a slow copy of the encoder bring it up to date."""
        for objective in self.objectives.values():
            update: Any = getattr(objective, "after_step", None)
            if update is not None:
                update(self.encoder, progress)


def build(
    encoder: Any, shapes: Shapes, components: Sequence[Component], *, seed: int, text: Any = None, begun: Any = None
) -> Learner:
    """A learner from settings such as `{name: masked, weight: 2, mask_ratio: 0.6}`; heads are drawn from the seed.

    text: who reads the reports, a small text encoder if left out; begun: a text side (`nets.aligned.TextSide`) to go
    on from, with its text encoder and whichever of its projections the objectives have too.
    The same objective may be given twice with different options. Refuses unknown names and options, and weights
    that are not positive.
    """
    if not components:
        raise InputError("no objectives", where="objectives", remedy="radfoundry list objectives")
    objectives: dict[str, nn.Module] = {}
    weights: dict[str, float] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for component in components:
            options = component.options
            weight = options.pop("weight", 1.0)
            if not isinstance(weight, (int, float)) or not weight > 0:
                raise InputError(f"weight {weight!r} is not a positive number", where=f"objective {component.name}")
            builder = registry.resolve("objectives", component.name)
            registry.check_options(builder, options, where=f"objectives.{component.name}")
            name = component.name if component.name not in weights else f"{component.name}-{len(weights) + 1}"
            weights[name] = float(weight)
            objectives[name] = builder(shapes, **options)
    for objective in objectives.values():
        attach: Any = getattr(objective, "attach", None)
        if attach is not None:
            attach(encoder)
    reads = any("words" in objective.needs for objective in objectives.values())  # ty: ignore[unsupported-operator]
    if reads and text is None:
        text = readers.small(vocabulary=shapes.vocabulary, width=shapes.text_width, seed=seed)
    learner = Learner(encoder, objectives, weights, seed, text=text if reads else None)
    if reads and begun is not None:
        go_on(learner, begun)
    learner.encoder.requires_grad_(True)
    return learner.train()


def go_on(learner: Learner, begun: Any) -> None:
    """Put what a text side has learned where the learner has a part of the same name and size."""
    learner.text = copy.deepcopy(begun.text).requires_grad_(True)
    for objective in learner.objectives.values():
        for name in ("image", "report", "patch", "word"):
            there, known = getattr(objective, name, None), getattr(begun, name, None)
            if isinstance(there, nn.Module) and isinstance(known, nn.Module) and sizes(there) == sizes(known):
                there.load_state_dict(known.state_dict())


def sizes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every weight by name."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}
