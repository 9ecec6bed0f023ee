"""From an encoder to a mask: maps of its features at every depth, and a light decoder that also sees the image."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from radfoundry.nets import adapters
from radfoundry.nets.decoders_blocks import MultiBlockDecoder
from radfoundry.nets.encoder_maps import Sizes, maps_of
from radfoundry.nets.unet import Step, UNet
from radfoundry.records import InputError

RUNGS = ("frozen", "adapter", "full")


class LightDecoder(nn.Module):
    """A small U-Net on the image into which the encoder's maps are mixed at the level of their own resolution.

    The image comes in by the shortcuts, so that edges finer than the encoder's places are not lost.
    """

    def __init__(self, sizes: Sizes, examples: Sequence[torch.Tensor], shape: Sequence[int]) -> None:
        super().__init__()
        self.levels = [_level(example, shape, sizes) for example in examples]
        features = [0] * len(sizes.widths)
        for level, example in zip(self.levels, examples, strict=True):
            features[level] += int(example.shape[1])
        self.norms = nn.ModuleList(nn.GroupNorm(1, int(example.shape[1])) for example in examples)
        self.net = UNet(
            channels=sizes.channels,
            classes=sizes.classes,
            widths=sizes.widths,
            strides=sizes.strides,
            fold=sizes.fold,
            features=features,
        )

    def forward(self, x: torch.Tensor, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Image (batch, channels, I, J, K) and maps to scores (batch, classes, I, J, K)."""
        given: list[torch.Tensor | None] = [None] * len(self.net.down)
        for level, norm, found in zip(self.levels, self.norms, maps, strict=True):
            new = norm(found)
            before = given[level]
            given[level] = new if before is None else torch.cat([before, new], dim=1)
        return self.net(x, given)


def _level(example: torch.Tensor, shape: Sequence[int], sizes: Sizes) -> int:
    """The level whose resolution is nearest to a map's."""
    place = math.log2(max(1.0, int(shape[0]) / int(example.shape[2])))
    steps = [math.log2(sizes.fold[0])]
    for stride in sizes.strides:
        steps.append(steps[-1] + math.log2(stride[0]))
    return min(range(len(steps)), key=lambda level: abs(steps[level] - place))


class Segmenter(nn.Module):
    """An encoder on one of its rungs with a decoder on top; `encoder` None is a U-Net on its own."""

    def __init__(self, encoder: Any, decoder: nn.Module, *, rung: str, added: adapters.Adapters | None = None) -> None:
        super().__init__()
        self.rung, self.decoder, self.added = rung, decoder, added
        # A frozen encoder is not a part of what is trained or saved.
        self.held = [encoder]
        self.own = encoder if rung == "full" and isinstance(encoder, nn.Module) else None

    @property
    def multiple(self) -> Step:
        """What every side of the image has to be a multiple of."""
        return self.decoder.net.multiple if hasattr(self.decoder, "net") else self.decoder.multiple  # ty: ignore

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, I, J, K) to scores (batch, classes, I, J, K)."""
        encoder = self.held[0]
        if encoder is None:
            return self.decoder(x)
        frozen = self.rung == "frozen"
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            maps = self.maps(encoder, x)
        return self.decoder(x, maps)

    def maps(self, encoder: Any, x: torch.Tensor) -> list[torch.Tensor]:
        """The encoder's maps as this decoder wants them."""
        wanted = getattr(self.decoder, "block_maps", None)
        return maps_of(encoder, x) if wanted is None else wanted(encoder, x)

    def groups(self, rate: float, share: float) -> list[dict[str, Any]]:
        """What learns and how fast: the decoder at `rate`, adapters too, the encoder at a share of it."""
        found: list[dict[str, Any]] = [{"params": list(self.decoder.parameters()), "lr": rate}]
        if self.added is not None:
            found.append({"params": list(self.added.parameters()), "lr": rate})
        elif self.own is not None:
            found.append({"params": list(self.own.parameters()), "lr": rate * share})
        return found

    def state(self) -> dict[str, torch.Tensor]:
        """All weights that differ from the encoder as given."""
        found = {f"decoder.{name}": value for name, value in self.decoder.state_dict().items()}
        if self.added is not None:
            found |= {f"added.{name}": value for name, value in self.added.state().items()}
        elif self.own is not None:
            found |= {f"encoder.{name}": value for name, value in self.own.state_dict().items()}
        return {name: value.detach().cpu().clone().contiguous() for name, value in found.items()}

    def restore(self, weights: dict[str, torch.Tensor]) -> None:
        """Put the weights of `state` back; refuses others."""
        parts: dict[str, dict[str, torch.Tensor]] = {"decoder": {}, "added": {}, "encoder": {}}
        for name, value in weights.items():
            owner, _, rest = name.partition(".")
            if owner not in parts:
                raise InputError(f"unknown weight {name!r}", where="segmenter", finding="damaged")
            parts[owner][rest] = value
        try:
            self.decoder.load_state_dict(parts["decoder"])
            if self.added is not None:
                self.added.load(parts["added"])
            elif self.own is not None:
                self.own.load_state_dict(parts["encoder"])
        except RuntimeError:
            raise InputError("the weights do not fit the plan", where="segmenter", finding="damaged") from None


def unet(sizes: Sizes, *, seed: int) -> Segmenter:
    """The comparator: a U-Net from scratch of the plan's sizes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = UNet(
            channels=sizes.channels,
            classes=sizes.classes,
            widths=sizes.widths,
            strides=sizes.strides,
            fold=sizes.fold,
        )
    return Segmenter(None, net, rung="scratch")


def segmenter(encoder: Any, sizes: Sizes, shape: Step, *, decoder: str, rung: str, seed: int) -> Segmenter:
    """An encoder with a fresh decoder (`light` or `multi-block`) for images of `shape`.

    The given encoder is not changed. Refuses the rungs that need weights for encoders that have none.
    """
    if rung not in RUNGS:
        raise InputError(f"rung {rung!r}", remedy=f"use one of {', '.join(RUNGS)}")
    trained = isinstance(encoder, nn.Module) and any(True for _ in encoder.parameters())
    if rung != "frozen" and not trained:
        raise InputError(f"{encoder.spec.name} has no weights to tune", remedy="use rung=frozen", finding="no-weights")
    own, added = encoder, None
    if rung != "frozen":
        own = copy.deepcopy(encoder)
        own.requires_grad_(True)
    if rung == "adapter":
        added = adapters.insert(own, "lora", seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = torch.zeros(1, sizes.channels, *shape)
        with torch.no_grad():
            if decoder == "multi-block":
                made: nn.Module = MultiBlockDecoder(sizes, own, probe)
            elif decoder == "light":
                made = LightDecoder(sizes, maps_of(own, probe), shape)
            else:
                raise InputError(f"decoder {decoder!r}", remedy="use head=light, multi-block or unet")
    return Segmenter(own, made, rung=rung, added=added)
