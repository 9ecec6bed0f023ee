"""The inventory of an ingest: every file's kind and header, read once, kept in parts, without a name in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radfoundry.data.bids import read_sidecar
from radfoundry.data.cohort_tables import digest_rows, read_table, write_table
from radfoundry.data.dicom_header import Instance, instance_from
from radfoundry.data.foreign_formats import foreign_format
from radfoundry.data.identity import (
    Person,
    Rules,
    person_of_file,
    person_of_instance,
    pseudonymous,
    stem_of,
    without_names,
)
from radfoundry.data.pool import LOCAL, each
from radfoundry.data.reading import FINDINGS
from radfoundry.data.sniffing import HEAD_BYTES, kind_of_bytes
from radfoundry.data.sources import Source, kind_of, open_source, read_from, walk
from radfoundry.data.streams import beside
from radfoundry.records import InputError

# Refusals that only a change of the file itself can lift; of others (a share that was away, missing permissions)
# nothing is remembered, so that the next run tries again.
LASTING = (None, "not-an-image", "not-read", "no-pixels", "pattern", "empty-axis")
PASSING = ("missing-file", "unreadable", "truncated")
IMAGES = ("nifti", "itk", "picture")
SILENT = ("companion",)  # pixel halves of header files: used through them
BATCH = 48
ROWS_PER_PART = 2000
# Findings of our own, beside those of the readers.
EXPLANATIONS = {
    "not-an-image": "no image",
    "not-read": "a format that is not read",
    "sidecar": "a description without an image beside it",
    "pattern": "its path does not fit the pattern that names patients",
    "copy": "the same file is there a second time",
    "crashed": "reading it ended the reading process",
    "unexpected": "an error of this program",
    "later-slices": "more slices of a series that is already in the cohort",
}
REMEDIES = {
    "pattern": "mend files.pattern or leave the file out",
    "sidecar": "put it beside its image, under the same name",
    "copy": "nothing to do",
    "crashed": "check the file with its source; please report it",
    "unexpected": "please report it with the version of radfoundry",
    "later-slices": "ingest all its files together into a new cohort",
}


@dataclass(frozen=True, slots=True)
class FileSeen:
    """A file on the way in: where it lies now, and its path from the name of the given folder downwards."""

    source: Source
    relative: str
    size: int
    modified: int

    @property
    def extension(self) -> str:
        """The ending of its name, at most eight letters, as far as it looks like one."""
        name = self.source.name.lower()
        ending = ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix
        return ending if ending[1:].replace(".", "").isalnum() and 1 < len(ending) <= 8 else ""


def remedy_for(finding: str) -> str:
    """What to do about a finding."""
    return REMEDIES.get(finding) or FINDINGS.get(finding, "")


def seen(roots: Sequence[str | Path]) -> Iterator[FileSeen]:
    """Every file below the given files and folders, archives opened, in a fixed order.

    `relative` begins with the name of what was given; with as many folders above it as tell two of one name apart.
    """
    resolved = sorted({Path(root).resolve() for root in roots}, key=lambda path: (len(path.parts), str(path)))
    called = told_apart(resolved)
    for source in walk([str(path) for path in resolved]):
        root = next(path for path in resolved if source.path == str(path) or Path(source.path).is_relative_to(path))
        inside = source.path[len(str(root)) :].lstrip("/")
        relative = "/".join(part for part in (called[root], inside) if part)
        try:
            status = Path(source.path).stat()
        except OSError:
            yield FileSeen(source, relative, -1, -1)
            continue
        member = f"!{source.member}" if source.member else ""
        yield FileSeen(source, relative + member, status.st_size, status.st_mtime_ns)


def told_apart(roots: Sequence[Path]) -> dict[Path, str]:
    """The last part of each path, or as many parts as it takes to tell it from the others.

    >>> list(told_apart([Path("/a/1/t1.nii"), Path("/a/2/t1.nii"), Path("/a/t2.nii")]).values())
    ['1/t1.nii', '2/t1.nii', 't2.nii']
    """
    called = dict.fromkeys(roots, 1)
    while True:
        names = {root: "/".join(root.parts[1:][-count:]) for root, count in called.items()}
        twice = {name for name, count in Counter(names.values()).items() if count > 1}
        longer = {root for root, name in names.items() if name in twice and called[root] < len(root.parts)}
        if not longer:
            return names
        called = {root: count + (root in longer) for root, count in called.items()}


def file_name(file: FileSeen, rules: Rules) -> str:
    """The keyed name under which the inventory knows a file at this place in this state."""
    return rules.names.name("inventory", f"{file.source}\0{file.size}\0{file.modified}")


def inspect(file: FileSeen, rules: Rules) -> dict[str, Any]:
    """One row of the inventory: a file's kind, the task that reads it, its pseudonymous header or the refusal."""
    row: dict[str, Any] = {"file": file_name(file, rules), "bytes": file.size, "modified": file.modified}
    kind = "other"
    try:
        kind, instance, foreign = _look(file.source)
        found = _dicom(file, instance, rules) if instance else _image(file, rules) if kind in IMAGES else _other(kind)
        if foreign is not None:
            found = {"reason": "not-read", "what": f"{EXPLANATIONS['not-read']}: {foreign}"}
    except InputError as error:
        reason = error.finding or "unreadable"
        found = {"reason": reason, "what": without_names(error.what, file.relative)}
    return {**row, "kind": kind, **found}


def _look(source: Source) -> tuple[str, Instance | None, str | None]:
    """The kind of a file, for DICOM its header, and what it is called where its format is not read: one opening."""
    with open_source(source) as stream:
        head = read_from(stream, HEAD_BYTES, source)
        kind = kind_of_bytes(head, name=source.name)
        if kind == "dicom":
            stream.seek(0)
            return kind, instance_from(stream, source), None
    kind = kind_of(source) if kind == "other" else kind
    return kind, None, foreign_format(head, name=source.name) if kind == "other" else None


def _dicom(file: FileSeen, instance: Instance, rules: Rules) -> dict[str, Any]:
    person = person_of_instance(instance, rules, file.relative)
    shared = instance.series_uid or f"file {file.relative}"
    header = {key: value for key, value in pseudonymous(instance, rules).to_row().items() if value is not None}
    return {
        "task": f"d-{rules.names.name('task', f'{person.patient} {shared}')}",
        "header": json.dumps({"person": person.to_row(), "instance": header}, separators=(",", ":")),
    }


def _image(file: FileSeen, rules: Rules) -> dict[str, Any]:
    person = person_of_file(file.relative, rules, own_sidecar(file.source))
    if person is None:
        return {"reason": "pattern", "what": EXPLANATIONS["pattern"]}
    header = {"person": person.to_row()}
    return {
        "task": f"f-{rules.names.name('task', file.relative)}",
        "header": json.dumps(header, separators=(",", ":")),
    }


def own_sidecar(source: Source) -> dict[str, Any]:
    """The JSON object beside an image, under the same name; empty when there is none."""
    return read_sidecar(beside(source, f"{stem_of(source.name)}.json")) or {}


def _other(kind: str) -> dict[str, Any]:
    return {} if kind in SILENT else {"reason": "not-an-image", "what": EXPLANATIONS["not-an-image"]}


@dataclass(frozen=True)
class _Batch:
    files: tuple[FileSeen, ...]
    rules: Rules


def _inspect_batch(batch: _Batch) -> list[dict[str, Any]]:
    return [inspect(file, batch.rules) for file in batch.files]


def take_inventory(
    files: Iterable[FileSeen],
    rules: Rules,
    folder: str | Path,
    *,
    pool: tuple[int, str] = (1, LOCAL),
    on_file: Callable[[int], None] | None = None,
) -> Iterator[tuple[FileSeen, dict[str, Any]]]:
    """Each file with its row; files inspected before, in the same state, are not opened again.

    `pool` is the number of processes and the engine they belong to (`data.pool`).

    New rows are kept in `folder` in parts of 2000 as they come, each written whole or not at all, so that an
    interruption loses at most one part. The order of what is given is not that of the files.
    """
    known = {row["file"]: row for row in read_parts(folder)}
    fresh: list[dict[str, Any]] = []
    count = 0

    def unknown() -> Iterator[_Batch]:
        batch: list[FileSeen] = []
        for file in files:
            row = known.get(file_name(file, rules))
            if row is not None:
                remembered.append((file, row))
                continue
            batch.append(file)
            if len(batch) == BATCH:
                yield _Batch(tuple(batch), rules)
                batch = []
        if batch:
            yield _Batch(tuple(batch), rules)

    remembered: list[tuple[FileSeen, dict[str, Any]]] = []
    for answer in each(_inspect_batch, unknown(), workers=pool[0], engine=pool[1]):
        rows = answer.result if answer.result is not None else _blamed(answer.task, answer.error)
        fresh.extend(rows)
        count += len(rows)
        if len(fresh) >= ROWS_PER_PART:
            keep_part(folder, fresh)
            fresh = []
        yield from zip(answer.task.files, rows, strict=True)
        if on_file:
            on_file(count + len(remembered))
    keep_part(folder, fresh)
    yield from remembered
    if on_file:
        on_file(count + len(remembered))


def _blamed(batch: _Batch, error: BaseException | None) -> list[dict[str, Any]]:
    """Rows of a batch whose inspection ended badly: each file is tried alone, and only the guilty one is refused."""
    rows = []
    for file in batch.files:
        single = next(iter(each(_inspect_batch, [replace(batch, files=(file,))], workers=2)))
        if single.result is not None:
            rows.extend(single.result)
        else:
            rows.append({"file": file_name(file, batch.rules), "kind": "other", **failure(single.error)})
    return rows


def failure(error: BaseException | None) -> dict[str, str]:
    """Reason and text where this program itself failed; never the error's own words, which may quote the file."""
    died = type(error).__name__ == "BrokenProcessPool"
    reason = "crashed" if died else "unexpected"
    detail = "" if died else f" ({type(error).__name__})"
    return {"reason": reason, "what": f"{EXPLANATIONS[reason]}{detail}"}


def read_parts(folder: str | Path) -> list[dict[str, Any]]:
    """All rows kept so far; a damaged part is passed over, its files are inspected again."""
    rows: list[dict[str, Any]] = []
    for path in sorted(Path(folder).glob("part-*.parquet")):
        with suppress(InputError):
            rows.extend(read_table(path, "inventory"))
    return rows


def keep_part(folder: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows as one more part; refusals that may pass by themselves are not kept."""
    lasting = [row for row in rows if row.get("reason") in LASTING]
    if lasting:
        write_table(Path(folder) / f"part-{digest_rows(lasting)}.parquet", "inventory", lasting)


def instance_of(row: Mapping[str, Any], file: FileSeen) -> Instance:
    """The header kept in a row, with the place where the file lies now."""
    header = json.loads(row["header"])["instance"]
    return Instance.from_row({**header, "path": file.source.path, "member": file.source.member})


def person_of(row: Mapping[str, Any]) -> Person:
    """The person kept in a row."""
    return Person(**json.loads(row["header"])["person"])


def is_sidecar(file: FileSeen, stems: set[str], suffixes: set[str]) -> bool:
    """Whether a JSON file describes an image: same name beside it, or the suffix of BIDS images (inheritance)."""
    name = file.source.name
    if not name.lower().endswith(".json"):
        return False
    return file.relative[: -len(".json")] in stems or name[: -len(".json")].split("_")[-1] in suffixes
