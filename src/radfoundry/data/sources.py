"""Where files lie: folders, and zip or tar archives to any sensible depth, named and opened the same way."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from radfoundry.data import archives
from radfoundry.data.sniffing import HEAD_BYTES, is_companion, kind_of_bytes
from radfoundry.records import InputError

READ_LIMIT_BYTES = 4 << 30


@dataclass(frozen=True, order=True, slots=True)
class Source:
    """One file: its path on disk and, when that file is an archive, the member inside.

    `member` is empty for a plain file. Members of nested archives are joined by `!`, as in
    `inner.tar!brain/slice1.dcm`; a `!` or `%` that belongs to a name is written `%21` or `%25`.

    >>> str(Source("scans.zip", "inner.tar!a.dcm"))
    'scans.zip!inner.tar!a.dcm'
    """

    path: str
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}!{self.member}" if self.member else self.path

    @property
    def name(self) -> str:
        """The last part of the name, for example `slice1.dcm`."""
        last = self.member.split("!")[-1] if self.member else self.path
        return last.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def walk(paths: Sequence[str | Path]) -> Iterator[Source]:
    """Every file below the given files and folders, in a fixed order, archives opened like folders.

    Hidden names (first letter `.`) and `__MACOSX` folders are passed over; links to folders are followed
    once. An archive is known by its content, whatever its name; one that cannot be opened, and a folder
    that may not be read, is itself yielded, so that reading it names the problem. Refuses a path that
    does not exist.
    """
    for path in paths:
        if not Path(path).exists():
            raise InputError("no such file or folder", where=str(path), remedy="check the path", finding="missing-file")
    seen: set[tuple[int, int]] = set()
    for path in paths:
        yield from _below(os.fspath(path), seen)


def _below(path: str, seen: set[tuple[int, int]]) -> Iterator[Source]:
    if not Path(path).is_dir():
        yield from _file(path) if Path(path).is_file() else (Source(path),)
        return
    status = Path(path).stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    try:
        with os.scandir(path) as entries:
            found = sorted((entry.name, entry.is_dir(), entry.is_file()) for entry in entries)
    except OSError:
        yield Source(path)
        return
    for name, is_folder, is_file in found:
        if hidden(name):
            continue
        below = f"{path.rstrip('/')}/{name}"
        if is_folder:
            yield from _below(below, seen)
        elif is_file:
            yield from _file(below)
        elif Path(below).is_symlink():
            yield Source(below)  # a broken link: reading it gives the reason


def hidden(name: str) -> bool:
    """Whether a file or folder name is one the system made for itself.

    >>> hidden(".DS_Store"), hidden("__MACOSX"), hidden("brain.nii")
    (True, True, False)
    """
    return (name.startswith(".") and name.strip(".") != "") or name == "__MACOSX"


def _file(path: str) -> Iterator[Source]:
    source = Source(path)
    try:
        with Path(path).open("rb") as handle:
            head = handle.read(HEAD_BYTES)
    except OSError:
        yield source
        return
    if kind_of_bytes(head, name=source.name) != "archive":
        yield source
        return
    try:
        members = list(archives.members(path))
    except InputError:
        members = []
    kept = [m for m in members if not any(hidden(part) for part in m.replace("!", "/").split("/"))]
    if not kept:
        yield source
    for member in kept:
        yield Source(path, member)


def open_source(source: Source) -> BinaryIO:
    """A seekable binary stream of one file or archive member; the caller closes it."""
    try:
        if not stat.S_ISREG(os.stat(source.path).st_mode):  # noqa: PTH116 - a pipe would be waited for without end
            raise InputError(
                "is not a file", where=str(source), remedy="give files and folders only", finding="unreadable"
            )
        if source.member:
            return archives.open_member(source.path, source.member)
        return Path(source.path).open("rb")
    except FileNotFoundError:
        raise InputError("no such file", where=str(source), remedy="check the path", finding="missing-file") from None
    except OSError as error:
        raise InputError(
            f"cannot be read ({(error.strerror or 'input error').lower()})",
            where=str(source),
            remedy="check its permissions and its disk",
            finding="unreadable",
        ) from None


def read_bytes(source: Source, limit: int = READ_LIMIT_BYTES) -> bytes:
    """All bytes of one file; refused by name when there are more than `limit`."""
    with open_source(source) as stream:
        data = read_from(stream, limit + 1, source)
    if len(data) > limit:
        raise InputError(
            f"holds more than {limit} bytes", where=str(source), remedy="raise the limit to read it", finding="limit"
        )
    return data


def read_from(stream: BinaryIO, count: int, source: Source) -> bytes:
    """Up to `count` bytes from an open source; a failing disk or a damaged archive is named."""
    try:
        return stream.read(count)
    except (OSError, EOFError, *archives.DAMAGE) as error:
        raise InputError(
            f"the bytes cannot be read ({type(error).__name__})",
            where=str(source),
            remedy="copy the file again from its source",
            finding="truncated",
        ) from None


def kind_of(source: Source | bytes) -> str:
    """What a file is, judged by its content and only then by its name.

    One of `dicom`, `nifti`, `itk` (NRRD, MetaImage), `picture` (PNG, JPEG), `json`, `table`, `archive`,
    `companion` (the pixel file of a header file beside it, for example `.img` of `.hdr`) and `other`.
    A `.img` without its `.hdr` is `other`.
    """
    if isinstance(source, (bytes, bytearray)):
        return kind_of_bytes(bytes(source))
    with open_source(source) as stream:
        head = read_from(stream, HEAD_BYTES, source)
    kind = kind_of_bytes(head, name=source.name)
    return "companion" if kind == "other" and _has_header_beside(source) else kind


def _has_header_beside(source: Source) -> bool:
    def exists(name: str) -> bool:
        if not source.member:
            return Path(source.path).with_name(name).exists()
        folder, slash, _ = source.member.rpartition("/")
        return archives.has_member(source.path, f"{folder}{slash}{name}")

    return is_companion(source.name, exists)
