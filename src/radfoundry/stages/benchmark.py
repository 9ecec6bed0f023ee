"""`radfoundry benchmark`: several encoders, one question, the same patients; differences with their doubt."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from radfoundry import runs
from radfoundry.config import Component, Settings
from radfoundry.records import Cohort, Estimate, Run


class Config(Settings):
    """Which encoders to compare on which question; every encoder is asked about the same patients in the same folds."""

    cohort: str = Field(description="cohort folder; or simulated, for questions in words about unseen studies")
    task: Component = Field(
        description="question: lesion-present, age, or classify/regress with target=LABEL; in words: retrieve, "
        "zero-shot, point"
    )
    encoders: list[Component] = Field(default=[Component(name="vit3d-tiny")], min_length=1, description="candidates")
    against: list[Component] = Field(default=[Component(name="intensity")], description="baselines to beat")
    head: Component | None = Field(
        default=None, description="logistic, ridge or knn; chosen by the question if left out"
    )
    train_on: dict[str, list[str] | str] = Field(
        default={}, description="series that teach, e.g. train_on.sequence=T2w"
    )
    test_on: dict[str, list[str] | str] | None = Field(default=None, description="series that are tested; as train_on")
    split: str | None = Field(default=None, description="named split with parts train and test; else folds")
    folds: int = Field(default=5, ge=2, description="folds between patients when no split is named")
    patients: int = Field(default=200, ge=20, description="cohort=simulated: how many unseen studies")
    crops: dict[str, Any] = Field(default={}, description="cohort=simulated: size, spacing_mm … as in pretrain")
    permute_labels: bool = Field(default=False, description="deal the answers out to other patients (negative control)")
    seed: int = Field(default=0, ge=0, description="seed of folds, bootstrap and permutation")
    to: str | None = Field(default=None, description="run folder to write")


def run(config: Config, *, progress: Callable[[str, int, int], None] | None = None) -> Run:
    """Probe every encoder with the same head and folds; metrics `ENCODER/METRIC`, paired `ONE-minus-OTHER/METRIC`."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding
    from radfoundry.tasks import heads, in_words, measure, probe, questions

    named = questions.named(config.task)
    if named.kind == in_words.KIND:
        return _in_words(config, named, progress)
    cohort = cohorts.open_cohort(config.cohort)
    task, truth = questions.answers(cohort, named)
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
        for metric, value in measure.measure(one.predictions, task, seed=config.seed).items()
    }
    pairs = [(title(one), title(other)) for one in config.encoders for other in config.against]
    gaps = {
        f"{one}-minus-{other}/{metric}": value
        for one, other in pairs
        for metric, value in measure.difference(
            found[one].predictions, found[other].predictions, task, seed=config.seed
        ).items()
    }
    plain = measure.trivial(found[title(config.encoders[0])].predictions, task, seed=config.seed)
    with runs.writing("benchmark", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs["cohort"] = cohort.fingerprint
        writer.inputs.update({f"encoder {name}": table.fingerprint for name, table in tables.items()})
        writer.metrics.update({**metrics, **gaps, **plain})
        for name, one in found.items():
            writer.notes += [f"{name}: {note}" for note in one.notes]
            probe.write_predictions(one.predictions, writer.folder / f"predictions-{name}.parquet")
        blocks = _blocks(cohort, task=task, found=found, numbers=(metrics, gaps, plain), permuted=config.permute_labels)
        first = title(config.encoders[0])
        blocks += _pictures(cohort, tables[first], truth, writer.folder, first, config.seed)
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished


def _in_words(config: Config, task: Any, progress: Callable[[str, int, int], None] | None) -> Run:
    """Questions that sentences ask of encoders with a text side: metrics `ENCODER/METRIC`, paired differences."""
    from radfoundry.tasks import in_words_pages, worded

    against = config.against if "against" in config.model_fields_set else []
    components = {"encoders": config.encoders, "against": against}
    names = titles([*config.encoders, *against])
    found = worded.ask(config, task, names=names, progress=progress)
    pairs = [(one, other) for one in names[: len(config.encoders)] for other in names[len(config.encoders) :]]
    gaps = worded.differences(found, task, pairs, seed=config.seed)
    metrics = {f"{name}/{key}": value for name, one in found.items() for key, value in one.metrics.items()}
    with runs.writing("benchmark", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(worded.inputs(config, components))
        writer.metrics.update({**metrics, **gaps})
        blocks = in_words_pages.blocks(config, task, metrics=metrics, gaps=gaps)
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished


def titles(components: Sequence[Component]) -> list[str]:
    """The names of encoders in tables; those of two runs of one name keep their number.

    >>> titles([Component(name=f"steps/{n}-pretrain/encoder.safetensors") for n in (1, 2)])
    ['1-pretrain', '2-pretrain']
    """
    short = [title(component) for component in components]
    return [
        name if short.count(name) == 1 else component.name.rpartition("/")[0].rpartition("/")[2] or name
        for name, component in zip(short, components, strict=True)
    ]


def title(component: Component) -> str:
    """The name of an encoder in tables: its registry name, or that of its checkpoint file or of the run it came from.

    >>> title(Component(name="runs/first/encoder.safetensors"))
    'first'
    """
    folder, _, name = component.name.removesuffix(".safetensors").rpartition("/")
    run = folder.rpartition("/")[2]
    return re.sub(r"^\d+-", "", run) if name == "encoder" and run else name


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
    paired = "; ".join(f"{key.partition('/')[0].replace('-minus-', ' minus ')} {value}" for key, value in gaps.items())
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
                f"{task.about} {pages.label(main)} by encoder, same head and folds: {said}. "
                f"Paired difference: {paired}.",
                closing,
            ],
        },
        pages.people(cohort, first),
        {
            "kind": "forest",
            "title": f"{pages.label(main)} by encoder",
            "note": "Points with 95 % intervals.",
            "rows": [{"label": name, "estimate": metrics[f"{name}/{main}"].to_dict()} for name in names],
            "reference": 0.5 if "auroc" in main else None,
            "axis": pages.label(main),
        },
        pages.numbers("Results", metrics, note=task.about),
        pages.numbers("Paired differences", gaps, note="Positive means that the first is better."),
        pages.numbers("Without looking at the image", plain),
        *pages.curves({name: one.predictions for name, one in found.items()}, task),
    ]


def _pictures(
    cohort: Cohort, table: Any, truth: Mapping[str, Any], folder: Any, name: str, seed: int
) -> list[dict[str, Any]]:
    from radfoundry.tasks import pages

    return [
        pages.feature_map(table, truth, title=f"Features of {name}", seed=seed),
        pages.thumbnails(cohort, folder),
    ]
