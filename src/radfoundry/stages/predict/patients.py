"""Patient-level answers: a table of cases, and of the images that were refused."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radfoundry import runs
from radfoundry.records import Cohort, Estimate, Run, counted
from radfoundry.stages.predict import scans
from radfoundry.stages.predict.settings import Config, Progress

MOST_SHOWN = 200


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Answer about every case; a table `predictions.csv` (case to answer) and `refused.csv` (what was left out, why).

    Refuses a folder that is no predictor, scans that cannot be read at all, and scans of which none is acceptable.
    """
    from radfoundry.tasks import predictor as predictors

    model = predictors.read(config.predictor)
    with tempfile.TemporaryDirectory(prefix="radfoundry-predict-") as folder:
        cohort, names, rejected = scans.opened(config, Path(folder))
        said = predictors.predict(model, cohort, where=", ".join(config.scans), progress=progress)
        where = {series.key: names[series.case] for series in cohort.series}
        refused = [*rejected, *((where[key], reason) for key, _, reason in said.refused)]
        with runs.writing("predict", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
            writer.inputs["predictor"] = runs.digest(model.about["files"])
            writer.inputs["images"] = runs.digest(sorted(series.content for series in cohort.series))
            rows = _rows(said, names, model.classes)
            scans.write_table(rows, writer.folder, "predictions")
            scans.write_refused(refused, writer.folder)
            writer.metrics["cases-answered"] = Estimate.exact(len(rows))
            writer.metrics["images-refused"] = Estimate.exact(len(refused))
            warned = scans.warned(model.about)
            writer.notes += [
                *warned,
                *scans.remarks(refused, names),
                *_taken_for(cohort, said.refused, model.accepts.modality),
            ]
            runs.write_json(writer.folder / "blocks.json", _blocks(model, rows, refused, warned))
    return writer.finished


def _rows(said: Any, names: Mapping[str, str], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """One row per case, in order of its name: answer, interval, call, raw score, and from how many images."""
    from radfoundry.tasks import probe

    columns = probe.finished_columns(said.answers) | probe.numbered("score", said.predictions.score)
    rows = []
    for index, case in enumerate(said.predictions.case):
        row: dict[str, Any] = {"case": names[str(case)]}
        for name, column in columns.items():
            value = column[index]
            row[_titled(name, classes)] = _called(value, classes) if name == "called" else float(value)
        row["images"] = said.series[index]
        rows.append(row | ({"missing": said.missing[index]} if said.missing else {}))
    return sorted(rows, key=lambda row: row["case"])


def _titled(name: str, classes: tuple[str, ...]) -> str:
    """A column's name with the class in place of its number."""
    stem, line, number = name.rpartition("_")
    return f"{stem}_{classes[int(number)]}" if line and number.isdigit() and classes else name


def _called(value: Any, classes: tuple[str, ...]) -> str:
    return classes[int(value)] if classes else str(int(value))


def _taken_for(cohort: Cohort, refused: Any, modality: tuple[str, ...]) -> list[str]:
    """A picture or NIfTI file does not state its modality: that it was believed to be of the right one is said."""
    outside = {key for key, *_ in refused}
    silent = sum(item.acquisition.modality is None and item.key not in outside for item in cohort.series)
    taken = " or ".join(modality)
    return [f"{counted(silent, 'image')} without a modality taken for {taken}; modality= states it"] if silent else []


def _metrics(model: Any) -> dict[str, Estimate]:
    """What was measured of a predictor on patients it had not seen."""
    return {name: Estimate.from_dict(value) for name, value in model.about["metrics"].items()}


def _blocks(
    model: Any, rows: list[dict[str, Any]], refused: list[tuple[str, str]], warned: list[str]
) -> list[dict[str, Any]]:
    from radfoundry.tasks import predictor as predictors

    answers = {
        "kind": "table",
        "title": "Answers",
        "note": f"The first {MOST_SHOWN} of {len(rows)}." if len(rows) > MOST_SHOWN else "",
        "columns": [{"key": name, "label": name.replace("_", " ")} for name in rows[0]],
        "rows": [{name: scans.shown(value) for name, value in row.items()} for row in rows[:MOST_SHOWN]],
    }
    left_out = {
        "kind": "table",
        "title": "Refused",
        "columns": [{"key": "file", "label": "scan"}, {"key": "reason", "label": "reason"}],
        "rows": [{"file": name, "reason": reason} for name, reason in sorted(refused)[:MOST_SHOWN]],
    }
    lines = [
        f"{model.task.about} {counted(len(rows), 'case was', 'cases were')} answered about; "
        f"{counted(len(refused), 'image or file was', 'images or files were')} refused.",
        "An interval is that of the calibration (how many such patients have the finding) or, for a quantity, the "
        "range that holds 95 % of patients like those the model was fitted on.",
        *(f"{line[:1].upper()}{line[1:]}." for line in warned),
        model.about["intended_use"],
    ]
    known = {
        "kind": "table",
        "title": "How well it answered on patients it had not seen",
        "columns": [{"key": "name", "label": "measure"}, {"key": "estimate", "label": "value (95 % interval)"}],
        "rows": [{"name": name, "estimate": value.to_dict()} for name, value in _metrics(model).items()],
    }
    accepted = [line.removeprefix("- ") for line in predictors.accepted_lines(model.accepts)]
    facts = {"kind": "facts", "title": "Accepts", "items": [line.split(": ", 1) for line in accepted]}
    shown = [{"kind": "text", "title": "Summary", "paragraphs": lines}, answers, *([left_out] if refused else [])]
    return [*shown, known, facts]
