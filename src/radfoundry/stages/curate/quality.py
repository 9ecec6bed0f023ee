"""`radfoundry curate quality`: is each series good enough to learn from or to be read by a model?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from radfoundry import runs
from radfoundry.data.quality_rules import Judgement
from radfoundry.records import Cohort, Estimate, InputError, Series, counted
from radfoundry.stages.curate.settings import Block, Config, Progress
from radfoundry.stages.curate.tables import cards, write_csv

UNJUDGED = "not judged: the measures are made for slices through a body, not for films and ultrasound"
MEASURES_VERSION = 3  # what was measured by an earlier one is measured again


def run(cohort: Cohort, config: Config, writer: runs.RunWriter, progress: Progress | None) -> list[Block]:
    """Measure and judge every series: quality.csv, corrections.csv, thumbnails and the blocks of the page."""
    cohort, masks = without_masks(cohort)
    scores = {} if config.score is None else learned(cohort, config.score, config.purpose, progress=progress)
    found = measured(cohort, workers=config.workers, engine=config.engine, progress=progress)
    blocks = _quality(cohort, found, scores, writer)
    if masks:
        said = f"{counted(masks, 'segmentation is', 'segmentations are')} not judged: masks are no images."
        blocks[0]["paragraphs"].append(said)
        writer.notes.append(said)
    return blocks


def without_masks(cohort: Cohort) -> tuple[Cohort, int]:
    """The cohort without its segmentations, which would be called poor images and left out, and how many there are."""
    cases = tuple(
        replace(case, series=tuple(one for one in case.series if one.acquisition.modality != "SEG"))
        for case in cohort.cases
    )
    images = replace(cohort, cases=cases)
    if not images.series:
        raise InputError("holds no images, only segmentations", where=cohort.path or "cohort", remedy="ingest images")
    return images, len(cohort.series) - len(images.series)


def learned(
    cohort: Cohort, rater: str, purpose: str | None, *, progress: Progress | None = None
) -> dict[str, Estimate]:
    """What a rater says of every series, 0 to 100, with the half width that held 95 % of the scans it was tested on.

    Refuses a purpose that the rater was never taught. A series that cannot be looked at has no score and a reason.
    """
    from radfoundry import registry
    from radfoundry.data.slice_pictures import look
    from radfoundry.nets import rater as nets

    trained = nets.load(rater)
    known = trained.net.purposes
    chosen = purpose or next(iter(known), None)
    if chosen not in known:
        raise registry.unknown("purpose", str(chosen), known, where=rater)
    half = trained.half_widths.get(str(chosen), float("nan"))
    found = {}
    for number, series in enumerate(cohort.series, start=1):
        prompt = nets.Prompt(series.sequence, nets.region_word(series.acquisition.body_part), chosen)
        try:
            value, _ = trained.rate(look(series.load()), prompt)
        except ValueError as error:
            found[series.key] = Estimate.undefined(str(error).splitlines()[0])
            continue
        low, high = max(value - half, 0.0), min(value + half, nets.BEST)
        found[series.key] = Estimate(value, low, high, method=f"learned score for {chosen}", n=7)
        if progress is not None:
            progress("score", number, len(cohort.series))
    return found


def measured(
    cohort: Cohort, *, workers: int, engine: str = "local", progress: Progress | None = None
) -> dict[str, dict[str, Estimate]]:
    """The quality measures of every series by key; what was measured before, in the same state, is kept."""
    from radfoundry.data.pool import each, worker_count

    kept = Path(cohort.path or ".") / ".quality"
    found: dict[str, dict[str, Estimate]] = {}
    missing = []
    for series in cohort.series:
        known = _remembered(kept / _kept_name(series))
        if known is None:
            missing.append(series)
        else:
            found[series.key] = known
    kept.mkdir(exist_ok=True)
    workers = min(worker_count(workers, engine=engine), max(len(missing), 1))
    for answer in each(measure_series, missing, workers=workers, engine=engine):
        series = answer.task
        result = answer.result if answer.result is not None else {}
        if answer.error is not None and not isinstance(answer.error, ValueError):
            raise answer.error
        if answer.error is None:
            values = {name: value.to_dict() for name, value in result.items()}
            runs.write_json(kept / _kept_name(series), values)
        found[series.key] = result
        if progress is not None:
            progress("quality", len(found), len(cohort.series))
    return {series.key: found[series.key] for series in cohort.series}


def _kept_name(series: Series) -> str:
    return f"{series.key}-{series.content[:16]}-{MEASURES_VERSION}.json"


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


def judged(modality: str | None, measures: Mapping[str, Estimate]) -> Judgement:
    """The verdict on one series; a film or an ultrasound picture in which too little can be measured says why."""
    from radfoundry.data.dicom_pixels import PROJECTIONS
    from radfoundry.data.quality_rules import NEEDED, judge

    if not measures:
        return Judgement("leave out", ("cannot be measured",))
    noise = measures.get(NEEDED)
    if modality in (*PROJECTIONS, "US") and noise is not None and not noise.defined:
        others = judge({name: value for name, value in measures.items() if name != NEEDED})
        verdict = "review" if others.verdict == "good" else others.verdict
        return Judgement(verdict, (*others.reasons, UNJUDGED))
    return judge(measures)


def _quality(
    cohort: Cohort,
    found: Mapping[str, Mapping[str, Estimate]],
    scores: Mapping[str, Estimate],
    writer: runs.RunWriter,
) -> list[Block]:
    from radfoundry.data.quality import MEASURES
    from radfoundry.data.quality_rules import VERDICTS

    verdicts = {series.key: judged(series.acquisition.modality, found[series.key]) for series in cohort.series}
    counts = Counter(item.verdict for item in verdicts.values())
    rows = [
        {
            "series": series.key,
            "sequence": series.sequence or "",
            "verdict": verdicts[series.key].verdict,
            "reasons": "; ".join(verdicts[series.key].reasons),
            **({"learned_score": _text(scores.get(series.key))} if scores else {}),
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
    writer.metrics.update({f"series-{name.replace(' ', '-')}": Estimate.exact(counts[name]) for name in VERDICTS})
    summary = (
        f"{len(rows)} series: {counts['good']} good, {counts['review']} to be looked at, "
        f"{counts['leave out']} to be left out. Nothing was changed: corrections.csv leaves them out once you add it."
    )
    unjudged = sum(UNJUDGED in item.reasons for item in verdicts.values())
    if unjudged:
        summary += f" Films and ultrasound, which these measures do not judge: {unjudged}."
    return [
        {"kind": "text", "title": "Summary", "paragraphs": [summary]},
        _with_scores(cards(cohort, verdicts, writer.folder), scores),
        {
            "kind": "table",
            "title": "Limits",
            "columns": [
                {"key": "measure", "label": "measure"},
                {"key": "review", "label": "look at it"},
                {"key": "leave", "label": "leave it out"},
                {"key": "reason", "label": "why"},
            ],
            "rows": _limit_rows(),
        },
    ]


def _limit_rows() -> list[dict[str, str]]:
    """The limits as rows of a table."""
    from radfoundry.data.quality import MEASURES
    from radfoundry.data.quality_rules import LIMITS

    return [
        {
            "measure": limit.measure.replace("_", " "),
            "review": f"{'above' if MEASURES[limit.measure] > 0 else 'below'} {limit.review:g}",
            "leave": f"{'above' if MEASURES[limit.measure] > 0 else 'below'} {limit.leave_out:g}",
            "reason": limit.reason,
        }
        for limit in LIMITS
    ]


def _with_scores(block: Block, scores: Mapping[str, Estimate]) -> Block:
    """The cards with the learned score among the remarks of each series."""
    for row in block["rows"]:
        score = scores.get(row["key"])
        if score is not None:
            row["reasons"].append(f"learned score {score.text(0) if score.defined else score.note}")
    return block


def _text(value: Estimate | None) -> str:
    return "" if value is None or not value.defined else value.text(4)
