"""`radfoundry curate harmonize`: a new cohort, or a table of features, in which scanners look more alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.records import Cohort, Estimate, InputError, Series, counted
from radfoundry.stages.curate.harmonize_choice import COMBAT, Chosen, choose, covariates_of, looking_of
from radfoundry.stages.curate.harmonize_measured import UNMEASURABLE, measured, questions_of
from radfoundry.stages.curate.settings import Block, Config, Progress
from radfoundry.volume import Volume

MOST_PICTURED = 4
PICTURE_PIXELS = 220


@dataclass(frozen=True)
class ByFile:
    """The change of pixels as worker processes get it: fitted chains are read from their files, once a process."""

    files: Mapping[str, str]
    how: Mapping[str, Any]
    read: dict[str, Any] = field(default_factory=dict, compare=False)

    def __call__(self, series: Series, volume: Volume) -> Volume:
        """The harmonised image."""
        from radfoundry.data import harmonize
        from radfoundry.tasks.harmonized import chain_for

        if not self.read:
            self.read.update({name: harmonize.read(path) for name, path in self.files.items()})
        return chain_for(series, self.read).apply(volume)


def run(cohort: Cohort, config: Config, writer: runs.RunWriter, progress: Progress | None) -> list[Block]:
    """Fit on the training part, write `cohort/` or `embeddings.parquet` with what was learned, and measure.

    The cohort that was given stays as it is. Metrics are named METHOD/… and METHOD-minus-none/….
    """
    methods = tuple((item.name, _seeded(item.name, item.options, config.seed)) for item in config.method)
    title = "+".join(name for name, _ in methods)
    chosen = choose(cohort, config)
    if config.measure:
        questions_of(cohort, config, chosen)  # a question that cannot be asked is refused before anything is made
    writer.notes += chosen.notes
    if config.permute_labels:  # a negative control looks at the answers alone
        blocks: list[Block] = []
    elif title == COMBAT:
        blocks = _features(cohort, config, chosen, writer)
    elif COMBAT in dict(methods):
        raise InputError("combat works on features and cannot follow image methods here", remedy="run it by itself")
    else:
        blocks = _images(cohort, config, (methods, chosen), writer, progress)
    blocks += _measured(cohort, config, (methods, chosen), writer, title) if config.measure else []
    said = _said(title, writer.metrics)
    where = "embeddings.parquet" if title == COMBAT else "cohort"
    sites = counted(len(set(chosen.site)), "site")
    summary = f"{len(chosen.series)} series of {sites}, learned from {len(chosen.teaching)} series."
    lines = [f"{summary} The result is in {where}; the cohort it was made from was not changed.", *said, *chosen.notes]
    return [{"kind": "text", "title": "Summary", "paragraphs": lines}, *blocks]


def _measured(
    cohort: Cohort, config: Config, asked: tuple[Any, Chosen], writer: runs.RunWriter, title: str
) -> list[Block]:
    """The tables of before and after; too few patients or sites to measure with is a remark, not a failure."""
    methods, chosen = asked
    try:
        metrics, tables, remarks = measured(cohort, config, chosen, methods=methods, title=title)
    except InputError as error:
        if error.finding not in UNMEASURABLE or config.permute_labels:
            raise
        writer.notes.append(f"not measured: {error}")
        return [{"kind": "text", "title": "Before and after", "paragraphs": [f"Not measured: {error}."]}]
    writer.metrics.update(metrics)
    writer.notes += remarks
    return tables


def _seeded(name: str, options: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The options of a method, checked before anything is read, with the run's seed where the method takes one."""
    import inspect

    from radfoundry.data import combat

    builder = combat.fit if name == COMBAT else registry.resolve("harmonizers", name).fit
    accepted = inspect.signature(builder).parameters
    allowed = {key: value for key, value in options.items() if name != COMBAT or key in ("shrink", "scale")}
    registry.check_options(builder, options, where=f"method.{name}")
    return {**({"seed": seed} if "seed" in accepted else {}), **allowed}


def _images(
    cohort: Cohort, config: Config, asked: tuple[Any, Chosen], writer: runs.RunWriter, progress: Progress | None
) -> list[Block]:
    """Fit one chain per sequence, keep it, and write the new cohort beside it."""
    from radfoundry.data import derived, harmonize
    from radfoundry.tasks.harmonized import fit_by_sequence

    methods, chosen = asked
    chains = fit_by_sequence(methods, chosen.teaching)
    files = {}
    for name, chain in chains.items():
        path = writer.folder / f"harmonizer-{name}.safetensors"
        harmonize.write(chain, path)
        files[name] = str(path)
    how = {
        "verb": "curate harmonize",
        "methods": [{"name": name, **options} for name, options in methods],
        "learned_from": len(chosen.teaching),
        "split": config.split,
        "seed": config.seed,
    }
    record = derived.derive(
        cohort,
        writer.folder / "cohort",
        ByFile(files, how),
        series=chosen.series,
        workers=config.workers or 1,
        progress=progress,
    )
    writer.metrics["series-written"] = Estimate.exact(int(record["provenance"]["counts"]["series"]))
    return [pictures(chosen, writer.folder)]


def pictures(chosen: Chosen, folder: Path) -> Block:
    """One image of every site before and after, side by side; each with its own window, as viewers show them."""
    from PIL import Image

    from radfoundry.data.cohort import open_cohort

    after = {item.key: item for item in open_cohort(folder / "cohort").series}
    images = []
    for site in sorted(set(chosen.site))[:MOST_PICTURED]:
        first = next(item for item, name in zip(chosen.series, chosen.site, strict=True) if name == site)
        for said, series in (("before", first), ("after", after[first.key])):
            name = f"pictures/{len(images):02d}-{said}.png"
            with runs.atomic(folder / name) as partial:
                Image.fromarray(middle_slice(series.load())).save(partial, format="PNG", optimize=True)
            images.append({"png": name, "caption": f"{site}, {series.sequence or 'series'}, {said}"})
    return {
        "kind": "thumbnails",
        "title": "Before and after",
        "note": "The middle slice of one series of each site. The patient's right is on the left.",
        "images": images,
    }


def middle_slice(volume: Volume) -> np.ndarray:
    """The middle slice as 8-bit grey, from the 1st to the 99th percentile, as wide as PICTURE_PIXELS."""
    from radfoundry.data.thumbnails import thumbnail

    return thumbnail(volume, side_pixels=PICTURE_PIXELS)


def _features(cohort: Cohort, config: Config, chosen: Chosen, writer: runs.RunWriter) -> list[Block]:
    """Features of the untouched images with ComBat learned on the training part: table and model."""
    import pandas as pd

    from radfoundry.data import combat

    looking = looking_of(config)
    vectors = np.stack([looking.at(item.load()) for item in chosen.series]).astype(float)
    covariates = covariates_of(cohort, chosen, config.covariates)
    teach = np.array([item in chosen.teaching for item in chosen.series])
    site = np.array(chosen.site)
    options: dict[str, Any] = _seeded(COMBAT, config.method[0].options, config.seed)
    model = combat.fit(vectors[teach], site[teach], covariates=covariates[teach], names=config.covariates, **options)
    freed = model.apply(vectors, site, covariates)
    combat.save(model, writer.folder / "combat.safetensors")
    keys = pd.DataFrame(
        {
            "series": [item.key for item in chosen.series],
            "case": [item.case for item in chosen.series],
            "patient": [item.patient for item in chosen.series],
            "site": list(chosen.site),
            "sequence": [item.sequence for item in chosen.series],
            "encoder": looking.encoder.spec.name,
        }
    )
    table = pd.concat([keys, pd.DataFrame(freed, columns=[f"f{i}" for i in range(freed.shape[1])])], axis=1)
    with runs.atomic(writer.folder / "embeddings.parquet") as partial:
        table.to_parquet(partial, index=False)
    writer.metrics["series-written"] = Estimate.exact(len(table))
    rows = [
        {"site": name, "rows": Estimate.exact(int(count))} for name, count in zip(model.sites, model.rows, strict=True)
    ]
    columns = [{"key": "site", "label": "site"}, {"key": "rows", "label": "rows it was learned from"}]
    return [{"kind": "table", "title": "Sites", "columns": columns, "rows": rows}]


def _said(title: str, metrics: Mapping[str, Estimate]) -> list[str]:
    """What came of it, in sentences."""
    before, after = metrics.get("none/site-accuracy"), metrics.get(f"{title}/site-accuracy")
    if before is None or after is None:
        return []
    lines = [f"Sites were told apart with a balanced accuracy of {before} before and {after} after ({after.note})."]
    for name in metrics:
        if name.startswith(f"{title}-minus-none/auroc-") and not name.endswith("within-sites"):
            question = name.partition("/auroc-")[2]
            lines.append(f"{question}, site left out: AUROC changed by {metrics[name]}.")
    return lines
