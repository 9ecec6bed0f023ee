"""The verb `deidentify`: files of patients in, the same files without identity out; safe to interrupt and go on."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from radfoundry.config import Settings
from radfoundry.data.deidentify_check import FILTER_BITS, ToldWords
from radfoundry.data.deidentify_profile import Options
from radfoundry.data.deidentify_stream import (
    BATCH_FILES,
    IMAGES,
    Batch,
    Outcome,
    batches,
    label_of,
    rejection,
    work_through,
)
from radfoundry.data.identity import Rules, check_pattern
from radfoundry.data.inventory import seen
from radfoundry.data.pool import each, worker_count
from radfoundry.data.pseudonyms import Pseudonyms, default_key_file, open_key
from radfoundry.records import InputError, Run, counted
from radfoundry.runs import RunWriter, atomic, digest, finish, write_json

Progress = Callable[[str, int, int], None]
OPTIONS = ("uids", "device", "institution", "patient", "descriptors", "structured", "graphics", "private")
REJECTED = ("file", "reason", "what", "remedy")
MADE = "made"  # in the working folder: what was not there before
AGAIN = 256  # files of one task of the second pass


class Config(Settings):
    """What to de-identify, where to, and what may stay beyond the basic profile."""

    sources: tuple[str, ...] = Field(min_length=1, description="folders, files and archives")
    to: str = Field(description="folder to write; never inside a source")
    key_file: str | None = Field(None, description="key of the pseudonyms; default TO.key beside the folder")
    dates: Literal["removed", "shifted", "full"] = Field("shifted", description="dates and times")
    pixels: Literal["risky", "all", "none"] = Field("risky", description="which pixels are searched for burned-in text")
    deface: bool = Field(False, description="remove the face from MR heads (see the page for what is not looked at)")
    patient: bool = Field(False, description="keep sex, age (above 89 as 90), size, weight")
    device: bool = Field(False, description="keep station names and serial numbers")
    institution: bool = Field(False, description="keep the institution's name instead of a pseudonym")
    uids: bool = Field(False, description="keep UIDs instead of new ones")
    private: bool = Field(False, description="keep the private elements of the allow-list")
    descriptors: bool = Field(False, description="keep the known words of descriptions")
    structured: bool = Field(False, description="keep codes and numbers of structured reports")
    graphics: bool = Field(False, description="keep overlays in which no text is found")
    pattern: str = Field("", description="regular expression with (?P<patient>…) for files that carry no patient")
    workers: int = Field(0, ge=0, description="processes; 0 for one per core")

    @property
    def options(self) -> Options:
        """The options of the profile."""
        return Options(dates=self.dates, pixels=self.pixels, **{name: getattr(self, name) for name in OPTIONS})


@dataclass
class Totals:
    """The sum of all batches."""

    read: int = 0
    masked_files: int = 0
    masked_regions: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    faces: Counter[str] = field(default_factory=Counter)
    second_pass: int = 0
    written: int = 0


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """De-identify everything below the sources; every file is written clean or is a row of `rejected.csv`.

    Nothing is copied through: what cannot be read or has no rule is rejected with its reason. The same key gives the
    same pseudonyms, UIDs and date shifts in every run. Refuses a finished folder, settings or a key other than those
    an interrupted run was begun with, and a key inside the output. When not one file can be written nothing is left
    behind, neither a folder nor a key that was made for it.
    """
    target = Path(config.to)
    work = target.with_name(f".{target.name}.work")
    if not work.exists() and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError("already exists", where=config.to, remedy="choose another --to", finding="exists")
    made = [path for path in (target, _key_file(config)) if not path.exists()]
    rules = rules_of(config)
    _begin(config, target, work, rules, made)
    keys: list[str] = []
    _clean_all(config, rules, work, keys, progress)
    totals = _sum_up(work, keys, target, rules)
    if config.deface:
        totals.faces = _deface(target / IMAGES, progress)
    _second_pass(config, rules, work, target, totals, progress)
    if not totals.written:
        raise _nothing_written(config, target, work, totals)
    run = _finish(config, rules, target, totals)
    shutil.rmtree(work)
    return run


def _deface(images: Path, progress: Progress | None) -> Counter[str]:
    from radfoundry import registry
    from radfoundry.nets.defaced_files import deface_all

    return deface_all(images, registry.build("encoders", "radfoundry-mri"), progress=progress)


def rules_of(config: Config, *, create_key: bool = True) -> Rules:
    """Pseudonyms and the pattern of file names."""
    missing = [source for source in config.sources if not Path(source).exists()]
    if missing:
        raise InputError(
            "no such file or folder", where=", ".join(missing), remedy="check the path", finding="missing-file"
        )
    inside = [
        source for source in config.sources if Path(source).resolve() in (Path(config.to) / "x").resolve().parents
    ]
    if inside:
        raise InputError("the output would lie inside its own source", where=config.to, remedy="choose another --to")
    check_pattern(config.pattern)
    names = open_key(_key_file(config), outside=config.to, create=create_key)
    return Rules(names=names, pattern=config.pattern)


def _key_file(config: Config) -> Path:
    return Path(config.key_file or default_key_file(config.to))


def explain(config: Config) -> Iterator[tuple[str, str, str]]:
    """Which file is which row of the rejected table: (path, reason, remedy), for the local screen alone."""
    rules = rules_of(config, create_key=False)
    with (Path(config.to) / "rejected.csv").open(encoding="utf-8", newline="") as handle:
        rows = {row["file"]: row for row in csv.DictReader(handle)}
    for file in seen(config.sources):
        row = rows.get(label_of(file, rules))
        if row is not None:
            yield str(file.source), f"{row['reason']}: {row['what']}", row["remedy"]


def _begin(config: Config, target: Path, work: Path, rules: Rules, made: Sequence[Path]) -> None:
    """The working folder beside the output; of an interrupted run when there is one with the same settings.

    `made` are the folder and the key that were not there before; they are noted for when nothing can be written.
    """
    agreed = digest([config.model_dump(exclude={"workers", "to", "sources", "key_file"}), rules.names.fingerprint])
    mark = work / "settings"
    if mark.exists() and mark.read_text() != agreed:
        raise InputError(
            "was begun with other settings or another key", where=config.to, remedy="give the same, or another --to"
        )
    if not mark.exists():
        work.mkdir(parents=True, exist_ok=True)
        write_json(work / MADE, [str(path.absolute()) for path in made])
        mark.write_text(agreed)
    (target / IMAGES).mkdir(parents=True, exist_ok=True)


def _nothing_written(config: Config, target: Path, work: Path, totals: Totals) -> InputError:
    """Take away everything this output was begun with, and say why not one file could be written."""
    remedy = _commonest_remedy(target / "rejected.csv") if totals.read else "give a folder that holds scans"
    made = {Path(path) for path in json.loads((work / MADE).read_text(encoding="utf-8"))}
    for path in sorted(target.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if target.absolute() in made:
        target.rmdir()
    if _key_file(config).absolute() in made:
        _key_file(config).unlink()
    shutil.rmtree(work)
    reasons = ", ".join(f"{count} {reason}" for reason, count in totals.reasons.most_common() if count)
    what = f"none of {totals.read} files could be written ({reasons})" if totals.read else "no files below the sources"
    return InputError(what, where=", ".join(config.sources), remedy=remedy, finding="all-rejected")


def _commonest_remedy(rejected: Path) -> str:
    with rejected.open(encoding="utf-8", newline="") as handle:
        rows = Counter(f"{row['what']}: {row['remedy']}" for row in csv.DictReader(handle))
    return rows.most_common(1)[0][0]


def _clean_all(config: Config, rules: Rules, work: Path, keys: list[str], progress: Progress | None) -> None:
    """Every batch that is not done yet; `keys` becomes the list of all batches in the order of the stream."""
    stream = batches(seen(config.sources), config.to, rules, config.options)
    first = list(itertools.islice(stream, 2))
    workers = 1 if len(first) < 2 else worker_count(config.workers)
    done = 0
    for answer in each(work_through, _missing(itertools.chain(first, stream), work, keys), workers=workers):
        outcome = answer.result
        if outcome is None:
            if not isinstance(answer.error, (InputError, Exception)) or isinstance(answer.error, OSError):
                raise answer.error or RuntimeError("no answer")
            outcome = _one_by_one(answer.task)
        with atomic(work / f"{answer.task.key}.json") as partial:
            partial.write_text(outcome.to_json())
        done += outcome.read
        if progress:
            progress("de-identify", done, 0)


def _missing(stream: Iterator[Batch], work: Path, keys: list[str]) -> Iterator[Batch]:
    for batch in stream:
        keys.append(batch.key)
        if not (work / f"{batch.key}.json").exists():
            yield batch


def _one_by_one(batch: Batch) -> Outcome:
    """A batch that ended its process or met an error of ours: file by file, so that only the guilty one is rejected."""
    total = Outcome()
    singles = (Batch((file,), batch.target, batch.rules, batch.options) for file in batch.files)
    for answer in each(work_through, singles, workers=2):
        one = answer.result
        if one is None:
            error = InputError("reading it ended the process or met an error", finding="crashed")
            one = Outcome(read=1, rejected=[rejection(answer.task.files[0], batch.rules, error)])
        total.read += one.read
        total.kinds.update(one.kinds)
        total.done.update(one.done)
        total.rejected += one.rejected
        total.told += one.told
        total.masked_files += one.masked_files
        total.masked_regions += one.masked_regions
    return total


def _sum_up(work: Path, keys: Sequence[str], target: Path, rules: Rules) -> Totals:
    """Totals of all batches, the rejected table, and the filter of everybody's telling words."""
    totals, told = Totals(), ToldWords(rules.names.secret or b"")
    with atomic(target / "rejected.csv") as partial, partial.open("w", encoding="utf-8", newline="") as handle:
        table = csv.DictWriter(handle, REJECTED)
        table.writeheader()
        for key in keys:
            outcome = Outcome.from_json((work / f"{key}.json").read_text())
            table.writerows(outcome.rejected)
            totals.reasons.update(row["reason"] for row in outcome.rejected)
            totals.read += outcome.read
            totals.masked_files += outcome.masked_files
            totals.masked_regions += outcome.masked_regions
            totals.kinds.update(outcome.kinds)
            totals.done.update(outcome.done)
            for places in outcome.told:
                told.add(places)
    (work / "told").write_bytes(told.bits)
    return totals


def _written(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _written(path)
        elif not path.name.endswith(".partial"):
            yield path
        else:
            path.unlink()


def _second_pass(
    config: Config, rules: Rules, work: Path, target: Path, totals: Totals, progress: Progress | None
) -> None:
    """Read every written file again and look for anybody's telling words; what tells one is taken out and rejected."""
    paths = _written(target / IMAGES)
    tasks = iter(lambda: tuple(map(str, itertools.islice(paths, AGAIN))), ())
    given = ((task, str(work / "told"), rules.names) for task in tasks)
    rows = []
    for answer in each(
        look_again, given, workers=1 if totals.read <= 2 * BATCH_FILES else worker_count(config.workers)
    ):
        if answer.error is not None:
            raise answer.error
        for path in answer.result or ():
            Path(path).unlink()
            rows.append(
                (f"written {Path(path).name}", "second-pass", "tells a word of a patient", "have a person look")
            )
        totals.written += len(answer.task[0]) - len(answer.result or ())
        if progress:
            progress("look again", totals.written, 0)
    totals.second_pass = len(rows)
    totals.reasons["second-pass"] += len(rows)
    if rows:
        with (target / "rejected.csv").open("a", encoding="utf-8", newline="") as handle:
            csv.writer(handle).writerows(sorted(rows))


def look_again(task: tuple[Sequence[str], str, Pseudonyms]) -> list[str]:
    """The files among those given that tell a word of any patient of the cohort."""
    paths, told, names = task
    bits = bytearray(Path(told).read_bytes())
    if len(bits) != FILTER_BITS // 8:
        raise InputError("the filter of telling words is damaged", where=told, remedy="give the same command again")
    words = ToldWords(names.secret or b"", bits)
    return [path for path in paths if words.told_in(Path(path).read_bytes(), path)]


def _copies(totals: Totals) -> int:
    """How many files were not written because the same file had been written before."""
    return totals.read - totals.written - sum(totals.reasons.values())


def _finish(config: Config, rules: Rules, target: Path, totals: Totals) -> Run:
    with atomic(target / "actions.csv") as partial, partial.open("w", encoding="utf-8", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(("attribute", "action", "count"))
        table.writerows((*name.rsplit(" ", 1), count) for name, count in sorted(totals.done.items()))
    report: dict[str, Any] = {
        "methods": [f"{code} {meaning}" for code, meaning in config.options.methods],
        "key": rules.names.fingerprint,
        "read": totals.read,
        "written": totals.written,
        "copies": _copies(totals),
        "rejected": dict(sorted(totals.reasons.items())),
        "kinds": dict(sorted(totals.kinds.items())),
        "text painted over": {"files": totals.masked_files, "regions": totals.masked_regions},
        "faces": dict(sorted(totals.faces.items())),
        "second pass": {"files read": totals.written + totals.second_pass, "findings": totals.second_pass},
    }
    write_json(target / "report.json", report)
    # Paths may name patients, so the record holds none.
    settings = config.model_dump(exclude={"sources", "to", "key_file", "pattern", "workers"})
    files = [target / name for name in ("rejected.csv", "actions.csv", "report.json")]
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(totals.reasons.items()) if count)
    copies = _copies(totals)
    notes = [
        f"read: {counted(totals.read, 'file')}",
        f"written: {counted(totals.written, 'file')}",
        *([f"the same file a second time: {counted(copies, 'file')}, not written again"] if copies else []),
        f"rejected: {sum(totals.reasons.values())}" + (f" ({listed})" if listed else ""),
        f"burned-in text painted over: {counted(totals.masked_regions, 'region')} in "
        f"{counted(totals.masked_files, 'file')}",
        *(
            [f"faces: {', '.join(f'{n} series {what}' for what, n in sorted(totals.faces.items()))}"]
            if config.deface
            else []
        ),
        f"second pass: {counted(totals.second_pass, 'finding')} in "
        f"{counted(totals.written + totals.second_pass, 'file')}",
    ]
    return finish(RunWriter(folder=target, files=files, notes=notes), "deidentify", settings)
