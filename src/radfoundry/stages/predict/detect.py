"""Findings: marks on every acceptable image, in pixels of the image and in RAS mm."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.records import Case, Cohort, Estimate, InputError, Run, Series, counted
from radfoundry.stages.predict import scans
from radfoundry.stages.predict.settings import Config, Progress

EDGES = ("x0", "y0", "z0", "x1", "y1", "z1")
PLACE = ("x_mm", "y_mm", "z_mm")
MOST_SHOWN = 200
MOST_PICTURES = 6


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Mark every image: `findings.csv` (boxes in pixels, places in RAS mm, rating), `images.csv`, `refused.csv`.

    Refuses a folder that is no predictor, scans that cannot be read at all, and scans of which none is acceptable.
    """
    from radfoundry.tasks import detect_predictor

    finder = detect_predictor.read(config.predictor)
    with tempfile.TemporaryDirectory(prefix="radfoundry-predict-") as folder:
        cohort, names, rejected = scans.opened(config, Path(folder))
        found, images, refused, shown = _found(finder, cohort, names, progress)
        refused = [*rejected, *refused]
        if not images:
            reasons = sorted({reason for _, reason in refused})
            raise InputError(
                f"no image can be marked: {'; '.join(reasons[:3]) or 'no images'}",
                where=", ".join(config.scans),
                remedy="give images like those the predictor was fitted on (see its card.md)",
                finding="outside",
            )
        with runs.writing("predict", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
            writer.inputs["predictor"] = runs.digest(finder.about["files"])
            writer.inputs["images"] = runs.digest(sorted(series.content for series in cohort.series))
            _write(found, ("case", "rating", *EDGES, *PLACE), writer.folder / "findings.csv")
            _write(images, ("case", "score", "marks"), writer.folder / "images.csv")
            _write(
                [{"file": name, "reason": reason} for name, reason in refused],
                ("file", "reason"),
                writer.folder / "refused.csv",
            )
            writer.metrics["images-marked"] = Estimate.exact(len(images))
            writer.metrics["images-refused"] = Estimate.exact(len(refused))
            writer.notes += [*scans.warned(finder.about), *scans.remarks(refused, names)]
            runs.write_json(
                writer.folder / "blocks.json", _blocks(finder, found, images, _pictures(shown, writer.folder))
            )
    return writer.finished


def _found(
    finder: Any, cohort: Cohort, names: Mapping[str, str], progress: Progress | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[tuple[str, str]], list[Any]]:
    """Rows of marks and of images, what was refused, and a few images for pictures."""
    from radfoundry.data.boxes import centres_mm
    from radfoundry.data.masks import is_mask

    found, images, refused, shown = [], [], [], []
    asked = [(case, series) for case in cohort.cases for series in case.series if not is_mask(series)]
    for number, (case, series) in enumerate(asked, start=1):
        marked = _one(finder, case, series)
        if isinstance(marked, str):
            refused.append((names[case.key], marked))
            continue
        volume = series.load()
        places = centres_mm(marked.boxes, volume.affine) if len(marked.boxes) else np.zeros((0, 3))
        # A picture without pixel size has no place in the patient.
        known = "no-geometry" not in series.repairs
        for rating, box, place in zip(marked.ratings, marked.boxes, places, strict=True):
            edges = dict(zip(EDGES, box.tolist(), strict=True))
            where = dict(zip(PLACE, place.tolist() if known else [None] * 3, strict=True))
            found.append({"case": names[case.key], "rating": float(rating), **edges, **where})
        images.append({"case": names[case.key], "score": marked.score, "marks": len(marked.ratings)})
        if len(shown) < MOST_PICTURES:
            shown.append((names[case.key], volume, marked))
        if progress is not None:
            progress("mark", number, len(asked))
    return found, sorted(images, key=lambda row: -row["score"]), refused, shown


def _one(finder: Any, case: Case, series: Series) -> Any:
    """The marks on one image, or why it is refused."""
    from radfoundry.tasks import accepts

    reason = accepts.refusal(series, finder.accepts, finder.spec)
    if reason:
        return reason
    try:
        reason = accepts.emptiness(series.load())
        return reason or finder.find(series)
    except InputError as error:
        return error.what


def _write(rows: list[dict[str, Any]], columns: tuple[str, ...], path: Path) -> None:
    import pandas as pd

    with runs.atomic(path) as partial:
        pd.DataFrame(rows, columns=list(columns)).to_csv(partial, index=False, float_format="%.6g")


def _pictures(shown: list[Any], folder: Path) -> dict[str, Any]:
    from PIL import Image

    from radfoundry.tasks.detect_pages import picture

    images = []
    for number, (name, volume, marked) in enumerate(shown):
        place = f"pictures/{number:02d}.png"
        with runs.atomic(folder / place) as partial:
            best = float(marked.ratings.max()) if len(marked.ratings) else 1.0
            drawn = picture(volume, np.zeros((0, 6)), marked, cut=best)
            Image.fromarray(drawn).save(partial, format="PNG", optimize=True)
        images.append({"png": place, "caption": f"{name}: {marked.score:.2f}"})
    note = "Magenta: the mark."
    return {"kind": "thumbnails", "title": "The surest mark", "note": note, "images": images, "large": True}


def _blocks(
    finder: Any, found: list[dict[str, Any]], images: list[dict[str, Any]], shown: dict[str, Any]
) -> list[dict[str, Any]]:
    lines = [
        f"{counted(len(images), 'image was', 'images were')} marked, surest first. A rating ranks marks; it is no "
        "calibrated chance.",
        str(finder.about["intended_use"]),
    ]
    rows = [{"case": row["case"], "rating": f"{row['rating']:.2f}", "box": _box(row)} for row in found[:MOST_SHOWN]]
    columns = [("case", "image"), ("rating", "rating"), ("box", "box (voxel edges)")]
    table = {
        "kind": "table",
        "title": "Findings",
        "note": f"The first {MOST_SHOWN} of {len(found)}." if len(found) > MOST_SHOWN else "",
        "columns": [{"key": key, "label": label} for key, label in columns],
        "rows": rows,
    }
    return [{"kind": "text", "title": "Summary", "paragraphs": lines}, shown, table]


def _box(row: Mapping[str, Any]) -> str:
    return " ".join(f"{row[edge]:.0f}" for edge in EDGES)
