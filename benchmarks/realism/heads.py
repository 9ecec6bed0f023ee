"""Real and simulated heads side by side: where the real ones lie, and axial patches from inside the brain of both."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from radfoundry.data.nifti import read_nifti
from radfoundry.volume import Volume

PATCH, PATCH_MM = 64, 1.5  # 96 mm from the middle of the brain, so that stripped and whole heads look alike
REAL = {
    "PGBM-002": {
        "T1c": "brain_tumor_progression_dicom/PGBM-002/T1post.nii.gz",
        "T2w": "brain_tumor_progression_dicom/PGBM-002/T2reg.nii.gz",
        "FLAIR": "brain_tumor_progression_dicom/PGBM-002/FLAIRreg.nii.gz",
    },
    "PGBM-003": {
        "T1w": "brain_tumor_progression_dicom/PGBM-003/T1prereg.nii.gz",
        "T2w": "brain_tumor_progression_dicom/PGBM-003/T2reg.nii.gz",
    },
    **{
        f"BRATS-{name}": {
            "T1c": f"brats2015_glioma/{name}/T1ce.nii.gz",
            "FLAIR": f"brats2015_glioma/{name}/FLAIR.nii.gz",
        }
        for name in ("pat0001", "pat0003", "pat0005")
    },
    "TCGA-FG-6692": {
        name: f"tcga_glioma_multiseg/registered/{file}.nii.gz"
        for name, file in (("T1w", "T1w"), ("T1c", "T1ce"), ("T2w", "T2w"), ("FLAIR", "FLAIR"))
    },
    "MS-07": {
        name: f"ms_lesions/cross_sectional/patient07/{file}.nii.gz"
        for name, file in (("T1w", "T1w"), ("T1c", "T1ce"), ("T2w", "T2w"), ("FLAIR", "FLAIR"))
    },
    "MS-12": {
        "T1w": "ms_lesions/longitudinal/patient12/study1_T1W.nii.gz",
        "FLAIR": "ms_lesions/longitudinal/patient12/study1_FLAIR.nii.gz",
    },
    "chris": {"T1w": "niivue_volumes/chris_t1.nii.gz", "PDw": "niivue_volumes/chris_PD.nii.gz"},
    "brain1": {"T1c": "pyradiomics_cases/brain1_image.nii.gz"},
}
MASKS = {
    **{f"BRATS-{name}": f"brats2015_glioma/{name}/seg.nii.gz" for name in ("pat0001", "pat0003", "pat0005")},
    "TCGA-FG-6692": "tcga_glioma_multiseg/fusion/mav.nii.gz",
    "MS-07": "ms_lesions/cross_sectional/patient07/lesions.nii.gz",
}


@dataclass(frozen=True)
class Scan:
    """One series of one head; `lesion` and `brain` are masks on its grid where they are known."""

    subject: str
    sequence: str
    volume: Volume
    lesion: np.ndarray | None = None
    brain: np.ndarray | None = None


def folder() -> Path:
    root = os.environ.get("RADFOUNDRY_DATA")
    if not root:
        raise SystemExit("set RADFOUNDRY_DATA to the folder of real scans")
    return Path(root)


def read(path: str) -> Volume:
    """A volume in RAS order as 32-bit numbers."""
    return read_nifti(folder() / path).volume.reorient("RAS")


def real() -> Iterator[Scan]:
    for subject, files in REAL.items():
        for sequence, path in files.items():
            volume = read(path)
            lesion = read(MASKS[subject]).array[0] > 0 if subject in MASKS else None
            brain = None
            if subject.startswith("BRATS"):  # brightness was standardised by the source: only the lesion task uses it
                brain = read(f"{path.rpartition('/')[0]}/brainmask.nii.gz").array[0] > 0
            yield Scan(subject, sequence, volume, lesion, brain)


@functools.lru_cache(maxsize=4)
def simulated(cases: int, *, lesions: bool = False) -> tuple[Scan, ...]:
    """Simulated heads from seed 20: five sequences at 1.2-1.5 mm, or FLAIR alone at 2.2-2.6 mm, all with lesions."""
    from radfoundry.simulate.presets import BrainMultisequence

    options = {"sequences": ("T1w", "T1c", "T2w", "FLAIR", "PDw"), "size": "medium", "lesion_rate": 0.6}
    if lesions:
        options = {"sequences": ("FLAIR",), "size": "small", "lesion_rate": 1.0, "tissues": True}
    preset = BrainMultisequence(kinds=("tumour", "demyelination"), **options)
    scans = []
    for case in range(cases):
        for series in preset.simulate(case, seed=20).series:
            truth = {name: item.reorient("RAS").array[0] for name, item in series.truth.items()}
            brain = _brain(truth["tissues"]) if lesions else None
            scans.append(
                Scan(f"simulated-{case}", series.name, series.volume.reorient("RAS"), truth["lesion"] > 0.5, brain)
            )
    return tuple(scans)


def _brain(tissues: np.ndarray) -> np.ndarray:
    """The largest piece of what is neither air nor one of the tissues around the brain."""
    from radfoundry.simulate.tissues import index

    outside = [index(name) for name in ("air", "bone", "marrow", "fat", "muscle", "skin", "vitreous")]
    labelled, count = ndimage.label(ndimage.binary_opening(~np.isin(tissues, outside)))
    sizes = ndimage.sum_labels(np.ones_like(labelled), labelled, np.arange(1, count + 1))
    return labelled == 1 + int(np.argmax(sizes))


def brain_middle(array: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """The voxel between the lateral ventricles, roughly: 62 mm below the top of the head, skull or none."""
    inside = array > 0.5 * array[array > np.percentile(array, 60)].mean()
    places = np.nonzero(inside)
    return np.array([np.median(places[0]), np.median(places[1]), np.percentile(places[2], 98) - 62 / spacing[2]])


def patches(scan: Scan, *, count: int = 9, step_mm: float = 6.0) -> np.ndarray:
    """Axial patches `(n, 64, 64)` of 1.5 mm around the middle of the brain, in units of its median brightness."""
    array = scan.volume.array[0].astype(np.float32)
    spacing = scan.volume.spacing_mm
    middle = brain_middle(array, spacing)
    level = middle[2]
    found = []
    for offset in (np.arange(count) - count // 2) * step_mm / spacing[2]:
        k = round(level + offset)
        if not 0 <= k < array.shape[2]:
            continue
        plane = array[:, :, k]
        blur = [max(0.0, 0.5 * (PATCH_MM / s - 1)) for s in spacing[:2]]
        plane = ndimage.gaussian_filter(plane, blur)
        i = (np.arange(PATCH) - (PATCH - 1) / 2) * PATCH_MM / spacing[0] + middle[0]
        j = (np.arange(PATCH) - (PATCH - 1) / 2) * PATCH_MM / spacing[1] + middle[1]
        patch = ndimage.map_coordinates(plane, np.stack(np.meshgrid(i, j, indexing="ij")), order=1)
        usual = np.median(patch[patch > 0]) if (patch > 0).any() else 0
        if usual > 0 and (patch > 0.1 * usual).mean() > 0.9:
            found.append(patch / usual)
    return np.stack(found) if found else np.zeros((0, PATCH, PATCH), np.float32)


GROUPS = {"brightness": 11, "profile": 8, "spectrum": 16, "edges": 4, "symmetry": 1}


def features(patch: np.ndarray) -> np.ndarray:
    """Forty numbers of a patch, in the order of GROUPS: quantiles, rings from the middle, spectrum, edges, mirror."""
    quantiles = np.quantile(patch, np.linspace(0.02, 0.98, GROUPS["brightness"]))
    axis = np.arange(PATCH) - (PATCH - 1) / 2
    radius = np.hypot(axis[:, None], axis[None, :])
    edges = np.linspace(0, 32, GROUPS["profile"] + 1)
    rings = [patch[(radius >= a) & (radius < b)].mean() for a, b in itertools.pairwise(edges)]
    window = np.hanning(PATCH)[:, None] * np.hanning(PATCH)[None, :]
    power = np.abs(np.fft.fftshift(np.fft.fft2((patch - patch.mean()) * window))) ** 2
    bounds = np.linspace(1, 32, GROUPS["spectrum"] + 1)
    spectrum = [np.log(power[(radius >= a) & (radius < b)].mean() + 1e-9) for a, b in itertools.pairwise(bounds)]
    slope = np.hypot(*np.gradient(patch))
    rough = ndimage.laplace(patch)
    shape = [
        np.log(slope.mean() + 1e-6),
        ((slope - slope.mean()) ** 4).mean() / (slope.var() ** 2 + 1e-12),
        np.log(np.median(np.abs(rough)) + 1e-6),
        ((rough - rough.mean()) ** 4).mean() / (rough.var() ** 2 + 1e-12),
    ]
    mirror = np.corrcoef(patch.ravel(), patch[::-1].ravel())[0, 1]
    return np.array([*quantiles, *rings, *spectrum, *shape, mirror])


def table(scans: Iterator[Scan] | tuple[Scan, ...]) -> dict[str, np.ndarray]:
    """Features `(n, 40)` of every patch with its subject, sequence and volume number."""
    rows, subjects, sequences, numbers = [], [], [], []
    for number, scan in enumerate(scans):
        for patch in patches(scan):
            rows.append(features(patch))
            subjects.append(scan.subject)
            sequences.append(scan.sequence)
            numbers.append(number)
    return {
        "features": np.array(rows),
        "subject": np.array(subjects),
        "sequence": np.array(sequences),
        "volume": np.array(numbers),
    }
