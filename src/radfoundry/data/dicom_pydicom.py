"""pydicom kept quiet and inside our errors: no warning, log line or traceback of its own reaches anybody."""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, BinaryIO

from radfoundry.data.dicom_scan import INFLATED_LIMIT_BYTES, PIXEL_TAGS, Scan, beginning, undeflated
from radfoundry.data.dicom_values import CHARACTER_SET, WANTED
from radfoundry.data.reading import FINDINGS
from radfoundry.data.sources import Source, read_from
from radfoundry.records import InputError

# Everything that parsing or decoding hostile bytes has been seen to raise; InputError is kept as it is.
PARSE_ERRORS = (
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    StopIteration,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
NUMERIC = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8}
# (implicit VR, little endian) -> transfer syntax, for data without a file meta group
ENCODINGS = {
    (True, True): "1.2.840.10008.1.2",
    (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}
ELEMENTS_LIMIT = 20_000
LOGGERS = ("pydicom", "openjpeg", "rle", "pylibjpeg", "PIL")


def _parse_errors() -> tuple[type[Exception], ...]:
    from PIL.Image import DecompressionBombError
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*PARSE_ERRORS, BytesLengthException, DecompressionBombError, InvalidDicomError)


@contextmanager
def silence() -> Generator[None]:
    """No warnings and no log lines from pydicom and its decoders: they quote the header."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def quietly(source: Source | str, *, finding: str = "unreadable", what: str = "cannot be parsed") -> Generator[None]:
    """Run pydicom in silence; whatever it raises becomes one InputError that does not quote the header."""
    try:
        with silence():
            yield
    except InputError:
        raise
    except _parse_errors() as error:
        raise InputError(
            f"{what} ({type(error).__name__})", where=str(source), remedy=FINDINGS[finding], finding=finding
        ) from None


class _Stop:
    """Tells pydicom to stop at the pixel data or just behind them, and at a header of absurdly many elements."""

    def __init__(self, *, pixels: bool) -> None:
        self.pixels, self.seen, self.count = pixels, False, 0

    def __call__(self, tag: Any, _vr: Any, _length: int) -> bool:
        """Whether to stop before this element."""
        self.count += 1
        if self.count > ELEMENTS_LIMIT:
            raise ValueError("too many elements")
        if self.seen or (tag in PIXEL_TAGS and not self.pixels):
            return True
        self.seen = tag in PIXEL_TAGS
        return False


def read_dataset(stream: BinaryIO, source: Source, *, pixels_bytes: int = 0) -> Any:
    """The data set of a DICOM stream up to its pixel data, or with them when `pixels_bytes` are expected.

    A deflated file is inflated to the expected size and no further.
    """
    from pydicom.filereader import read_partial

    stream.seek(0)
    with quietly(source):
        data = read_from(stream, -1 if pixels_bytes else INFLATED_LIMIT_BYTES, source)
        plain = io.BytesIO(undeflated(data, INFLATED_LIMIT_BYTES + pixels_bytes))
        return read_partial(plain, stop_when=_Stop(pixels=pixels_bytes > 0), force=True)


def scan_slowly(stream: BinaryIO, source: Source) -> Scan:
    """What `dicom_scan.scan` gives, from pydicom: for big-endian, disordered or otherwise unusual headers."""
    from pydicom.filereader import read_partial

    stream.seek(0)
    with quietly(source):
        data = read_from(stream, INFLATED_LIMIT_BYTES, source)
        stream = io.BytesIO(undeflated(data))
        dataset = read_partial(stream, stop_when=_Stop(pixels=False), force=True, specific_tags=sorted(WANTED))
        syntax = beginning(data)[1] or ENCODINGS.get(dataset.original_encoding, "")
        values = {tag: raw for tag in WANTED if (raw := _raw(dataset, tag)) is not None}
        position = stream.tell()
        at_pixels = stream.read(4)[:2] in (b"\xe0\x7f", b"\x7f\xe0")
    if not values:
        raise InputError("cannot be parsed", where=str(source), remedy=FINDINGS["unreadable"], finding="unreadable")
    frames = False
    return Scan(values, syntax, position if at_pixels else -1, frames)


def _raw(dataset: Any, tag: int) -> bytes | None:
    if tag not in dataset:
        return None
    element = dataset.get_item(tag)
    value = getattr(element, "value", None)
    if tag == CHARACTER_SET and value:  # the one element that pydicom has already turned into text
        return "\\".join([value] if isinstance(value, str) else value).encode("ascii", "ignore")
    if not isinstance(value, bytes):
        return None
    if not element.is_little_endian and element.VR in NUMERIC:
        return b"".join(value[i : i + NUMERIC[element.VR]][::-1] for i in range(0, len(value), NUMERIC[element.VR]))
    return value
