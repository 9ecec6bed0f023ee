"""ANTs SyN on one pair of images, in an environment of its own: called by benchmarks/register.py.

`python register_ants.py FOLDER` reads fixed.nii.gz, moving.nii.gz, points.npy (LPS mm of the fixed image) and, if
there,
labels.nii.gz on the moving grid; writes found.npy (the points in the moving image), moved.nii.gz, seconds.txt.
"""

import sys
import time
from pathlib import Path

import ants
import numpy as np
import pandas as pd

folder = Path(sys.argv[1])
fixed, moving = (ants.image_read(str(folder / f"{name}.nii.gz")) for name in ("fixed", "moving"))
started = time.process_time()
found = ants.registration(fixed, moving, type_of_transform="SyN", syn_metric="mattes", aff_metric="mattes")
seconds = time.process_time() - started
points = pd.DataFrame(np.load(folder / "points.npy"), columns=["x", "y", "z"])
moved = ants.apply_transforms_to_points(3, points, found["fwdtransforms"])
np.save(folder / "found.npy", moved[["x", "y", "z"]].to_numpy())
if (folder / "labels.nii.gz").exists():
    labels = ants.image_read(str(folder / "labels.nii.gz"))
    result = ants.apply_transforms(fixed, labels, found["fwdtransforms"], interpolator="nearestNeighbor")
    ants.image_write(result, str(folder / "moved.nii.gz"))
(folder / "seconds.txt").write_text(str(seconds))
