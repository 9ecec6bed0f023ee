"""`radfoundry register`: bring one volume onto another, and say how well it holds and what changed."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from radfoundry import registry, runs
from radfoundry.config import Component, Settings
from radfoundry.records import Estimate, InputError, Run, Series, counted
from radfoundry.volume import Volume, points_to_voxels

Progress = Callable[[str, int, int], None]
PLAIN = "mind"
AXES = ("x", "y", "z")
MOST_MOVED_VOXELS = 300_000_000
LEAST_KEPT = 0.6
LARGEST_GAP_MM = 5.0


class Config(Settings):
    """Which image is brought onto which, how, and what moves along."""

    moving: str = Field(description="image that is moved: a file, a folder of one DICOM series, or a series key")
    fixed: str = Field(description="image that stays; the result lies on its grid")
    cohort: str | None = Field(None, description="cohort folder, where moving and fixed are series keys")
    encoder: Component = Field(
        default=Component(name=PLAIN), description="mind (nothing learned, any body part) or a 3D encoder"
    )
    model: Literal["rigid", "affine", "deformable"] = Field("deformable", description="how the image may be moved")
    start: Literal["header", "centre"] = Field(
        "header", description="begin where the headers say, or with both images centred"
    )
    moving_volume: int | None = Field(
        None, ge=0, description="which volume of a moving image with several (first is 0); their mean if not said"
    )
    fixed_volume: int | None = Field(None, ge=0, description="the same of the fixed image")
    spacing_mm: float | None = Field(None, gt=0, description="voxel size of the work; about 42³ voxels if not said")
    smooth: float = Field(0.3, ge=0, description="weight of the smoothness of a deformable result")
    steps: int = Field(12, ge=0, description="gradient steps of a deformable result")
    masks: list[str] = Field([], description="label maps on the moving image's grid that are moved along")
    landmarks: str | None = Field(None, description="CSV with columns x,y,z: points of the moving image, RAS mm")
    lesions_before: str | None = Field(None, description="lesion mask on the moving image's grid, the earlier visit")
    lesions_after: str | None = Field(None, description="lesion mask on the fixed image's grid, the later visit")
    lesion_change: float = Field(0.5, gt=0, description="growth of a lesion that counts as enlarging")
    lesion_smallest_mm3: float = Field(10.0, ge=0, description="smaller lesions are ignored")
    lesion_error: float = Field(0.15, gt=0, description="coefficient of variation of a lesion volume measured twice")
    modality: str | None = Field(None, description="modality of image files that state none")
    seed: int = Field(0, ge=0, description="seed of the places that are looked at")
    to: str | None = Field(None, description="run folder to write")


@dataclass(frozen=True, eq=False)
class _Given:
    """Everything that was read; `moving` and `fixed` are one volume each, `whole` is all that moves along."""

    moving: Volume
    fixed: Volume
    whole: Volume
    masks: Mapping[str, Volume]
    landmarks: list[dict[str, Any]]
    lesions: tuple[Volume, Volume] | None
    contents: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@runs.working
def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Register, write the moved image, the displacement, what moved along, numbers and pictures."""
    from radfoundry.tasks import register

    encoder = _encoder(config.encoder)
    given = _read(config, encoder)
    options = register.Options(config.model, config.start, config.spacing_mm, config.smooth, config.steps, config.seed)
    found = register.register(given.moving, given.fixed, encoder=encoder, options=options, progress=progress)
    with runs.writing("register", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(given.contents)
        writer.notes += [*given.notes, *_left_the_image(config, given, found), *_two_ways(found)]
        writer.metrics.update(_numbers(found))
        blocks = _write(config, given, found, writer)
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished


def _encoder(component: Component) -> Any:
    """The encoder asked for, or None for the descriptor that needs none."""
    if component.name == PLAIN:
        if component.options:
            raise InputError(f"{PLAIN} takes no options", where="encoder", finding="options")
        return None
    from radfoundry.nets import embedding

    if not component.name.endswith(".safetensors") and component.name not in registry.entries("encoders"):
        known = [PLAIN, *registry.entries("encoders")]
        raise registry.unknown("encoder", component.name, known, remedy="radfoundry list encoders")
    return embedding.open_encoder(component)


def _read(config: Config, encoder: Any) -> _Given:
    with tempfile.TemporaryDirectory(prefix="radfoundry-register-") as folder:
        series = {
            "moving": _series(config, config.moving, Path(folder) / "moving"),
            "fixed": _series(config, config.fixed, Path(folder) / "fixed"),
        }
        _fitting(config, series, encoder)
        moving, fixed = series["moving"].load(), series["fixed"].load()
    masks = {Path(path).name.split(".")[0]: _mask(path, moving, "moving") for path in config.masks}
    if len(masks) < len(config.masks):
        raise InputError("two masks have the same name", where="masks", remedy="rename one", finding="names")
    lesions = None
    if config.lesions_before or config.lesions_after:
        if not (config.lesions_before and config.lesions_after):
            raise InputError("give lesions_before and lesions_after together", where="lesions", finding="lesions")
        lesions = _mask(config.lesions_before, moving, "moving"), _mask(config.lesions_after, fixed, "fixed")
    points = [] if config.landmarks is None else _landmarks(config.landmarks, moving)
    one, other = _one(moving, config.moving_volume, "moving"), _one(fixed, config.fixed_volume, "fixed")
    whole, said = _moved_along(moving, one, fixed, chosen=config.moving_volume is not None)
    notes = _said(moving, config.moving_volume, "moving") + said + _said(fixed, config.fixed_volume, "fixed")
    return _Given(one, other, whole, masks, points, lesions, {n: item.content for n, item in series.items()}, notes)


def _one(volume: Volume, number: int | None, name: str) -> Volume:
    """The volume that is compared: the one asked for, or the mean of all time points, echoes or colours."""
    count = len(volume.array)
    if number is not None and number >= count:
        raise InputError(
            f"no volume {number}: the {name} image holds {counted(count, 'volume')}",
            where=f"{name}_volume",
            remedy=f"give a number from 0 to {count - 1}",
            finding="volume",
        )
    if count == 1:
        return volume
    if number is not None:
        return volume.with_array(volume.array[number : number + 1])
    return volume.with_array(volume.array.mean(axis=0, keepdims=True, dtype=np.float32))


def _said(volume: Volume, number: int | None, name: str) -> tuple[str, ...]:
    count = len(volume.array)
    if count == 1:
        return ()
    used = f"their mean was compared ({name}_volume=N takes one)" if number is None else f"volume {number} was taken"
    return (f"the {name} image holds {count} volumes (time points, echoes or colours), counted from 0: {used}",)


def _moved_along(moving: Volume, one: Volume, fixed: Volume, *, chosen: bool) -> tuple[Volume, tuple[str, ...]]:
    """What is written moved: the volume asked for, all of them, or their mean where all would fill the memory."""
    if chosen or len(moving.array) == 1:
        return one, ()
    if len(moving.array) * int(np.prod(fixed.shape)) > MOST_MOVED_VOXELS:
        return one, ("moved.nii.gz holds their mean: all volumes on the fixed grid would be too large",)
    return moving, ("moved.nii.gz holds all of them",)


def _series(config: Config, place: str, folder: Path) -> Series:
    """The one image series at a place: a key of the cohort, a file, or a folder that holds just one."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.data.scans import read_scans, scan_rules

    if config.cohort is not None:
        known = {item.key: item for item in cohorts.open_cohort(config.cohort).series}
        if place not in known:
            raise registry.unknown("series", place, known, where=config.cohort, remedy="radfoundry show COHORT")
        return known[place]
    folder.mkdir()
    found = read_scans([place], folder=folder, rules=scan_rules(modality=config.modality)).cohort.series
    images = [item for item in found if item.acquisition.modality != "SEG"]
    if len(images) != 1:
        raise InputError(
            f"holds {len(images)} series",
            where=place,
            remedy="give one file or the folder of one series",
            finding="many",
        )
    return images[0]


def _fitting(config: Config, series: Mapping[str, Series], encoder: Any) -> None:
    from radfoundry.nets import embedding

    for name, item in series.items():
        place = config.moving if name == "moving" else config.fixed
        if item.shape[3] == 1:
            raise InputError("is a 2D image", where=place, remedy="registration needs volumes", finding="2d")
        reason = "" if encoder is None else embedding.refusal(item, encoder.spec)
        if reason:
            raise InputError(
                reason, where=place, remedy=f"choose another encoder, or encoder={PLAIN}", finding="modality"
            )


def _mask(path: str, image: Volume, name: str) -> Volume:
    from radfoundry.data.nifti import read_nifti

    mask = read_nifti(path).volume
    if not mask.geometry.matches(image.geometry, tolerance_mm=0.1) or len(mask.array) > 1:
        raise InputError(
            f"does not lie on the grid of the {name} image ({mask.shape} against {image.shape} voxels)",
            where=path,
            remedy="give a label map with the image's shape and affine",
            finding="grid",
        )
    if mask.array.dtype.kind == "f" and np.array_equal(mask.array, np.round(mask.array)):
        mask = mask.with_array(mask.array.astype(np.int16))
    if mask.array.dtype.kind == "f":
        raise InputError("is not a label map: values between whole numbers", where=path, finding="labels")
    return mask


def _landmarks(path: str, image: Volume) -> list[dict[str, Any]]:
    try:
        with Path(path).open(newline="", encoding="utf-8") as handle:
            rows: list[dict[str, Any]] = list(csv.DictReader(handle))
        points = np.array([[float(row[axis]) for axis in AXES] for row in rows])
    except (KeyError, TypeError, ValueError):
        raise InputError(
            "is no table with numbers in columns x, y and z", where=path, remedy="RAS mm, one point a row"
        ) from None
    if not rows:
        raise InputError("holds no points", where=path, finding="empty")
    voxels = points_to_voxels(image.affine, points)
    out = ((voxels < -0.5) | (voxels > np.array(image.shape) - 0.5)).any(axis=1)
    if out.any():
        first = int(np.argmax(out)) + 1
        raise InputError(
            f"{counted(int(out.sum()), 'point lies', 'points lie')} outside the moving image (first: row {first})",
            where=path,
            remedy="give RAS mm, not voxels or LPS",
            finding="outside",
        )
    return rows


def _numbers(found: Any) -> dict[str, Estimate]:
    """How well it holds; one pair of images has no interval."""

    def one(value: float, method: str) -> Estimate:
        return Estimate(float(value), method=method, n=1, note="one pair of images")

    gap = found.inverse_gap_mm
    return {
        "unlikeness-before": one(found.unlike_before, "mean squared difference of descriptors"),
        "unlikeness-after": one(found.unlike_after, "mean squared difference of descriptors"),
        "inverse-gap-mean-mm": one(gap.mean(), "distance after going there and back"),
        "inverse-gap-95-mm": one(np.percentile(gap, 95), "distance after going there and back, 95th percentile"),
        "folded-share": one(found.folded_share, "places with a Jacobian determinant of 0 or less"),
        "volume-change-low": one(np.percentile(found.changes, 1), "Jacobian determinant, 1st percentile"),
        "volume-change-high": one(np.percentile(found.changes, 99), "Jacobian determinant, 99th percentile"),
    }


def _write(config: Config, given: _Given, found: Any, writer: runs.RunWriter) -> list[dict[str, Any]]:
    """Every file of the run; returns the blocks of its page."""
    from radfoundry.data.nifti import write_nifti
    from radfoundry.data.resample import resample_to
    from radfoundry.tasks.register_pictures import write_checkerboard

    grid = given.fixed.geometry
    write_nifti(found.transform.moved(given.whole, grid), writer.folder / "moved.nii.gz")
    write_nifti(found.transform.displacement(grid), writer.folder / "displacement.nii.gz")
    for name, mask in given.masks.items():
        write_nifti(found.transform.moved(mask, grid, order=0), writer.folder / f"moved-{name}.nii.gz")
    if given.landmarks:
        _write_landmarks(given.landmarks, found.transform, writer.folder / "moved-landmarks.csv")
    runs.write_json(writer.folder / "transform.json", _record(config, found))
    pictures = {"before": resample_to(given.moving, grid), "after": found.transform.moved(given.moving, grid)}
    for name, image in pictures.items():
        write_checkerboard(writer.folder / f"pictures/{name}.png", given.fixed, image)
    changed = [] if given.lesions is None else _changes(config, given.lesions, found, writer)
    return [_summary(config, found, writer.notes), _chess(), *changed, _table(writer.metrics)]


def _write_landmarks(rows: list[dict[str, Any]], transform: Any, path: Path) -> None:
    points = transform.inverse_points(np.array([[float(row[axis]) for axis in AXES] for row in rows]))
    with runs.atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
        table = csv.DictWriter(handle, list(rows[0]), extrasaction="ignore")
        table.writeheader()
        for row, point in zip(rows, points, strict=True):
            table.writerow({**row, **{axis: f"{value:.4f}" for axis, value in zip(AXES, point, strict=True)}})


def _record(config: Config, found: Any) -> dict[str, Any]:
    return {
        "about": "matrix: RAS mm of a point of the fixed image, after its displacement, to RAS mm in the moving image",
        "model": config.model,
        "encoder": config.encoder.name,
        "matrix": found.transform.matrix,
        "displacement": "displacement.nii.gz holds the whole way (matrix included) for each voxel of the fixed image",
        "working_spacing_mm": found.spacing_mm,
        "deformable": found.transform.field is not None,
    }


def _changes(
    config: Config, lesions: tuple[Volume, Volume], found: Any, writer: runs.RunWriter
) -> list[dict[str, Any]]:
    from radfoundry.tasks import change

    before = found.transform.moved(lesions[0], lesions[1].geometry, order=0)
    said = change.compare(
        before,
        lesions[1],
        tolerance_mm=max(found.spacing_mm, max(lesions[1].spacing_mm)),
        options=change.Options(config.lesion_change, config.lesion_smallest_mm3, config.lesion_error),
    )
    change.write(said, writer.folder / "lesions.csv")
    writer.metrics.update(said.metrics)
    return change.blocks(said)


def _two_ways(found: Any) -> list[str]:
    """A warning where the way there and the way back disagree so much that at most one of them can be right."""
    gap = float(found.inverse_gap_mm.mean())
    if gap <= LARGEST_GAP_MM:
        return []
    return [
        f"the way there and the way back differ by {gap:.0f} mm on average: at most one of them is right; do not use "
        "the result without looking"
    ]


def _left_the_image(config: Config, given: _Given, found: Any) -> list[str]:
    """A warning where the moved image left most of what the two shared before: then it was led astray."""
    from radfoundry.tasks import register

    moving, fixed = given.moving.geometry, given.fixed.geometry
    start = register.beginning(given.moving, given.fixed, register.Options(start=config.start))
    before = register.covered(moving, fixed, start)
    after = register.covered(moving, fixed, found.transform.matrix)
    if after >= LEAST_KEPT * before:
        return []
    return [
        f"the moved image covers {after:.0%} of the fixed one, {before:.0%} before: it was probably led astray; do not "
        "use it without looking (whole images, a smaller spacing_mm, or model=rigid may help)"
    ]


def _summary(config: Config, found: Any, notes: Sequence[str]) -> dict[str, Any]:
    gap = found.inverse_gap_mm
    lines = [
        f"The moving image was brought onto the fixed one: {config.model}, compared by {config.encoder.name}. Their "
        f"descriptors differed by {found.unlike_before:.3f} before and {found.unlike_after:.3f} after (0 is the same).",
        f"Going there and back one lands {gap.mean():.2f} mm from the start on average, "
        f"{np.percentile(gap, 95):.2f} mm at the 95th percentile. {found.folded_share:.2%} of places fold.",
        "Small numbers do not prove a good fit: look at the pictures.",
        *(f"{note[0].upper()}{note[1:]}." for note in notes),
    ]
    if found.unlike_after >= found.unlike_before:
        lines.append("The images are no more alike than before: do not use this result without looking.")
    return {"kind": "text", "title": "Summary", "paragraphs": lines}


def _chess() -> dict[str, Any]:
    images = [
        {"png": "pictures/before.png", "caption": "before: fixed and moving image in turns"},
        {"png": "pictures/after.png", "caption": "after: fixed and moved image in turns"},
    ]
    note = "Where the images fit, edges run on from field to field. The patient's right is on the left."
    return {"kind": "thumbnails", "title": "Chess board", "note": note, "images": images, "large": True}


def _table(metrics: Mapping[str, Estimate]) -> dict[str, Any]:
    rows = [{"name": name.replace("-", " "), "estimate": value.to_dict()} for name, value in metrics.items()]
    columns = [{"key": "name", "label": "measure"}, {"key": "estimate", "label": "value (95 % interval)"}]
    return {"kind": "table", "title": "Numbers", "columns": columns, "rows": rows}
