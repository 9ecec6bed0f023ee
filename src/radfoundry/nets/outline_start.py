"""The weights that outlining begins with: U-Nets that learned from pictures of random shapes, no patient's image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from radfoundry.nets import weight_files
from radfoundry.nets.decoders import LightDecoder
from radfoundry.nets.encoder_maps import Sizes
from radfoundry.nets.unet import Step, UNet
from radfoundry.records import InputError

FOLDER = Path(__file__).resolve().parent.parent / "weights"
BUNDLED, FRESH = STARTS = ("bundled", "fresh")
BACKGROUND, THING = 0, 1


@dataclass(frozen=True)
class Start:
    """One set of bundled weights and the sizes of the network they belong to."""

    file: str
    widths: tuple[int, ...]
    strides: tuple[Step, ...]
    fold: Step

    @property
    def path(self) -> Path:
        """Where the weights lie; how they were made lies beside them as JSON."""
        return FOLDER / self.file

    def network(self) -> UNet:
        """The network as it was trained, without its weights: scores of background, thing and edge."""
        return UNet(channels=1, classes=3, widths=self.widths, strides=self.strides, fold=self.fold)


VOLUMES = Start("radfoundry-outline.safetensors", (24, 48, 96), ((2, 2, 2),) * 2, (2, 2, 2))
PICTURES = Start("radfoundry-outline-2d.safetensors", (24, 48, 96, 192), ((2, 2, 1),) * 3, (2, 2, 1))


def fitting(sizes: Sizes) -> Start | str:
    """The weights a decoder of these sizes can begin with, or why there are none.

    A plan with further levels, or with unlike strides below, fits: it is cut to the levels of the weights.

    >>> fitting(Sizes(classes=2, widths=(24, 48, 96, 192), strides=((2, 2, 2),) * 3, fold=(2, 2, 2))) is VOLUMES
    True
    """
    if sizes.channels != 1:
        return f"it reads {sizes.channels} channels, the bundled weights one"
    for start in (VOLUMES, PICTURES):
        if sizes.fold == start.fold and sizes.strides[: len(start.strides)] == start.strides:
            if sizes.widths[: len(start.widths)] == start.widths:
                return start
            return f"its first level has {sizes.widths[0]} channels, that of the bundled weights {start.widths[0]}"
    return "its voxels are flat or its images too small for the bundled weights"


def begin(decoder: torch.nn.Module, sizes: Sizes) -> None:
    """Put the bundled weights into a light decoder; each structure begins as the thing in the middle.

    What brings in the encoder's maps begins as it is, without effect. Refuses sizes other than those of the weights.
    """
    found = fitting(sizes)
    if isinstance(found, str) or not isinstance(decoder, LightDecoder) or sizes.widths != found.widths:
        raise InputError(
            f"the decoder cannot begin with the bundled weights: {found if isinstance(found, str) else 'it differs'}",
            where="head.start",
            remedy="use head.start=fresh",
            finding="unlike",
        )
    _, stored = weight_files.read(found.path)
    own = decoder.net.state_dict()
    own |= {name: value.float() for name, value in stored.items() if not name.startswith("head.")}
    for part in ("weight", "bias"):
        own[f"head.{part}"] = _per_structure(stored[f"head.{part}"].float(), sizes)
    decoder.net.load_state_dict(own)


def _per_structure(stored: torch.Tensor, sizes: Sizes) -> torch.Tensor:
    block = sizes.fold[0] * sizes.fold[1] * sizes.fold[2]
    rows = stored.reshape(-1, block, *stored.shape[1:])
    return rows[[BACKGROUND, *[THING] * (sizes.classes - 1)]].reshape(sizes.classes * block, *stored.shape[1:])
