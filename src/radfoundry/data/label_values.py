"""What the cells of a label table mean: missing, yes or no, numbers, text; and what must not be taken over."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from radfoundry.records import InputError

IDENTIFYING = re.compile(
    r"(^|[^a-z])((patient|sur|last|first|family|given|full|middle|maiden|nach|vor)?names?|birth(date|day|place)?|dob|"
    r"address|phone|telephone|e-?mail|mrn|ssn|accession|zip|postcode|geburtsdatum)([^a-z]|$)",
    re.IGNORECASE,
)
DEVICE_NAMES = re.compile(r"(model|device|scanner|sequence|manufacturer|coil|kernel)[ _]name", re.IGNORECASE)
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|(19|20)\d{2}[01]\d[0-3]\d")
MISSING = frozenset(("", "na", "n/a", "nan", "none", "null", "."))
WORDS = {"true": True, "false": False, "yes": True, "no": False}
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
GROUPED = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+")
MOSTLY = 0.5


def is_telling(name: str, cells: Sequence[str]) -> bool:
    """Whether a column looks like names, addresses or dates of people, by its name or by what is in it."""
    apart = DEVICE_NAMES.sub("", CAMEL.sub("_", name))
    return bool(IDENTIFYING.search(apart)) or any(DATE.fullmatch(cell.strip()) for cell in cells)


def is_missing(text: str) -> bool:
    """Whether a cell says nothing: empty, NA, nan, none, null or a point."""
    return text.strip().casefold() in MISSING


def missing_words(name: str, cells: Sequence[str]) -> str:
    """One line about cells that count as missing though something stands there; empty where there are none."""
    words = Counter(cell.strip() for cell in cells if cell.strip() and is_missing(cell))
    if not words:
        return ""
    listed = ", ".join(f"{word!r} {count} times" for word, count in words.most_common(3))
    return f"{name}: {listed} counts as missing; write another word where it is an answer"


def typed(name: str, found: Mapping[str, tuple[str, str]]) -> tuple[str, dict[str, Any]]:
    """The narrowest type that all values of a column have, with the values by key.

    `found` holds, by key, the text of the cell and the user's own key (for messages). A column in which numbers are
    written with decimal commas becomes numbers, unless all its commas could part thousands. Refuses infinite numbers.
    """
    texts = {key: text for key, (text, _) in found.items()}
    if not texts:
        return "text", {}
    if all(text.casefold() in WORDS for text in texts.values()):
        return "boolean", {key: WORDS[text.casefold()] for key, text in texts.items()}
    if all(re.fullmatch(r"[-+]?(0|[1-9]\d{0,17})", text) for text in texts.values()):
        return "integer", {key: int(text) for key, text in texts.items()}
    if _has_decimal_commas(list(texts.values())):
        texts = {key: text.replace(",", ".") for key, text in texts.items()}
    numbers = {key: _number(text) for key, text in texts.items()}
    if all(value is not None for value in numbers.values()):
        infinite = [found[key][1] for key, value in numbers.items() if value is not None and math.isinf(value)]
        if infinite:
            raise InputError(f"{name} of {infinite[0]} is not finite", remedy="leave the cell empty")
        return "number", dict(numbers)
    return "text", {key: text for key, (text, _) in found.items()}


def _has_decimal_commas(texts: Sequence[str]) -> bool:
    commas = [text for text in texts if "," in text]
    plain = all(DECIMAL_COMMA.fullmatch(text) for text in commas) and not any("." in text for text in texts)
    return bool(commas) and plain and not all(GROUPED.fullmatch(text) for text in commas)


def _number(text: str) -> float | None:
    if re.fullmatch(r"0\d+", text):  # 007 is a code
        return None
    try:
        return float(text)
    except ValueError:
        return None


def remarks(columns: Mapping[str, tuple[str, Mapping[str, Any]]]) -> list[str]:
    """What the reader of a label table should know of its columns, one line each."""
    lines = []
    for name, (kind, values) in columns.items():
        counts = Counter(map(str, values.values()))
        if not values:
            lines.append(f"{name} is empty")
        elif len(counts) == 1:
            lines.append(f"{name} is {next(iter(counts))} for all {len(values)}: nothing can be learnt from one class")
        if kind == "text":
            lines.extend(_remarks_on_text(name, counts))
    return lines


def _remarks_on_text(name: str, counts: Mapping[str, int]) -> list[str]:
    lines = []
    alike = defaultdict(list)
    for text in counts:
        alike[" ".join(text.casefold().split())].append(text)
    twice = next((texts for texts in alike.values() if len(texts) > 1), None)
    if twice:
        lines.append(f"{name}: {' and '.join(map(repr, sorted(twice)))} count as different answers")
    words = [text for text in counts if _number(text.replace(",", "")) is None]
    if words and sum(counts[text] for text in words) < MOSTLY * sum(counts.values()):
        lines.append(f"{name} is text, not numbers, because of {', '.join(map(repr, sorted(words)[:3]))}")
    elif not words and any("," in text for text in counts):
        lines.append(f"{name} is text: its commas may part thousands or decimals; write numbers with a point")
    return lines
