"""Picture encoders of the transformers library (DINOv2, RAD-DINO, CLIP, SigLIP, MedSigLIP) from a local folder."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from radfoundry.nets import weight_files
from radfoundry.nets.wrapped import (
    CLIP,
    HALF,
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
)
from radfoundry.records import InputError

# Kind of model in config.json: (configuration class, model class, where the vision part of the configuration lies).
DINO = {
    "dinov2": ("Dinov2Config", "Dinov2Model", ""),
    "dinov2_with_registers": ("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel", ""),
}
CLIP_KINDS = {
    "clip": ("CLIPVisionConfig", "CLIPVisionModelWithProjection", "vision_config"),
    "clip_vision_model": ("CLIPVisionConfig", "CLIPVisionModelWithProjection", ""),
}
SIGLIP_KINDS = {
    "siglip": ("SiglipVisionConfig", "SiglipVisionModel", "vision_config"),
    "siglip_vision_model": ("SiglipVisionConfig", "SiglipVisionModel", ""),
}
SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "mlp_ratio",
    "image_size",
    "patch_size",
    "num_channels",
    "num_register_tokens",
    "hidden_act",
    "layer_norm_eps",
    "qkv_bias",
    "use_swiglu_ffn",
    "projection_dim",
    "vision_use_head",
)
LIMITS = {"hidden_size": 8192, "num_hidden_layers": 128, "intermediate_size": 65536, "image_size": 4096}


def dinov2(*, path: str = "", untrained: dict[str, Any] | None = None) -> Wrapped:
    """DINOv2 and RAD-DINO: the pooled vector is the normalised class token."""
    return _build("hf-dinov2", path, untrained, kinds=DINO, colours=IMAGENET)


def clip(*, path: str = "", untrained: dict[str, Any] | None = None) -> Wrapped:
    """The image half of CLIP; the pooled vector is the projection that is compared with text."""
    return _build("hf-clip", path, untrained, kinds=CLIP_KINDS, colours=CLIP)


def siglip(*, path: str = "", untrained: dict[str, Any] | None = None) -> Wrapped:
    """The image half of SigLIP and MedSigLIP; the pooled vector is its attention pool, compared with text."""
    return _build("hf-siglip", path, untrained, kinds=SIGLIP_KINDS, colours=HALF)


def _build(name: str, path: str, untrained: dict[str, Any] | None, *, kinds: dict[str, Any], colours: Any) -> Wrapped:
    net: Any
    kept: dict[str, Any]
    if one_of(path, untrained, name=name):
        folder = Path(path)
        if not folder.is_dir():
            raise InputError("not a folder with config.json", where=path, remedy="give the model's whole folder")
        kind, sizes = _sizes(read_json(folder / "config.json"), kinds, where=path)
        net = _from_folder(folder, kind, kinds, sizes)
        picture = read_json(folder / "preprocessor_config.json")
        kept = {
            "mean": triple(picture.get("image_mean"), colours[0], where=path),
            "std": triple(picture.get("image_std"), colours[1], where=path),
            "fit": "crop" if picture.get("do_center_crop", name != "hf-siglip") else "squash",
            "side": _side(picture, sizes),
        }
    else:
        given: dict[str, Any] = untrained or {}
        kind, sizes = given.get("kind", next(iter(kinds))), _bounded(given.get("sizes", {}), where=name)
        if kind not in kinds:
            raise InputError(f"kind {kind!r}", where=name, remedy=f"use one of {', '.join(kinds)}")
        net = _from_sizes(kind, sizes, kinds)
        kept = {"mean": list(colours[0]), "std": list(colours[1]), "fit": "crop", "side": _side({}, sizes)}
        kept |= {key: given[key] for key in kept if key in given}
    return _wrapped(name, net, kind, kept)


def _wrapped(name: str, net: Any, kind: str, kept: dict[str, Any]) -> Wrapped:
    for key, value in net.named_parameters():
        if key.endswith("mask_token"):
            value.requires_grad_(False)  # only masked pretraining uses it
    stated = {key: value for key in SIZES if (value := getattr(net.config, key, None)) is not None}
    width = net.config.projection_dim if "Projection" in type(net).__name__ else net.config.hidden_size
    return Wrapped(
        net,
        picture_spec(name, side=kept["side"], width=width, fit=kept["fit"], modality=PICTURES),
        functools.partial(look, mean=kept["mean"], std=kept["std"]),
        options={"untrained": {"kind": kind, "sizes": stated, **kept}},
    )


def look(net: Any, x: torch.Tensor, *, mean: list[float], std: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled vector and places of a batch of pictures, by the library's own forward pass."""
    picture = as_picture(x, mean, std)
    rows, columns = (size // net.config.patch_size for size in picture.shape[2:])
    side = net.config.image_size // net.config.patch_size
    larger = {} if (rows, columns) == (side, side) else {"interpolate_pos_encoding": True}
    if type(net).__name__.startswith("Dinov2"):
        larger = {}  # it interpolates on its own
    output = net(pixel_values=picture, **larger)
    pooled = output.image_embeds if hasattr(output, "image_embeds") else output.pooler_output
    tokens = output.last_hidden_state
    places = tokens[:, tokens.shape[1] - rows * columns :]
    return pooled, as_places(places.transpose(1, 2).reshape(len(tokens), -1, rows, columns))


def library() -> Any:
    """The transformers library, imported only here."""
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise InputError(
            "the library transformers is not installed", remedy="pip install 'radfoundry[hf]'", finding="missing-extra"
        ) from None


def _sizes(config: dict[str, Any], kinds: dict[str, Any], *, where: str) -> tuple[str, dict[str, Any]]:
    """Kind and sizes that a config.json states; refuses kinds that are not read, and programs beside the model."""
    kind = config.get("model_type")
    if kind not in kinds:
        raise InputError(
            f"a model of kind {kind!r}", where=where, remedy=f"this encoder reads {', '.join(kinds)}", finding="kind"
        )
    if "auto_map" in config:
        raise InputError("asks to run a program of its own", where=where, remedy="use a plain model folder")
    part = kinds[kind][2]
    table = config.get(part) if part else config
    sizes = dict(table) if isinstance(table, dict) else {}
    if part and "projection_dim" in config:
        sizes["projection_dim"] = config["projection_dim"]  # the whole model's, not the vision part's own
    return kind, _bounded(sizes, where=where)


def _bounded(table: dict[str, Any], *, where: str) -> dict[str, Any]:
    sizes = {key: table[key] for key in SIZES if key in table}
    for key, limit in LIMITS.items():
        value = sizes.get(key, 1)
        if not isinstance(value, int) or not 1 <= value <= limit:
            raise InputError(f"{key} is {str(value)[:40]}, not 1 to {limit}", where=where, remedy="get the file again")
    return sizes


def _side(picture: dict[str, Any], sizes: dict[str, Any]) -> int:
    """How many pixels a side of the picture has: what the preprocessor states, else what positions were learned."""
    for key in ("crop_size", "size"):
        stated = picture.get(key)
        value = stated.get("height") if isinstance(stated, dict) else stated
        if isinstance(value, int) and 1 <= value <= LIMITS["image_size"]:
            return value
    return int(sizes.get("image_size", 224))


def _from_sizes(kind: str, sizes: dict[str, Any], kinds: dict[str, Any]) -> Any:
    transformers = library()
    config, model, _ = kinds[kind]
    return fresh(lambda: getattr(transformers, model)(getattr(transformers, config)(**sizes)))


def _from_folder(folder: Path, kind: str, kinds: dict[str, Any], sizes: dict[str, Any]) -> nn.Module:
    """The model with the folder's weights, every file checked first; a part without weights is refused."""
    for file in weight_list(folder):
        weight_files.read(file)
    transformers = library()
    logs = transformers.utils.logging
    level, bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        net, report = getattr(transformers, kinds[kind][1]).from_pretrained(
            str(folder),
            config=getattr(transformers, kinds[kind][0])(**sizes),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype=torch.float32,
            attn_implementation="sdpa",
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        detail = " ".join(str(error).split())[:160]
        raise InputError(
            f"weights do not fit ({detail})", where=str(folder), remedy="get the folder again", finding="weights"
        ) from None
    finally:
        logs.set_verbosity(level)
        if bars:
            logs.enable_progress_bar()
    absent = sorted(report["missing_keys"]) + sorted(str(item) for item in report["mismatched_keys"])
    if absent:
        raise InputError(
            f"no weight {absent[0]} (and {len(absent) - 1} more)",
            where=str(folder),
            remedy="get the folder again",
            finding="weights",
        )
    return net.eval()


def weight_list(folder: Path) -> list[Path]:
    """The safetensors files of a model folder; an index may only name files beside it."""
    index = read_json(folder / "model.safetensors.index.json")
    names = {"model.safetensors"} if not index else set((index.get("weight_map") or {}).values())
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError(f"names the file {str(name)[:60]!r}", where=str(folder), remedy="get the folder again")
    if not index and not (folder / "model.safetensors").is_file():
        pickled = [item.name for item in sorted(folder.iterdir()) if item.suffix in weight_files.PICKLES]
        if pickled:
            return [folder / pickled[0]]  # refused with its remedy when it is read
    return [folder / name for name in sorted(names)]
