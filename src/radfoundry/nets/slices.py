"""A volume read slice by slice: a 2D encoder looks at every slice, the volume is what it saw in all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from radfoundry import registry
from radfoundry.nets.conv import expect_channels
from radfoundry.records import Features, InputError


class SliceSet(nn.Module):
    """A 2D encoder over the slices of a volume; the volume is the mean and the maximum over its slices.

    Slices are cut along the third axis of `orientation`. The order of slices does not matter to the pooled vector;
    tokens are the inner encoder's places of every slice, so that where in the volume a place lies stays known.
    """

    def __init__(self, inner: Any, *, slices: int, options: dict[str, Any]) -> None:
        super().__init__()
        if inner.spec.dimensions != 2:
            raise InputError(f"{inner.spec.name} reads volumes", where="slices", remedy="name a 2D encoder")
        if slices < 1:
            raise InputError(f"{slices} slices", where="slices", remedy="give at least one")
        self.inner, self.options = inner, options
        spec, pixel = inner.spec, float(options["pixel_mm"])
        kept = {key: value for key, value in spec.options.items() if key != "fit"}
        self.spec = dataclasses.replace(
            spec,
            name=f"slices-{spec.name}",
            modality=("MR", "CT", "PT"),
            orientation=options["orientation"],
            spacing_mm=(pixel, pixel, float(options["slice_mm"])),
            shape=(*spec.shape[:2], slices),
            dimensions=3,
            width=2 * spec.width,
            options=kept,
        )

    def encode(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Features:
        """x: (batch, channels, I, J, K), any number K of slices; present: (batch, channels)."""
        expect_channels(x, self.spec)
        batch, count = len(x), x.shape[4]
        slices = x.permute(0, 4, 1, 2, 3).reshape(batch * count, *x.shape[1:4], 1)
        there = None if present is None else present.repeat_interleave(count, dim=0)
        seen = self.inner.encode(slices, there)
        each = seen.pooled.reshape(batch, count, -1)
        pooled = torch.cat([each.mean(dim=1), each.amax(dim=1)], dim=1)
        if seen.tokens is None or seen.grid is None:
            return Features(pooled=pooled)
        first, second = seen.grid[:2]
        tokens = seen.tokens.reshape(batch, count, first * second, -1).transpose(1, 2)
        return Features(pooled, tokens.reshape(batch, first * second * count, -1), (first, second, count))

    def forward(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Features:
        """The same as `encode`."""
        return self.encode(x, present)


def build(
    *,
    encoder: str = "vit2d-tiny",
    slices: int = 12,
    pixel_mm: float = 1.5,
    slice_mm: float = 6.0,
    orientation: str = "RAS",
    seed: int = 0,
) -> SliceSet:
    """A 2D encoder of the registry over `slices` slices of `slice_mm`, in pixels of `pixel_mm`, weights from `seed`.

    `orientation` decides what a slice is: RAS axial, RSA coronal, ASR sagittal.
    """
    if not (pixel_mm > 0 and slice_mm > 0):
        raise InputError(f"pixel_mm={pixel_mm} slice_mm={slice_mm}", where="slices", remedy="give sizes above 0")
    options = {"encoder": encoder, "slices": slices, "pixel_mm": pixel_mm, "slice_mm": slice_mm}
    inner = registry.build("encoders", encoder, seed=seed)
    return SliceSet(inner, slices=slices, options={**options, "orientation": orientation, "seed": seed}).eval()
