"""Labels from a table into a cohort: typed, checked against who is there, contradictions refused."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from radfoundry.data import label_values
from radfoundry.data.cohort import CORRECTIONS, read_labels, read_record
from radfoundry.data.cohort_tables import read_table, write_table
from radfoundry.data.label_values import is_telling
from radfoundry.data.pseudonyms import Pseudonyms
from radfoundry.data.row_keys import PLURALS, finder, key_column_of, names_of, refuse_unknown
from radfoundry.records import InputError
from radfoundry.registry import listed

MOST_LISTED = 12
LEVELS = ("patient", "case", "series")


def label(
    cohort: str | Path,
    table: str | Path,
    *,
    on: str = "patient",
    key_column: str | None = None,
    key_file: str | Path | None = None,
    allow_missing: bool = False,
) -> dict[str, Any]:
    """Add the columns of a CSV, TSV or Parquet table to a cohort as labels of its patients, cases or series.

    Rows are matched by `key_column` (by default the column named like one, else the first): pseudonyms of the
    cohort, or your own identifiers (PatientID, study or series UID, file name), which are passed through the
    cohort's key. Each column becomes booleans, whole numbers, numbers or text; empty cells and NA stay missing.
    Columns `sequence`, `plane`, `slot` and `use` of a series table correct the series themselves (`use` false sets
    one aside, `use_reason` says why) and may be corrected again. All of it is taken or nothing: refused are rows that
    nobody in the cohort answers to (unless `allow_missing`), one key with two values, a value that contradicts an
    earlier label, and names that fit several files. In a pseudonymised cohort columns that look like names or dates
    of people are left out. Gives what was done: `columns` (name: type), `labelled` (how many keys), `unknown`,
    `left out`, `notes`.
    """
    if on not in LEVELS:
        raise InputError(f"cannot label {on!r}", remedy=f"choose one of {', '.join(LEVELS)}")
    record = read_record(cohort)
    rows = read_rows(table)
    key_column = key_column_of(rows, on, key_column, str(table))
    keyed = bool(record["provenance"].get("pseudonymised"))
    wanted = [name for name in rows[0] if name != key_column]
    telling = [name for name in wanted if keyed and is_telling(name, [row[name] for row in rows])]
    wanted = [name for name in wanted if name not in telling]
    if not wanted:
        raise InputError("no column is left to take", where=str(table), remedy="rename columns that look like names")
    find = finder(cohort, on, names_of(cohort, record, key_file) if keyed else Pseudonyms(None))
    unknown: list[str] = []
    values: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)  # column -> key -> (text, the user's own key)
    for row in rows:
        given = row[key_column].strip()
        key = find(given)
        if key is None:
            unknown.append(given)
            continue
        for name in wanted:
            _collect(values[name], key, row[name].strip(), given, name, str(table))
    if unknown and not (allow_missing and len(unknown) < len(rows)):
        refuse_unknown(unknown, len(rows), find=find, on=on, where=str(table))
    typed = {name: label_values.typed(name, values[name]) for name in wanted}
    asked = {name: found for name, found in typed.items() if on != "series" or name not in CORRECTIONS}
    _keep(cohort, on, typed, str(table))
    return {
        "columns": {name: kind for name, (kind, _) in typed.items()},
        "labelled": len({key for _, found in typed.values() for key in found}),
        "unknown": unknown,
        "left out": telling,
        "notes": [*label_values.remarks(asked), *_remarks_on_cells(asked, rows), *_nobody_asked(cohort, on, asked)],
    }


def read_rows(table: str | Path) -> list[dict[str, str]]:
    """A table as rows of text, so that `007` stays `007`; refuses what is no table, and ragged or empty ones."""
    path = Path(table)
    if not path.exists():
        raise InputError("no such file", where=str(table), remedy="check the path", finding="missing-file")
    if path.suffix.lower() == ".parquet":
        return _parquet_rows(path)
    if path.suffix.lower() in (".xlsx", ".xls", ".ods"):
        raise InputError("is a workbook, not a table", where=str(table), remedy="save its sheet as CSV with UTF-8")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text", where=str(table), remedy="save it as CSV with UTF-8") from None
    if "\x00" in text:
        raise InputError("is not UTF-8 text", where=str(table), remedy="save it as CSV with UTF-8")
    lines = _cells(text, str(table))
    header = [name.strip() for name in lines[0]] if lines else []
    if len(header) > 2 and not header[0] and all(header[1:]):
        raise InputError(
            "the first column has no name",
            where=str(table),
            remedy="name it, or remove it where it only numbers the rows",
            finding="not-a-table",
        )
    if len(header) < 2 or len(set(header)) != len(header) or not all(header):
        raise InputError(
            "needs a first line with a key column and at least one label, each with its own name",
            where=str(table),
            remedy="mend the first line",
            finding="not-a-table",
        )
    body = [line for line in lines[1:] if any(cell.strip() for cell in line)]
    ragged = next((number for number, line in enumerate(body, start=2) if len(line) != len(header)), None)
    if ragged or not body:
        raise InputError(
            f"line {ragged} has not {len(header)} columns" if ragged else "has no rows",
            where=str(table),
            remedy="mend the table",
            finding="not-a-table",
        )
    return [dict(zip(header, line, strict=True)) for line in body]


def _cells(text: str, where: str) -> list[list[str]]:
    """The cells of a text table, without what spreadsheets add: a line `sep=;`, and empty columns at the right."""
    stated = re.match(r"sep=([,;\t])\r?\n", text)
    text = text[stated.end() :] if stated else text
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    separator = stated.group(1) if stated else max(",;\t", key=first.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise InputError(
            f"is no table ({error})", where=where, remedy="save it as CSV", finding="not-a-table"
        ) from None
    width = max((number for line in lines for number, cell in enumerate(line, start=1) if cell.strip()), default=0)
    return [line[:width] for line in lines]


def _parquet_rows(path: Path) -> list[dict[str, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError):
        raise InputError("is no Parquet file", where=str(path), remedy="give CSV, TSV or Parquet") from None
    return [{str(name): "" if value is None else str(value) for name, value in row.items()} for row in rows]


def _remarks_on_cells(typed: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Words that count as missing are named, because `none` may be an answer."""
    return [remark for name in typed if (remark := label_values.missing_words(name, [row[name] for row in rows]))]


def _nobody_asked(cohort: str | Path, on: str, typed: Mapping[str, tuple[str, Mapping[str, Any]]]) -> list[str]:
    """How many in the cohort have no value of a column, where some have."""
    column = {"patient": "patient", "case": "case", "series": "key"}[on]
    everybody = {row[column] for row in read_table(Path(cohort) / "series.parquet", "series")}
    lacking = {name: len(everybody - set(values)) for name, (_, values) in typed.items() if values}
    found = [f"{name} {count}" for name, count in sorted(lacking.items(), key=lambda item: -item[1]) if count]
    said = listed(found, most=MOST_LISTED)
    return [f"of {len(everybody)} {PLURALS[on]} so many have no value: {said}"] if found else []


def _collect(found: dict[str, tuple[str, str]], key: str, text: str, given: str, name: str, where: str) -> None:
    if label_values.is_missing(text):
        return
    before = found.setdefault(key, (text, given))
    if before[0] != text:
        raise InputError(
            f"{given} has two values of {name}: {before[0]!r} and {text!r}",
            where=where,
            remedy="keep one row, or label cases or series instead of patients",
            finding="conflict",
        )


def _keep(cohort: str | Path, on: str, typed: Mapping[str, tuple[str, Mapping[str, Any]]], where: str) -> None:
    kept = {(row["level"], row["key"], row["name"]): row for row in read_labels(cohort)}
    for name, (kind, values) in typed.items():
        other = next((row["kind"] for row in kept.values() if row["name"] == name and row["kind"] != kind), None)
        if other and values:
            raise InputError(
                f"{name} is {kind} here and {other} in the cohort", where=where, remedy="rename the column"
            )
        for key, value in values.items():
            place, text = (on, key, name), json.dumps(value)
            if place in kept and kept[place]["value"] != text and not (on == "series" and name in CORRECTIONS):
                raise InputError(
                    f"{name} of {on} {key} is {kept[place]['value']} in the cohort and {text} here",
                    where=where,
                    remedy="rename the column, or remove labels.parquet to start over",
                    finding="conflict",
                )
            kept[place] = {"level": on, "key": key, "name": name, "kind": kind, "value": text}
    write_table(Path(cohort) / "labels.parquet", "labels", [kept[place] for place in sorted(kept)])
