"""Tiny cohorts of images with masks, read in by the ingest a user calls."""

import numpy as np

from radfoundry.cli.main import exit_code
from radfoundry.data.nifti import write_nifti
from radfoundry.volume import Volume

SHAPE = (24, 20, 16)
# Axes swapped, flipped and turned by 12 degrees: an image as scanners write them.
TURN = np.deg2rad(12)
OBLIQUE = np.array(
    [
        [0, -1.5 * np.cos(TURN), 2.0 * np.sin(TURN), 40],
        [-1.5, 0, 0, 30],
        [0, 1.5 * np.sin(TURN), 2.0 * np.cos(TURN), -20],
        [0, 0, 0, 1],
    ]
)


def ball(rng, shape=SHAPE, *, radius=5.0, centre=None):
    """Noise with a bright ball, and the ball itself."""
    middle = centre or [n / 2 + rng.uniform(-2, 2) for n in shape]
    away = sum((axis - c) ** 2 for axis, c in zip(np.indices(shape), middle, strict=True))
    if shape[2] == 1:
        away = sum((axis - c) ** 2 for axis, c in zip(np.indices(shape)[:2], middle[:2], strict=True))
    mask = away < radius**2
    return (100 + 10 * rng.normal(size=shape) + 120 * mask).astype(np.float32), mask.astype(np.uint8)


def write_pair(folder, name, image, mask, affine):
    folder.mkdir(parents=True, exist_ok=True)
    write_nifti(Volume.of(image, affine), folder / f"{name}_T1w.nii.gz")
    if mask is not None:
        write_nifti(Volume.of(mask, affine), folder / f"{name}_seg.nii.gz")


def ingest(folder, *more):
    words = ["ingest", str(folder / "scans"), "--to", str(folder / "cohort"), "--key-file", str(folder / "key")]
    words += ["pattern=(?P<patient>p\\d+)_(?:v(?P<case>\\d+)_)?(?P<sequence>T1w)?", 'masks=["*_seg*.nii.gz"]']
    assert exit_code([*words, "modality=MR", *more]) == 0
    return folder


def make_cohort(folder, *, patients=10, flat=False, shape=SHAPE, radius=(4, 7), seed=0):
    """`scans/` with an image and a mask a patient, and `cohort/`."""
    rng = np.random.default_rng(seed)
    shape = (32, 32, 1) if flat else shape
    for number in range(patients):
        image, mask = ball(rng, shape, radius=rng.uniform(*radius))
        write_pair(folder / "scans", f"p{number:02d}", image, mask, np.eye(4) if flat else OBLIQUE)
    return ingest(folder)
