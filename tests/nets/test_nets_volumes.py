"""Own and published 3D networks: laws of the own one, published numbers and names of the others."""

import json
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from radfoundry import registry
from radfoundry.nets import conv
from radfoundry.records import EncoderSpec, InputError


def waves(shape, key):
    """Weights that anyone can make again: sines whose phase is the length of the name."""
    count = int(torch.tensor(shape).prod()) if shape else 1
    return torch.sin(torch.arange(count, dtype=torch.float32) * 0.37 + len(key)).reshape(shape) * 0.4


def small_conv(**values):
    spec = EncoderSpec("small", spacing_mm=(2.0, 2.0, 2.0), shape=(16, 16, 16), width=16, **values)
    return conv.create(spec, widths=(8, 16), blocks=(1, 2), seed=0)


@torch.no_grad()
def test_places_move_with_the_image():
    """Convolutions do not know where they are: an image moved by a whole place gives places moved by one."""
    encoder = small_conv()
    x = torch.zeros(1, 1, 48, 16, 16)
    x[:, :, 20:28, 4:12, 4:12] = torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0))
    places = [encoder.stages[0].first(encoder.stem(image)).mean(dim=1)[0] for image in (x, torch.roll(x, 8, dims=2))]
    assert torch.allclose(places[0][4:16], places[1][8:20], atol=1e-5)


@torch.no_grad()
def test_brightness_survives_the_pooling():
    encoder = small_conv()
    x = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(encoder.encode(x).pooled, encoder.encode(3 * x).pooled, atol=1e-2)


@torch.no_grad()
def test_a_flat_encoder_treats_slices_alone():
    spec = EncoderSpec("flat", shape=(16, 16, 1), dimensions=2, width=16)
    encoder = conv.create(spec, widths=(8, 16), blocks=(1, 1), seed=0)
    x = torch.rand(1, 1, 16, 16, 2, generator=torch.Generator().manual_seed(0))
    # Group norm looks at both slices at once, so this is about the convolutions alone.
    both = encoder.stem(x)
    assert torch.allclose(both[..., :1], encoder.stem(x[..., :1]))
    assert encoder.encode(x).grid == (4, 4, 2)


def residual_encoder_file(path):
    """Names, shapes and values as nnU-Net's library writes them; its `all_modules` doubles hold the same numbers."""
    untrained = {
        "widths": [4, 8, 8],
        "blocks": [1, 2, 1],
        "kernels": [3, 3, 3, 3, 3, 3, 1, 3, 3],
        "strides": [1, 1, 1, 1, 2, 2, 2, 2, 2],
        "stem": 4,
    }
    net = registry.build("encoders", "resenc", untrained=untrained, side=16).net
    weights = {}
    for key, value in net.state_dict().items():
        double = key.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
        weights[f"encoder.{key}"] = waves(tuple(value.shape), double)
        weights[f"encoder.{double}"] = weights[f"encoder.{key}"].clone()
    weights["decoder.seg_layers.0.weight"] = torch.zeros(2)
    save_file(weights, path / "model.safetensors")
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    plan = {"configurations": {"3d_fullres": {"architecture": {"arch_kwargs": {"strides": strides}}}}}
    (path / "plans.json").write_text(json.dumps(plan))


@torch.no_grad()
def test_residual_encoder_gives_the_numbers_of_nnunets_library(tmp_path):
    """Reference: ResidualEncoder of dynamic-network-architectures 0.4.4 with these weights, its last stage
    (BasicBlockD, instance norm, leaky ReLU), on the image sin(0.11 n) of 16³ voxels."""
    residual_encoder_file(tmp_path)
    encoder = registry.build("encoders", "resenc", path=str(tmp_path), side=16)
    x = torch.sin(torch.arange(16**3, dtype=torch.float32) * 0.11).reshape(1, 1, 16, 16, 16)
    features = encoder.encode(x)
    mean = [-0.0037, 0.0027, 0.0210, 0.0294, 0.1445, 0.2693, 0.6851, 1.0860]
    most = [-0.0032, 0.3950, 1.0705, 0.5623, 0.8068, 2.1051, 2.2105, 1.5688]
    assert features.grid == (8, 4, 4)
    assert torch.allclose(features.pooled[0], torch.tensor(mean + most), atol=2e-4)


def test_a_plan_decides_the_strides_and_a_damaged_one_is_refused(tmp_path):
    residual_encoder_file(tmp_path)
    (tmp_path / "plans.json").unlink()
    assert registry.build("encoders", "resenc", path=str(tmp_path), side=16).options["untrained"]["strides"][3] == 2
    (tmp_path / "plans.json").write_text("{not")
    with pytest.raises(InputError, match="not JSON"):
        registry.build("encoders", "resenc", path=str(tmp_path))


def genesis_by_functions(weights, x):
    """The original forward pass for one image: batch statistics, two convolutions a level, pooled between."""
    for level, name in enumerate(("down_tr64", "down_tr128", "down_tr256", "down_tr512")):
        for step in range(2):
            w = {key: weights[f"module.{name}.ops.{step}.{key}"] for key in
                 ("conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias")}  # fmt: skip
            x = functional.conv3d(x, w["conv1.weight"], w["conv1.bias"], padding=1)
            x = functional.relu(functional.batch_norm(x, None, None, w["bn1.weight"], w["bn1.bias"], True))
        if level < 3:
            x = functional.max_pool3d(x, 2)
    return x


@torch.no_grad()
def test_models_genesis_is_the_original_for_one_image(tmp_path):
    net = registry.build("encoders", "models-genesis", untrained={"width": 4}).net
    weights = {f"module.{key}": waves(tuple(value.shape), key) for key, value in net.state_dict().items()}
    for key in list(weights):
        if key.endswith("bn1.weight"):
            for extra in ("running_mean", "running_var"):
                weights[key.replace("weight", extra)] = torch.ones_like(weights[key])
    save_file({**weights, "module.out_tr.final_conv.bias": torch.zeros(1)}, tmp_path / "Genesis_Chest_CT.safetensors")
    encoder = registry.build("encoders", "models-genesis", path=str(tmp_path))
    x = torch.rand(1, 1, 64, 64, 32, generator=torch.Generator().manual_seed(0))
    expected = genesis_by_functions(weights, x)
    features = encoder.encode(x)
    assert features.grid == tuple(expected.shape[2:]) == (8, 8, 4)
    assert torch.allclose(features.pooled, expected.mean(dim=(2, 3, 4)), atol=1e-5)


@pytest.mark.parametrize("name", ["medicalnet", "resenc", "models-genesis", "fmcib"])
def test_another_network_is_refused_by_name(name, tmp_path):
    save_file({"something.weight": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="not the weights of"):
        registry.build("encoders", name, path=str(tmp_path / "x.safetensors"))


def resnet_file(path, **untrained):
    net = registry.build("encoders", "medicalnet", untrained={"width": 4, **untrained}, side=32).net
    weights = {}
    for key, value in net.state_dict().items():
        made = torch.tensor(3) if key.endswith("tracked") else waves(tuple(value.shape), key)
        weights[f"module.{key}"] = made.abs() + 0.1 if key.endswith("running_var") else made
    save_file({**weights, "module.conv_seg.0.weight": torch.zeros(1)}, path)


@torch.no_grad()
def test_medicalnet_keeps_its_resolution_in_the_last_two_stages(tmp_path):
    resnet_file(tmp_path / "resnet_10.safetensors")
    encoder = registry.build("encoders", "medicalnet", path=str(tmp_path), side=32)
    features = encoder.encode(torch.rand(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert features.grid == (4, 4, 4) and features.pooled.shape == (1, 32)
    assert encoder.options["untrained"]["layers"] == [1, 1, 1, 1] and encoder.options["untrained"]["dilated"]
    first = encoder.net.get_submodule("layer4")[0].conv2
    assert first.dilation == (4, 4, 4) and first.padding == (4, 4, 4)


def test_a_folder_with_several_files_asks_which(tmp_path):
    for name in ("a", "b"):
        resnet_file(tmp_path / f"{name}.safetensors")
    with pytest.raises(InputError, match="2 safetensors files"):
        registry.build("encoders", "medicalnet", path=str(tmp_path))
    with pytest.raises(InputError, match="at once"):
        registry.build("encoders", "medicalnet", path=str(tmp_path / "a.safetensors"), untrained={})


def monai():
    pytest.importorskip("monai")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import monai.networks.nets as nets
    return nets


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("monai-resnet", {"block": "basic", "layers": [1, 1, 1, 1], "conv1_t_stride": 1, "shortcut_type": "B"}),
        ("monai-resnet", {"block": "basic", "layers": [2, 1, 1, 1], "conv1_t_stride": 1, "shortcut_type": "A"}),
        ("fmcib", {"block": "bottleneck", "layers": [1, 2, 1, 1], "conv1_t_stride": 2, "widen_factor": 2}),
    ],
)
def test_residual_networks_give_what_monai_gives(name, sizes, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = monai().ResNet(
            block_inplanes=[4, 8, 16, 32], n_input_channels=1, feed_forward=False, spatial_dims=3, **sizes
        )
    x = torch.rand(2, 1, 50, 50, 50, generator=torch.Generator().manual_seed(0))
    net.train()
    net(x)  # fills the running statistics
    net.eval()
    prefix = "trunk." if name == "fmcib" else ""
    save_file({prefix + key: value for key, value in net.state_dict().items()}, tmp_path / "m.safetensors")
    encoder = registry.build("encoders", name, path=str(tmp_path / "m.safetensors"))
    assert torch.allclose(encoder.encode(x).pooled, net(x), atol=1e-5)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("released", ["SwinUNETR", "self-supervised"])
def test_swin_gives_what_swinunetr_hands_to_its_bottleneck(released, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = monai().SwinUNETR(in_channels=1, out_channels=2, feature_size=12, num_heads=(1, 2, 2, 2)).eval()
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    if released == "self-supervised":
        inside = {key.removeprefix("swinViT."): value for key, value in weights.items() if key.startswith("swinViT.")}
        weights = {f"module.{key.replace('.linear', '.fc')}": value for key, value in inside.items()}
    save_file(weights, tmp_path / "model_swinvit.safetensors")
    encoder = registry.build("encoders", "monai-swin", path=str(tmp_path), side=64)
    x = torch.rand(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = net.swinViT(x, net.normalize)[4]
    assert torch.allclose(encoder.encode(x).pooled, expected.mean(dim=(2, 3, 4)), atol=1e-5)
    assert encoder.encode(x).grid == (2, 2, 2) and encoder.spec.width == 192


@pytest.mark.slow
@torch.no_grad()
def test_segresnet_gives_what_monai_gives(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = monai().SegResNet(init_filters=8, in_channels=2, blocks_down=(1, 2)).eval()
    save_file({key: value.clone() for key, value in net.state_dict().items()}, tmp_path / "model.safetensors")
    encoder = registry.build("encoders", "monai-segresnet", path=str(tmp_path), side=16)
    x = torch.rand(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    expected, _ = net.encode(x)
    assert torch.allclose(encoder.encode(x).pooled[:, :16], expected.mean(dim=(2, 3, 4)), atol=1e-5)
