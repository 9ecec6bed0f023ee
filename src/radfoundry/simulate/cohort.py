"""Simulated patients on disk: DICOM or NIfTI, labels, reports and the truth, one patient at a time."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radfoundry import registry, runs
from radfoundry.data.dicom_identity import Identity
from radfoundry.data.dicom_write import write_series
from radfoundry.data.nifti import write_nifti
from radfoundry.simulate.presets import SimulatedCase, SimulatedSeries

KEY = "patient_id"


@dataclass(frozen=True)
class CaseTask:
    """What a worker needs to make one patient and write it."""

    folder: str
    cohort: str
    options: dict[str, Any]
    seed: int
    case: int
    file_format: str = "dicom"


def write_case(task: CaseTask) -> dict[str, Any]:
    """Make one patient and write its files; gives the row of the label table."""
    import torch

    torch.set_num_threads(1)  # one patient a process; also keeps sums in one order
    preset = registry.build("cohorts", task.cohort, **task.options)
    made: SimulatedCase = preset.simulate(task.case, seed=task.seed)
    root, patient = Path(task.folder), made.person.patient_id
    for number, series in enumerate(made.series, start=1):
        if task.file_format == "dicom":
            identity = _identity(made, series, number, task.seed)
            write_series(
                series.volume,
                root / "dicom" / patient / f"{number:02d}",
                acquisition=series.acquisition,
                identity=identity,
            )
        else:
            _write_bids(root / "nifti", patient, series, number)
        for name, mask in series.truth.items():
            if mask.array.any():
                place = root / "truth" / patient
                place.mkdir(parents=True, exist_ok=True)
                write_nifti(mask, place / f"{number:02d}-{series.name}-{name}.nii.gz")
    report = root / "reports" / f"{patient}.txt"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(made.report.text, encoding="utf-8")
    runs.write_json(root / "truth" / patient / "truth.json", _truth(made))
    return {KEY: patient, **made.labels}


def _truth(made: SimulatedCase) -> dict[str, Any]:
    """What only the simulator knows: the report's findings with their places, and how each series was degraded."""
    return {
        "report": {
            "statements": [asdict(item) for item in made.report.statements],
            "spans": [asdict(item) for item in made.report.spans],
            "errors": made.report.errors,
        },
        "series": [
            {"number": number, "name": item.name, "site": item.site, "exam": item.exam, **item.degradations}
            for number, item in enumerate(made.series, start=1)
        ],
    }


def _identity(made: SimulatedCase, series: SimulatedSeries, number: int, seed: int) -> Identity:
    person = made.person
    return Identity(
        patient_id=person.patient_id,
        patient_name=person.name,
        birth_date=person.birth_date,
        sex=person.sex,
        age=f"{int(person.age_years):03d}Y",
        study_date=person.study_date,
        study_time=f"{8 + number % 10:02d}{(number * 7) % 60:02d}00",
        accession=person.accession,
        institution=series.site or made.site,
        study_number=str(series.exam),
        study_description="MRI head",
        description=series.acquisition.series_description or series.name,
        series_number=number,
        seed=seed,
    )


def _write_bids(root: Path, patient: str, series: SimulatedSeries, number: int) -> None:
    """A NIfTI file with a JSON sidecar of the header beside it, named as BIDS does."""
    label = "".join(letter for letter in patient if letter.isalnum())
    place = root / f"sub-{label}" / "anat"
    place.mkdir(parents=True, exist_ok=True)
    write_nifti(series.volume, place / f"sub-{label}_run-{number}_{series.name}.nii.gz")
    header = series.acquisition
    sidecar = {
        "Modality": header.modality,
        "Manufacturer": header.manufacturer,
        "ManufacturersModelName": header.model,
        "MagneticFieldStrength": header.field_strength_t,
        "RepetitionTime": _seconds(header.repetition_time_ms),
        "EchoTime": _seconds(header.echo_time_ms),
        "InversionTime": _seconds(header.inversion_time_ms),
        "FlipAngle": header.flip_angle_deg,
        "SliceThickness": header.slice_thickness_mm,
        "SeriesDescription": header.series_description,
    }
    stated = {key: value for key, value in sidecar.items() if value is not None}
    runs.write_json(place / f"sub-{label}_run-{number}_{series.name}.json", stated)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def write_labels(rows: Sequence[dict[str, Any]], path: str | Path) -> None:
    """The label table: one row a patient, keyed by `patient_id`."""
    with runs.atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
