"""What every reader of image files checks and states about voxels in the same way."""

from __future__ import annotations

import numpy as np

from radfoundry.data.reading import FINDINGS, Repair
from radfoundry.records import InputError

COLOURS = ("red", "green", "blue", "alpha")


def picture_affine() -> np.ndarray:
    """The placement of a picture that states none: columns towards the left, rows towards the back, one unit a pixel.

    A reader that uses it says so with the repair `no-geometry`: its lengths are pixels, not mm.
    """
    return np.diag([-1.0, -1.0, 1.0, 1.0])


def finite_voxels(array: np.ndarray, repair: Repair, *, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The voxels, and what was mended; NaN and infinite voxels are refused, or become 0 when told so."""
    if array.dtype.kind != "f":
        return array, ()
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum(dtype=np.float64)):  # much cheaper than looking at every voxel
            return array, ()
    bad = ~np.isfinite(array)
    count = int(bad.sum())
    if count == 0:
        return array, ()
    if repair.nan != "zero":
        raise refused(f"{count} of {array.size} voxels are NaN or infinite", where, "nan-voxels")
    array = array if array.flags.writeable else array.copy()
    array[bad] = 0
    return array, ("nan-voxels",)


def refused(what: str, where: str, finding: str) -> InputError:
    """The error for a named finding, with the remedy that `FINDINGS` gives it."""
    return InputError(what, where=where, remedy=FINDINGS[finding], finding=finding)
