"""Values that stand for others: what is known of a person, and dates, UIDs, names and texts that no longer tell it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from radfoundry.data import deidentify_profile as profile
from radfoundry.data.identity import telling_words
from radfoundry.data.pseudonyms import Pseudonyms, parse_date

DUMMIES = {
    "AE": "REMOVED",
    "AS": "000Y",
    "CS": "REMOVED",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "DS": "0",
    "IS": "0",
    "UR": "about:blank",
}
TEXT_DUMMY = "removed"
# Words of institutions' names that name no institution by themselves; without this list "Healthineers" would tell one.
COMMON = frozenset(
    re.findall(
        r"\w+",
        "hospital hospitals clinic clinics klinik klinikum university universitaet institute institut center centre "
        "health healthcare medicine medical radiology radiologie radiologia department dept research imaging "
        "diagnostic general and the for von der die das und saint sankt regional national city county school science "
        "sciences college system systems service services dicom study scanner removed",
    )
)
SHORTEST_INSIDE_A_WORD = 4  # "Lee" is looked for as a word of its own only, "Mueller" also inside of others
SHORTEST_NUMBER = 6
NAME_LIKE = re.compile(r"[A-Za-zÀ-ɏ]{2,}\^[A-Za-zÀ-ɏ]")
DATE_LIKE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[-./]?(?:0[1-9]|1[0-2])[-./]?(?:0[1-9]|[12]\d|3[01])|\d\d\.\d\d\.\d{4})(?!\d)"
)
CODE_WORD = re.compile(r"[A-Z0-9_ ]{0,24}")
TIME = re.compile(r"\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?")
ZONE = re.compile(r"[+-]\d{4}")
PUBLIC_SCHEMES = frozenset(
    ("DCM", "SRT", "SCT", "SNM3", "99SDM", "UCUM", "LN", "RADLEX", "FMA", "UMLS", "NCIt", "ITIS_TSN")
)


@dataclass(frozen=True)
class Secrets:
    """What must not be found again: words, long numbers and dates (`YYYYMMDD`) that point to the patient.

    >>> found = Secrets.of(["Mueller^Anna", "4711000815"], ["19450812"])
    >>> found.mentioned("T2 TSE MUELLERKNIE"), found.mentioned("seen 12.08.1945"), found.mentioned("T2 TSE")
    (True, True, False)
    """

    words: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    dates: frozenset[str] = frozenset()
    pattern: re.Pattern[bytes] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, texts: Iterable[str], dates: Iterable[str] = ()) -> Secrets:
        """The telling words of texts (words of device and body vocabularies left out), and dates."""
        return _secrets(frozenset(texts), frozenset(dates))

    def in_bytes(self, value: object) -> bool:
        """Whether bytes hold one of the longer words in any usual encoding."""
        return isinstance(value, bytes) and self.pattern is not None and self.pattern.search(value) is not None

    def mentioned(self, text: str) -> bool:
        """Whether a text tells a word, a number or a date of the patient."""
        lowered = text.casefold()
        if any(word in lowered for word in self.words if len(word) >= SHORTEST_INSIDE_A_WORD):
            return True
        tokens = re.split(r"[^0-9a-zÀ-ɏ]+", lowered)
        return any(token in self.words or token.lstrip("0") in self.numbers for token in tokens) or any(
            digits_of(found) in self.dates for found in DATE_LIKE.findall(text)
        )


@functools.lru_cache(maxsize=256)  # the slices of a series tell the same words
def _secrets(texts: frozenset[str], dates: frozenset[str]) -> Secrets:
    words = frozenset(word.casefold() for word in telling_words(texts)) - profile.words() - COMMON
    days = frozenset(day.strftime("%Y%m%d") for text in dates if (day := parse_date(text)))
    long = sorted((word for word in words if len(word) >= SHORTEST_INSIDE_A_WORD), key=len, reverse=True)
    forms = {word.encode(code, "ignore") for word in long for code in ("utf-8", "latin-1", "utf-16-le")}
    forms |= {form.upper().encode("latin-1", "ignore") for form in long}
    found = sorted((re.escape(form) for form in forms if len(form) >= SHORTEST_INSIDE_A_WORD), reverse=True)
    pattern = re.compile(b"|".join(found), re.IGNORECASE) if found else None
    numbers = frozenset(word.lstrip("0") for word in words if word.isdigit() and len(word) >= SHORTEST_NUMBER)
    return Secrets(words, numbers | days, days, pattern)


def digits_of(day: str) -> str:
    """A date in any usual spelling as `YYYYMMDD`."""
    if re.fullmatch(r"\d\d\.\d\d\.\d{4}", day):
        return day[6:] + day[3:5] + day[:2]
    return re.sub(r"\D", "", day)


@dataclass(frozen=True)
class Replacements:
    """How one patient's values are replaced: keyed names, and a shift of all dates by the same days.

    >>> same = Replacements(Pseudonyms(b"0" * 32), "4711")
    >>> from datetime import datetime
    >>> days = [datetime.strptime(same.date(day), "%Y%m%d") for day in ("20200227", "20200302")]
    >>> (days[1] - days[0]).days
    4
    """

    names: Pseudonyms
    patient: str

    def date(self, text: str) -> str:
        """A `DA` value, moved; empty where it is no date."""
        day = parse_date(text)
        moved = self.names.shifted(day, self.patient) if day and day.year > 1 else None
        return moved.strftime("%Y%m%d") if moved and moved.year > 0 else ""

    def moment(self, text: str) -> str:
        """A `DT` value with its day moved and its time of day kept; empty where it is none."""
        match = re.fullmatch(r"(\d{8})(\d{2,6}(?:\.\d{1,6})?)?([+-]\d{4})?", text.strip())
        moved = self.date(match[1]) if match else ""
        return f"{moved}{match[2] or ''}{match[3] or ''}" if match and moved else ""

    def uid(self, text: str) -> str:
        """A new UID that the same key always gives again; UIDs registered by the standard stay as they are."""
        return text if registered(text) else uid_for(self.names, text)

    def spelled(self, vr: str, text: str) -> str:
        """A date, time or moment of one value representation, moved; empty where it does not follow its form."""
        if vr == "DA":
            return self.date(text)
        if vr == "DT":
            return self.moment(text)
        stripped = text.strip("\0 ")
        form = TIME if vr == "TM" else ZONE
        return stripped if form.fullmatch(stripped) else ""


def uid_for(names: Pseudonyms, text: str) -> str:
    """`2.25.` and 128 bits of a keyed digest (PS3.5 annex B.2 allows UIDs of this form without registration)."""
    number = int(names.name("uid", text) + names.name("uid-low", text), 16)
    return f"2.25.{number}"


@functools.lru_cache(maxsize=4096)
def registered(uid: str) -> bool:
    """Whether the standard itself gives a UID: a SOP class, transfer syntax or other well-known one."""
    from pydicom.uid import UID_dictionary

    return uid in UID_dictionary


def dummy(vr: str) -> str | bytes | int | float:
    """A value that is valid for a value representation and says nothing."""
    if vr in ("US", "SS", "UL", "SL", "SV", "UV"):
        return 0
    if vr in ("FL", "FD"):
        return 0.0
    return b"\0\0" if vr in profile.BYTE_VRS else DUMMIES.get(vr, TEXT_DUMMY)


def kept_text(text: str, secrets: Secrets) -> str:
    """A device text without dates; empty when it mentions the patient or looks like a person's name.

    >>> kept_text("syngo MR B17 20090307", Secrets()), kept_text("Doe^Jane", Secrets())
    ('syngo MR B17', '')
    """
    if NAME_LIKE.search(text) or secrets.mentioned(text):
        return ""
    return DATE_LIKE.sub("", text).strip()


def cleaned_text(text: str, secrets: Secrets) -> str:
    """Only words of the vocabulary and numbers of up to three digits; for the clean descriptors option.

    >>> cleaned_text("T2 TSE sag 3mm Mueller, call Dr. Who 5551234", Secrets())
    'T2 TSE sag'
    """
    allowed = profile.words()
    tokens = [token for token in re.split(r"[^0-9A-Za-z]+", text) if token]
    fit = [token for token in tokens if token.casefold() in allowed or (token.isdigit() and len(token) <= 3)]
    return " ".join(token for token in fit if token.casefold() not in secrets.words)
