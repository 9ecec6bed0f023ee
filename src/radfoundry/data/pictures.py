"""Reading PNG and JPEG pictures: radiographs, slices and photographs that state no place in the patient."""

from __future__ import annotations

import warnings
from typing import Any, BinaryIO

import numpy as np

from radfoundry.data.reading import ReadSeries
from radfoundry.data.streams import Readable, opened, shown
from radfoundry.data.voxels import COLOURS, picture_affine, refused
from radfoundry.records import Acquisition, InputError
from radfoundry.volume import Volume

PIXEL_LIMIT = 200_000_000
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
COLOUR_MODES = {"P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "LA": "RGBA"}
# Pillow reports a broken file by any of these, depending on where it breaks.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError)


def read_picture(source: Readable) -> ReadSeries:
    """A PNG or JPEG picture as an image `(C, columns, rows, 1)`, 8 or 16 bits kept.

    Grey values stay one channel, and so does a colour picture whose three colours are equal everywhere.
    True colours become three channels; a transparency that hides nothing is dropped. Pictures state no
    pixel size in mm (the dots per inch in their header are a wish for printing): the affine counts
    pixels, columns towards the patient's left and rows towards the back as on a radiologist's screen,
    and `repairs` says `no-geometry`, so that nothing takes its lengths for mm. A JPEG's orientation
    mark is obeyed. Refused by name: truncated files, animations, 16-bit colour, and pictures of more
    than 200 million pixels.
    """
    where = shown(source)
    with opened(source) as stream:
        array = _pixels(stream, where)
    channels = COLOURS[: len(array)] if len(array) > 1 else ()
    volume = Volume(np.ascontiguousarray(array.transpose(0, 2, 1))[..., None], picture_affine(), channels=channels)
    return ReadSeries(volume, Acquisition(), ("no-geometry",))


def read_picture_header(source: Readable) -> dict[str, Any]:
    """Shape `(C, columns, rows, 1)` and voxel type of a picture, without decoding it; C may shrink on reading."""
    where = shown(source)
    with opened(source) as stream, _open(stream, where) as image:
        columns, rows = image.size
        mode = COLOUR_MODES.get(image.mode, image.mode)
        if image.getexif().get(0x0112, 1) >= 5:  # the orientation mark turns it by a quarter
            columns, rows = rows, columns
        deep = mode.startswith("I")
        return {"shape": (len(mode) if mode in ("RGB", "RGBA") else 1, columns, rows, 1), "dtype": f"u{1 + deep}"}


def _open(stream: BinaryIO, where: str) -> Any:
    from PIL import Image

    head = stream.read(26)
    stream.seek(0)
    if head[:8] == PNG_MAGIC and head[24:25] == b"\x10" and head[25:26] not in (b"", b"\x00"):
        raise refused("16-bit colour pictures are not read", where, "unsupported")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit follows
            image = Image.open(stream, formats=("PNG", "JPEG"))
    except Image.DecompressionBombError:
        raise _too_large(where) from None
    except DAMAGE:
        raise refused("not a PNG or JPEG picture", where, "not-an-image") from None
    if image.width * image.height > PIXEL_LIMIT:
        raise _too_large(where)
    if getattr(image, "n_frames", 1) != 1:
        raise refused("an animation, not one picture", where, "unsupported")
    return image


def _too_large(where: str) -> InputError:
    return InputError(
        f"the picture has more than {PIXEL_LIMIT} pixels",
        where=where,
        remedy="tile it first; whole-slide images are not read",
        finding="limit",
    )


def _pixels(stream: BinaryIO, where: str) -> np.ndarray:
    """Pixels as (C, rows, columns)."""
    from PIL import ImageOps

    with _open(stream, where) as image:
        try:
            turned = ImageOps.exif_transpose(image)
            mode = COLOUR_MODES.get(turned.mode, turned.mode)
            array = np.asarray(turned if mode == turned.mode else turned.convert(mode))
        except DAMAGE:
            raise refused("the picture is cut short or damaged", where, "truncated") from None
    if array.dtype.kind == "i":  # Pillow's carrier for 16-bit grey in some versions
        array = array.astype(np.uint16)
    if array.ndim == 2:
        return (
            array.astype(np.uint8)[None] if array.dtype == bool else array.astype(array.dtype.newbyteorder("="))[None]
        )
    array = np.moveaxis(array, -1, 0)
    if len(array) == 4 and (array[3] == 255).all():
        array = array[:3]
    if len(array) == 3 and (array[0] == array[1]).all() and (array[0] == array[2]).all():
        array = array[:1]
    return array
