"""`radfoundry curate slots`: which series of an exam fills which input of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from radfoundry import registry, runs
from radfoundry.data.sequence_rules import SEQUENCES
from radfoundry.data.slots import Filled, Slot
from radfoundry.records import Cohort, Estimate, counted
from radfoundry.stages.curate.settings import Block, Config, Progress, SlotRule
from radfoundry.stages.curate.tables import write_csv


def run(cohort: Cohort, config: Config, writer: runs.RunWriter, progress: Progress | None) -> list[Block]:
    """Fill the slots of every exam: slots.csv, choices.csv and the blocks of the page."""
    rules = [_slot(rule) for rule in config.slots]
    writer.notes += check_sequences(cohort, rules)
    return _slots(cohort, rules, writer)


def check_sequences(cohort: Cohort, rules: Sequence[Slot]) -> list[str]:
    """Refuse a sequence that is neither in the cohort nor a known name; say which known ones no series has."""
    there = {series.sequence for series in cohort.series if series.sequence}
    asked = dict.fromkeys(name for rule in rules for name in rule.sequence)
    for name in asked:
        if name not in there and name not in SEQUENCES:
            raise registry.unknown("sequence", name, there | set(SEQUENCES), where="slots")
    absent = [name for name in asked if name not in there]
    silent = sum(series.sequence is None for series in cohort.series)
    if not absent:
        return []
    said = f"no series is {' or '.join(absent)}; here: {', '.join(sorted(there)) or 'none named'}"
    return [said + (f"; {counted(silent, 'series has', 'series have')} no name (curate types)" if silent else "")]


def _slot(rule: SlotRule) -> Slot:
    return Slot(
        rule.name,
        tuple(rule.sequence),
        contrast=rule.contrast,
        plane=rule.plane,
        largest_spacing_mm=rule.largest_spacing_mm,
        prefer=rule.prefer,
        required=rule.required,
    )


def _slots(cohort: Cohort, rules: Sequence[Slot], writer: runs.RunWriter) -> list[Block]:
    from radfoundry.data.cohort import series_labels
    from radfoundry.data.slots import fill

    given = series_labels(cohort.path or "")
    filled: list[Filled] = []
    for case in cohort.cases:
        chosen = {str(given[item.key]["slot"]): item.key for item in case.series if given.get(item.key, {}).get("slot")}
        filled += fill(case, rules, chosen=chosen)
    required = {rule.name for rule in rules if rule.required}
    lacking = {item.case for item in filled if item.series is None and item.slot in required}
    write_csv(
        writer.folder / "slots.csv",
        [
            {
                "case": item.case,
                "slot": item.slot,
                "series": item.series or "",
                "reason": item.reason,
                "alternatives": "; ".join(f"{key} ({text})" for key, text in item.alternatives),
                "refused": "; ".join(f"{key} ({text})" for key, text in item.refused),
            }
            for item in filled
        ],
        header=("case", "slot", "series", "reason", "alternatives", "refused"),
    )
    chosen_rows = [{"series": item.series, "slot": item.slot} for item in filled if item.series]
    write_csv(writer.folder / "choices.csv", chosen_rows, header=("series", "slot"))
    complete = len(cohort) - len(lacking)
    writer.metrics["exams-complete"] = Estimate.exact(complete)
    writer.metrics["exams-incomplete"] = Estimate.exact(len(lacking))
    by_slot = Counter(item.slot for item in filled if item.series)
    summary = f"{complete} of {len(cohort)} exams have every required input. Nothing was changed."
    columns = ("exam", "input", "series", "why", "also there")
    rows = [
        {
            "exam": item.case,
            "input": item.slot,
            "series": item.series or "none",
            "why": item.reason if item.series else f"{item.reason}: {_reasons(item.refused)}",
            "also there": ", ".join(key for key, _ in item.alternatives),
        }
        for item in filled
    ]
    return [
        {"kind": "text", "title": "Summary", "paragraphs": [summary]},
        {
            "kind": "facts",
            "title": "Exams with each input",
            "items": [[rule.name, f"{by_slot[rule.name]} of {len(cohort)}"] for rule in rules],
        },
        {
            "kind": "table",
            "title": "Inputs of every exam",
            "note": "To choose otherwise, edit choices.csv and add it: "
            f"radfoundry label {cohort.path} choices.csv --on series",
            "columns": [{"key": key, "label": key} for key in columns],
            "rows": rows,
        },
    ]


def _reasons(refused: Iterable[tuple[str, str]]) -> str:
    counts = Counter(text for _, text in refused)
    return ", ".join(f"{count} {text}" if count > 1 else text for text, count in counts.most_common()) or "no series"
