"""From the keys of a cohort back to the user's own files: for the local screen of whoever has key and scans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radfoundry.data.assembly import WORK, Done, read_done
from radfoundry.data.cohort import open_cohort
from radfoundry.data.cohort_tables import read_table
from radfoundry.data.dicom_series import group_instances
from radfoundry.data.identity import Rules
from radfoundry.data.intake import content_of_file, file_label, series_key_of_file, series_keys
from radfoundry.data.inventory import FileSeen, file_name, inspect, instance_of, person_of, read_parts
from radfoundry.records import InputError, counted

INVENTORY = "inventory"


@dataclass(frozen=True)
class Traced:
    """One series of a cohort with the patient and exam it belongs to, and the files it was read from."""

    series: str
    patient: str
    case: str
    files: tuple[str, ...]

    @property
    def place(self) -> str:
        """The file, or the first of several with their number."""
        more = len(self.files) - 1
        return self.files[0] + (f" (and {more} more)" if more else "")


def refused(cohort: str | Path, files: Iterable[FileSeen], rules: Rules) -> Iterator[tuple[str, str, str]]:
    """The path, reason and remedy of every file that a cohort lists as not used."""
    rows = {row["file"]: row for row in read_table(Path(cohort) / "rejected.parquet", "rejected")}
    for file in files:
        row = rows.get(file_label(file, rules))
        if row is not None:
            yield str(file.source), f"{row['reason']}: {row['what']}", row["remedy"]


def by_folder(rows: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The same rows with all files of one folder that share a reason in one, so that a long series is one line.

    >>> by_folder((f"ct/{n}.dcm", "slice-gap", "fill it") for n in (1, 2, 3))
    [('ct/1.dcm … 3.dcm (3 files)', 'slice-gap', 'fill it')]
    """
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for path, reason, remedy in rows:
        groups[path.rpartition("/")[0], reason, remedy].append(path)
    return [
        (
            paths[0]
            if len(paths) == 1
            else f"{paths[0]} … {paths[-1].rpartition('/')[2]} ({counted(len(paths), 'file')})",
            reason,
            remedy,
        )
        for (_, reason, remedy), paths in groups.items()
    ]


def kept(cohort: str | Path, files: Iterable[FileSeen], rules: Rules) -> list[Traced]:
    """The series of a cohort that these files are, in the order of the files; refuses files that are none of them."""
    there = {series.key for series in open_cohort(cohort).series}
    found = [item for item in traced(files, rules, Path(cohort) / WORK) if item.series in there]
    if not found:
        raise InputError(
            "none of these files is in it",
            where=str(cohort),
            remedy="give the folders that it was made from",
            finding="not-in-cohort",
        )
    return found


def traced(files: Iterable[FileSeen], rules: Rules, work: str | Path) -> Iterator[Traced]:
    """Every series the files make, whether or not it could be read, in the order of the files.

    `work` is the working folder of the ingest: what was inspected before is not opened again. Nothing is written.
    """
    known = {row["file"]: row for row in read_parts(Path(work) / INVENTORY)}
    done = read_done(Path(work))
    tasks: dict[str, list[tuple[FileSeen, dict[str, Any]]]] = defaultdict(list)
    for file in files:
        row = known.get(file_name(file, rules)) or inspect(file, rules)
        if row.get("task"):
            tasks[row["task"]].append((file, row))
    for key, found in tasks.items():
        person = person_of(found[0][1])
        for series, paths in _series(key, found, rules, done.get(key)):
            yield Traced(series, person.patient, person.case, tuple(paths))


def _series(
    task: str, found: Sequence[tuple[FileSeen, dict[str, Any]]], rules: Rules, done: Done | None
) -> Iterator[tuple[str, list[str]]]:
    if found[0][1]["kind"] != "dicom":
        for file, _ in found:
            yield _key_of_file(file, rules, done), [str(file.source)]
        return
    file_of = {file.source: file for file, _ in found}
    groups = group_instances([instance_of(row, file) for file, row in found])
    for series, group in zip(series_keys(groups, task, rules), groups, strict=True):
        yield series, sorted(str(file_of[item.source].source) for item in group)


def _key_of_file(file: FileSeen, rules: Rules, done: Done | None) -> str:
    """The key under which it was read; whoever names other folders now may call the file otherwise."""
    if done is not None and done.outcome["series"] and content_of_file(file) in done.members:
        return done.outcome["series"][0]["key"]
    return series_key_of_file(file, rules)
