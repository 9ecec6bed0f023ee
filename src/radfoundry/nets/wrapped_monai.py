"""SwinUNETR's and SegResNet's encoders, built by the MONAI library around weights of a local file."""

from __future__ import annotations

import importlib
import re
from typing import Any

import torch
from torch import nn

from radfoundry.nets import weight_files
from radfoundry.nets.wrapped import Wrapped, fresh, load_into, one_of, volume_spec, weights_path, within
from radfoundry.records import InputError

# Prefixes under which a Swin transformer lies: SwinUNETR's own files, self-supervised ones, bare.
SWIN_PREFIXES = ("swinViT.", "module.swinViT.", "module.", "encoder.")
# Names that the self-supervised release uses for the two maps of each perceptron.
OLD_PERCEPTRON = re.compile(r"\.mlp\.fc([12])\.")
UNUSED = ("conv_final", "up_layers", "up_samples", "vae_")


def swin(
    *,
    path: str = "",
    untrained: dict[str, Any] | None = None,
    spacing_mm: float = 1.5,
    side: int = 96,
    second_release: bool = False,
) -> Wrapped:
    """The Swin transformer of MONAI's SwinUNETR; the pooled vector is the mean of its lowest feature map.

    Reads SwinUNETR checkpoints and the self-supervised release. second_release: merges neighbours as MONAI's
    `mergingv2` does, which the weights do not tell. untrained: {"width": 24, "depths": [2, 2, 2, 2], "heads":
    [3, 6, 12, 24], "channels": 1}. The voxel size and the intensity rule (-175 to 250 HU as 0 to 1 in the
    published abdominal models) belong to the weights: the default here is the z-score for MR and CT.
    """
    name = "monai-swin"
    found: dict[str, torch.Tensor] | None = None
    sizes: dict[str, Any] = {
        "width": 24,
        "depths": [2, 2, 2, 2],
        "heads": [3, 6, 12, 24],
        "channels": 1,
        **(untrained or {}),
    }
    if one_of(path, untrained, name=name):
        source = weights_path(path, "model.safetensors")
        found = _swin_names(weight_files.read(source)[1])
        sizes = _swin_sizes(found, where=str(source))
    within(name, {"width": sizes["width"], "channels": sizes["channels"]}, limit=768)
    within(name, {f"depth {index}": depth for index, depth in enumerate(sizes["depths"])}, limit=48)
    within(name, {f"heads {index}": heads for index, heads in enumerate(sizes["heads"])}, limit=96)
    net = fresh(lambda: _make_swin(sizes, merging="mergingv2" if second_release else "merging"))
    if found is not None:
        net = load_into(net, found, where=path)
    spec = volume_spec(name, side=side, spacing_mm=spacing_mm, width=16 * sizes["width"], channels=sizes["channels"])
    kept = {"untrained": sizes, "spacing_mm": spacing_mm, "side": side, "second_release": second_release}
    return Wrapped(net, spec, swin_look, options=kept)


def swin_look(net: nn.Module, x: torch.Tensor) -> tuple[None, torch.Tensor]:
    """The lowest of the five feature maps, normalised as SwinUNETR's bottleneck sees it."""
    return None, net(x)[-1]


def segresnet(
    *, path: str = "", untrained: dict[str, Any] | None = None, spacing_mm: float = 1.0, side: int = 96
) -> Wrapped:
    """The descending half of MONAI's SegResNet; the pooled vector is mean and maximum of its last feature map.

    untrained: {"width": 8, "blocks": [1, 2, 2, 4], "channels": 1}.
    """
    name = "monai-segresnet"
    found: dict[str, torch.Tensor] | None = None
    sizes: dict[str, Any] = {"width": 8, "blocks": [1, 2, 2, 4], "channels": 1, **(untrained or {})}
    if one_of(path, untrained, name=name):
        source = weights_path(path, "model.safetensors")
        found = weight_files.without_prefix(weight_files.read(source)[1], "module.", "net.")
        sizes = _segresnet_sizes(found, where=str(source))
    within(name, {"width": sizes["width"], "channels": sizes["channels"]}, limit=512)
    within(name, {f"blocks {index}": count for index, count in enumerate(sizes["blocks"])}, limit=48)
    net = fresh(lambda: _make_segresnet(sizes))
    if found is not None:
        net = load_into(net, found, where=path)
    width = 2 * sizes["width"] << (len(sizes["blocks"]) - 1)
    spec = volume_spec(name, side=side, spacing_mm=spacing_mm, width=width, channels=sizes["channels"])
    return Wrapped(net, spec, segresnet_look, options={"untrained": sizes, "spacing_mm": spacing_mm, "side": side})


def segresnet_look(net: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and maximum of the last feature map, and the map."""
    places, _ = net.encode(x)
    return torch.cat([places.mean(dim=(2, 3, 4)), places.amax(dim=(2, 3, 4))], dim=1), places


def library() -> Any:
    """MONAI's networks, imported only here."""
    try:
        return importlib.import_module("monai.networks.nets")
    except ImportError:
        raise InputError(
            "the library monai is not installed", remedy="pip install 'radfoundry[monai]'", finding="missing-extra"
        ) from None


def _make_swin(sizes: dict[str, Any], *, merging: str) -> nn.Module:
    nets = library().swin_unetr
    return nets.SwinTransformer(
        in_chans=sizes["channels"],
        embed_dim=sizes["width"],
        window_size=(7, 7, 7),
        patch_size=(2, 2, 2),
        depths=tuple(sizes["depths"]),
        num_heads=tuple(sizes["heads"]),
        spatial_dims=3,
        downsample=merging,
    )


def _make_segresnet(sizes: dict[str, Any]) -> nn.Module:
    net = library().SegResNet(
        spatial_dims=3, init_filters=sizes["width"], in_channels=sizes["channels"], blocks_down=tuple(sizes["blocks"])
    )
    # The ascending half makes a segmentation, not features.
    for part in ("up_layers", "up_samples", "conv_final"):
        delattr(net, part)
    return net


def _swin_names(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    inside = weight_files.without_prefix(found, *SWIN_PREFIXES)
    return {OLD_PERCEPTRON.sub(r".mlp.linear\1.", key): value for key, value in inside.items()}


def _swin_sizes(found: dict[str, torch.Tensor], *, where: str) -> dict[str, Any]:
    patches = found.get("patch_embed.proj.weight")
    pattern = re.compile(r"layers([1-4])\.0\.blocks\.(\d+)\.attn\.relative_position_bias_table$")
    tables = {(int(m.group(1)), int(m.group(2))): value for key, value in found.items() if (m := pattern.match(key))}
    if patches is None or patches.ndim != 5 or {stage for stage, _ in tables} != {1, 2, 3, 4}:
        raise InputError(
            "not the weights of a Swin transformer of MONAI's SwinUNETR",
            where=where,
            remedy="give a SwinUNETR checkpoint or its self-supervised encoder, converted",
            finding="weights",
        )
    if any(key.startswith(("layers1c.", "layers2c.")) for key in found):
        raise InputError("SwinUNETR-V2 is not read", where=where, remedy="give weights of the first version")
    return {
        "width": int(patches.shape[0]),
        "depths": [sum(stage == index for stage, _ in tables) for index in (1, 2, 3, 4)],
        "heads": [int(tables[index, 0].shape[1]) for index in (1, 2, 3, 4)],
        "channels": int(patches.shape[1]),
    }


def _segresnet_sizes(found: dict[str, torch.Tensor], *, where: str) -> dict[str, Any]:
    first = found.get("convInit.conv.weight")
    pattern = re.compile(r"down_layers\.(\d+)\.(\d+)\.conv1\.conv\.weight$")
    blocks = [int(match.group(1)) for key in found if (match := pattern.match(key))]
    if first is None or first.ndim != 5 or not blocks:
        raise InputError(
            "not the weights of MONAI's SegResNet",
            where=where,
            remedy="give a 3D SegResNet checkpoint, converted",
            finding="weights",
        )
    return {
        "width": int(first.shape[0]),
        "blocks": [blocks.count(index) for index in range(1 + max(blocks))],
        "channels": int(first.shape[1]),
    }
