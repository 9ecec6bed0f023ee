"""Comparators for benchmarks/curate_types.py: name rules, the rules at ingest, and dcm2niix's own guess."""

from __future__ import annotations

import csv
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import real
import torch

from radfoundry.data.name_rules import type_of_name
from radfoundry.data.sequence_rules import sequence_of
from radfoundry.data.series_types import OF_COHORT_WORDS
from radfoundry.stats.proportions import proportion

GUESSES = {
    "T1w": "T1",
    "T2w": "T2",
    "FLAIR": "T2-FLAIR",
    "T2starw": "T2*",
    "dwi": "DWI",
    "ADC": "ADC",
    "asl": "ASL",
    "angio": "MRA",
    "swi": "SWI",
    "localizer": "LOC",
    "bold": "other",
    "sbref": "other",
    "PDw": "other",
    "epi": "other",
    "magnitude": "other",
    "phase": "other",
    "magnitude1": "other",
    "magnitude2": "other",
    "phasediff": "other",
    "phase1": "other",
    "MP2RAGE": "other",
    "fieldmap": "other",
}


def about() -> dict[str, str]:
    """The machine and versions that made the figures."""
    return {
        "date": str(date.today()),
        "machine": f"{platform.machine()}, {platform.system()}, CPU only",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def by_name(item: real.RealSeries) -> str | None:
    """What the series description or protocol name says."""
    return type_of_name(item.acquisition.series_description) or type_of_name(item.acquisition.protocol_name)


def at_ingest(item: real.RealSeries) -> str | None:
    """What the package's header rules say when a series is ingested."""
    volumes = item.shape[0] if item.shape is not None else None
    word, _ = sequence_of(item.acquisition, volumes=volumes)
    return None if word is None else OF_COHORT_WORDS.get(word)


def dcm2niix_guess(root: Path) -> dict[str, Any]:
    """The BidsGuess of dcm2niix on the DICOM series, where the program is there."""
    program = shutil.which("dcm2niix") or str(Path(sys.executable).with_name("dcm2niix"))
    if not Path(program).exists():
        return {"note": "dcm2niix is not installed"}
    named = right = total = 0
    rows: list[str] = []
    for folder in ("dicom_mri_vendors", "brain_tumor_progression_dicom"):
        with (root / folder / "manifest.csv").open(newline="") as handle:
            listed = list(csv.DictReader(handle))
        for row in listed:
            truth, place = real._manifest_truth(row["sequence"]), root / folder / row["file"]
            if truth is None or not place.is_dir():
                continue
            total += 1
            guess = _guess(program, place)
            kind = GUESSES.get(guess or "")
            named += kind is not None
            right += kind == truth
            rows.append(f"{row['file']}: {guess} ({truth})")
    return {
        "version": _version(program),
        "series": total,
        "named": proportion(named, max(total, 1)).to_dict(),
        "accuracy": proportion(right, named).to_dict() if named else None,
        "guesses": rows,
    }


def _version(program: str) -> str:
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return shown.stdout.strip().splitlines()[-1] if shown.stdout.strip() else "not told"


def _guess(program: str, place: Path) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "-b", "o", "-ba", "n", "-f", "s", "-o", folder, str(place)]
        subprocess.run(command, capture_output=True, timeout=120, check=False)
        for path in sorted(Path(folder).glob("*.json")):
            guess = json.loads(path.read_text(encoding="utf-8")).get("BidsGuess")
            if guess:
                return guess[1].split("_")[-1] if len(guess) > 1 else guess[0]
    return None
