"""Tiny cohorts with a planted answer, read in by the same ingest a user calls."""

import csv

import numpy as np

from radfoundry.cli.main import exit_code
from radfoundry.data.nifti import write_nifti
from radfoundry.volume import Volume

SHAPE, SPACING = (16, 16, 12), (8.0, 8.0, 10.0)


def blob(rng, size, shape=SHAPE):
    """Speckle with a bright ball of `size` voxels' radius at a place of its own."""
    image = 100 + 10 * rng.normal(size=shape)
    centre = [n / 2 + rng.uniform(-2, 2) for n in shape[:2]] + [shape[2] / 2]
    distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(np.indices(shape), centre, strict=True)))
    return image + 120 * (distance < size)


def nifti(path, array, spacing=SPACING):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(Volume.of(array.astype(np.float32), np.diag([*spacing, 1.0])), path)
    return path


def make_cohort(folder, *, patients=24, flat=False, visits=1, seed=0, extra=()):
    """`scans/` with one FLAIR a visit (2D pictures when `flat`) and `cohort/` with labels that the ball's size gives.

    Labels: `large` (yes/no), `grade` (0, 1, 2), `size`, `days` and `died`, `growth` (second visit minus first).
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(patients):
        size = rng.uniform(2, 5)
        growth = rng.uniform(-1, 1)
        for visit in range(visits):
            shape = (32, 32, 1) if flat else SHAPE
            grown = size + growth * visit
            session = f"_ses-{visit + 1}" if visits > 1 else ""
            name = f"sub-{number:02d}{session}_FLAIR"
            array = blob(rng, grown * (2 if flat else 1), shape)
            nifti(folder / "scans" / f"{name}.nii.gz", array, (1.0, 1.0, 1.0) if flat else SPACING)
            rows.append(
                {
                    "file": name,
                    "large": "yes" if grown > 3.5 else "no",
                    "grade": int(np.digitize(grown, [3, 4])),
                    "size": round(grown, 3),
                    "small": int(grown < 3),
                    "days": round(float(rng.exponential(np.exp(6 - size))) + 1, 1),
                    "died": int(rng.random() < 0.8),
                    "growth": round(growth * visit, 3),
                    "constant": 1,
                    "noise": round(float(rng.normal()), 3),
                }
            )
    for name in extra:
        nifti(folder / "scans" / f"{name}.nii.gz", blob(rng, 3))
    key = ["--key-file", str(folder / "key")]
    with (folder / "labels.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    words = [
        "ingest",
        str(folder / "scans"),
        "--to",
        str(folder / "cohort"),
        *key,
        "modality=" + ("US" if flat else "MR"),
    ]
    assert exit_code(words) == 0
    assert exit_code(["label", str(folder / "cohort"), str(folder / "labels.csv"), "--on", "series", *key]) == 0
    return folder
