"""3D residual networks as MONAI, MedicalNet and FMCIB publish them: one module with their names of weights."""

from __future__ import annotations

import functools
import re
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from radfoundry.nets import weight_files
from radfoundry.nets.wrapped import Wrapped, fresh, load_into, one_of, sizes_from, volume_spec, weights_path, within
from radfoundry.records import InputError

PREFIXES = ("module.encoder.", "module.", "trunk.", "backbone.", "encoder.")


@dataclass(frozen=True)
class Sizes:
    """What the weights tell of a network, and (stride, dilated) what only its family does.

    `layers`: blocks in each of the four stages · `width`: channels after the first convolution · `bottleneck`:
    three convolutions a block instead of two · `projected`: learned shortcuts (type B), else padded ones (A).
    """

    layers: tuple[int, ...] = (1, 1, 1, 1)
    width: int = 64
    channels: int = 1
    kernel: int = 7
    stride: int = 2
    bottleneck: bool = False
    projected: bool = True
    shortcut_bias: bool = False
    dilated: bool = False

    def __post_init__(self) -> None:
        named = {"width": self.width, "channels": self.channels, "kernel": self.kernel, "stride": self.stride}
        within("3D ResNet", named | {f"layer {i}": n for i, n in enumerate(self.layers)}, limit=512)
        if len(self.layers) != 4:
            raise InputError(f"{len(self.layers)} stages instead of 4", where="3D ResNet")

    @property
    def outgoing(self) -> int:
        """Channels of the last feature map."""
        return (self.width << 3) * (4 if self.bottleneck else 1)


class Unit(nn.Module):
    """One residual block (He et al. 2016, "Deep residual learning", figure 5), in 3D."""

    def __init__(self, incoming: int, width: int, sizes: Sizes, *, stride: int, dilation: int) -> None:
        super().__init__()
        self.outgoing = width * (4 if sizes.bottleneck else 1)
        self.stride = stride
        self.relu = nn.ReLU()
        if sizes.bottleneck:
            self.conv1 = nn.Conv3d(incoming, width, 1, bias=False)
            self.conv2 = nn.Conv3d(width, width, 3, stride, dilation, dilation, bias=False)
            self.conv3 = nn.Conv3d(width, self.outgoing, 1, bias=False)
            self.bn3 = nn.BatchNorm3d(self.outgoing)
        else:
            self.conv1 = nn.Conv3d(incoming, width, 3, stride, dilation, dilation, bias=False)
            self.conv2 = nn.Conv3d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm3d(width), nn.BatchNorm3d(width)
        self.downsample = None
        if sizes.projected and (stride != 1 or incoming != self.outgoing):
            self.downsample = nn.Sequential(
                nn.Conv3d(incoming, self.outgoing, 1, stride, bias=sizes.shortcut_bias), nn.BatchNorm3d(self.outgoing)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, incoming, I, J, K) to (batch, outgoing, ...)."""
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if hasattr(self, "conv3"):
            inner = self.bn3(self.conv3(self.relu(inner)))
        return self.relu(inner + self.shortcut(x))

    def shortcut(self, x: torch.Tensor) -> torch.Tensor:
        """The block's input brought to its output's shape."""
        if self.downsample is not None:
            return self.downsample(x)
        x = x[:, :, :: self.stride, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, 0, 0, 0, self.outgoing - x.shape[1]))


class ResNet(nn.Module):
    """Volume to the last feature map; `dilated` keeps the resolution in the last two stages, as MedicalNet does."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        half = sizes.kernel // 2
        self.conv1 = nn.Conv3d(sizes.channels, sizes.width, sizes.kernel, sizes.stride, half, bias=False)
        self.bn1 = nn.BatchNorm3d(sizes.width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool3d(3, 2, 1)
        incoming = sizes.width
        strides, dilations = ((1, 2, 1, 1), (1, 1, 2, 4)) if sizes.dilated else ((1, 2, 2, 2), (1, 1, 1, 1))
        for index, count in enumerate(sizes.layers):
            units = []
            for position in range(count):
                stride = strides[index] if position == 0 else 1
                units.append(Unit(incoming, sizes.width << index, sizes, stride=stride, dilation=dilations[index]))
                incoming = units[-1].outgoing
            self.add_module(f"layer{index + 1}", nn.Sequential(*units))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, I, J, K) to (batch, outgoing, I', J', K')."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for index in range(4):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return x


def look(net: nn.Module, x: torch.Tensor) -> tuple[None, torch.Tensor]:
    """The last feature map; the pooled vector is its mean, as in all three families."""
    return None, net(x)


def medicalnet(
    *, path: str = "", untrained: dict[str, Any] | None = None, spacing_mm: float = 2.0, side: int = 96
) -> Wrapped:
    """MedicalNet (Med3D, Chen et al. 2019): ResNet-10 to -200 of MR and CT, the last two stages dilated.

    Its authors name no voxel size; spacing and side are ours.
    """
    return _build(
        "medicalnet", path, untrained, family={"stride": 2, "dilated": True}, spacing_mm=spacing_mm, side=side
    )


def monai_resnet(
    *,
    path: str = "",
    untrained: dict[str, Any] | None = None,
    spacing_mm: float = 2.0,
    side: int = 96,
    first_stride: int = 1,
) -> Wrapped:
    """A ResNet of MONAI; first_stride is its `conv1_t_stride`, which the weights do not tell (MONAI's default is 1)."""
    return _build("monai-resnet", path, untrained, family={"stride": first_stride}, spacing_mm=spacing_mm, side=side)


def fmcib(*, path: str = "", untrained: dict[str, Any] | None = None) -> Wrapped:
    """FMCIB (Pai et al. 2024): a twice as wide ResNet-50 of CT, cubes of 50 mm around a lesion at 1 mm.

    Grey values from -1024 to 3072 HU become 0 to 1; axes run upwards, to the back and to the left. For a
    lesion away from the centre of the image, cut the cube around it first.
    """
    encoder = _build("fmcib", path, untrained, family={"stride": 2}, spacing_mm=1.0, side=50)
    encoder.options = {"untrained": encoder.options["untrained"]}
    return encoder


def _spec_values(name: str) -> dict[str, Any]:
    if name != "fmcib":
        return {}
    window = {"intensity": {"center_hu": 1024.0, "width_hu": 4096.0}}
    return {"modality": ("CT",), "orientation": "SPL", "intensity": "window", "options": window}


def _build(
    name: str, path: str, untrained: dict[str, Any] | None, *, family: dict[str, Any], spacing_mm: float, side: int
) -> Wrapped:
    if one_of(path, untrained, name=name):
        source = weights_path(path, "model.safetensors")
        _, found = weight_files.read(source)
        found = weight_files.without_prefix(found, *PREFIXES)
        sizes = sizes_of(found, family, where=str(source))
        net = load_into(fresh(lambda: ResNet(sizes)), found, where=str(source))
    else:
        sizes = sizes_from(functools.partial(Sizes), {**family, **(untrained or {})}, name=name)
        net = fresh(lambda: ResNet(sizes))
    values = {"channels": sizes.channels, **_spec_values(name)}
    spec = volume_spec(name, side=side, spacing_mm=spacing_mm, width=sizes.outgoing, **values)
    plain = {**asdict(sizes), "layers": list(sizes.layers)}
    return Wrapped(net, spec, look, options={"untrained": plain, "spacing_mm": spacing_mm, "side": side})


def sizes_of(found: dict[str, torch.Tensor], family: dict[str, Any], *, where: str) -> Sizes:
    """The sizes that a file of weights has; refuses files that are no 3D ResNet."""
    first = found.get("conv1.weight")
    blocks = [match for name in found if (match := re.match(r"layer([1-4])\.(\d+)\.conv1\.weight$", name))]
    if first is None or first.ndim != 5 or len({match.group(1) for match in blocks}) != 4:
        raise InputError(
            "not the weights of a 3D ResNet (conv1 and layer1 to layer4)",
            where=where,
            remedy="give a file with those names, with or without a prefix like module.",
            finding="weights",
        )
    counts = [sum(match.group(1) == str(index) for match in blocks) for index in range(1, 5)]
    width, channels, kernel = (int(first.shape[axis]) for axis in (0, 1, 2))
    return Sizes(
        layers=tuple(counts),
        width=width,
        channels=channels,
        kernel=kernel,
        bottleneck="layer1.0.conv3.weight" in found,
        projected="layer2.0.downsample.0.weight" in found,
        shortcut_bias="layer2.0.downsample.0.bias" in found,
        **family,
    )
