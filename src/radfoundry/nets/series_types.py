"""The classifier of series types: header tags and pixel features as tokens of one small transformer.

Every tag and every part of the pixel features may be missing; with neither it says that it does not know.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from radfoundry.data.header_tags import tags
from radfoundry.data.series_types import ANATOMIES, SEQUENCES
from radfoundry.nets import weight_files
from radfoundry.nets.series_pixels import PARTS, WIDTH
from radfoundry.records import InputError

WAVES = 6
LEVELS = 2 * WAVES + 4
LARGEST_DEVIATION = 5.0
HEADS: Mapping[str, int] = {"sequence": len(SEQUENCES), "anatomy": len(ANATOMIES), "agent": 2}
MODES = ("fused", "header", "pixels")  # what there is to judge by; each has temperatures of its own
WEIGHTS_FILE = Path(__file__).resolve().parent.parent / "weights" / "radfoundry-series.safetensors"


@dataclass(frozen=True, eq=False)
class Inputs:
    """A batch: numbers `(B, numbers)` with NaN where missing, words `(B, columns)`, stated `(B, words)`,
    pixels `(B, WIDTH)` and has_pixels `(B,)`."""

    numbers: torch.Tensor
    words: torch.Tensor
    stated: torch.Tensor
    pixels: torch.Tensor
    has_pixels: torch.Tensor

    @property
    def mode(self) -> torch.Tensor:
        """The index in MODES of every row: pixels and header, header alone, pixels alone."""
        has_header = (self.numbers.isfinite().sum(dim=1) + self.stated.sum(dim=1)) > 0
        return torch.where(self.has_pixels, torch.where(has_header, 0, 2), 1)


class SeriesNet(nn.Module):
    """Tokens of 36 tags and four parts of pixel features, three of its own to answer with, and a transformer."""

    units: torch.Tensor
    owner: torch.Tensor
    centre: torch.Tensor
    scale: torch.Tensor
    temperature: torch.Tensor

    def __init__(self, *, width: int = 64, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        known = tags()
        names = list(known.words)
        self.options = {"width": width, "depth": depth, "heads": heads}
        self.register_buffer("units", torch.tensor([unit for _, _, unit in known.numbers.values()]))
        self.register_buffer("owner", torch.tensor([names.index(tag) for tag, _ in known.columns]), persistent=False)
        self.register_buffer("centre", torch.zeros(WIDTH))
        self.register_buffer("scale", torch.ones(WIDTH))
        self.register_buffer("temperature", torch.ones(len(MODES), len(HEADS)))
        count = len(known.numbers)
        self.numbers = nn.Parameter(torch.randn(count, LEVELS, width) / math.sqrt(LEVELS))
        self.words = nn.Parameter(torch.randn(len(known.columns), width) * 0.5)
        self.tag_names = nn.Parameter(torch.randn(count + len(names), width) * 0.3)
        self.missing = nn.Parameter(torch.randn(count + len(names), width) * 0.3)
        self.parts = nn.ModuleList(nn.Linear(size, width) for size in PARTS.values())
        self.no_part = nn.Parameter(torch.randn(len(PARTS), width) * 0.3)
        self.asking = nn.Parameter(torch.randn(len(HEADS), width) * 0.3)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.after = nn.LayerNorm(width)
        self.answers = nn.ModuleList(nn.Linear(width, size) for size in HEADS.values())

    def forward(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Raw scores of every head, `(B, classes)`."""
        tokens = torch.cat([self._asking(inputs), self._header(inputs), self._pixels(inputs)], dim=1)
        said = self.after(self.body(tokens)[:, : len(HEADS)])
        return {name: self.answers[index](said[:, index]) for index, name in enumerate(HEADS)}

    def _asking(self, inputs: Inputs) -> torch.Tensor:
        return self.asking.expand(len(inputs.numbers), -1, -1)

    def _header(self, inputs: Inputs) -> torch.Tensor:
        known = inputs.numbers.isfinite()
        level = (torch.where(known, inputs.numbers, 0.0).clamp(0, 1e6) / self.units).log1p()[..., None]
        frequency = 2.0 ** torch.arange(WAVES, dtype=level.dtype) * (math.pi / 16)
        zero = (level == 0).to(level.dtype)
        waves = torch.cat(
            [
                torch.ones_like(level),
                zero,
                level / 4,
                (level / 4) ** 2,
                (level * frequency).sin(),
                (level * frequency).cos(),
            ],
            dim=-1,
        )
        numbers = torch.einsum("bnl,nlw->bnw", waves, self.numbers)
        empty = numbers.new_zeros(len(numbers), inputs.stated.shape[1], numbers.shape[2])
        words = empty.index_add(1, self.owner, inputs.words[:, :, None] * self.words)
        tokens = torch.cat([numbers, words], dim=1) + self.tag_names
        stated = torch.cat([known, inputs.stated], dim=1)[..., None]
        return torch.where(stated, tokens, self.missing.expand_as(tokens))

    def _pixels(self, inputs: Inputs) -> torch.Tensor:
        seen = ((inputs.pixels - self.centre) / self.scale).clamp(-LARGEST_DEVIATION, LARGEST_DEVIATION)
        pieces = seen.split(list(PARTS.values()), dim=1)
        tokens = torch.stack([part(piece) for part, piece in zip(self.parts, pieces, strict=True)], dim=1)
        return torch.where(inputs.has_pixels[:, None, None], tokens, self.no_part.expand_as(tokens))

    def probabilities(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Calibrated probabilities of every head: scores over the temperature of what there is to judge by."""
        scores = self.forward(inputs)
        temperature = self.temperature[inputs.mode]
        return {name: (scores[name] / temperature[:, index, None]).softmax(dim=1) for index, name in enumerate(HEADS)}


def as_inputs(
    numbers: np.ndarray, words: np.ndarray, stated: np.ndarray, pixels: np.ndarray, has_pixels: np.ndarray
) -> Inputs:
    """A batch from plain arrays."""
    return Inputs(
        torch.from_numpy(np.asarray(numbers, np.float32)),
        torch.from_numpy(np.asarray(words, np.float32)),
        torch.from_numpy(np.asarray(stated, bool)),
        torch.from_numpy(np.asarray(pixels, np.float32)),
        torch.from_numpy(np.asarray(has_pixels, bool)),
    )


def save(net: SeriesNet, path: str | Path, *, limits: Mapping[str, Any], card: Mapping[str, Any]) -> None:
    """Weights in half precision with the classes, the tags, the limits of abstention and a card; no pickle."""
    weights = {name: value.detach().to(torch.float16).contiguous() for name, value in net.state_dict().items()}
    about = {
        "format": "radfoundry-series/1",
        "net": json.dumps(net.options),
        "layout": layout(),
        "limits": json.dumps(limits),
    }
    weight_files.write(weights, Path(path), about=about)
    Path(path).with_suffix(".json").write_text(json.dumps(dict(card), indent=1) + "\n", encoding="utf-8")


def layout() -> str:
    """What the weights are tied to: classes, tags with their words, parts of the pixel features."""
    known = tags()
    tied = {
        "heads": dict(HEADS),
        "sequences": list(SEQUENCES),
        "anatomies": list(ANATOMIES),
        "numbers": list(known.numbers),
        "columns": [f"{tag}:{word}" for tag, word in known.columns],
        "parts": dict(PARTS),
    }
    return json.dumps(tied, sort_keys=True)


def load(path: str | Path = WEIGHTS_FILE) -> tuple[SeriesNet, dict[str, Any]]:
    """A network and its limits; refuses a file that is damaged or was made for other tags or classes."""
    try:
        with safe_open(path, framework="pt") as handle:
            about = handle.metadata() or {}
            weights = {name: handle.get_tensor(name).float() for name in handle.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"the weights cannot be read ({type(error).__name__})", where=str(path), remedy="reinstall radfoundry"
        ) from None
    if about.get("layout") != layout():
        raise InputError(
            "the weights were made for other tags or classes",
            where=str(path),
            remedy="train them again (docs/curate-types.md)",
            finding="weights",
        )
    net = SeriesNet(**json.loads(about["net"]))
    net.load_state_dict(weights)
    net.eval()
    return net, json.loads(about["limits"])


@functools.cache
def bundled() -> tuple[SeriesNet, dict[str, Any]]:
    """The classifier that ships with the package, read once in this process."""
    return load()
