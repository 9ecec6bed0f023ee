"""Overlays of DICOM images (one bit a pixel): kept only when asked for and when no text is found in them."""

from __future__ import annotations

from typing import Any

import numpy as np

from radfoundry.data.burned_in import text_boxes
from radfoundry.data.deidentify_profile import KEEP, REMOVE

OVERLAYS = range(0x6000, 0x6100)
OVERLAY_DATA = 0x3000


def overlay_without_text(dataset: Any, key: Any, made: Any) -> str:
    """Keep one overlay plane, cut to its stated size, unless text is found in it; returns what was done."""
    sides = [dataset.get((key.group, element)) for element in (0x0010, 0x0011)]
    value = getattr(dataset.get_item(key), "value", None)
    if any(side is None for side in sides) or not isinstance(value, bytes):
        return REMOVE
    rows, columns = (int(side.value) for side in sides if side is not None)
    length = (rows * columns + 7) // 8
    if rows < 1 or columns < 1 or len(value) < length:
        return REMOVE
    plane = np.unpackbits(np.frombuffer(value[:length], np.uint8), bitorder="little")[: rows * columns]
    if text_boxes(255 * plane.reshape(rows, columns)):
        return REMOVE
    made.add_new(key, "OW", value[:length] + b"\0" * (length % 2))
    return KEEP


def without_bare_overlays(made: Any) -> None:
    """Take out what describes an overlay whose plane is gone."""
    keys = [key for key in tuple(made.keys()) if key.group in OVERLAYS]
    whole = {key.group for key in keys if key.element == OVERLAY_DATA}
    for key in keys:
        if key.group not in whole:
            del made[key]
