"""What changed between two lesion masks of one patient on one grid: new, enlarging, stable, shrinking and gone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from radfoundry.records import InputError
from radfoundry.volume import Volume, points_to_world

CALLS = ("new", "enlarging", "stable", "shrinking", "gone", "merged")


@dataclass(frozen=True)
class LesionChange:
    """One lesion seen at either visit.

    `call`: new, enlarging, stable, shrinking, gone, or merged (several of the first visit became one).
    `place_mm`: its centre of mass, RAS mm, at the later visit where it is there. Volumes in mm³.
    """

    call: str
    place_mm: tuple[float, float, float]
    before_mm3: float
    after_mm3: float
    earlier: tuple[int, ...]
    later: int


def lesion_changes(
    before: Volume,
    after: Volume,
    *,
    tolerance_mm: float,
    smallest_mm3: float = 0.0,
    change: float = 0.5,
) -> list[LesionChange]:
    """Compare two lesion masks on one grid, lesion by lesion; the largest change first.

    Lesions are connected components (corners count). Two of them are the same lesion when they come within
    `tolerance_mm` of each other, which has to cover the error of the registration. A lesion is enlarging when its
    volume grew by more than the share `change`, shrinking when it would have to grow by as much to be what it was.
    `smallest_mm3`: components below it are ignored. Refuses masks on different grids.

    >>> grid = np.eye(4)
    >>> one, two = np.zeros((9, 9, 9)), np.zeros((9, 9, 9))
    >>> two[2:4, 2:4, 2:4] = 1
    >>> [found.call for found in lesion_changes(Volume.of(one, grid), Volume.of(two, grid), tolerance_mm=1.0)]
    ['new']
    """
    if not before.geometry.matches(after.geometry, tolerance_mm=1e-2):
        raise InputError(
            f"the two masks lie on different grids ({before.shape} and {after.shape} voxels)",
            remedy="bring the earlier one onto the later one's grid with radfoundry register",
            finding="grid",
        )
    if not tolerance_mm >= 0 or not smallest_mm3 >= 0 or not change > 0:
        raise InputError("tolerance_mm and smallest_mm3 must be 0 or more, change above 0", finding="options")
    voxel = abs(float(np.linalg.det(after.affine[:3, :3])))
    first, second = (_components(mask, smallest_mm3 / voxel) for mask in (before, after))
    pairs = _touching(first, second, after.spacing_mm, tolerance_mm)
    found = []
    for number in range(1, second.max() + 1):
        earlier = tuple(sorted(one for one, other in pairs if other == number))
        sizes = (
            float(np.isin(first, earlier).sum()) * voxel if earlier else 0.0,
            float((second == number).sum()) * voxel,
        )
        found.append(
            LesionChange(_call(earlier, sizes, change), _place(second == number, after), *sizes, earlier, number)
        )
    kept = {one for one, _ in pairs}
    for number in range(1, first.max() + 1):
        if number not in kept:
            size = float((first == number).sum()) * voxel
            found.append(LesionChange("gone", _place(first == number, after), size, 0.0, (number,), 0))
    return sorted(found, key=lambda item: -abs(item.after_mm3 - item.before_mm3))


def _call(earlier: tuple[int, ...], sizes: tuple[float, float], change: float) -> str:
    if not earlier:
        return "new"
    grown = sizes[1] / sizes[0] - 1
    if grown > change:
        return "enlarging"
    # A lesion that halves shrinks by as much as one that doubles grows.
    if sizes[0] / sizes[1] - 1 > change:
        return "shrinking"
    return "merged" if len(earlier) > 1 else "stable"


def _components(mask: Volume, fewest_voxels: float) -> np.ndarray:
    from scipy import ndimage

    labels, count = ndimage.label(mask.array[0] > 0, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    keep = sizes >= max(fewest_voxels, 1)
    keep[0] = False
    numbers = np.where(keep, np.cumsum(keep), 0)
    return numbers[labels]


def _touching(
    first: np.ndarray, second: np.ndarray, spacing_mm: tuple[float, float, float], tolerance_mm: float
) -> set[tuple[int, int]]:
    """Which component of the first mask comes within the tolerance of which of the second."""
    reach = [int(tolerance_mm / step + 1e-9) for step in spacing_mm]
    found: set[tuple[int, int]] = set()
    for shift in itertools.product(*(range(-n, n + 1) for n in reach)):
        if sum((s * step) ** 2 for s, step in zip(shift, spacing_mm, strict=True)) <= tolerance_mm**2 + 1e-9:
            one, other = (_window(array, shift, sign) for array, sign in ((first, 1), (second, -1)))
            both = (one > 0) & (other > 0)
            found |= set(zip(one[both].tolist(), other[both].tolist(), strict=True))
    return found


def _window(array: np.ndarray, shift: tuple[int, ...], sign: int) -> np.ndarray:
    """The part of an array that lies beside another one's moved by `shift`."""
    cut = [slice(max(s * sign, 0), n + min(s * sign, 0)) for s, n in zip(shift, array.shape, strict=True)]
    return array[cut[0], cut[1], cut[2]]


def _place(mask: np.ndarray, volume: Volume) -> tuple[float, float, float]:
    x, y, z = points_to_world(volume.affine, np.argwhere(mask).mean(axis=0)[None])[0]
    return (float(x), float(y), float(z))
