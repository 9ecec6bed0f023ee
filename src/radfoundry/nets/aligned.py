"""Images and reports in one space, as files: the text side of an encoder, its tokeniser, and how images meet it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from radfoundry import runs
from radfoundry.nets import checkpoint, sentences, text, weight_files
from radfoundry.records import InputError
from radfoundry.text.tokens import PAD, START, Tokeniser, from_merges

FILE = "text.safetensors"
FORMAT = "1"
OWN = "own"
PROBE_KEY = "golden_probe"
TOLERANCE = 1e-3
LARGEST = {"vocabulary": 200_000, "depth": 64, "length": 8192}
LARGEST_WIDTH = 16_384
PART = 16


@dataclass(frozen=True)
class Sizes:
    """Sizes of a text side: the image's pooled vector and token, the text encoder, and the common space.

    local, token: width of the space of places and concepts and of a token, 0 where none was learned.
    """

    pooled: int
    token: int
    vocabulary: int
    text_width: int
    depth: int
    length: int
    width: int
    local: int = 0


def projection(incoming: int, outgoing: int) -> nn.Sequential:
    """The two layers that carry an image's or a report's vector into the common space."""
    hidden = 2 * outgoing
    return nn.Sequential(nn.LayerNorm(incoming), nn.Linear(incoming, hidden), nn.GELU(), nn.Linear(hidden, outgoing))


class TextSide(nn.Module):
    """The text encoder, and the maps of image and report (and of place and word) into their common spaces.

    reader: `own`, or the frozen sentence encoder that reads (`nets.sentences`), whose weights stay where they are.
    """

    def __init__(self, sizes: Sizes, reader: str = OWN) -> None:
        super().__init__()
        self.sizes, self.reader = sizes, reader
        self.text: text.TextEncoder | sentences.Sentences = (
            text.small(vocabulary=sizes.vocabulary, width=sizes.text_width, depth=sizes.depth, length=sizes.length)
            if reader == OWN
            else sentences.Sentences(reader)
        )
        self.image = projection(sizes.pooled, sizes.width)
        self.report = projection(sizes.text_width, sizes.width)
        self.patch = projection(sizes.token, sizes.local) if sizes.local else None
        self.word = projection(sizes.text_width, sizes.local) if sizes.local else None

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """`(B, T)` token numbers to `(B, width)` of length 1."""
        return normalize(self.report(self.text.encode(words).pooled).float(), dim=1)


@dataclass(frozen=True, eq=False)
class Aligned:
    """An encoder with its text side: what an image shows and what a report says as vectors to compare by cosine."""

    encoder: Any
    side: TextSide
    tokeniser: Tokeniser

    @torch.no_grad()
    def seen(self, images: torch.Tensor) -> torch.Tensor:
        """`(N, 1, I, J, K)` prepared images to `(N, width)` of length 1."""
        return self.carried(torch.cat([self.encoder.encode(part).pooled for part in images.split(PART)]))

    @torch.no_grad()
    def carried(self, pooled: torch.Tensor) -> torch.Tensor:
        """Pooled features `(N, P)` of the encoder to `(N, width)` of length 1."""
        return normalize(self.side.image(pooled).float(), dim=1)

    @torch.no_grad()
    def said(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts to `(N, width)` of length 1; what is beyond the longest report it knows is cut off."""
        words = torch.tensor([self.tokeniser.padded(item, self.side.sizes.length) for item in texts])
        return torch.cat([self.side(_trimmed(part)) for part in words.split(4 * PART)])

    @torch.no_grad()
    def places(self, images: torch.Tensor, phrases: Sequence[str]) -> torch.Tensor:
        """`(N, phrases, i, j, k)`: how much every place of an image looks like a phrase (a cosine).

        Refuses a text side that learned nothing about places.
        """
        if self.side.patch is None or self.side.word is None:
            raise InputError("nothing aligns places and concepts here", remedy="pretrain with the objective concepts")
        words = torch.tensor([self.tokeniser.padded(item, self.side.sizes.length) for item in phrases])
        numbers = _trimmed(words)
        inside = ((numbers != PAD) & (numbers != START)).float()[:, :, None]
        tokens = self.side.word(self.side.text.encode(numbers).tokens)
        named = normalize((tokens * inside).sum(dim=1) / inside.sum(dim=1).clamp_min(1), dim=1)
        found = []
        for part in images.split(PART):
            features = self.encoder.encode(part)
            near = normalize(self.side.patch(features.tokens).float(), dim=2) @ named.T
            found.append(near.transpose(1, 2).reshape(len(part), len(phrases), *features.grid))
        return torch.cat(found)

    def relevance(self, images: torch.Tensor, phrase: str) -> torch.Tensor:
        """`(N, i, j, k)`: how much every place speaks for a phrase, by gradient times token; for any text side.

        The gradient of the cosine between image and phrase, times the token it belongs to, summed over features and
        cut at 0 (Selvaraju et al. 2017, without the mean over places). Refuses encoders whose pooled vector is not
        made from their tokens.
        """
        said = self.said([phrase])[0]
        found = []
        for part in images.split(PART):
            features = self.encoder.encode(part)
            near = normalize(self.side.image(features.pooled).float(), dim=1) @ said
            if not features.tokens.requires_grad:
                raise InputError("its weights are frozen", remedy="set requires_grad_(True) on the encoder")
            slope = torch.autograd.grad(near.sum(), features.tokens, allow_unused=True)[0]
            if slope is None:
                raise InputError(
                    f"encoder {self.encoder.spec.name} does not pool its tokens", remedy="choose another encoder"
                )
            value = (slope * features.tokens).sum(dim=2).clamp_min(0).detach()
            found.append(value.reshape(len(part), *features.grid))
        return torch.cat(found)


def _trimmed(words: torch.Tensor) -> torch.Tensor:
    """Token numbers without the columns that are empty in every row."""
    return words[:, : max(1, int((words != PAD).sum(dim=1).max()))]


def probe(side: TextSide) -> torch.Tensor:
    """What a text side makes of a fixed row of words and of an image vector of ones."""
    with torch.no_grad():
        words = torch.arange(START, min(side.sizes.vocabulary, side.sizes.length, 32))[None]
        parts = [side(words)[0], side.image(torch.linspace(-1, 1, side.sizes.pooled)[None])[0]]
        if side.patch is not None:
            parts.append(side.patch(torch.linspace(-1, 1, side.sizes.token)[None])[0])
    return torch.cat(parts).float()


def save(side: TextSide, tokeniser: Tokeniser, path: str | Path) -> None:
    """Write weights, sizes, tokeniser and a golden probe as one safetensors file, whole or not at all."""
    side = side.cpu().eval()
    weights = {name: value.detach().clone().contiguous() for name, value in side.state_dict().items()}
    weights[PROBE_KEY] = probe(side)
    about = {
        "format": FORMAT,
        "sizes": json.dumps(dataclasses.asdict(side.sizes)),
    }
    about |= {"merges": json.dumps(tokeniser.merges)} if side.reader == OWN else {"reader": side.reader}
    with runs.atomic(path) as partial:
        weight_files.write(weights, partial, about=about)


def load(path: str | Path) -> tuple[TextSide, Tokeniser]:
    """The text side and tokeniser of a file; refuses other files, sizes that do not fit, and a changed probe."""
    about, weights = weight_files.read(path)
    where = str(path)
    sizes, tokeniser = _described(about, where)
    stored, reader = weights.pop(PROBE_KEY, None), about.get("reader", OWN)
    if reader != OWN:
        sentences.Sentences(reader)  # read before the next line, where nothing gets numbers
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in TextSide(sizes, reader).state_dict().items()}
    if wanted != {name: tuple(value.shape) for name, value in weights.items()}:
        raise InputError(
            "its weights do not fit its sizes", where=where, remedy="get the file again", finding="weights"
        )
    side = TextSide(sizes, reader)
    side.load_state_dict(weights)
    side.eval()
    if stored is None or stored.shape != probe(side).shape or not torch.allclose(probe(side), stored, atol=TOLERANCE):
        raise InputError(
            "the golden probe does not give the stored vectors",
            where=where,
            remedy="the weights or the code changed since it was saved; get the file again",
            finding="probe",
        )
    return side, tokeniser


def _described(about: dict[str, str], where: str) -> tuple[Sizes, Tokeniser]:
    try:
        if about["format"] != FORMAT:
            raise ValueError("another format")
        values = json.loads(about["sizes"])
        sizes = Sizes(**{name: int(value) for name, value in values.items()})
        for name, value in dataclasses.asdict(sizes).items():
            least = 0 if name in ("local", "token") else 1
            if not least <= value <= LARGEST.get(name, LARGEST_WIDTH):
                raise ValueError(f"{name} is {value}")
        reader = about.get("reader", OWN)
        tokeniser: Any = from_merges(json.loads(about["merges"])) if reader == OWN else sentences.WordPieces(reader)
        if tokeniser.size != sizes.vocabulary:
            raise ValueError("tokeniser and vocabulary differ")
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        detail = " ".join(str(error).split())[:100]
        raise InputError(f"no text side inside ({detail})", where=where, remedy="get the file again") from None
    return sizes, tokeniser


def beside(encoder_file: str | Path) -> Path:
    """Where the text side of an encoder's checkpoint lies."""
    return Path(encoder_file).with_name(FILE)


def open_aligned(encoder_file: str | Path) -> Aligned:
    """An encoder's checkpoint with the text side that was saved beside it.

    Refuses a name that is no checkpoint, a checkpoint without a text side, and one of another encoder's width.
    """
    if not str(encoder_file).endswith(".safetensors"):
        raise InputError(
            "has no text side",
            where=f"encoder {encoder_file}",
            remedy="give an encoder.safetensors that pretrain wrote with reports=true",
            finding="no-text",
        )
    place = beside(encoder_file)
    if not place.is_file():
        raise InputError(
            f"no {FILE} lies beside it",
            where=str(encoder_file),
            remedy="pretrain with reports=true and the objective align",
            finding="no-text",
        )
    encoder = checkpoint.load(encoder_file)
    side, tokeniser = load(place)
    if checkpoint.embed_probe(encoder).shape[0] != side.sizes.pooled:
        raise InputError(
            "text side and encoder are not of one run", where=str(place), remedy="get both files again", finding="width"
        )
    return Aligned(encoder, side, tokeniser)
