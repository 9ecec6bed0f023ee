"""What every action writes the same way: tables, counts, and cards with pictures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from radfoundry import runs
from radfoundry.data.quality_rules import Judgement
from radfoundry.records import Cohort, Series
from radfoundry.stages.curate.settings import Block

PICTURE_PIXELS = 120
MOST_PICTURES = 400


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], *, header: Sequence[str] | None = None) -> None:
    """A table with a header, written whole or not at all; columns from the first row unless `header` names them."""
    with runs.atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(header or (rows[0] if rows else ())), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def cards(cohort: Cohort, verdicts: Mapping[str, Judgement], folder: Path) -> Block:
    """Every series as a card with its picture, verdict and reasons; at most MOST_PICTURES pictures, flagged first."""
    from radfoundry.data.sequence_rules import SEQUENCES
    from radfoundry.data.summary import caption, sides

    order = {"leave out": 0, "review": 1, "good": 2}
    pictured = sorted(cohort.series, key=lambda series: (order[verdicts[series.key].verdict], series.key))[
        :MOST_PICTURES
    ]
    shown = {series.key for series in pictured}
    rows = [
        {
            "key": series.key,
            "png": picture(series, folder) if series.key in shown else "",
            "caption": caption(series),
            "sequence": series.sequence,
            "verdict": verdicts[series.key].verdict,
            "reasons": list(verdicts[series.key].reasons),
        }
        for series in cohort.series
    ]
    return {
        "kind": "series",
        "title": "Series",
        "note": f"Flagged series first. {sides(cohort.series)}",
        "rows": rows,
        "choices": list(SEQUENCES),
        "command": f"radfoundry label {cohort.path} corrections.csv --on series",
    }


def picture(series: Series, folder: Path) -> str:
    """Draw the series into the run folder and say under which name."""
    from PIL import Image

    from radfoundry.data.thumbnails import thumbnail

    name = f"thumbnails/{series.key}.png"
    with runs.atomic(folder / name) as partial:
        Image.fromarray(thumbnail(series.load(), side_pixels=PICTURE_PIXELS)).save(partial, format="PNG", optimize=True)
    return name
