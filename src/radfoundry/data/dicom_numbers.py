"""Numbers as DICOM stores them: 16-bit pixels with slope and intercept, and decimal strings of 16 characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radfoundry.records import InputError
from radfoundry.volume import Volume


@dataclass(frozen=True)
class Quantised:
    """A float image as 16-bit whole numbers: value = stored * slope + intercept, off by at most `error`."""

    stored: np.ndarray
    slope: float
    intercept: float
    error: float


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
