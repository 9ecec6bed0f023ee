"""Sections and sentences of a report, each with the characters it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass

HEADERS = {
    "history": (
        r"clinical (?:information|history|indication|details)|history|indications?"
        r"|reason for (?:exam|examination|study)"
    ),
    "comparison": r"comparisons?|prior (?:studies|exams?)",
    "technique": r"techniques?|procedure|protocol|exam(?:ination)?(?: type)?|views?",
    "findings": r"findings?|report|observations?|description",
    "impression": r"impressions?|conclusions?|opinion|summary|assessment",
}
# A header begins a line, whatever its case, or stands in capitals anywhere; a colon ends it.
HEADER = re.compile(
    "|".join(
        rf"(?P<{name}>(?:^|(?<=\n))[ \t]*(?i:{words})[ \t]*:|\b(?:{words.replace('?:', '').upper()})[ \t]*:)"
        for name, words in HEADERS.items()
    )
)
# A sentence ends at a stop that is no decimal point and no abbreviation, and at a line that begins something new.
STOP = re.compile(r"(?<![\d])[.!?]+(?=\s|$|[A-Z])|(?<=\d)[.!?]+(?=\s+[A-Z]|\s*$|[A-Z])|\n(?=\s*(?:[A-Z\d•*-]|$))")
ABBREVIATION = re.compile(r"\b(?:dr|mr|mrs|ms|prof|vs|approx|e\.g|i\.e|fig|no|st|cf|etc)$", re.IGNORECASE)
NUMBERED = re.compile(r"^\s*\d{1,2}[.)]?$")
SPOKEN = ("findings", "impression", "")


@dataclass(frozen=True)
class Sentence:
    """One sentence: its characters `[start, end)` of the report, its text, and the section it stands in."""

    start: int
    end: int
    text: str
    section: str = ""

    @property
    def spoken(self) -> bool:
        """Whether it says what was seen, rather than why the patient came or how the images were made."""
        return self.section in SPOKEN


def split(text: str) -> tuple[Sentence, ...]:
    """The sentences of a report in order; `text[s.start:s.end] == s.text` for every one of them.

    >>> [(s.section, s.text) for s in split("INDICATION: cough.\\nFINDINGS: No mass. 1.5 cm node.")]
    [('history', 'cough.'), ('findings', 'No mass.'), ('findings', '1.5 cm node.')]
    """
    sentences: list[Sentence] = []
    for section, start, end in sections(text):
        begin = start
        for stop in STOP.finditer(text, start, end):
            piece = text[begin : stop.start()]
            if NUMBERED.match(piece) or (stop.group().startswith(".") and ABBREVIATION.search(piece)):
                continue
            sentences += _trimmed(text, begin, stop.end(), section)
            begin = stop.end()
        sentences += _trimmed(text, begin, end, section)
    return tuple(sentences)


def sections(text: str) -> tuple[tuple[str, int, int], ...]:
    """Name and characters of each section, without its header; what stands before the first header has no name."""
    marks = [(str(found.lastgroup), found.start(), found.end()) for found in HEADER.finditer(text)]
    starts = [("", 0, 0), *marks]
    ends = [mark[1] for mark in marks] + [len(text)]
    return tuple((name, after, end) for (name, _, after), end in zip(starts, ends, strict=True) if after < end)


def _trimmed(text: str, start: int, end: int, section: str) -> list[Sentence]:
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    inner = inner.strip()
    return [Sentence(start, start + len(inner), inner, section)] if any(map(str.isalnum, inner)) else []
