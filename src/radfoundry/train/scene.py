"""What an objective sees of a training step: the batch, the encoder, and features that objectives share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from radfoundry.nets.acquisition import NUMBERS, nothing_stated
from radfoundry.records import Features, InputError
from radfoundry.train import draws
from radfoundry.train.batches import Batch
from radfoundry.train.views import seen_from

Terms = dict[str, torch.Tensor]
# The header fields behind `Batch.settings`, in its order; the first three are logarithms there.
SETTINGS_FIELDS = ("repetition_time_ms", "echo_time_ms", "inversion_time_ms", "flip_angle_deg", "field_strength_t")
HEADER_LEFT_OUT = 0.5


@dataclass(frozen=True)
class Shapes:
    """What an encoder makes of one training crop: sizes that heads are built for.

    pooled, width: lengths of the pooled vector and of a token · grid of places · crop `(I, J, K)` voxels · views of
    every patient · protocols the sequences are numbered by · vocabulary: how many tokens reports use (0: no reports) ·
    text_width: length of a report's vector · findings: how many are labelled · sites: how many are numbered ·
    quality: how many measures of quality are known.
    """

    pooled: int
    width: int
    grid: tuple[int, int, int]
    crop: tuple[int, int, int]
    views: int = 2
    protocols: int = 0
    vocabulary: int = 0
    text_width: int = 0
    findings: int = 0
    sites: int = 0
    quality: int = 0

    @property
    def places(self) -> int:
        """How many tokens there are."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    @property
    def patch_voxels(self) -> int:
        """How many voxels one token stands for."""
        return self.crop[0] * self.crop[1] * self.crop[2] // self.places


@dataclass(eq=False)
class Scene:
    """One micro-batch in front of one encoder. Rows are images: patient after patient, view after view."""

    batch: Batch
    encoder: Any
    seed: int
    progress: float = 0.0
    text: Any = None

    @property
    def views(self) -> int:
        """Images of every patient."""
        return self.batch.views

    @cached_property
    def images(self) -> torch.Tensor:
        """`(rows, 1, I, J, K)`."""
        return self.batch.images.flatten(0, 1)[:, None]

    @cached_property
    def targets(self) -> torch.Tensor:
        """`(rows, I, J, K)` what decoders have to give: every image with mean 0 and spread 1 over the whole crop.

        The encoder's own scale puts air far below tissue, and a decoder would learn nothing but air.
        """
        images = self.images[:, 0].float()
        mean, spread = images.mean(dim=(1, 2, 3), keepdim=True), images.std(dim=(1, 2, 3), keepdim=True)
        return (images - mean) / spread.clamp_min(1e-6)

    @cached_property
    def row(self) -> torch.Tensor:
        """`(rows,)` a number no other image of the run has."""
        view = torch.arange(self.views, device=self.batch.case.device)
        return (self.batch.case[:, None] * self.views + view).flatten()

    @cached_property
    def clean(self) -> Features:
        """The features of the images as they are, computed once for all objectives."""
        if getattr(self.encoder, "acquisition", None) is None:
            return self.encoder.encode(self.images)
        return self.encoder.encode(self.images, acquisition=self.header)

    @cached_property
    def header(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Numbers and categories of the sequences' settings, each left out in half of the images.

        So the encoder learns to do without any of them; what the objectives encode themselves has no header at all.
        """
        numbers, categories = nothing_stated(len(self.row), self.images.device)
        if self.batch.settings is None:
            return numbers, categories
        settings = self.batch.settings.flatten(0, 1)
        stated = torch.cat([settings[:, :3].exp(), settings[:, 3:]], dim=1)
        kept = (settings != 0) & (self.uniform(settings.shape[1], "header") > HEADER_LEFT_OUT)
        columns = [list(NUMBERS).index(name) for name in SETTINGS_FIELDS]
        numbers[:, columns] = torch.where(kept, stated, math.nan).to(numbers)
        return numbers, categories

    @cached_property
    def reading(self) -> Features:
        """The features of the patients' reports, one row per patient."""
        if self.text is None or self.batch.words is None:
            raise InputError("no reports are read here", where="objectives", remedy="set reports=true")
        return self.text.encode(self.batch.words)

    @cached_property
    def partner(self) -> torch.Tensor:
        """`(rows,)` for every image the row of its patient's next view."""
        rows = torch.arange(len(self.row), device=self.row.device).reshape(len(self.batch), self.views)
        return rows.roll(-1, dims=1).flatten()

    def partners_here(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """For every image, what its partner's map `(rows, C, i, j, k)` shows of the same places, and where it does.

        Where views cover the same box this is the partner's map as it is.
        """
        other = maps[self.partner]
        if self.batch.shift is None:
            return other, torch.ones_like(other[:, 0], dtype=torch.bool)
        shift = self.batch.shift.flatten(0, 1).float()
        cell = torch.tensor(self.images.shape[2:], device=maps.device) / torch.tensor(
            maps.shape[2:], device=maps.device
        )
        return seen_from(other, (shift - shift[self.partner]) / cell)

    def uniform(self, count: int, purpose: str) -> torch.Tensor:
        """`(rows, count)` random numbers in [0, 1) of each image."""
        return draws.uniform(self.row, count, seed=self.seed, purpose=purpose)

    def paired(self, values: torch.Tensor, first: int = 0, second: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows `(rows, …)` as those of one view and those of another, patient by patient."""
        apart = values.reshape(len(self.batch), self.views, *values.shape[1:])
        return apart[:, first], apart[:, second]


def require_trainable(encoder: Any) -> None:
    """Refuse what these objectives cannot train: encoders without weights or of several channels."""
    spec = encoder.spec
    if not isinstance(encoder, nn.Module) or spec.channels != 1:
        raise InputError(
            f"encoder {spec.name} cannot be pretrained here",
            remedy="choose an encoder with weights and one channel (radfoundry list encoders)",
            finding="encoder",
        )


def shapes_of(encoder: Any, crop: int, **facts: int) -> Shapes:
    """Encode one empty crop (or picture of that side) to see what comes out; refuses what cannot be trained."""
    require_trainable(encoder)
    spec = encoder.spec
    sides = (crop, crop, 1 if spec.dimensions == 2 else crop)
    device = next(encoder.parameters()).device
    with torch.no_grad():
        features = encoder.encode(torch.zeros(1, 1, *sides, device=device))
    if features.tokens is None or features.grid is None or len(features.grid) != 3:
        raise InputError(f"encoder {spec.name} gives no features per place", remedy="choose another", finding="encoder")
    (i, j, k) = features.grid
    return Shapes(features.pooled.shape[1], features.tokens.shape[2], (i, j, k), sides, **facts)


def as_map(tokens: torch.Tensor, grid: tuple[int, int, int]) -> torch.Tensor:
    """`(rows, places, D)` tokens as `(rows, D, i, j, k)`."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)


def perceptron(incoming: int, hidden: int, outgoing: int) -> nn.Sequential:
    """Two linear layers with a GELU between, the head most objectives use."""
    return nn.Sequential(nn.LayerNorm(incoming), nn.Linear(incoming, hidden), nn.GELU(), nn.Linear(hidden, outgoing))
