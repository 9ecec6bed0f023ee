"""Findings read from a report by rules: what is present, absent or doubted, where, and in which words.

Source of the ideas: NegEx (Chapman et al. 2001), ConText (Harkema et al. 2009), NegBio (Peng et al. 2018) and the
CheXpert labeler (Irvin et al. 2019); the words and the rules are this package's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from radfoundry.records import InputError
from radfoundry.text import context, language
from radfoundry.text.ontology import ANY, Ontology, load
from radfoundry.text.sentences import Sentence, split

STATES = ("present", "uncertain", "absent")
NOW, PAST, HYPOTHETICAL = "now", "past", "hypothetical"


@dataclass(frozen=True)
class Mention:
    """One place where a report speaks of a finding: characters `[start, end)`, what it says, and the sentence.

    `state` is present, uncertain or absent; `when` is now, past (history, an earlier examination) or hypothetical
    ("to exclude …"). `side`, `place`, `size_mm` and `change` (new, larger, smaller, stable) may be empty. `cue` are the
    words that made the state.
    """

    finding: str
    state: str
    start: int
    end: int
    sentence: Sentence
    side: str = ""
    place: str = ""
    size_mm: float | None = None
    change: str = ""
    when: str = NOW
    cue: str = ""

    @property
    def counts(self) -> bool:
        """Whether it says something of this examination."""
        return self.when == NOW and self.sentence.spoken


@dataclass(frozen=True)
class Verdict:
    """What a whole report says of a finding, and the mention that decided; `conflict` when it says both."""

    finding: str
    state: str
    mention: Mention
    sides: tuple[str, ...] = ()
    conflict: bool = False


def read(text: str, *, ontology: Ontology | None = None, region: str = "", where: str = "") -> tuple[Mention, ...]:
    """Every mention of a finding in a report, in order. Refuses a report in another language than English.

    region: which part of the body the report is about (a name of the ontology); found from its words when empty.

    >>> for m in read("No pneumothorax. Possible small effusion on the left."):
    ...     print(m.finding, m.state, m.side, "|", m.cue)
    pneumothorax absent  | No
    pleural-effusion uncertain left | Possible
    """
    language.require_english(text, where=where)
    known = ontology or load()
    if region not in ("", ANY, *known.regions):
        raise InputError(f"unknown region {region!r}", where="region", remedy=f"known: {', '.join(known.regions)}")
    region = region or region_of(text, known)
    mentions: list[Mention] = []
    for sentence in split(text):
        mentions += _of_sentence(sentence, known, region)
    return tuple(mentions)


def region_of(text: str, ontology: Ontology | None = None) -> str:
    """The region of the body that a report uses most words of; empty when it uses none."""
    known = ontology or load()
    counts = {name: len(words.findall(text)) for name, words in known.regions.items()}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else ""


def verdicts(mentions: Iterable[Mention]) -> dict[str, Verdict]:
    """What a report says of each finding it speaks of: present before uncertain before absent.

    Mentions of the past, of what is only looked for, and those outside findings and impression do not count.
    """
    by_finding: dict[str, list[Mention]] = {}
    for mention in mentions:
        if mention.counts:
            by_finding.setdefault(mention.finding, []).append(mention)
    found = {}
    for name, said in by_finding.items():
        state = next(state for state in STATES if any(item.state == state for item in said))
        deciding = [item for item in said if item.state == state]
        sides = tuple(sorted({item.side for item in deciding if item.side}))
        # The mention with the most to say of place and size stands for the finding.
        best = max(deciding, key=lambda item: bool(item.side) + bool(item.place) + (item.size_mm is not None))
        conflict = {"present", "absent"} <= {item.state for item in said}
        found[name] = Verdict(name, state, best, sides, conflict)
    return found


def _of_sentence(sentence: Sentence, ontology: Ontology, region: str) -> list[Mention]:
    spans = _spans(sentence.text, ontology, region)
    if not spans:
        return []
    scopes = context.scopes(sentence.text, ontology)
    return [_mention(sentence, span, scopes, ontology) for span in spans]


@dataclass(frozen=True)
class _Span:
    start: int
    end: int
    finding: str
    normal: bool = False


def _spans(text: str, ontology: Ontology, region: str) -> list[_Span]:
    """Where findings are named, the longest words first; what fits the report's region wins among equals."""
    found: list[_Span] = []
    for finding in ontology.findings.values():
        others = [item.span() for item in finding.others.finditer(text)] if finding.others else []
        found += [
            _Span(*item.span(), finding.name)
            for item in finding.terms.finditer(text)
            if not any(start < item.end() and item.start() < end for start, end in others)
        ]
        if finding.normal:
            found += [_Span(*item.span(), finding.name, True) for item in finding.normal.finditer(text)]

    def rank(span: _Span) -> tuple[int, bool, int, int]:
        home = ontology.findings[span.finding].region
        fit = 0 if home == region else 1 if home == ANY else 2
        return (span.start - span.end, not span.normal, fit, span.start)

    kept: list[_Span] = []
    for span in sorted(found, key=rank):
        if not any(span.start < other.end and other.start < span.end for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda span: span.start)


def _mention(sentence: Sentence, span: _Span, scopes: Sequence[context.Scope], ontology: Ontology) -> Mention:
    text = sentence.text
    acting = context.acting(tuple(scopes), span.start, span.end)
    state, cue = _state(acting, normal=span.normal, words=text[span.start : span.end])
    when = PAST if "history" in acting else HYPOTHETICAL if "hypothetical" in acting else NOW
    return Mention(
        span.finding,
        state,
        sentence.start + span.start,
        sentence.start + span.end,
        sentence,
        side=context.nearest(text, span.start, span.end, ontology.sides) if state != "absent" else "",
        place=context.nearest(text, span.start, span.end, ontology.places) if state != "absent" else "",
        size_mm=context.size_near(text, span.start, span.end) if state != "absent" else None,
        change=context.nearest(text, span.start, span.end, ontology.changes, reach=40) if state != "absent" else "",
        when=NOW if span.normal else when,
        cue=cue or acting.get("history", "") or acting.get("hypothetical", ""),
    )


def _state(acting: Mapping[str, str], *, normal: bool, words: str) -> tuple[str, str]:
    """A statement of what is normal is absence, and so is a denied doubt ("nothing to suggest")."""
    if normal:
        return "absent", words
    if "negation" in acting:
        return "absent", acting["negation"]
    if "uncertainty" in acting:
        return "uncertain", acting["uncertainty"]
    return "present", ""
