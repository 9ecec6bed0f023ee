"""Registration on real volumes (RADFOUNDRY_DATA): between sequences of one patient, and between patients.

Between sequences: both images of a patient lie on one grid; one is moved by a random affine and a smooth displacement
that are known, and the mean distance between found and true places in the brain is measured. Between patients: crops
around the hippocampus with masks; the Dice of both parts after registration. Ours against SimpleITK with mutual
information (affine, then B-splines) and, with ANTS_PYTHON naming a Python that has antspyx, ANTs SyN. One thread each;
seconds are CPU seconds after imports. Methods take turns on each patient, so that other load is the same for all.

Finished rows are kept beside the result, so that the work can be done in parts: `--seconds 150`, again and again.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from datetime import date
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"

import numpy as np
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from radfoundry import runs
from radfoundry.data.nifti import read_nifti, write_nifti
from radfoundry.data.resample import resample
from radfoundry.nets import bundled
from radfoundry.tasks.register import Options, register
from radfoundry.tasks.register_transform import Transform
from radfoundry.volume import Volume, points_to_world

torch.set_num_threads(1)
HERE = Path(__file__).parent
RESULT = HERE / "results" / "register.json"
LPS = np.array([-1.0, -1.0, 1.0])
SPACING_MM = 2.5
BETWEEN = {
    "ms07 T1w to T2w": ("ms_lesions/cross_sectional/patient07", "T1w", "T2w"),
    "tcga T1w to T2w": ("tcga_glioma_multiseg/registered", "T1w", "T2w"),
    "brats0001 T1ce to FLAIR": ("brats2015_glioma/pat0001", "T1ce", "FLAIR"),
    "brats0003 T1ce to FLAIR": ("brats2015_glioma/pat0003", "T1ce", "FLAIR"),
    "brats0005 T1ce to FLAIR": ("brats2015_glioma/pat0005", "T1ce", "FLAIR"),
    "pgbm002 T1ce to T2w": ("brain_tumor_progression_dicom/PGBM-002", "T1post", "T2reg"),
    "pgbm003 T1w to T2w": ("brain_tumor_progression_dicom/PGBM-003", "T1prereg", "T2reg"),
}
PATIENTS = 8
METHODS = ("ours", "syn", "itk-affine", "itk-bspline", "ours-affine", "ours-exact", "ours-encoder")


def random_move(volume: Volume, seed: int) -> Transform:
    """A turn of about 9 degrees, a stretch of up to 5 %, a shift of up to 10 mm, and waves of up to 6 mm."""
    rng = np.random.default_rng(seed)
    centre = points_to_world(volume.affine, (np.array([volume.shape]) - 1) / 2)[0]
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rng.normal(size=3) * 0.09).as_matrix() @ np.diag(
        1 + rng.uniform(-0.05, 0.05, 3)
    )
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + rng.uniform(-10, 10, 3)
    nodes = 24
    waves = np.stack([gaussian_filter(rng.normal(size=(nodes,) * 3), 3) for _ in range(3)])
    affine = volume.affine.copy()
    affine[:3, :3] = affine[:3, :3] @ np.diag(np.array(volume.shape) / nodes)
    return Transform(matrix, Volume((6 * waves / np.abs(waves).max()).astype(np.float32), affine))


def sequences(data: Path, name: str) -> tuple[Volume, Volume, np.ndarray, np.ndarray]:
    """Moving image, fixed image, places in the fixed brain (RAS mm) and where they truly lie in the moving image."""
    folder, *files = BETWEEN[name]
    first, second = (read_nifti(data / folder / f"{file}.nii.gz").volume for file in files)
    fine = max(SPACING_MM, min(first.spacing_mm))
    spacing = [max(fine, step) for step in first.spacing_mm]
    moving, still = resample(first, spacing), resample(second, spacing)
    truth = random_move(still, list(BETWEEN).index(name))
    fixed = truth.moved(still, still.geometry)
    brain = np.argwhere(fixed.array[0] > np.percentile(fixed.array[0], 60))
    places = points_to_world(fixed.affine, brain[:: max(len(brain) // 2000, 1)])
    return moving, fixed, places, truth.points(places)


def itk(volume: Volume) -> sitk.Image:
    """A volume as SimpleITK has it (LPS)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array[0].astype(np.float32).T))
    affine = np.diag([*LPS, 1.0]) @ volume.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image


def by_itk(moving: Volume, fixed: Volume, *, splines: bool) -> tuple[sitk.Transform, float]:
    """Mattes mutual information: affine over three levels, then cubic B-splines; the usual settings of its guides."""
    still, other = itk(fixed), itk(moving)
    started = time.process_time()
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.2, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 200, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    start = sitk.CenteredTransformInitializer(
        still, other, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method.SetInitialTransform(start, inPlace=False)
    found = method.Execute(still, other)
    if splines:
        mesh = [max(4, round(n * step / 40)) for n, step in zip(still.GetSize(), still.GetSpacing(), strict=True)]
        mesh = [min(size, n - 1) for size, n in zip(mesh, still.GetSize(), strict=True)]
        bend = sitk.BSplineTransformInitializer(still, mesh)
        second = sitk.ImageRegistrationMethod()
        second.SetMetricAsMattesMutualInformation(32)
        second.SetMetricSamplingStrategy(second.RANDOM)
        second.SetMetricSamplingPercentage(0.1, 1)
        second.SetInterpolator(sitk.sitkLinear)
        second.SetOptimizerAsLBFGSB(1e-5, 15, 5, 30, 1e7)
        second.SetMovingInitialTransform(found)
        second.SetInitialTransform(bend, inPlace=False)
        second.SetShrinkFactorsPerLevel([2])
        second.SetSmoothingSigmasPerLevel([1])
        found = sitk.CompositeTransform([found, second.Execute(still, other)])
    return found, time.process_time() - started


def by_ants(
    moving: Volume, fixed: Volume, places: np.ndarray, labels: Volume | None
) -> tuple[np.ndarray, np.ndarray | None, float]:
    """ANTs SyN in its own environment."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, volume in (("moving", moving), ("fixed", fixed), ("labels", labels)):
            if volume is not None:
                write_nifti(volume, folder / f"{part}.nii.gz")
        np.save(folder / "points.npy", places * LPS)
        subprocess.run(
            [os.environ["ANTS_PYTHON"], str(HERE / "register_ants.py"), name], check=True, capture_output=True
        )
        moved = None if labels is None else read_nifti(folder / "moved.nii.gz").volume.array[0]
        return np.load(folder / "found.npy") * LPS, moved, float((folder / "seconds.txt").read_text())


def ants_version() -> str:
    """The version of antspyx in its environment."""
    ask = "from importlib.metadata import version; print(version('antspyx'))"
    return subprocess.run([os.environ["ANTS_PYTHON"], "-c", ask], check=True, capture_output=True, text=True).stdout[
        :-1
    ]


def answer(
    method: str, moving: Volume, fixed: Volume, places: np.ndarray, labels: Volume | None = None
) -> tuple[np.ndarray, np.ndarray | None, dict]:
    """Where the places lie in the moving image, the labels on the fixed grid, seconds and what else was measured."""
    if method == "syn":
        found, moved, seconds = by_ants(moving, fixed, places, labels)
        return found, moved, {"seconds": seconds}
    if method.startswith("itk"):
        transform, seconds = by_itk(moving, fixed, splines=method.endswith("bspline"))
        found = np.array([transform.TransformPoint(point) for point in (places * LPS).tolist()]) * LPS
        moved = None
        if labels is not None:
            image = sitk.Resample(itk(labels), itk(fixed), transform, sitk.sitkNearestNeighbor, 0.0)
            moved = sitk.GetArrayFromImage(image).T
        return found, moved, {"seconds": seconds}
    encoder = bundled.build() if method == "ours-encoder" else None
    options = {"ours-affine": Options(model="affine"), "ours-exact": Options(spacing_mm=SPACING_MM, steps=40)}
    started = time.process_time()
    result = register(moving, fixed, encoder=encoder, options=options.get(method, Options()))
    facts = {
        "seconds": time.process_time() - started,
        "folded": result.folded_share,
        "gap_mm": float(result.inverse_gap_mm.mean()),
    }
    moved = None if labels is None else result.transform.moved(labels, fixed.geometry, order=0).array[0]
    return result.transform.points(places), moved, facts


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """The mean Dice of both parts of the hippocampus."""
    return float(
        np.mean([2 * ((one == k) & (other == k)).sum() / ((one == k).sum() + (other == k).sum()) for k in (1, 2)])
    )


def pairs(data: Path) -> dict[str, tuple[str, str]]:
    """Hippocampus crops two by two, every patient once."""
    names = sorted(path.name for path in (data / "msd_hippocampus/labels").glob("*.nii.gz"))[: 2 * PATIENTS]
    return {f"{a[12:15]} to {b[12:15]}": (a, b) for a, b in zip(names[::2], names[1::2], strict=True)}


def row(data: Path, kind: str, name: str, method: str) -> dict:
    """One registration measured."""
    if kind == "sequences":
        moving, fixed, places, truth = sequences(data, name)
        found, _, facts = answer(method, moving, fixed, places)
        far = np.linalg.norm(truth - places, axis=1).mean()
        return {**facts, "error_mm": float(np.linalg.norm(found - truth, axis=1).mean()), "before_mm": float(far)}
    a, b = pairs(data)[name]
    moving, fixed = (read_nifti(data / "msd_hippocampus/images" / part).volume for part in (a, b))
    labels, truth = (read_nifti(data / "msd_hippocampus/labels" / part).volume for part in (a, b))
    start = np.eye(4)
    start[:3, 3] = (
        points_to_world(fixed.affine, np.array([fixed.shape]) / 2)[0]
        - points_to_world(moving.affine, np.array([moving.shape]) / 2)[0]
    )
    moving = Volume(moving.array.astype(np.float32), start @ moving.affine)
    labels = Volume(labels.array.astype(np.int16), start @ labels.affine)
    places = np.zeros((1, 3))
    _, moved, facts = answer(method, moving, fixed, places, labels)
    before = Transform(np.eye(4)).moved(labels, fixed.geometry, order=0).array[0]
    return {**facts, "dice": dice(moved, truth.array[0]), "dice_before": dice(before, truth.array[0])}


def interval(values: list[float]) -> dict:
    """The mean with a bootstrap interval over patients (2000 draws)."""
    numbers = np.array(values)
    draws = np.random.default_rng(0).integers(0, len(numbers), (2000, len(numbers)))
    low, high = np.percentile(numbers[draws].mean(axis=1), [2.5, 97.5])
    return {"value": float(numbers.mean()), "low": float(low), "high": float(high), "n": len(numbers)}


def summary(rows: dict[str, dict]) -> dict:
    """Means with intervals over patients, and paired differences and time ratios of ours against each other method."""
    table: dict[str, dict] = {}
    for kind, measure in (("sequences", "error_mm"), ("patients", "dice")):
        by_method = {
            m: {
                key.split("|")[1]: value
                for key, value in rows.items()
                if key.startswith(f"{kind}|") and key.endswith(f"|{m}")
            }
            for m in METHODS
        }
        for method, found in by_method.items():
            if not found:
                continue
            said = {
                measure: interval([item[measure] for item in found.values()]),
                "seconds": interval([item["seconds"] for item in found.values()]),
            }
            for extra in ("folded", "gap_mm"):
                if all(extra in item for item in found.values()):
                    said[extra] = float(np.mean([item[extra] for item in found.values()]))
            shared = sorted(set(found) & set(by_method["ours"]))
            if method != "ours" and shared:
                said["ours_minus_this"] = interval(
                    [by_method["ours"][name][measure] - found[name][measure] for name in shared]
                )
                said["time_ratio"] = interval(
                    [found[name]["seconds"] / by_method["ours"][name]["seconds"] for name in shared]
                )
            table[f"{kind}/{method}"] = said
    return table


def main() -> None:
    """Do what is not done yet, within the time given, and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--kinds", nargs="*", default=["sequences", "patients"])
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    asked = parser.parse_args()
    data = Path(os.environ["RADFOUNDRY_DATA"])
    rows = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else {}
    started = time.process_time()
    work = [("sequences", name, method) for name in BETWEEN for method in asked.methods]
    # The bundled encoder reads windows of 96 mm and has nothing to say of crops of 40 mm.
    work += [
        ("patients", name, method)
        for name in pairs(data)
        for method in asked.methods
        if method not in ("ours-encoder", "ours-exact")
    ]
    for kind, name, method in work:
        key = f"{kind}|{name}|{method}"
        if key in rows or kind not in asked.kinds or (method == "syn" and "ANTS_PYTHON" not in os.environ):
            continue
        if time.process_time() - started > asked.seconds:
            break
        rows[key] = row(data, kind, name, method)
        print(key, rows[key], flush=True)
        about = {
            "machine": platform.machine(),
            "date": str(date.today()),
            "threads": 1,
            "versions": runs.versions() | ({"antspyx": ants_version()} if "ANTS_PYTHON" in os.environ else {}),
            "spacing_mm": SPACING_MM,
        }
        runs.write_json(RESULT, {"about": about, "summary": summary(rows), "rows": rows})


if __name__ == "__main__":
    main()
