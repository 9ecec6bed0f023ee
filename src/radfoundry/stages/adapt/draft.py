"""Report drafts: findings learned from the cohort's reports become a template draft, beside the nearest report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.records import Cohort, Estimate, InputError, Run
from radfoundry.stages.adapt.settings import Config, Progress

TEMPLATE, FORCED, RETRIEVAL, OTHERS = "template", "template-without-floor", "retrieval", "drafts-of-others"


@dataclass(frozen=True, eq=False)
class _Asked:
    """What was learned and what was drafted for the tested cases, in the order of `found.predictions`."""

    cohort: Cohort
    task: Any
    taught: Any
    encoder: Any
    table: Any
    found: Any
    drafts: Sequence[Any]
    judged: Any


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Learn findings from reports, draft for patients who did not teach, score drafts finding by finding."""
    asked = _asked(config, progress)
    metrics = _numbers(config, asked)
    with runs.writing("adapt", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(cohort=asked.cohort.fingerprint, encoder=asked.table.fingerprint)
        writer.metrics.update(metrics)
        writer.notes += [*asked.found.notes, *(f"report of {key}: {why}" for key, why in asked.taught.refused.items())]
        rows = _rows(asked)
        runs.write_json(writer.folder / "drafts.json", {row["case"]: row for row in rows})
        _write_predictor(config, asked, metrics, writer.folder)
        runs.write_json(writer.folder / "blocks.json", _blocks(asked, metrics, rows))
    return writer.finished


def _asked(config: Config, progress: Progress | None) -> _Asked:
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding
    from radfoundry.tasks import drafts, heads, probe, questions

    if config.ladder or config.rung != "frozen":
        raise InputError("draft is answered from frozen features", remedy="use rung=frozen without ladder")
    task = registry.build("tasks", config.task.name, **config.task.options)
    cohort = cohorts.open_cohort(config.cohort)
    taught = drafts.taught(cohort, task)
    truth = dict(taught.truth)
    if config.permute_labels:
        owners = {case.key: case.patient for case in cohort.cases}
        truth = questions.permuted(truth, owners, rng=np.random.default_rng(config.seed))
    encoder = embedding.open_encoder(config.encoder)
    table = embedding.embed(cohort, encoder, progress=progress)
    design = probe.design(config.train_on, config.test_on, split=config.split, folds=config.folds, seed=config.seed)
    asked = drafts.task_of(taught)
    head = heads.named(config.head, "multilabel")
    found = probe.probe(cohort, table, task=_as_findings(asked), truth=truth, head=head, design=design)
    said = [drafts.template(taught.columns, row, floor=task.floor) for row in found.answers.value]
    judged = _judged(config, cohort, (task, taught, table, design), found, said)
    return _Asked(cohort, task, taught, encoder, table, found, said, judged)


def _as_findings(task: Any) -> Any:
    from dataclasses import replace

    return replace(task, kind="multilabel")


def _judged(config: Config, cohort: Cohort, parts: tuple[Any, ...], found: Any, said: Sequence[Any]) -> Any:
    """The drafts of every kind beside the reports of the tested cases."""
    from radfoundry.tasks import drafts, drafts_measures

    task, taught, table, design = parts
    cases, patients = found.predictions.case.tolist(), found.predictions.patient
    near = _nearest(cohort, table, taught, design)
    forced = [_sayable(drafts.template(taught.columns, row, floor=0.5)) for row in found.answers.value]
    others = _of_others(patients, np.random.default_rng(config.seed))
    said_by = drafts_measures.said_by
    # The drafts are read in the region of the reports, so that equal words mean the same in both.
    region = task.region or _usual_region(taught)
    stated = said_by([item.text for item in said], region=region)
    unfloored = said_by(forced, region=region)
    return drafts_measures.Judged(
        taught.findings,
        [taught.read[case] for case in cases],
        {
            TEMPLATE: stated,
            FORCED: unfloored,
            RETRIEVAL: [taught.read[near[case]] for case in cases],
            OTHERS: [unfloored[place] for place in others],
        },
        patients,
    )


def _sayable(draft: Any) -> str:
    """The text of a draft whatever was withheld."""
    from dataclasses import replace

    return replace(draft, refused="").text


def _usual_region(taught: Any) -> str:
    from collections import Counter

    from radfoundry.text.findings import region_of

    counts = Counter(region_of(text) for text in taught.texts.values())
    return counts.most_common(1)[0][0]


def _of_others(patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each row the row of another patient, drawn."""
    places = np.arange(len(patients))
    return np.array([int(rng.choice(places[patients != owner])) for owner in patients])


def _nearest(cohort: Cohort, table: Any, taught: Any, design: Any) -> Mapping[str, str]:
    """Tested case -> the teaching case of another patient that looks most alike, in the same folds as the drafts."""
    from radfoundry.tasks import drafts, probe
    from radfoundry.tasks.examples import examples

    learn = examples(table, taught.truth, design.train_on, name="train_on")
    asked = examples(table, taught.truth, design.test_on, name="test_on")
    near: dict[str, str] = {}
    for teaching, testing in probe.pairs(cohort, learn, asked, kind="multilabel", design=design):
        rows = drafts.nearest(teaching.features, testing.features, owners=teaching.patient, patients=testing.patient)
        near |= dict(zip(testing.case.tolist(), teaching.case[rows].tolist(), strict=True))
    return near


def _numbers(config: Config, asked: _Asked) -> dict[str, Estimate]:
    from radfoundry.tasks import drafts_measures
    from radfoundry.tasks.drafts_scores import mean_count

    metrics = drafts_measures.measure(asked.judged, main=FORCED, against=(RETRIEVAL, OTHERS), seed=config.seed)
    patient = asked.judged.patient
    withheld = [bool(item.refused) for item in asked.drafts]
    metrics["share-withheld"] = mean_count(withheld, patient=patient, seed=config.seed)
    left = [len(item.open) for item in asked.drafts]
    metrics["findings-left-open"] = mean_count(left, patient=patient, seed=config.seed)
    return metrics


def _rows(asked: _Asked) -> list[dict[str, Any]]:
    """One row per tested case: the draft with its trace, and what differs from the report."""
    from dataclasses import asdict

    from radfoundry.tasks import drafts_measures

    rows = []
    found = drafts_measures.differences(asked.judged, TEMPLATE)
    for case, draft, gap in zip(asked.found.predictions.case.tolist(), asked.drafts, found, strict=True):
        rows.append({"case": case, **draft.to_dict(), "against_report": asdict(gap)})
    return rows


def _write_predictor(config: Config, asked: _Asked, metrics: Mapping[str, Estimate], folder: Path) -> None:
    from radfoundry.tasks import accepts, drafts, predictor

    found = asked.found
    series = [asked.table.series[row] for row in found.training.row]
    about = {
        "trained": {
            "cohort": asked.cohort.fingerprint,
            "patients": found.training_patients,
            "cases": len(set(found.training.case.tolist())),
            "series": len(series),
            "how": f"findings read from reports by rules, tested by {config.split or f'{config.folds} folds'}",
        },
        "metrics": dict(metrics),
        "intended_use": config.intended_use or "Research: drafts that a radiologist reads before anybody else.",
        "control": "the reports were dealt to other patients on purpose" if config.permute_labels else "",
        "versions": runs.versions(),
        "draft": {"floor": asked.task.floor, "region": asked.task.region},
    }
    limits = accepts.learned_from(series, spec=asked.encoder.spec, wanted=config.train_on)
    model = predictor.Predictor(
        drafts.task_of(asked.taught), asked.taught.columns, asked.encoder, found.fitted, found.finish, limits,
        runs.plain(about),
    )  # fmt: skip
    predictor.write(model, folder / predictor.FOLDER, component=config.encoder, pack=config.pack)


def _blocks(asked: _Asked, metrics: Mapping[str, Estimate], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    from radfoundry.tasks import pages

    share = metrics["share-withheld"]
    paragraphs = [
        f"Drafts of {len(rows)} exams from findings that were learned on the reports of other patients, read by rules. "
        f"Findings: {', '.join(asked.taught.findings)}.",
        f"F1 over findings: template without a floor {metrics[f'f1-{FORCED}']}, nearest report "
        f"{metrics[f'f1-{RETRIEVAL}']}, drafts of other patients {metrics[f'f1-{OTHERS}']}; with the floor of "
        f"{asked.task.floor:g} {metrics[f'f1-{TEMPLATE}']}, where a share of {share} was withheld.",
        "The truth here is what the rules read in the radiologist's report, not what is in the patient.",
    ]
    table = {
        "kind": "table",
        "title": "Drafts",
        "note": "The first 40; all are in drafts.json with the trace of every sentence.",
        "columns": [{"key": key, "label": key} for key in ("case", "draft", "left out", "invented", "wrong side")],
        "rows": [
            {
                "case": row["case"],
                "draft": row["text"] or f"withheld: {row['refused']}",
                "left out": ", ".join(row["against_report"]["omitted"]),
                "invented": ", ".join(row["against_report"]["invented"]),
                "wrong side": ", ".join(row["against_report"]["side_errors"]),
            }
            for row in rows[:40]
        ],
    }
    summary = {"kind": "text", "title": "Summary", "paragraphs": paragraphs}
    return [summary, pages.people(asked.cohort, asked.found.predictions), pages.numbers("Results", metrics), table]
