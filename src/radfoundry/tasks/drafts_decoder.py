"""A decoder of drafts: it learns the finding sentences of reports from image features, and every sentence is traced.

What it writes is bound to the finding heads: a sentence stays only when each finding in it was learned and is as sure
as the floor asks. Only sentences in which the rules read a finding teach it, so that names, dates and histories cannot
be learned by heart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.records import InputError, counted
from radfoundry.tasks.drafts import AT, Draft, Said, refusal
from radfoundry.text import tokens
from radfoundry.text.compare import rolled_up
from radfoundry.text.findings import Mention, read
from radfoundry.text.ontology import load as ontology

DECODER = "decoder.safetensors"
TOKENS = 512
FORMAT = 1


@dataclass(frozen=True)
class Options:
    """How a decoder learns and writes: optimiser steps, beam (1 is greedy), most tokens of a draft, and the seed."""

    steps: int = 300
    beam: int = 1
    length: int = 96
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Writer:
    """A fitted decoder with its tokeniser and the scale of the image features it reads."""

    net: Any
    tokeniser: tokens.Tokeniser
    mean: np.ndarray
    spread: np.ndarray
    beam: int = 1

    def write(self, features: np.ndarray) -> list[str]:
        """One text an image from `(n, width)` features, as the decoder says it: nothing is checked yet."""
        import torch

        from radfoundry.nets import report_decoder

        scaled = torch.from_numpy(((np.asarray(features) - self.mean) / self.spread).astype(np.float32))
        return [self.tokeniser.decode(row).strip() for row in report_decoder.write(self.net, scaled, beam=self.beam)]


def teachable(text: str, *, region: str = "") -> str:
    """The sentences of a report that state a finding of this examination, each finding once.

    >>> teachable("HISTORY: Mr Smith fell. FINDINGS: No fracture. Seen with Dr Jones. IMPRESSION: No fracture.")
    'No fracture.'
    """
    kept: list[str] = []
    known: set[tuple[str, str, str]] = set()
    for sentence, mentions in _by_sentence(text, region):
        new = {(item.finding, item.state, item.side) for item in mentions} - known
        if new:
            known |= new
            kept.append(sentence)
    return " ".join(kept)


def _by_sentence(text: str, region: str) -> list[tuple[str, list[Mention]]]:
    """The sentences that speak of a finding of today, with what they say of it, in order."""
    found: dict[int, tuple[str, list[Mention]]] = {}
    for mention in read(text, region=region) if text.strip() else ():
        if mention.counts:
            found.setdefault(mention.sentence.start, (mention.sentence.text, []))[1].append(mention)
    return [found[start] for start in sorted(found)]


def fit(features: np.ndarray, texts: Sequence[str], options: Options | None = None) -> Writer:
    """Learn to write texts `(n,)` from image features `(n, width)`; the tokeniser is learned from the same texts.

    Refuses fewer than two texts, and texts of which none says anything.
    """
    import torch

    from radfoundry.nets import report_decoder

    asked = options or Options()
    if len(texts) != len(features) or len(texts) < 2 or not any(text.strip() for text in texts):
        raise InputError(
            f"{counted(sum(bool(text.strip()) for text in texts), 'report')} with a finding for {len(features)} images",
            remedy="a decoder needs at least two reports, and findings in them",
            finding="too-few",
        )
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    tokeniser = tokens.train(list(texts), size=TOKENS)
    longest = max(len(tokeniser.encode(text).numbers) for text in texts) + 2
    length = min(asked.length, longest)
    words = torch.tensor([tokeniser.padded(text, length + 1) for text in texts])
    images = torch.from_numpy(((features - mean) / spread).astype(np.float32))
    net = report_decoder.small(vocabulary=tokeniser.size, features=features.shape[1], length=length, seed=asked.seed)
    report_decoder.train(net, images, words, steps=asked.steps, seed=asked.seed)
    return Writer(net, tokeniser, mean, spread, asked.beam)


def traced(text: str, columns: Sequence[str], chances: np.ndarray, *, floor: float, region: str = "") -> Draft:
    """A decoder's text as a draft: sentences that the finding heads bear out, each with what it stands on.

    columns, chances: as `Taught.columns`, one calibrated chance each. A sentence is struck when it names a finding that
    was not learned, doubts one, or states it (or its side) with less confidence than the floor; one that says nothing
    new is left out. Findings that are too uncertain are left open, and the draft is withheld, as in `drafts.template`.

    >>> made = traced("Effusion is seen. No mass.", ["pleural-effusion"], np.array([0.9]), floor=0.6)
    >>> [item.finding for item in made.sentences], made.struck
    (['pleural-effusion'], ('No mass.',))
    """
    by_name = dict(zip(columns, np.asarray(chances, float), strict=True))
    said: list[Said] = []
    struck: list[str] = []
    for sentence, mentions in _by_sentence(text, region):
        stands = [_stands_on(sentence, item, by_name) for item in mentions]
        sure = [item for item in stands if item is not None and item.confidence >= floor]
        if len(sure) < len(mentions):
            struck.append(sentence)
        elif not {_said(item) for item in sure} <= {_said(item) for item in said}:
            said += sure
    names = [name for name in columns if AT not in name]
    left = {name: round(float(by_name[name]), 4) for name in names if max(by_name[name], 1 - by_name[name]) < floor}
    return Draft(tuple(said), left, refusal(said, left, floor), tuple(struck))


def _said(item: Said) -> tuple[str, str, str]:
    return item.finding, item.state, item.side


def _stands_on(sentence: str, mention: Mention, chances: Mapping[str, float]) -> Said | None:
    """The finding behind a mention and how sure it is, or None when it was not learned or is only doubted."""
    name = next(iter(rolled_up({mention.finding})))
    if name not in chances or mention.state == "uncertain":
        return None
    there = mention.state == "present"
    confidence = chances[name] if there else 1 - chances[name]
    sides = {"": (), "bilateral": ("left", "right")}.get(mention.side, (mention.side,)) if there else ()
    for side in sides:
        confidence = min(confidence, chances.get(f"{name}{AT}{side}", 0.0) / max(chances[name], 1e-9))
    state, region = mention.state, ontology().findings[name].region
    return Said(sentence, name, state, mention.side if there else "", region, round(float(confidence), 4))


def save(writer: Writer, folder: Path) -> None:
    """Write a decoder into a folder: weights as safetensors, merges and scale as its JSON metadata."""
    from safetensors.numpy import save_file

    net = writer.net
    about = {
        "format": FORMAT,
        "sizes": {name: getattr(net, name) for name in ("vocabulary", "features", "width", "depth", "length")},
        "merges": writer.tokeniser.merges,
        "beam": writer.beam,
    }
    arrays = {f"net.{name}": value.detach().numpy() for name, value in net.state_dict().items()}
    arrays |= {"mean": writer.mean, "spread": writer.spread}
    with runs.atomic(folder / DECODER) as partial:
        save_file(
            {name: np.ascontiguousarray(value) for name, value in arrays.items()},
            partial,
            metadata={"radfoundry": json.dumps(about, sort_keys=True)},
        )


def load(folder: Path) -> Writer:
    """The decoder that `save` wrote; refuses anything else."""
    import torch
    from safetensors import SafetensorError, safe_open

    from radfoundry.nets import report_decoder

    path = folder / DECODER
    try:
        with safe_open(str(path), framework="np") as handle:
            about = json.loads((handle.metadata() or {})["radfoundry"])
            arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        net = report_decoder.small(**about["sizes"])
        state = {name.removeprefix("net."): torch.from_numpy(value) for name, value in arrays.items() if "net." in name}
        net.load_state_dict(state)
        return Writer(net, tokens.from_merges(about["merges"]), arrays["mean"], arrays["spread"], int(about["beam"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError, json.JSONDecodeError):
        raise InputError("not a decoder of drafts", where=str(path), finding="unreadable") from None
