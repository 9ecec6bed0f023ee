"""Opening what a reader is given: a path, a place in an archive, or bytes; plain or gzipped, never more than stated."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from isal import igzip, isal_zlib

from radfoundry.data.sources import READ_LIMIT_BYTES, Source, open_source
from radfoundry.records import InputError

Readable = str | Path | Source | bytes

GZIP_MAGIC = b"\x1f\x8b"
# RFC 1951 cannot shrink more than 1032 to 1, so a file this much smaller than its header says is cut or lies.
MOST_DEFLATE_SHRINKS = 1100
TRAILING_LIMIT_BYTES = 1 << 24
STEP_BYTES = 1 << 18
GZIP_ERRORS: Any = (EOFError, OSError, zlib.error, isal_zlib.IsalError)


def shown(source: Readable) -> str:
    """The source as messages name it."""
    return f"{len(source)} bytes" if isinstance(source, bytes) else str(source)


def name_of(source: Readable) -> str:
    """The file name, empty for bytes."""
    if isinstance(source, bytes):
        return ""
    return source.name if isinstance(source, Source) else Path(source).name


def beside(source: Readable, name: str) -> Source:
    """Another file in the same folder of the disk or of the archive; bytes have no neighbours."""
    if isinstance(source, bytes):
        raise InputError(f"bytes alone are not enough, {name} is needed too", remedy="give a path", finding="no-pixels")
    here = source if isinstance(source, Source) else Source(os.fspath(source))
    if not here.member:
        return Source(os.fspath(Path(here.path).with_name(name)))
    nested, mark, last = here.member.rpartition("!")
    folder, slash, _ = last.rpartition("/")
    return Source(here.path, f"{nested}{mark}{folder}{slash}{name}")


@contextmanager
def opened(source: Readable) -> Generator[BinaryIO]:
    """A seekable stream of the source's raw bytes; an empty file is refused by name."""
    if isinstance(source, bytes):
        stream: BinaryIO = io.BytesIO(source)
    else:
        stream = open_source(source if isinstance(source, Source) else Source(os.fspath(source)))
    with stream:
        if not stream.read(1):
            raise InputError("the file is empty", where=shown(source), remedy=AGAIN, finding="empty-file")
        stream.seek(0)
        yield stream


AGAIN = "copy the file again from its source"


def read_head(stream: BinaryIO, count: int, *, where: str) -> bytes:
    """The first bytes, inflated when the stream is gzipped; fewer when the file is shorter."""
    if not is_gzipped(stream):
        return stream.read(count)
    try:
        return isal_zlib.decompressobj(31).decompress(stream.read(max(4096, count)), count)
    except GZIP_ERRORS:
        raise not_gzip(where) from None


def is_gzipped(stream: BinaryIO) -> bool:
    """Whether a stream begins with the gzip magic; the stream is left at its start."""
    stream.seek(0)
    magic = stream.read(2)
    stream.seek(0)
    return magic == GZIP_MAGIC


def not_gzip(where: str) -> InputError:
    """The error for bytes that begin like gzip and do not go on like it."""
    return InputError("the compressed data are damaged", where=where, remedy=AGAIN, finding="truncated")


def read_payload(
    stream: BinaryIO, offset: int, count: int, *, where: str, begins: int = 0, encoding: str = "auto"
) -> np.ndarray:
    """Exactly `count` bytes from `offset` of the inflated data that begin at byte `begins`, as a writable byte array.

    `encoding` is `raw`, `gzip`, `zlib` or `auto` (gzip when the bytes begin like it). Memory grows with
    the data that are there, not with the size a header claims, and checksums are verified. Refuses
    data that are too short.
    """
    if count > READ_LIMIT_BYTES:
        raise InputError(f"the header states {count} bytes", where=where, remedy=LIMIT_REMEDY, finding="limit")
    size = stream.seek(0, os.SEEK_END) - begins
    if encoding == "auto":
        encoding = "gzip" if is_gzipped(stream) else "raw"
    if offset + count > size * (1 if encoding == "raw" else MOST_DEFLATE_SHRINKS):
        raise too_short(where, offset + count, max(0, size))
    buffer = np.empty(count, np.uint8)
    stream.seek(begins + (offset if encoding == "raw" else 0))
    try:
        if encoding == "raw":
            _fill(stream, buffer, where=where)
        else:
            with _inflating(stream, encoding) as inflated:
                _inflate_into(inflated, offset, buffer, where=where)
    except GZIP_ERRORS:
        raise not_gzip(where) from None
    return buffer


def _inflating(stream: BinaryIO, encoding: str) -> Any:
    if encoding == "gzip":
        return igzip.IGzipFile(fileobj=stream, mode="rb")
    return io.BufferedReader(_ZlibStream(stream), STEP_BYTES)


class _ZlibStream(io.RawIOBase):
    """A zlib stream as a file to read from."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.inflater = stream, isal_zlib.decompressobj(15)

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        data = b""
        while not data and not self.inflater.eof:
            raw = self.inflater.unconsumed_tail or self.stream.read(STEP_BYTES)
            if not raw:
                raise EOFError
            data = self.inflater.decompress(raw, len(target))
        target[: len(data)] = data
        return len(data)


LIMIT_REMEDY = f"split the file; at most {READ_LIMIT_BYTES >> 30} GiB are read at once"


def too_short(where: str, wanted: int, found: int) -> InputError:
    """The error for a file that ends before its header says."""
    return InputError(
        f"the file is cut short: its header asks for {wanted} bytes, there are {found}",
        where=where,
        remedy=AGAIN,
        finding="truncated",
    )


def _inflate_into(inflated: Any, offset: int, buffer: np.ndarray, *, where: str) -> None:
    skip = offset
    while skip:
        step = len(inflated.read(min(skip, STEP_BYTES)))
        if step == 0:
            raise too_short(where, offset + len(buffer), offset - skip)
        skip -= step
    _fill(inflated, buffer, where=where)
    # Reading to the end is what verifies the checksum; a little padding after the voxels is harmless.
    extra = 0
    while chunk := inflated.read(STEP_BYTES):
        extra += len(chunk)
        if extra > TRAILING_LIMIT_BYTES:
            raise InputError("more data than the header states", where=where, remedy=AGAIN, finding="shape")


def _fill(stream: Any, buffer: np.ndarray, *, where: str) -> None:
    view, done = buffer.data, 0
    while done < len(buffer):
        # In steps: a step of a buffer that is never reached is memory that is never touched.
        step = stream.readinto(view[done : done + STEP_BYTES])
        if not step:
            raise too_short(where, len(buffer), done)
        done += step
