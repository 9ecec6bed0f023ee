"""Places: where a landmark or structure lies in every acceptable image, in RAS mm and in its voxels."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.records import Cohort, Estimate, InputError, Run, Series, counted
from radfoundry.stages.predict import scans
from radfoundry.stages.predict.settings import Config, Progress

PLACE = ("x_mm", "y_mm", "z_mm")
VOXEL = ("i", "j", "k")
BOX = tuple(f"{end}_{axis}" for end in ("low", "high") for axis in PLACE)
MOST_SHOWN = 200
MOST_PICTURES = 6


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Find the place in every image: `places.csv` (RAS mm, voxel numbers, spread of the votes) and `refused.csv`.

    Refuses a folder that is no predictor, scans that cannot be read at all, and scans of which none is acceptable.
    """
    from radfoundry.tasks import localise_predictor

    pointer = localise_predictor.read(config.predictor)
    with tempfile.TemporaryDirectory(prefix="radfoundry-predict-") as folder:
        cohort, names, rejected = scans.opened(config, Path(folder))
        rows, refused, shown = _found(pointer, cohort, names, progress)
        refused = [*rejected, *refused]
        if not rows:
            reasons = sorted({reason for _, reason in refused})
            raise InputError(
                f"the place can be looked for in no image: {'; '.join(reasons[:3]) or 'no images'}",
                where=", ".join(config.scans),
                remedy="give images like those the predictor was fitted on (see its card.md)",
                finding="outside",
            )
        with runs.writing("predict", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
            writer.inputs["predictor"] = runs.digest(pointer.about["files"])
            writer.inputs["images"] = runs.digest(sorted(series.content for series in cohort.series))
            _write(rows, [*rows[0]], writer.folder / "places.csv")
            said = [{"file": name, "reason": reason} for name, reason in sorted(refused)]
            _write(said, ["file", "reason"], writer.folder / "refused.csv")
            writer.metrics["images-answered"] = Estimate.exact(len(rows))
            writer.metrics["images-refused"] = Estimate.exact(len(refused))
            writer.notes += [*scans.warned(pointer.about), *scans.remarks(refused, names)]
            runs.write_json(writer.folder / "blocks.json", _blocks(pointer, rows, shown, writer.folder))
    return writer.finished


def _found(
    pointer: Any, cohort: Cohort, names: Mapping[str, str], progress: Progress | None
) -> tuple[list[dict[str, Any]], list[tuple[str, str]], list[Any]]:
    """A row for each image, what was refused, and a few images for pictures."""
    from radfoundry.data.masks import is_mask
    from radfoundry.volume import points_to_voxels

    rows, refused, shown = [], [], []
    asked = [(case, series) for case in cohort.cases for series in case.series if not is_mask(series)]
    for number, (case, series) in enumerate(asked, start=1):
        found = _one(pointer, series)
        if isinstance(found, str):
            refused.append((names[case.key], found))
            continue
        volume = series.load()
        voxel = points_to_voxels(volume.affine, found.points[:1])[0]
        row = {"case": names[case.key], "sequence": series.sequence or ""}
        row |= dict(zip(PLACE, found.points[0].tolist(), strict=True)) | dict(zip(VOXEL, voxel.tolist(), strict=True))
        row |= {"spread_mm": found.spread_mm}
        if len(found.points) == 3:
            row |= dict(zip(BOX, found.points[1:].ravel().tolist(), strict=True))
        rows.append(row)
        if len(shown) < MOST_PICTURES:
            shown.append((volume, found.points, None, names[case.key]))
        if progress is not None:
            progress("localise", number, len(asked))
    return rows, refused, shown


def _one(pointer: Any, series: Series) -> Any:
    """The place in one image, or why it is refused."""
    from radfoundry.tasks import accepts

    if "no-geometry" in series.repairs:
        return "its pixel size in mm is not known"
    reason = accepts.refusal(series, pointer.accepts, pointer.spec)
    if reason:
        return reason
    try:
        reason = accepts.emptiness(series.load())
        return reason or pointer.find(series)
    except InputError as error:
        return error.what


def _write(rows: list[dict[str, Any]], columns: list[str], path: Path) -> None:
    import pandas as pd

    with runs.atomic(path) as partial:
        pd.DataFrame(rows, columns=columns).to_csv(partial, index=False, float_format="%.6g")


def _blocks(pointer: Any, rows: list[dict[str, Any]], shown: list[Any], folder: Path) -> list[dict[str, Any]]:
    from radfoundry.tasks import localise_pages
    from radfoundry.tasks import predictor as predictors

    sizes = pointer.about["error_quantiles_mm"]
    lines = [
        f"{pointer.about['task']['about']} {counted(len(rows), 'image was', 'images were')} answered about, in RAS "
        "mm of the scan.",
        f"On patients it had not seen half of the answers lay within {sizes['0.5']:.1f} mm and 95 in 100 within "
        f"{sizes['0.95']:.1f} mm. The spread says how far the votes lie apart; it is no error.",
        pointer.about["intended_use"],
    ]
    table = {
        "kind": "table",
        "title": "Places",
        "note": f"The first {MOST_SHOWN} of {len(rows)}." if len(rows) > MOST_SHOWN else "",
        "columns": [{"key": key, "label": key.replace("_", " ")} for key in rows[0]],
        "rows": [{key: _shown(value) for key, value in row.items()} for row in rows[:MOST_SHOWN]],
    }
    known = {
        "kind": "table",
        "title": "How well it answered on patients it had not seen",
        "columns": [{"key": "name", "label": "measure"}, {"key": "estimate", "label": "value (95 % interval)"}],
        "rows": [
            {"name": name, "estimate": Estimate.from_dict(value).to_dict()}
            for name, value in pointer.about["metrics"].items()
        ],
    }
    accepted = [line.removeprefix("- ") for line in predictors.accepted_lines(pointer.accepts)]
    facts = {"kind": "facts", "title": "Accepts", "items": [line.split(": ", 1) for line in accepted]}
    pictures = localise_pages.pictures(folder, shown, title="The first images")
    return [{"kind": "text", "title": "Summary", "paragraphs": lines}, pictures, table, known, facts]


def _shown(value: Any) -> str:
    return f"{np.round(value, 1):g}" if isinstance(value, float) else str(value)
