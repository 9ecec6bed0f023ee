"""The bundled MRI encoder: its weights load, the probe holds, and it knows more than the same net untrained."""

import json

import pytest
import torch
from safetensors.torch import save_file

from radfoundry import registry
from radfoundry.nets import bundled, checkpoint, weight_files
from radfoundry.records import InputError


@pytest.fixture(scope="module")
def encoder():
    return registry.build("encoders", "radfoundry-mri")


@pytest.fixture(scope="module")
def untrained():
    return registry.build("encoders", "radfoundry-mri", untrained_seed=0)


@pytest.fixture(scope="module")
def crops():
    from radfoundry.simulate.stream import CropPlan, batch, draw_crop

    plan = CropPlan(size=32, spacing_mm=(3.0, 3.0), views=2, protocols=("T1w", "T2w"))
    return batch([draw_crop(plan, seed=31, case=case) for case in range(10)], plan, cases=range(10))


def test_a_pattern_survives_folding_and_unfolding():
    x = torch.arange(2 * 3 * 8 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8, 8)
    assert torch.equal(bundled._unfolded(bundled._folded(x)), x)


def test_windows_put_together_again_lie_where_they_were_cut():
    x = torch.rand(2, 1, 64, 32, 96)
    windows, grid = bundled._windows(x)
    rows, places = bundled._together(windows, grid)
    assert grid == (2, 1, 3) and places == (64, 32, 96)
    assert torch.equal(rows.reshape(2, 64, 32, 96), x[:, 0])


def test_a_whole_image_gives_the_tokens_of_its_windows_in_place(untrained):
    image = torch.rand(1, 1, 64, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = untrained.encode(image)
        last = untrained.encode(image[:, :, 32:])
    assert whole.grid == (16, 8, 8)
    assert torch.allclose(whole.tokens.reshape(16, 8, 8, -1)[8:], last.tokens.reshape(8, 8, 8, -1), atol=1e-5)


def test_empty_windows_do_not_water_down_the_vector(untrained):
    head = torch.rand(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(3))
    padded = torch.nn.functional.pad(head, (0, 32, 0, 32))
    with torch.no_grad():
        alone, beside_air = untrained.encode(head).pooled, untrained.encode(padded).pooled
    assert torch.allclose(alone[:, :160], beside_air[:, :160], atol=0.05)


@pytest.mark.skipif(not bundled.WEIGHTS_FILE.is_file(), reason="weights not built yet")
class TestWeights:
    def test_are_small_and_have_a_card(self):
        assert bundled.WEIGHTS_FILE.stat().st_size < 15e6
        card = json.loads(bundled.WEIGHTS_FILE.with_suffix(".json").read_text())
        assert card["trained_on"].startswith("simulated heads alone") and card["stages"][0]["command"].startswith(
            "python "
        )

    @pytest.mark.slow
    def test_a_checkpoint_of_it_loads_without_the_package_file(self, encoder, tmp_path):
        checkpoint.save(encoder, tmp_path / "e.safetensors", builder="radfoundry-mri", options={})
        again = checkpoint.load(tmp_path / "e.safetensors")
        assert checkpoint.fingerprint(again) == checkpoint.fingerprint(encoder)

    def test_changed_weights_are_refused(self, tmp_path, monkeypatch):
        about, tensors = weight_files.read(bundled.WEIGHTS_FILE)
        tensors["net.down.weight"] = tensors["net.down.weight"] * 1.1
        save_file(tensors, tmp_path / "w.safetensors", metadata=about)
        monkeypatch.setattr(bundled, "WEIGHTS_FILE", tmp_path / "w.safetensors")
        with pytest.raises(InputError, match="probe"):
            bundled.build()

    @torch.no_grad()
    def test_know_where_in_the_head_a_crop_lies_and_the_untrained_net_does_not(self, encoder, untrained, crops):
        def error_mm(net):
            found = net.net(crops.images[:, :1]).places_mm.mean(dim=(2, 3, 4))
            return float((found - crops.centre_mm).norm(dim=1).median())

        assert error_mm(encoder) < 20 < error_mm(untrained)

    @torch.no_grad()
    def test_same_place_in_another_sequence_is_nearer_than_other_places(self, encoder, crops):
        first, second = (encoder.net(crops.images[:, view : view + 1]).anatomy for view in (0, 1))
        alike = torch.nn.functional.cosine_similarity(first[:, None], second[None], dim=2)
        assert (alike.argmax(dim=1) == torch.arange(10)).float().mean() >= 0.8
