"""What becomes of each DICOM attribute: the basic profile of PS3.15 Annex E with its options, read from data files.

Source: DICOM PS3.15 Annex E, Table E.1-1. The files beside this one: `deidentify_actions.csv` (the table),
`deidentify_kept.csv` (text and bytes outside the table that stay), `deidentify_private.csv` (safe private elements) and
`deidentify_words.txt` (words a cleaned description may keep).
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
REMOVE, EMPTY, DUMMY, KEEP, CLEAN, NEW_UID = "X", "Z", "D", "K", "C", "U"
SHIFT = "S"  # a date or time moved with the patient's other dates
TEXT_VRS = frozenset(("AE", "AS", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT"))
BYTE_VRS = frozenset(("OB", "OW", "OL", "OV", "OF", "OD", "UN"))
TIME_VRS = frozenset(("DA", "DT", "TM"))
NUMBER_VRS = frozenset(("US", "SS", "UL", "SL", "FL", "FD", "SV", "UV", "AT", "DS", "IS"))
PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
GRAPHICS = ((0x5000, 0x50FF), (0x6000, 0x60FF), (0x7F00, 0x7FDF))
# Codes of the method used (PS3.16, context group 7050).
METHODS = {
    "profile": ("113100", "Basic Application Confidentiality Profile"),
    "pixels": ("113101", "Clean Pixel Data Option"),
    "deface": ("113102", "Clean Recognizable Visual Features Option"),
    "graphics": ("113103", "Clean Graphics Option"),
    "structured": ("113104", "Clean Structured Content Option"),
    "descriptors": ("113105", "Clean Descriptors Option"),
    "full_dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "shifted_dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "patient": ("113108", "Retain Patient Characteristics Option"),
    "device": ("113109", "Retain Device Identity Option"),
    "uids": ("113110", "Retain UIDs Option"),
    "private": ("113111", "Retain Safe Private Option"),
    "institution": ("113112", "Retain Institution Identity Option"),
}


@dataclass(frozen=True)
class Options:
    """The options of the profile: what may stay beyond the basic profile, and how dates and pixels are treated.

    dates: `removed`, `shifted` (by a number of days of the patient's own, so that intervals stay) or `full` ·
    pixels: `risky` (films, ultrasound, photographs, secondary captures and whatever the header warns of are searched
    for burned-in text), `all` or `none` · private: safe private elements stay · the others keep or clean the
    attributes that the option of that name covers.

    >>> action_of(0x00100010, "PN", Options()), action_of(0x00080022, "DA", Options(dates="removed"))
    ('Z', 'Z')
    >>> action_of(0x00101010, "AS", Options()), action_of(0x00101010, "AS", Options(patient=True))
    ('X', 'K')
    """

    uids: bool = False
    device: bool = False
    institution: bool = False
    patient: bool = False
    descriptors: bool = False
    structured: bool = False
    graphics: bool = False
    private: bool = False
    dates: str = "shifted"
    pixels: str = "risky"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that apply, the ones that keep before the ones that clean."""
        keeping = [name for name in ("uids", "device", "institution", "patient") if getattr(self, name)]
        keeping += {"full": ["full_dates"], "shifted": ["shifted_dates"]}.get(self.dates, [])
        return (*keeping, *(name for name in ("descriptors", "structured", "graphics") if getattr(self, name)))

    @property
    def methods(self) -> tuple[tuple[str, str], ...]:
        """Codes and meanings of the profile and of the options in use."""
        names = ["profile", *self.columns, *(["private"] if self.private else [])]
        return tuple(METHODS[name] for name in (*names, *(["pixels"] if self.pixels != "none" else [])))


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (HERE / name).open(encoding="utf-8", newline="") as handle:
        yield from csv.DictReader(line for line in handle if not line.startswith("#"))


@functools.cache
def table() -> Mapping[int, Mapping[str, str]]:
    """The table by tag; repeating groups (overlays, curves) are not in it, see GRAPHICS."""
    return {int(row["tag"], 16): row for row in _rows("deidentify_actions.csv") if "x" not in row["tag"]}


@functools.cache
def kept() -> Mapping[int, str]:
    """Attributes outside the table that stay: tag -> `text`, `code` or `bytes`."""
    return {int(row["tag"], 16): row["kind"] for row in _rows("deidentify_kept.csv")}


@functools.cache
def safe_private() -> Mapping[tuple[str, int, int], str]:
    """Safe private elements: (creator, group, last two digits of the element) -> value representation."""
    rows = _rows("deidentify_private.csv")
    return {(row["creator"], int(row["group"], 16), int(row["element"], 16)): row["vr"] for row in rows}


@functools.cache
def words() -> frozenset[str]:
    """Words that a cleaned description may keep, in lower case."""
    lines = (HERE / "deidentify_words.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def action_of(tag: int, vr: str, options: Options) -> str:
    """What becomes of a public attribute: X, Z, D, K, C (clean), U (new UID) or S (shifted with the dates).

    Where the table leaves a choice to the type of the attribute (`X/Z/D`), the last is taken: it is valid for every
    type. Attributes outside the table are judged by their value representation, more strictly than the standard asks:
    text and bytes go unless `deidentify_kept.csv` names them, dates follow the option, UIDs become new ones, numbers
    and single code words stay after a check of their form.
    """
    row = table().get(tag)
    if row is None:
        return _unlisted(tag, vr, options)
    for column in options.columns:
        if row[column]:
            return SHIFT if column == "shifted_dates" else row[column]
    return row["profile"].split("/")[-1]


@functools.lru_cache(maxsize=8192)
def _unlisted(tag: int, vr: str, options: Options) -> str:
    if any(first <= tag >> 16 <= last for first, last in GRAPHICS):
        return CLEAN if options.graphics and 0x6000 <= tag >> 16 <= 0x60FF else REMOVE
    kind = kept().get(tag)
    if tag in PIXELS or kind == "bytes":
        return KEEP
    if vr == "UI":
        return KEEP if options.uids else NEW_UID
    if vr in TIME_VRS:
        return {"full": KEEP, "shifted": SHIFT}.get(options.dates, REMOVE)
    if vr == "SQ" or kind or vr == "CS" or vr in NUMBER_VRS:
        return CLEAN
    return REMOVE
