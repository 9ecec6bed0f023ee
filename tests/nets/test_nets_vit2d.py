"""Our 2D transformer against torch's own layers, and published layouts read into it."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from radfoundry import registry
from radfoundry.nets import vit2d
from radfoundry.nets.wrapped import CLIP, IMAGENET, as_picture
from radfoundry.records import InputError

WIDTH, HEADS, HIDDEN, PATCH, IMAGE, DEPTH = 32, 2, 48, 8, 24, 2
GRID = (IMAGE // PATCH) ** 2


def rand(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.3


def open_clip_weights():
    """Names and shapes as open_clip writes its plain image tower."""
    weights = {
        "visual.class_embedding": rand(WIDTH, seed=1),
        "visual.positional_embedding": rand(GRID + 1, WIDTH, seed=2),
        "visual.proj": rand(WIDTH, 12, seed=3),
        "visual.conv1.weight": rand(WIDTH, 3, PATCH, PATCH, seed=4),
        "text.token_embedding.weight": rand(5, 7, seed=5),
        "logit_scale": torch.tensor(4.6),
    }
    for name in ("ln_pre", "ln_post"):
        weights |= {f"visual.{name}.weight": 1 + rand(WIDTH, seed=6), f"visual.{name}.bias": rand(WIDTH, seed=7)}
    for index in range(DEPTH):
        shapes = {
            "ln_1.weight": (WIDTH,),
            "ln_1.bias": (WIDTH,),
            "attn.in_proj_weight": (3 * WIDTH, WIDTH),
            "attn.in_proj_bias": (3 * WIDTH,),
            "attn.out_proj.weight": (WIDTH, WIDTH),
            "attn.out_proj.bias": (WIDTH,),
            "ln_2.weight": (WIDTH,),
            "ln_2.bias": (WIDTH,),
            "mlp.c_fc.weight": (HIDDEN, WIDTH),
            "mlp.c_fc.bias": (HIDDEN,),
            "mlp.c_proj.weight": (WIDTH, HIDDEN),
            "mlp.c_proj.bias": (WIDTH,),
        }
        for number, (name, shape) in enumerate(shapes.items()):
            weights[f"visual.transformer.resblocks.{index}.{name}"] = rand(*shape, seed=100 * index + number + 10)
    return weights


def clip_by_torch(weights, picture, *, quick):
    """The same tower out of torch.nn.MultiheadAttention, one image at a time."""
    v = {name.removeprefix("visual."): value for name, value in weights.items()}
    norm = lambda x, name: nn.functional.layer_norm(x, (WIDTH,), v[f"{name}.weight"], v[f"{name}.bias"], 1e-5)  # noqa: E731
    places = nn.functional.conv2d(picture[None], v["conv1.weight"], stride=PATCH)[0].flatten(1).T
    tokens = norm(torch.cat([v["class_embedding"][None], places]) + v["positional_embedding"], "ln_pre")
    for index in range(DEPTH):
        p = f"transformer.resblocks.{index}"
        attention = nn.MultiheadAttention(WIDTH, HEADS)
        attention.load_state_dict(
            {key.removeprefix(f"{p}.attn."): value for key, value in v.items() if key.startswith(f"{p}.attn.")}
        )
        inner = norm(tokens, f"{p}.ln_1")[:, None]
        tokens = tokens + attention(inner, inner, inner)[0][:, 0]
        hidden = norm(tokens, f"{p}.ln_2") @ v[f"{p}.mlp.c_fc.weight"].T + v[f"{p}.mlp.c_fc.bias"]
        hidden = hidden * torch.sigmoid(1.702 * hidden) if quick else nn.functional.gelu(hidden)
        tokens = tokens + hidden @ v[f"{p}.mlp.c_proj.weight"].T + v[f"{p}.mlp.c_proj.bias"]
    return norm(tokens[0], "ln_post") @ v["proj"]


@torch.no_grad()
@pytest.mark.parametrize("quick", [False, True])
def test_an_open_clip_folder_gives_what_torch_gives(tmp_path, quick):
    weights = open_clip_weights()
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    settings = {"model_cfg": {"quick_gelu": quick}, "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(settings))
    encoder = registry.build("encoders", "vit2d-file", path=str(tmp_path), heads=HEADS)
    x = torch.rand(2, 1, IMAGE, IMAGE, 1, generator=torch.Generator().manual_seed(0))
    picture = as_picture(x, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    expected = torch.stack([clip_by_torch(weights, item, quick=quick) for item in picture])
    assert torch.allclose(encoder.encode(x).pooled, expected, atol=1e-5)
    assert encoder.spec.width == 12 and encoder.spec.shape == (IMAGE, IMAGE, 1)


def timm_names(weights):
    """The same numbers under timm's names: the layouts differ in names and in axes of length one."""
    found = {}
    pairs = [
        ("visual.transformer.resblocks.", "blocks."), (".attn.in_proj_", ".attn.qkv."),
        (".attn.out_proj.", ".attn.proj."),
        (".ln_1.", ".norm1."), (".ln_2.", ".norm2."), (".mlp.c_fc.", ".mlp.fc1."), (".mlp.c_proj.", ".mlp.fc2."),
        ("visual.conv1.", "patch_embed.proj."), ("visual.ln_pre.", "norm_pre."), ("visual.ln_post.", "norm."),
    ]  # fmt: skip
    for name, value in weights.items():
        for old, new in pairs:
            name = name.replace(old, new)
        found[name] = value
    found["cls_token"] = found.pop("visual.class_embedding")[None, None]
    found["pos_embed"] = found.pop("visual.positional_embedding")[None]
    found["head.weight"] = rand(1000, WIDTH, seed=9)  # a classifier of photographs, never a feature
    for name in ("visual.proj", "text.token_embedding.weight", "logit_scale"):
        del found[name]
    return found


@torch.no_grad()
def test_a_timm_file_gives_the_same_as_open_clips(tmp_path):
    weights = open_clip_weights()
    save_file(weights, tmp_path / "clip.safetensors")
    save_file(timm_names(weights), tmp_path / "timm.safetensors")
    x = torch.rand(1, 1, IMAGE, IMAGE, 1, generator=torch.Generator().manual_seed(0))
    one, other = (
        registry.build("encoders", "vit2d-file", path=str(tmp_path / f"{name}.safetensors"), heads=HEADS)
        for name in ("clip", "timm")
    )
    # The timm file has no projection and another epsilon and colours, so compare the transformers themselves.
    same = as_picture(x, *CLIP)
    one.net.head = nn.Identity()
    assert torch.allclose(one.net(same)[0], other.net(same)[0], atol=1e-4)
    assert other.spec.width == WIDTH
    assert torch.allclose(other.encode(x).pooled, other.net(as_picture(x, *IMAGENET))[0])


@torch.no_grad()
def test_positions_are_interpolated_to_other_sizes():
    positions = torch.linspace(0, 1, 4).repeat(4, 1).reshape(1, 16, 1)  # rises along the columns only
    larger = vit2d.resized_positions(positions, (4, 4), (6, 8)).reshape(6, 8)
    assert torch.allclose(larger, larger[:1].expand(6, -1), atol=1e-6) and (larger[0].diff() > 0).all()
    assert vit2d.resized_positions(positions, (4, 4), (4, 4)) is positions
    encoder = registry.build("encoders", "vit2d-standard", layout={"width": 32, "depth": 1, "heads": 2, "image": 32})
    assert encoder.encode(torch.zeros(1, 1, 48, 32, 1)).grid == (3, 2, 1)


def test_what_lies_left_and_up_stays_left_and_up():
    """The first axis of a picture runs along its columns; the network sees rows first."""
    x = torch.zeros(1, 1, 4, 6, 1)
    x[0, 0, 3, 1, 0] = 1.0  # fourth column, second row
    picture = as_picture(x, (0, 0, 0), (1, 1, 1))
    assert picture.shape == (1, 3, 6, 4) and picture[0, :, 1, 3].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({"width": 30, "heads": 4}, "whole number"),
        ({"depth": 10**6}, "outside"),
        ({"activation": "os.system"}, "not known"),
        ({"class_token": False}, "pool=mean"),
        ({"colour": 3}, "unknown size colour"),
    ],
)
def test_layouts_that_cannot_be_are_refused(layout, words):
    with pytest.raises(InputError, match=words):
        registry.build("encoders", "vit2d-standard", layout=layout)


def test_other_networks_are_refused_by_name(tmp_path):
    path = str(tmp_path / "x.safetensors")

    def refused(weights, words):
        save_file(weights, path)
        with pytest.raises(InputError, match=words):
            registry.build("encoders", "vit2d-file", path=path, heads=HEADS)

    refused({"conv1.weight": torch.zeros(1)}, "not the weights of a vision transformer")
    timm = timm_names(open_clip_weights())
    refused({**timm, "attn_pool.latent": torch.zeros(1)}, "hf-siglip")
    refused({key.replace("mlp.fc1", "mlp.w12"): value for key, value in timm.items()}, "gated")
    refused({**timm, "pos_embed": torch.zeros(1, 8, WIDTH)}, "no square grid")
    refused({key: value for key, value in timm.items() if key != "norm.bias"}, "no weight norm.bias")
    refused({**timm, "blocks.1.norm1.bias": torch.zeros(3)}, "has shape")
