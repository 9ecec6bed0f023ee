"""The scans that a predictor is asked about: opened and named; what was refused, as remarks; tables of answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.records import Cohort, Estimate, InputError, counted
from radfoundry.stages.predict.settings import Config


def opened(config: Config, folder: Path) -> tuple[Cohort, Mapping[str, str], list[tuple[str, str]]]:
    """The cohort to answer about, a name for each case, and files that hold no usable image."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.data.reading import Repair
    from radfoundry.data.scans import read_scans, scan_rules

    if len(config.scans) == 1 and (Path(config.scans[0]) / cohorts.RECORD).is_file():
        cohort = cohorts.open_cohort(config.scans[0])
        return cohort, {case.key: case.key for case in cohort.cases}, []
    rules = scan_rules(pattern=config.pattern, modality=config.modality, sequence=config.sequence)
    try:
        repair = Repair(**config.repair)  # ty: ignore[invalid-argument-type]
    except TypeError:
        known = ", ".join(Repair.__dataclass_fields__)
        raise InputError(f"unknown repair {', '.join(config.repair)}", remedy=f"known: {known}") from None
    scans = read_scans(config.scans, folder=folder, rules=rules, repair=repair)
    return scans.cohort, scans.names, list(scans.rejected)


def write_refused(refused: list[tuple[str, str]], folder: Path) -> None:
    """The table of scans that were left out, with the reason of each."""
    write_table([{"file": name, "reason": reason} for name, reason in sorted(refused)], folder, "refused")


def write_table(
    rows: list[dict[str, Any]], folder: Path, name: str, *, columns: Sequence[str] = ("file", "reason")
) -> None:
    """The same table twice: for people and spreadsheets, and with every bit; `columns` are those of an empty one."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=None if rows else list(columns))
    with runs.atomic(folder / f"{name}.csv") as partial:
        table.to_csv(partial, index=False, float_format="%.6g")
    with runs.atomic(folder / f"{name}.parquet") as partial:
        table.to_parquet(partial, index=False)


def remarks(refused: list[tuple[str, str]], names: Mapping[str, str]) -> list[str]:
    """One line per reason, with an example, and one about files that are called like masks but were read as images."""
    from radfoundry.data.mask_names import called_so

    counts = Counter(reason for _, reason in refused)
    first = {reason: name for name, reason in sorted(refused, reverse=True)}
    lines = [f"{count} refused: {reason} (first: {first[reason]})" for reason, count in counts.most_common(10)]
    outside = {name for name, _ in refused}
    masks = called_so(name for name in names.values() if name not in outside)
    said = counted(masks.total(), "file is", "files are")
    return lines + ([f"{said} called like masks ({', '.join(sorted(masks))}) but read as images"] if masks else [])


def warned(about: Mapping[str, Any]) -> list[str]:
    """What a predictor's own record says against believing its answers."""
    from radfoundry.tasks.cautions import cautions

    metrics = {name: Estimate.from_dict(value) for name, value in about["metrics"].items()}
    return cautions(metrics, finished=str((about.get("finish") or {}).get("note") or ""))


def shown(value: Any) -> str:
    """A value as a cell of a page shows it."""
    if isinstance(value, float):
        return "none" if np.isnan(value) else f"{value:.3g}"
    return str(value)
