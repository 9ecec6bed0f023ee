"""Real series with known type for benchmarks/curate_types.py: headers of sidecars, DICOM series, image files."""

from __future__ import annotations

import ast
import csv
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.data.bids import acquisition_of
from radfoundry.records import Acquisition
from radfoundry.volume import Volume

# Sidecar suffixes as types; those that no person would give one type are left out and counted.
SUFFIXES = {
    "T1w": "T1",
    "T2w": "T2",
    "FLAIR": "T2-FLAIR",
    "T2starw": "T2*",
    "dwi": "DWI",
    "trace": "DWI",
    "ADC": "ADC",
    "asl": "ASL",
    "bold": "other",
    "sbref": "other",
    "epi": "other",
    "magnitude1": "other",
    "magnitude2": "other",
    "phasediff": "other",
    "mp2rage": "other",
    "FA": "other",
    "colFA": "other",
    "expADC": "other",
    "S0map": "other",
    "TB1AFI": "other",
    "TB1DAM": "other",
    "TB1SRGE": "other",
    "mrsref": "other",
    "svs": "other",
}
ANATOMY_WORDS = {"cervical spine": "cervical-spine", "brain": "brain", "head": "brain"}
MANIFEST = {
    "T1w": "T1",
    "T1ce": "T1c",
    "T2w": "T2",
    "FLAIR": "T2-FLAIR",
    "PDw": "other",
    "DWI": "DWI",
    "BOLD": "other",
    "T2starw": "T2*",
    "TOF angiography (thresholded)": "MRA",
    "DCE": "T1c",
}


@dataclass(frozen=True, eq=False)
class RealSeries:
    """One series: where it is from, whose, which make, its truth (None: not judged), its header and pixels if any."""

    source: str
    cluster: str
    make: str
    sequence: str | None
    anatomy: str | None
    acquisition: Acquisition
    volume: Volume | None = None
    shape: tuple[int, int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    name: str = ""


def make_of(manufacturer: str | None) -> str:
    """The make in one word."""
    text = (manufacturer or "").lower()
    for word in ("siemens", "philips", "ge", "canon", "toshiba", "hitachi", "uih"):
        if text.startswith(word):
            return word
    return "not stated" if not text else "other"


def sidecars(root: Path) -> Iterator[RealSeries]:
    """Every row of bids_sidecars with a type; field-map and MT images count as other, MT with the large angle as T1."""
    table = pd.read_parquet(root / "bids_sidecars" / "sidecars.parquet")
    for row in table.to_dict("records"):
        sequence = _sidecar_truth(row)
        if sequence is None:
            continue
        said = {key: _plain(key, value) for key, value in row.items() if not _absent(value)}
        acquisition = acquisition_of({key: value for key, value in said.items() if value is not None})
        if acquisition.modality is None:
            acquisition = Acquisition.from_dict({**acquisition.to_dict(), "modality": "MR"})
        yield RealSeries(
            source=row["dataset"],
            cluster=f"{row['dataset']}/{_text(row.get('site'))}/{_text(row.get('subject'))}",
            make=make_of(acquisition.manufacturer),
            sequence=sequence,
            anatomy=ANATOMY_WORDS.get(_text(row.get("anatomy"))),
            acquisition=acquisition,
            name=f"{row['source_file']}",
        )


def _sidecar_truth(row: dict[str, Any]) -> str | None:
    suffix, entities = row["suffix"], _text(row.get("entities"))
    if suffix == "MTS":
        return "T1" if "flip-2" in entities else "other"
    if suffix == "GRE":
        return None if "phase" in entities else "SWI"
    if suffix in ("mrsref", "svs"):
        return None
    return SUFFIXES.get(suffix)


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _text(value: Any) -> str:
    return "" if _absent(value) else str(value)


def _plain(key: str, value: Any) -> Any:
    """Values as a sidecar holds them: the table keeps some as text."""
    if isinstance(value, str) and key in ("EchoTime", "ImageType", "RepetitionTimeExcitation"):
        try:
            found = json.loads(value)
        except ValueError:
            try:
                found = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                return None if key != "ImageType" else value
        return found[0] if key == "EchoTime" and isinstance(found, list) and found else found
    return value


def dicom(root: Path) -> Iterator[RealSeries]:
    """Series of the DICOM sets, read by this package's own reader; truth from the manifests."""
    for folder in ("dicom_mri_vendors", "brain_tumor_progression_dicom"):
        with (root / folder / "manifest.csv").open(newline="") as handle:
            rows = list(csv.DictReader(handle))
        for row in rows:
            truth = _manifest_truth(row["sequence"])
            place = root / folder / row["file"]
            if truth is not None and place.is_file():
                yield _with_listed_header(row, place, truth)
            if truth is None or not place.is_dir():
                continue
            for index, read in enumerate(_series(place)):
                yield RealSeries(
                    source=folder,
                    cluster=f"{folder}/{row['subject']}",
                    make=make_of(read.acquisition.manufacturer),
                    sequence=truth,
                    anatomy="brain" if row.get("anatomy", "brain") == "brain" else None,
                    acquisition=read.acquisition,
                    volume=read.volume,
                    shape=read.volume.array.shape,
                    spacing_mm=read.volume.spacing_mm,
                    name=f"{row['file']}#{index}",
                )


def _with_listed_header(row: dict[str, str], place: Path, truth: str) -> RealSeries:
    """A DICOM series kept as NIfTI: the header values of its DICOM files stand in the manifest."""
    from radfoundry.data.nifti import read_nifti

    volume = read_nifti(place).volume
    numbers = {"repetition_time_ms": "tr_ms", "echo_time_ms": "te_ms", "inversion_time_ms": "ti_ms"}
    numbers |= {"flip_angle_deg": "flip_deg", "field_strength_t": "field_t"}
    said: dict[str, Any] = {field: float(row[name]) for field, name in numbers.items() if row.get(name)}
    for name in ("scanning_sequence", "sequence_variant", "image_type"):
        text = row.get(name) or ""
        words = ast.literal_eval(text) if text.startswith("[") else [text] if text else []
        said |= {name: words} if words else {}
    said |= {"manufacturer": row["manufacturer"], "series_description": row["series_description"]}
    acquisition = Acquisition.from_dict({"modality": "MR", **{key: value for key, value in said.items() if value}})
    folder = "brain_tumor_progression_dicom"
    return RealSeries(
        source=folder,
        cluster=f"{folder}/{row['subject']}",
        make=make_of(acquisition.manufacturer),
        sequence=truth,
        anatomy="brain",
        acquisition=acquisition,
        volume=volume,
        shape=volume.array.shape,
        spacing_mm=volume.spacing_mm,
        name=row["file"],
    )


def _manifest_truth(words: str) -> str | None:
    for start, truth in (("BOLD", "other"), ("fieldmap", "other"), ("DWI", "DWI"), ("T2w?", None), *MANIFEST.items()):
        if words.startswith(start):
            return truth
    return None


def _series(place: Path) -> list[Any]:
    from radfoundry.data.dicom_header import read_instances
    from radfoundry.data.dicom_series import group_instances, load_series
    from radfoundry.data.reading import Repair
    from radfoundry.data.sources import Source
    from radfoundry.records import InputError

    found = []
    mended = Repair(gaps="fill", incomplete="drop", spacing="resample")
    for group in group_instances(
        read_instances([Source(str(path)) for path in sorted(place.rglob("*")) if path.is_file()])
    ):
        try:
            found.append(load_series(group, repair=mended, keep_text=True))
        except InputError as error:
            print(f"  not read: {place.name}: {error.finding}")
    return found


def images(root: Path) -> Iterator[RealSeries]:
    """Image files without a header: brains in five sequences, a spine, an angiogram, an abdomen."""
    from radfoundry.data.nifti import read_nifti

    sets = (
        "brats2015_glioma",
        "ms_lesions",
        "niivue_volumes",
        "spine_sct",
        "tcga_glioma_multiseg",
        "pyradiomics_cases",
        "msd_hippocampus",
    )
    for folder in sets:
        with (root / folder / "manifest.csv").open(newline="") as handle:
            rows = list(csv.DictReader(handle))
        for row in rows[:1000]:
            truth = _manifest_truth(row.get("sequence", ""))
            path = root / folder / row["file"]
            if (
                truth is None
                or not path.is_file()
                or "mask" in row["file"]
                or "seg" in path.name
                or "label" in row["file"]
            ):
                continue
            if row.get("modality") not in ("MR", "", None) or (folder == "msd_hippocampus" and _skip(row["file"])):
                continue
            volume = read_nifti(path).volume
            yield RealSeries(
                source=folder,
                cluster=f"{folder}/{row.get('subject', '')}",
                make="no header",
                sequence=truth,
                anatomy="cervical-spine"
                if folder == "spine_sct"
                else "brain"
                if folder != "pyradiomics_cases"
                else None,
                acquisition=Acquisition(),
                volume=volume,
                shape=volume.array.shape,
                spacing_mm=volume.spacing_mm,
                name=f"{folder}/{row['file']}",
            )


@functools.cache
def _skip(name: str) -> bool:
    return sum(map(ord, name)) % 12 != 0
