"""The tables of a cohort folder: their columns, and reading and writing them whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.records import Acquisition, InputError
from radfoundry.runs import atomic

if TYPE_CHECKING:
    import pyarrow

# Column name -> type; list types end in []. The header fields of records.Acquisition follow, one column each.
_SERIES_COLUMNS = {
    "key": "text",
    "patient": "text",
    "case": "text",
    "site": "text",
    "sequence": "text",
    "sequence_reason": "text",
    "plane": "text",
    "shape": "integer[]",
    "spacing_mm": "number[]",
    "affine": "number[]",
    "content": "text",
    "repairs": "text[]",
    "units": "text",
    "kind": "text",
    "files": "integer",
    "file_keys": "text[]",
    "uid_key": "text",
}
_ACQUISITION_TYPES = {
    "str": "text",
    "int": "integer",
    "float": "number",
    "tuple[str, ...]": "text[]",
    "tuple[int, int]": "integer[]",
    "tuple[float, float]": "number[]",
}
ACQUISITION_COLUMNS = {
    item.name: _ACQUISITION_TYPES[str(item.type).removesuffix(" | None")] for item in fields(Acquisition)
}
# Header fields that tables written before they were known lack; they read as missing.
ADDED_LATER = frozenset(("receive_coil", "angio_flag", "acquisition_contrast"))
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "series": _SERIES_COLUMNS | ACQUISITION_COLUMNS,
    "cases": {
        "key": "text",
        "patient": "text",
        "site": "text",
        "age_years": "number",
        "sex": "text",
        "date": "text",
        "year": "integer",
        "series": "integer",
    },
    "labels": {"level": "text", "key": "text", "name": "text", "kind": "text", "value": "text"},
    "reports": {"case": "text", "text": "text", "removed": "integer"},
    "rejected": {
        "file": "text",
        "extension": "text",
        "depth": "integer",
        "reason": "text",
        "what": "text",
        "remedy": "text",
        "series": "text",
    },
    # The two tables of the working folder, from which the others follow.
    "inventory": {
        "file": "text",
        "bytes": "integer",
        "modified": "integer",
        "kind": "text",
        "task": "text",
        "header": "text",
        "reason": "text",
        "what": "text",
    },
    "done": {"task": "text", "members": "text[]", "repair": "text", "outcome": "text"},
}


def write_table(path: str | Path, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as one Parquet file with exactly the columns of `COLUMNS[table]`; absent values are null."""
    import pyarrow.parquet as pq

    data = _arrow_table(table, rows)
    with atomic(path) as partial:
        pq.write_table(data, partial, compression="zstd")


def as_stored(table: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as they would be read back: every column there, numbers of the column's type."""
    return _arrow_table(table, rows).to_pylist()


def _arrow_table(table: str, rows: Sequence[Mapping[str, Any]]) -> pyarrow.Table:
    import pyarrow as pa

    columns = COLUMNS[table]
    return pa.table(
        {name: pa.array([row.get(name) for row in rows], _arrow_type(kind)) for name, kind in columns.items()}
    )


def read_table(path: str | Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table as plain values; a missing, damaged or foreign file is refused by name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        there = set(pq.read_schema(path).names)
        wanted = [name for name in COLUMNS[table] if name in there or name not in ADDED_LATER]
        found = pq.read_table(path, columns=wanted)
    except FileNotFoundError:
        raise InputError(
            f"the {table} table is missing", where=str(path), remedy="ingest again", finding="damaged"
        ) from None
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(
            f"the {table} table is damaged ({type(error).__name__})",
            where=str(path),
            remedy="ingest again into a new folder",
            finding="damaged",
        ) from None
    absent = dict.fromkeys(name for name in COLUMNS[table] if name not in wanted)
    return [{**row, **absent} for row in found.to_pylist()] if absent else found.to_pylist()


def _arrow_type(kind: str) -> pyarrow.DataType:
    import pyarrow as pa

    inner = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64()}[kind.removesuffix("[]")]
    return pa.list_(inner) if kind.endswith("[]") else inner


def digest_rows(rows: Iterable[Mapping[str, Any]]) -> str:
    """A fingerprint of rows of plain values, whatever their order; absent and null values are the same."""
    lines = sorted(
        json.dumps({k: v for k, v in row.items() if v is not None}, sort_keys=True, allow_nan=False) for row in rows
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def acquisition_of(row: Mapping[str, Any]) -> Acquisition:
    """The header fields of a row of the series table."""
    return Acquisition.from_dict({name: row[name] for name in ACQUISITION_COLUMNS if row.get(name) is not None})
