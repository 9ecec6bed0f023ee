"""dcm2niix as an independent reader of DICOM folders, for tests that compare with it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from radfoundry.volume import Volume

PROGRAM = Path(sys.executable).with_name("dcm2niix")


@dataclass
class Difference:
    affine_mm: float
    voxels: float
    scale: float

    @property
    def none(self):
        """Voxels equal to float32 precision, every voxel within a thousandth of a millimetre."""
        return self.affine_mm < 1e-3 and self.voxels <= 1e-6 * max(self.scale, 1.0)


def convert(folder, into, *, philips_precise=False):
    """Volumes in RAS order that dcm2niix makes of a folder (Philips and other slopes as the standard has them)."""
    into.mkdir(parents=True, exist_ok=True)
    precise = "y" if philips_precise else "n"
    words = ["-z", "n", "-b", "n", "-p", precise, "-m", "n", "-f", "%s_%e_%t_%d", "-o", str(into), str(folder)]
    subprocess.run([str(PROGRAM), *words], check=False, capture_output=True, timeout=120)
    return [volume for path in sorted(into.glob("*.nii")) if (volume := read(path)) is not None]


def read(path):
    image = nibabel.load(path)
    array = np.asanyarray(image.dataobj)
    if array.dtype.names:
        array = np.stack([array[name] for name in array.dtype.names[:3]], axis=-1)  # a fourth is opacity
    array = array.reshape(*array.shape[:3], -1) if array.ndim >= 3 else array[:, :, None, None]
    if abs(np.linalg.det(image.affine)) < 1e-9:
        return None
    return Volume(np.moveaxis(array, -1, 0), image.affine).reorient("RAS")


def difference(volume, others):
    """The smallest difference between a volume and one of the oracle's of the same shape; None without one."""
    mine = volume.reorient("RAS")
    found = [
        Difference(
            float(np.abs(other.affine - mine.affine).max()),
            float(np.abs(other.array.astype(float) - mine.array.astype(float)).max()),
            float(np.abs(mine.array).max()),
        )
        for other in others
        if other.array.shape == mine.array.shape
    ]
    return min(found, key=lambda item: item.affine_mm + item.voxels, default=None)
