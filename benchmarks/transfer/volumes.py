"""Real heads for the transfer benchmarks: read, registered to the template once, prepared, and cut into crops.

The folder of real data is named by RADFOUNDRY_DATA; what is computed once lies in a cache folder outside the project.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.data.prepare import Plan, prepare
from radfoundry.simulate.head import TISSUES, head, template_file
from radfoundry.volume import Volume

SPACING_MM = (3.0, 3.0, 3.0)
PLAN = Plan(orientation="RAS", spacing_mm=SPACING_MM, shape=None, intensity="percentile")
SIZE = 32
BRIGHTNESS = {"grey": 0.5, "white": 0.8, "csf": 0.15, "deep-grey": 0.65, "bone": 0.05, "marrow": 0.6, "fat": 1.0}
# Looked at and not trusted (tilted by some 15 degrees): left out where the place in the template is the truth.
UNTRUSTED = ("PGBM-002",)
# Registered within the patient to the scan whose contrast fits the template better.
THROUGH = {"ms12-study1-T1W": "ms12-study1-FLAIR", "ms12-study2-T1W": "ms12-study2-FLAIR", "chris-PD": "chris-T1"}
PGBM, MS, TCGA, BRATS = (
    "brain_tumor_progression_dicom",
    "ms_lesions",
    "tcga_glioma_multiseg/registered",
    "brats2015_glioma",
)


@dataclass(frozen=True)
class Scan:
    """One real series: patient, sequence, its file below the data folder, and whose registration it shares."""

    patient: str
    sequence: str
    file: str
    space: str
    skull: bool = True

    @property
    def key(self) -> str:
        """A short name for tables and pictures."""
        return f"{self.space}-{self.sequence}"


def _scans() -> tuple[Scan, ...]:
    rows = [
        ("PGBM-002", "T1ce", f"{PGBM}/PGBM-002/T1post.nii.gz", "PGBM-002"),
        ("PGBM-002", "FLAIR", f"{PGBM}/PGBM-002/FLAIRreg.nii.gz", "PGBM-002"),
        ("PGBM-002", "T2w", f"{PGBM}/PGBM-002/T2reg.nii.gz", "PGBM-002"),
        ("PGBM-003", "T1ce", f"{PGBM}/PGBM-003/T1post", "PGBM-003"),
        ("PGBM-003", "T1w", f"{PGBM}/PGBM-003/T1prereg.nii.gz", "PGBM-003"),
        ("PGBM-003", "FLAIR", f"{PGBM}/PGBM-003/FLAIRreg", "PGBM-003"),
        ("PGBM-003", "T2w", f"{PGBM}/PGBM-003/T2reg.nii.gz", "PGBM-003"),
        ("brain1", "T1ce", "pyradiomics_cases/brain1_image.nii.gz", "brain1"),
        ("siemens3", "T1w", "dicom_mri_vendors/siemens_prisma_t1_fl2d_sag_HFS", "siemens3"),
        ("chris", "T1w", "niivue_volumes/chris_t1.nii.gz", "chris-T1"),
        ("chris", "PDw", "niivue_volumes/chris_PD.nii.gz", "chris-PD"),
    ]
    for study in ("study1", "study2"):
        for sequence, name in (("FLAIR", "FLAIR"), ("T1w", "T1W")):
            rows.append(
                ("ms12", sequence, f"{MS}/longitudinal/patient12/{study}_{name}.nii.gz", f"ms12-{study}-{name}")
            )
    for sequence in ("T1w", "T1ce", "T2w", "FLAIR"):
        rows.append(("ms07", sequence, f"{MS}/cross_sectional/patient07/{sequence}.nii.gz", "ms07"))
        rows.append(("tcga", sequence, f"{TCGA}/{sequence}.nii.gz", "tcga"))
    for patient in ("pat0001", "pat0003", "pat0005"):
        rows += [(patient, name, f"{BRATS}/{patient}/{name}.nii.gz", patient) for name in ("T1ce", "FLAIR")]
    # PGBM-003 has its skull, but only the brain's registration put its ventricles where they are (seen by eye).
    brain = ("ms07", "tcga", "pat0001", "pat0003", "pat0005", "PGBM-003")
    return tuple(Scan(*row, skull=row[0] not in brain) for row in rows)


SCANS = _scans()


def read(path: Path) -> Volume:
    """A NIfTI file or a folder of DICOM slices as a volume in RAS mm."""
    import SimpleITK as sitk

    if path.is_dir():
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        image = reader.Execute()
    else:
        image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return Volume.of(sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float32), flip @ affine)


def register(moving: Volume, *, skull: bool) -> tuple[np.ndarray, float]:
    """The affine 4x4 from template mm to the scan's mm (RAS), by mutual information, and the metric.

    A head with its skull is matched to the simulated head (brain, skull and scalp), a stripped one to the template's
    brain: a brain alone matched to a whole head grows until its edge meets the scalp. Three starts, the best is kept.
    """
    import SimpleITK as sitk

    fixed, mask = _whole_head() if skull else _brain()
    image = _to_sitk(prepare(moving, Plan(orientation="RAS", spacing_mm=(3, 3, 3), shape=None, intensity="percentile")))
    best: tuple[float, Any] | None = None
    for tilt, lift in ((0.0, 15.0), (0.15, 15.0), (0.0, -15.0)):
        start = _centred(moving, tilt, lift)
        rigid = _optimise((fixed, image), mask, sitk.VersorRigid3DTransform(start), steps=60)
        affine = sitk.AffineTransform(3)
        affine.SetMatrix(rigid.GetMatrix())
        affine.SetTranslation(rigid.GetTranslation())
        affine.SetCenter(rigid.GetCenter())
        affine, value = _optimise((fixed, image), mask, affine, steps=150, value=True)
        if best is None or value < best[0]:
            best = (value, affine)
    if best is None:
        raise RuntimeError("no registration")
    return _matrix(best[1]), best[0]


def rigid_between(fixed: Volume, moving: Volume) -> np.ndarray:
    """The rigid 4x4 from the mm of one scan to the mm of another scan of the same patient at the same visit."""
    import SimpleITK as sitk

    plan = Plan(orientation="RAS", spacing_mm=(3, 3, 3), shape=None, intensity="percentile")
    one, other = _to_sitk(prepare(fixed, plan)), _to_sitk(prepare(moving, plan))
    start = sitk.VersorRigid3DTransform()
    bright = np.argwhere(prepare(fixed, plan).array[0] > 0.15).mean(axis=0)
    start.SetCenter(one.TransformContinuousIndexToPhysicalPoint(bright.tolist()))
    mask = sitk.Cast(one > 0.08, sitk.sitkUInt8)
    return _matrix(_optimise((one, other), mask, start, steps=150, first_step=1.0))


def _brain():  # noqa: ANN202
    import SimpleITK as sitk

    fixed = sitk.BinShrink(sitk.ReadImage(str(template_file("t1")), sitk.sitkFloat32), [4, 4, 4])
    return fixed, sitk.BinaryDilate(sitk.Cast(fixed > 5, sitk.sitkUInt8), [1, 1, 1])


def _whole_head():  # noqa: ANN202
    """The simulated template head as a T1-weighted image of 4 mm, and where it is trusted: above the face and neck."""
    import SimpleITK as sitk

    template = head(2.0)
    bright = [BRIGHTNESS.get(name, 0.3) for name in TISSUES]
    picture = np.tensordot(bright, template.fractions.numpy(), axes=1)
    fixed = sitk.BinShrink(_to_sitk(Volume.of(picture.astype(np.float32), template.affine)), [2, 2, 2])
    near = (template.depth_mm.numpy() > 0).astype(np.float32)
    brain = sitk.BinShrink(_to_sitk(Volume.of(near, template.affine)), [2, 2, 2])
    return fixed, sitk.BinaryDilate(sitk.Cast(brain > 0.5, sitk.sitkUInt8), [5, 5, 5])


def _to_sitk(volume: Volume):  # noqa: ANN202
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array[0].transpose(2, 1, 0)))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).flatten().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _centred(moving: Volume, tilt: float, lift: float):  # noqa: ANN202
    """Template centre onto the centre of the bright part; LPS."""
    import SimpleITK as sitk

    volume = prepare(moving, Plan(orientation="RAS", spacing_mm=(4, 4, 4), shape=None, intensity="percentile"))
    bright = np.argwhere(volume.array[0] > 0.25).mean(axis=0)
    middle = volume.affine[:3, :3] @ bright + volume.affine[:3, 3]
    start = sitk.VersorRigid3DTransform()
    start.SetCenter((0.0, 18.0, lift))
    start.SetTranslation((-middle[0], -middle[1] - 18.0, middle[2] - lift))
    start.SetRotation((1.0, 0.0, 0.0), tilt)
    return start


def _optimise(pair, mask, start, *, steps: int, value: bool = False, first_step: float = 2.0):  # noqa: ANN001, ANN202
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.25, 7)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(first_step, 0.02, steps, relaxationFactor=0.7)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 1.5])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(*pair)
    return (start, method.GetMetricValue()) if value else start


def _matrix(transform) -> np.ndarray:  # noqa: ANN001
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    lps = np.eye(4)
    lps[:3, :3] = np.stack([np.array(transform.TransformPoint(tuple(row))) - origin for row in np.eye(3)], axis=1)
    lps[:3, 3] = origin
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ lps @ flip


def cached(data: Path, cache: Path) -> dict[str, tuple[Scan, Volume, np.ndarray]]:
    """Every scan prepared as the encoder asks, with the affine from template mm to its mm; computed once."""
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / "registrations.json"
    known = json.loads(kept.read_text()) if kept.is_file() else {}
    found: dict[str, tuple[Scan, Volume, np.ndarray]] = {}
    for scan in SCANS:
        path = cache / f"{scan.key}.npz"
        if not path.is_file() or scan.space not in known:
            volume = read(data / scan.file)
            if scan.space not in known:
                known[scan.space] = _placed(scan, volume, data, known)
                kept.write_text(json.dumps(known, indent=1))
            ready = prepare(volume, PLAN)
            np.savez(path, array=ready.array.astype(np.float16), affine=ready.affine)
        with np.load(path, allow_pickle=False) as parts:
            ready = Volume(parts["array"].astype(np.float32), parts["affine"])
        found[scan.key] = (scan, ready, np.array(known[scan.space]["matrix"]))
    return found


def _placed(scan: Scan, volume: Volume, data: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Where the template lies in a scan: directly, or through another scan of the same visit."""
    through = THROUGH.get(scan.space)
    if through is None:
        matrix, value = register(volume, skull=scan.skull)
        return {"from": scan.sequence, "matrix": matrix.tolist(), "metric": value}
    other = next(item for item in SCANS if item.space == through)
    step = rigid_between(read(data / other.file), volume)
    return {"from": through, "matrix": (step @ np.array(known[through]["matrix"])).tolist(), "metric": None}


def places_mm(count: int, *, seed: int) -> np.ndarray:
    """Places `(count, 3)` in the template's mm, spread at random over the brain."""
    volume = read(template_file("t1"))
    inside = np.argwhere(volume.array[0] > 20)
    rng = np.random.default_rng(seed)
    chosen = inside[rng.integers(len(inside), size=count)]
    return chosen @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def crops(
    volume: Volume, template_to_scan: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crops `(n, 32, 32, 32)` around template places, where their centres truly lie (template mm), and which places.

    A place outside the scan's field of view has no crop. Crops start at whole voxels, so the true centre is up to
    half a voxel from the place asked for. What lies outside the scan is filled with its smallest value.
    """
    to_voxel = np.linalg.inv(volume.affine) @ template_to_scan
    middle = places @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    shape = np.array(volume.shape)
    kept = np.flatnonzero(((middle > 0) & (middle < shape - 1)).all(axis=1))
    half = SIZE // 2
    padded = np.pad(volume.array[0], SIZE, constant_values=float(volume.array.min()))
    start = np.round(middle[kept] - (SIZE - 1) / 2).astype(int)
    cut = np.stack([padded[tuple(slice(a + SIZE, a + 2 * SIZE) for a in s)] for s in start])
    back = np.linalg.inv(to_voxel)
    centre = start + half - 0.5
    return cut, centre @ back[:3, :3].T + back[:3, 3], kept


def overlays(found: dict[str, tuple[Scan, Volume, np.ndarray]], path: Path) -> None:
    """One row a scan: three slices through the template's origin region with the template's brain edge drawn on."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from scipy import ndimage

    template = read(template_file("t1"))
    columns = 6
    rows = -(-len(found) // (columns // 2))
    figure, axes = plt.subplots(rows, columns, figsize=(columns * 1.7, rows * 1.9))
    for axis in axes.flat:
        axis.axis("off")
    grid = [np.arange(-84, 86, 2.0), np.arange(-120, 90, 2.0), np.arange(-60, 90, 2.0)]
    for number, (key, (_, volume, matrix)) in enumerate(found.items()):
        for part, (fixed_axis, value) in enumerate(((2, 8.0), (0, 2.0))):
            free = [n for n in range(3) if n != fixed_axis]
            points = np.zeros((len(grid[free[0]]), len(grid[free[1]]), 3))
            points[..., free[0]], points[..., free[1]] = np.meshgrid(grid[free[0]], grid[free[1]], indexing="ij")
            points[..., fixed_axis] = value
            picture = _sample(volume, points @ matrix[:3, :3].T + matrix[:3, 3], ndimage)
            edge = _sample(template, points, ndimage)
            axis = axes[number // (columns // 2), (number % (columns // 2)) * 2 + part]
            axis.imshow(picture.T, origin="lower", cmap="gray")
            axis.contour(edge.T, levels=[20, 110], colors=["yellow", "red"], linewidths=0.5)
            axis.set_title(key if part == 0 else "", fontsize=6)
    figure.tight_layout(pad=0.2)
    figure.savefig(path, dpi=90)


def _sample(volume: Volume, points: np.ndarray, ndimage) -> np.ndarray:  # noqa: ANN001
    inverse = np.linalg.inv(volume.affine)
    voxel = points @ inverse[:3, :3].T + inverse[:3, 3]
    return ndimage.map_coordinates(volume.array[0].astype(np.float32), np.moveaxis(voxel, -1, 0), order=1)
