"""Ordered rules over headers that confirm, override, soften or send to review what a classifier says of a series.

The rules are in type_rules.yaml beside this module.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from radfoundry.data.header_tags import Header, tags
from radfoundry.data.series_types import REVIEW, SEQUENCES
from radfoundry.records import Acquisition, InputError

FILE = Path(__file__).with_name("type_rules.yaml")
STRENGTHS = ("override", "decide", "soft", "review")
SURE_ENOUGH = 0.9  # a soft rule keeps out of the way of a classifier as confident as this
CONTRADICTED = 0.95  # an overriding rule against a classifier as confident as this is for a person


@dataclass(frozen=True)
class Rule:
    """One rule: what must hold, the type it stands for, how strong it is and what it says."""

    name: str
    type: str
    strength: str
    says: str
    match: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    not_match: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    between: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    classifier: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class Facts:
    """What rules may look at: texts of the header by field, numbers by tag and facts of the pixels by name.

    `derived` says from what the kind of echo follows where no scanning sequence is stated.
    """

    texts: Mapping[str, str]
    numbers: Mapping[str, float]
    derived: str = ""


@dataclass(frozen=True)
class Ruling:
    """What became of a type after the rules: the type or `review`, the likeliest type, reasons, rules that spoke."""

    type: str
    likely: str
    confidence: float
    reasons: tuple[str, ...]
    rules: tuple[str, ...] = ()
    detail: str = ""


def rules(path: str | None = None) -> tuple[Rule, ...]:
    """The rules of type_rules.yaml, or of a file of your own; a faulty rule is refused by its name."""
    return _bundled() if path is None else _read(Path(path))


@functools.cache
def _bundled() -> tuple[Rule, ...]:
    return _read(FILE)


def _read(where: Path) -> tuple[Rule, ...]:
    try:
        listed = yaml.safe_load(where.read_text(encoding="utf-8"))["rules"]
    except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError):
        listed = None
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise InputError("holds no rules", where=str(where), remedy="see data/type_rules.yaml in the package")
    return tuple(_rule(item, where) for item in listed)


def _rule(item: Mapping[str, Any], where: Path) -> Rule:
    name = str(item.get("name", "?"))
    known = {
        "name",
        "type",
        "strength",
        "says",
        "match",
        "not_match",
        "between",
        "missing",
        "classifier",
        "unless",
        "detail",
    }
    fault = ""
    if set(item) - known:
        fault = f"unknown keys {', '.join(sorted(set(item) - known))}"
    elif item.get("type") not in SEQUENCES or item.get("strength") not in STRENGTHS or not item.get("says"):
        fault = f"needs a type, a strength ({', '.join(STRENGTHS)}) and what it says"
    if fault:
        raise InputError(fault, where=f"{where}: rule {name}", remedy="mend the rule")
    try:
        return Rule(
            name,
            item["type"],
            item["strength"],
            item["says"],
            match=_patterns(item.get("match", {})),
            not_match=_patterns(item.get("not_match", {})),
            between={tag: (float(low), float(high)) for tag, (low, high) in item.get("between", {}).items()},
            missing=tuple(item.get("missing", ())),
            classifier=tuple(item.get("classifier", ())),
            unless=tuple(item.get("unless", ())),
            detail=item.get("detail", ""),
        )
    except (re.error, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"cannot be understood ({error})", where=f"{where}: rule {name}", remedy="mend it") from None


def _patterns(listed: Mapping[str, Any]) -> dict[str, re.Pattern[str]]:
    return {tag: re.compile(str(text)) for tag, text in listed.items()}


def facts_of(acquisition: Acquisition, header: Header, *, pixels: Mapping[str, float] | None = None) -> Facts:
    """What the rules look at, from a header and from plain facts of the pixels such as `distinct_values`."""
    known = tags()
    texts = {}
    for source in {item[0] for item in known.words.values()}:
        value = getattr(acquisition, source)
        if value is not None and value != ():
            joined = value if isinstance(value, str) else " ".join(str(part) for part in value)
            texts[source] = joined.strip().upper()[:400]
    numbers = {
        name: float(value) for name, value in zip(known.numbers, header.numbers, strict=True) if np.isfinite(value)
    }
    return _with_kind(Facts({key: text for key, text in texts.items() if text}, {**numbers, **(pixels or {})}))


def _with_kind(facts: Facts) -> Facts:
    """The same facts with the kind of echo, where it is not stated and physics or the image type leaves no doubt."""
    if {"scanning_sequence", "sequence_name", "acquisition_contrast"} & facts.texts.keys():
        return facts
    for name, kind, rule in _kinds():
        if holds(rule, facts, chosen=""):
            texts = {**facts.texts, "scanning_sequence": kind}
            return Facts(texts, {**facts.numbers, "kind_derived": 1.0}, _filled(rule.says, facts.numbers) or name)
    return facts


def holds(rule: Rule, facts: Facts, *, chosen: str) -> bool:
    """Whether all that a rule asks for is there."""
    if rule.classifier and chosen not in rule.classifier:
        return False
    if chosen in rule.unless:
        return False
    if any(pattern.search(facts.texts.get(tag, "")) is None for tag, pattern in rule.match.items()):
        return False
    if any(tag in facts.texts and pattern.search(facts.texts[tag]) for tag, pattern in rule.not_match.items()):
        return False
    if any(tag in facts.texts or facts.numbers.get(tag) for tag in rule.missing):
        return False
    return all(tag in facts.numbers and low <= facts.numbers[tag] <= high for tag, (low, high) in rule.between.items())


def apply_rules(
    facts: Facts, *, chosen: str, confidence: float, limit: float, listed: Sequence[Rule] | None = None
) -> Ruling:
    """The ruling on one series: the first rule that decides, else the classifier, else review.

    `chosen` is what the classifier holds likeliest, with its calibrated `confidence`; below `limit` it does not decide.
    """
    found = _ruled(
        facts, chosen=chosen, confidence=confidence, limit=limit, listed=rules() if listed is None else listed
    )
    return replace(found, reasons=(*found.reasons, facts.derived)) if facts.derived else found


def _ruled(facts: Facts, *, chosen: str, confidence: float, limit: float, listed: Sequence[Rule]) -> Ruling:
    spoken, reasons = [], []
    detail = ""
    for rule in listed:
        if not holds(rule, facts, chosen=chosen):
            continue
        said = _filled(rule.says, facts.numbers)
        if rule.type == chosen and rule.strength != "review":
            # A rule that agrees makes the classifier's word good.
            return Ruling(
                chosen, chosen, max(confidence, SURE_ENOUGH), (said, *reasons), (rule.name, *spoken), rule.detail
            )
        if rule.strength == "review":
            likely = rule.type if rule.classifier else chosen
            return Ruling(REVIEW, likely, confidence, (said,), (rule.name,), detail)
        if rule.strength == "decide":
            return Ruling(rule.type, rule.type, 1.0, (said,), (rule.name,), rule.detail)
        if rule.strength == "override":
            if confidence >= CONTRADICTED:
                against = f"{said}, but the classifier says {chosen} ({confidence:.2f})"
                return Ruling(REVIEW, rule.type, confidence, (against,), (rule.name,), rule.detail)
            return Ruling(rule.type, rule.type, SURE_ENOUGH, (said,), (rule.name,), rule.detail)
        if confidence < SURE_ENOUGH:
            return Ruling(rule.type, rule.type, SURE_ENOUGH, (said,), (rule.name,), rule.detail)
        spoken.append(rule.name)
        reasons.append(f"{said} would speak for {rule.type}")
    if confidence < limit:
        return Ruling(
            REVIEW, chosen, confidence, (f"likely {chosen}, but only {confidence:.2f} sure", *reasons), tuple(spoken)
        )
    return Ruling(chosen, chosen, confidence, (f"classifier, {confidence:.2f} sure", *reasons), tuple(spoken))


def _filled(text: str, numbers: Mapping[str, float]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: f"{numbers.get(found[1], float('nan')):g}", text)


@functools.cache
def _kinds() -> tuple[tuple[str, str, Rule], ...]:
    """What kind of echo follows from what, in order: name, words of the scanning sequence, conditions."""
    listed = yaml.safe_load(FILE.read_text(encoding="utf-8"))["kinds"]
    as_rules = ({**item, "type": "other", "strength": "soft"} for item in listed)
    return tuple(
        (item["name"], item["kind"], _rule({key: value for key, value in item.items() if key != "kind"}, FILE))
        for item in as_rules
    )


@functools.cache
def _tables() -> Mapping[str, Any]:
    listed = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {key: listed[key] for key in ("others", "kernels", "views")}


def other_modality(acquisition: Acquisition) -> Ruling | None:
    """What a series is that is no MR image, with kernel, phase or view as the header states them; None for MR.

    >>> ct = Acquisition(modality="CT", convolution_kernel="B30f", contrast_agent="stated")
    >>> other_modality(ct).type, other_modality(ct).detail
    ('CT', 'soft kernel, contrast agent stated')
    >>> other_modality(Acquisition(modality="MG", view_position="MLO", laterality="L")).detail
    'MLO, left'
    """
    modality = (acquisition.modality or "").strip().upper()
    if modality in ("", "MR"):
        return None
    kind = next((name for name, item in _tables()["others"].items() if re.search(item["modality"], modality)), "other")
    parts: list[str] = []
    if kind == "CT":
        parts.append(_kernel(acquisition.convolution_kernel))
        parts.append("contrast agent stated" if acquisition.contrast_agent else "no contrast agent stated")
    if kind in _tables()["views"]:
        view = _named(_tables()["views"][kind], acquisition.view_position)
        parts.append(view or "view not stated")
    side = {"L": "left", "R": "right", "B": "both sides"}.get((acquisition.laterality or "").upper())
    parts += [side] if side else []
    unclear = "view not stated" in parts
    return Ruling(
        REVIEW if unclear else kind,
        kind,
        1.0,
        (f"modality {modality}" + (", view not stated" if unclear else ""),),
        (),
        ", ".join(parts),
    )


def _kernel(text: str | None) -> str:
    found = _named(_tables()["kernels"], text)
    if text is None:
        return "kernel not stated"
    return f"{found} kernel" if found else "kernel of unknown sharpness"


def _named(table: Mapping[str, str], text: str | None) -> str | None:
    words = (text or "").strip().upper()
    return next((name for name, pattern in table.items() if words and re.search(pattern, words)), None)
