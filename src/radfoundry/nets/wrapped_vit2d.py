"""Published 2D vision transformers (timm, open_clip, DINOv2) read into our own, without those libraries."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import nn

from radfoundry.nets import weight_files
from radfoundry.nets.vit2d import Layout, VisionTransformer
from radfoundry.nets.wrapped import (
    CLIP,
    IMAGENET,
    PICTURES,
    Wrapped,
    as_picture,
    as_places,
    fresh,
    one_of,
    picture_spec,
    read_json,
    triple,
    weights_path,
)
from radfoundry.nets.wrapped_vit2d_names import renamed
from radfoundry.records import InputError

# Heads of published sizes that are not one per 64 features.
HEADS = {1280: 16, 1152: 16, 1408: 16, 1664: 16}
FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.safetensors")


def look(net: nn.Module, x: torch.Tensor, *, mean: list[float], std: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled vector and places of a batch of pictures."""
    pooled, grid = net(as_picture(x, mean, std))
    return pooled, as_places(grid)


def standard(*, layout: dict[str, Any] | None = None, seed: int = 0) -> Wrapped:
    """Our own 2D vision transformer with fresh weights; by default ViT-S/16 for 224 x 224 with four registers.

    layout: any field of `nets.vit2d.Layout`.

    >>> encoder = standard(layout={"width": 32, "depth": 1, "heads": 2, "hidden": 64, "image": 32, "patch": 8})
    >>> encoder.encode(torch.zeros(1, 1, 32, 32, 1)).grid
    (4, 4, 1)
    """
    sizes = Layout.from_dict({"registers": 4, "layer_scale": True, **(layout or {})})
    encoder = _wrap("vit2d-standard", sizes, IMAGENET[0], IMAGENET[1], fit="letterbox", seed=seed)
    encoder.options = {"layout": sizes.to_dict()}
    return encoder


def read(
    *, path: str = "", untrained: dict[str, Any] | None = None, heads: int = 0, activation: str = "", seed: int = 0
) -> Wrapped:
    """A published 2D vision transformer from a local file or folder, whatever names its weights have.

    Reads the layouts of timm, of the original DINOv2, of open_clip (plain or with a timm trunk) and of DINOv2
    in transformers; colours, size and activation come from the configuration file beside the weights where
    there is one. heads and activation override what the names do not tell. Refuses other layouts by name.
    """
    name = "vit2d-file"
    if not one_of(path, untrained, name=name):
        given = untrained or {}
        sizes = Layout.from_dict(given.get("layout", {}))
        mean, std = (given.get(key) or list(part) for key, part in zip(("mean", "std"), IMAGENET, strict=True))
        return _wrap(name, sizes, mean, std, fit=given.get("fit", "crop"), seed=seed)
    source = weights_path(path, *FILES)
    _, found = weight_files.read(source)
    beside = _beside(source.parent)
    weights, clues = renamed(found, where=str(source))
    sizes = layout_of(weights, clues, heads=heads, activation=activation or beside["activation"], where=str(source))
    encoder = _wrap(name, sizes, beside["mean"] or clues["mean"], beside["std"] or clues["std"], fit="crop", seed=0)
    encoder.net.load_state_dict(weight_files.matching(weights, encoder.net.state_dict(), where=str(source)))
    return encoder


def _wrap(name: str, sizes: Layout, mean: Any, std: Any, *, fit: str, seed: int) -> Wrapped:
    net = fresh(lambda: VisionTransformer(sizes), seed)
    width = sizes.projection or sizes.width
    colours = {"mean": triple(list(mean), (), where=name), "std": triple(list(std), (), where=name)}
    return Wrapped(
        net,
        picture_spec(name, side=sizes.image, width=width, fit=fit, modality=PICTURES),
        functools.partial(look, **colours),
        options={"untrained": {"layout": sizes.to_dict(), **colours, "fit": fit}},
    )


def layout_of(
    weights: dict[str, torch.Tensor], clues: dict[str, Any], *, heads: int, activation: str, where: str
) -> Layout:
    """The layout that weights under our names have; refuses one that our transformer cannot be."""
    try:
        width, channels, patch = (int(size) for size in weights["patch_embed.proj.weight"].shape[:3])
        count = int(weights["pos_embed"].shape[1])
        hidden = int(weights["blocks.0.mlp.fc1.weight"].shape[0])
    except (KeyError, IndexError, ValueError):
        raise InputError(
            "no plain perceptrons, patches or positions of a vision transformer inside",
            where=where,
            remedy="gated (SwiGLU) and hybrid ones are not read",
            finding="weights",
        ) from None
    with_class = "cls_token" in weights
    side = math.isqrt(count)
    position_of_class = side * side != count
    if position_of_class and math.isqrt(count - 1) ** 2 != count - 1:
        raise InputError(f"{count} positions are no square grid", where=where, remedy="only square ones are read")
    numbers = {int(key.split(".")[1]) for key in weights if key.startswith("blocks.")}
    pool = clues.get("pool") or ("class" if with_class else "mean")
    return Layout(
        width=width,
        depth=len(numbers),
        heads=heads or HEADS.get(width, max(1, width // 64)),
        hidden=hidden,
        patch=patch,
        image=math.isqrt(count - int(position_of_class)) * patch,
        channels=channels,
        registers=int(weights["reg_token"].shape[1]) if "reg_token" in weights else 0,
        class_token=with_class,
        position_of_class=position_of_class,
        layer_scale="blocks.0.ls1.gamma" in weights,
        norm_before="norm_pre.weight" in weights,
        patch_bias="patch_embed.proj.bias" in weights,
        projection=int(weights["head.weight"].shape[0]) if "head.weight" in weights else 0,
        activation=activation or "gelu",
        epsilon=clues.get("epsilon", 1e-6),
        pool=pool,
    )


def _beside(folder: Any) -> dict[str, Any]:
    """Colours and activation from the configuration file of timm, open_clip or transformers, where there is one."""
    clip, timm = read_json(folder / "open_clip_config.json"), read_json(folder / "config.json")
    picture = read_json(folder / "preprocessor_config.json")
    table = clip.get("preprocess_cfg") or timm.get("pretrained_cfg") or {}
    mean, std = table.get("mean", picture.get("image_mean")), table.get("std", picture.get("image_std"))
    quick = bool((clip.get("model_cfg") or {}).get("quick_gelu", False))
    where = str(folder)
    return {
        "mean": None if mean is None else triple(mean, CLIP[0], where=where),
        "std": None if std is None else triple(std, CLIP[1], where=where),
        "activation": "quick_gelu" if quick else "",
    }
