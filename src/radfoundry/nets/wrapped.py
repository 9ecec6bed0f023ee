"""Published networks behind the encoder contract: one class around any of them, and what their files share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from radfoundry.nets.conv import expect_channels
from radfoundry.records import EncoderSpec, Features, InputError

CONFIG_LIMIT_BYTES = 4 << 20
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

# What a network makes of a batch: one vector per image (None: the mean over places), and its places.
Look = Callable[[nn.Module, torch.Tensor], tuple[torch.Tensor | None, torch.Tensor]]


class Wrapped(nn.Module):
    """A published network that keeps the contract of an encoder; a missing channel is a channel of zeros.

    `options` rebuild the same architecture with fresh weights, which is what a checkpoint of it stores.
    """

    def __init__(self, net: nn.Module, spec: EncoderSpec, look: Look, *, options: dict[str, Any]) -> None:
        super().__init__()
        self.net = net
        self.spec = spec
        self.look = look
        self.options = options
        self.eval()

    def encode(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Features:
        """x: (batch, channels, I, J, K); present: (batch, channels), False where a channel is missing."""
        expect_channels(x, self.spec)
        if present is not None:
            x = x * present[:, :, None, None, None].to(x.dtype)
        pooled, places = self.look(self.net, x)
        tokens = places.flatten(2).transpose(1, 2)
        grid = (int(places.shape[2]), int(places.shape[3]), int(places.shape[4]))
        return Features(pooled=tokens.mean(dim=1) if pooled is None else pooled, tokens=tokens, grid=grid)

    def forward(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Features:
        """The same as `encode`."""
        return self.encode(x, present)


def fresh(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A network whose first weights come from `seed`, leaving torch's own random state untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().eval()


def one_of(path: str, untrained: dict[str, Any] | None, *, name: str) -> bool:
    """True where weights are to be read from `path`; refuses neither and both."""
    if bool(path) == (untrained is not None):
        raise InputError(
            "no weights" if not path else "a path and untrained sizes at once",
            where=name,
            remedy="give path=FILE, a local copy of the published weights, or untrained={} for fresh ones",
            finding="weights",
        )
    return bool(path)


def read_json(path: Path) -> dict[str, Any]:
    """A configuration file beside weights, or {} where there is none; refuses what is not a JSON table."""
    if not path.is_file():
        return {}
    if path.stat().st_size > CONFIG_LIMIT_BYTES:
        raise InputError(f"{path.stat().st_size} bytes of settings", where=str(path), remedy="get the file again")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        detail = " ".join(str(error).split())[:100]
        raise InputError(f"not JSON ({detail})", where=str(path), remedy="get the file again") from None
    if not isinstance(values, dict):
        raise InputError("not a JSON table", where=str(path), remedy="get the file again")
    return values


def weights_path(path: str, *names: str) -> Path:
    """The safetensors file that `path` is, or the one that lies in the folder `path` under one of the names."""
    source = Path(path)
    if source.is_dir():
        for name in names:
            if (source / name).is_file():
                return source / name
        alone = sorted(source.glob("*.safetensors"))
        if len(alone) == 1:
            return alone[0]
        raise InputError(
            f"{len(alone)} safetensors files and none of {', '.join(names)}", where=path, remedy="name the file itself"
        )
    return source


def triple(values: Any, default: Sequence[float], *, where: str) -> list[float]:
    """Three plain numbers, one for each colour; refuses anything else."""
    if values is None:
        return list(default)
    if not isinstance(values, list) or len(values) != 3 or not all(isinstance(item, (int, float)) for item in values):
        raise InputError("not three numbers for red, green and blue", where=where, remedy="get the file again")
    return [float(item) for item in values]


def as_picture(x: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(batch, channels, I, J, 1) from 0 to 1 to the colours a network of photographs was trained on.

    The result is (batch, 3, rows, columns): the first axis of a radfoundry picture runs along its columns.
    Grey becomes three equal colours.
    """
    picture = x[..., 0].transpose(2, 3)
    if picture.shape[1] == 1:
        picture = picture.expand(-1, len(mean), -1, -1)
    centre, spread = (torch.tensor(list(part), dtype=x.dtype, device=x.device)[:, None, None] for part in (mean, std))
    return (picture - centre) / spread


def as_places(grid: torch.Tensor) -> torch.Tensor:
    """(batch, width, rows, columns) to (batch, width, I, J, 1), the inverse of the turn in `as_picture`."""
    return grid.transpose(2, 3)[..., None]


def picture_spec(name: str, *, side: int, width: int, fit: str, modality: tuple[str, ...]) -> EncoderSpec:
    """What an encoder of pictures expects: any picture, brought to `side` x `side`, upright, from 0 to 1."""
    return EncoderSpec(
        name=name,
        modality=modality,
        orientation="LPS",
        shape=(side, side, 1),
        intensity="percentile",
        channels=1,
        dimensions=2,
        width=width,
        options={"fit": fit},
    )


PICTURES = ("MR", "CT", "US", "MG", "DX", "CR", "OT")


def volume_spec(name: str, *, side: int | Sequence[int], spacing_mm: float, width: int, **values: Any) -> EncoderSpec:
    """What an encoder of volumes expects: `side` voxels along every axis (or three numbers) of `spacing_mm`."""
    first, second, third = (side, side, side) if isinstance(side, int) else side
    stated: dict[str, Any] = {"modality": ("MR", "CT"), "intensity": "zscore", "channels": 1, **values}
    return EncoderSpec(
        name=name, spacing_mm=(spacing_mm, spacing_mm, spacing_mm), shape=(first, second, third), width=width, **stated
    )


def load_into(net: nn.Module, found: dict[str, torch.Tensor], *, where: str) -> nn.Module:
    """The network with the weights it wants; refuses missing ones and other shapes."""
    from radfoundry.nets.weight_files import matching

    net.load_state_dict(matching(found, net.state_dict(), where=where))
    return net.eval()


def sizes_from(build: Callable[..., Any], values: dict[str, Any], *, name: str) -> Any:
    """A table of sizes as the record `build` makes of it; lists become tuples, unknown names are refused."""
    try:
        return build(**{key: tuple(item) if isinstance(item, list) else item for key, item in values.items()})
    except TypeError as error:
        raise InputError(f"untrained sizes do not fit ({str(error)[:80]})", where=name, remedy="see its docs") from None


def within(name: str, sizes: dict[str, int], limit: int = 4096) -> None:
    """Refuse a size that no published network has, so that a file cannot ask for endless memory."""
    for key, value in sizes.items():
        if type(value) is not int or not 1 <= value <= limit:
            raise InputError(f"{key} is {str(value)[:40]}, not 1 to {limit}", where=name, finding="sizes")
