"""Pixels without words: burned-in text painted over, and nothing left in the bits and bytes that no viewer shows."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from radfoundry.data.burned_in import masked, text_boxes
from radfoundry.data.deidentify_profile import Options
from radfoundry.data.dicom_header import UNCOMPRESSED, Instance, expected_bytes, refused
from radfoundry.data.dicom_pixels import PROJECTIONS, decoded

EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
RISKY = PROJECTIONS | {"US", "IVUS", "ES", "XC", "GM", "SM", "OT", "OP", "OPT", "OCT", "ECG", "SC", "DG", "TG", "BMD"}
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
FRAMES_LOOKED_AT = 12
# Segments of JPEG and markers of JPEG 2000 that hold free text or other files: comments and application data, but not
# those that say how to decode (Adobe's colour transform, JPEG-LS's SPIFF header).
JPEG_TEXT = (0xFE, *range(0xE0, 0xE8), *range(0xE9, 0xEE), 0xEF)
CODESTREAM_COMMENT = 0x64


def is_risky(instance: Instance, options: Options) -> bool:
    """Whether pixels are to be searched for text: by modality, by the header's warning, or because all are."""
    if options.pixels != "risky":
        return options.pixels == "all"
    words = set(instance.image_type or ())
    warned = (instance.burned_in or "").upper() == "YES" or bool(words & {"SECONDARY", "SCREEN SAVE", "CAPTURE"})
    return warned or (instance.modality or "") in RISKY or (instance.sop_class or "").startswith(SECONDARY)


def clean_pixels(dataset: Any, made: Any, instance: Instance, options: Options) -> int:
    """Put clean pixel data into `made`; returns how many regions of text were painted over.

    Uncompressed data are cut to their stated length, and bits beyond the stored ones that held an overlay are
    cleared. Comments inside compressed frames are removed. Where text is found in a compressed image, it becomes
    uncompressed. Refused by name: `transfer-syntax` for pixels that would have to be searched and cannot be decoded
    (video among them), and `burned-in` where the header warns of text and none is found.
    """
    if "PixelData" not in dataset:
        return 0
    if instance.transfer_syntax in UNCOMPRESSED:
        _cut(dataset, made, instance)
    else:
        _without_comments(dataset, made, instance)
    if not is_risky(instance, options):
        return 0
    pixels = decoded(instance, dataset)
    boxes = _text_in(pixels)
    if not boxes:
        if (instance.burned_in or "").upper() == "YES":
            raise refused("burned-in", "states burned-in text, and none was found", instance.source)
        return 0
    colours = pixels.ndim == 4
    painted = np.stack([_painted(frame, boxes, instance, colours=colours) for frame in pixels])
    _put(made, painted, instance, colours=colours)
    return len(boxes)


def _text_in(pixels: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Boxes around the text of any of up to twelve frames; text usually stands at the same place in all."""
    from radfoundry.data.burned_in import merged

    chosen = np.unique(np.linspace(0, len(pixels) - 1, FRAMES_LOOKED_AT).astype(int))
    boxes = [box for index in chosen for box in text_boxes(pixels[index])]
    return merged(boxes, pixels.shape[1:3])


def _painted(frame: np.ndarray, boxes: list[Any], instance: Instance, *, colours: bool) -> np.ndarray:
    planes = np.moveaxis(frame, -1, 0) if colours else frame[None]
    black = planes.max() if instance.photometric == "MONOCHROME1" else planes.min()
    painted = masked(planes, boxes, value=black)
    return np.moveaxis(painted, 0, -1) if colours else painted[0]


def _put(made: Any, pixels: np.ndarray, instance: Instance, *, colours: bool) -> None:
    """Decoded pixels as uncompressed data; the elements that describe them follow."""
    swapped = instance.transfer_syntax == BIG_ENDIAN
    stored = pixels.astype(pixels.dtype.newbyteorder(">" if swapped else "<"))
    data = np.ascontiguousarray(stored).tobytes()
    made.add_new(0x7FE00010, "OB" if pixels.itemsize == 1 else "OW", data + b"\0" * (len(data) % 2))
    if colours:
        made.add_new(0x00280002, "US", 3)
        made.add_new(0x00280004, "CS", "RGB")
        made.add_new(0x00280006, "US", 0)
    if instance.photometric == "PALETTE COLOR":
        for tag in [tag for tag in tuple(made.keys()) if 0x00281101 <= int(tag) <= 0x00281223]:
            del made[tag]
    made.add_new(0x00280100, "US", 8 * pixels.itemsize)


def _cut(dataset: Any, made: Any, instance: Instance) -> None:
    """Pixel bytes of the stated length and no more; overlays hidden in unused bits cleared."""
    length = expected_bytes(instance)
    data = dataset.PixelData
    if not isinstance(data, bytes) or len(data) < length:
        raise refused("truncated", "the pixel data end early", instance.source)
    data = data[:length]
    stored = instance.bits_stored or instance.bits_allocated
    if stored < instance.bits_allocated == 16 and any(
        key.group in range(0x6000, 0x6100) for key in tuple(dataset.keys())
    ):
        data = _without_high_bits(data, stored, instance)
    made.add_new(
        0x7FE00010,
        "OB" if instance.bits_allocated <= 8 and "OB" in _stated(dataset) else "OW",
        data + b"\0" * (length % 2),
    )


def _stated(dataset: Any) -> str:
    return str(getattr(dataset.get_item(0x7FE00010), "VR", None) or "OW")


def _without_high_bits(data: bytes, stored: int, instance: Instance) -> bytes:
    order = ">" if instance.transfer_syntax == BIG_ENDIAN else "<"
    unused = 16 - stored
    values = np.frombuffer(data, dtype=f"{order}u2").astype(np.uint16) << unused
    values = values.view(np.int16) >> unused if instance.signed else values >> unused
    return values.astype(f"{order}{'i' if instance.signed else 'u'}2").tobytes()


def _without_comments(dataset: Any, made: Any, instance: Instance) -> None:
    from pydicom.encaps import encapsulate, generate_frames

    from radfoundry.data.dicom_pydicom import quietly

    with quietly(instance.source, what="its compressed frames cannot be told apart"):
        frames = [
            without_comments(frame) for frame in generate_frames(dataset.PixelData, number_of_frames=instance.frames)
        ]
        data = encapsulate(frames)
    made.add_new(0x7FE00010, "OB", data)
    made[0x7FE00010].is_undefined_length = True
    for tag in (0x7FE00001, 0x7FE00002):  # offsets of the frames as they were
        if tag in made:
            del made[tag]


def without_comments(frame: bytes) -> bytes:
    """A JPEG, JPEG-LS or JPEG 2000 frame without comments, application data and anything behind its end.

    >>> without_comments(bytes.fromhex("ffd8" "fffe0006" "446f6521" "ffd9") + b"Doe").hex()
    'ffd8ffd9'
    """
    if frame[:2] == b"\xff\xd8":
        return b"".join(_jpeg_parts(frame))
    if frame[:4] == b"\xff\x4f\xff\x51":
        return b"".join(_codestream_parts(frame))
    return frame


def _jpeg_parts(frame: bytes) -> Iterator[bytes]:
    yield frame[:2]
    place = 2
    while place + 4 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker in (0xDA, 0xD9):
            end = frame.rfind(b"\xff\xd9")
            yield frame[place : end + 2] if end >= place else frame[place:]
            return
        length = 2 + struct.unpack(">H", frame[place + 2 : place + 4])[0]
        if marker not in JPEG_TEXT:
            yield frame[place : place + length]
        place += length
    yield b"\xff\xd9" if frame[place : place + 2] == b"\xff\xd9" else frame[place:]


def _codestream_parts(frame: bytes) -> Iterator[bytes]:
    yield frame[:2]
    place = 2
    while place + 4 <= len(frame):
        marker, length = frame[place + 1], 2 + struct.unpack(">H", frame[place + 2 : place + 4])[0]
        if marker == 0x90:  # the first tile: coded data from here on
            end = frame.rfind(b"\xff\xd9")
            yield frame[place : end + 2] if end >= place else frame[place:]
            return
        if marker != CODESTREAM_COMMENT:
            yield frame[place : place + length]
        place += length
