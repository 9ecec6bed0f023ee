"""Report drafts: findings learned from the cohort's reports become a template draft, beside the nearest report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.records import Cohort, Estimate, InputError, Run, counted
from radfoundry.stages.adapt.settings import Config, Progress

TEMPLATE, FORCED, RETRIEVAL, OTHERS = "template", "template-without-floor", "retrieval", "drafts-of-others"
USUAL, DECODER, WRITTEN, WRITTEN_OTHERS = "usual", "decoder", "decoder-without-floor", "decoder-of-others"


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
    texts: Mapping[str, str]

    @property
    def main(self) -> str:
        """The kind of draft that the task asks for."""
        return DECODER if self.task.by == DECODER else TEMPLATE


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Learn findings from reports, draft for patients who did not teach, score drafts finding by finding."""
    from radfoundry.tasks import drafts_measures, per_case

    asked = _asked(config, progress)
    metrics = _numbers(config, asked)
    with runs.writing("adapt", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(cohort=asked.cohort.fingerprint, encoder=asked.table.fingerprint)
        writer.metrics.update(metrics)
        writer.notes += [*asked.found.notes, *(f"report of {key}: {why}" for key, why in asked.taught.refused.items())]
        rows = _rows(asked)
        runs.write_json(writer.folder / "drafts.json", {row["case"]: row for row in rows})
        kind = WRITTEN if asked.main == DECODER else FORCED
        cases, patients = asked.found.predictions.case.tolist(), asked.found.predictions.patient.tolist()
        per_case.write(drafts_measures.per_case(asked.judged, kind, cases, patients), writer.folder)
        _write_predictor(config, asked, metrics, writer.folder)
        runs.write_json(writer.folder / "blocks.json", _blocks(asked, metrics, rows, called=config.called))
    return writer.finished


def _asked(config: Config, progress: Progress | None) -> _Asked:
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding
    from radfoundry.tasks import drafts, drafts_decoder, heads, probe, questions

    if config.ladder or config.rung != "frozen":
        raise InputError("draft is answered from frozen features", remedy="use rung=frozen without ladder")
    task = registry.build("tasks", config.task.name, **config.task.options)
    cohort = cohorts.open_cohort(config.cohort)
    taught = drafts.taught(cohort, task)
    source = {key: key for key in taught.truth}
    if config.permute_labels:
        owners = {case.key: case.patient for case in cohort.cases}
        source = questions.permuted(source, owners, rng=np.random.default_rng(config.seed))
    truth = {key: taught.truth[other] for key, other in source.items()}
    encoder = embedding.open_encoder(config.encoder)
    table = embedding.embed(cohort, encoder, progress=progress)
    design = probe.design(config.train_on, config.test_on, split=config.split, folds=config.folds, seed=config.seed)
    asked = drafts.task_of(taught)
    head = heads.named(config.head, "multilabel")
    found = probe.probe(cohort, table, task=_as_findings(asked), truth=truth, head=head, design=design)
    region = task.region or _usual_region(taught)
    texts = {key: drafts_decoder.teachable(taught.texts[other], region=region) for key, other in source.items()}
    parts = (task, taught, table, design, source, texts)
    said, judged = _judged(config, cohort, parts, found, region)
    return _Asked(cohort, task, taught, encoder, table, found, said, judged, texts)


def _as_findings(task: Any) -> Any:
    from dataclasses import replace

    return replace(task, kind="multilabel")


def _judged(
    config: Config, cohort: Cohort, parts: tuple[Any, ...], found: Any, region: str
) -> tuple[Sequence[Any], Any]:
    """The drafts asked for, and the drafts of every kind beside the reports of the tested cases."""
    from radfoundry.tasks import drafts, drafts_decoder, drafts_folds, drafts_measures

    task, taught, table, design, source, texts = parts
    cases, patients = found.predictions.case.tolist(), found.predictions.patient
    chances = found.answers.value
    decoder = _decoder(config, task)
    by = drafts_folds.beside(cohort, table, taught, design=design, texts=texts, decoder=decoder)
    templates = [drafts.template(taught.columns, row, floor=task.floor) for row in chances]
    forced = [_sayable(drafts.template(taught.columns, row, floor=0.5)) for row in chances]
    others = _of_others(patients, np.random.default_rng(config.seed))

    def read(texts: Sequence[str]) -> list[Any]:
        # The drafts are read in the region of the reports, so that equal words mean the same in both.
        return drafts_measures.said_by(texts, region=region)

    unfloored = read(forced)
    kinds = {
        TEMPLATE: read([item.text for item in templates]),
        FORCED: unfloored,
        RETRIEVAL: [taught.read[source[by.near[case]]] for case in cases],
        USUAL: [taught.read[source[by.usual[case]]] for case in cases],
        OTHERS: [unfloored[place] for place in others],
    }
    said = templates
    if decoder is not None:
        raw = [by.written[case] for case in cases]
        said = [
            drafts_decoder.traced(text, taught.columns, row, floor=task.floor, region=region)
            for text, row in zip(raw, chances, strict=True)
        ]
        written = read(raw)
        kinds |= {DECODER: read([item.text for item in said]), WRITTEN: written}
        kinds[WRITTEN_OTHERS] = [written[place] for place in others]
    reports = [taught.read[case] for case in cases]
    return said, drafts_measures.Judged(taught.findings, reports, kinds, patients)


def _decoder(config: Config, task: Any) -> Any:
    from radfoundry.tasks import drafts_decoder

    return drafts_decoder.Options(task.steps, task.beam, seed=config.seed) if task.by == DECODER else None


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


def _numbers(config: Config, asked: _Asked) -> dict[str, Estimate]:
    from radfoundry.tasks import drafts_measures
    from radfoundry.tasks.drafts_scores import mean_count

    against = {FORCED: (RETRIEVAL, USUAL, OTHERS)}
    if asked.main == DECODER:
        against[WRITTEN] = (FORCED, RETRIEVAL, USUAL, WRITTEN_OTHERS)
    metrics = drafts_measures.measure(asked.judged, main=FORCED, against=against, seed=config.seed)
    patient = asked.judged.patient
    withheld = [bool(item.refused) for item in asked.drafts]
    metrics["share-withheld"] = mean_count(withheld, patient=patient, seed=config.seed)
    left = [len(item.open) for item in asked.drafts]
    metrics["findings-left-open"] = mean_count(left, patient=patient, seed=config.seed)
    if asked.main == DECODER:
        struck = [len(item.struck) for item in asked.drafts]
        metrics["sentences-struck"] = mean_count(struck, patient=patient, seed=config.seed)
    return {f"{name}-{config.called}" if config.called else name: value for name, value in metrics.items()}


def _rows(asked: _Asked) -> list[dict[str, Any]]:
    """One row per tested case: the draft with its trace, and what differs from the report."""
    from dataclasses import asdict

    from radfoundry.tasks import drafts_measures

    rows = []
    found = drafts_measures.differences(asked.judged, asked.main)
    for case, draft, gap in zip(asked.found.predictions.case.tolist(), asked.drafts, found, strict=True):
        rows.append({"case": case, **draft.to_dict(), "against_report": asdict(gap)})
    return rows


def _write_predictor(config: Config, asked: _Asked, metrics: Mapping[str, Estimate], folder: Path) -> None:
    from radfoundry.tasks import accepts, drafts, drafts_decoder, drafts_folds, predictor

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
        "draft": {"floor": asked.task.floor, "region": asked.task.region, "by": asked.task.by},
    }
    limits = accepts.learned_from(series, spec=asked.encoder.spec, wanted=config.train_on)
    model = predictor.Predictor(
        drafts.task_of(asked.taught), asked.taught.columns, asked.encoder, found.fitted, found.finish, limits,
        runs.plain(about),
    )  # fmt: skip
    place = folder / predictor.FOLDER
    predictor.write(model, place, component=config.encoder, pack=config.pack)
    options = _decoder(config, asked.task)
    if options is not None:
        drafts_decoder.save(drafts_folds.fitted(found.training, asked.texts, options), place)
        predictor.reseal(place)


def _blocks(
    asked: _Asked, metrics: Mapping[str, Estimate], rows: Sequence[Mapping[str, Any]], *, called: str = ""
) -> list[dict[str, Any]]:
    from radfoundry.tasks import pages

    word = f"-{called}" if called else ""

    def of(name: str) -> Estimate:
        return metrics[f"{name}{word}"]

    paragraphs = [
        f"Drafts of {counted(len(rows), 'exam')} from findings that were learned on the reports of other patients, "
        "read by rules. "
        f"Findings: {', '.join(asked.taught.findings)}.",
        f"F1 over findings: template without a floor {of(f'f1-{FORCED}')}, nearest report {of(f'f1-{RETRIEVAL}')}, the "
        f"usual report {of(f'f1-{USUAL}')}, drafts of other patients {of(f'f1-{OTHERS}')}; template with the floor of "
        f"{asked.task.floor:g} {of(f'f1-{TEMPLATE}')}.",
        f"A share of {of('share-withheld')} was withheld.",
        "The truth here is what the rules read in the radiologist's report, not what is in the patient.",
    ]
    if asked.main == DECODER:
        said = f"Decoder: {of(f'f1-{WRITTEN}')} as it writes, {of(f'f1-{DECODER}')} after sentences that no finding "
        paragraphs.insert(2, f"{said}bears out were struck ({of('sentences-struck')} a draft).")
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
