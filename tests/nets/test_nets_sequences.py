"""Sets of sequences and acquisition tokens: laws of order and absence."""

import math

import pytest
import torch

from radfoundry.nets import acquisition, conv, sequences, vit
from radfoundry.records import Acquisition, EncoderSpec, InputError
from radfoundry.simulate import stream
from radfoundry.train.processes import Place
from radfoundry.train.scene import Scene
from radfoundry.train.sources import Simulated


@pytest.fixture(scope="module")
def encoder():
    spec = EncoderSpec("small", spacing_mm=(4.0, 4.0, 4.0), shape=(16, 16, 16), width=16)
    inner = conv.create(spec, widths=(8, 16), blocks=(1, 1), seed=0)
    return sequences.SequenceSet(inner, sequences=3, options={}).eval()


def exam(count=3, seed=0):
    return torch.rand(2, count, 16, 16, 16, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_order_does_not_matter(encoder):
    batch = exam()
    present = torch.tensor([[True, True, False], [True, True, True]])
    order = [2, 0, 1]
    one, other = encoder.encode(batch, present), encoder.encode(batch[:, order], present[:, order])
    assert torch.allclose(one.pooled, other.pooled, atol=1e-6) and torch.allclose(one.tokens, other.tokens, atol=1e-6)


@torch.no_grad()
def test_absent_sequences_are_as_if_never_there(encoder):
    batch = exam()
    present = torch.tensor([[True, False, True], [False, True, False]])
    both = encoder.encode(batch, present).pooled
    first = encoder.encode(batch[:1, [0, 2]]).pooled
    second = encoder.encode(batch[1:, [1]]).pooled
    assert torch.allclose(both, torch.cat([first, second]), atol=1e-6)


@torch.no_grad()
def test_one_sequence_is_the_inner_encoder_twice(encoder):
    batch = exam(1)
    inner = encoder.inner.encode(batch).pooled
    assert torch.allclose(encoder.encode(batch).pooled, torch.cat([inner, inner], dim=1))


def test_an_exam_without_any_sequence_is_refused(encoder):
    with pytest.raises(InputError, match="exam 1 of the batch: no sequence is present"):
        encoder.encode(exam(), torch.tensor([[True, True, True], [False, False, False]]))
    with pytest.raises(InputError, match="expects"):
        encoder.encode(torch.zeros(1, 16, 16, 16))


def test_a_set_needs_a_single_channel_encoder_and_at_least_one_sequence():
    spec = EncoderSpec("two", shape=(8, 8, 8), channels=2, width=16)
    inner = conv.create(spec, widths=(8, 16), blocks=(1, 1), seed=0)
    with pytest.raises(InputError, match="2 channels at once"):
        sequences.SequenceSet(inner, sequences=2, options={})
    with pytest.raises(InputError, match="set of 0"):
        sequences.build(encoder="conv2d-tiny", sequences=0)


def test_acquisition_tokens_know_what_is_unknown():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokens = acquisition.AcquisitionTokens(12)
    headers = [
        Acquisition(modality="MR", manufacturer="SIEMENS Healthineers", echo_time_ms=90.0, contrast_agent="gadolinium"),
        Acquisition(),
        Acquisition(modality="PT", manufacturer="Esaote", echo_time_ms=0.0),
    ]
    numbers, categories = acquisition.stated(headers)
    assert categories.tolist() == [[0, 0, -1, 0], [-1, -1, -1, -1], [6, 8, -1, -1]]
    assert numbers[0].nan_to_num(-1).tolist() == [-1, 90, -1, -1, -1, -1, -1, -1]
    made = tokens(numbers, categories)
    assert made.shape == (3, 12, 12) and torch.isfinite(made).all()
    assert torch.equal(made[1], tokens.unknown), "an empty header says nothing but that"
    assert not torch.allclose(made[2, 1], made[1, 1]), "zero is a value, not an unknown"
    made.square().sum().backward()
    assert torch.isfinite(tokens.numbers.grad).all(), "an unknown value must not spoil the gradient"


def test_near_values_have_near_tokens():
    tokens = acquisition.AcquisitionTokens(12)
    values = torch.full((3, len(acquisition.NUMBERS)), math.nan)
    values[:, 1] = torch.tensor([90.0, 91.0, 20.0])
    made = tokens(values, torch.full((3, len(acquisition.CATEGORIES)), -1))[:, 1]
    assert (made[0] - made[1]).norm() < 0.2 * (made[0] - made[2]).norm()


def test_an_encoder_reads_the_header_or_does_without():
    encoder = vit.tiny(acquisition=True)
    images = torch.rand(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    header = acquisition.stated([Acquisition(echo_time_ms=90.0), Acquisition()])
    with torch.no_grad():
        blind, seen = encoder.encode(images), encoder.encode(images, acquisition=header)
    assert blind.tokens.shape == seen.tokens.shape, "header tokens are read, not given back"
    assert not torch.allclose(blind.pooled[0], seen.pooled[0], atol=1e-4)
    torch.testing.assert_close(blind.pooled[1], seen.pooled[1])  # an empty header is an unknown one
    with pytest.raises(InputError, match="reads no header values"):
        vit.tiny().encode(images, acquisition=header)


def test_a_scene_states_the_settings_of_each_image_or_leaves_them_out():
    plan = stream.CropPlan(size=16, spacing_mm=(5.0, 5.0), views=2, protocols=("T1w", "FLAIR"), lesion_rate=0.0)
    batch = Simulated(plan, 16, 0, "zscore", Place()).batch(0)
    numbers, categories = Scene(batch, vit.tiny(acquisition=True), seed=0).header
    echo = numbers[:, list(acquisition.NUMBERS).index("echo_time_ms")]
    assert (categories == -1).all() and 0.2 < float(echo.isnan().float().mean()) < 0.8
    true = batch.settings.flatten(0, 1)[:, 1].exp()
    torch.testing.assert_close(echo[echo.isfinite()], true[echo.isfinite()])
    inversion = numbers[:, list(acquisition.NUMBERS).index("inversion_time_ms")].reshape(-1, 2)
    spin_echo = batch.protocol == 0
    assert inversion[spin_echo].isnan().all(), "a T1-weighted spin echo has no inversion"
    assert inversion[~spin_echo].isfinite().any()
