"""The verb `simulate`: a cohort of simulated patients with known truth, as a folder of scans to ingest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from radfoundry import registry, runs
from radfoundry.config import Component, Settings
from radfoundry.data.pool import LOCAL, each, worker_count
from radfoundry.records import InputError

if TYPE_CHECKING:
    from radfoundry.simulate.cohort import Written

SHOWN_PATIENTS = 8  # on the sheet of thumbnails
FEW_CASES = 8  # below this, starting worker processes costs more than they save


class Config(Settings):
    """Which simulated cohort, how many patients, from which seed, and in which file format."""

    cohort: Component = Field(default=Component(name="brain-multisequence"), description="name, with its options")
    cases: int = Field(default=24, ge=1, le=1_000_000, description="how many patients")
    seed: int = Field(default=0, ge=0, description="the seed everything is drawn from")
    to: str = Field(description="folder to write; must not exist")
    format: Literal["dicom", "nifti"] = Field(default="dicom", description="dicom, or nifti as a BIDS data set")
    workers: int = Field(default=0, ge=0, description="processes; 0 is one per core")
    engine: Literal["local", "ray"] = Field(
        default="local", description="processes of this machine, or a ray cluster (extra scale)"
    )


def run(config: Config, *, progress: Callable[[str, int, int], None] | None = None) -> dict[str, Any]:
    """Write the cohort: `dicom/` or `nifti/`, `labels.csv`, `reports/`, `truth/`, `thumbnails.png`, `simulation.json`.

    Where they were asked for also `drafts/` and `truth/readers.csv`. The folder appears under its name only when it is
    complete. The same settings give the same bytes, whatever the number of workers. Gives the path and the counts.
    """
    final = Path(config.to)
    if final.exists():
        raise InputError(
            "already exists", where=str(final), remedy="choose another --to or remove it", finding="exists"
        )
    worker_count(config.workers, engine=config.engine)  # refuses an engine that is not installed now
    preset = registry.build("cohorts", config.cohort.name, **config.cohort.options)  # refuses bad options now
    partial = final.with_name(f".{final.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        patients = _write_cases(config, partial, progress)
        from radfoundry.simulate.bids_files import write_root
        from radfoundry.simulate.cohort import write_sheet, write_table

        write_table([patient.labels for patient in patients], partial / "labels.csv")
        if patients[0].judged:
            write_table([patient.judged for patient in patients], partial / "truth" / "readers.csv")
        if config.format == "nifti":
            write_root(partial / "nifti", [patient.labels for patient in patients], name=preset.name)
        write_sheet(patients[:SHOWN_PATIENTS], partial / "thumbnails.png")
        runs.write_json(
            partial / "simulation.json",
            {
                "settings": config.model_dump(exclude={"to", "workers", "engine"}),
                "preset": preset.name,
                "seed": config.seed,
                "versions": runs.versions(),
            },
        )
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {
        "folder": str(final),
        "cohort": config.cohort.name,
        "patients": len(patients),
        "seed": config.seed,
        "scans": str(final / config.format),
        "labels": str(final / "labels.csv"),
    }


def _write_cases(config: Config, folder: Path, progress: Callable[[str, int, int], None] | None) -> list[Written]:
    from radfoundry.simulate.cohort import CaseTask, write_case

    name, options = config.cohort.name, config.cohort.options
    tasks = [
        CaseTask(str(folder), name, options, config.seed, case, config.format, case < SHOWN_PATIENTS)
        for case in range(config.cases)
    ]
    few = config.cases < FEW_CASES and config.engine == LOCAL
    workers = 1 if few else worker_count(config.workers, engine=config.engine)
    done: dict[int, Written] = {}
    for answer in each(write_case, tasks, workers=workers, engine=config.engine):
        if answer.error is not None:
            raise answer.error
        if answer.result is not None:
            done[answer.task.case] = answer.result
        if progress is not None:
            progress("simulate", len(done), config.cases)
    return [done[case] for case in sorted(done)]
