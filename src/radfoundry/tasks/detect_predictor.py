"""A predictor that marks findings: a folder with the learned weights, how images are read, and what it accepts."""

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
from radfoundry.nets import detector, embedding, weight_files
from radfoundry.records import EncoderSpec, InputError, Series
from radfoundry.tasks import accepts as limits
from radfoundry.tasks import detect, detect_fit
from radfoundry.tasks import predictor as predictors

WEIGHTS = "detector.safetensors"
PROBE = "golden_map"
TOLERANCE = 1e-3
SCRATCH = "trunk"


@dataclass(frozen=True, eq=False)
class Finder:
    """A fitted detector; `encoder` None is one from scratch."""

    model: detector.Detector
    spec: EncoderSpec
    encoder: Any
    most: int
    accepts: limits.Accepts
    about: Mapping[str, Any]

    def find(self, series: Series) -> detect_fit.Marked:
        """Marks on one image, surest first."""
        made = detect.framed(series, self.spec)
        example = detect.Example(series, series.case, series.patient, made, np.zeros((0, 6)))
        return detect_fit.marks(self.model, example, most=self.most)


def write(found: Finder, folder: Path, *, component: Component | None, pack: bool = True) -> None:
    """Write a predictor folder of kind `detection` that `radfoundry predict` reads."""
    folder.mkdir(parents=True)
    name, packed = SCRATCH, False
    if component is not None and found.encoder is not None:
        packed = component.name.endswith(".safetensors") and pack
        name = predictors.ENCODER if packed else component.name
        if packed:
            shutil.copyfile(component.name, folder / predictors.ENCODER)
    weights = {key: value.contiguous() for key, value in found.model.learned().items()}
    weights[PROBE] = _probe(found)
    with runs.atomic(folder / WEIGHTS) as partial:
        weight_files.write(weights, partial, about={"format": "1", "kind": "detector"})
    options = component.options if component is not None and found.encoder is not None else {}
    record = {
        "format": predictors.FORMAT,
        "task": {
            "name": "detect",
            "target": "boxes",
            "kind": detect.KIND,
            "unit": "image",
            "about": "Where are the findings?",
        },
        "classes": ["finding"],
        "most": found.most,
        "frozen": found.model.frozen,
        "encoder": {
            "name": name,
            "options": options,
            "packed": packed,
            "called": found.spec.name,
            "spec": asdict(found.spec),
        },
        "finish": {
            "patients": 0,
            "operating_point": None,
            "note": "marks are ranked; choose a cut-off on your own data",
        },
        "accepts": found.accepts.to_dict(),
        **found.about,
    }
    predictors.seal(record, folder)


def read(path: str | Path) -> Finder:
    """The finder in a predictor folder; refuses changed files and weights that do not give the stored map."""
    folder, record = predictors.opened(path)
    about = record["encoder"]
    spec, encoder = _spec(about["spec"]), None
    if about["name"] != SCRATCH:
        name = str(folder / predictors.ENCODER) if about["packed"] else about["name"]
        encoder = embedding.open_encoder(Component(name=name, **about["options"]))
    flat = spec.dimensions == 2
    model = detector.new(encoder, channels=spec.channels, flat=flat, frozen=record["frozen"], seed=0)
    _, weights = weight_files.read(folder / WEIGHTS)
    stored = weights.pop(PROBE)
    missing = model.load_state_dict(weights, strict=False).missing_keys
    if any(not (model.frozen and key.startswith("encoder.")) for key in missing):
        raise InputError("lacks weights", where=str(folder / WEIGHTS), remedy=predictors.REMEDY, finding="damaged")
    model.eval()
    accepts = limits.Accepts.from_dict(record["accepts"])
    found = Finder(model, spec, encoder, int(record["most"]), accepts, record)
    now = _probe(found)
    if now.shape != stored.shape or not torch.allclose(now, stored, atol=TOLERANCE, rtol=TOLERANCE):
        raise InputError(
            "the network does not give the map it gave when it was written",
            where=str(folder),
            remedy="use the encoder file it was fitted with",
            finding="encoder",
        )
    return found


def _spec(values: Mapping[str, Any]) -> EncoderSpec:
    """A spec read back from JSON, where tuples have become lists."""
    kept: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return EncoderSpec(**kept)


def _probe(found: Finder) -> torch.Tensor:
    """The map of a fixed image."""
    shape = found.spec.shape or (32, 32, 32)
    image = np.random.default_rng(7).standard_normal((1, found.spec.channels, *shape)).astype(np.float32)
    found.model.eval()
    with torch.no_grad():
        return found.model(found.model.places(torch.from_numpy(image))).heat.contiguous()
