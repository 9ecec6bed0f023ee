"""The residual encoder of nnU-Net and nnssl (ResEnc), under their names of weights."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from radfoundry.nets import weight_files
from radfoundry.nets.wrapped import (
    Wrapped,
    fresh,
    load_into,
    one_of,
    read_json,
    sizes_from,
    volume_spec,
    weights_path,
    within,
)
from radfoundry.records import InputError

Triple = tuple[int, int, int]
ONES: Triple = (1, 1, 1)
PREFIXES = ("network.encoder.", "module.encoder.", "encoder.", "module.")


@dataclass(frozen=True)
class Sizes:
    """Channels, blocks, kernels and strides of each stage, from fine to coarse.

    Kernels and strides are three numbers a stage, laid one behind another.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256, 320, 320)
    blocks: tuple[int, ...] = (1, 3, 4, 6, 6, 6)
    kernels: tuple[int, ...] = (3,) * 18
    strides: tuple[int, ...] = (1, 1, 1) + (2,) * 15
    channels: int = 1
    stem: int = 32
    bias: bool = True

    def __post_init__(self) -> None:
        stages = len(self.widths)
        if not 1 <= stages <= 10 or len(self.blocks) != stages:
            raise InputError(f"{stages} stages of widths, {len(self.blocks)} of blocks", where="ResEnc")
        if len(self.kernels) != 3 * stages or len(self.strides) != 3 * stages:
            raise InputError("kernels and strides are not three numbers a stage", where="ResEnc")
        numbers = [*self.widths, *self.blocks, *self.kernels, *self.strides, self.channels, self.stem]
        within("ResEnc", {f"size {index}": number for index, number in enumerate(numbers)})


class ConvNorm(nn.Module):
    """Convolution, instance norm and, unless it ends a branch, leaky ReLU."""

    def __init__(
        self, channels: tuple[int, int], kernel: Triple, *, stride: Triple = ONES, bias: bool, bend: bool
    ) -> None:
        super().__init__()
        incoming, outgoing = channels
        half = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.conv = nn.Conv3d(incoming, outgoing, kernel, stride, half, bias=bias)
        self.norm = nn.InstanceNorm3d(outgoing, eps=1e-5, affine=True)
        self.bend = bend

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same grid, divided by the convolution's stride."""
        x = self.norm(self.conv(x))
        return nn.functional.leaky_relu(x, 0.01) if self.bend else x


class Block(nn.Module):
    """ResNet-D block: the shortcut is averaged, then projected (He et al. 2019, "Bag of tricks", figure 2c)."""

    def __init__(self, channels: tuple[int, int], kernel: Triple, *, stride: Triple, bias: bool) -> None:
        super().__init__()
        incoming, outgoing = channels
        self.conv1 = ConvNorm(channels, kernel, stride=stride, bias=bias, bend=True)
        self.conv2 = ConvNorm((outgoing, outgoing), kernel, bias=bias, bend=False)
        skip: list[nn.Module] = []
        if any(step != 1 for step in stride):
            skip.append(nn.AvgPool3d(stride, stride))
        if incoming != outgoing:
            skip.append(ConvNorm(channels, ONES, bias=False, bend=False))
        self.skip = nn.Sequential(*skip)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, incoming, I, J, K) to (batch, outgoing, I / stride, ...)."""
        return nn.functional.leaky_relu(self.conv2(self.conv1(x)) + self.skip(x), 0.01)


class ResEnc(nn.Module):
    """Stem and stages; the last stage is what the encoder says."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        kernels, strides = triples(sizes.kernels), triples(sizes.strides)
        first = ConvNorm((sizes.channels, sizes.stem), kernels[0], bias=sizes.bias, bend=True)
        self.stem = nn.ModuleDict({"convs": nn.Sequential(first)})
        stages: list[nn.Module] = []
        incoming = sizes.stem
        for width, count, kernel, stride in zip(sizes.widths, sizes.blocks, kernels, strides, strict=True):
            blocks: list[nn.Module] = []
            for position in range(count):
                step = stride if position == 0 else ONES
                blocks.append(Block((incoming, width), kernel, stride=step, bias=sizes.bias))
                incoming = width
            stages.append(nn.ModuleDict({"blocks": nn.Sequential(*blocks)}))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, I, J, K) to the coarsest feature map."""
        x = self.stem["convs"](x)
        for stage in self.stages:
            x = stage.get_submodule("blocks")(x)
        return x


def triples(flat: tuple[int, ...]) -> list[Triple]:
    """Numbers laid one behind another, three for each stage.

    >>> triples((1, 1, 1, 1, 2, 2))
    [(1, 1, 1), (1, 2, 2)]
    """
    return [(flat[at], flat[at + 1], flat[at + 2]) for at in range(0, len(flat), 3)]


def look(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and maximum over the last feature map.

    Instance norm takes the overall level out of every channel, so the mean alone would say little.
    """
    places = net(x)
    return torch.cat([places.mean(dim=(2, 3, 4)), places.amax(dim=(2, 3, 4))], dim=1), places


def resenc(
    *, path: str = "", untrained: dict[str, Any] | None = None, spacing_mm: float = 1.0, side: int = 160
) -> Wrapped:
    """The encoder of a residual-encoder U-Net trained by nnU-Net or pretrained by nnssl (OpenMind).

    A `plans.json` beside the weights gives strides; without it the first stage keeps the grid and every other
    halves it. spacing_mm and side are those of the plan; the defaults are OpenMind's (1 mm, 160 voxels).
    """
    name = "resenc"
    if one_of(path, untrained, name=name):
        source = weights_path(path, "checkpoint_final.safetensors", "model.safetensors")
        _, found = weight_files.read(source)
        found = weight_files.without_prefix(found, *PREFIXES)
        sizes = sizes_of(found, planned_strides(source.parent), where=str(source))
        net = load_into(fresh(lambda: ResEnc(sizes)), found, where=str(source))
    else:
        sizes = sizes_from(Sizes, untrained or {}, name=name)
        net = fresh(lambda: ResEnc(sizes))
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(sizes).items()}
    spec = volume_spec(
        name, side=side, spacing_mm=spacing_mm, width=2 * sizes.widths[-1], channels=sizes.channels, orientation="SPL"
    )
    return Wrapped(net, spec, look, options={"untrained": plain, "spacing_mm": spacing_mm, "side": side})


def sizes_of(found: dict[str, torch.Tensor], strides: tuple[int, ...] | None, *, where: str) -> Sizes:
    """The sizes that a file of weights has; refuses plain-convolution encoders and other networks."""
    stem = found.get("stem.convs.0.conv.weight")
    first = re.compile(r"stages\.(\d+)\.blocks\.(\d+)\.conv1\.conv\.weight$")
    blocks = {(int(m.group(1)), int(m.group(2))): value for key, value in found.items() if (m := first.match(key))}
    if stem is None or stem.ndim != 5 or not blocks or any(".conv3." in key for key in found):
        raise InputError(
            "not the weights of a residual encoder of nnU-Net with two convolutions a block",
            where=where,
            remedy="give a ResEnc checkpoint (plans nnUNetResEncUNetM, L or XL)",
            finding="weights",
        )
    stages = range(1 + max(stage for stage, _ in blocks))
    starts = [blocks[stage, 0] for stage in stages if (stage, 0) in blocks]
    if len(starts) != len(stages):
        raise InputError("a stage is missing", where=where, remedy="get the file again", finding="weights")
    return Sizes(
        widths=tuple(int(weight.shape[0]) for weight in starts),
        blocks=tuple(sum(stage == index for stage, _ in blocks) for index in stages),
        kernels=tuple(int(size) for weight in starts for size in weight.shape[2:]),
        strides=strides or (1, 1, 1) + (2,) * (3 * (len(stages) - 1)),
        channels=int(stem.shape[1]),
        stem=int(stem.shape[0]),
        bias="stem.convs.0.conv.bias" in found,
    )


def planned_strides(folder: Path) -> tuple[int, ...] | None:
    """The strides of the full-resolution configuration in a plans.json, or None where there is no such file."""
    plan = read_json(folder / "plans.json")
    architecture = plan.get("configurations", {}).get("3d_fullres", {}).get("architecture", {})
    strides = architecture.get("arch_kwargs", {}).get("strides")
    if strides is None:
        return None
    try:
        return tuple(int(step) for stage in strides for step in stage)
    except (TypeError, ValueError):
        raise InputError("strides are not numbers", where=str(folder / "plans.json"), remedy="get it again") from None
