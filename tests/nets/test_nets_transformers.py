"""Folders as the transformers library writes them: the same numbers through our door, and refusals."""

import importlib.util
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from radfoundry import registry
from radfoundry.nets.wrapped import CLIP, HALF, IMAGENET, as_picture
from radfoundry.nets.wrapped_transformers import weight_list
from radfoundry.records import InputError

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "intermediate_size": 48,
}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 64}


def made(kind, folder):
    """A tiny model of the library, saved by the library."""
    transformers = pytest.importorskip("transformers")
    if kind in ("dinov2", "dinov2_with_registers"):
        stem = "Dinov2" if kind == "dinov2" else "Dinov2WithRegisters"
        sizes = {key: value for key, value in SIZES.items() if key != "intermediate_size"}
        config = getattr(transformers, f"{stem}Config")(**sizes)
    else:
        stem = {"clip": "CLIP", "siglip": "Siglip"}[kind]
        extra = {"projection_dim": 12} if kind == "clip" else {}
        text = {**TEXT, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1}
        config = getattr(transformers, f"{stem}Config")(vision_config=SIZES, text_config=text, **extra)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{stem}Model")(config).eval()
        for value in model.parameters():
            value.data.add_(0.02 * torch.randn_like(value))
    model.save_pretrained(folder)
    return model


def expected(kind, model, picture):
    if kind.startswith("dinov2"):
        return model(picture).pooler_output
    answer = model.get_image_features(pixel_values=picture)
    return getattr(answer, "pooler_output", answer)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "name", "colours"),
    [
        ("dinov2", "hf-dinov2", IMAGENET),
        ("dinov2_with_registers", "hf-dinov2", IMAGENET),
        ("clip", "hf-clip", CLIP),
        ("siglip", "hf-siglip", HALF),
    ],
)
def test_pooled_features_are_the_librarys(kind, name, colours, tmp_path):
    model = made(kind, tmp_path)
    encoder = registry.build("encoders", name, path=str(tmp_path))
    for side in (32, 48):
        x = torch.rand(2, 1, side, side, 1, generator=torch.Generator().manual_seed(0))
        features = encoder.encode(x)
        assert features.grid == (side // 8, side // 8, 1)
        if side == 32:
            assert torch.allclose(features.pooled, expected(kind, model, as_picture(x, *colours)), atol=1e-6)
    if kind.startswith("dinov2"):
        own = registry.build("encoders", "vit2d-file", path=str(tmp_path), heads=2)
        x = torch.rand(2, 1, 32, 32, 1, generator=torch.Generator().manual_seed(1))
        assert torch.allclose(own.encode(x).pooled, encoder.encode(x).pooled, atol=1e-5)
        assert torch.allclose(own.encode(x).tokens, encoder.encode(x).tokens, atol=1e-5)


@pytest.mark.slow
def test_what_the_preprocessor_states_is_used(tmp_path):
    """RAD-DINO's file: its own grey values, 518 pixels, centre crop."""
    made("dinov2", tmp_path)
    stated = {"image_mean": [0.5307] * 3, "image_std": [0.2583] * 3, "crop_size": {"height": 64, "width": 64}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    encoder = registry.build("encoders", "hf-dinov2", path=str(tmp_path))
    assert encoder.spec.shape == (64, 64, 1) and encoder.spec.options == {"fit": "crop"}
    assert encoder.options["untrained"]["mean"] == [0.5307] * 3
    stated["image_mean"] = ["a", 1, 2]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    with pytest.raises(InputError, match="three numbers"):
        registry.build("encoders", "hf-dinov2", path=str(tmp_path))


@pytest.mark.slow
def test_a_folder_with_a_weight_missing_is_refused(tmp_path):
    made("dinov2", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.1.mlp.fc1.bias"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="no weight"):
        registry.build("encoders", "hf-dinov2", path=str(tmp_path))


def folder_with(tmp_path, config, **files):
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name, content in files.items():
        (tmp_path / name.replace("__", ".")).write_text(content)
    return str(tmp_path)


def test_other_kinds_and_programs_in_folders_are_refused(tmp_path):
    """All of it before the library is even imported."""
    with pytest.raises(InputError, match="a model of kind 'llama'"):
        registry.build("encoders", "hf-dinov2", path=folder_with(tmp_path, {"model_type": "llama"}))
    with pytest.raises(InputError, match="program of its own"):
        config = {"model_type": "dinov2", "auto_map": {"AutoModel": "evil.Model"}}
        registry.build("encoders", "hf-dinov2", path=folder_with(tmp_path, config))
    with pytest.raises(InputError, match="num_hidden_layers is 100000"):
        config = {"model_type": "dinov2", "num_hidden_layers": 100000}
        registry.build("encoders", "hf-dinov2", path=folder_with(tmp_path, config))
    with pytest.raises(InputError, match="not a folder"):
        registry.build("encoders", "hf-clip", path=str(tmp_path / "absent"))


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/passwd", "weights.bin"])
def test_an_index_may_only_name_files_beside_it(tmp_path, name):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(InputError, match="names the file"):
        weight_list(tmp_path)


def test_a_folder_with_only_a_pickle_gets_the_remedy(tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    folder = folder_with(tmp_path, {"model_type": "dinov2"})
    with pytest.raises(InputError, match="a pickle"):
        registry.build("encoders", "hf-dinov2", path=folder)


@pytest.mark.parametrize(("name", "library"), [("hf-clip", "transformers"), ("monai-swin", "monai.networks.nets")])
def test_a_missing_library_is_named_with_its_extra(name, library, monkeypatch):
    real = importlib.import_module

    def absent(wanted, *rest):
        if wanted == library:
            raise ImportError(wanted)
        return real(wanted, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(InputError, match=r"pip install 'radfoundry\["):
        registry.build("encoders", name, untrained={})
