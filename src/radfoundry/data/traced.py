"""From the keys of a cohort back to the user's own files: for the local screen of whoever has key and scans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radfoundry.data.assembly import Done, read_done
from radfoundry.data.dicom_series import group_instances
from radfoundry.data.identity import Rules
from radfoundry.data.intake import content_of_file, series_key_of_file, series_keys
from radfoundry.data.inventory import FileSeen, file_name, inspect, instance_of, person_of, read_parts

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
