"""Files inside zip and tar archives, read without unpacking anything under its own name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, BinaryIO, NoReturn, cast

from radfoundry.data.sniffing import HEAD_BYTES, kind_of_bytes
from radfoundry.records import InputError

DEPTH_LIMIT = 3
MEMBERS_LIMIT = 1_000_000
MEMBER_LIMIT_BYTES = 4 << 30
TOTAL_LIMIT_BYTES = 64 << 30
RATIO_LIMIT = 1100  # deflate cannot exceed 1032 to 1
SPOOL_BYTES = 64 << 20
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class Archive:
    """An open archive: member names in order, and a stream for each."""

    def __init__(self, names: Mapping[str, int], opener: Callable[[str], BinaryIO], where: str) -> None:
        self.sizes, self.opener, self.where = dict(names), opener, where
        self.check()

    def check(self) -> None:
        """Refuse an archive whose stated contents pass the limits."""
        if len(self.sizes) > MEMBERS_LIMIT:
            _over(f"{len(self.sizes)} members", "members", self.where)
        if sum(self.sizes.values()) > TOTAL_LIMIT_BYTES:
            _over(f"{sum(self.sizes.values())} bytes unpacked", "total bytes", self.where)

    def open(self, name: str) -> BinaryIO:
        """A member's bytes as a seekable stream, never more than the stated size."""
        where = f"{self.where}!{escape(name)}"
        if name not in self.sizes:
            raise InputError("no such member", where=where, remedy="check the archive", finding="missing-file")
        if self.sizes[name] > MEMBER_LIMIT_BYTES:
            _over(f"{self.sizes[name]} bytes", "member bytes", where)
        try:
            return self.opener(name)
        except (*DAMAGE, RuntimeError, NotImplementedError, EOFError) as error:
            locked = isinstance(error, RuntimeError) and "password" in str(error)
            raise InputError(
                "the member is encrypted" if locked else "the member is damaged",
                where=where,
                remedy="unpack it first" if locked else "copy the archive again from its source",
                finding="unsupported" if locked else "truncated",
            ) from None


def _over(amount: str, limit: str, where: str) -> NoReturn:
    raise InputError(
        f"{amount}: more than the limit of {limit}", where=where, remedy="unpack it first", finding="limit"
    )


def escape(name: str) -> str:
    """A member name as part of a nested name.

    >>> escape("100%!.dcm")
    '100%25%21.dcm'
    """
    return name.replace("%", "%25").replace("!", "%21")


def unescape(name: str) -> str:
    """The inverse of `escape`."""
    return name.replace("%21", "!").replace("%25", "%")


def members(path: str) -> Iterator[str]:
    """Names of all files in an archive, archives inside it opened in turn; sorted.

    Links, devices and folders are no files; a name that leads outside (`..`, a drive, a leading slash)
    stays a mere name, since nothing is unpacked under it. Refuses damaged archives and those over the limits.
    """
    yield from _members(path, (), DEPTH_LIMIT)


def _members(path: str, inside: tuple[str, ...], depth: int) -> Iterator[str]:
    archive = _open(path, inside)
    for name in sorted(archive.sizes):
        full = (*inside, name)
        joined = "!".join(escape(part) for part in full)
        if depth > 1 and _is_archive(archive, name):
            try:
                yield from list(_members(path, full, depth - 1))
                continue
            except InputError:
                pass  # a damaged inner archive is listed as a file, so that reading it names the problem
        yield joined


def _is_archive(archive: Archive, name: str) -> bool:
    suffixes = (".dcm", ".ima", ".nii", ".nii.gz", ".png", ".jpg", ".json", ".tsv", ".csv", ".xlsx", ".npz")
    if name.lower().endswith(suffixes):
        return False
    try:
        with archive.open(name) as stream:
            return kind_of_bytes(stream.read(HEAD_BYTES), name=name) == "archive"
    except (InputError, OSError, EOFError, *DAMAGE):
        return False


def open_member(path: str, member: str) -> BinaryIO:
    """A member (`inner.tar!slice.dcm` for nested archives) as a seekable stream."""
    *inside, name = (unescape(part) for part in member.split("!"))
    return _open(path, tuple(inside)).open(name)


def has_member(path: str, member: str) -> bool:
    """Whether an archive holds such a member."""
    *inside, name = (unescape(part) for part in member.split("!"))
    return name in _open(path, tuple(inside)).sizes


def _open(path: str, inside: tuple[str, ...]) -> Archive:
    status = Path(path).stat()
    return _opened(path, inside, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _opened(path: str, inside: tuple[str, ...], _modified: int, _size: int) -> Archive:
    """Archives stay open between members: finding the directory of a large one costs more than a member."""
    where = "!".join((path, *(escape(part) for part in inside)))
    if len(inside) > DEPTH_LIMIT:
        _over(f"{len(inside)} archives inside each other", "depth", where)
    stream = _open(path, inside[:-1]).open(inside[-1]) if inside else _plain_file(path)
    try:
        return _zip(stream, where) if zipfile.is_zipfile(stream) else _tar(stream, where)
    except (*DAMAGE, EOFError, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            "the archive is damaged", where=where, remedy="copy it again from its source", finding="truncated"
        ) from None


def _zip(stream: BinaryIO, where: str) -> Archive:
    stream.seek(0)
    archive = zipfile.ZipFile(stream)
    infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    for info in infos.values():
        if info.file_size > SPOOL_BYTES and info.file_size > RATIO_LIMIT * max(info.compress_size, 1):
            _over(f"{info.file_size} bytes unpacked from {info.compress_size}", "compression", where)

    def opener(name: str) -> BinaryIO:
        with archive.open(infos[name]) as member:
            return _spool(member, infos[name].file_size, where)

    return Archive({name: info.file_size for name, info in infos.items()}, opener, where)


def _tar(stream: BinaryIO, where: str) -> Archive:
    stream.seek(0)
    archive = tarfile.open(fileobj=_plain(stream, where), mode="r:")  # noqa: SIM115 - kept open by the cache
    infos = {info.name: info for info in archive.getmembers() if info.isfile()}

    def opener(name: str) -> BinaryIO:
        member = archive.extractfile(infos[name])
        if member is None:
            raise tarfile.ReadError(name)
        with member:
            return _spool(member, infos[name].size, where)

    return Archive({name: info.size for name, info in infos.items()}, opener, where)


def _plain(stream: BinaryIO, where: str) -> BinaryIO:
    """A tar without its compression, in a nameless temporary file: seeking in a compressed one is quadratic."""
    head = stream.read(6)
    stream.seek(0)
    unpackers = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
    unpack = unpackers.get(head[:2])
    return stream if unpack is None else _spool(cast("IO[bytes]", unpack(stream)), TOTAL_LIMIT_BYTES, where)


def _spool(stream: IO[bytes], limit: int, where: str) -> BinaryIO:
    """The bytes of a stream in memory, or on disk when there are many; more than `limit` are refused."""
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - the caller closes it
    remaining = limit + 1
    while remaining > 0:
        chunk = stream.read(min(1 << 20, remaining))
        if not chunk:
            break
        spool.write(chunk)
        remaining -= len(chunk)
    if remaining <= 0:
        _over(f"more than {limit} bytes unpacked", "stated size", where)
    spool.seek(0)
    return cast("BinaryIO", spool)


def _plain_file(path: str) -> BinaryIO:
    return cast("BinaryIO", Path(path).open("rb"))
