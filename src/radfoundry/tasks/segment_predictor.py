"""A predictor that outlines: a folder with plan, decoder, encoder if it came from a file, and what it accepts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radfoundry import registry, runs
from radfoundry.config import Component
from radfoundry.data.masks_plan import SegmentPlan
from radfoundry.nets import decoders, embedding, outline_start, weight_files
from radfoundry.nets.unet_inference import MEMORY_BYTES, Reading, scores_of
from radfoundry.records import EncoderSpec, InputError
from radfoundry.tasks import accepts as limits
from radfoundry.tasks import predictor as predictors
from radfoundry.tasks import segment
from radfoundry.volume import Volume

WEIGHTS = "decoder.safetensors"
PLAN = "plan.json"
PROBE = "golden_scores"
PROBE_TOLERANCE = 1e-2
UNET, LIGHT = "unet", "light"


@dataclass(frozen=True, eq=False)
class Outliner:
    """A fitted network with its plan; `encoder` None is the U-Net. `decoder` is light, multi-block or unet."""

    plan: SegmentPlan
    model: Any
    encoder: Any
    decoder: str
    rung: str
    accepts: limits.Accepts
    about: Mapping[str, Any]

    @property
    def spec(self) -> EncoderSpec:
        """What the network expects of an image, as far as accepting goes."""
        return spec_of(self.plan, self.encoder)

    def scores(self, array: np.ndarray, *, memory_bytes: int = MEMORY_BYTES) -> torch.Tensor:
        """Scores (classes, I, J, K) of an image (1, I, J, K) on the plan's grid."""
        how = Reading(self.plan.patch, self.plan.classes, self.plan.widths[0], memory_bytes)
        return scores_of(self.model, torch.from_numpy(array), how)

    def outline(self, volume: Volume, *, memory_bytes: int = MEMORY_BYTES) -> np.ndarray:
        """Classes (I, J, K) `uint8` on the grid of an image as it was given."""
        made = segment.ready(volume, self.plan)
        return segment.on_source(self.scores(made.array, memory_bytes=memory_bytes), made)


def spec_of(plan: SegmentPlan, encoder: Any) -> EncoderSpec:
    """The spec of the encoder, or one made from the plan where there is none."""
    if encoder is not None:
        return encoder.spec
    modality = tuple(plan.fingerprint.get("modality", ())) or ("MR",)
    return EncoderSpec(UNET, modality=modality, dimensions=plan.dimensions, spacing_mm=plan.spacing_mm)


def new_model(
    plan: SegmentPlan, encoder: Any, *, decoder: str, rung: str, seed: int, start: str = outline_start.FRESH
) -> Any:
    """A network of a plan before it learns: the U-Net, always fresh, or an encoder with a decoder.

    `start=bundled` gives a light decoder the weights that learned from random shapes; refused where they do not fit.
    """
    sizes = segment.sizes_of(plan)
    if decoder == UNET:
        return decoders.unet(sizes, seed=seed)
    refuse_unlike(plan, encoder.spec)
    model = decoders.segmenter(encoder, sizes, plan.patch, decoder=decoder, rung=rung, seed=seed)
    if start == outline_start.BUNDLED:
        outline_start.begin(model.decoder, sizes)
    return model


@dataclass(frozen=True)
class Beginning:
    """Where a decoder begins (`start`), the plan it then follows and, where it could not be the bundled weights though
    nobody said so, why not."""

    start: str
    plan: SegmentPlan
    why: str = ""


def beginning(plan: SegmentPlan, decoder: str, asked: str | None) -> Beginning:
    """Where a decoder begins: with the bundled weights, where they fit and nothing else is said.

    The plan is cut to their levels. Refuses what is asked for and cannot be.
    """
    if asked is not None and asked not in outline_start.STARTS:
        raise registry.unknown("start", str(asked), outline_start.STARTS, where="head.start")
    found = outline_start.fitting(segment.sizes_of(plan)) if decoder == LIGHT else f"head={decoder} has none"
    if asked == outline_start.FRESH or (isinstance(found, str) and asked is None):
        said = found if isinstance(found, str) and asked is None and decoder == LIGHT else ""
        return Beginning(outline_start.FRESH, plan, said)
    if isinstance(found, str):
        raise InputError(
            f"no bundled weights to begin with: {found}", where="head.start", remedy="use head.start=fresh"
        )
    return Beginning(outline_start.BUNDLED, replace(plan, widths=found.widths, strides=found.strides))


def refuse_unlike(plan: SegmentPlan, spec: EncoderSpec) -> None:
    """Refuse an encoder for another kind of image than the cohort's."""
    if spec.dimensions != plan.dimensions:
        raise InputError(
            f"{spec.name} reads {spec.dimensions}D images, the masks lie on {plan.dimensions}D ones",
            where="encoder",
            remedy="choose another encoder (radfoundry list encoders), or head=unet",
            finding="modality",
        )
    unknown = [name for name in plan.fingerprint["modality"] if name not in (*spec.modality, "unknown")]
    if unknown:
        raise InputError(
            f"{spec.name} reads {', '.join(spec.modality)}, the images are {', '.join(unknown)}",
            where="encoder",
            remedy="choose another encoder (radfoundry list encoders), or head=unet",
            finding="modality",
        )
    if spec.channels != 1:
        raise InputError(f"{spec.name} reads {spec.channels} channels", where="encoder", remedy="use one that reads 1")


def write(found: Outliner, folder: Path, *, component: Component | None, pack: bool = True) -> None:
    """Write a predictor folder of kind `segmentation` that `radfoundry predict` reads."""
    folder.mkdir(parents=True)
    packed = False
    name = UNET
    if found.encoder is not None and component is not None:
        packed = component.name.endswith(".safetensors") and pack
        name = predictors.ENCODER if packed else component.name
        if packed:
            shutil.copyfile(component.name, folder / predictors.ENCODER)
    weights = found.model.state()
    weights[PROBE] = _probe(found)
    with runs.atomic(folder / WEIGHTS) as partial:
        weight_files.write(weights, partial, about={"format": "1", "kind": "segmenter"})
    runs.write_json(folder / PLAN, found.plan.to_dict())
    record = {
        "format": predictors.FORMAT,
        "task": {
            "name": "segment",
            "target": "mask",
            "kind": segment.KIND,
            "unit": "image",
            "about": f"Which voxels are {', '.join(found.plan.labels)}?",
        },
        "classes": list(found.plan.labels),
        "decoder": found.decoder,
        "rung": found.rung,
        "encoder": {
            "name": name,
            "options": component.options if component is not None and found.encoder is not None else {},
            "packed": packed,
            "called": found.spec.name,
            "spec": asdict(found.spec),
        },
        "finish": {"patients": 0, "operating_point": None, "note": "a mask has no cut-off of its own"},
        "accepts": found.accepts.to_dict(),
        **found.about,
    }
    predictors.seal(record, folder)


def read(path: str | Path) -> Outliner:
    """The outliner in a predictor folder; refuses changed files and weights that do not give the stored scores."""
    import json

    folder, record = predictors.opened(path)
    plan = SegmentPlan.from_dict(json.loads((folder / PLAN).read_text(encoding="utf-8")))
    about = record["encoder"]
    encoder = None
    if record["decoder"] != UNET:
        name = str(folder / predictors.ENCODER) if about["packed"] else about["name"]
        encoder = embedding.open_encoder(Component(name=name, **about["options"]))
        encoder.eval()
    model = new_model(plan, encoder, decoder=record["decoder"], rung=record["rung"], seed=0)
    _, weights = weight_files.read(folder / WEIGHTS)
    stored = weights.pop(PROBE, None)
    model.restore(weights)
    model.eval()
    found = Outliner(
        plan, model, encoder, record["decoder"], record["rung"], limits.Accepts.from_dict(record["accepts"]), record
    )
    now = _probe(found)
    if stored is None or stored.shape != now.shape or not torch.allclose(now, stored, atol=PROBE_TOLERANCE, rtol=0.02):
        raise InputError(
            "the network does not give the scores it gave when it was written",
            where=str(folder),
            remedy="use the encoder file it was fitted with",
            finding="encoder",
        )
    return found


def _probe(found: Outliner) -> torch.Tensor:
    """Scores of a fixed image, thinned: they tell another network from the one that was fitted."""
    rng = np.random.default_rng(7)
    image = torch.from_numpy(rng.standard_normal((1, 1, *found.plan.patch)).astype(np.float32))
    with torch.no_grad():
        return found.model(image)[0, :, ::7, ::7, ::7].contiguous()
