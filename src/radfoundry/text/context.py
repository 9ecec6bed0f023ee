"""What the words around a finding make of it: denied, doubted, of the past, on which side and where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from radfoundry.text.ontology import CUES, Cue, Ontology

STEP_COST = 30  # a comma or "and" between a finding and a side counts as so many characters


@dataclass(frozen=True)
class Scope:
    """Characters `[start, end)` of a sentence on which one cue acts, and the words of the cue.

    A cue that acts on what follows may share words with a finding ("no large effusion"), so its scope begins with it.
    """

    kind: str
    start: int
    end: int
    cue: str


@dataclass(frozen=True)
class Size:
    """A length in a sentence, in mm."""

    start: int
    end: int
    size_mm: float


SIZE = re.compile(
    r"(?P<size>\d+(?:\.\d+)?)(?:\s*(?:x|by)\s*(?P<second>\d+(?:\.\d+)?))?"
    r"(?:\s*(?:x|by)\s*(?P<third>\d+(?:\.\d+)?))?\s*(?P<unit>mm|cm)\b",
    re.IGNORECASE,
)


def scopes(sentence: str, ontology: Ontology) -> tuple[Scope, ...]:
    """Where each cue of a sentence acts: to the next end of a statement on its side.

    A cue reaches forward over a list ("no effusion, consolidation or mass") but not beyond an end such as "but".
    Words that only look like a cue ("no change in") act on nothing. Source: NegEx (Chapman et al. 2001).
    """
    ends = [(found.start(), found.end()) for found in ontology.ends.finditer(sentence)]
    found: list[Scope] = []
    for kind in CUES:
        found += _of_kind(sentence, kind, ontology.cues[kind], ends)
    return tuple(found)


def _of_kind(sentence: str, kind: str, cue: Cue, ends: list[tuple[int, int]]) -> list[Scope]:
    looks = [(item.start(), item.end()) for item in cue.pseudo.finditer(sentence)] if cue.pseudo else []

    def real(item: re.Match[str]) -> bool:
        return not any(start <= item.start() < end for start, end in looks)

    found = []
    for item in filter(real, cue.before.finditer(sentence)):
        stop = min((start for start, _ in ends if start >= item.end()), default=len(sentence))
        found.append(Scope(kind, item.start(), stop, item.group()))
    for item in filter(real, cue.after.finditer(sentence)) if cue.after else ():
        begin = max((end for start, end in ends if end <= item.start() and start < item.start()), default=0)
        found.append(Scope(kind, begin, item.start(), item.group()))
    return found


def acting(found: tuple[Scope, ...], start: int, end: int) -> dict[str, str]:
    """Kind of cue -> its words, for the cues that act on the characters `[start, end)`."""
    return {item.kind: item.cue for item in reversed(found) if item.start <= start and end <= item.end}


def nearest(sentence: str, start: int, end: int, words: Mapping[str, re.Pattern[str]], *, reach: int = 90) -> str:
    """Which of some named words stands nearest to the characters `[start, end)`; empty when none is near.

    A comma, a semicolon or "and" in between makes a word stand further off, so that "left effusion, nodule on the
    right" gives each its own side. Words inside the span itself come first.
    """
    best, least = "", float(reach)
    for name, pattern in words.items():
        for item in pattern.finditer(sentence):
            inside = item.start() >= start and item.end() <= end
            low, high = (item.end(), start) if item.start() < start else (end, item.start())
            between = sentence[low:high] if high > low else ""
            steps = between.count(",") + between.count(";") * 3 + len(re.findall(r"\band\b", between))
            cost = -1.0 if inside else max(high - low, 0) + STEP_COST * steps + (5 if item.start() >= end else 0)
            if cost < least:
                best, least = name, cost
    return best


def size_near(sentence: str, start: int, end: int, *, reach: int = 45) -> float | None:
    """The largest length stated beside the characters `[start, end)` in the same statement, in mm, or None."""
    best: float | None = None
    least = reach
    for item in SIZE.finditer(sentence):
        distance = max(item.start() - end, start - item.end(), 0)
        between = sentence[min(end, item.end()) : max(start, item.start())]
        if distance < least and not re.search(r";|\b(?:and|but)\b", between):
            parts = [float(item[name]) for name in ("size", "second", "third") if item[name]]
            best, least = max(parts) * (10.0 if item["unit"].lower() == "cm" else 1.0), distance
    return best
