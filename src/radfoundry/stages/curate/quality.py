"""`radfoundry curate quality`: is each series good enough to learn from or to be read by a model?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from radfoundry import runs
from radfoundry.data.quality_rules import Judgement
from radfoundry.records import Cohort, Estimate, Series
from radfoundry.stages.curate.settings import Block, Config, Progress
from radfoundry.stages.curate.tables import cards, exact, write_csv


def run(cohort: Cohort, config: Config, writer: runs.RunWriter, progress: Progress | None) -> list[Block]:
    """Measure and judge every series: quality.csv, corrections.csv, thumbnails and the blocks of the page."""
    return _quality(cohort, measured(cohort, workers=config.workers, progress=progress), writer)


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
    write_csv(writer.folder / "quality.csv", rows)
    write_csv(
        writer.folder / "corrections.csv",
        [
            {"series": row["series"], "use": "false", "use_reason": row["reasons"]}
            for row in rows
            if row["verdict"] == "leave out"
        ],
        header=("series", "use", "use_reason"),
    )
    writer.metrics.update({f"series-{name.replace(' ', '-')}": exact(counts[name]) for name in VERDICTS})
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


def _text(value: Estimate | None) -> str:
    return "" if value is None or not value.defined else value.text(4)
