"""Masks as files: NIfTI on the grid of the image they belong to, and a table of what their values mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radfoundry.data.masks import Labels, as_label_map
from radfoundry.data.nifti import write_nifti
from radfoundry.records import InputError
from radfoundry.volume import Volume

SUFFIX = ".nii.gz"


def safe_name(name: str) -> str:
    """A case's name as a file's: letters, digits, dots, dashes and underlines, the rest underlines.

    >>> safe_name("scans/sub-01 T1w.nii.gz")
    'scans_sub-01_T1w'
    """
    stem = name
    for ending in (".nii.gz", ".nii", ".png", ".jpg", ".dcm", ".nrrd", ".mha"):
        stem = stem.removesuffix(ending)
    kept = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in stem)
    return kept.strip("._") or "case"


def write_mask(classes: np.ndarray, image: Volume, labels: Labels, path: Path) -> None:
    """Write classes (I, J, K) with the values of `labels` as NIfTI, placed exactly as the image.

    Refuses classes of another shape than the image, and classes that no label names.
    """
    if classes.shape != image.shape:
        raise InputError(
            f"the mask has shape {classes.shape}, the image {image.shape}", where=path.name, finding="geometry"
        )
    if int(classes.max(initial=0)) > len(labels):
        raise InputError(f"class {int(classes.max())} has no label", where=path.name, finding="label")
    write_nifti(Volume.of(as_label_map(classes, labels), image.affine), path)
