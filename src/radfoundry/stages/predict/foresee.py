"""What comes after a first visit, for new scans: one value a case with its interval."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.records import Cohort, Estimate, InputError, Run, counted
from radfoundry.stages.predict import scans
from radfoundry.stages.predict.settings import Config, Progress


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """A table `foreseen.csv`: the value at the usual time after this visit, or its change, with an interval.

    Refuses a folder that is no predictor, scans of which none is acceptable, and scans without the value measured at
    this visit where the predictor needs it.
    """
    from radfoundry.tasks import foresee
    from radfoundry.tasks import predictor as predictors

    model = predictors.read(config.predictor)
    about = model.about["foresee"]
    with tempfile.TemporaryDirectory(prefix="radfoundry-predict-") as folder:
        cohort, names, rejected = scans.opened(config, Path(folder))
        first = _first_values(cohort, about)
        said = predictors.predict(model, cohort, where=", ".join(config.scans), progress=progress)
        where = {series.key: names[series.case] for series in cohort.series}
        refused = [*rejected, *((where[key], reason) for key, _, reason in said.refused)]
        cases = [str(case) for case in said.predictions.case]
        refused += [(names[case], f"no {about['target']} of this visit") for case in cases if case not in first]
        kept = np.array([place for place, case in enumerate(cases) if case in first], int)
        seer = foresee.restored(about, model.fitted.head)  # ty: ignore[missing-attribute]
        start = np.array([first[cases[place]] for place in kept])
        years = np.full(len(kept), about["days"] / foresee.DAYS_A_YEAR)
        found = seer.later(said.features[kept], start, years)
        rows = [
            {
                "case": names[cases[place]],
                "days": about["days"],
                **({"first": float(value)} if about["measured"] else {}),
                **dict(zip(_columns(about), map(float, row), strict=True)),
            }
            for place, value, row in zip(kept, start, found, strict=True)
        ]
        with runs.writing("predict", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
            writer.inputs["predictor"] = runs.digest(model.about["files"])
            writer.inputs["images"] = runs.digest(sorted(series.content for series in cohort.series))
            scans.write_table(rows, writer.folder, "foreseen")
            scans.write_refused(refused, writer.folder)
            writer.metrics["cases-answered"] = Estimate.exact(len(rows))
            writer.metrics["images-refused"] = Estimate.exact(len(refused))
            writer.notes += [*scans.warned(model.about), *scans.remarks(refused, names)]
            runs.write_json(writer.folder / "blocks.json", _blocks(model, rows))
    return writer.finished


def _columns(about: Mapping[str, Any]) -> tuple[str, str, str]:
    """With the first value known it is the later value that is said, without it the change."""
    return ("later", "low", "high") if about["measured"] else ("change", "change_low", "change_high")


def _first_values(cohort: Cohort, about: Mapping[str, Any]) -> dict[str, float]:
    """Case -> the value measured at this visit; 0 for everybody where the predictor does without."""
    from radfoundry.tasks import questions

    if not about["measured"]:
        return {case.key: 0.0 for case in cohort.cases}
    known = {case.key: questions.value_of(case, about["target"]) for case in cohort.cases}
    found = {key: float(value) for key, value in known.items() if isinstance(value, (int, float))}
    if not found:
        raise InputError(
            f"no case has {about['target']} of this visit",
            where=cohort.path or "scans",
            remedy="give a cohort folder with that label, or fit with task.measured=false",
            finding="no-first-value",
        )
    return found


def _blocks(model: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines = [
        f"{model.task.about} {counted(len(rows), 'case was', 'cases were')} answered about.",
        f"The interval held {model.about['foresee']['level']:.0%} of patients like those it was fitted on.",
        model.about["intended_use"],
    ]
    table = {
        "kind": "table",
        "title": "Foreseen",
        "columns": [{"key": key, "label": key.replace("_", " ")} for key in rows[0]],
        "rows": [{k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows[:200]],
    }
    return [{"kind": "text", "title": "Summary", "paragraphs": lines}, table]
