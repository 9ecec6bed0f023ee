"""Do image harmonisers make real scans of several sources more alike, and does a lesion stand out as before?

    RADFOUNDRY_DATA=FOLDER python benchmarks/harmonize_images.py

FLAIR and contrast-enhanced T1, eight patients each, from five and six public sources (GE, Siemens, and others that do
not name their scanners). Every scan is harmonised by what the scans of the other patients taught, labels unseen.

Alike: the mean distance of the quantiles of tissue brightness between two scans of different sources (both with their
skull, or both without), as a share of the common range from the 5th to the 95th percentile. Lesion: its mean brightness
less the median of the tissue, in standard deviations of the tissue. Intervals draw patients.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent / "series_types"))

import numpy as np
import real

from radfoundry.data import harmonize
from radfoundry.data.nifti import read_nifti
from radfoundry.volume import Volume

PGBM, MS, BRATS = "brain_tumor_progression_dicom", "ms_lesions", "brats2015_glioma"
TCGA = "tcga_glioma_multiseg"
# patient: source, whether the skull was removed, file of each sequence, file of the lesion
SCANS: Mapping[str, tuple[str, bool, Mapping[str, str], str]] = {
    "PGBM-002": (
        "GE",
        False,
        {"FLAIR": f"{PGBM}/PGBM-002/FLAIRreg.nii.gz", "T1c": f"{PGBM}/PGBM-002/T1post.nii.gz"},
        "",
    ),
    "PGBM-003": ("Siemens", False, {"FLAIR": f"{PGBM}/PGBM-003/FLAIRreg", "T1c": f"{PGBM}/PGBM-003/T1post"}, ""),
    "ms12": (MS, False, {"FLAIR": f"{MS}/longitudinal/patient12/study1_FLAIR.nii.gz"}, ""),
    "brain1": ("pyradiomics", False, {"T1c": "pyradiomics_cases/brain1_image.nii.gz"}, ""),
    "ms07": (
        MS,
        True,
        {name: f"{MS}/cross_sectional/patient07/{file}.nii.gz" for name, file in (("FLAIR", "FLAIR"), ("T1c", "T1ce"))},
        f"{MS}/cross_sectional/patient07/lesions.nii.gz",
    ),
    "tcga": (
        TCGA,
        True,
        {name: f"{TCGA}/registered/{file}.nii.gz" for name, file in (("FLAIR", "FLAIR"), ("T1c", "T1ce"))},
        f"{TCGA}/fusion/mav.nii.gz",
    ),
} | {
    number: (
        BRATS,
        True,
        {name: f"{BRATS}/{number}/{file}.nii.gz" for name, file in (("FLAIR", "FLAIR"), ("T1c", "T1ce"))},
        f"{BRATS}/{number}/seg.nii.gz",
    )
    for number in ("pat0001", "pat0003", "pat0005")
}
CHAINS: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]] = {
    "as stored": (),
    "zscore": (("zscore", {}),),
    "stripe": (("stripe", {}),),
    "nyul": (("nyul", {}),),
    "histogram": (("histogram", {}),),
    "spectrum, zscore": (("spectrum", {}), ("zscore", {})),
}
STEPS = np.linspace(0.02, 0.98, 49)
RESULT = Path(__file__).parent / "results" / "harmonize.json"


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan at about 3 mm, its tissue and lesion (None where nobody drew one)."""

    patient: str
    source: str
    stripped: bool
    volume: Volume
    tissue: np.ndarray
    lesion: np.ndarray | None


def thinned(volume: Volume) -> tuple[slice, ...]:
    """Steps that leave voxels of about 3 mm."""
    return tuple(slice(None, None, max(1, round(3.0 / mm))) for mm in volume.spacing_mm)


def read(root: Path, sequence: str) -> list[Scan]:
    """All scans of a sequence."""
    found = []
    for patient, (source, stripped, files, lesion) in SCANS.items():
        if sequence not in files:
            continue
        path = root / files[sequence]
        volume = real._series(path)[0].volume if path.is_dir() else read_nifti(path).volume
        steps = thinned(volume)
        array = np.asarray(volume.array[0], np.float32)[steps]
        affine = volume.affine @ np.diag([*(float(step.step) for step in steps), 1.0])
        inside = array != np.median(array) if stripped else None
        shifted = array - float(array.min())
        tissue = inside if inside is not None else shifted > harmonize.otsu_threshold(shifted.ravel())
        drawn = None
        if lesion:
            there = read_nifti(root / lesion).volume.array[0][steps]
            drawn = (there > 0) & tissue if there.shape == array.shape else None
        found.append(Scan(patient, source, stripped, Volume.of(shifted * tissue, affine), tissue, drawn))
    return found


def harmonised(scans: Sequence[Scan], chain: Sequence[tuple[str, Mapping[str, Any]]]) -> list[np.ndarray]:
    """Each scan after a method that the other patients' scans taught."""
    if not chain:
        return [scan.volume.array[0] for scan in scans]
    made = []
    for scan in scans:
        fitted = harmonize.fit(chain, [other.volume for other in scans if other.patient != scan.patient])
        made.append(fitted.apply(scan.volume, mask=scan.tissue).array[0])
    return made


def measured(scans: Sequence[Scan], images: Sequence[np.ndarray]) -> tuple[dict[tuple[int, int], float], list[float]]:
    """Distance of every pair of scans of different sources, and how each lesion stands out (NaN without one)."""
    values = [image[scan.tissue] for scan, image in zip(scans, images, strict=True)]
    low, high = np.percentile(np.concatenate([part[:: max(1, part.size // 20000)] for part in values]), [5, 95])
    curves = [np.quantile(part, STEPS) / max(float(high - low), 1e-9) for part in values]
    pairs = {
        (one, other): float(np.abs(curves[one] - curves[other]).mean())
        for one, other in combinations(range(len(scans)), 2)
        if scans[one].source != scans[other].source and scans[one].stripped == scans[other].stripped
    }
    out = [
        float((image[scan.lesion].mean() - np.median(part)) / part.std())
        if scan.lesion is not None and scan.lesion.sum() > 20
        else float("nan")
        for scan, image, part in zip(scans, images, values, strict=True)
    ]
    return pairs, out


def drawn(statistic: Callable[[np.ndarray], float], count: int) -> dict[str, float]:
    """A statistic of how often each patient counts, with the 95 % interval over draws of patients."""
    rng = np.random.default_rng(0)
    times = [np.bincount(rng.integers(count, size=count), minlength=count).astype(float) for _ in range(1000)]
    values = np.array([statistic(part) for part in times])
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return {"value": round(statistic(np.ones(count)), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def mean_of_pairs(pairs: Mapping[tuple[int, int], float], times: np.ndarray) -> float:
    """The mean distance where pairs count as often as both their patients were drawn."""
    weights = np.array([times[one] * times[other] for one, other in pairs])
    return float(np.average(list(pairs.values()), weights=weights)) if weights.sum() else float("nan")


def mean_of(values: np.ndarray, times: np.ndarray) -> float:
    """The mean over patients that have a value."""
    known = np.isfinite(values)
    return float(np.average(values[known], weights=times[known])) if times[known].sum() else float("nan")


def compare(scans: Sequence[Scan]) -> dict[str, Any]:
    """Every method: distances, lesions, and both minus what plain z-scores give (paired)."""
    found = {name: measured(scans, harmonised(scans, chain)) for name, chain in CHAINS.items()}
    base_pairs, base_lesions = found["zscore"]
    rows: dict[str, Any] = {}
    for name, (pairs, lesions) in found.items():
        gained = {key: value - base_pairs[key] for key, value in pairs.items()}
        shown = np.array(lesions)
        change = shown - np.array(base_lesions)
        rows[name] = {
            "distance": drawn(lambda times, p=pairs: mean_of_pairs(p, times), len(scans)),
            "distance minus zscore": drawn(lambda times, p=gained: mean_of_pairs(p, times), len(scans)),
            "lesion": drawn(lambda times, v=shown: mean_of(v, times), len(scans)),
            "lesion minus zscore": drawn(lambda times, v=change: mean_of(v, times), len(scans)),
        }
    lesions = sum(np.isfinite(base_lesions))
    return {"patients": len(scans), "pairs": len(base_pairs), "lesions": int(lesions), "methods": rows}


def main() -> None:
    """Print and keep what was measured."""
    root = Path(os.environ["RADFOUNDRY_DATA"])
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    result["images"] = {}
    for sequence in ("FLAIR", "T1c"):
        told = compare(read(root, sequence))
        result["images"][sequence] = told
        print(sequence, {key: value for key, value in told.items() if key != "methods"})
        for name, row in told["methods"].items():
            print(f"  {name:10s}", {key: (v["value"], v["low"], v["high"]) for key, v in row.items()})
    RESULT.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
