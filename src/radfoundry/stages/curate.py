"""`radfoundry curate`: what each series is, whether it is good enough, and which input of a model it fills."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from radfoundry import runs
from radfoundry.config import Settings
from radfoundry.data.quality_rules import Judgement
from radfoundry.data.slots import Filled, Slot
from radfoundry.records import Cohort, Estimate, Run, Series

KINDS = ("quality", "slots")
Progress = Callable[[str, int, int], None]
Block = dict[str, Any]
PICTURE_PIXELS = 120
MOST_PICTURES = 400


class SlotRule(Settings):
    """One input of a model and what may fill it."""

    name: str = Field(description="name of the input, for example T1c")
    sequence: list[str] = Field(description="sequences that fit")
    contrast: Literal["any", "with", "without"] = Field(default="any", description="contrast agent given")
    plane: str = Field(default="any", description="axial, coronal, sagittal, oblique or any")
    largest_spacing_mm: float | None = Field(default=None, gt=0, description="coarsest voxel side that is accepted")
    prefer: str = Field(default="resolution", description="resolution, thin-slices, many-slices or first")
    required: bool = Field(default=True, description="an exam without it is reported")


DEFAULT_SLOTS = (
    SlotRule(name="T1", sequence=["T1w"], contrast="without"),
    SlotRule(name="T1c", sequence=["T1w"], contrast="with", required=False),
    SlotRule(name="T2", sequence=["T2w"]),
    SlotRule(name="FLAIR", sequence=["FLAIR"]),
)


class Config(Settings):
    """What to curate in which cohort."""

    what: Literal["quality", "slots"] = Field(default="quality", description="quality, or slots")
    cohort: str = Field(description="cohort folder made by radfoundry ingest")
    slots: list[SlotRule] = Field(default=list(DEFAULT_SLOTS), description="slots: the inputs and what may fill them")
    workers: int = Field(default=0, ge=0, description="quality: processes; 0 is one per core")
    to: str | None = Field(default=None, description="run folder to write")


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Judge every series, or fill the slots of every exam; writes a table, corrections to confirm, and a page.

    Nothing in the cohort changes. `corrections.csv` (quality) and `choices.csv` (slots) are for a person to read,
    edit and add with `radfoundry label COHORT FILE --on series`.
    """
    from radfoundry.data import cohort as cohorts

    cohort = cohorts.open_cohort(config.cohort)
    settings = config.model_dump(exclude={"to", "workers"})
    with runs.writing("curate", settings, to=config.to) as writer:
        writer.inputs["cohort"] = cohort.fingerprint
        if config.what == "quality":
            found = measured(cohort, workers=config.workers, progress=progress)
            blocks = _quality(cohort, found, writer)
        else:
            blocks = _slots(cohort, [_slot(rule) for rule in config.slots], writer)
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished


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


def measured(cohort: Cohort, *, workers: int, progress: Progress | None = None) -> dict[str, dict[str, Estimate]]:
    """The quality measures of every series by key; what was measured before, in the same state, is kept."""
    from radfoundry.data.pool import each, worker_count

    kept = Path(cohort.path or ".") / ".quality"
    found: dict[str, dict[str, Estimate]] = {}
    missing = []
    for series in cohort.series:
        known = _remembered(kept / f"{series.key}-{series.content[:16]}.json")
        if known is None:
            missing.append(series)
        else:
            found[series.key] = known
    kept.mkdir(exist_ok=True)
    for answer in each(measure_series, missing, workers=min(worker_count(workers), max(len(missing), 1))):
        series = answer.task
        result = answer.result if answer.result is not None else {}
        if answer.error is not None and not isinstance(answer.error, ValueError):
            raise answer.error
        if answer.error is None:
            values = {name: value.to_dict() for name, value in result.items()}
            runs.write_json(kept / f"{series.key}-{series.content[:16]}.json", values)
        found[series.key] = result
        if progress is not None:
            progress("quality", len(found), len(cohort.series))
    return {series.key: found[series.key] for series in cohort.series}


def measure_series(series: Series) -> dict[str, Estimate]:
    """Read one series and measure its quality; runs in a worker process."""
    from radfoundry.data.quality import measure

    return measure(series.load(), slice_gap_mm=series.acquisition.slice_gap_mm)


def _remembered(path: Path) -> dict[str, Estimate] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return {name: Estimate.from_dict(item) for name, item in values.items()}


def _quality(cohort: Cohort, found: Mapping[str, Mapping[str, Estimate]], writer: runs.RunWriter) -> list[Block]:
    from radfoundry.data.quality import MEASURES
    from radfoundry.data.quality_rules import LIMITS, VERDICTS, judge

    verdicts = {
        key: judge(values) if values else Judgement("leave out", ("cannot be measured",))
        for key, values in found.items()
    }
    counts = Counter(item.verdict for item in verdicts.values())
    rows = [
        {
            "series": series.key,
            "sequence": series.sequence or "",
            "verdict": verdicts[series.key].verdict,
            "reasons": "; ".join(verdicts[series.key].reasons),
            **{name: _text(found[series.key].get(name)) for name in MEASURES},
        }
        for series in cohort.series
    ]
    _write_csv(writer.folder / "quality.csv", rows)
    _write_csv(
        writer.folder / "corrections.csv",
        [
            {"series": row["series"], "use": "false", "use_reason": row["reasons"]}
            for row in rows
            if row["verdict"] == "leave out"
        ],
        header=("series", "use", "use_reason"),
    )
    writer.metrics.update({f"series-{name.replace(' ', '-')}": _count(counts[name]) for name in VERDICTS})
    summary = (
        f"{len(rows)} series: {counts['good']} good, {counts['review']} to be looked at, "
        f"{counts['leave out']} to be left out. Nothing was changed: corrections.csv leaves them out once you add it."
    )
    limits = [
        {
            "measure": limit.measure.replace("_", " "),
            "review": f"{'above' if MEASURES[limit.measure] > 0 else 'below'} {limit.review:g}",
            "leave": f"{'above' if MEASURES[limit.measure] > 0 else 'below'} {limit.leave_out:g}",
            "reason": limit.reason,
        }
        for limit in LIMITS
    ]
    return [
        {"kind": "text", "title": "Summary", "paragraphs": [summary]},
        cards(cohort, verdicts, writer.folder),
        {
            "kind": "table",
            "title": "Limits",
            "columns": [
                {"key": "measure", "label": "measure"},
                {"key": "review", "label": "look at it"},
                {"key": "leave", "label": "leave it out"},
                {"key": "reason", "label": "why"},
            ],
            "rows": limits,
        },
    ]


def cards(cohort: Cohort, verdicts: Mapping[str, Judgement], folder: Path) -> Block:
    """Every series as a card with its picture, verdict and reasons; at most MOST_PICTURES pictures, flagged first."""
    from radfoundry.data.sequence_rules import SEQUENCES
    from radfoundry.data.summary import caption

    order = {"leave out": 0, "review": 1, "good": 2}
    pictured = sorted(cohort.series, key=lambda series: (order[verdicts[series.key].verdict], series.key))[
        :MOST_PICTURES
    ]
    rows = [
        {
            "key": series.key,
            "png": _picture(series, folder) if series in pictured else "",
            "caption": caption(series),
            "sequence": series.sequence,
            "verdict": verdicts[series.key].verdict,
            "reasons": list(verdicts[series.key].reasons),
        }
        for series in cohort.series
    ]
    return {
        "kind": "series",
        "title": "Series",
        "note": "Flagged series first. The patient's right is on the left.",
        "rows": rows,
        "choices": list(SEQUENCES),
        "command": f"radfoundry label {cohort.path} corrections.csv --on series",
    }


def _picture(series: Series, folder: Path) -> str:
    from PIL import Image

    from radfoundry.data.thumbnails import thumbnail

    name = f"thumbnails/{series.key}.png"
    with runs.atomic(folder / name) as partial:
        Image.fromarray(thumbnail(series.load(), side_pixels=PICTURE_PIXELS)).save(partial, format="PNG", optimize=True)
    return name


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
    _write_csv(
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
    _write_csv(writer.folder / "choices.csv", chosen_rows, header=("series", "slot"))
    complete = len(cohort) - len(lacking)
    writer.metrics["exams-complete"] = _count(complete)
    writer.metrics["exams-incomplete"] = _count(len(lacking))
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


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]], *, header: Sequence[str] | None = None) -> None:
    with runs.atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(header or (rows[0] if rows else ())), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _text(value: Estimate | None) -> str:
    return "" if value is None or not value.defined else value.text(4)


def _count(value: int) -> Estimate:
    return Estimate(value, value, value, method="counted", n=value, note="a count, exact")
