"""Report drafts of new scans: one text a case, and a JSON file that traces every sentence."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from radfoundry import runs
from radfoundry.records import Estimate, Run, counted
from radfoundry.stages.predict import scans
from radfoundry.stages.predict.settings import Config, Progress


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Draft a report for every case: drafts/CASE.txt and drafts.json; withheld drafts say which finding is why.

    Refuses a folder that is no predictor, scans that cannot be read, and scans of which none is acceptable.
    """
    from radfoundry.tasks import drafts, drafts_decoder
    from radfoundry.tasks import predictor as predictors

    model = predictors.read(config.predictor)
    floor = float(model.about["draft"]["floor"])
    with tempfile.TemporaryDirectory(prefix="radfoundry-predict-") as folder:
        cohort, names, rejected = scans.opened(config, Path(folder))
        said = predictors.predict(model, cohort, where=", ".join(config.scans), progress=progress)
        where = {series.key: names[series.case] for series in cohort.series}
        refused = [*rejected, *((where[key], reason) for key, _, reason in said.refused)]
        if model.about["draft"].get("by") == drafts.DECODER:
            writer = drafts_decoder.load(predictors.folder_of(config.predictor))
            region = model.about["draft"]["region"]
            texts = writer.write(said.features)
            drafted = [
                drafts_decoder.traced(text, model.classes, row, floor=floor, region=region)
                for text, row in zip(texts, said.answers.value, strict=True)
            ]
        else:
            drafted = [drafts.template(model.classes, row, floor=floor) for row in said.answers.value]
        made = {names[str(case)]: draft for case, draft in zip(said.predictions.case, drafted, strict=True)}
        with runs.writing("predict", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
            writer.inputs["predictor"] = runs.digest(model.about["files"])
            writer.inputs["images"] = runs.digest(sorted(series.content for series in cohort.series))
            for name, file in _files(made).items():
                with runs.atomic(writer.folder / "drafts" / f"{file}.txt") as partial:
                    partial.write_text(made[name].text or f"No draft: {made[name].refused}.\n", encoding="utf-8")
            runs.write_json(writer.folder / "drafts.json", {name: draft.to_dict() for name, draft in made.items()})
            rows = [{"file": name, "reason": reason} for name, reason in sorted(refused)]
            scans.write_refused(refused, writer.folder)
            withheld = sum(bool(draft.refused) for draft in made.values())
            writer.metrics["cases-drafted"] = Estimate.exact(len(made) - withheld)
            writer.metrics["drafts-withheld"] = Estimate.exact(withheld)
            writer.metrics["images-refused"] = Estimate.exact(len(refused))
            writer.notes += [*scans.warned(model.about), *scans.remarks(refused, names)]
            runs.write_json(writer.folder / "blocks.json", _blocks(model, made, rows))
    return writer.finished


def _files(names: Iterable[str]) -> dict[str, str]:
    """The cases' names as names of files, no two of them the same.

    >>> _files(["a/b", "a_b", "c"])
    {'a/b': 'a_b', 'a_b': 'a_b-2', 'c': 'c'}
    """
    found: dict[str, str] = {}
    for name in sorted(names):
        plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name) or "case"
        choices = (plain if number == 1 else f"{plain}-{number}" for number in itertools.count(1))
        found[name] = next(choice for choice in choices if choice not in found.values())
    return found


def _blocks(model: Any, made: dict[str, Any], refused: list[dict[str, str]]) -> list[dict[str, Any]]:
    lines = [
        f"{counted(len(made), 'exam')}; drafts state a finding only with a confidence of "
        f"{model.about['draft']['floor']} or more.",
        model.about["intended_use"],
    ]
    rows = [
        {"case": name, "draft": draft.text or f"withheld: {draft.refused}", "left open": ", ".join(draft.open)}
        for name, draft in sorted(made.items())[:200]
    ]
    blocks = [
        {"kind": "text", "title": "Summary", "paragraphs": lines},
        {
            "kind": "table",
            "title": "Drafts",
            "columns": [{"key": key, "label": key} for key in ("case", "draft", "left open")],
            "rows": rows,
        },
    ]
    if refused:
        columns = [{"key": key, "label": key} for key in ("file", "reason")]
        blocks.append({"kind": "table", "title": "Refused", "columns": columns, "rows": refused[:200]})
    return blocks
