"""A training run on disk between two steps: safetensors, with how far it is as JSON in their head; no pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from radfoundry import runs
from radfoundry.config import Component
from radfoundry.nets import aligned, checkpoint, embedding, weight_files
from radfoundry.records import InputError
from radfoundry.train.learner import Learner
from radfoundry.train.objectives.align import Align, Concepts
from radfoundry.train.optimiser import SlowAverage

FORMAT = "1"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class Progress:
    """How far a run is: finished steps, seconds of training, steps left out because a number was not finite."""

    step: int = 0
    seconds: float = 0.0
    skipped: int = 0


@dataclass
class Trained:
    """What a run changes: the learner, its optimiser, the slow average of its encoder, and how far it is."""

    learner: Learner
    optimiser: torch.optim.Optimizer
    average: SlowAverage
    at: Progress = field(default_factory=Progress)


def whole(value: torch.Tensor) -> torch.Tensor:
    """A tensor that may be spread over processes, put together; every process has to call this."""
    full = getattr(value, "full_tensor", None)
    return value if full is None else full()


def save(path: Path, trained: Trained, *, settings: str, write: bool = True) -> None:
    """Write the state of a run, whole or not at all; processes that do not write only help to put tensors together."""
    moments = trained.optimiser.state
    tensors = {f"model.{name}": value for name, value in trained.learner.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in trained.average.weights.items()}
    for name, weight in trained.learner.named_parameters():
        for moment in MOMENTS if weight in moments else ():
            tensors[f"optimiser.{name}.{moment}"] = moments[weight][moment]
    tensors = {name: whole(value.detach()) for name, value in tensors.items()}
    if not write:
        return
    about = {"format": FORMAT, "settings": settings, "progress": json.dumps(vars(trained.at))}
    with runs.atomic(path) as partial:
        kept = {name: value.cpu().contiguous().clone() for name, value in tensors.items()}
        weight_files.write(kept, partial, about=about)


def load(path: Path, trained: Trained, *, settings: str) -> None:
    """Put a saved state back in place. Refuses a state of other settings or of another model."""
    try:
        with safe_open(path, framework="pt") as handle:
            about = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        detail = " ".join(str(error).split())[:120]
        raise InputError(f"the saved state cannot be read ({detail})", where=str(path), remedy="start anew") from None
    if about.get("format") != FORMAT or about.get("settings") != settings:
        raise InputError(
            "it was saved by a run with other settings",
            where=str(path),
            remedy="give the settings of that run again, or another --to",
            finding="settings",
        )
    model = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    _put(trained.learner, model)
    for name, value in trained.average.weights.items():
        value.copy_(_like(tensors[f"average.{name}"], value))
    for name, weight in trained.learner.named_parameters():
        if f"optimiser.{name}.exp_avg" in tensors:
            trained.optimiser.state[weight] = {
                moment: _moment(tensors[f"optimiser.{name}.{moment}"], weight, moment) for moment in MOMENTS
            }
    trained.at = Progress(**json.loads(about["progress"]))


def _put(learner: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    for name, value in learner.state_dict().items():
        if name not in tensors or tensors[name].shape != value.shape:
            raise InputError(f"the saved state lacks {name} {tuple(value.shape)}", finding="weights")
        value.copy_(_like(tensors[name], value))


def _like(saved: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """A saved tensor on the device, in the type and, if sharded, in the parts of the one it replaces."""
    saved = saved.to(present.device, present.dtype)
    mesh: Any = getattr(present, "device_mesh", None)
    if mesh is None:
        return saved
    from torch.distributed.tensor import distribute_tensor

    placements: Any = getattr(present, "placements", None)
    return distribute_tensor(saved, mesh, placements)


def _moment(saved: torch.Tensor, weight: torch.Tensor, moment: str) -> torch.Tensor:
    return saved.clone() if moment == "step" else _like(saved, weight.detach()).clone()


def about(path: Path) -> dict[str, Any]:
    """What is written in the head of a safetensors file."""
    with safe_open(path, framework="pt") as handle:
        return dict(handle.metadata() or {})


def save_encoder(component: Component, encoder: Any, weights: dict[str, torch.Tensor], path: Path) -> None:
    """A checkpoint of the encoder with other weights than it has now, under the builder it was made by.

    component: the setting that named the encoder, a registry name or the checkpoint it began from.
    """
    fresh = embedding.open_encoder(component).cpu()
    kept = {**encoder.state_dict(), **weights}
    fresh.load_state_dict({name: kept[name].to(value.dtype) for name, value in fresh.state_dict().items()})
    name, options = component.name, getattr(encoder, "options", component.options)
    if name.endswith(".safetensors"):
        known = about(Path(name))
        name, options = known["builder"], json.loads(known["options"])
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(fresh.eval(), path, builder=name, options=options)


def text_side_of(learner: Learner) -> aligned.TextSide | None:
    """A copy of the text encoder with the projections of `align`, and of `concepts` if it was learned too."""
    parts = list(learner.objectives.values())
    pair: Any = next((part for part in parts if isinstance(part, Align)), None)
    if pair is None or learner.text is None:
        return None
    local: Any = next((part for part in parts if isinstance(part, Concepts)), None)
    text: Any = learner.text
    side = aligned.TextSide(
        aligned.Sizes(
            pooled=pair.image[1].in_features,
            token=0 if local is None else local.patch[1].in_features,
            vocabulary=text.vocabulary,
            text_width=text.width,
            depth=text.depth,
            length=text.length,
            width=pair.image[-1].out_features,
            local=0 if local is None else local.patch[-1].out_features,
        ),
        getattr(text, "name", aligned.OWN),
    )
    sources = {"text": text, "image": pair.image, "report": pair.report}
    if local is not None:
        sources |= {"patch": local.patch, "word": local.word}
    for name, source in sources.items():
        weights = {key: whole(value.detach()).float().cpu() for key, value in source.state_dict().items()}
        getattr(side, name).load_state_dict(weights)
    return side.eval()
