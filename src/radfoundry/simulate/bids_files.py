"""Simulated patients as a BIDS data set: file names, sidecars and the tables at its root.

Source: Brain Imaging Data Structure specification 1.10.0.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from radfoundry import runs
from radfoundry.data.nifti import write_nifti
from radfoundry.records import Acquisition
from radfoundry.simulate.cases import SimulatedCase, SimulatedSeries
from radfoundry.simulate.scan import PLANES

VERSION = "1.10.0"
# Name of a series -> folder, entities between session and run, suffix. Derived maps go under derivatives/scanner.
PLACES: Mapping[str, tuple[str, str, str]] = {
    "T1w": ("anat", "", "T1w"),
    "T1w-gradient": ("anat", "acq-gradient", "T1w"),
    "MPRAGE": ("anat", "acq-mprage", "T1w"),
    "T1c": ("anat", "ce-gadolinium", "T1w"),
    "T1c-gradient": ("anat", "acq-gradient_ce-gadolinium", "T1w"),
    "T2w": ("anat", "", "T2w"),
    "T2w-fat-suppressed": ("anat", "acq-fatsat", "T2w"),
    "PDw": ("anat", "", "PDw"),
    "PDw-fat-suppressed": ("anat", "acq-fatsat", "PDw"),
    "FLAIR": ("anat", "", "FLAIR"),
    "STIR": ("anat", "acq-stir", "T2w"),
    "T2star": ("anat", "", "T2starw"),
    "SWI": ("anat", "acq-swi", "T2starw"),
    "bSSFP": ("anat", "acq-bssfp", "T2w"),
    "TOF": ("anat", "", "angio"),
    "localizer": ("anat", "acq-localizer", "T1w"),
    "calibration": ("anat", "acq-calibration", "PDw"),
    "Dixon-water": ("anat", "acq-dixonwater", "T1w"),
    "Dixon-fat": ("anat", "acq-dixonfat", "T1w"),
    "Dixon-opposed": ("anat", "acq-dixonopposed", "T1w"),
    "DWI-b0": ("dwi", "acq-b0", "dwi"),
    "DWI-b1000": ("dwi", "acq-b1000", "dwi"),
    "ASL": ("perf", "", "asl"),
}
DERIVED = {
    "ADC": ("dwi", "desc-adc", "dwimap"),
    "Dixon-fat-fraction": ("anat", "desc-fatfraction", "PDFFmap"),
}


def participant(patient_id: str) -> str:
    """The label of a patient as BIDS writes it: letters and digits alone."""
    return "".join(letter for letter in patient_id if letter.isalnum())


def write_bids(root: Path, made: SimulatedCase) -> None:
    """All series of a patient as NIfTI files with sidecars, below the data set's root."""
    label = participant(made.person.patient_id)
    visits = sorted({item.exam for item in made.series})
    taken: dict[str, int] = {}
    names = []
    for series in made.series:
        session = f"ses-{visits.index(series.exam) + 1}" if len(visits) > 1 else ""
        names.append(_place(label, session, series))
    counts = {name: names.count(name) for name in names}
    for series, name in zip(made.series, names, strict=True):
        folder, stem, suffix = name
        taken[str(name)] = taken.get(str(name), 0) + 1
        run = f"_run-{taken[str(name)]}" if counts[name] > 1 else ""
        _write_series(root / folder / f"{stem}{run}_{suffix}", series, suffix)


def _place(label: str, session: str, series: SimulatedSeries) -> tuple[str, str, str]:
    """Folder below the root, the file's name up to the run, and its suffix."""
    entities = [f"sub-{label}"] + ([session] if session else [])
    top = "/".join(entities)
    name, plane = _plane(series.name)
    other = (series.acquisition.modality or "other").lower()
    if name.startswith("dynamic-"):
        contrast = "" if series.acquisition.contrast_agent is None else "_ce-gadolinium"
        folder, middle, suffix = "anat", f"acq-dynamic{name.partition('-')[2]}{contrast}", "T1w"
    elif name in DERIVED:
        folder, middle, suffix = DERIVED[name]
        top = f"derivatives/scanner/{top}"
    elif name in PLACES:
        folder, middle, suffix = PLACES[name]
    else:  # not MR: BIDS has no rule, so the modality names folder and suffix
        folder, middle, suffix = other, f"acq-{participant(name)}", other
    if plane:  # the plane joins what acq already says
        start, _, rest = middle.removeprefix("acq-").partition("_") if middle.startswith("acq-") else ("", "", middle)
        middle = f"acq-{start}{plane}" + (f"_{rest}" if rest else "")
    return f"{top}/{folder}", "_".join([*entities, *([middle] if middle else [])]), suffix


def _plane(name: str) -> tuple[str, str]:
    """A series' name without the plane it was given, and the plane."""
    for plane in PLANES:
        if name.endswith(f"-{plane}"):
            return name.removesuffix(f"-{plane}"), plane
    return name, ""


def _write_series(path: Path, series: SimulatedSeries, suffix: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(series.volume, path.with_name(path.name + ".nii.gz"))
    stated = sidecar(series.acquisition)
    if suffix == "dwi":
        path.with_name(path.name + ".bval").write_text(f"{series.acquisition.b_value_s_per_mm2:.0f}\n")
        # One averaged direction: the image is the same along all, so any unit vector states it truly.
        path.with_name(path.name + ".bvec").write_text(
            "0\n0\n1\n" if series.acquisition.b_value_s_per_mm2 else "0\n0\n0\n"
        )
    if suffix == "asl":
        stated |= {
            "ArterialSpinLabelingType": "PCASL",
            "PostLabelingDelay": 1.8,
            "LabelingDuration": 1.8,
            "BackgroundSuppression": False,
            "M0Type": "Absent",
            "TotalAcquiredPairs": 1,
            "RepetitionTimePreparation": stated["RepetitionTime"],
        }
        context = path.with_name(path.name.removesuffix("_asl") + "_aslcontext.tsv")
        context.write_text("volume_type\ndeltam\n")
    runs.write_json(path.with_name(path.name + ".json"), stated)


def sidecar(header: Acquisition) -> dict[str, Any]:
    """A header in the words and units of BIDS (seconds); what is missing is left out."""
    values = {
        "Modality": header.modality,
        "Manufacturer": header.manufacturer,
        "ManufacturersModelName": header.model,
        "MagneticFieldStrength": header.field_strength_t,
        "BodyPart": header.body_part,
        "RepetitionTime": _seconds(header.repetition_time_ms),
        "EchoTime": _seconds(header.echo_time_ms),
        "InversionTime": _seconds(header.inversion_time_ms),
        "FlipAngle": header.flip_angle_deg,
        "EchoTrainLength": header.echo_train_length,
        "NumberOfAverages": header.averages,
        "SliceThickness": header.slice_thickness_mm,
        "MRAcquisitionType": header.acquisition_type,
        "ScanningSequence": _words(header.scanning_sequence),
        "SequenceVariant": _words(header.sequence_variant),
        "ScanOptions": _words(header.scan_options),
        "ImageType": _words(header.image_type),
        "ContrastBolusIngredient": header.contrast_agent,
        "PatientPosition": header.patient_position,
        "SeriesDescription": header.series_description,
        "KVP": header.tube_voltage_kv,
        "XRayTubeCurrent": header.tube_current_ma,
        "ConvolutionKernel": header.convolution_kernel,
    }
    return {key: value for key, value in values.items() if value is not None}


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds / 1000, 9)


def _words(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def write_root(root: Path, rows: Sequence[Mapping[str, Any]], *, name: str) -> None:
    """The files at the root of a data set: its description, who takes part, and a note to the reader."""
    made_by = [{"Name": "radfoundry", "Description": "simulated patients with known truth"}]
    described = {"Name": name, "BIDSVersion": VERSION, "DatasetType": "raw", "GeneratedBy": made_by}
    runs.write_json(root / "dataset_description.json", described)
    if (root / "derivatives" / "scanner").is_dir():
        described = {**described, "DatasetType": "derivative"}
        runs.write_json(root / "derivatives" / "scanner" / "dataset_description.json", described)
    table = io.StringIO()
    writer = csv.writer(table, delimiter="\t", lineterminator="\n")
    writer.writerow(["participant_id", "age", "sex", "site"])
    for row in rows:
        writer.writerow([f"sub-{row['patient_id']}", *(row.get(key, "n/a") for key in ("age_years", "sex", "site"))])
    with runs.atomic(root / "participants.tsv") as partial:
        partial.write_text(table.getvalue(), encoding="utf-8")
    with runs.atomic(root / "README.md") as partial:
        partial.write_text("Simulated patients. Nobody real was scanned.\n", encoding="utf-8")
