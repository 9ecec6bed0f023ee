"""`radfoundry curate types`: which sequence, plane, part of the body and contrast every series is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry import runs
from radfoundry.data.cohort import series_labels
from radfoundry.data.series_types import OF_COHORT_WORDS, REVIEW, SEQUENCES, cohort_word
from radfoundry.records import Cohort, Estimate, InputError, Series
from radfoundry.stages.curate.settings import Block, Config, Progress
from radfoundry.stages.curate.tables import MOST_PICTURES, picture, write_csv

if TYPE_CHECKING:
    from radfoundry.nets.series_typing import Typed

REVISION = 4
UNREADABLE = "its pixels cannot be read"


@dataclass(frozen=True)
class Typing:
    """How series are typed; travels to worker processes. `rules` is a file of rules or None for the package's."""

    header: bool = True
    pixels: bool = True
    names: bool = False
    rules: str | None = None
    threads: int = 1

    def __call__(self, series: Series) -> list[dict[str, Any]]:
        """Type one series; the answer as plain values."""
        import torch

        torch.set_num_threads(self.threads)
        return [plain(item) for item in typed(series, self)]


def run(cohort: Cohort, config: Config, writer: runs.RunWriter, progress: Progress | None) -> list[Block]:
    """Type every series: types.csv, corrections.csv, thumbnails and the blocks of the page."""
    found = types_of(cohort, config, progress=progress)
    rows = [_row(series, item) for series in cohort.series for item in found[series.key]]
    write_csv(writer.folder / "types.csv", rows, header=COLUMNS)
    settled = {key for key, values in series_labels(cohort.path or "").items() if values.get("sequence")}
    asked = [series for series in cohort.series if series.key not in settled]  # what a person said stays
    proposed = [row for series in asked if (row := correction(series, found[series.key])) is not None]
    write_csv(writer.folder / "corrections.csv", proposed, header=("series", "sequence", "plane"))
    counts = Counter(row["type"] for row in rows)
    review = sum(any(item["sequence"] == REVIEW for item in found[series.key]) for series in cohort.series)
    writer.metrics["series"] = Estimate.exact(len(cohort.series))
    writer.metrics["review"] = Estimate.exact(review)
    writer.metrics["corrections"] = Estimate.exact(len(proposed))
    summary = (
        f"{len(cohort.series)} series: {len(cohort.series) - review} typed, {review} to be looked at. Nothing was "
        f"changed: corrections.csv proposes {len(proposed)} changes and takes effect once you add it."
    )
    regions = Counter(row["anatomy"] for row in rows)
    return [
        {"kind": "text", "title": "Summary", "paragraphs": [summary]},
        {"kind": "facts", "title": "Types", "items": [[name, str(count)] for name, count in counts.most_common()]},
        {"kind": "facts", "title": "Parts of the body", "items": [[k, str(n)] for k, n in regions.most_common()]},
        _cards(cohort, found, writer.folder),
    ]


COLUMNS = (
    *("series", "part", "type", "likely", "confidence", "detail", "anatomy", "anatomy_confidence", "plane", "contrast"),
    *("judged_by", "was", "reasons"),
)


def types_of(cohort: Cohort, config: Config, *, progress: Progress | None = None) -> dict[str, list[dict[str, Any]]]:
    """What every series is, by key; what was found before with the same classifier, rules and settings is kept."""
    from radfoundry.data.pool import each, worker_count

    typing = Typing(config.header, config.pixels, config.names, config.rules)
    _check_rules(config.rules)
    mark = runs.digest([REVISION, asdict(typing), _fingerprint(config.rules)])
    kept = Path(cohort.path or ".") / ".types" / mark
    found: dict[str, list[dict[str, Any]]] = {}
    missing = []
    for series in cohort.series:
        known = _remembered(_place(kept, series))
        if known is None:
            missing.append(series)
        else:
            found[series.key] = known
    kept.mkdir(parents=True, exist_ok=True)
    workers = min(worker_count(config.workers, engine=config.engine), max(len(missing), 1))
    for answer in each(typing, missing, workers=workers, engine=config.engine):
        if answer.error is not None:
            raise answer.error
        result = answer.result or []
        runs.write_json(_place(kept, answer.task), result)
        found[answer.task.key] = result
        if progress is not None:
            progress("types", len(found), len(cohort.series))
    return {series.key: found[series.key] for series in cohort.series}


def _place(kept: Path, series: Series) -> Path:
    said = runs.digest([series.acquisition.to_dict(), series.shape, series.spacing_mm])
    return kept / f"{series.key}-{series.content[:16]}-{said}.json"


def _remembered(path: Path) -> list[dict[str, Any]] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def _check_rules(path: str | None) -> None:
    from radfoundry.data.type_rules import rules

    if path is not None and not Path(path).is_file():
        raise InputError("no such file", where=path, remedy="give a file of rules", finding="missing-file")
    rules(path)


def _fingerprint(path: str | None) -> list[str]:
    from radfoundry.data import header_tags, type_rules
    from radfoundry.nets.series_types import WEIGHTS_FILE

    files = (WEIGHTS_FILE, Path(path) if path else type_rules.FILE, header_tags.FILE)
    return [runs.digest_file(file) for file in files]


def typed(series: Series, typing: Typing) -> list[Typed]:
    """Type one series; a series whose pixels cannot be read is typed by its header, and says so."""
    from dataclasses import replace

    from radfoundry.data.type_rules import rules
    from radfoundry.nets.series_typing import bundled_judge, type_series

    judge = replace(bundled_judge(), rules=rules(typing.rules))
    try:
        found = type_series(series, judge=judge, header=typing.header, pixels=typing.pixels)
    except InputError as error:
        found = type_series(series, judge=judge, header=typing.header, pixels=False)
        found = [replace(item, reasons=(*item.reasons, f"{UNREADABLE}: {error.what}")) for item in found]
    return [_with_name(item, series) for item in found] if typing.names else found


def _with_name(item: Typed, series: Series) -> Typed:
    """The description as a second opinion: it may settle a doubt, or raise one."""
    from dataclasses import replace

    from radfoundry.data.name_rules import type_of_name

    said = series.acquisition
    named = type_of_name(said.series_description) or type_of_name(said.protocol_name)
    if named is None:
        return item
    if item.sequence == REVIEW and named == item.likely:
        return replace(item, sequence=named, reasons=("its description agrees", *item.reasons))
    if item.sequence not in (REVIEW, named) and item.sequence in SEQUENCES:
        doubt = f"its description suggests {named}, header and pixels say {item.sequence}"
        return replace(item, sequence=REVIEW, likely=item.sequence, reasons=(doubt, *item.reasons))
    return item


def plain(item: Typed) -> dict[str, Any]:
    """One answer as plain values."""
    return {**asdict(item), "reasons": list(item.reasons)}


def _row(series: Series, item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "series": series.key,
        "part": item["part"],
        "type": item["sequence"],
        "likely": item["likely"],
        "confidence": f"{item['confidence']:.3f}",
        "detail": item["detail"],
        "anatomy": item["anatomy"],
        "anatomy_confidence": f"{item['anatomy_confidence']:.3f}",
        "plane": item["plane"],
        "contrast": item["contrast"],
        "judged_by": item["mode"],
        "was": series.sequence or "",
        "reasons": "; ".join(item["reasons"]),
    }


def correction(series: Series, found: Sequence[Mapping[str, Any]]) -> dict[str, str] | None:
    """What to change in the cohort: a type it does not have yet, or has otherwise; nothing where a person must look.

    A series with parts of several kinds is left as it is: it has to be split first.
    """
    if len(found) != 1 or found[0]["sequence"] not in SEQUENCES:
        return None
    item = found[0]
    word = cohort_word(item["sequence"], item["detail"])
    same = series.sequence == word or OF_COHORT_WORDS.get(series.sequence or "") == item["sequence"]
    sequence = "" if same else word
    plane = item["plane"] if series.plane is None and item["plane"] != "unknown" else ""
    return {"series": series.key, "sequence": sequence, "plane": plane} if sequence or plane else None


def _cards(cohort: Cohort, found: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> Block:
    """Every series as a card with its picture, type, confidence and reasons; those to be looked at first."""
    from radfoundry.data.sequence_rules import SEQUENCES as WORDS
    from radfoundry.data.summary import sides

    review = {key for key, items in found.items() if any(item["sequence"] == REVIEW for item in items)}
    pictured = sorted(cohort.series, key=lambda series: (series.key not in review, series.key))[:MOST_PICTURES]
    shown = {series.key for series in pictured}
    rows = [
        {
            "key": series.key,
            "png": _drawn(series, folder) if series.key in shown else "",
            "caption": "; ".join(_caption(item) for item in found[series.key]),
            "sequence": _word(series, found[series.key]),
            "verdict": "review" if series.key in review else "good",
            "reasons": [reason for item in found[series.key] for reason in item["reasons"]],
        }
        for series in cohort.series
    ]
    return {
        "kind": "series",
        "title": "Series",
        "note": f"Those to be looked at first. {sides(cohort.series)}",
        "rows": rows,
        "choices": sorted({*WORDS, *(cohort_word(name) for name in SEQUENCES)}),
        "command": f"radfoundry label {cohort.path} corrections.csv --on series",
    }


def _word(series: Series, found: Sequence[Mapping[str, Any]]) -> str:
    """What the page shows as the sequence: the type found, or what the cohort has where a person must look."""
    if len(found) == 1 and found[0]["sequence"] in SEQUENCES:
        return cohort_word(found[0]["sequence"], found[0]["detail"])
    return series.sequence or "unknown"


def _caption(item: Mapping[str, Any]) -> str:
    name = f"probably {item['likely']}" if item["sequence"] == REVIEW else item["sequence"]
    detail = f" ({item['detail']})" if item["detail"] else ""
    part = f"{item['part']}: " if item["part"] else ""
    anatomy = "region not clear" if item["anatomy"] == REVIEW else item["anatomy"]
    agent = {"given": "contrast agent given", "none": "no contrast agent"}.get(item["contrast"], "contrast not stated")
    return f"{part}{name}{detail}, {item['confidence']:.2f} sure; {anatomy}; {item['plane']}; {agent}"


def _drawn(series: Series, folder: Path) -> str:
    try:
        return picture(series, folder)
    except InputError:
        return ""
