"""Simulated patients on disk: DICOM or BIDS, labels, reports and the truth, one patient at a time."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.data.dicom_identity import Identity
from radfoundry.data.dicom_write import write_series
from radfoundry.data.nifti import write_nifti
from radfoundry.data.thumbnails import thumbnail
from radfoundry.simulate.bids_files import participant, write_bids
from radfoundry.simulate.cases import SimulatedCase, SimulatedSeries
from radfoundry.simulate.people import later

KEY = "patient_id"
SHOWN_SERIES = 6  # pictures a patient on the sheet of thumbnails


@dataclass(frozen=True)
class CaseTask:
    """What a worker needs to make one patient and write it."""

    folder: str
    cohort: str
    options: dict[str, Any]
    seed: int
    case: int
    file_format: str = "dicom"
    pictures: bool = False


@dataclass(frozen=True, eq=False)
class Written:
    """What is left of a patient once written: a row of labels, a row of readers and tools, and small pictures."""

    labels: Mapping[str, Any]
    judged: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[tuple[str, np.ndarray]] = ()


def write_case(task: CaseTask) -> Written:
    """Make one patient and write its files; gives the row of the label table."""
    import torch

    torch.set_num_threads(1)  # one patient a process; also keeps sums in one order
    preset = registry.build("cohorts", task.cohort, **task.options)
    made: SimulatedCase = preset.simulate(task.case, seed=task.seed)
    root, patient = Path(task.folder), made.person.patient_id
    if task.file_format == "dicom":
        for number, series in enumerate(made.series, start=1):
            place = root / "dicom" / patient / f"{number:02d}"
            identity = _identity(made, series, number, task.seed)
            write_series(series.volume, place, acquisition=series.acquisition, identity=identity)
    else:
        patient = participant(patient)
        write_bids(root / "nifti", made)
    truth = root / "truth" / patient
    truth.mkdir(parents=True, exist_ok=True)
    for number, series in enumerate(made.series, start=1):
        for name, mask in series.truth.items():
            if mask.array.any():
                write_nifti(mask, truth / f"{number:02d}-{series.name}-{name}.nii.gz")
    _write_text(root / "reports" / f"{patient}.txt", made.report.text)
    if made.draft is not None:
        _write_text(root / "drafts" / f"{patient}.txt", made.draft.report.text)
    runs.write_json(truth / "truth.json", _truth(made))
    shown = made.series[:SHOWN_SERIES] if task.pictures else ()
    pictures = [(series.name, _picture(series)) for series in shown]
    return Written({KEY: patient, **made.labels}, {KEY: patient, **made.judged} if made.judged else {}, pictures)


def _picture(series: SimulatedSeries) -> np.ndarray:
    """The slice through the largest part of a lesion, or the middle one."""
    i, j, k = series.volume.shape
    lesion = series.truth.get("lesion")
    areas = np.zeros(k) if lesion is None else lesion.array[0].sum(axis=(0, 1))
    chosen = int(areas.argmax()) if areas.any() else k // 2
    return thumbnail(series.volume.crop((0, 0, chosen), (i, j, 1)), side_pixels=128)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _truth(made: SimulatedCase) -> dict[str, Any]:
    """What only the simulator knows: the report's findings with their places, and how each series was degraded."""
    values: dict[str, Any] = {
        "report": {
            "statements": [asdict(item) for item in made.report.statements],
            "spans": [asdict(item) for item in made.report.spans],
            "errors": made.report.errors,
        },
        "series": [
            {
                "number": number,
                "name": item.name,
                "site": item.site,
                "exam": item.exam,
                "days": item.days,
                "study": item.study,
                **item.degradations,
            }
            for number, item in enumerate(made.series, start=1)
        ],
    }
    if made.draft is not None:
        values["draft"] = {"omitted": made.draft.omitted, "invented": made.draft.invented}
    if made.known:
        values["patient"] = dict(made.known)
    return values


def _identity(made: SimulatedCase, series: SimulatedSeries, number: int, seed: int) -> Identity:
    person = made.person
    return Identity(
        patient_id=person.patient_id,
        patient_name=person.name,
        birth_date=person.birth_date,
        sex=person.sex,
        age=f"{int(person.age_years + series.days / 365.25):03d}Y",
        study_date=later(person.study_date, series.days),
        study_time=f"{8 + number % 10:02d}{(number * 7) % 60:02d}00",
        accession=person.accession if series.exam == 1 else f"{person.accession}{series.exam}",
        institution=series.site or made.site,
        study_number=str(series.exam),
        study_description=series.study,
        description=series.acquisition.series_description or series.name,
        series_number=number,
        seed=seed,
    )


def write_table(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """A table with one row a patient, keyed by `patient_id`; columns that some lack are left empty there."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with runs.atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(dict(row) for row in rows)


def write_sheet(patients: Sequence[Written], path: str | Path) -> None:
    """A sheet of thumbnails as PNG: a row a patient, a column a series, the label of each row on its left."""
    from PIL import Image, ImageDraw

    tile, caption, margin = 136, 14, 176
    columns = max((len(patient.pictures) for patient in patients), default=0)
    if not columns:
        return
    sheet = Image.new("L", (margin + columns * tile, len(patients) * (tile + caption)), 0)
    pen = ImageDraw.Draw(sheet)
    for row, patient in enumerate(patients):
        top = row * (tile + caption)
        lines = [str(patient.labels[KEY]), *_said(patient.labels)]
        pen.multiline_text((6, top + 8), "\n".join(lines), fill=210)
        for column, (name, values) in enumerate(patient.pictures):
            grey = values if values.ndim == 2 else values.mean(axis=2).astype(np.uint8)
            picture = Image.fromarray(grey)
            picture.thumbnail((tile - 8, tile - 8))
            left = margin + column * tile
            sheet.paste(picture, (left + (tile - picture.width) // 2, top + caption + (tile - picture.height) // 2))
            pen.text((left + 6, top + 2), name, fill=210)
    with runs.atomic(path) as partial:
        sheet.save(partial, format="PNG", optimize=True)


def _said(labels: Mapping[str, Any]) -> list[str]:
    """The labels worth reading beside a picture: what is there, then who and where."""
    first = [f"{name}: {value}" for name, value in labels.items() if name.endswith(("_present", "_kind", "finding"))]
    who = f"{labels.get('sex', '')} {labels.get('age_years', '')}".strip()
    return [*first[:4], who, str(labels.get("site", ""))[:26]]
