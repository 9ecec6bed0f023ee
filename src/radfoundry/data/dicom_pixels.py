"""Stored pixels of one DICOM file: decoded, and turned into the values their header gives them."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import numpy as np

from radfoundry.data import dicom_scan
from radfoundry.data.dicom_header import UNCOMPRESSED, Instance, expected_bytes, plain_uid, refused
from radfoundry.data.dicom_pydicom import quietly, read_dataset
from radfoundry.data.sources import read_from

PIXELS_LIMIT_BYTES = 8 << 30
FRAME_LIMIT_BYTES = 1 << 29
PROJECTIONS = frozenset(("CR", "DX", "MG", "RG", "XA", "RF", "IO", "PX", "DR"))
EXTENDED = "1.2.840.10008.1.2.4.51"
SYNTAX_NAMES = {
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "high-throughput JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.202": "high-throughput JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.203": "high-throughput JPEG 2000",
    "1.2.840.10008.1.2.5": "RLE",
    "1.2.840.10008.1.2.4.100": "MPEG-2 video",
    "1.2.840.10008.1.2.4.102": "MPEG-4 video",
}
LOSSLESS_JPEG = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
# One decoder per encoding, so that the result does not depend on what else is installed.
DECODERS = {
    "1.2.840.10008.1.2.4.50": "pillow",
    "1.2.840.10008.1.2.4.51": "pillow",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg",
    "1.2.840.10008.1.2.5": "pydicom",  # pylibjpeg-rle is faster but panics on damaged data
}


def stored_pixels(instance: Instance, stream: BinaryIO) -> tuple[np.ndarray, Any]:
    """The pixels as stored, (frames, rows, columns) or (frames, rows, columns, 3), and the data set if it was parsed.

    Refused by name: `limit`, `truncated`, and `transfer-syntax` for a compression that cannot be undone here.
    """
    frame_bytes = expected_bytes(instance) // instance.frames
    if frame_bytes > FRAME_LIMIT_BYTES or expected_bytes(instance) > PIXELS_LIMIT_BYTES:
        size = f"{instance.rows} x {instance.columns} x {instance.frames} pixels"
        raise refused("limit", f"promises {size}, more than the limit of pixel bytes", instance.source)
    plain = _plain_pixels(instance, stream)
    if plain is not None:
        return plain, None
    dataset = read_dataset(stream, instance.source, pixels_bytes=expected_bytes(instance))
    return decoded(instance, dataset), dataset


def _plain_pixels(instance: Instance, stream: BinaryIO) -> np.ndarray | None:
    """Uncompressed grey pixels straight from the file; None where pydicom has to be asked."""
    syntax, bits = instance.transfer_syntax, instance.bits_allocated
    if syntax not in (dicom_scan.IMPLICIT, "1.2.840.10008.1.2.1") or bits not in (8, 16) or instance.samples != 1:
        return None
    if instance.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return None
    stream.seek(0)
    data = read_from(stream, -1, instance.source)
    try:
        offset = dicom_scan.scan(data, frozenset()).pixel_offset
    except (dicom_scan.ScanError, struct.error):
        return None
    implicit = syntax == dicom_scan.IMPLICIT
    if offset < 0 or data[offset + 2 : offset + 4] != b"\x10\x00":
        return None
    offset += 8 if implicit else 12
    count = instance.rows * instance.columns * instance.frames
    if len(data) - offset < count * bits // 8:
        raise refused("truncated", "the pixel data end early", instance.source)
    kind = np.dtype(f"<{'i' if instance.signed else 'u'}{bits // 8}")
    pixels = np.frombuffer(data, dtype=kind, count=count, offset=offset)
    return pixels.reshape(instance.frames, instance.rows, instance.columns)


def decoded(instance: Instance, dataset: Any) -> np.ndarray:
    """The stored pixels before any rescaling, `(frames, rows, columns)`, colours last; refuses what it cannot."""
    import pydicom.pixels

    syntax = instance.transfer_syntax or ""
    finding, what = _failure(instance)
    with quietly(instance.source, finding=finding, what=what):
        if syntax in LOSSLESS_JPEG:
            pixels = _lossless_jpeg(instance, dataset)
        else:
            pixels = pydicom.pixels.pixel_array(dataset, decoding_plugin=DECODERS.get(syntax, ""))
        if instance.photometric == "PALETTE COLOR":
            pixels = pydicom.pixels.apply_color_lut(pixels, dataset)[..., :3]
    shape = (instance.frames, instance.rows, instance.columns)
    if pixels.shape not in (shape, shape[1:], (*shape, 3), (*shape[1:], 3)):
        raise refused("shape", f"decoded pixels have shape {pixels.shape}, the header says {shape}", instance.source)
    return (
        pixels.reshape(*shape, 3) if pixels.shape[-1] == 3 and pixels.ndim > len(shape[1:]) else pixels.reshape(shape)
    )


def _failure(instance: Instance) -> tuple[str, str]:
    """What to say when decoding fails: no decoder for this encoding, or bytes that are not in it."""
    syntax = instance.transfer_syntax or ""
    if syntax in UNCOMPRESSED:
        return "truncated", "the pixel data are damaged"
    name = SYNTAX_NAMES.get(syntax, "an unknown encoding")
    shown = plain_uid(syntax)
    if syntax not in (*DECODERS, *LOSSLESS_JPEG) or (syntax == EXTENDED and (instance.bits_stored or 0) > 8):
        return "transfer-syntax", f"pixels in {name} ({shown}) cannot be decoded"
    return "unreadable", f"the pixels are damaged, or not in the stated {name} ({shown})"


def _lossless_jpeg(instance: Instance, dataset: Any) -> np.ndarray:
    """All frames of a lossless JPEG file as pydicom would give them."""
    from pydicom.encaps import generate_frames

    from radfoundry.data.dicom_jpeg_lossless import decode

    coded = generate_frames(dataset.PixelData, number_of_frames=instance.frames)
    pixels = np.stack([decode(frame) for frame in coded])
    if instance.signed:
        unused = 16 - min(instance.bits_stored or 16, 16)
        pixels = (pixels << unused).astype(np.uint16).view(np.int16) >> unused
    if instance.bits_allocated == 8:
        pixels = pixels.astype(np.int8 if instance.signed else np.uint8)
    if pixels.ndim == 4 and (instance.photometric or "").startswith("YBR"):
        import pydicom.pixels

        pixels = pydicom.pixels.convert_color_space(pixels, "YBR_FULL", "RGB")
    return pixels


def inverted(pixels: np.ndarray, instance: Instance) -> np.ndarray:
    """Bright for dark: what MONOCHROME1 asks for, so that more attenuation or signal is always brighter."""
    if pixels.dtype.kind == "f":
        return pixels.max() + pixels.min() - pixels
    bits = min(instance.bits_stored or instance.bits_allocated, 8 * pixels.dtype.itemsize)
    mirror = -1 if instance.signed else (1 << bits) - 1
    wide = mirror - pixels.astype(np.int64)
    limits = np.iinfo(pixels.dtype)
    return wide.astype(pixels.dtype if wide.min() >= limits.min and wide.max() <= limits.max else np.int32)


def modality_table(pixels: np.ndarray, dataset: Any, source: str) -> np.ndarray:
    """Stored values through the modality lookup table, where the header has one instead of a slope."""
    import pydicom.pixels

    with quietly(source, what="the modality lookup table cannot be applied"):
        return pydicom.pixels.apply_modality_lut(pixels, dataset)


def windowed(pixels: np.ndarray, dataset: Any, source: str) -> np.ndarray:
    """Values through the display window or lookup table that the header proposes."""
    import pydicom.pixels

    with quietly(source, what="the display window cannot be applied"):
        return pydicom.pixels.apply_voi_lut(pixels, dataset).astype(np.float32)


def fitting_type(pixels: np.ndarray, slope: float, intercept: float) -> np.dtype:
    """The smallest type that holds rescaled values exactly: whole numbers where they stay whole, else float32."""
    if pixels.dtype.kind == "f" or slope != int(slope) or intercept != int(intercept):
        return np.dtype(np.float32)
    bounds = [slope * float(bound) + intercept for bound in (pixels.min(), pixels.max())]
    low, high = min(bounds), max(bounds)
    for kind in (np.uint8, np.int16, np.int32):
        if pixels.dtype.itemsize > np.dtype(kind).itemsize:
            continue
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.float32)
