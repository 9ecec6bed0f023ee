"""Numbers as DICOM stores them: 16-bit pixels with slope and intercept, and decimal strings of 16 characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from radfoundry.records import InputError
from radfoundry.volume import Volume


@dataclass(frozen=True)
class Quantised:
    """A float image as 16-bit whole numbers: value = stored * slope + intercept, off by at most `error`.

    `bits` is how many of the bits are used (0: all). `mirrored` numbers count down from the largest that fits, as
    MONOCHROME1 stores them.
    """

    stored: np.ndarray
    slope: float
    intercept: float
    error: float
    bits: int = 0
    mirrored: bool = False


def quantised(array: np.ndarray, *, unsigned: bool = False) -> Quantised:
    """An image in 16 bits with slope and intercept; whole numbers that fit are kept exactly.

    `unsigned` stores 0 … 65535 instead of -32768 … 32767. Refuses values that are not finite.
    """
    values = np.asarray(array)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError("voxels that are not finite cannot be written as DICOM", finding="nan-voxels")
    kind = np.dtype("<u2" if unsigned else "<i2")
    bottom, top = (0, 65535) if unsigned else (-32768, 32767)
    low, high = float(values.min()), float(values.max())
    whole = values.dtype.kind in "biu" or bool(np.all(values == np.rint(values)))
    if whole and low >= bottom and high <= top:
        return Quantised(values.astype(kind), 1.0, 0.0, 0.0)
    # The header holds 16 characters, so the numbers are rounded to those before they are used.
    slope = float(decimal((high - low) / 65534)) if high > low else 1.0
    intercept = float(decimal(low if unsigned else (high + low) / 2))
    stored = np.clip(np.rint((values.astype(np.float64) - intercept) / slope), bottom, top)
    error = float(np.abs(stored * slope + intercept - values).max())
    return Quantised(stored.astype(kind), slope, intercept, error)


def as_picture(quantity: Quantised, *, mirrored: bool) -> Quantised:
    """Unsigned numbers as films store them: 8 bits where they suffice, else 12 to 16, mirrored where asked."""
    top = int(quantity.stored.max())
    bits = 8 if top < 256 else max(12, top.bit_length())
    stored = quantity.stored.astype("u1" if bits == 8 else "<u2")
    if mirrored:
        stored = (((1 << bits) - 1) - stored).astype(stored.dtype)
    return replace(quantity, stored=stored, bits=bits, mirrored=mirrored)


def as_hounsfield(quantity: Quantised) -> Quantised:
    """Whole Hounsfield units from -1024 up as CT scanners store them: unsigned, 1024 more, with the intercept."""
    low, high = int(quantity.stored.min()), int(quantity.stored.max())
    if (quantity.slope, quantity.intercept) != (1.0, 0.0) or low < -1024:
        return quantity
    stored = (quantity.stored.astype(np.int32) + 1024).astype("<u2")
    return replace(quantity, stored=stored, intercept=-1024.0, bits=max(12, (high + 1024).bit_length()))


def decimal(value: float) -> str:
    """A number in at most 16 characters, as a decimal string of DICOM must be.

    >>> decimal(-1 / 3), len(decimal(1.23456789e-7 / 3)) <= 16
    ('-0.3333333333333', True)
    """
    for digits in range(16, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    raise InputError(f"{value} does not fit a DICOM decimal string", finding="affine")


def quantisation_error(volumes: Sequence[Volume]) -> float:
    """The largest difference that writing these volumes as int16 makes, in their own units."""
    return max(quantised(volume.array).error for volume in volumes)
