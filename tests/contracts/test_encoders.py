"""What every encoder in the registry must do, whatever it is made of."""

import dataclasses
import importlib.util

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from radfoundry import registry
from radfoundry.nets import cards, checkpoint, vit
from radfoundry.records import Encoder, InputError

TINY_VIT = {"width": 32, "depth": 2, "heads": 2, "hidden": 64, "image": 32, "patch": 8}
TINY_HF = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
RESENC = {"widths": [4, 8], "blocks": [1, 2], "kernels": [3] * 6, "strides": [1, 1, 1, 2, 2, 2], "stem": 4}
# The smallest form of every encoder that has sizes; one that is not here is built as it is.
OPTIONS = {
    "sequence-set": {"encoder": "conv2d-tiny", "sequences": 2},
    "slices": {"encoder": "conv2d-tiny", "slices": 2},
    "vit2d-standard": {"layout": TINY_VIT},
    "vit2d-file": {"untrained": {"layout": TINY_VIT}},
    "hf-dinov2": {"untrained": {"sizes": TINY_HF}},
    "hf-clip": {"untrained": {"sizes": {**TINY_HF, "projection_dim": 16}}},
    "hf-siglip": {"untrained": {"sizes": TINY_HF}},
    "vit3d-base": {"depth": 1},
    "vit3d-large": {"depth": 1},
    "medicalnet": {"untrained": {"width": 4}, "side": 32},
    "fmcib": {"untrained": {"width": 4, "bottleneck": True, "shortcut_bias": True}},
    "monai-resnet": {"untrained": {"width": 4, "projected": False}, "side": 32},
    "monai-swin": {"untrained": {"width": 12, "heads": [1, 2, 2, 2]}, "side": 32},
    "monai-segresnet": {"untrained": {"blocks": [1, 1]}, "side": 16},
    "resenc": {"untrained": RESENC, "side": 16},
    "models-genesis": {"untrained": {"width": 2}},
}
NEEDS = {"hf": "transformers", "monai": "monai"}


def marked(name):
    """Large ones, and those of libraries that take seconds to import, run with the slow tests."""
    library = NEEDS.get(cards.card(name).extra)
    heavy = name in ("conv3d-tiny", "radfoundry-mri") or name.endswith(("small", "base", "large"))
    marks = [pytest.mark.slow] if library or heavy else []
    if library:
        absent = importlib.util.find_spec(library) is None
        marks.append(pytest.mark.skipif(absent, reason=f"{library} is not installed"))
    return pytest.param(name, marks=marks)


NAMES = [marked(name) for name in registry.entries("encoders")]
WEIGHTED = [entry for entry in NAMES if entry.values[0] != "intensity"]


def build(name, **options):
    return registry.build("encoders", name, **{**OPTIONS.get(name, {}), **options})


def images(encoder, count=2, seed=0):
    shape = encoder.spec.shape
    return torch.rand(count, encoder.spec.channels, *shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_encodes_what_its_spec_says(name):
    encoder = build(name)
    assert isinstance(encoder, Encoder)
    assert encoder.spec.dimensions == (2 if encoder.spec.shape[2] == 1 else 3)
    batch = images(encoder, 3)
    features = encoder.encode(batch)
    assert features.pooled.shape[0] == 3 and features.pooled.ndim == 2
    assert features.tokens.shape[:2] == (3, int(np.prod(features.grid))) and len(features.grid) == 3
    assert torch.isfinite(features.pooled).all() and torch.isfinite(features.tokens).all()
    assert torch.equal(encoder.encode(batch).pooled, features.pooled), "twice the same"
    apart = torch.cat([encoder.encode(image[None]).pooled for image in batch])
    assert torch.allclose(features.pooled, apart, atol=1e-4), "a batch equals one by one"


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_constant_and_extreme_images_give_finite_features(name):
    encoder = build(name)
    for value in (0.0, 1.0, 1e4):
        assert torch.isfinite(encoder.encode(torch.full_like(images(encoder, 1), value)).pooled).all()


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_what_lies_in_a_missing_channel_does_not_matter(name):
    encoder = build(name)
    if name != "sequence-set" and "channels" in registry.resolve("encoders", name).__kwdefaults__:
        encoder = build(name, channels=2)
    batch = images(encoder, 1)
    present = torch.ones(1, encoder.spec.channels, dtype=torch.bool)
    present[0, -1] = encoder.spec.channels == 1  # a set with nothing in it is refused elsewhere
    other = batch.clone()
    other[:, -1] = 7.0 if encoder.spec.channels > 1 else other[:, -1]
    assert torch.allclose(encoder.encode(batch, present).pooled, encoder.encode(other, present).pooled)


@pytest.mark.parametrize("name", WEIGHTED)
def test_every_weight_gets_a_gradient(name):
    encoder = build(name)
    present = torch.ones(2, encoder.spec.channels, dtype=torch.bool)
    present[0, 0] = False
    features = encoder.encode(images(encoder), present)
    (features.pooled.square().sum() + features.tokens.square().sum()).backward()
    wanted = [(key, value.grad) for key, value in encoder.named_parameters() if value.requires_grad]
    assert [key for key, grad in wanted if grad is None or not grad.abs().sum() > 0] == []


@torch.no_grad()
@pytest.mark.parametrize("name", WEIGHTED)
def test_a_checkpoint_gives_back_the_same_encoder(name, tmp_path):
    options = {"seed": 5} if "seed" in registry.resolve("encoders", name).__kwdefaults__ else {}
    encoder = build(name, **options)
    for value in encoder.parameters():
        value.add_(0.01)  # no longer what any seed gives
    path = tmp_path / "e.safetensors"
    own = getattr(encoder, "options", None)
    checkpoint.save(encoder, path, builder=name, options={**OPTIONS.get(name, {}), **options} if own is None else None)
    loaded = checkpoint.load(path)
    batch = images(encoder)
    assert torch.equal(loaded.encode(batch).pooled, encoder.encode(batch).pooled)
    assert dataclasses.asdict(loaded.spec) == dataclasses.asdict(encoder.spec)
    assert checkpoint.fingerprint(loaded) == checkpoint.fingerprint(encoder)

    about, weights = checkpoint._read(path)
    key = next(key for key in weights if key.endswith("weight") and weights[key].ndim > 2)
    weights[key] = torch.randn(weights[key].shape, generator=torch.Generator().manual_seed(1))
    save_file(weights, path, metadata=about)
    with pytest.raises(InputError, match="golden probe"):
        checkpoint.load(path)


@pytest.mark.parametrize("name", WEIGHTED)
def test_the_seed_decides_the_weights_and_leaves_torch_alone(name):
    if "seed" not in registry.resolve("encoders", name).__kwdefaults__:
        pytest.skip("weights come from a file")
    before = torch.random.get_rng_state()
    first, again, other = (build(name, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    states = [checkpoint.weight_bytes(encoder.state_dict()) for encoder in (first, again, other)]
    assert states[0] == states[1] != states[2]


@pytest.mark.parametrize("name", registry.entries("encoders"))
def test_every_encoder_has_a_card_with_a_licence(name):
    card = cards.card(name)
    assert card in cards.CARDS and card.licence and card.reads
    if "path" in (registry.resolve("encoders", name).__kwdefaults__ or {}):
        assert card.weights.startswith("path=") and card.source
        with pytest.raises(InputError, match="no weights; give path="):
            registry.build("encoders", name)


def test_positions_are_in_millimetres_not_indices():
    """The same place has the same code at any spacing: a grid twice as fine holds the coarse one's codes."""
    coarse = vit.position_codes([torch.tensor([0.0, 8.0, 16.0])] * 3, 96)
    fine = vit.position_codes([torch.tensor([0.0, 4.0, 8.0, 12.0, 16.0])] * 3, 96).reshape(5, 5, 5, 96)
    assert torch.allclose(fine[::2, ::2, ::2].reshape(-1, 96), coarse)


@pytest.mark.parametrize("name", ["vit3d-tiny", "conv2d-tiny", "medicalnet", "vit2d-standard"])
def test_the_wrong_number_of_channels_is_refused(name):
    encoder = build(name)
    with pytest.raises(InputError, match="expects"):
        encoder.encode(torch.zeros(1, 2, *encoder.spec.shape))
