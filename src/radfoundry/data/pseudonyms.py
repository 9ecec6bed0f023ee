"""Keyed pseudonyms: stable names for patients, exams, series and sites that only the holder of the key can repeat."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from radfoundry.records import InputError

KEY_BYTES = 32
LONGEST_SHIFT_DAYS = 3650
OLDEST_STATED_AGE = 89  # above it a person is rare enough to be found, so ages are grouped (45 CFR 164.514(b)(2))
SHORTEST_TELLING_WORD = 3


@dataclass(frozen=True)
class Pseudonyms:
    """Turns identifiers into names that mean nothing without the key; the same key gives the same names.

    HMAC-SHA256 (RFC 2104) cut to 64 bits. With `secret=None` patients and sites keep their own names and
    dates stay as they are: for public data only.

    >>> names = Pseudonyms(b"0" * 32)
    >>> names.patient("4711") == names.patient(" 4711 "), "4711" in names.patient("4711")
    (True, False)
    >>> Pseudonyms(None).patient("4711")
    '4711'
    """

    secret: bytes | None = field(repr=False)

    @property
    def keyed(self) -> bool:
        """Whether identifiers are replaced at all."""
        return self.secret is not None

    @property
    def fingerprint(self) -> str:
        """Says which key was used without giving it away; empty without a key."""
        return self.name("fingerprint", "") if self.keyed else ""

    def name(self, kind: str, identifier: str) -> str:
        """16 hexadecimal digits for an identifier of one kind; other kinds give other digits."""
        message = f"{kind}\0{identifier.strip()}".encode()
        return hmac.digest(self.secret or b"radfoundry", message, "sha256").hex()[:16]

    def patient(self, identifier: str) -> str:
        """The patient's pseudonym, `p-` and 16 digits."""
        return f"p-{self.name('patient', identifier)}" if self.keyed else identifier.strip()

    def case(self, identifier: str) -> str:
        """The exam's pseudonym, `c-` and 16 digits; give the study UID, or patient and session."""
        return f"c-{self.name('case', identifier)}"

    def series(self, identifier: str) -> str:
        """The series' pseudonym, `s-` and 16 digits; also the name of its file in the cohort."""
        return f"s-{self.name('series', identifier)}"

    def site(self, identifier: str) -> str:
        """The site's pseudonym, `site-` and 6 digits; upper and lower case are the same site."""
        plain = " ".join(identifier.split()).casefold()
        return f"site-{self.name('site', plain)[:6]}" if self.keyed else identifier.strip()

    def shift_days(self, identifier: str) -> int:
        """By how many days all dates of one patient move: 1 to 3650 into the past; 0 without a key."""
        return -(1 + int(self.name("shift", identifier), 16) % LONGEST_SHIFT_DAYS) if self.keyed else 0

    def shifted(self, day: date | None, identifier: str) -> date | None:
        """A date of one patient, moved; intervals between two dates of the same patient stay what they are."""
        return None if day is None else day + timedelta(days=self.shift_days(identifier))


def parse_date(text: str | None) -> date | None:
    """A DICOM (`20190412`) or ISO (`2019-04-12`) date; anything else is None.

    >>> parse_date("20190412"), parse_date("2019-04-12") == parse_date("20190412"), parse_date("spring")
    (datetime.date(2019, 4, 12), True, None)
    """
    digits = re.fullmatch(r"(\d{4})[-.]?(\d{2})[-.]?(\d{2})", (text or "").strip()[:10])
    try:
        return date(*(int(part) for part in digits.groups())) if digits else None
    except ValueError:
        return None


def age_in_years(stated: str | float | None, born: date | None, examined: date | None) -> float | None:
    """Age from a DICOM age (`045Y`, `018M`, `003W`, `010D`) or a number, else from the two dates, else None.

    >>> age_in_years("018M", None, None), age_in_years(None, date(1960, 1, 1), date(2000, 1, 1))
    (1.5, 40.0)
    """
    if isinstance(stated, (int, float)):
        return float(stated) if 0 <= stated < 130 else None
    match = re.fullmatch(r"(\d{1,3})([YMWD])", (stated or "").strip().upper())
    if match:
        per_year = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}[match[2]]
        return round(int(match[1]) / per_year, 2)
    if born and examined and examined >= born:
        return round((examined - born).days / 365.25, 2)
    return None


def grouped_age(age_years: float | None) -> float | None:
    """The age, with everyone above 89 written as 90."""
    return float(OLDEST_STATED_AGE + 1) if age_years is not None and age_years > OLDEST_STATED_AGE else age_years


def mentions(text: str, identifiers: tuple[str, ...]) -> bool:
    """Whether a text contains a word of at least three signs of any identifier: such a text is not kept.

    >>> mentions("T2 TSE MUELLER KNIE", ("Mueller^Anna", "4711")), mentions("t2_tse", ("Mueller^Anna", "4711"))
    (True, False)
    """
    words = {
        word
        for identifier in identifiers
        for word in re.split(r"[^0-9A-Za-zÀ-ɏ]+", identifier.casefold())
        if len(word) >= SHORTEST_TELLING_WORD
    }
    lowered = text.casefold()
    return any(word in lowered for word in words)


def default_key_file(cohort: str | Path) -> Path:
    """Where a cohort's key lies unless told otherwise: beside the folder, never in it, as `NAME.key`."""
    folder = Path(cohort).absolute()
    return folder.with_name(f"{folder.name}.key")


def open_key(key_file: str | Path, *, outside: str | Path, create: bool) -> Pseudonyms:
    """Read the key from a file, or make a new random one there (readable by its owner alone).

    Refuses a key file inside the cohort folder (whoever gets the cohort would get the key), a missing file
    unless `create`, and a file that holds fewer than 64 hexadecimal digits.
    """
    path = Path(key_file)
    if Path(outside).resolve() in path.resolve().parents:
        raise InputError("the key must not lie in the cohort", where=str(path), remedy="choose a key file elsewhere")
    if not path.exists():
        if not create:
            raise InputError(
                "the pseudonym key is not there",
                where=str(path),
                remedy="give the key file that the cohort was made with",
                finding="missing-key",
            )
        _write_key(path)
    text = path.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * KEY_BYTES},}}", text):
        raise InputError(
            f"not a key: expected at least {2 * KEY_BYTES} hexadecimal digits",
            where=str(path),
            remedy="give the right file, or remove it to have a new key made",
            finding="bad-key",
        )
    return Pseudonyms(bytes.fromhex(text[: len(text) // 2 * 2]))


def _write_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written under another name and linked into place: two starts at once agree on one whole key.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_bytes(KEY_BYTES).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)
