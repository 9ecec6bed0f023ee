"""Two finished runs of adapt on the same exams: how much better the one is, paired, whatever the question."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from radfoundry.records import Estimate, InputError, Predictions, Task
from radfoundry.tasks import measure, per_case, predictor, probe

SCORES, PREDICTIONS = "scores.csv", "predictions.parquet"
COMPARATOR = "unet"


def compared(one: str | Path, other: str | Path, *, seed: int = 0) -> dict[str, Estimate]:
    """One minus the other for every measure that both runs kept exam by exam; positive is better.

    Read are tables of single exams (drafts, registration, later states), scores of outlines, and predictions of
    patients. Refuses runs without any of them, of different kinds, and on different exams.
    """
    first, second = Path(one), Path(other)
    kinds = [_kind(folder) for folder in (first, second)]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"the runs answer different kinds of question ({kinds[0]} and {kinds[1]})",
            where=str(other),
            remedy="pair runs of one question",
            finding="kinds",
        )
    if kinds[0] == PREDICTIONS:
        return _predicted(first, second, seed)
    read = per_case.read if kinds[0] == per_case.NAME else _outlined
    return per_case.paired(read(first), read(second), seed=seed)


def _kind(folder: Path) -> str:
    for name in (per_case.NAME, SCORES, PREDICTIONS):
        if (folder / name).is_file():
            return name
    raise InputError(
        "has no numbers of single exams", where=str(folder), remedy="give finished runs of adapt", finding="no-rows"
    )


def _predicted(first: Path, second: Path, seed: int) -> dict[str, Estimate]:
    record = predictor.read_record(predictor.folder_of(first))["task"]
    metrics = ("srcc",) if str(record["name"]).startswith("rate-") else ()
    task = Task(record["name"], record["target"], record["kind"], record["unit"], metrics)
    found = [probe.read_predictions(folder / PREDICTIONS) for folder in (first, second)]
    if found[0].case.tolist() != found[1].case.tolist():
        raise InputError("the two runs were tested on different exams", where=str(second), remedy="use one cohort")
    if not _same(found[0], found[1]):
        raise InputError("the two runs have different answers for truth", where=str(second), remedy="ask one question")
    return measure.difference(found[0], found[1], task, seed=seed)


def _same(one: Predictions, other: Predictions) -> bool:
    return one.target.shape == other.target.shape and bool(np.array_equal(one.target, other.target))


def _outlined(folder: Path) -> list[per_case.Row]:
    """The Dice of every image, the mean of its structures, by the segmenter and not by its comparator."""
    with (folder / SCORES).open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    try:
        own = [row for row in rows if row["model"] != COMPARATOR] or rows
        values: dict[tuple[str, str], list[float]] = {}
        for row in own:
            values.setdefault((row["case"], row["patient"]), []).append(float(row["dice"] or "nan"))
    except (KeyError, ValueError):
        raise InputError("is no table of scores", where=str(folder / SCORES), finding="damaged") from None
    return [per_case.Row("dice", case, who, _mean(found)) for (case, who), found in values.items()]


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def named(runs: list[str], names: list[str]) -> Mapping[str, str]:
    """Name -> run folder; the folders' own names where none are given. Refuses fewer than two runs and equal names."""
    called = names or [Path(run).name for run in runs]
    if len(runs) < 2:
        raise InputError(f"{len(runs)} run", where="runs", remedy="name two or more finished runs")
    if len(called) != len(runs) or len(set(called)) != len(called):
        raise InputError("each run needs a name of its own", where="names", remedy="give as many names as runs")
    return dict(zip(called, runs, strict=True))
