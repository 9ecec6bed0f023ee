"""A page that lists run folders: what was run, when, its main number, and a link to its report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from radfoundry import runs
from radfoundry.records import Estimate, InputError
from radfoundry.web.numbers import SmallPrint
from radfoundry.web.report import PAGE, render, telling, when

INDEX = "index.html"
# A recipe keeps the runs of its steps inside its own folder.
DEEPEST = 3
MOST_NUMBERS = 3
# The measure that stands for a run in the list, most telling first; without one of these, the first by name.
MAIN = ("claim", "auroc", "dice", "c_index", "accuracy", "mae", "r2")


def write_index(runs_folder: str | Path) -> Path:
    """Write `index.html` into a folder of runs, with a line and a link for every run below it."""
    folder = Path(runs_folder)
    target = folder / INDEX
    text = render_index(folder)
    with runs.atomic(target) as partial:
        partial.write_text(text, encoding="utf-8")
    return target


def render_index(runs_folder: str | Path) -> str:
    """The list of runs as a page; a run whose record is damaged is listed with what is wrong with it."""
    folder = Path(runs_folder)
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), remedy="give the folder that holds your runs")
    rows = [_row(folder, place) for place in run_folders(folder)]
    rows.sort(key=lambda row: (-row["started"], row["place"]))
    small = SmallPrint([item for row in rows for item in row["numbers"].values()])
    for row in rows:
        row["cells"] = [(name, small.cell(item)) for name, item in row["numbers"].items()]
    return render("index.html", title="Runs", folder=folder.resolve().name, rows=rows, notes=small.notes)


def run_folders(folder: Path) -> list[Path]:
    """The run folders below a folder, in order of name, hidden and unfinished ones left out."""
    found: list[Path] = []
    level = [folder]
    for _ in range(DEEPEST):
        level = sorted(inner for place in level for inner in place.iterdir() if _is_visible_folder(inner))
        found += [place for place in level if (place / runs.RECORD).is_file()]
    return sorted(found)


def _is_visible_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not path.name.startswith(".")


def _row(folder: Path, place: Path) -> dict[str, Any]:
    relative = place.relative_to(folder).as_posix()
    row: dict[str, Any] = {"place": relative, "link": f"{quote(relative)}/{PAGE}", "depth": relative.count("/")}
    try:
        record = runs.read_record(place)
        metrics = {name: Estimate.from_dict(item) for name, item in record["metrics"].items()}
    except (InputError, KeyError, TypeError, AttributeError) as error:
        return {**row, "problem": str(error), "started": 0, "numbers": {}}
    return {
        **row,
        "problem": "",
        "stage": record["stage"],
        "about": telling(record),
        "started": record.get("started", 0),
        "when": when(record),
        "seed": record["seed"],
        "numbers": {name: metrics[name] for name in main_numbers(metrics)},
    }


def main_numbers(metrics: Mapping[str, Estimate]) -> list[str]:
    """The names of the few numbers that stand for a run: the same measure for each of its models.

    >>> main_numbers({"brier": Estimate(0.1), "intensity/auroc": Estimate(0.6), "token/auroc": Estimate(0.8)})
    ['intensity/auroc', 'token/auroc']
    """
    defined = sorted(name for name, item in metrics.items() if item.defined)
    for word in MAIN:
        chosen = [name for name in defined if word in name.lower()]
        if chosen:
            return chosen[:MOST_NUMBERS]
    return defined[:1]
