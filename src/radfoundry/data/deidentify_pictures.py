"""Pictures whose burned-in text is painted over."""

from __future__ import annotations

import io

import numpy as np

from radfoundry.data.burned_in import masked, text_boxes
from radfoundry.data.dicom_pydicom import PARSE_ERRORS
from radfoundry.records import InputError


def without_text(data: bytes, where: str) -> tuple[bytes, int]:
    """The picture and how many regions of text were painted over; with any it becomes a PNG, else it stays as is."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert("RGB") if image.mode not in ("L", "I;16", "I", "F") else image)
    except (*PARSE_ERRORS, Image.DecompressionBombError):
        raise InputError(
            "the picture cannot be decoded", where=where, remedy="copy it again from its source", finding="unreadable"
        ) from None
    boxes = text_boxes(pixels)
    if not boxes:
        return data, 0
    planes = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None]
    painted = np.moveaxis(masked(planes, boxes), 0, -1) if pixels.ndim == 3 else masked(planes, boxes)[0]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(painted)).save(buffer, format="PNG")
    return buffer.getvalue(), len(boxes)
