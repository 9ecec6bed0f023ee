"""What every encoder in the registry must do, whatever it is made of."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from radfoundry import registry
from radfoundry.nets import checkpoint, vit
from radfoundry.records import Encoder, InputError

NAMES = [name for name in registry.entries("encoders") if not name.endswith("small")]
WEIGHTED = [name for name in NAMES if name != "intensity"]


@pytest.fixture(params=NAMES)
def encoder(request):
    return registry.build("encoders", request.param)


def images(encoder, count=2, seed=0):
    shape = encoder.spec.shape
    return torch.rand(count, encoder.spec.channels, *shape, generator=torch.Generator().manual_seed(seed))


def test_keeps_the_contract(encoder):
    assert isinstance(encoder, Encoder)
    features = encoder.encode(images(encoder))
    assert features.pooled.shape[0] == 2 and features.pooled.ndim == 2
    assert features.tokens.shape[:2] == (2, int(np.prod(features.grid)))
    assert torch.isfinite(features.pooled).all()


@torch.no_grad()
def test_batched_equals_one_by_one(encoder):
    batch = images(encoder, 3)
    together = encoder.encode(batch).pooled
    apart = torch.cat([encoder.encode(image[None]).pooled for image in batch])
    assert torch.allclose(together, apart, atol=1e-4)


@torch.no_grad()
def test_constant_and_extreme_images_give_finite_features(encoder):
    for value in (0.0, 1.0, 1e4):
        assert torch.isfinite(encoder.encode(torch.full_like(images(encoder, 1), value)).pooled).all()


@pytest.mark.parametrize("name", WEIGHTED)
def test_the_seed_decides_the_weights_and_leaves_torch_alone(name):
    before = torch.random.get_rng_state()
    first, again, other = (registry.build("encoders", name, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert checkpoint.fingerprint(first) == checkpoint.fingerprint(again) != checkpoint.fingerprint(other)


@pytest.mark.parametrize("name", WEIGHTED)
def test_every_weight_gets_a_gradient(name):
    encoder = registry.build("encoders", name)
    present = torch.ones(2, encoder.spec.channels, dtype=torch.bool)
    present[0, 0] = False
    features = encoder.encode(images(encoder), present)
    (features.pooled.square().sum() + features.tokens.square().sum()).backward()
    silent = [key for key, value in encoder.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
    assert silent == []


@torch.no_grad()
@pytest.mark.parametrize("name", WEIGHTED)
def test_a_checkpoint_gives_back_the_same_encoder(name, tmp_path):
    encoder = registry.build("encoders", name, seed=5)
    checkpoint.save(encoder, tmp_path / "e.safetensors", builder=name, options={"seed": 5})
    loaded = checkpoint.load(tmp_path / "e.safetensors")
    batch = images(encoder)
    assert torch.equal(loaded.encode(batch).pooled, encoder.encode(batch).pooled)
    assert dataclasses.asdict(loaded.spec) == dataclasses.asdict(encoder.spec)


def test_a_changed_weight_is_caught_by_the_probe(tmp_path):
    encoder = vit.tiny()
    path = tmp_path / "e.safetensors"
    checkpoint.save(encoder, path, builder="vit3d-tiny")
    about, weights = checkpoint._read(path)
    weights["stem.0.weight"] = weights["stem.0.weight"] * 1.5
    save_file(weights, path, metadata=about)
    with pytest.raises(InputError, match="golden probe"):
        checkpoint.load(path)


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    path = tmp_path / "e.safetensors"
    for content in (b"", b"\x80\x04.", b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(InputError, match="safetensors"):
            checkpoint.load(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="no radfoundry encoder"):
        checkpoint.load(path)
    with pytest.raises(InputError, match="no such file"):
        checkpoint.load(tmp_path / "missing.safetensors")


def test_weights_of_another_shape_are_refused(tmp_path):
    path = tmp_path / "e.safetensors"
    checkpoint.save(vit.tiny(), path, builder="vit3d-tiny")
    about, weights = checkpoint._read(path)
    save_file(weights, path, metadata={**about, "builder": "vit2d-tiny"})
    with pytest.raises(InputError, match="do not fit vit2d-tiny"):
        checkpoint.load(path)


def test_positions_are_in_millimetres_not_indices():
    """The same place has the same code at any spacing: a grid twice as fine holds the coarse one's codes."""
    coarse = vit.position_codes([torch.tensor([0.0, 8.0, 16.0])] * 3, 96)
    fine = vit.position_codes([torch.tensor([0.0, 4.0, 8.0, 12.0, 16.0])] * 3, 96).reshape(5, 5, 5, 96)
    assert torch.allclose(fine[::2, ::2, ::2].reshape(-1, 96), coarse)


def test_the_wrong_number_of_channels_is_refused():
    with pytest.raises(InputError, match="expects"):
        vit.tiny().encode(torch.zeros(1, 2, 64, 64, 64))
