"""Where features come from in a comparison: frozen encoders, classic measurements of the image, or the header alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.config import Component
from radfoundry.nets import embedding
from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort, InputError, Series, Task
from radfoundry.tasks import baselines, radiomics
from radfoundry.tasks.examples import Examples, examples
from radfoundry.tasks.nested import Rows, mark_of
from radfoundry.tasks.nested_pipeline import RUNGS
from radfoundry.tasks.probe import class_count
from radfoundry.tasks.tuned import Tuning
from radfoundry.tasks.tuning import Tuned
from radfoundry.tasks.views import Views

RADIOMICS, HEADER = "radiomics", "header"
Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Features of the series of one cohort or several by one name; `header` ones are made anew for each question."""

    name: str
    table: Embeddings
    cohorts: tuple[Cohort, ...]
    encoder: Any = None
    covariates: tuple[str, ...] = ()


def open_source(
    cohorts: Sequence[Cohort],
    component: Component,
    *,
    name: str,
    among: Sequence[Series] = (),
    progress: Progress | None = None,
) -> Source:
    """The features a setting names: an encoder, `radiomics`, or `header` (with `also`: labels it may use).

    `among`: the series that header and radiomics are taken from; all images when left out.
    """
    owners = tuple(cohorts)
    if component.name not in (RADIOMICS, HEADER):
        encoder = embedding.open_encoder(component)
        tables = [embedding.embed(cohort, encoder, progress=progress) for cohort in owners]
        vectors = np.concatenate([table.vectors for table in tables])
        every = tuple(series for table in tables for series in table.series)
        return Source(name, dataclasses.replace(tables[0], series=every, vectors=vectors), owners, encoder)
    series = tuple(among) or tuple(
        item for cohort in owners for item in cohort.series if item.acquisition.modality != "SEG"
    )
    if not series:
        raise InputError("no image", where=owners[0].path or "cohort", remedy="ingest some", finding="no-match")
    if component.name == HEADER:
        registry.check_options(_header_options, component.options, where=HEADER)
        also = tuple(component.options.get("also", ()))
        table = Embeddings(series, np.zeros((len(series), 1), np.float32), HEADER, runs.digest(list(also)), "")
        return Source(name, table, owners, None, also)
    registry.check_options(_radiomics_options, component.options, where=RADIOMICS)
    vectors = _measured(owners[0].path, series, progress)
    return Source(name, Embeddings(series, vectors, RADIOMICS, runs.digest(radiomics.NAMES), ""), owners)


def _header_options(*, also: Sequence[str] = ()) -> None: ...


def _radiomics_options() -> None: ...


def _measured(folder: str | None, series: Sequence[Series], progress: Progress | None) -> np.ndarray:
    """(series, 19) measurements, kept inside the (first) cohort by the pixels they came from."""
    file = None if folder is None else Path(folder) / "cache" / "radiomics.npz"
    known: dict[str, np.ndarray] = {}
    if file is not None and file.is_file():
        with np.load(file, allow_pickle=False) as kept:
            if kept["names"].tolist() == list(radiomics.NAMES):
                known = dict(zip(kept["content"].tolist(), kept["values"], strict=True))
    missing = [item for item in series if item.content not in known]
    for number, item in enumerate(missing, start=1):
        known[item.content] = radiomics.measured(item.load())
        if progress:
            progress("radiomics", number, len(missing))
    if file is not None and missing:
        names, content = np.array(radiomics.NAMES), np.array(list(known))
        with runs.atomic(file) as partial, partial.open("wb") as handle:
            np.savez(handle, names=names, content=content, values=np.stack(list(known.values())))
    return np.stack([known[item.content] for item in series])


def rows_of(
    source: Source, task: Task, truth: Mapping[str, Any], *, wanted: Mapping[str, Sequence[str]], tuning: Tuning
) -> Rows:
    """The rows of one question from one source of features, with what is needed to tune its encoder."""
    rows = examples(source.table, truth, wanted, name="series")
    learners: dict[str, Any] = {}
    if tunable(source.encoder):
        folder = source.cohorts[0].path if len(source.cohorts) == 1 else None
        views = Views(source.table.series, source.encoder, folder)
        rows = dataclasses.replace(rows, views=views)
        learners = {rung: Tuned(dataclasses.replace(tuning, rung=rung), views) for rung in RUNGS}
    if source.table.encoder == HEADER:
        rows = dataclasses.replace(rows, features=_header(source, task)(rows))
    mark = mark_of(rows, source.table.fingerprint, source.table.plan, task.kind, dataclasses.asdict(tuning))
    return Rows(source.name, task.name, task.kind, class_count(task.kind, truth), rows, mark, learners)


def tunable(encoder: Any) -> bool:
    """Whether there are weights that a rung could tune."""
    return hasattr(encoder, "parameters") and any(True for _ in encoder.parameters())


def _header(source: Source, task: Task) -> Callable[[Examples], np.ndarray]:
    without = (task.target, *task.target.split(","))
    together = Cohort(tuple(case for cohort in source.cohorts for case in cohort.cases))
    return baselines.header_features(together, without=without, also=source.covariates)


def shared_cases(asked: Sequence[Rows]) -> list[Rows]:
    """The same rows, only of cases that every source of features can answer about; refused when there is none."""
    common = set.intersection(*(set(one.rows.case.tolist()) for one in asked))
    if not common:
        names = ", ".join(one.encoder for one in asked)
        raise InputError(f"no exam can be read by all of {names}", remedy="compare fewer", finding="modality")
    names = sorted(common)
    return [dataclasses.replace(one, rows=one.rows.take(np.isin(one.rows.case, names))) for one in asked]
