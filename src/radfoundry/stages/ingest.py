"""The verb `ingest`: folders of scans become a cohort; safe to interrupt at any moment, and to run again."""

from __future__ import annotations

import dataclasses
import errno
import json
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from radfoundry.config import Settings
from radfoundry.data import ingest_remarks, report_files, traced
from radfoundry.data.assembly import WORK, Done, agree_on_settings, assemble, keep_done, locked, read_done
from radfoundry.data.bids import parse_name
from radfoundry.data.cohort import RECORD, read_record, volume_path
from radfoundry.data.identity import Rules, check_pattern, stem_of
from radfoundry.data.intake import Outcome, ReadTask, file_label, read_task, rejection
from radfoundry.data.inventory import (
    EXPLANATIONS,
    IMAGES,
    PASSING,
    FileSeen,
    failure,
    inspect,
    instance_of,
    is_sidecar,
    person_of,
    remedy_for,
    seen,
    take_inventory,
)
from radfoundry.data.pool import LOCAL, each, worker_count
from radfoundry.data.pseudonyms import Pseudonyms, default_key_file, open_key
from radfoundry.data.reading import Repair
from radfoundry.data.row_keys import require_key
from radfoundry.data.stated_words import stated_modality
from radfoundry.records import InputError, Run, counted
from radfoundry.runs import digest

Progress = Callable[[str, int, int], None]
Found = list[tuple[FileSeen, dict[str, Any]]]
FEW_FILES = 100  # below this, starting worker processes costs more than they save


class RepairRules(Settings):
    """What may be mended in a faulty series; by default nothing, and it is refused by name."""

    gaps: Literal["refuse", "fill"] = "refuse"
    spacing: Literal["refuse", "resample"] = "refuse"
    duplicates: Literal["refuse", "first", "last"] = "refuse"
    tilt: Literal["refuse", "resample", "keep"] = "refuse"
    incomplete: Literal["refuse", "drop"] = "refuse"
    mixed: Literal["refuse", "largest"] = "refuse"
    nan: Literal["refuse", "zero"] = "refuse"
    geometry: Literal["refuse", "image"] = "refuse"
    affine: Literal["refuse", "sform", "qform"] = "refuse"
    minimum_slices: int = Field(1, ge=1)


class Config(Settings):
    """What to ingest, into which cohort, and what of the headers to keep."""

    sources: tuple[str, ...] = Field(min_length=1, description="folders, files and archives of scans")
    to: str = Field(description="cohort folder to make or to add to")
    repair: RepairRules = Field(default_factory=RepairRules, description="what may be mended in a faulty series")
    workers: int = Field(0, ge=0, description="processes; 0 for one per core")
    engine: Literal["local", "ray"] = Field(
        "local", description="processes of this machine, or a ray cluster (extra scale)"
    )
    pseudonymise: bool = Field(True, description="false keeps names, numbers and dates: public data only")
    key_file: str | None = Field(None, description="key of the pseudonyms; default COHORT.key beside the cohort")
    keep_text: bool = Field(False, description="keep series descriptions that do not mention the patient")
    keep_year: bool = Field(False, description="keep the true year of exams, for splits by date")
    site_from: Literal["institution", "station", "manufacturer", "none"] = Field(
        "institution", description="header field that tells sites apart"
    )
    sites: dict[str, str] = Field(default_factory=dict, description="names of your own for values of that field")
    pattern: str = Field("", description="regular expression with (?P<patient>…) for files that carry no patient")
    masks: tuple[str, ...] = Field((), description="shell patterns for the paths of segmentations")
    modality: str | None = Field(None, description="modality of image files that state none")
    sequence: str | None = Field(None, description="sequence of image files that state none")
    reports: str | None = Field(None, description="folder of text files, or table with a column report; see the page")


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Ingest folders, files and archives into a cohort, new or existing; a second run with nothing new changes nothing.

    Every file is either in the cohort or in its `rejected` table. Refuses sources without a single readable
    image, settings or a key other than those the cohort was begun with, and a full disk; the cohort is then as
    it was before, and the same call goes on where it stopped.
    """
    cohort = Path(config.to)
    if config.reports is not None:
        report_files.check(config.reports)
    is_begun = (cohort / WORK).exists() or (cohort / RECORD).exists()
    _check_place(config, cohort)
    worker_count(config.workers, engine=config.engine)  # a missing engine is said before anything is written
    key = Path(config.key_file or default_key_file(config.to))
    key_is_new = not key.exists()
    rules = rules_of(config, create_key=not is_begun)
    is_new = not cohort.exists()
    with _writing(cohort):
        files = _find(config, progress)
        with locked(cohort) as work:
            agree_on_settings(work, _shaping(config, rules))
            try:
                made = _fill(config, rules, files, work, progress)
                return made if config.reports is None else _with_reports(config, made)
            except InputError as error:
                if is_new and error.finding == "no-image":
                    _remove_empty(cohort)
                    if key_is_new:
                        key.unlink(missing_ok=True)
                raise


def rules_of(config: Config, *, create_key: bool) -> Rules:
    """The rules of a config with its key read, or made when there may not be one yet."""
    modality = stated_modality(config.modality)
    check_pattern(config.pattern)
    names = Pseudonyms(None)
    if config.pseudonymise:
        key_file = config.key_file or default_key_file(config.to)
        names = open_key(key_file, outside=config.to, create=create_key)
    return Rules(
        names=names,
        keep_text=config.keep_text,
        keep_year=config.keep_year,
        site_from=config.site_from,
        sites=config.sites,
        pattern=config.pattern,
        masks=config.masks,
        modality=modality,
        sequence=config.sequence,
    )


def explain(config: Config) -> Iterator[tuple[str, str, str]]:
    """Which file is which row of the rejected table: (path, reason, remedy), for the local screen alone."""
    yield from traced.refused(config.to, seen(config.sources), _rules_as_made(config))


def trace(config: Config) -> Iterator[tuple[str, str, str, str]]:
    """Which file is which series of the cohort: (series, patient, case, path), for the local screen alone."""
    for found in traced.kept(config.to, seen(config.sources), _rules_as_made(config)):
        yield found.series, found.patient, found.case, found.place


def _rules_as_made(config: Config) -> Rules:
    """The rules with the key that the cohort was made with."""
    rules = rules_of(config, create_key=False)
    require_key(rules.names, read_record(config.to), config.key_file or default_key_file(config.to))
    return rules


def _shaping(config: Config, rules: Rules) -> dict[str, Any]:
    """The settings that decide what a cohort says; site names of the user's own are kept as a digest."""
    kept = config.model_dump(include={"pseudonymise", "keep_text", "keep_year", "site_from", "modality", "sequence"})
    hidden = {"sites": digest(config.sites), "pattern": digest(config.pattern), "masks": digest(config.masks)}
    return {**kept, **hidden, "key": rules.names.fingerprint}


def _check_place(config: Config, cohort: Path) -> None:
    missing = [source for source in config.sources if not Path(source).exists()]
    if missing:
        raise InputError(
            "no such file or folder", where=", ".join(missing), remedy="check the path", finding="missing-file"
        )
    inside = [source for source in config.sources if Path(source).resolve() in (cohort / "x").resolve().parents]
    if inside:
        raise InputError("the cohort would lie inside its own source", where=str(cohort), remedy="choose another --to")
    if cohort.exists() and not cohort.is_dir():
        raise InputError("is a file", where=str(cohort), remedy="choose another --to")
    if cohort.exists() and any(cohort.iterdir()) and not (cohort / WORK).is_dir() and not (cohort / RECORD).exists():
        raise InputError("is a folder with other things in it", where=str(cohort), remedy="choose another --to")


@contextmanager
def _writing(cohort: Path) -> Generator[None]:
    """A disk that takes no more is one clear line."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise InputError(
            "the disk is full" if full else f"cannot be written ({(error.strerror or 'input error').lower()})",
            where=str(cohort),
            remedy="free some space" if full else "check its permissions and its disk",
            finding="disk-full" if full else "not-writable",
        ) from None


def _remove_empty(cohort: Path) -> None:
    import shutil

    if not any(path.is_file() for path in (cohort / "volumes").glob("*")):
        shutil.rmtree(cohort)


def _find(config: Config, progress: Progress | None) -> list[FileSeen]:
    files = []
    for file in seen(config.sources):
        files.append(file)
        if progress and len(files) % 1000 == 0:
            progress("find files", len(files), 0)
    if not files:
        raise InputError(
            "holds no files", where=", ".join(config.sources), remedy="give a folder with scans", finding="empty-folder"
        )
    return files


def _fill(config: Config, rules: Rules, files: list[FileSeen], work: Path, progress: Progress | None) -> Run:
    pool = _pool_for(config, len(files))
    tasks, refused = _inventory(files, rules, work, pool, progress)
    done = read_done(work)
    reading = list(_to_read(tasks, done, rules, config))
    results: dict[str, Done] = dict(done)
    for count, item in enumerate(_read(reading, work, pool), start=1):
        results[item.task] = item
        if progress:
            progress("read series", count, len(reading))
    late = _late(tasks, results, rules)
    readable = any(item.outcome["series"] for item in results.values())
    if not readable:
        rows = [*refused, *(row for item in results.values() for row in item.outcome["rejected"])]
        raise ingest_remarks.none_readable(", ".join(config.sources), len(files), rows)
    if progress:
        progress("write tables", 0, 1)
    labels = {file_label(file, rules) for file in files}
    provenance = {"settings": _shaping(config, rules), "pseudonymised": rules.names.keyed}
    record = assemble(config.to, results, refused=[*refused, *late], seen=labels, provenance=provenance)
    if progress:
        progress("write tables", 1, 1)
    again = [task for task in reading if task.kind in IMAGES and task.key in done]
    replaced = sum(set(task.members) != set(done[task.key].members) for task in again)
    return _as_run(config, record, tasks, replaced)


def _pool_for(config: Config, files: int) -> tuple[int, str]:
    """How many processes, and whose: a handful of files is quicker read in this one."""
    few = files < FEW_FILES and not config.workers and config.engine == LOCAL
    return (1 if few else worker_count(config.workers, engine=config.engine)), config.engine


def _inventory(
    files: Sequence[FileSeen], rules: Rules, work: Path, pool: tuple[int, str], progress: Progress | None
) -> tuple[dict[str, Found], list[dict[str, Any]]]:
    """Files by the task that reads them, and a rejected row for each that no task reads."""
    tasks: dict[str, Found] = defaultdict(list)
    refused = []
    total = len(files)
    report = (lambda count: progress("read headers", count, total)) if progress else None
    found = list(take_inventory(files, rules, work / "inventory", pool=pool, on_file=report))
    images = [file for file, row in found if row["kind"] in IMAGES]
    stems = {stem_of(file.relative) for file in images}
    suffixes = {name.suffix for file in images if (name := parse_name(file.source.name))}
    for file, row in found:
        if is_sidecar(file, stems, suffixes):
            continue
        if row["kind"] in IMAGES and row.get("task") in tasks:
            row = inspect(file, rules)  # inspected when another file had the name that it went by
        if row.get("reason"):
            error = InputError(row["what"], finding=row["reason"], remedy=remedy_for(row["reason"]))
            refused.append(rejection(file, rules, error))
        elif row.get("task"):
            tasks[row["task"]].append((file, row))
    return tasks, refused


def _to_read(tasks: Mapping[str, Found], done: Mapping[str, Done], rules: Rules, config: Config) -> Iterator[ReadTask]:
    """Tasks that are not done yet, whose files have become more, or that other repair rules may save."""
    repair = Repair(**config.repair.model_dump())
    stored = {path.name for path in Path(config.to, "volumes").glob("*")}
    for key in sorted(tasks):
        found = sorted(tasks[key], key=lambda pair: pair[0].relative)
        task = _task(key, found, rules, repair, config.to)
        if key not in done or _outdated(task, done[key], stored):
            yield task


def _outdated(task: ReadTask, before: Done, stored: set[str]) -> bool:
    """Whether there are more files, other repair rules that may matter, a passing hindrance, or lost pixels."""
    members, known = set(task.members), set(before.members)
    grown = members > known if task.kind == "dicom" else members != known
    other_rules = before.repair != digest(task.repair.__dict__) and not before.clean
    names = [volume_path(task.cohort, row["key"]).name for row in before.outcome["series"]]
    passing = any(row["reason"] in PASSING for row in before.outcome["rejected"])
    return grown or other_rules or passing or not stored.issuperset(names)


def _task(key: str, found: Found, rules: Rules, repair: Repair, cohort: str) -> ReadTask:
    first = found[0][1]
    instances = tuple(instance_of(row, file) for file, row in found) if first["kind"] == "dicom" else ()
    files = tuple(file for file, _ in found)
    return ReadTask(key, cohort, rules, repair, first["kind"], person_of(first), files, instances)


def _late(tasks: Mapping[str, Found], done: Mapping[str, Done], rules: Rules) -> list[dict[str, Any]]:
    """Files of a series that came in part before and in part now: the earlier part is kept, these are listed."""
    rows = []
    for key, found in tasks.items():
        known = set(done[key].members)
        for file, row in found:
            uid = json.loads(row["header"]).get("instance", {}).get("sop_uid")
            if uid and uid not in known:
                error = InputError(EXPLANATIONS["later-slices"], finding="later-slices")
                rows.append(rejection(file, rules, error))
    return rows


class _Reader:
    """Reads one task in a worker process and keeps its outcome at once."""

    def __init__(self, work: Path) -> None:
        self.work = work

    def __call__(self, task: ReadTask) -> Done:
        with _writing(Path(task.cohort)):
            outcome = read_task(task)
            done = Done(task.key, tuple(task.members), digest(task.repair.__dict__), outcome)
            keep_done(self.work, done)
        return done


def _read(tasks: Sequence[ReadTask], work: Path, pool: tuple[int, str]) -> Iterator[Done]:
    workers, engine = pool
    for answer in each(_Reader(work), tasks, workers=min(workers, max(len(tasks), 1)), engine=engine):
        if isinstance(answer.error, InputError):
            raise answer.error
        if answer.result is not None:
            yield answer.result
        else:
            yield _failed(answer.task, answer.error)


def _failed(task: ReadTask, error: BaseException | None) -> Done:
    """The outcome of a task that failed in this program; it is not kept, so that the next run tries again."""
    found = failure(error)
    named = InputError(found["what"], finding=found["reason"], remedy=remedy_for(found["reason"]))
    rejected = [rejection(file, task.rules, named) for file in task.files]
    outcome: Outcome = {"series": [], "case": None, "rejected": rejected}
    return Done(task.key, tuple(task.members), digest(task.repair.__dict__), outcome, final=False)


def _with_reports(config: Config, made: Run) -> Run:
    """The run with its reports in the cohort and what became of them in its notes."""
    from radfoundry.data.cohort import open_cohort

    found = report_files.add(config.to, str(config.reports), key_file=config.key_file)
    note = f"{counted(found['given'], 'report')} read, {counted(found['exams'], 'exam has', 'exams have')} one"
    note += f"; {found['unplaced']} fit no exam here" if found["unplaced"] else ""
    note += f"; {found['removed']} dates, numbers and names replaced" if config.pseudonymise else ""
    outputs = {"cohort": open_cohort(config.to).fingerprint}
    return dataclasses.replace(made, outputs=outputs, notes=(*made.notes, note))


def _as_run(config: Config, record: Mapping[str, Any], tasks: Mapping[str, Found], replaced: int) -> Run:
    counts = record["provenance"]["counts"]
    notes = ingest_remarks.remarks(counts, tasks.values(), masks=config.masks, replaced=replaced)
    return Run(
        path=config.to,
        stage="ingest",
        config=config.model_dump(mode="json"),
        seed=0,
        inputs={},
        outputs={"cohort": record["fingerprint"]},
        versions=record["provenance"]["versions"],
        notes=tuple(notes),
    )
