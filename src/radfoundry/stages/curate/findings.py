"""`radfoundry curate findings`: what the reports of a cohort say, as labels, with the sentence behind each."""

from __future__ import annotations

from collections import Counter
from typing import Any

from radfoundry import runs
from radfoundry.records import Case, Cohort, Estimate, InputError, counted
from radfoundry.stages.curate.settings import Block, Config, Progress
from radfoundry.stages.curate.tables import write_csv

HEADER = (
    "case", "finding", "state", "when", "side", "place", "size_mm", "change", "section", "start", "end", "cue",
    "sentence",
)  # fmt: skip
MOST_SHOWN = 200
PREFIX = "report_"


def run(cohort: Cohort, config: Config, writer: runs.RunWriter, progress: Progress | None) -> list[Block]:
    """Read every report by rules: findings.csv (labels by case), sentences.csv (every mention), refused.csv.

    A label is 1 where a report states a finding, 0 where it denies it, and empty where it doubts or does not mention
    it (`doubt` and `unmentioned` say otherwise). Refuses a cohort without reports, or without one in English.
    """
    from radfoundry.text.findings import read, verdicts
    from radfoundry.text.ontology import load

    known = load().regions
    if config.region and config.region not in known:
        raise InputError(f"unknown region {config.region!r}", where="region", remedy=f"known: {', '.join(known)}")
    cases = [case for case in cohort.cases if case.reports]
    if not cases:
        raise InputError("no case has a report", where=config.cohort, remedy="add reports with radfoundry ingest")
    mentions: list[dict[str, Any]] = []
    found: dict[str, dict[str, str]] = {}
    refused: list[dict[str, str]] = []
    for number, case in enumerate(cases, start=1):
        text = whole(case)
        try:
            said = read(text, region=config.region)
        except InputError as error:
            refused.append({"case": case.key, "reason": error.what})
            continue
        found[case.key] = {name: verdict.state for name, verdict in verdicts(said).items()}
        mentions += [_row(case.key, item) for item in said]
        if progress is not None:
            progress("reports", number, len(cases))
    if not found:
        raise InputError(refused[0]["reason"], where="every report", remedy="translate them")
    names = sorted({name for states in found.values() for name in states})
    if not names:
        raise InputError("no report speaks of a finding that is known", where=config.cohort, remedy="see docs/findings")
    rows = [_labels(key, states, names, config) for key, states in found.items()]
    write_csv(writer.folder / "findings.csv", rows)
    write_csv(writer.folder / "sentences.csv", mentions, header=HEADER)
    write_csv(writer.folder / "refused.csv", refused, header=("case", "reason"))
    writer.metrics["reports-read"] = Estimate.exact(len(found))
    writer.metrics["reports-refused"] = Estimate.exact(len(refused))
    writer.metrics["mentions"] = Estimate.exact(len(mentions))
    writer.notes += [f"{item['case']}: {item['reason']}" for item in refused[:10]]
    return _blocks(found, mentions, names, refused)


def whole(case: Case) -> str:
    """All reports of a case as one text."""
    return "\n".join(case.reports)


def _labels(key: str, states: dict[str, str], names: list[str], config: Config) -> dict[str, str]:
    coded = {"present": "1", "absent": "0", "missing": ""}
    said = {"present": "1", "absent": "0", "uncertain": coded[config.doubt], "": coded[config.unmentioned]}
    return {"case": key, **{PREFIX + name.replace("-", "_"): said[states.get(name, "")] for name in names}}


def _row(case: str, item: Any) -> dict[str, Any]:
    sentence = item.sentence
    values = {name: getattr(item, name) for name in HEADER if hasattr(item, name)}
    size = "" if item.size_mm is None else f"{item.size_mm:g}"
    return {**values, "case": case, "size_mm": size, "section": sentence.section, "sentence": sentence.text}


def _blocks(
    found: dict[str, dict[str, str]], mentions: list[dict[str, Any]], names: list[str], refused: list[dict[str, str]]
) -> list[Block]:
    counts = {name: Counter(states[name] for states in found.values() if name in states) for name in names}
    summary = [
        f"Read by rules: {counted(len(found), 'report')}; refused: {len(refused)}. Spoken of: "
        f"{counted(len(names), 'finding')}.",
        "A finding that is not mentioned is not absent; what is doubted is left open. Look at the sentences before "
        "anything learns from the labels.",
        "Add the labels with: radfoundry label COHORT findings.csv --on case",
    ]
    table: Block = {
        "kind": "table",
        "title": "Findings",
        "columns": [{"key": key, "label": key} for key in ("finding", "present", "uncertain", "absent")],
        "rows": [
            {"finding": name, **{state: str(counts[name][state]) for state in ("present", "uncertain", "absent")}}
            for name in sorted(names, key=lambda name: -counts[name]["present"])
        ],
    }
    shown = ("case", "finding", "state", "side", "place", "sentence")
    sentences: Block = {
        "kind": "table",
        "title": "Sentences",
        "note": f"The first {MOST_SHOWN} of {len(mentions)}; all are in sentences.csv."
        if len(mentions) > MOST_SHOWN
        else "",
        "columns": [{"key": key, "label": key} for key in shown],
        "rows": [{key: str(row[key]) for key in shown} for row in mentions[:MOST_SHOWN]],
    }
    return [{"kind": "text", "title": "Summary", "paragraphs": summary}, table, sentences]
