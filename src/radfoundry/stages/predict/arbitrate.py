"""An arbiter's answers about new scans: its specialists are asked first, every conflict is logged."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.records import Cohort, Estimate, InputError, Run, counted
from radfoundry.stages.predict import scans
from radfoundry.stages.predict.settings import Config, Progress


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Answer about every case: predictions.csv with every vote, conflicts.csv with what decided, refused.csv.

    A specialist that refuses a case says nothing about it. Refuses scans of which none is acceptable.
    """
    from radfoundry.tasks import arbiter, predictor

    model = predictor.read(config.predictor)
    where = ", ".join(config.scans)
    with tempfile.TemporaryDirectory(prefix="radfoundry-predict-") as folder:
        cohort, names, rejected = scans.opened(config, Path(folder))
        kept, left = predictor.acceptable(model, cohort)
        if not kept.series:
            reasons = sorted({reason for _, _, reason in left})
            raise InputError(f"no series can be answered about: {'; '.join(reasons[:3])}", where=where)
        fitted = _fitted(config.predictor, model)
        keys, evidence = _heard(config.predictor, model, fitted, kept, progress)
        decided = fitted.arbiter.decide(evidence)
        parts = getattr(fitted.arbiter, "parts", None)
        called = [names[key] for key in keys]
        rows = _rows(called, evidence, decided)
        conflicts = arbiter.conflicts(evidence, decided, parts(evidence) if parts else None, called)
        named = {series.key: names[series.case] for series in cohort.series}
        refused = [*rejected, *((named[key], reason) for key, _, reason in left)]
        with runs.writing("predict", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
            writer.inputs["predictor"] = runs.digest(model.about["files"])
            writer.inputs["images"] = runs.digest(sorted(series.content for series in cohort.series))
            scans.write_table(rows, writer.folder, "predictions")
            scans.write_refused(refused, writer.folder)
            scans.write_table(conflicts, writer.folder, "conflicts", columns=("case", "decision", "reason"))
            writer.metrics["cases-answered"] = Estimate.exact(len(rows))
            writer.metrics["conflicts"] = Estimate.exact(len(conflicts))
            writer.metrics["images-refused"] = Estimate.exact(len(refused))
            writer.notes += scans.remarks(refused, names)
            runs.write_json(writer.folder / "blocks.json", _blocks(model, rows, conflicts))
    return writer.finished


def _fitted(path: str, model: Any) -> Any:
    """The arbiter with the similar cases it learned from."""
    from radfoundry.tasks import arbiter_case, arbiter_fit, predictor
    from radfoundry.tasks.arbiter import ArbitrateTask

    place = predictor.folder_of(path)
    about = model.about["arbiter"]
    judge, cases = arbiter_fit.read(place / "arbiter.safetensors")
    names = tuple(about["specialists"])
    count = len(cases["answer"])
    # Nobody who teaches is the patient asked about: whoever they were, their names were not kept.
    nobody = np.array([""] * count)
    votes = np.full((count, len(names)), np.nan)
    teaching = arbiter_case.Cases(cases["features"], cases["answer"], nobody, nobody, names, votes)
    task = ArbitrateTask(model.task.target, names, about["kind"], int(about["neighbours"]))
    return arbiter_case.Fitted(judge, model.fitted.head, teaching, task)


def _heard(path: str, model: Any, fitted: Any, kept: Cohort, progress: Progress | None) -> tuple[list[str], Any]:
    """Case keys in order, and the evidence about them."""
    from radfoundry.nets import embedding
    from radfoundry.tasks import arbiter_case, arbiter_votes, predictor

    table = embedding.embed(kept, model.encoder, progress=progress)
    owners = np.array([series.case for series in table.series])
    keys = sorted(set(owners.tolist()))
    features = np.stack([table.vectors[owners == key].astype(float).mean(axis=0) for key in keys])
    specialists = []
    for number, name in enumerate(fitted.teaching.names):
        place = predictor.folder_of(path) / "specialists" / str(number)
        try:
            votes = arbiter_votes.vote(predictor.read(place), kept, where=name)
        except InputError as error:
            if error.finding != "outside":
                raise
            votes = {}
        specialists.append(arbiter_votes.Specialist(name, votes))
    patients = np.array([f"asked {key}" for key in keys])
    return keys, arbiter_case.hear(fitted, features, patients, arbiter_votes.matrix(specialists, keys))


def _rows(names: list[str], evidence: Any, decided: np.ndarray) -> list[dict[str, Any]]:
    rows = []
    for place, name in enumerate(names):
        votes = {source: float(value) for source, value in zip(evidence.names, evidence.votes[place], strict=True)}
        own = {"generalist": float(evidence.generalist[place]), "similar_cases": float(evidence.retrieved[place])}
        rows.append({"case": name, "answer": float(decided[place]), **votes, **own})
    return sorted(rows, key=lambda row: row["case"])


def _blocks(model: Any, rows: list[dict[str, Any]], conflicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines = [
        f"{model.task.about} {counted(len(rows), 'case')}; the specialists disagree about {len(conflicts)}.",
        model.about["intended_use"],
    ]
    blocks: list[dict[str, Any]] = [{"kind": "text", "title": "Summary", "paragraphs": lines}]
    for title, shown in (("Answers", rows[:200]), ("Conflicts", conflicts[:200])):
        if shown:
            blocks.append(
                {
                    "kind": "table",
                    "title": title,
                    "columns": [{"key": name, "label": name.replace("_", " ")} for name in shown[0]],
                    "rows": [{name: scans.shown(value) for name, value in row.items()} for row in shown],
                }
            )
    return blocks
