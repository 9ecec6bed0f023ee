"""Several encoders, one question, the same head, folds and patients; differences with their doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.records import Cohort, Estimate, InputError, Run, Task
from radfoundry.stages.benchmark.settings import Config, Progress, asked
from radfoundry.stages.benchmark.titles import title


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Probe every encoder with the same head and folds; metrics `ENCODER/METRIC`, paired `ONE-minus-OTHER/METRIC`."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding, untrained
    from radfoundry.tasks import heads, measure, probe, questions

    cohort = cohorts.open_cohort(config.cohort)
    task, truth = questions.answers(cohort, questions.named(asked(config)))
    if config.survival and task.kind != "binary":
        raise InputError("curves by label need a yes-or-no question", where="survival", remedy="ask classify")
    classes = questions.class_names(cohort, task)
    if config.permute_labels:
        patients = {case.key: case.patient for case in cohort.cases}
        truth = questions.permuted(truth, patients, rng=np.random.default_rng(config.seed))
    head = heads.named(config.head, task.kind)
    design = probe.design(config.train_on, config.test_on, split=config.split, folds=config.folds, seed=config.seed)
    found: dict[str, probe.Probe] = {}
    tables: dict[str, embedding.Embeddings] = {}
    for component in [*config.encoders, *config.against]:
        name = title(component)
        tables[name] = embedding.embed(cohort, embedding.open_encoder(component), progress=progress)
        found[name] = probe.probe(cohort, tables[name], task=task, truth=truth, head=head, design=design)
    metrics = {
        f"{name}/{metric}": value
        for name, one in found.items()
        for metric, value in measure.by_class_name(
            measure.measure(one.predictions, task, seed=config.seed), classes
        ).items()
    }
    asked_pairs = [(title(one), title(other)) for one in config.encoders for other in config.against]
    pairs = [(one, other) for one, other in asked_pairs if one != other]
    gaps = {
        f"{one}-minus-{other}/{metric}": value
        for one, other in pairs
        for metric, value in measure.difference(
            found[one].predictions, found[other].predictions, task, seed=config.seed
        ).items()
    }
    first = title(config.encoders[0])
    groups = _groups(config, cohort, task, found[first], first) if task.kind == "binary" else ([], {})
    plain = measure.trivial(found[title(config.encoders[0])].predictions, task, seed=config.seed)
    with runs.writing("benchmark", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs["cohort"] = cohort.fingerprint
        writer.inputs.update({f"encoder {name}": table.fingerprint for name, table in tables.items()})
        writer.metrics.update({**metrics, **gaps, **plain, **groups[1]})
        writer.notes += untrained.remarks(*config.encoders, *config.against)
        for name, one in found.items():
            writer.notes += [f"{name}: {note}" for note in one.notes]
            probe.write_predictions(one.predictions, writer.folder / f"predictions-{name}.parquet")
        blocks = _blocks(cohort, task=task, found=found, numbers=(metrics, gaps, plain), permuted=config.permute_labels)
        blocks += groups[0]
        blocks += _pictures(cohort, tables[first], (classes, truth), writer.folder, config.seed)
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished


def _groups(
    config: Config, cohort: Cohort, task: Task, found: Any, name: str
) -> tuple[list[dict[str, Any]], dict[str, Estimate]]:
    """Groups of patients, and survival by label where it is asked for, of the first encoder."""
    from radfoundry.tasks import group_pages

    table, numbers = group_pages.subgroup_block(cohort, found, config.subgroups, title=f"Groups of patients: {name}")
    blocks = [] if table is None else [table]
    if config.survival:
        curves, ratios = group_pages.survival_blocks(cohort, found, task, config.survival, name=name)
        blocks, numbers = [*blocks, *curves], numbers | ratios
    return blocks, {f"{name}/{key}": value for key, value in numbers.items()}


def _blocks(
    cohort: Cohort,
    *,
    task: Any,
    found: Mapping[str, Any],
    numbers: tuple[dict[str, Estimate], dict[str, Estimate], dict[str, Estimate]],
    permuted: bool,
) -> list[dict[str, Any]]:
    from radfoundry.tasks import pages

    metrics, gaps, plain = numbers
    main = next(iter(metrics)).partition("/")[2]
    names = list(found)
    said = "; ".join(f"{name} {metrics[f'{name}/{main}']}" for name in names)
    paired = "; ".join(f"{pages.label(key).partition(':')[0]} {value}" for key, value in gaps.items())
    apart = f" Paired difference: {paired}." if gaps else " Nothing else was asked, so no difference is told."
    closing = (
        "The answers were dealt out to other patients on purpose: this is a negative control."
        if permuted
        else "A paired interval that excludes zero is a difference these patients can show; one that does not is none."
    )
    first = found[names[0]].predictions
    return [
        {
            "kind": "text",
            "title": "Summary",
            "paragraphs": [
                f"{task.about} {pages.capital(pages.label(main))} by encoder, same head and folds: {said}." + apart,
                closing,
            ],
        },
        pages.people(cohort, first),
        {
            "kind": "forest",
            "title": pages.capital(f"{pages.label(main)} by encoder"),
            "note": "Points with 95 % intervals.",
            "rows": [{"label": name, "estimate": metrics[f"{name}/{main}"].to_dict()} for name in names],
            "reference": 0.5 if "auroc" in main else None,
            "axis": pages.label(main),
        },
        pages.numbers("Results", metrics, note=task.about),
        *([pages.numbers("Paired differences", gaps, note="Positive means that the first is better.")] if gaps else []),
        pages.numbers("Without looking at the image", plain),
        *pages.curves({name: one.predictions for name, one in found.items()}, task),
    ]


def _pictures(
    cohort: Cohort, table: Any, asked: tuple[Sequence[str], Mapping[str, Any]], folder: Any, seed: int
) -> list[dict[str, Any]]:
    from radfoundry.tasks import pages

    classes, truth = asked
    return [
        pages.feature_map(table, truth, title=f"Features of {table.encoder}", classes=classes, seed=seed),
        pages.thumbnails(cohort, folder),
    ]
