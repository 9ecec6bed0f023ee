"""pydicom kept quiet and inside our errors: no warning, log line or traceback of its own reaches anybody."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, BinaryIO

from radfoundry.data.dicom_scan import Scan
from radfoundry.data.dicom_values import CHARACTER_SET, WANTED
from radfoundry.data.reading import FINDINGS
from radfoundry.data.sources import Source
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
LOGGERS = ("pydicom", "openjpeg", "rle", "pylibjpeg", "PIL")


@contextmanager
def quietly(source: Source | str, *, finding: str = "unreadable", what: str = "cannot be parsed") -> Generator[None]:
    """Run pydicom and its decoders without their warnings and logs; what they raise becomes one InputError."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except PARSE_ERRORS as error:  # the text of the error may quote the header, so only its kind is told
        raise InputError(
            f"{what} ({type(error).__name__})", where=str(source), remedy=FINDINGS[finding], finding=finding
        ) from None
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def read_dataset(stream: BinaryIO, source: Source, *, pixels: bool) -> Any:
    """The whole data set of a DICOM stream, with or without its pixel data."""
    import pydicom

    stream.seek(0)
    with quietly(source):
        return pydicom.dcmread(stream, stop_before_pixels=not pixels, force=True)


def scan_slowly(stream: BinaryIO, source: Source) -> Scan:
    """What `dicom_scan.scan` gives, from pydicom: for big-endian, disordered or otherwise unusual headers."""
    import pydicom

    stream.seek(0)
    with quietly(source):
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=sorted(WANTED))
        syntax = str(dataset.file_meta.get("TransferSyntaxUID", "")) or ENCODINGS.get(dataset.original_encoding, "")
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
