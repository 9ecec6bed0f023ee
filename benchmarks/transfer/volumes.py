"""Real heads for the transfer benchmarks: read, registered to the template once, prepared, and cut into crops.

The folder of real data is named by RADFOUNDRY_DATA; what is computed once lies in a cache folder outside the project.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radfoundry.data.prepare import Plan, prepare
from radfoundry.simulate.head import template_file
from radfoundry.volume import Volume

SPACING_MM = (3.0, 3.0, 3.0)
PLAN = Plan(orientation="RAS", spacing_mm=SPACING_MM, shape=None, intensity="percentile")
SIZE = 32
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
        for sequence, name in (("T1w", "T1W"), ("FLAIR", "FLAIR")):
            rows.append(
                ("ms12", sequence, f"{MS}/longitudinal/patient12/{study}_{name}.nii.gz", f"ms12-{study}-{name}")
            )
    for sequence in ("T1w", "T1ce", "T2w", "FLAIR"):
        rows.append(("ms07", sequence, f"{MS}/cross_sectional/patient07/{sequence}.nii.gz", "ms07"))
        rows.append(("tcga", sequence, f"{TCGA}/{sequence}.nii.gz", "tcga"))
    for patient in ("pat0001", "pat0003", "pat0005"):
        for sequence in ("T1ce", "FLAIR"):
            rows.append((patient, sequence, f"{BRATS}/{patient}/{sequence}.nii.gz", patient))
    return tuple(Scan(*row) for row in rows)


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


def register(moving: Volume) -> tuple[np.ndarray, float]:
    """The affine 4x4 from template mm to the scan's mm (RAS), by mutual information over the brain, and the metric.

    Three starts that differ in height and tilt; the best is kept.
    """
    import SimpleITK as sitk

    fixed = sitk.ReadImage(str(template_file("t1")), sitk.sitkFloat32)
    fixed = sitk.BinShrink(fixed, [4, 4, 4])
    mask = sitk.BinaryDilate(sitk.Cast(fixed > 5, sitk.sitkUInt8), [1, 1, 1])
    ready = prepare(moving, Plan(orientation="RAS", spacing_mm=(3, 3, 3), shape=None, intensity="percentile"))
    image = _to_sitk(ready)
    best: tuple[float, np.ndarray] | None = None
    for tilt, lift in ((0.0, 15.0), (0.15, 15.0), (0.0, -15.0)):
        start = _centred(ready, tilt, lift)
        rigid = _optimise(fixed, image, mask, sitk.VersorRigid3DTransform(start), steps=60)
        affine = sitk.AffineTransform(3)
        affine.SetMatrix(rigid.GetMatrix())
        affine.SetTranslation(rigid.GetTranslation())
        affine.SetCenter(rigid.GetCenter())
        affine, value = _optimise(fixed, image, mask, affine, steps=120, value=True)
        if best is None or value < best[0]:
            best = (value, _matrix(affine))
    if best is None:
        raise RuntimeError("no registration")
    return best[1], best[0]


def _to_sitk(volume: Volume):  # noqa: ANN202
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array[0].transpose(2, 1, 0)))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).flatten().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _centred(volume: Volume, tilt: float, lift: float):  # noqa: ANN202
    """Template centre onto the centre of the bright part; LPS."""
    import SimpleITK as sitk

    bright = np.argwhere(volume.array[0] > 0.25).mean(axis=0)
    middle = volume.affine[:3, :3] @ bright + volume.affine[:3, 3]
    start = sitk.VersorRigid3DTransform()
    start.SetCenter((0.0, 18.0, lift))
    start.SetTranslation((-middle[0], -middle[1] - 18.0, middle[2] - lift))
    start.SetRotation((1.0, 0.0, 0.0), tilt)
    return start


def _optimise(fixed, image, mask, start, *, steps: int, value: bool = False):  # noqa: ANN001, ANN202
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.25, 7)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, steps, relaxationFactor=0.7)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 1.5])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, image)
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
                matrix, value = register(volume)
                known[scan.space] = {"from": scan.sequence, "matrix": matrix.tolist(), "metric": value}
                kept.write_text(json.dumps(known, indent=1))
            ready = prepare(volume, PLAN)
            np.savez(path, array=ready.array.astype(np.float16), affine=ready.affine)
        with np.load(path, allow_pickle=False) as parts:
            ready = Volume(parts["array"].astype(np.float32), parts["affine"])
        found[scan.key] = (scan, ready, np.array(known[scan.space]["matrix"]))
    return found


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
