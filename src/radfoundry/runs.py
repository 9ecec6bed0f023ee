"""Run folders: what was asked, with which seed and versions, and what came out; written whole or not at all."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from radfoundry.records import Estimate, InputError, Run

FORMAT = 1
RECORD = "run.json"
_BEGUN: ContextVar[float | None] = ContextVar("when the work began that is being written", default=None)
REPORTED_VERSIONS = ("radfoundry", "torch", "numpy", "scipy", "pandas", "scikit-learn", "SimpleITK", "pydicom")


@contextmanager
def atomic(path: str | Path) -> Generator[Path]:
    """Write a file under a temporary name beside its place, then rename it: whole or not at all.

    >>> with atomic("/tmp/radfoundry-doctest.txt") as partial:
    ...     _ = partial.write_text("done")
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as handle:
            os.fsync(handle.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """JSON that any reader accepts (NaN becomes null), written whole or not at all."""
    text = json.dumps(plain(value), indent=1, sort_keys=True, allow_nan=False)
    with atomic(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """Records, numpy scalars and paths as the plain values JSON knows; NaN and infinity become None."""
    if isinstance(value, Estimate):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def digest(value: Any) -> str:
    """A short fingerprint of any plain value; equal values give equal fingerprints on every machine."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def check_files(folder: Path, digests: Mapping[str, str], *, remedy: str) -> None:
    """Refuse a folder in which a listed file is missing or has another digest than when it was written."""
    for name, digest in digests.items():
        if not (folder / name).is_file() or digest_file(folder / name) != digest:
            raise InputError(
                f"its {name} is missing or was changed", where=str(folder), remedy=remedy, finding="damaged"
            )


def digest_file(path: str | Path) -> str:
    """The fingerprint of a file's bytes."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]


def versions() -> dict[str, str]:
    """The versions that can change a number: ours, the interpreter's and the numeric libraries'."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in REPORTED_VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass
class RunWriter:
    """A run while it is being written: put files in `folder`, numbers in `metrics`, remarks in `notes`."""

    folder: Path
    metrics: dict[str, Estimate] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unstable: set[str] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)
    final: Path = Path()
    run: Run | None = None

    @property
    def finished(self) -> Run:
        """The run record; there only after the block that wrote it has ended well."""
        if self.run is None:
            raise InputError("the run is not finished", where=str(self.final))
        return self.run


def working(run: Callable[..., Run]) -> Callable[..., Run]:
    """For the `run` of a stage: a folder that cannot be written is refused before the work, and all of it is timed."""

    @functools.wraps(run)
    def begun(config: Any, **options: Any) -> Run:
        _check_free(free_folder("run") if config.to is None else Path(config.to))
        token = _BEGUN.set(time.time())
        try:
            return run(config, **options)
        finally:
            _BEGUN.reset(token)

    return begun


def _check_free(folder: Path) -> None:
    if folder.exists():
        raise InputError(
            "already exists", where=str(folder), remedy="choose another --to or remove it", finding="exists"
        )
    cohort = next((parent for parent in folder.absolute().parents if (parent / "cohort.json").is_file()), None)
    if cohort is not None:
        raise InputError(
            f"lies inside the cohort {cohort.name}",
            where=str(folder),
            remedy="choose a --to beside it",
            finding="inside",
        )
    there = next(parent for parent in folder.absolute().parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        said = "may not be written in" if there.is_dir() else "is a file, not a folder"
        raise InputError(said, where=str(there), remedy="choose another --to", finding="not-writable")


@contextmanager
def writing(
    stage: str, config: Mapping[str, Any], *, to: str | Path | None = None, seed: int = 0
) -> Generator[RunWriter]:
    """A new run folder that appears under its name only when everything in it is written.

    Without `to` the folder is `runs/STAGE-<fingerprint of the settings>`. Refuses a `to` that exists.
    An error or interruption inside the block leaves nothing behind.
    """
    final = free_folder(f"{stage}-{digest([stage, config])[:8]}") if to is None else Path(to)
    _check_free(final)
    folder = final.with_name(f".{final.name}.{os.getpid()}.partial")
    folder.mkdir(parents=True)
    writer = RunWriter(folder=folder, final=final)
    started = _BEGUN.get() or time.time()
    try:
        yield writer
        record = _record(writer, stage, config, seed)
        write_json(folder / RECORD, {**record, "started": int(started), "seconds": round(time.time() - started, 2)})
        folder.rename(final)
        writer.run = read(final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def finish(writer: RunWriter, stage: str, config: Mapping[str, Any], *, seed: int = 0) -> Run:
    """Write the record into a folder that was filled step by step; until then the folder counts as unfinished.

    For work that keeps its finished steps when it is interrupted; everything else uses `writing`.
    """
    write_json(writer.folder / RECORD, {**_record(writer, stage, config, seed), "started": int(time.time())})
    return read(writer.folder)


def _record(writer: RunWriter, stage: str, config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    files = writer.files or sorted(path for path in writer.folder.rglob("*") if path.is_file())
    return {
        "format": FORMAT,
        "stage": stage,
        "config": config,
        "seed": seed,
        "metrics": writer.metrics,
        "inputs": writer.inputs,
        "outputs": {str(path.relative_to(writer.folder)): digest_file(path) for path in files},
        "unstable": sorted(writer.unstable),
        "versions": versions(),
        "notes": writer.notes,
    }


def free_folder(name: str, *, within: str | Path = "runs") -> Path:
    """The first of NAME, NAME-2, NAME-3 … that does not exist yet."""
    first = Path(within) / name
    candidate, count = first, 1
    while candidate.exists():
        count += 1
        candidate = first.with_name(f"{name}-{count}")
    return candidate


def read(path: str | Path) -> Run:
    """The run in a folder; refuses a folder without a readable run record."""
    values = read_record(path)
    return Run(
        path=str(path),
        stage=values["stage"],
        config=values["config"],
        seed=values["seed"],
        metrics={name: Estimate.from_dict(item) for name, item in values["metrics"].items()},
        inputs=values["inputs"],
        outputs=values["outputs"],
        versions=values["versions"],
        notes=tuple(values["notes"]),
    )


def read_record(path: str | Path) -> dict[str, Any]:
    """Everything in the run record as plain values, timings included."""
    record = Path(path) / RECORD
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise InputError(f"run format {values['format']} is not {FORMAT}", where=str(record), remedy="run it again")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            "not a run folder (no run.json)", where=str(path), remedy="give a folder under runs/", finding="not-a-run"
        ) from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"the run record is damaged ({error})", where=str(record), remedy="run it again") from None
    return values


def differences(first: str | Path, second: str | Path) -> list[str]:
    """What two runs of the same settings do not share, bit for bit: metrics and output files, timings aside."""
    one, other = read_record(first), read_record(second)
    unstable = set(one.get("unstable", ())) | set(other.get("unstable", ()))
    return [
        f"{kind}.{name}: {_brief(one[kind].get(name))} against {_brief(other[kind].get(name))}"
        for kind in ("metrics", "outputs")
        for name in sorted(set(one[kind]) | set(other[kind]))
        if name not in unstable and one[kind].get(name) != other[kind].get(name)
    ]


def _brief(value: Any) -> str:
    if isinstance(value, Mapping) and "value" in value:
        return str(Estimate.from_dict(value))
    return "absent" if value is None else str(value)
