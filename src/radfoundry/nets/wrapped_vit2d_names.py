"""Names of the weights of published vision transformers, turned into the names of our own."""

from __future__ import annotations

import re
from typing import Any

import torch

from radfoundry.nets.weight_files import without_prefix
from radfoundry.nets.wrapped import CLIP, IMAGENET
from radfoundry.records import InputError

Tensors = dict[str, torch.Tensor]

OPEN_CLIP = (
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^conv1\.weight$", "patch_embed.proj.weight"),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"^proj$", "head.weight"),
    (r"^transformer\.resblocks\.(\d+)\.ln_([12])\.", r"blocks.\1.norm\2."),
    (r"^transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)$", r"blocks.\1.attn.qkv.\2"),
    (r"^transformer\.resblocks\.(\d+)\.attn\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"^transformer\.resblocks\.(\d+)\.mlp\.c_fc\.", r"blocks.\1.mlp.fc1."),
    (r"^transformer\.resblocks\.(\d+)\.mlp\.c_proj\.", r"blocks.\1.mlp.fc2."),
    (r"^transformer\.resblocks\.(\d+)\.ls_([12])\.", r"blocks.\1.ls\2."),
)
TRANSFORMERS_DINO = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.(\d+)\.norm([12])\.", r"blocks.\1.norm\2."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1$", r"blocks.\1.ls\2.gamma"),
    (r"^encoder\.layer\.(\d+)\.mlp\.", r"blocks.\1.mlp."),
)
TIMM = ((r"^register_tokens$", "reg_token"), (r"^fc_norm\.", "norm."))
SEPARATE = r"^encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)$"
# Parts of published checkpoints that no feature passes through.
UNUSED = ("mask_token", "head", "head_dist", "fc", "decoder", "teacher")


def renamed(found: Tensors, *, where: str) -> tuple[Tensors, dict[str, Any]]:
    """Weights under our names, and clues that go with a family: colours, epsilon, pooling; refuses unknown ones."""
    projection = found.get("visual.head.proj.weight")
    inside = without_prefix(found, "visual.trunk.", "visual.", "dinov2.", "dinov2_with_registers.", "module.")
    if "embeddings.patch_embeddings.projection.weight" in inside:
        return _joined(_mapped(inside, TRANSFORMERS_DINO)), {"mean": IMAGENET[0], "std": IMAGENET[1], "epsilon": 1e-6}
    if "conv1.weight" in inside and "class_embedding" in inside:
        return _from_open_clip(inside), {"mean": CLIP[0], "std": CLIP[1], "epsilon": 1e-5}
    if "patch_embed.proj.weight" in inside:
        colours = IMAGENET if projection is None else CLIP
        clues: dict[str, Any] = {"mean": colours[0], "std": colours[1], "epsilon": 1e-6}
        return _from_timm(inside, projection, clues, where=where), clues
    raise InputError(
        "not the weights of a vision transformer of timm, open_clip or DINOv2",
        where=where,
        remedy="for other models of transformers use hf-clip or hf-siglip with their folder",
        finding="weights",
    )


def _mapped(found: Tensors, rules: tuple[tuple[str, str], ...]) -> Tensors:
    result: Tensors = {}
    for name, value in found.items():
        target = next((re.sub(old, new, name) for old, new in rules if re.search(old, name)), name)
        result[target] = value
    return result


def _joined(found: Tensors) -> Tensors:
    """Query, key and value of each layer put below one another, as our attention keeps them."""
    result = {name: value for name, value in found.items() if not re.search(SEPARATE, name)}
    for name in found:
        match = re.search(SEPARATE, name)
        if match and match.group(2) == "query":
            parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
            if all(part in found for part in parts):
                result[f"blocks.{match.group(1)}.attn.qkv.{match.group(3)}"] = torch.cat([found[p] for p in parts])
    return result


def _from_open_clip(found: Tensors) -> Tensors:
    result = _mapped(found, OPEN_CLIP)
    # open_clip keeps these without the axes that ours have, and its projection the other way round.
    shapes = {"cls_token": (1, 1, -1), "pos_embed": (1, *result.get("pos_embed", torch.zeros(1, 1)).shape)}
    for name, shape in shapes.items():
        if name in result:
            result[name] = result[name].reshape(shape)
    if "head.weight" in result:
        result["head.weight"] = result["head.weight"].T.contiguous()
    return result


def _from_timm(found: Tensors, projection: torch.Tensor | None, clues: dict[str, Any], *, where: str) -> Tensors:
    if any(name.startswith("attn_pool.") for name in found):
        raise InputError("pools by attention", where=where, remedy="read SigLIP's folder with hf-siglip")
    if "fc_norm.weight" in found and "norm.weight" not in found:
        clues["pool"] = "mean_norm"
    kept = {name: value for name, value in found.items() if name.split(".")[0] not in UNUSED}
    result = _mapped(kept, TIMM)
    if projection is not None:
        result["head.weight"] = projection
    return result
