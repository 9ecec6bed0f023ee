"""Whom a row of a user's table is about: the user's own identifiers, file names and pseudonyms found in a cohort."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from radfoundry.data.cohort_tables import read_table
from radfoundry.data.identity import stem_of
from radfoundry.data.pseudonyms import Pseudonyms, default_key_file, open_key
from radfoundry.records import InputError

MOST_TRIED = 1000
LONGEST_NUMBER = 10  # leading zeros are tried up to so many digits
KEYS = {level: re.compile(rf"{level[0]}-[0-9a-f]{{16}}") for level in ("patient", "case", "series")}
PLURALS = {"patient": "patients", "case": "cases", "series": "series"}
KEY_NAMES = {
    "patient": ("patient", "patient_id", "patientid", "subject", "subject_id", "participant_id"),
    "case": ("case", "case_id", "study", "study_uid", "studyinstanceuid", "exam"),
    "series": ("series", "series_uid", "seriesinstanceuid", "file", "filename", "file_name", "image", "path"),
}


def key_column_of(rows: Sequence[Mapping[str, str]], on: str, asked: str | None, where: str) -> str:
    """The column of a table that says whom a row is about: the one asked for, the one named like it, else the first."""
    names = list(rows[0]) if rows else []
    if asked is not None:
        if asked not in names:
            raise InputError(f"no column {asked!r}", where=where, remedy=f"columns here: {', '.join(names)}")
        return asked
    found = [name for name in names if name.casefold().replace(" ", "_") in KEY_NAMES[on]]
    if len(found) > 1:
        listed = ", ".join(found)
        raise InputError(f"several columns could name the {on}", where=where, remedy=f"say which: {listed}")
    return found[0] if found else names[0]


def names_of(cohort: str | Path, record: Mapping[str, Any], key_file: str | Path | None) -> Pseudonyms | None:
    """The cohort's key; None when it is not there and was not asked for: then only pseudonyms can be matched."""
    place = Path(key_file) if key_file else default_key_file(cohort)
    if key_file is None and not place.exists():
        return None
    names = open_key(place, outside=cohort, create=False)
    require_key(names, record, place)
    return names


def require_key(names: Pseudonyms, record: Mapping[str, Any], place: str | Path) -> None:
    """Refuse another key than that of the cohort: with it nobody and no file would be known again."""
    kept = record["provenance"].get("settings", {}).get("key", names.fingerprint)
    if names.fingerprint != kept:
        raise InputError("is not the key of this cohort", where=str(place), remedy="give the key it was made with")


def finder(cohort: str | Path, on: str, names: Pseudonyms | None) -> Callable[[str], str | None]:
    """From what a table says to the key in the cohort: as it is, through the key, or as the name of a file."""
    series = read_table(Path(cohort) / "series.parquet", "series")
    column = {"patient": "patient", "case": "case", "series": "key"}[on]
    known = {row[column] for row in series}
    by_name: dict[str, set[str]] = defaultdict(set)
    for row in series:
        for name in (*(row["file_keys"] or ()), row["uid_key"]):
            by_name[name].add(row[column])

    def find(given: str) -> str | None:
        if given in known:
            return given
        if names is None:
            return None
        through = names.case(given) if on == "case" else names.patient(given)
        if through in known:
            return through
        path = stem_of(given.replace("\\", "/").removeprefix("./"))
        kinds = (("uid", given), ("accession", given), ("file", path))
        found = next((keys for kind, said in kinds if (keys := by_name.get(names.name(kind, said)))), set())
        if len(found) > 1:
            raise InputError(
                f"{given!r} fits {len(found)} {PLURALS[on]}",
                remedy="give more of the path, or the series' key",
                finding="ambiguous",
            )
        return next(iter(found), None)

    return find


def refuse_unknown(
    unknown: Sequence[str], count: int, *, find: Callable[[str], str | None], on: str, where: str
) -> NoReturn:
    """Refuse rows that are about nobody; one that is written a little differently in the cohort is said to be."""
    listed = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
    meant = {given: other for given in unknown[:MOST_TRIED] if (other := other_spelling(given, find))}
    remedy = "remove them, check the key column, or allow missing ones (--allow-missing of label)"
    if meant:
        first, other = next(iter(meant.items()))
        remedy = f"mend the spelling of {len(meant)}: {first!r} is there as {other!r}"
    elif others := [level for level in PLURALS if level != on and KEYS[level].fullmatch(unknown[0])]:
        remedy = f"these are the keys of {PLURALS[others[0]]}: label --on {others[0]}"
    elif all(given.isdecimal() for given in unknown):
        remedy += "; spreadsheets drop leading zeros: 7 for 007"
    raise InputError(
        f"{len(unknown)} of {count} rows name no {on} of the cohort: {listed}",
        where=where,
        remedy=remedy,
        finding="unknown-patients",
    )


def other_spelling(given: str, find: Callable[[str], str | None]) -> str | None:
    """How an identifier that is not found would be found: in other capitals, with other joints, with leading zeros.

    The cohort holds no identifiers, only what the key makes of them, so that likely spellings are tried one by one.

    >>> other_spelling("pat-01", {"PAT-01": "p1"}.get), other_spelling("7", {"007": "p1"}.get)
    ('PAT-01', '007')
    """
    return next((other for other in _spellings(given) if other != given and _is_there(other, find)), None)


def _is_there(given: str, find: Callable[[str], str | None]) -> bool:
    try:
        return find(given) is not None
    except InputError:  # the name of several files
        return False


def _spellings(given: str) -> Iterator[str]:
    joints = dict.fromkeys((given, *(given.translate(str.maketrans("-_ ", joint * 3)) for joint in "-_ ")))
    for text in joints:
        yield from (text, text.upper(), text.lower(), text.capitalize(), text.title())
        yield text[:1].swapcase() + text[1:]
    if given.isdecimal():
        bare = given.lstrip("0") or "0"
        yield from (bare.zfill(digits) for digits in range(1, LONGEST_NUMBER + 1))
