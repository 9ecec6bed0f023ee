"""A split as another study published it: a table that gives cases or patients to parts, read by the cohort's key."""

from __future__ import annotations

from pathlib import Path

from radfoundry.data.cohort import open_cohort, read_record
from radfoundry.data.labels import read_rows
from radfoundry.data.pseudonyms import Pseudonyms
from radfoundry.data.row_keys import KEY_NAMES, finder, key_column_of, names_of, refuse_unknown
from radfoundry.records import InputError

PART_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "validate"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def part_named(word: str) -> str:
    """The name of a part as the program writes it; a name of the user's own stays.

    >>> part_named("Training"), part_named("val"), part_named("fold 3")
    ('train', 'validation', 'fold 3')
    """
    return PART_WORDS.get(word.strip().casefold(), word.strip())


def read_assignment(
    cohort: str | Path, table: str | Path | None, *, key_file: str | Path | None = None
) -> dict[str, str]:
    """Case key -> part from a table with a column that names a case or a patient, and the column `part`.

    Rows are matched like those of a label table: pseudonyms, or your own identifiers through the cohort's key. A row
    without a part is outside the split. Refuses rows about nobody in the cohort and one key with two parts.
    """
    if table is None:
        raise InputError("--table is missing", where="--by table", remedy="give a CSV with columns case and part")
    rows, where = read_rows(table), str(table)
    columns = {name.casefold().replace(" ", "_"): name for name in rows[0]}
    level = next((level for level in ("case", "patient") if columns.keys() & set(KEY_NAMES[level])), None)
    if level is None or "part" not in columns:
        raise InputError(
            "needs the columns case (or patient) and part", where=where, remedy=f"rename them: {', '.join(rows[0])}"
        )
    record = read_record(cohort)
    keyed = bool(record["provenance"].get("pseudonymised"))
    find = finder(cohort, level, names_of(cohort, record, key_file) if keyed else Pseudonyms(None))
    column = key_column_of(rows, level, None, where)
    parts: dict[str, str] = {}
    unknown: list[str] = []
    for row in rows:
        given, part = row[column].strip(), part_named(row[columns["part"]])
        key = find(given)
        if key is None:
            unknown.append(given)
        elif part and parts.setdefault(key, part) != part:
            raise InputError(f"{given} is in {parts[key]!r} and in {part!r}", where=where, remedy="give it one part")
    if unknown:
        refuse_unknown(unknown, len(rows), find=find, on=level, where=where)
    if level == "case":
        return parts
    return {case.key: parts[case.patient] for case in open_cohort(cohort).cases if case.patient in parts}
