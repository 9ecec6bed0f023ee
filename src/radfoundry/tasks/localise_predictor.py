"""A predictor that localises: a folder with the votes' weights, the encoder if it came from a file, and its limits."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radfoundry import runs
from radfoundry.config import Component
from radfoundry.nets import checkpoint, embedding, weight_files
from radfoundry.records import EncoderSpec, InputError, Series
from radfoundry.tasks import accepts as limits
from radfoundry.tasks import localise_fit
from radfoundry.tasks import predictor as predictors

WEIGHTS = "votes.safetensors"
PROBE = "encoder_probe"


@dataclass(frozen=True, eq=False)
class Pointer:
    """A fitted localiser with its encoder and the images it accepts."""

    fitted: localise_fit.Localiser
    encoder: Any
    task: Mapping[str, Any]
    accepts: limits.Accepts
    about: Mapping[str, Any]

    @property
    def spec(self) -> EncoderSpec:
        """What the encoder expects of an image."""
        return self.encoder.spec

    def find(self, series: Series) -> localise_fit.Found:
        """Where the place lies in one scan."""
        return localise_fit.find(self.fitted, localise_fit.see(series, self.encoder))


def write(found: Pointer, folder: Path, *, component: Component, pack: bool = True) -> None:
    """Write a predictor folder of kind `place` that `radfoundry predict` reads."""
    folder.mkdir(parents=True)
    packed = component.name.endswith(".safetensors") and pack
    if packed:
        shutil.copyfile(component.name, folder / predictors.ENCODER)
    fitted = found.fitted
    arrays = {"far": fitted.far, "near": fitted.near, "usual": fitted.usual}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
    tensors[PROBE] = checkpoint.embed_probe(found.encoder)
    with runs.atomic(folder / WEIGHTS) as partial:
        weight_files.write(tensors, partial, about={"format": "1", "kind": "votes"})
    record = {
        "format": predictors.FORMAT,
        "task": {name: found.task[name] for name in ("name", "target", "kind", "unit", "about")},
        "classes": [],
        "near_mm": fitted.near_mm,
        "encoder": {
            "name": predictors.ENCODER if packed else component.name,
            "options": component.options,
            "packed": packed,
            "called": found.spec.name,
            "spec": asdict(found.spec),
        },
        "finish": {"patients": 0, "operating_point": None, "note": "a place has no cut-off"},
        "accepts": found.accepts.to_dict(),
        **found.about,
    }
    predictors.seal(record, folder)


def read(path: str | Path) -> Pointer:
    """The localiser in a predictor folder; refuses changed files and an encoder that gives other features."""
    folder, record = predictors.opened(path)
    about = record["encoder"]
    name = str(folder / predictors.ENCODER) if about["packed"] else about["name"]
    encoder = embedding.open_encoder(Component(name=name, **about["options"]))
    encoder.eval()
    _, tensors = weight_files.read(folder / WEIGHTS)
    probe, now = tensors.pop(PROBE), checkpoint.embed_probe(encoder)
    close = checkpoint.TOLERANCE
    if now.shape != probe.shape or not torch.allclose(now, probe, atol=close, rtol=close):
        raise InputError(
            f"encoder {about['called']} does not give the features the votes were learned on",
            where=str(folder),
            remedy="use the encoder file it was fitted with",
            finding="encoder",
        )
    arrays = {name: value.numpy() for name, value in tensors.items()}
    fitted = localise_fit.Localiser(arrays["far"], arrays["near"], arrays["usual"], float(record["near_mm"]))
    return Pointer(fitted, encoder, record["task"], limits.Accepts.from_dict(record["accepts"]), record)
