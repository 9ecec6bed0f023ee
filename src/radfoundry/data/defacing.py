"""The face of a head volume: where it lies, by the brain's template, and the volume without it.

The face is what lies in front of and below the brain, at least a margin away from it. Where the scan lies in the
template's space has to be given; `radfoundry.nets.head_places` reads it off the bundled encoder.
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.records import InputError
from radfoundry.volume import Volume

BRAIN_FILE = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
MARGIN_MM = 4.0
RIM_MM = 8.0
SKIN = 0.12
FOREHEAD_MM = 82.0  # the skin over the frontal lobe, whose tip lies at 70
PITCHES_DEG = (-14.0, 0.0, 14.0)
MIDDLE_MM = (0.0, -18.0, 8.0)
# The front of the head in the template's mm (RAS): everything before this line, by height. Between the points the
# line is straight: it runs before the frontal lobe, through the orbits behind the eyes, and before the neck's spine.
PROFILE_MM = ((-140.0, 18.0), (-70.0, 18.0), (-45.0, 34.0), (-20.0, 46.0), (16.0, 70.0))
HIGHEST_MM = 16.0  # above it is forehead, which is kept
WIDEST_MM = 78.0
FEWEST_BLOCKS = 80
WORST_RESIDUAL_MM = 20.0
LEAST_OVERLAP = 0.75


def template_file() -> Path:
    """The template's brain inside the nilearn package (ICBM 152, Fonov et al. 2011), found without importing it."""
    spec = importlib.util.find_spec("nilearn")
    path = Path(spec.origin).parent / "datasets" / "data" / BRAIN_FILE if spec and spec.origin else Path(BRAIN_FILE)
    if not path.is_file():
        raise InputError("the head template is missing", remedy="pip install nilearn", finding="missing-file")
    return path


@functools.cache
def brain_distance() -> tuple[np.ndarray, np.ndarray]:
    """Distance from the surface of the template's brain in mm (negative inside) on a grid of 3 mm, and its affine."""
    import nibabel
    from scipy import ndimage

    image = nibabel.Nifti1Image.from_filename(str(template_file()))
    data = np.asarray(image.dataobj)
    hull = data[::3, ::3, ::3] > 0.02 * data.max()
    hull = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(hull, 30), iterations=3))
    affine = np.asarray(image.affine, float) @ np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, 30.0)
    outside, inside = (ndimage.distance_transform_edt(side) * 3.0 for side in (~np.asarray(hull), np.asarray(hull)))
    return (outside - inside).astype(np.float32), affine


def registered(grid: np.ndarray, affine: np.ndarray, to_template: np.ndarray) -> np.ndarray:
    """A nearly right affine made right: mutual information of the scan with the template's brain and its rim.

    grid: the scan on about 3 mm, `(I, J, K)`; affine: its voxels to RAS mm. Mattes et al. 2003, as in SimpleITK.
    """
    import nibabel
    import SimpleITK

    image = nibabel.Nifti1Image.from_filename(str(template_file()))
    fixed = _as_itk(
        np.asarray(image.dataobj, np.float32)[::3, ::3, ::3], np.asarray(image.affine) @ np.diag([3, 3, 3, 1])
    )
    distance, place = brain_distance()
    rim = SimpleITK.Cast(_as_itk((distance < RIM_MM).astype(np.float32), place), SimpleITK.sitkUInt8)
    rim = SimpleITK.Resample(rim, fixed)
    moving = _as_itk(grid, affine)
    tries = [_descended(fixed, rim, moving, _pitched(angle) @ to_template) for angle in PITCHES_DEG]
    return min(tries, key=lambda found: found[0])[1]


def moved_to_forehead(grid: np.ndarray, affine: np.ndarray, to_template: np.ndarray) -> np.ndarray:
    """The affine, moved along the front so that the forehead's skin lies where the template's would.

    grid: the scan between 0 and 1. Nothing is moved where no forehead is seen; at most 25 mm.
    """
    index = np.argwhere(grid > SKIN)
    points = (to_template @ affine)[:3] @ np.vstack([index.T, np.ones(len(index))])
    at_forehead = (np.abs(points[0]) < 20) & (points[2] > 10) & (points[2] < 45)
    if at_forehead.sum() < 200:
        return to_template
    heights = np.round(points[2, at_forehead] / 3).astype(int)
    front = np.median([np.percentile(points[1, at_forehead][heights == level], 99) for level in np.unique(heights)])
    moved = np.eye(4)
    moved[1, 3] = float(np.clip(FOREHEAD_MM - front, -25, 25))
    return moved @ to_template


def _pitched(degrees: float) -> np.ndarray:
    """A nod by some degrees about the middle of the template's brain."""
    angle = np.deg2rad(degrees)
    nod = np.eye(4)
    nod[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    nod[:3, 3] = np.array(MIDDLE_MM) - nod[:3, :3] @ np.array(MIDDLE_MM)
    return nod


def _descended(fixed: Any, rim: Any, moving: Any, to_template: np.ndarray) -> tuple[float, np.ndarray]:
    """The affine at the end of one descent and its cost; the one given, at no merit, where the two do not meet."""
    import SimpleITK

    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    back = flip @ np.linalg.inv(to_template) @ flip
    start = SimpleITK.AffineTransform(3)
    start.SetMatrix(back[:3, :3].ravel().tolist())
    start.SetTranslation(back[:3, 3].tolist())
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.3)
    method.SetMetricFixedMask(rim)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.05, 60, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([1, 0])
    method.SetInitialTransform(start, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:
        return 0.0, to_template
    found = np.eye(4)
    found[:3, :3] = np.reshape(start.GetMatrix(), (3, 3))
    found[:3, 3] = np.array(start.GetTranslation()) + start.GetCenter() - found[:3, :3] @ np.array(start.GetCenter())
    return float(method.GetMetricValue()), flip @ np.linalg.inv(found) @ flip


def _as_itk(array: np.ndarray, affine: np.ndarray) -> Any:
    """An array `(I, J, K)` in RAS mm as an image of SimpleITK, which counts in LPS mm."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    turned = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    spacing = np.linalg.norm(turned[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((turned[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(turned[:, 3].tolist())
    return image


def from_brain_mm(points_mm: np.ndarray) -> np.ndarray:
    """How far points `(n, 3)` of the template's space lie outside its brain, in mm; negative inside."""
    from scipy import ndimage

    distance, affine = brain_distance()
    inside = np.linalg.solve(affine[:3, :3], (points_mm - affine[:3, 3]).T)
    return ndimage.map_coordinates(distance, inside, order=1, mode="nearest")


def is_face(points_mm: np.ndarray) -> np.ndarray:
    """Which points `(n, 3)` of the template's space (RAS mm) belong to the face: eyes, nose, cheeks, mouth, chin.

    >>> is_face(np.array([[0.0, 88, -60], [0, 0, 0], [0, -90, -60], [0, 60, 40]])).tolist()
    [True, False, False, False]
    """
    heights, fronts = zip(*PROFILE_MM, strict=True)
    ahead = points_mm[:, 1] > np.interp(points_mm[:, 2], heights, fronts)
    face = ahead & (points_mm[:, 2] < HIGHEST_MM) & (np.abs(points_mm[:, 0]) < WIDEST_MM)
    face[face] = from_brain_mm(points_mm[face]) > MARGIN_MM
    return face


@dataclass(frozen=True, eq=False)
class HeadPlace:
    """The affine from a scan's RAS mm to the template's, and how well the scan's blocks agree with it.

    `residual_mm` is the median distance between the place that a block of brain tells and where the affine puts it;
    `overlap` is the Dice coefficient of the blocks of brain with the template's brain.
    """

    to_template: np.ndarray
    residual_mm: float
    blocks: int
    overlap: float

    @property
    def is_head(self) -> bool:
        """Whether the scan looks like a head: enough blocks of brain that agree on one place."""
        return self.blocks >= FEWEST_BLOCKS and self.residual_mm <= WORST_RESIDUAL_MM and self.overlap >= LEAST_OVERLAP


def face_mask(shape: tuple[int, int, int], affine: np.ndarray, place: HeadPlace) -> np.ndarray:
    """The face's voxels of a grid, `(I, J, K)` booleans; `affine` takes its voxels to the scan's RAS mm."""
    whole = place.to_template @ affine
    mask = np.zeros(shape, bool)
    first, second = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    for index in range(shape[2]):  # slice by slice, so that memory stays small
        voxels = np.stack([first.ravel(), second.ravel(), np.full(first.size, index)])
        face = is_face((whole[:3, :3] @ voxels + whole[:3, 3:]).T)
        mask[:, :, index] = face.reshape(shape[:2])
    return mask


def defaced(volume: Volume, place: HeadPlace) -> tuple[Volume, np.ndarray]:
    """The volume with its face set to the smallest value, and the mask of what was taken."""
    shape = (volume.array.shape[1], volume.array.shape[2], volume.array.shape[3])
    mask = face_mask(shape, np.asarray(volume.affine, float), place)
    array = volume.array.copy()
    array[:, mask] = array.min()
    return replace(volume, array=array), mask
