"""Radiology reports written from the truth: findings with negation, doubt, side and size, each marked in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from radfoundry.records import InputError
from radfoundry.simulate.vocabulary import PHRASES, UNCOUNTABLE

STATES = ("present", "absent", "uncertain")


@dataclass(frozen=True)
class Statement:
    """One finding as a report should state it: `state` is one of STATES; side and size may be missing."""

    finding: str
    state: str = "present"
    side: str = ""
    size_mm: float | None = None
    prior_size_mm: float | None = None
    site: str = ""

    def __post_init__(self) -> None:
        if self.finding not in PHRASES:
            raise InputError(f"no words for the finding {self.finding!r}", remedy=f"known: {', '.join(PHRASES)}")
        if self.state not in STATES:
            raise InputError(f"unknown state {self.state!r}", remedy=f"one of {', '.join(STATES)}")


@dataclass(frozen=True)
class Span:
    """Where a report speaks of a finding: characters [start, end), and what is truly so."""

    start: int
    end: int
    finding: str
    state: str
    side: str = ""


@dataclass(frozen=True)
class Report:
    """A report with the findings it states and the places where it does; `errors` names what was made wrong."""

    text: str
    spans: tuple[Span, ...] = ()
    statements: tuple[Statement, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Style:
    """How a radiologist writes: which synonym they favour, how terse, and whether they list what is absent."""

    name: str = "plain"
    favourite: int = 0
    terse: bool = False
    names_absent: bool = True
    loyalty: float = 0.7


STYLES = (Style("plain"), Style("terse", 1, terse=True, names_absent=False), Style("thorough", 2))

PRESENT = (
    "There is {a} {what}{where}{size}.",
    "{What}{where}{size} is seen.",
    "Findings include {a} {what}{where}{size}.",
)
ABSENT = ("No {what}.", "There is no evidence of {a} {what}.", "{What} is not seen.")
UNCERTAIN = ("Possible {what}{where}.", "{What}{where} cannot be excluded.", "Findings may represent {what}{where}.")
COMPARED = (
    "previously {prior:.0f} mm",
    "{prior:.0f} mm on the prior examination",
    "compared with {prior:.0f} mm before",
)


def write_report(
    statements: Sequence[Statement],
    *,
    rng: np.random.Generator,
    style: Style = STYLES[0],
    technique: str = "",
    history: str = "",
    contradiction_rate: float = 0.0,
) -> Report:
    """A report with sections, whose every finding is stated as given and marked with its characters.

    `contradiction_rate` is the chance that the impression contradicts the findings (a side swapped, or a present
    finding denied); it is then named in `errors`, and the spans still say what is true.
    """
    builder = _Builder()
    if history:
        builder.add(f"CLINICAL INFORMATION: {history}\n")
    if technique:
        builder.add(f"TECHNIQUE: {technique}\n")
    builder.add("FINDINGS: ")
    stated = [item for item in statements if item.state != "absent" or style.names_absent]
    for statement in stated:
        _sentence(builder, statement, style, rng)
    if not any(item.state != "absent" for item in statements):
        builder.add("Otherwise unremarkable. " if stated else "Unremarkable examination. ")
    builder.add("\nIMPRESSION: ")
    errors: tuple[str, ...] = ()
    important = [item for item in statements if item.state == "present"]
    if important and rng.random() < contradiction_rate:
        errors = (_contradict(builder, important[0]),)
    else:
        _impression(builder, important, style, rng)
    builder.add("\n")
    return Report(builder.text, tuple(builder.spans), tuple(stated), errors)


class _Builder:
    """A text that grows, with the spans marked in it so far."""

    def __init__(self) -> None:
        self.text = ""
        self.spans: list[Span] = []

    def add(self, words: str) -> None:
        self.text += words

    def mark(self, sentence: str, phrase: str, statement: Statement) -> None:
        place = sentence.lower().index(phrase.lower())
        start = len(self.text) + place
        self.spans.append(Span(start, start + len(phrase), statement.finding, statement.state, statement.side))
        self.text += sentence


def _phrase(finding: str, style: Style, rng: np.random.Generator) -> str:
    choices = PHRASES[finding]
    if rng.random() < style.loyalty:
        return choices[style.favourite % len(choices)]
    return choices[int(rng.integers(len(choices)))]


def _sentence(builder: _Builder, statement: Statement, style: Style, rng: np.random.Generator) -> None:
    patterns = {"present": PRESENT, "absent": ABSENT, "uncertain": UNCERTAIN}[statement.state]
    pattern = patterns[1 if style.terse and statement.state == "present" else int(rng.integers(len(patterns)))]
    what = _phrase(statement.finding, style, rng)
    size = ""
    if statement.size_mm is not None:
        size = f" measuring {statement.size_mm:.0f} mm"
        if statement.prior_size_mm is not None:
            compared = COMPARED[int(rng.integers(len(COMPARED)))].format(prior=statement.prior_size_mm)
            size += f" ({compared})"
    article = "" if what in UNCOUNTABLE else ("an" if what[0] in "aeiou" else "a")
    where = _where(statement) if statement.state != "absent" else ""
    sentence = pattern.format(a=article, what=what, What=what[0].upper() + what[1:], where=where, size=size)
    builder.mark(sentence.replace("  ", " ") + " ", what, statement)


def _where(statement: Statement) -> str:
    """The place in words: a level (L4/L5), a structure, a side."""
    site = statement.site
    place = f" {'at' if site[0].isupper() or site[0].isdigit() else 'in the'} {site}" if site else ""
    if statement.side and statement.side not in site:
        place += f" on the {statement.side}"
    return place


def _impression(builder: _Builder, important: Sequence[Statement], style: Style, rng: np.random.Generator) -> None:
    if not important:
        builder.add("No significant abnormality.")
        return
    for number, statement in enumerate(important, start=1):
        what = _phrase(statement.finding, style, rng)
        where = f", {statement.side}" if statement.side else ""
        lead = f"{number}. " if len(important) > 1 else ""
        builder.mark(f"{lead}{what[0].upper()}{what[1:]}{where}. ", what, statement)


def _contradict(builder: _Builder, statement: Statement) -> str:
    """An impression that disagrees with the findings; gives the name of the error."""
    what = PHRASES[statement.finding][0]
    if statement.side in ("left", "right"):
        other = "left" if statement.side == "right" else "right"
        builder.add(f"{what[0].upper()}{what[1:]}, {other}.")
        return f"side-swapped:{statement.finding}"
    builder.add(f"No {what}.")
    return f"denied:{statement.finding}"


@dataclass(frozen=True)
class Draft:
    """A machine's draft beside the truth: what it left out and what it invented."""

    report: Report
    omitted: tuple[str, ...] = field(default=())
    invented: tuple[str, ...] = field(default=())


def draft_report(
    statements: Sequence[Statement],
    *,
    rng: np.random.Generator,
    omission_rate: float = 0.2,
    invention_rate: float = 0.02,
    vocabulary: Sequence[str] = tuple(PHRASES),
    style: Style = STYLES[0],
) -> Draft:
    """A draft that leaves out each present finding at one rate and adds each absent one at another.

    Omitted findings are not mentioned at all; inventions are stated as present. Refuses rates outside 0 to 1.
    """
    if not (0 <= omission_rate <= 1 and 0 <= invention_rate <= 1):
        raise InputError("omission and invention rates are shares from 0 to 1")
    kept, omitted = [], []
    for statement in statements:
        if statement.state == "present" and rng.random() < omission_rate:
            omitted.append(statement.finding)
        else:
            kept.append(statement)
    there = {item.finding for item in statements if item.state != "absent"}
    invented = [name for name in vocabulary if name not in there and rng.random() < invention_rate]
    kept = [item for item in kept if item.finding not in invented]
    kept += [replace(Statement(name), state="present") for name in invented]
    return Draft(write_report(kept, rng=rng, style=style), tuple(omitted), tuple(invented))
