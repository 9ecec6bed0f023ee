"""What reports speak of: findings with their words, the regions of the body, places within them, and cues."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from radfoundry.records import InputError

ANY = "any"
CUES = ("negation", "uncertainty", "history", "hypothetical")


@dataclass(frozen=True, eq=False)
class Finding:
    """One finding: where it belongs, how much it matters, and the words that name, resemble or deny it.

    `tier` is 1 (act now), 2 (treat or follow) or 3 (note); `parent` is the wider finding that it is a case of.
    """

    name: str
    region: str
    tier: int
    terms: re.Pattern[str]
    others: re.Pattern[str] | None = None
    normal: re.Pattern[str] | None = None
    parent: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Cue:
    """Words that change a statement: those that act on what follows, on what precedes, and those that only look so."""

    before: re.Pattern[str]
    after: re.Pattern[str] | None
    pseudo: re.Pattern[str] | None


@dataclass(frozen=True, eq=False)
class Ontology:
    """Findings by name, and how regions, places, sides, changes, cues and ends of statements are written."""

    findings: Mapping[str, Finding]
    regions: Mapping[str, re.Pattern[str]]
    places: Mapping[str, re.Pattern[str]]
    sides: Mapping[str, re.Pattern[str]]
    changes: Mapping[str, re.Pattern[str]]
    cues: Mapping[str, Cue]
    ends: re.Pattern[str]

    def named(self, name: str) -> Finding:
        """A finding by its name or another name that labels use for it; an unknown one is refused."""
        if name in self.findings:
            return self.findings[name]
        for finding in self.findings.values():
            if name in finding.also:
                return finding
        import difflib

        near = difflib.get_close_matches(name, self.findings, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else "see text/ontology.yaml"
        raise InputError(f"unknown finding {name!r}", remedy=hint, finding="unknown-name")


def load(findings: str | Path | None = None, cues: str | Path | None = None) -> Ontology:
    """The package's ontology, or one from files of the same form (see `ontology.yaml` and `cues.yaml`).

    Refuses files that are no YAML, findings without words, an unknown parent, and expressions that cannot be read.

    >>> load().named("pneumothorax").tier
    1
    """
    return _loaded(None if findings is None else str(findings), None if cues is None else str(cues))


@lru_cache(maxsize=4)
def _loaded(findings: str | None, cues: str | None) -> Ontology:
    said, words = _read(findings, "ontology.yaml"), _read(cues, "cues.yaml")
    where = findings or "ontology.yaml"
    try:
        known = {name: _finding(name, about) for name, about in said["findings"].items()}
        ontology = Ontology(
            findings=known,
            regions=_table(said["regions"]),
            places=_table(said["places"]),
            sides=_table(words["sides"]),
            changes=_table(words["change"]),
            cues={kind: _cue(words[kind]) for kind in CUES},
            ends=pattern(words["ends"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"lacks or misplaces {error}", where=where, remedy="see text/ontology.yaml") from None
    for finding in known.values():
        if finding.parent and finding.parent not in known:
            raise InputError(f"parent {finding.parent!r} of {finding.name} is no finding", where=where)
        if finding.region not in (*ontology.regions, ANY):
            raise InputError(f"region {finding.region!r} of {finding.name} is not listed", where=where)
    return ontology


def _read(path: str | None, own: str) -> Mapping[str, Any]:
    try:
        if path is None:
            text = resources.files("radfoundry.text").joinpath(own).read_text(encoding="utf-8")
        else:
            text = Path(path).read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), remedy="check the path", finding="missing-file") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError("not valid YAML", where=str(path or own), finding="not-yaml") from None
    if not isinstance(values, dict):
        raise InputError("expected key: value pairs", where=str(path or own), remedy="see text/ontology.yaml")
    return values


def _finding(name: str, about: Mapping[str, Any]) -> Finding:
    if not about.get("terms"):
        raise InputError(f"{name} has no terms", where="findings", remedy="give the words that name it")
    return Finding(
        name,
        region=about.get("region", ANY),
        tier=int(about.get("tier", 2)),
        terms=pattern(about["terms"]),
        others=pattern(about["not"]) if about.get("not") else None,
        normal=pattern(about["normal"]) if about.get("normal") else None,
        parent=about.get("parent", ""),
        also=tuple(about.get("also", ())),
    )


def _cue(words: Mapping[str, Sequence[str]]) -> Cue:
    after, pseudo = words.get("after"), words.get("pseudo")
    return Cue(pattern(words["before"]), pattern(after) if after else None, pattern(pseudo) if pseudo else None)


def _table(words: Mapping[str, str]) -> dict[str, re.Pattern[str]]:
    return {name: pattern([text]) for name, text in words.items()}


def pattern(terms: Sequence[str]) -> re.Pattern[str]:
    """One expression for several, matched on whole words whatever their case; longer ones are tried first."""
    listed = sorted((str(term) for term in terms), key=len, reverse=True)
    try:
        return re.compile(rf"(?<![\w])(?:{'|'.join(f'(?:{term})' for term in listed)})(?![\w])", re.IGNORECASE)
    except re.error as error:
        raise InputError(f"cannot be read: {error}", where=", ".join(listed)[:80], remedy="mend the words") from None
