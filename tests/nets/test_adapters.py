"""Adapters start without effect, learn without touching the encoder, and leave no trace when taken out."""

import pytest
import torch

from radfoundry.nets import adapters, conv, vit, wrapped_vit2d
from radfoundry.records import EncoderSpec, InputError


def token_encoder(flat):
    shape = (16, 24, 1) if flat else (16, 16, 24)
    spec = EncoderSpec(name="small", spacing_mm=None if flat else (3, 3, 3), shape=shape, width=32, dimensions=3 - flat)
    return vit.create(spec, depth=2, patch=(8, 8, 1 if flat else 8), seed=0)


def published():
    sizes = {"width": 32, "depth": 2, "heads": 2, "hidden": 64, "image": 32, "patch": 8, "registers": 2}
    return wrapped_vit2d.standard(layout=sizes)


ENCODERS = {"2d": lambda: token_encoder(True), "3d": lambda: token_encoder(False), "published": published}


def images(encoder):
    return torch.rand(2, encoder.spec.channels, *encoder.spec.shape, generator=torch.Generator().manual_seed(1))


def look(encoder, batch):
    with torch.no_grad():
        found = encoder.encode(batch)
    return found.pooled, found.tokens


@pytest.mark.parametrize("kind", ["lora", "mona"])
@pytest.mark.parametrize("name", ENCODERS)
def test_without_effect_then_trained_then_without_trace(name, kind):
    encoder = ENCODERS[name]()
    batch = images(encoder)
    before = look(encoder, batch)
    weights = {key: value.clone() for key, value in encoder.state_dict().items()}
    added = adapters.insert(encoder, kind, size=4)
    assert all(torch.equal(a, b) for a, b in zip(look(encoder, batch), before, strict=True))

    optimiser = torch.optim.SGD(list(added.parameters()), lr=1.0)
    for _ in range(3):
        optimiser.zero_grad()
        encoder.encode(batch).pooled.square().mean().backward()
        optimiser.step()
    assert all(value.grad is not None for value in added.parameters())
    assert not torch.allclose(look(encoder, batch)[0], before[0], atol=1e-4)

    again = ENCODERS[name]()
    adapters.insert(again, kind, size=4, seed=7).load(added.state())
    assert torch.allclose(look(again, batch)[0], look(encoder, batch)[0], atol=1e-6)

    added.remove()
    assert all(torch.equal(a, b) for a, b in zip(look(encoder, batch), before, strict=True))
    assert list(encoder.state_dict()) == list(weights)
    assert all(torch.equal(value, weights[key]) for key, value in encoder.state_dict().items())


def test_mona_keeps_tokens_that_are_no_places_out_of_its_convolutions():
    mona = adapters.Mona(8, inner=4, flat=True).eval()
    torch.nn.init.normal_(mona.up.weight, generator=torch.Generator().manual_seed(0))
    tokens = torch.rand(1, 1 + 12 + 2, 8, generator=torch.Generator().manual_seed(0))
    moved = tokens.clone()
    moved[:, 0] += 1
    with torch.no_grad():
        first, second = mona(tokens, (3, 4, 1), 1), mona(moved, (3, 4, 1), 1)
    assert torch.equal(first[:, 1:], second[:, 1:]) and not torch.equal(first[:, 0], second[:, 0])


def test_adapters_are_small():
    encoder = vit.tiny_2d()
    whole = sum(value.numel() for value in encoder.parameters())
    for kind in ("lora", "mona"):
        added = adapters.insert(vit.tiny_2d(), kind, size=8)
        assert sum(value.numel() for value in added.parameters()) < 0.1 * whole


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(InputError, match="no transformer blocks"):
        adapters.insert(conv.tiny_2d(), "lora")
    with pytest.raises(InputError, match="use lora or mona"):
        adapters.insert(token_encoder(True), "adamant")
    with pytest.raises(InputError, match="do not fit"):
        adapters.insert(token_encoder(True), "lora", size=4).load(adapters.insert(token_encoder(True), "lora").state())


def test_reset_forgets_everything():
    encoder = token_encoder(True)
    before = {key: value.clone() for key, value in encoder.named_parameters() if value.std() > 0}
    adapters.reset(encoder, seed=3)
    assert all(not torch.equal(value, dict(encoder.named_parameters())[key]) for key, value in before.items())
    other = token_encoder(True)
    adapters.reset(other, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), other.parameters(), strict=True))
