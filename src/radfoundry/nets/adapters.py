"""Adapters: small modules put into a frozen encoder that start without effect and can be taken out again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from radfoundry.nets.bundled import AnatomyNet
from radfoundry.nets.vit import TokenEncoder
from radfoundry.nets.vit2d import VisionTransformer
from radfoundry.records import InputError

KERNELS = (3, 5, 7)
SMALLEST = 8


class LowRank(nn.Module):
    """A linear map with a learned low-rank addition: W x + (scale / rank) B A x, with B starting at zero.

    Source: Hu et al., ICLR 2022 (LoRA), equation 3.
    """

    def __init__(self, linear: nn.Linear, *, rank: int, scale: float) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Linear(linear.in_features, rank, bias=False)
        self.up = nn.Linear(rank, linear.out_features, bias=False)
        self.share = scale / rank
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) to (…, out)."""
        return self.linear(x) + self.share * self.up(self.down(x))


class Mona(nn.Module):
    """A bottleneck with three depthwise convolutions over the places of a grid; its way back starts at zero.

    Source: Yin et al., CVPR 2025 (Mona), equations 3 to 6; in 3D where the grid has three axes. The public code does
    not start at zero, so that an untrained adapter already disturbs the features; this one does.
    """

    def __init__(self, width: int, *, inner: int, flat: bool, dropout: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gain = nn.Parameter(torch.full((width,), 1e-6))
        self.through = nn.Parameter(torch.ones(width))
        self.down = nn.Linear(width, inner)
        self.looks = nn.ModuleList(
            nn.Conv3d(inner, inner, (size, size, 1 if flat else size), padding="same", groups=inner)
            for size in (KERNELS if flat else KERNELS[:2])
        )
        self.mix = nn.Conv3d(inner, inner, 1)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(inner, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: torch.Tensor, grid: tuple[int, int, int], ahead: int) -> torch.Tensor:
        """(batch, tokens, width) to the same; `ahead` tokens come before the places of the grid, others after."""
        inner = self.down(self.norm(tokens) * self.gain + tokens * self.through)
        count = math.prod(grid)
        before, places, after = inner[:, :ahead], inner[:, ahead : ahead + count], inner[:, ahead + count :]
        maps = places.transpose(1, 2).reshape(len(places), -1, *grid)
        maps = maps + torch.stack([look(maps) for look in self.looks]).mean(dim=0)
        maps = maps + self.mix(maps)
        inner = torch.cat([before, maps.flatten(2).transpose(1, 2), after], dim=1)
        return tokens + self.up(self.dropout(nn.functional.gelu(inner)))


@dataclass(eq=False)
class Adapters:
    """The adapters inside one encoder: their modules by name, and how to take them out."""

    kind: str
    modules: nn.ModuleDict
    undo: list[Callable[[], None]] = field(default_factory=list)

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained: everything the adapters add, nothing of the encoder."""
        for name, value in self.modules.named_parameters():
            if ".linear." not in name:
                yield value

    def state(self) -> dict[str, torch.Tensor]:
        """The adapters' own weights."""
        return {name: value for name, value in self.modules.state_dict().items() if ".linear." not in name}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Put weights of `state` back; refuses other names or shapes."""
        own = self.state()
        if set(own) != set(state) or any(own[name].shape != value.shape for name, value in state.items()):
            raise InputError("the adapter weights do not fit the encoder", remedy="use the encoder they were made for")
        self.modules.load_state_dict(state, strict=False)

    def remove(self) -> None:
        """Take the adapters out: the encoder gives exactly the features it gave before."""
        while self.undo:
            self.undo.pop()()


@dataclass(frozen=True)
class _Site:
    """Blocks of tokens inside a network, the module whose output has the grid, and the tokens ahead of the places.

    ahead -1: all tokens that are not places come first.
    """

    blocks: nn.ModuleList
    stem: nn.Module
    ahead: int


def insert(encoder: Any, kind: str, *, size: int = 8, seed: int = 0, scale: float = 8.0) -> Adapters:
    """Put adapters into every block of an encoder: `lora` (rank `size`) or `mona` (`size` inner features).

    Until they are trained the encoder gives the features it gave before. Its own weights stop learning. Refuses
    encoders without transformer blocks.
    """
    if kind not in ("lora", "mona"):
        raise InputError(f"adapter {kind!r}", remedy="use lora or mona")
    site = _site(encoder)
    for value in encoder.parameters():
        value.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = _low_rank(site, size, scale) if kind == "lora" else _mona(site, size, encoder.spec.dimensions == 2)
    found.modules.train(False)
    return found


def _site(encoder: Any) -> _Site:
    modules = encoder.modules() if isinstance(encoder, nn.Module) else ()
    for module in modules:
        if isinstance(module, TokenEncoder):
            return _Site(module.blocks, module.stem, 1)
        if isinstance(module, VisionTransformer):
            return _Site(module.blocks, module.patch_embed["proj"], -1)
        if isinstance(module, AnatomyNet):
            return _Site(module.attention, module.down_again, 0)
    raise InputError(
        f"{encoder.spec.name} has no transformer blocks to adapt",
        remedy="use rung=head or rung=full",
        finding="no-blocks",
    )


def _low_rank(site: _Site, rank: int, scale: float) -> Adapters:
    adapters = Adapters("lora", nn.ModuleDict())
    for index, block in enumerate(site.blocks):
        for path, linear in [(name, part) for name, part in block.named_modules() if isinstance(part, nn.Linear)]:
            if min(linear.in_features, linear.out_features) < SMALLEST:
                continue
            owner = block.get_submodule(path.rpartition(".")[0])
            name = path.rpartition(".")[2]
            added = LowRank(linear, rank=rank, scale=scale)
            setattr(owner, name, added)
            adapters.modules[f"{index}-{path.replace('.', '-')}"] = added
            adapters.undo.append(lambda owner=owner, name=name, linear=linear: setattr(owner, name, linear))
    return adapters


def _mona(site: _Site, inner: int, flat: bool) -> Adapters:
    adapters = Adapters("mona", nn.ModuleDict())
    grid: list[tuple[int, int, int]] = []

    def remember(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        first, second, *third = (int(n) for n in output.shape[2:])
        grid[:] = [(first, second, third[0] if third else 1)]

    adapters.undo.append(site.stem.register_forward_hook(remember).remove)
    for index, block in enumerate(site.blocks):
        added = Mona(_width(block), inner=inner, flat=flat)

        def look(_module: nn.Module, _inputs: Any, output: torch.Tensor, added: Mona = added) -> torch.Tensor:
            ahead = site.ahead if site.ahead >= 0 else output.shape[1] - math.prod(grid[0])
            return added(output, grid[0], ahead)

        adapters.modules[str(index)] = added
        adapters.undo.append(block.register_forward_hook(look).remove)
    return adapters


def _width(block: nn.Module) -> int:
    norm = next(part for part in block.modules() if isinstance(part, nn.LayerNorm))
    return int(norm.normalized_shape[0])


def reset(encoder: nn.Module, *, seed: int) -> None:
    """Forget everything that was learned: weights of every layer drawn anew, as before any training.

    Weights that belong to no layer (learned positions, class tokens) become small random numbers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        done: set[int] = set()
        for module in encoder.modules():
            again = getattr(module, "reset_parameters", None)
            if callable(again):
                again()
                done |= {id(value) for value in module.parameters(recurse=False)}
        for value in encoder.parameters():
            if id(value) not in done:
                with torch.no_grad():
                    value.uniform_(-0.02, 0.02)
