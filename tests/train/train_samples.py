"""The smallest encoder and learner that still do everything, for the tests of training."""

import torch

from radfoundry.config import Component
from radfoundry.nets import vit
from radfoundry.records import EncoderSpec
from radfoundry.simulate.stream import CropPlan
from radfoundry.train import learner, scene
from radfoundry.train.processes import Place
from radfoundry.train.sources import Simulated

torch.set_num_threads(1)
CROP = CropPlan(size=16, spacing_mm=(4.0, 4.0), lesion_rate=0.9)


def tiny_encoder(seed=0):
    spec = EncoderSpec(
        name="tiny", orientation="RAS", spacing_mm=(4.0, 4.0, 4.0), shape=(16, 16, 16), intensity="zscore", width=32
    )
    return vit.create(spec, depth=1, patch=(8, 8, 8), seed=seed)


def tiny_learner(*components, seed=0, **facts):
    encoder = tiny_encoder(seed)
    shapes = scene.shapes_of(encoder, 16, views=2, protocols=len(CROP.protocols), **facts)
    parts = [Component.model_validate(part if isinstance(part, dict) else {"name": part}) for part in components]
    return learner.build(encoder, shapes, parts, seed=seed)


def tiny_source(size=4, seed=0, place=None):
    return Simulated(CROP, size, seed, "zscore", place or Place())
