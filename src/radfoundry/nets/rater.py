"""A small network that scores image quality from a few slices, told what the scan is and what it is for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from radfoundry import runs
from radfoundry.data.slice_pictures import Seen
from radfoundry.nets import weight_files
from radfoundry.records import InputError

FORMAT = "rater-1"
CHANNELS, MEASURES, PARAMETERS, SIDE = 6, 8, 9, 64
BEST = 100.0
SEQUENCES = ("T1w", "T2w", "PDw", "FLAIR", "T2star", "SWI", "DWI", "ADC", "MRA", "bSSFP", "ASL")
REGIONS = (
    "head",
    "spine",
    "knee",
    "hip",
    "wrist",
    "elbow",
    "thigh",
    "breast",
    "prostate",
    "pelvis",
    "abdomen",
    "chest",
)
PROBE_TOLERANCE = 0.05


@dataclass(frozen=True, eq=False)
class Rated:
    """What the network says of B series of S slices: score `(B,)` 0 to 100, physical parameters `(B, 9)` on the scale
    of `train.rating.standardised`, and salience `(B, S)`, how much each slice counted (rows sum to 1)."""

    score: torch.Tensor
    physics: torch.Tensor
    salience: torch.Tensor


@dataclass(frozen=True)
class Prompt:
    """What a scan is (sequence, region of the body) and what its images are for; anything may be unknown."""

    sequence: str | None = None
    region: str | None = None
    purpose: str | None = None


class Stage(nn.Module):
    """Fewer and wider places, then a residual convolution; the prompt is added before it."""

    def __init__(self, incoming: int, outgoing: int, prompt: int, *, step: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(incoming, outgoing, step, stride=step)
        self.told = nn.Linear(prompt, outgoing)
        self.mix = nn.Conv2d(outgoing, outgoing, 3, padding=1)

    def forward(self, x: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """`(N, incoming, H, W)` and `(N, P)` to `(N, outgoing, H / step, W / step)`."""
        x = nn.functional.gelu(self.down(x) + self.told(prompt)[:, :, None, None])
        return nn.functional.gelu(x + self.mix(x))


class Rater(nn.Module):
    """Slices to one score: every slice is scored on its own and counts by its salience.

    After MedIQA (Xun et al. 2025, arXiv 2507.19004), small enough for a CPU: convolutions instead of a vision
    transformer, the prompt as words instead of one number in 64, salience learned from scores of whole series, and
    the reference-free measures of every slice read beside its picture.
    With `salient` false all slices count alike (the ablation). `purposes` are what scores were given for.
    """

    def __init__(self, *, purposes: Sequence[str] = (), width: int = 16, salient: bool = True) -> None:
        super().__init__()
        self.purposes = tuple(purposes)
        self.options: dict[str, Any] = {"purposes": list(self.purposes), "width": width, "salient": salient}
        told = 16
        self.sequence = nn.Embedding(len(SEQUENCES) + 1, told)
        self.region = nn.Embedding(len(REGIONS) + 1, told)
        self.purpose = nn.Embedding(len(self.purposes) + 1, told)
        self.stages = nn.ModuleList([Stage(CHANNELS, width, told, step=4), Stage(width, 2 * width, told, step=2)])
        places = (SIDE // 8) ** 2
        # Where something lies counts too: shading across the field, fold-over at its edge, the ends of the spectrum.
        self.slice = nn.Sequential(nn.Linear((places + 2) * 2 * width + 3 * CHANNELS, 48), nn.GELU())
        self.measured = nn.Sequential(nn.Linear(MEASURES + told, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU())
        self.physics = nn.Linear(80, PARAMETERS)
        self.joined = nn.Sequential(nn.Linear(80 + told, 32), nn.GELU())
        self.score = nn.Linear(32, 1)
        self.weight = nn.Linear(80, 1)
        for table in (self.sequence, self.region, self.purpose):
            nn.init.normal_(table.weight, std=0.3)
        nn.init.zeros_(self.weight.weight)

    def forward(self, pictures: torch.Tensor, measures: torch.Tensor, words: torch.Tensor) -> Rated:
        """Score `(B, S, 6, 64, 64)` pictures with their `(B, S, 8)` measures (`data.slice_pictures`).

        words: `(B, 3)` numbers of sequence, region and purpose, 0 for unknown.
        """
        batch, slices = pictures.shape[:2]
        # The purpose is told to the score alone: what a slice looks like does not depend on what it is for.
        told = (self.sequence(words[:, 0]) + self.region(words[:, 1])).repeat_interleave(slices, dim=0)
        x = pictures.flatten(0, 1).float()
        plain = torch.cat([x.mean(dim=(2, 3)), x.std(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        for stage in self.stages:
            x = stage(x, told)
        pooled = torch.cat([x.flatten(1), x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        drawn = self.slice(torch.cat([pooled, plain], dim=1))
        read = self.measured(torch.cat([measures.flatten(0, 1).float(), told], dim=1))
        features = torch.cat([drawn, read], dim=1).reshape(batch, slices, -1)
        weight = torch.sigmoid(self.weight(features)[..., 0])
        if not self.options["salient"]:
            weight = torch.ones_like(weight)
        salience = weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-6)
        purpose = self.purpose(words[:, 2])[:, None].expand(-1, slices, -1)
        marks = self.score(self.joined(torch.cat([features, purpose], dim=2)))[..., 0]
        score = BEST * torch.sigmoid((marks * salience).sum(dim=1))
        return Rated(score, (self.physics(features) * salience[..., None]).sum(dim=1), salience)

    def words(self, prompts: Sequence[Prompt]) -> torch.Tensor:
        """`(B, 3)` numbers of what is said of each scan; words never learned are as unknown."""
        tables = (SEQUENCES, REGIONS, self.purposes)
        said = [(item.sequence, item.region, item.purpose) for item in prompts]
        return torch.tensor(
            [[_number(word, table) for word, table in zip(row, tables, strict=True)] for row in said], dtype=torch.long
        ).reshape(-1, 3)


def _number(word: str | None, table: Sequence[str]) -> int:
    return table.index(word) + 1 if word in table else 0


def region_word(body_part: str | None) -> str | None:
    """The region of a prompt from the header's body part.

    >>> region_word("LSPINE"), region_word("BRAIN"), region_word(None)
    ('spine', 'head', None)
    """
    text = (body_part or "").lower()
    alike = {"brain": "head", "skull": "head", "rectum": "pelvis", "liver": "abdomen", "leg": "thigh"}
    for word in (*alike, *REGIONS):
        if word in text:
            return alike.get(word, word)
    return None


def build(*, purposes: Sequence[str] = (), width: int = 16, salient: bool = True, seed: int = 0) -> Rater:
    """A rater with fresh weights drawn from a seed.

    >>> rater = build(purposes=("reading",))
    >>> words = rater.words([Prompt("T1w"), Prompt(purpose="reading")])
    >>> out = rater(torch.zeros(2, 7, 6, 64, 64), torch.zeros(2, 7, 8), words)
    >>> tuple(out.score.shape), tuple(out.salience.shape)
    ((2,), (2, 7))
    """
    if not 4 <= width <= 128:
        raise InputError(f"width {width} of a rater is not from 4 to 128")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Rater(purposes=tuple(purposes), width=width, salient=salient)


@dataclass(frozen=True, eq=False)
class TrainedRater:
    """A rater with what is known of its doubt: for every purpose the half width that held 95 % of scans not learned
    from, and a sentence on who scored what."""

    net: Rater
    half_widths: Mapping[str, float]
    about: str = ""

    @torch.no_grad()
    def rate(self, seen: Seen, prompt: Prompt) -> tuple[float, np.ndarray]:
        """The score, 0 to 100, of one series, and how much each of its slices counted."""
        pictures, measures = (torch.from_numpy(part)[None] for part in (seen.pictures, seen.measures))
        said = self.net(pictures, measures, self.net.words([prompt]))
        return float(said.score[0]), said.salience[0].numpy()


def save(rater: TrainedRater, path: str | Path) -> None:
    """Weights, options, doubt and the answer to a fixed probe in one safetensors file; whole or not at all."""
    weights = {name: value.detach().cpu().half().contiguous() for name, value in rater.net.state_dict().items()}
    kept = build(**rater.net.options)
    kept.load_state_dict({name: value.float() for name, value in weights.items()})
    about = {
        "format": FORMAT,
        "options": json.dumps(rater.net.options),
        "half_widths": json.dumps(dict(rater.half_widths), sort_keys=True),
        "about": rater.about,
        "probe": json.dumps(_probe(kept)),
    }
    with runs.atomic(path) as partial:
        weight_files.write(weights, partial, about=about)


def load(path: str | Path) -> TrainedRater:
    """The rater in a file written by `save`.

    Refuses other files, weights that do not fit, and weights that answer the stored probe otherwise.
    """
    about, weights = weight_files.read(path)
    if about.get("format") != FORMAT:
        raise InputError("holds no rater", where=str(path), remedy="give a rater.safetensors of radfoundry rate")
    try:
        options, half_widths = json.loads(about["options"]), json.loads(about["half_widths"])
        stored = [float(value) for value in json.loads(about["probe"])]
        net = build(
            purposes=[str(word) for word in options["purposes"]],
            width=int(options["width"]),
            salient=bool(options["salient"]),
        )
        widths = {str(name): float(value) for name, value in half_widths.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError("its description is damaged", where=str(path), remedy="get the file again") from None
    wanted = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    if wanted != {name: tuple(value.shape) for name, value in weights.items()}:
        raise InputError("its weights do not fit a rater", where=str(path), remedy="get the file again")
    net.load_state_dict({name: value.float() for name, value in weights.items()})
    if not np.allclose(_probe(net), stored, atol=PROBE_TOLERANCE):
        raise InputError("it does not answer the probe as when it was saved", where=str(path), finding="probe")
    return TrainedRater(net.eval(), widths, about.get("about", ""))


@torch.no_grad()
def _probe(net: Rater) -> list[float]:
    """Scores of two fixed pictures under every purpose."""
    wave = torch.sin(torch.arange(2 * 3 * CHANNELS * 64 * 64, dtype=torch.float32) * 0.37).reshape(
        2, 3, CHANNELS, 64, 64
    )
    facts = torch.linspace(-1, 1, MEASURES).expand(2, 3, MEASURES)
    said = [net(wave, facts, net.words([Prompt("T1w", "head", word)] * 2)).score for word in (None, *net.purposes)]
    return [round(float(value), 3) for value in torch.cat(said)]
