"""A new cohort made from another one by changing its pixels; the original is read and never written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from radfoundry.data.cohort import RECORD, SCHEMA, SPLITS, images_fingerprint, read_labels, read_record, read_splits
from radfoundry.data.cohort_tables import as_stored, read_table, write_table
from radfoundry.data.pool import each, worker_count
from radfoundry.data.store import content_hash, write_volume
from radfoundry.records import Cohort, InputError, Series
from radfoundry.runs import versions, write_json
from radfoundry.volume import Volume

Progress = Callable[[str, int, int], None]


class Change(Protocol):
    """What happens to one image; travels to worker processes. `how` says in plain values what it is."""

    @property
    def how(self) -> Mapping[str, Any]:
        """Kept in the provenance of the new cohort."""
        ...

    def __call__(self, series: Series, volume: Volume) -> Volume:
        """The changed image, on the same grid."""
        ...


@dataclass(frozen=True)
class Rewrite:
    """One series to read, change and store elsewhere."""

    series: Series
    change: Change
    to: str


def derive(
    cohort: Cohort,
    to: str | Path,
    change: Change,
    *,
    series: Iterable[Series],
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a cohort folder with the named series changed and everything else about them as it was; gives its record.

    Patients, exams, headers, labels and splits are carried over for the exams that keep a series. `change.how` goes
    into the provenance beside the fingerprint of the original. Refuses a folder that exists and a change of the grid;
    after an error or an interruption nothing is left behind.
    """
    final, chosen = Path(to), list(series)
    if cohort.path is None:
        raise InputError("the cohort has no folder", remedy="open it with radfoundry.data.cohort.open_cohort")
    if final.exists():
        raise InputError("already exists", where=str(final), remedy="choose another folder", finding="exists")
    if not chosen:
        raise InputError("no series is left to write", where=cohort.path, remedy="widen the choice", finding="no-match")
    partial = final.with_name(f".{final.name}.{os.getpid()}.partial")
    (partial / "volumes").mkdir(parents=True)
    try:
        found: dict[str, dict[str, Any]] = {}
        tasks = [Rewrite(item, change, str(partial)) for item in chosen]
        for answer in each(rewrite, tasks, workers=min(worker_count(workers), len(tasks))):
            if answer.error is not None:
                raise answer.error
            found[answer.task.series.key] = answer.result or {}
            if progress is not None:
                progress("write", len(found), len(tasks))
        record = _tables(cohort, partial, found, change.how)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return record


def rewrite(task: Rewrite) -> dict[str, Any]:
    """Change one series and store it; gives what its row has to say anew. Runs in a worker process."""
    from radfoundry.data.cohort import volume_path

    before = task.series.load()
    after = task.change(task.series, before)
    if not after.geometry.matches(before.geometry):
        raise InputError("the change moved the voxels", where=f"series {task.series.key}", finding="geometry")
    write_volume(volume_path(task.to, task.series.key), after)
    return {"content": content_hash(after), "units": after.units}


def _tables(
    cohort: Cohort, folder: Path, found: Mapping[str, Mapping[str, Any]], how: Mapping[str, Any]
) -> dict[str, Any]:
    source = Path(str(cohort.path))
    old = read_record(source)
    series = [
        {**row, **found[row["key"]]} for row in read_table(source / "series.parquet", "series") if row["key"] in found
    ]
    counts: dict[str, int] = {}
    for row in series:
        counts[row["case"]] = counts.get(row["case"], 0) + 1
    cases = [
        {**row, "series": counts[row["key"]]}
        for row in read_table(source / "cases.parquet", "cases")
        if row["key"] in counts
    ]
    series, cases = as_stored("series", series), as_stored("cases", cases)
    known = {"series": set(found), "case": set(counts), "patient": {row["patient"] for row in cases}}
    labels = [row for row in read_labels(source) if row["key"] in known[row["level"]]]
    for name, rows in (("series", series), ("cases", cases), ("labels", labels), ("rejected", [])):
        write_table(folder / f"{name}.parquet", name, rows)
    _splits(source, folder, set(counts))
    derived = {"from": cohort.fingerprint, "how": dict(how), "left_out": len(cohort.series) - len(found)}
    provenance = {
        **old["provenance"],
        "derived": [*old["provenance"].get("derived", ()), derived],
        "counts": {"patients": len(known["patient"]), "cases": len(cases), "series": len(series)},
        "versions": versions(),
    }
    record = {"schema": SCHEMA, "fingerprint": images_fingerprint(series, cases), "provenance": provenance}
    write_json(folder / RECORD, record)
    return record


def _splits(source: Path, folder: Path, cases: set[str]) -> None:
    kept = {
        name: {**item, "parts": {case: part for case, part in item["parts"].items() if case in cases}}
        for name, item in read_splits(source).items()
    }
    if kept:
        write_json(folder / SPLITS, kept)


def fact_of(series: Series, fact: str) -> str | None:
    """A fact of a series as text: sequence, plane, site, or a field of its header; None where it is not stated."""
    for holder in (series, series.acquisition):
        if hasattr(holder, fact):
            value = getattr(holder, fact)
            return None if value is None else str(value)
    raise InputError(f"series have no fact {fact!r}", remedy="use sequence, plane, site or a header field")
