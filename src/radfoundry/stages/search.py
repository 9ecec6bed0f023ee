"""`radfoundry search`: the most similar images of other patients for new scans, from an index made by embed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from radfoundry import registry, runs
from radfoundry.config import Settings
from radfoundry.records import Cohort, Estimate, InputError, Run, counted

Progress = Callable[[str, int, int], None]
MOST_SHOWN = 200


class Config(Settings):
    """Which index is asked about which scans."""

    index: str = Field(description="folder written by radfoundry embed")
    scans: tuple[str, ...] = Field(min_length=1, description="files and folders of scans, or one cohort folder")
    nearest: int = Field(default=5, ge=1, description="how many similar images of other patients")
    target: str | None = Field(default=None, description="label of both sides: how often neighbours share it")
    engine: str = Field(default="exact", description="exact, or faiss (extra retrieval): the same answer")
    modality: str | None = Field(default=None, description="modality of image files that state none")
    sequence: str | None = Field(default=None, description="sequence of image files that state none")
    pattern: str = Field(default="", description="regular expression with (?P<patient>…) for files without a patient")
    seed: int = Field(default=0, ge=0, description="seed of the bootstrap over patients")
    to: str | None = Field(default=None, description="run folder to write")


@runs.working
def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Embed the scans with the index's encoder and write `neighbours.csv`: image, rank, neighbour, cosine, labels.

    Images of the same patient or with the same pixels are never given back. With `target` and labelled scans the
    metrics say how often neighbours share the label, beside images drawn blindly.
    """
    from radfoundry.nets import embedding
    from radfoundry.tasks import similar_index

    index = similar_index.read(config.index)
    if config.target and f"{similar_index.LABEL}{config.target}" not in index.rows:
        known = [name.removeprefix(similar_index.LABEL) for name in index.rows if name.startswith(similar_index.LABEL)]
        raise registry.unknown(
            "label", config.target, known, where="target", remedy="the index keeps the cohort's labels"
        )
    encoder = similar_index.open_encoder(index)
    with tempfile.TemporaryDirectory(prefix="radfoundry-search-") as folder:
        cohort, names, rejected = _opened(config, Path(folder))
        table = _embedded(config, cohort, encoder, progress)
        asked = similar_index.Asked(
            table.vectors,
            np.array([series.patient for series in table.series]),
            np.array([series.content for series in table.series]),
        )
        found = similar_index.search(index, asked, count=config.nearest, engine=config.engine)
        where = {series.key: names[series.case] for series in cohort.series}
    refused = [*rejected, *((where[key], reason) for key, reason in table.refused)]
    rows = _rows(index, [where[series.key] for series in table.series], found)
    metrics = _agreement(config, index, cohort, table, found[0]) if config.target else {}
    with runs.writing("search", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs["index"] = runs.digest(index.about["files"])
        writer.inputs["images"] = runs.digest(sorted(series.content for series in table.series))
        writer.metrics["images-asked"] = Estimate.exact(len(table.series))
        writer.metrics["images-refused"] = Estimate.exact(len(refused))
        writer.metrics.update(metrics)
        writer.notes += embedding.left_out(refused)
        _write(rows, writer.folder)
        runs.write_json(writer.folder / "blocks.json", _blocks(index, rows, metrics, len(table.series)))
    return writer.finished


def _embedded(config: Config, cohort: Cohort, encoder: Any, progress: Progress | None) -> Any:
    """The features of the scans; an error names the scans, not the folder they were read into."""
    from radfoundry.nets import embedding

    try:
        return embedding.embed(cohort, encoder, progress=progress)
    except InputError as error:
        if error.where != cohort.path:
            raise
        scans = ", ".join(config.scans)
        remedy = "ask with images like those of the index"
        raise InputError(error.what, where=scans, remedy=remedy, finding=error.finding) from None


def _opened(config: Config, folder: Path) -> tuple[Cohort, Mapping[str, str], list[tuple[str, str]]]:
    """The scans as a cohort, a name for each case, and files that hold no usable image."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.data.scans import read_scans, scan_rules

    if len(config.scans) == 1 and (Path(config.scans[0]) / cohorts.RECORD).is_file():
        cohort = cohorts.open_cohort(config.scans[0])
        return cohort, {case.key: case.key for case in cohort.cases}, []
    rules = scan_rules(pattern=config.pattern, modality=config.modality, sequence=config.sequence)
    scans = read_scans(config.scans, folder=folder, rules=rules)
    return scans.cohort, scans.names, list(scans.rejected)


def _rows(index: Any, asked: list[str], found: tuple[np.ndarray, np.ndarray]) -> list[dict[str, Any]]:
    from radfoundry.tasks.similar_index import LABEL

    labels = [name for name in index.rows if name.startswith(LABEL)]
    rows = []
    for name, places, likeness in zip(asked, *found, strict=True):
        for rank, (place, cosine) in enumerate(zip(places, likeness, strict=True), start=1):
            if place < 0:
                continue
            row = {"image": name, "rank": rank, "cosine": float(cosine)}
            row |= {key: str(index.rows[key][place]) for key in ("series", "case", "patient", "site", "sequence")}
            rows.append(row | {label.removeprefix(LABEL): str(index.rows[label][place]) for label in labels})
    return rows


def _agreement(config: Config, index: Any, cohort: Cohort, table: Any, places: np.ndarray) -> dict[str, Estimate]:
    """Recall and precision of the label, for the asked images that have it."""
    from radfoundry.tasks import questions, similar
    from radfoundry.tasks.similar_index import LABEL

    target = str(config.target)
    known = {case.key: questions.value_of(case, target) for case in cohort.cases}
    answer = np.array([str(known[series.case]) if known[series.case] is not None else "" for series in table.series])
    rows = np.flatnonzero(answer != "")
    if not len(rows):
        raise InputError("no scan has it", where=f"target={target}", remedy="ask with a labelled cohort")
    theirs = index.rows[f"{LABEL}{target}"]
    same = (theirs[places[rows].clip(0)] == answer[rows, None]) & (places[rows] >= 0)
    patient = np.array([series.patient for series in table.series])[rows]
    others = {owner: index.rows["patient"] != owner for owner in np.unique(patient)}
    shares = [
        float((theirs[others[owner]] == said).mean()) if others[owner].any() else 0.0
        for owner, said in zip(patient, answer[rows], strict=True)
    ]
    return similar.agreement(same, np.array(shares), patient, seed=config.seed)


def _write(rows: list[dict[str, Any]], folder: Path) -> None:
    import pandas as pd

    table = pd.DataFrame(rows, columns=None if rows else ["image", "rank", "cosine"])
    with runs.atomic(folder / "neighbours.csv") as partial:
        table.to_csv(partial, index=False, float_format="%.6g")
    with runs.atomic(folder / "neighbours.parquet") as partial:
        table.to_parquet(partial, index=False)


def _blocks(
    index: Any, rows: list[dict[str, Any]], metrics: Mapping[str, Estimate], asked: int
) -> list[dict[str, Any]]:
    from radfoundry.tasks import pages

    said = (
        f"{counted(asked, 'image was', 'images were')} compared with {len(index)} of the index, by the encoder "
        f"{index.about['encoder']['called']}. Images of the same patient, or with the same pixels, were left out."
    )
    shown = [{**row, "cosine": f"{row['cosine']:.3f}", "rank": str(row["rank"])} for row in rows[:MOST_SHOWN]]
    table = {
        "kind": "table",
        "title": "Most similar images",
        "note": f"The first {MOST_SHOWN} of {len(rows)}." if len(rows) > MOST_SHOWN else "",
        "columns": [{"key": key, "label": key.replace("_", " ")} for key in (shown[0] if shown else {"image": ""})],
        "rows": shown,
    }
    blocks: list[dict[str, Any]] = [{"kind": "text", "title": "Summary", "paragraphs": [said]}, table]
    if metrics:
        blocks.append(pages.numbers("Do they share the label?", metrics, note="Beside images drawn blindly."))
    return blocks
