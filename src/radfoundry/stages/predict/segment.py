"""Masks: every acceptable image outlined, as NIfTI in its own geometry and as DICOM segmentation where it was DICOM."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.records import Case, Cohort, Estimate, InputError, Run, Series, counted
from radfoundry.stages.predict import scans
from radfoundry.stages.predict.settings import Config, Progress

MOST_PICTURES = 6
MOST_SHOWN = 200
MASKS = "masks"


@dataclass(eq=False)
class _Said:
    """What was outlined: rows of measures, pictures, and what was refused."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    shown: dict[str, Any] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    written: int = 0
    dicom: int = 0
    unplaced: int = 0
    notes: list[str] = field(default_factory=list)


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Outline every image; `masks/`, `measures.csv` and `refused.csv`.

    Refuses a folder that is no predictor, scans that cannot be read at all, and scans of which none is acceptable.
    """
    from radfoundry.tasks import segment_predictor

    model = segment_predictor.read(config.predictor)
    with tempfile.TemporaryDirectory(prefix="radfoundry-predict-") as folder:
        cohort, names, rejected = scans.opened(config, Path(folder))
        with runs.writing("predict", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
            said = _outlined(config, model, (cohort, names), writer.folder / MASKS, progress)
            said.refused += rejected
            writer.inputs["predictor"] = runs.digest(model.about["files"])
            writer.inputs["images"] = runs.digest(sorted(series.content for series in cohort.series))
            _write_tables(said, (cohort, names), writer.folder)
            writer.metrics["images-outlined"] = Estimate.exact(said.written)
            writer.metrics["images-refused"] = Estimate.exact(len(said.refused))
            writer.notes += [*scans.warned(model.about), *said.notes, *scans.remarks(said.refused, names)]
            runs.write_json(writer.folder / "blocks.json", _blocks(model, said, writer.folder))
    return writer.finished


def _outlined(
    config: Config, model: Any, opened: tuple[Cohort, Mapping[str, str]], folder: Path, progress: Progress | None
) -> _Said:
    from radfoundry.data import dicom_seg, masks

    cohort, names = opened
    said = _Said()
    groups = dicom_seg.slices_in(config.scans) if any(Path(scan).exists() for scan in config.scans) else {}
    if groups and not dicom_seg.available():
        said.notes.append("no DICOM segmentations were written: pip install radfoundry[dicom]")
        groups = {}
    images = [(case, series) for case in cohort.cases for series in case.series if not masks.is_mask(series)]
    for number, (case, series) in enumerate(images, start=1):
        reason = _one(model, case, series, (names, groups, folder), said)
        if reason:
            said.refused.append((names[case.key], reason))
        if progress is not None:
            progress("outline", number, len(images))
    if not said.written:
        reasons = sorted({reason for _, reason in said.refused})
        raise InputError(
            f"none of {counted(len(images), 'image')} can be outlined: {'; '.join(reasons[:3]) or 'no images'}",
            where=", ".join(config.scans),
            remedy="give images like those the predictor was fitted on (see its card.md)",
            finding="outside",
        )
    return said


def _one(
    model: Any, case: Case, series: Series, places: tuple[Mapping[str, str], Mapping[str, Any], Path], said: _Said
) -> str:
    """Outline one image and write its mask; gives the reason where it is refused."""
    from radfoundry.data import dicom_seg, mask_files
    from radfoundry.tasks import accepts, segment_measures

    names, groups, folder = places
    reason = accepts.refusal(series, model.accepts, model.spec)
    if reason:
        return reason
    try:
        volume = series.load()
        reason = accepts.emptiness(volume)
        if reason:
            return reason
        classes = model.outline(volume)
    except InputError as error:
        return error.what
    several = sum(not _is_mask(item) for item in case.series) > 1
    name = mask_files.safe_name(names[case.key])
    name = f"{name}_{mask_files.safe_name(series.sequence or series.key)}" if several else name
    place = folder / f"{name}{mask_files.SUFFIX}"
    if place.exists():
        place = folder / f"{name}_{series.key}{mask_files.SUFFIX}"
    mask_files.write_mask(classes, volume, model.plan.labels, place)
    source = dicom_seg.source_of(volume, groups) if groups else []
    if source and classes.any():
        file = place.with_name(place.name.removesuffix(mask_files.SUFFIX) + ".seg.dcm")
        called = f"{model.spec.name} {model.decoder}"
        try:
            dicom_seg.write_segmentation(classes, volume, source, model.plan.labels, file, model=called)
            said.dicom += 1
        except InputError as error:
            said.notes.append(f"{file.name} was not written: {error.what}; {place.name} holds the mask")
    fat = segment_measures.fat_image(case, volume)
    measured = segment_measures.measures(classes, model.plan.labels, spacing_mm=volume.spacing_mm, fat=fat)
    key = {"case": case.key, "patient": case.patient, "image": series.key, "file": place.name}
    said.rows += [{**key, "structure": label, "by": "drawn", **values} for label, values in measured.items()]
    said.written += 1
    said.unplaced += "no-geometry" in series.repairs
    if len(said.shown) < MOST_PICTURES:
        said.shown[str(len(said.shown) + 1)] = (volume, None, classes, names[case.key])
    return ""


def _is_mask(series: Series) -> bool:
    from radfoundry.data import masks

    return masks.is_mask(series)


def _named(row: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A row under the name of its scan; the pseudonyms of loose files are new in every run and tell nothing."""
    name = names[row["case"]]
    if name == row["case"]:
        return row
    return {key: value for key, value in (row | {"case": name}).items() if key not in ("patient", "image")}


def _write_tables(said: _Said, opened: tuple[Cohort, Mapping[str, str]], folder: Path) -> None:
    import pandas as pd

    from radfoundry.tasks import segment_measures

    cohort, names = opened
    grown = segment_measures.with_growth(said.rows, {case.key: case for case in cohort.cases})
    rows = sorted((_named(row, names) for row in grown), key=lambda row: (row["case"], row["file"]))
    said.rows[:] = rows
    refused = [{"file": name, "reason": reason} for name, reason in sorted(said.refused)]
    for name, table in (
        ("measures", pd.DataFrame(rows)),
        ("refused", pd.DataFrame(refused, columns=["file", "reason"])),
    ):
        with runs.atomic(folder / f"{name}.csv") as partial:
            table.to_csv(partial, index=False, float_format="%.6g")


def _blocks(model: Any, said: _Said, folder: Path) -> list[dict[str, Any]]:
    from radfoundry.data.thumbnails import sides_of
    from radfoundry.tasks import pages, segment_pages
    from radfoundry.tasks import predictor as predictors

    dicom = f" {said.dicom} were also written as DICOM segmentations." if said.dicom else ""
    lines = [
        f"{model.about['task']['about']} Outlined: {counted(said.written, 'image')}; refused: "
        f"{counted(len(said.refused), 'image or file', 'images or files')}.{dicom}",
        "Masks lie in the folder masks, each on the grid of its image; measures.csv holds what they measure.",
        model.about["intended_use"],
    ]
    keys = ("file", "structure", "volume_ml", "surface_cm2", "area_cm2", "outline_cm", "fat_fraction", "growth_percent")
    there = [key for key in keys if any(_known(row.get(key)) for row in said.rows)]
    table = {
        "kind": "table",
        "title": "Measures",
        "note": f"The first {MOST_SHOWN} of {len(said.rows)}." if len(said.rows) > MOST_SHOWN else "",
        "columns": [{"key": key, "label": key.replace("_", " ")} for key in there],
        "rows": [{key: _shown(row.get(key)) for key in there} for row in said.rows[:MOST_SHOWN]],
    }
    placed = not said.unplaced
    if said.unplaced:
        lines.insert(2, f"{counted(said.unplaced, 'image')}: {segment_pages.NO_SIZE}.")
    pictures = segment_pages.pictures(folder, said.shown)
    pictures |= {"title": "The first images", "note": f"Magenta: the drawn outline. {sides_of(int(placed), 1)}"}
    known = {
        "kind": "table",
        "title": "How well it outlined patients it had not seen",
        "columns": [{"key": "name", "label": "measure"}, {"key": "estimate", "label": "value (95 % interval)"}],
        "rows": [{"name": pages.label(name), "estimate": value} for name, value in model.about["metrics"].items()],
    }
    accepted = [line.removeprefix("- ") for line in predictors.accepted_lines(model.accepts)]
    facts = {"kind": "facts", "title": "Accepts", "items": [line.split(": ", 1) for line in accepted]}
    return [{"kind": "text", "title": "Summary", "paragraphs": lines}, pictures, table, known, facts]


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and np.isnan(value))


def _shown(value: Any) -> str:
    if not _known(value):
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


__all__: Sequence[str] = ("MASKS", "run")
