"""The encoder of Models Genesis, under its names of weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from radfoundry.nets import weight_files
from radfoundry.nets.wrapped import Wrapped, fresh, load_into, one_of, volume_spec, weights_path, within
from radfoundry.records import InputError


class Stage(nn.Module):
    """Two convolutions, each normalised over the image alone, as the original is for a batch of one."""

    def __init__(self, incoming: int, middle: int, outgoing: int) -> None:
        super().__init__()
        steps = [(incoming, middle), (middle, outgoing)]
        self.ops = nn.Sequential(
            *(
                nn.ModuleDict(
                    {"conv1": nn.Conv3d(one, other, 3, padding=1), "bn1": nn.InstanceNorm3d(other, affine=True)}
                )
                for one, other in steps
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same grid."""
        for step in self.ops:
            x = torch.relu(step.get_submodule("bn1")(step.get_submodule("conv1")(x)))
        return x


class Genesis(nn.Module):
    """The descending half of Models Genesis' 3D U-Net (Zhou et al. 2021)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down_tr64 = Stage(1, width, 2 * width)
        self.down_tr128 = Stage(2 * width, 2 * width, 4 * width)
        self.down_tr256 = Stage(4 * width, 4 * width, 8 * width)
        self.down_tr512 = Stage(8 * width, 8 * width, 16 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, I, J, K) to (batch, 16 x width, I / 8, J / 8, K / 8)."""
        for stage in (self.down_tr64, self.down_tr128, self.down_tr256):
            x = nn.functional.max_pool3d(stage(x), 2)
        return self.down_tr512(x)


def build(*, path: str = "", untrained: dict[str, Any] | None = None) -> Wrapped:
    """Models Genesis (chest CT): cubes of 64 x 64 x 32 voxels, -1000 to 1000 HU as 0 to 1.

    The original normalises with the statistics of the batch even when it is used; here every image is
    normalised on its own, so that its features do not depend on its neighbours. untrained: {"width": 32}.
    """
    name = "models-genesis"
    if one_of(path, untrained, name=name):
        source = weights_path(path, "Genesis_Chest_CT.safetensors", "model.safetensors")
        _, found = weight_files.read(source)
        found = weight_files.without_prefix(found, "module.")
        first = found.get("down_tr64.ops.0.conv1.weight", torch.zeros(0))
        if first.ndim != 5:
            raise InputError(
                "not the weights of Models Genesis (down_tr64 to down_tr512)",
                where=str(source),
                remedy="give Genesis_Chest_CT, converted",
                finding="weights",
            )
        width = int(first.shape[0])
        net = load_into(fresh(lambda: Genesis(width)), found, where=str(source))
    else:
        width = (untrained or {}).get("width", 32)
        within(name, {"width": width}, limit=256)
        net = fresh(lambda: Genesis(width))
    spec = volume_spec(
        name,
        side=(64, 64, 32),
        spacing_mm=1.0,
        width=16 * width,
        modality=("CT",),
        intensity="window",
        options={"intensity": {"center_hu": 0.0, "width_hu": 2000.0}},
    )
    return Wrapped(net, spec, look, options={"untrained": {"width": width}})


def look(net: nn.Module, x: torch.Tensor) -> tuple[None, torch.Tensor]:
    """The lowest feature map; the pooled vector is its mean, as in the authors' classifiers."""
    return None, net(x)
