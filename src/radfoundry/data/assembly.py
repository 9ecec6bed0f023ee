"""The working folder of an ingest: outcomes kept one by one, and the cohort's tables derived from all of them."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radfoundry.data.cohort import RECORD, SCHEMA, images_fingerprint, volume_path
from radfoundry.data.cohort_tables import as_stored, digest_rows, read_table, write_table
from radfoundry.records import InputError
from radfoundry.runs import digest, versions, write_json

WORK = ".ingest"
SETTINGS = "settings.json"


@dataclass(frozen=True)
class Done:
    """A finished task: the contents it read, the repairs it was allowed, and what came out."""

    task: str
    members: tuple[str, ...]
    repair: str
    outcome: Mapping[str, Any]
    final: bool = True  # an outcome that is not final is tried again by the next run

    @property
    def clean(self) -> bool:
        """Whether no repair rule can have mattered: nothing was refused and nothing mended."""
        return not self.outcome["rejected"] and not any(row["repairs"] for row in self.outcome["series"])


@contextmanager
def locked(cohort: str | Path) -> Generator[Path]:
    """The working folder of a cohort, for one ingest at a time; the lock goes with the process that holds it."""
    work = Path(cohort) / WORK
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                "another ingest is writing to it", where=str(cohort), remedy="wait for it to end", finding="busy"
            ) from None
        yield work


def agree_on_settings(work: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings that shape a cohort with it; refuse to go on with others."""
    place = work / SETTINGS
    if not place.exists():
        write_json(place, settings)
        return
    try:
        kept = json.loads(place.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError("the kept settings are damaged", where=str(place), remedy="ingest into a new folder") from None
    wanted = json.loads(json.dumps(settings))
    differing = sorted(name for name in kept.keys() | wanted.keys() if kept.get(name) != wanted.get(name))
    if differing:
        raise InputError(
            f"the cohort was begun with another {', '.join(differing)}",
            where=str(place.parent.parent),
            remedy="use the same settings and key, or ingest into a new folder",
            finding="other-settings",
        )


def keep_done(work: str | Path, done: Done) -> None:
    """Write one outcome, whole or not at all."""
    values = {"task": done.task, "members": done.members, "repair": done.repair, "outcome": done.outcome}
    write_json(Path(work) / "done" / f"{done.task}.json", values)


def read_done(work: Path) -> dict[str, Done]:
    """All outcomes so far: those of finished ingests, then those of the present one; half-written ones are redone.

    Refuses a finished cohort whose outcomes are gone: going on would take its series for leftovers.
    """
    table, fresh = work / "done.parquet", work / "done"
    if (work.parent / RECORD).exists() and not table.exists() and not fresh.is_dir():
        raise InputError(
            f"its working folder {WORK} is incomplete, so nothing can be added",
            where=str(work.parent),
            remedy="ingest everything into a new folder",
            finding="damaged",
        )
    rows = (
        [{**row, "outcome": json.loads(row["outcome"])} for row in read_table(table, "done")] if table.exists() else []
    )
    for path in sorted(fresh.glob("*.json")):
        with suppress(json.JSONDecodeError, UnicodeDecodeError):
            rows.append(json.loads(path.read_text(encoding="utf-8")))
    return {row["task"]: Done(row["task"], tuple(row["members"]), row["repair"], row["outcome"]) for row in rows}


def assemble(
    cohort: str | Path,
    done: Mapping[str, Done],
    *,
    refused: Iterable[Mapping[str, Any]],
    seen: set[str],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the tables and, last, cohort.json; gives the record. What is there already in this state stays untouched.

    `refused` are rows of files that no task read; `seen` are the labels of all files of this ingest: what an
    earlier one listed about others stays listed.
    """
    folder = Path(cohort)
    outcomes = _one_patient_per_case([item.outcome for _, item in sorted(done.items())])
    found = sorted((row for outcome in outcomes for row in outcome["series"]), key=lambda row: row["key"])
    series = as_stored("series", found)
    exams = case_rows([(outcome["case"], len(outcome["series"])) for outcome in outcomes if outcome["series"]])
    cases = as_stored("cases", exams)
    rejected = as_stored("rejected", _rejected(folder, outcomes, refused, seen))
    record = {
        "schema": SCHEMA,
        "fingerprint": images_fingerprint(series, cases),
        "provenance": {
            **provenance,
            "counts": _counts(series, cases, rejected),
            "versions": versions(),
        },
    }
    for name, rows in (("series", series), ("cases", cases), ("rejected", rejected)):
        _write_if_new(folder / f"{name}.parquet", name, rows)
    if not (folder / "labels.parquet").exists():
        write_table(folder / "labels.parquet", "labels", [])
    if _kept_record(folder) != record:
        write_json(folder / RECORD, record)
    _tidy(folder, done, {row["key"] for row in series})
    return record


def _one_patient_per_case(outcomes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Exams of different patients under one study UID (careless anonymisation does that) become exams of their own."""
    patients: dict[str, set[str]] = defaultdict(set)
    for outcome in outcomes:
        if outcome["series"]:
            patients[outcome["case"]["key"]].add(outcome["case"]["patient"])
    result = []
    for outcome in outcomes:
        if outcome["series"] and len(patients[outcome["case"]["key"]]) > 1:
            key = f"{outcome['case']['key']}-{digest(outcome['case']['patient'])[:4]}"
            series = [{**row, "case": key} for row in outcome["series"]]
            outcome = {**outcome, "case": {**outcome["case"], "key": key}, "series": series}
        result.append(outcome)
    return result


def case_rows(parts: Sequence[tuple[Mapping[str, Any], int]]) -> list[dict[str, Any]]:
    """One row per case from what each of its series says: the commonest statement, silence not counted."""
    by_key: dict[str, list[tuple[Mapping[str, Any], int]]] = defaultdict(list)
    for row, count in parts:
        by_key[row["key"]].append((row, count))
    fields = ("patient", "site", "age_years", "sex", "date", "year")
    return [
        {
            "key": key,
            **{name: _commonest([row.get(name) for row, _ in rows]) for name in fields},
            "series": sum(count for _, count in rows),
        }
        for key, rows in sorted(by_key.items())
    ]


def _commonest(values: Sequence[Any]) -> Any:
    counts = Counter(value for value in values if value is not None)
    return min(counts, key=lambda value: (-counts[value], str(value))) if counts else None


def _rejected(
    folder: Path, outcomes: Sequence[Mapping[str, Any]], refused: Iterable[Mapping[str, Any]], seen: set[str]
) -> list[dict[str, Any]]:
    table = folder / "rejected.parquet"
    earlier = read_table(table, "rejected") if table.exists() else []
    rows = {row["file"]: row for row in earlier if row["file"] not in seen}
    rows |= {row["file"]: dict(row) for row in refused}
    rows |= {row["file"]: row for outcome in outcomes for row in outcome["rejected"]}
    return [rows[name] for name in sorted(rows)]


def _counts(
    series: Sequence[Mapping[str, Any]], cases: Sequence[Mapping[str, Any]], rejected: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "patients": len({row["patient"] for row in cases}),
        "cases": len(cases),
        "series": len(series),
        "files": sum(row["files"] for row in series),
        "rejected": dict(sorted(Counter(row["reason"] for row in rejected).items())),
    }


def _write_if_new(path: Path, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if path.exists():
        with suppress(InputError):  # a damaged table is written again
            if digest_rows(read_table(path, table)) == digest_rows(rows):
                return
    write_table(path, table, rows)


def _kept_record(folder: Path) -> Any:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def _tidy(folder: Path, done: Mapping[str, Done], keys: set[str]) -> None:
    """Put the outcomes into one table, and remove what interrupted or superseded work has left behind."""
    work = folder / WORK
    if (work / "done").exists():
        rows = [
            {"task": d.task, "members": d.members, "repair": d.repair, "outcome": json.dumps(d.outcome)}
            for _, d in sorted(done.items())
            if d.final
        ]
        _write_if_new(work / "done.parquet", "done", rows)
        shutil.rmtree(work / "done")
    wanted = {volume_path(folder, key).name for key in keys}
    leftovers = [path for path in (folder / "volumes").glob("*") if path.name not in wanted]
    for path in [*leftovers, *folder.glob(".*.partial"), *work.glob("**/.*.partial")]:
        path.unlink(missing_ok=True)
