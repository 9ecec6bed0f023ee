"""Patient-level questions: fit a model on an encoder's features, or climb the ladder above and below it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.records import Cohort, Estimate, InputError, Run, Task, counted
from radfoundry.stages.adapt.settings import Config, Progress


@dataclass(frozen=True, eq=False)
class _Asked:
    """Everything an answer came from, and what it was."""

    cohort: Cohort
    task: Task
    classes: tuple[str, ...]
    encoder: Any
    table: Any
    found: Any
    learner: str
    climb: Any = None
    beside: Any = None
    gaps: Mapping[str, Estimate] = field(default_factory=dict)


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Embed, fit inside the training patients, predict out of sample, measure; write a predictor and a report."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding, untrained
    from radfoundry.tasks import fusion, leaks, measure, pages, probe, questions, visits

    config = config.model_copy(update={"encoder": embedding.settled(config.encoder)})
    cohort = cohorts.open_cohort(config.cohort)
    task, truth = questions.answers(cohort, _answerable(config))
    classes = questions.class_names(cohort, task)
    if _fuses(config):
        known = [case for case in cohort.cases if case.key in truth]
        fusion.check(config.fuse, config.covariates, known, target=task.target)
    if config.permute_labels:
        patients = {case.key: case.patient for case in cohort.cases}
        truth = questions.permuted(truth, patients, rng=np.random.default_rng(config.seed))
    encoder = embedding.open_encoder(config.encoder)
    table = _embedded(config, cohort, encoder, progress)
    if task.kind == "similar":
        return _search(config, cohort, task, truth, table)
    if task.unit in visits.PAIRED:
        table = visits.paired(cohort, table)
    asked = _fit(config, cohort, task, truth, (encoder, table, classes), progress)
    found = asked.found
    metrics, plain = _numbers(config, asked)
    suspicion = leaks.suspicion(
        cohort, table, task=task, truth=truth, design=_design(config), covariates=config.covariates
    )
    with runs.writing("adapt", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(cohort=cohort.fingerprint, encoder=table.fingerprint, preparation=table.plan)
        writer.metrics.update(_called(config, {**metrics, **plain}))
        writer.notes += [*found.notes, *suspicion, *(asked.beside.notes if asked.beside else ())]
        writer.notes += untrained.remarks(config.encoder)
        probe.write_predictions(found.predictions, writer.folder / "predictions.parquet", answers=found.answers)
        own = {**metrics, **plain}
        if asked.climb or asked.beside:
            own = measure.by_class_name(measure.measure(found.predictions, task, seed=config.seed), classes)
        _write_contributions(asked, writer.folder)
        _write_predictor(config, asked, own, writer.folder)
        _write_encoder(config, asked, writer.folder)
        blocks = _blocks(config, asked, metrics, plain)
        title = f"Features of {table.encoder}"
        blocks.append(pages.feature_map(table, truth, title=title, classes=asked.classes, seed=config.seed))
        blocks.append(pages.thumbnails(cohort, writer.folder))
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished


def _embedded(config: Config, cohort: Cohort, encoder: Any, progress: Progress | None) -> Any:
    """Features of the whole images, or from inside the prior."""
    from radfoundry.nets import embedding
    from radfoundry.tasks import priors

    if config.prior is None:
        return embedding.embed(cohort, encoder, progress=progress)
    return priors.embed_inside(cohort, encoder, priors.named(config.prior), progress=progress)


def _answerable(config: Config) -> Task:
    """The question, refused where it is not one that is learned from labels, or not on the rung asked for."""
    from radfoundry.tasks import questions, visits

    task = questions.named(config.task)
    if task.kind not in (*questions.KINDS, "classes"):
        raise InputError(f"{task.name} is not learned from labels", remedy="ask it with radfoundry benchmark")
    upper = config.ladder or config.rung != "frozen"
    if upper and (task.unit in visits.PAIRED or task.kind == "similar"):
        raise InputError(f"{task.name} is answered from frozen features", remedy="use rung=frozen without ladder")
    if _fuses(config) and (upper or task.kind == "similar"):
        raise InputError(f"fuse={config.fuse.name} reads frozen features", remedy="use rung=frozen without ladder")
    if config.prior is not None and (upper or task.unit in visits.PAIRED):
        raise InputError("a prior is a region of frozen features of one visit", remedy="use rung=frozen without ladder")
    alone = config.ladder or _fuses(config) or config.prior is not None or task.kind == "similar"
    if (config.beside or config.remember) and (alone or task.unit in visits.PAIRED):
        raise InputError(
            "other rungs stand beside a single rung", where="beside", remedy="leave out ladder, fuse, prior"
        )
    if config.covariates and not (_fuses(config) or config.ladder):
        raise InputError("covariates stand beside images", remedy="use fuse=early, late, attention or experts")
    return task


def _fuses(config: Config) -> bool:
    """Whether the images of an exam are fused, and not simply answered one by one."""
    return config.fuse.name != "average" or bool(config.fuse.options)


def _search(config: Config, cohort: Cohort, task: Task, truth: Mapping[str, Any], table: Any) -> Run:
    """The most similar images of other patients, a table of them, and whether they share the answer."""
    import pandas as pd

    from radfoundry.tasks import pages, questions, similar
    from radfoundry.tasks.examples import examples

    rows = examples(table, truth, _design(config).test_on, name="test_on")
    found = similar.search(rows)
    metrics = similar.measure(found, seed=config.seed)
    known = {case.key: questions.value_of(case, task.target) for case in cohort.cases}
    with runs.writing("adapt", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(cohort=cohort.fingerprint, encoder=table.fingerprint, preparation=table.plan)
        writer.metrics.update(metrics)
        with runs.atomic(writer.folder / "neighbours.parquet") as partial:
            pd.DataFrame(found.table(known)).to_parquet(partial, index=False)
        said = (
            f"{task.about} The five nearest of {counted(len(rows), 'image')} held such a one in {metrics['recall@5']}"
        )
        paragraphs = [f"{said}; images drawn blindly would in {metrics['chance-recall@5']}."]
        blocks = [
            {"kind": "text", "title": "Summary", "paragraphs": paragraphs},
            pages.people(cohort),
            pages.numbers("Results", metrics, note="Images of the same patient are never given back."),
            pages.feature_map(table, truth, title=f"Features of {table.encoder}", seed=config.seed),
            pages.thumbnails(cohort, writer.folder),
        ]
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished


def _fit(
    config: Config, cohort: Cohort, task: Task, truth: Mapping[str, Any], parts: tuple[Any, Any, Any], progress: Any
) -> _Asked:
    from radfoundry.tasks import heads, ladder, probe, tuning
    from radfoundry.tasks.views import Views

    encoder, table, classes = parts
    views = Views(table.series, encoder, cohort.path, cases={case.key: case for case in cohort.cases})
    if config.ladder:
        how = _tuning(config, "head")
        steps = ladder.candidates(cohort, views, task, tuning=how, rungs=config.rungs, covariates=config.covariates)
        asked = ladder.Asked(cohort, table, views, task, truth)
        climbed = ladder.climb(asked, steps, design=_design(config), progress=progress)
        return _Asked(cohort, task, classes, encoder, table, climbed.choice, climbed.name, climbed)
    if _fuses(config):
        return _fuse(config, cohort, task, truth, (encoder, table, classes), views)
    if config.rung == "frozen":
        learner: Any = heads.named(config.head, task.kind)
    else:
        learner = tuning.Tuned(_tuning(config, _step_of(config)), views)
    if config.beside or config.remember:
        return _with_others(config, (cohort, task, truth), (encoder, table, classes), views)
    found = probe.probe(cohort, table, task=task, truth=truth, head=learner, design=_design(config))
    gaps = _without_prior(config, cohort, (encoder, table), learner, found, (task, truth))
    return _Asked(cohort, task, classes, encoder, table, found, learner.name, gaps=gaps)


def _with_others(config: Config, question: tuple[Cohort, Task, Any], parts: tuple[Any, Any, Any], views: Any) -> _Asked:
    """One rung with others on the same folds, and what each encoder still knows of another question."""
    from radfoundry.tasks import questions, rungs_beside

    cohort, task, truth = question
    encoder, table, classes = parts
    asked = rungs_beside.Asked(cohort, table, views, task, truth, _design(config))
    own = rungs_beside.FROZEN if config.rung == "frozen" else _step_of(config)
    words = [own, *config.beside]
    if len(set(words)) < len(words):
        raise InputError(f"a rung is named twice in {', '.join(words)}", where="beside", remedy="name each once")
    how = _tuning(config, "head")
    learners = {word: rungs_beside.learner_named(word, asked, how) for word in words}
    if config.rung == "frozen" and config.head is not None:
        learners[own] = _frozen(config, task)
    found = {word: rungs_beside.answered(asked, learner) for word, learner in learners.items()}
    gaps = rungs_beside.numbers(found, task, seed=config.seed)
    if config.remember is not None:
        known, answers = questions.answers(cohort, questions.named(config.remember))
        gaps |= rungs_beside.remembered(asked, found, task=known, truth=answers)
    return _Asked(cohort, task, classes, encoder, table, found[own][0], learners[own].name, gaps=gaps)


def _frozen(config: Config, task: Task) -> Any:
    from radfoundry.tasks import heads, probe

    return probe.Pooled(heads.named(config.head, task.kind))


def _without_prior(
    config: Config, cohort: Cohort, parts: tuple[Any, Any], learner: Any, found: Any, asked: tuple[Task, Any]
) -> dict[str, Estimate]:
    """What whole images and a wrong prior reach on the same folds, and the prior minus each, paired."""
    from radfoundry.tasks import prior_beside, priors

    if config.prior is None:
        return {}
    encoder, table = parts
    said = (*asked, _design(config), found.predictions)
    return prior_beside.numbers(cohort, table, encoder, priors.named(config.prior), learner, said)


def _fuse(
    config: Config, cohort: Cohort, task: Task, truth: Mapping[str, Any], parts: tuple[Any, Any, Any], views: Any
) -> _Asked:
    """Answers from all images of an exam together, and what stands beside them."""
    from radfoundry.tasks import fusion, fusion_beside, heads

    encoder, table, classes = parts
    head = heads.named(config.head, task.kind)
    learner = fusion.Fused(fusion.named(config.fuse, seed=config.seed), head, views, tuple(config.covariates))
    found, beside = fusion_beside.ask(cohort, table, learner, task=task, truth=truth, design=_design(config))
    gaps = _without_prior(config, cohort, (encoder, table), learner, found, (task, truth))
    return _Asked(cohort, task, classes, encoder, table, found, learner.name, beside=beside, gaps=gaps)


def _step_of(config: Config) -> str:
    """Which way of climbing a rung: the one named as head, or the usual one."""
    allowed = {"head": ("head",), "adapter": ("mona", "lora"), "full": ("full", "partial", "scratch")}[config.rung]
    name = config.head.name if config.head else allowed[0]
    if name not in allowed:
        raise InputError(f"head={name} is none of rung={config.rung}", remedy=f"use one of {', '.join(allowed)}")
    return name


def _tuning(config: Config, step: str) -> Any:
    from radfoundry import registry
    from radfoundry.tasks.tuned import Tuning

    known = [name for name in Tuning.__dataclass_fields__ if name not in ("rung", "seed")]
    for name in config.tune:
        if name not in known:
            raise registry.unknown("option", name, known, where="tune")
    kinds = {name: type(getattr(Tuning("head"), name)) for name in known}
    return Tuning(step, seed=config.seed, **{name: kinds[name](value) for name, value in config.tune.items()})


def _design(config: Config) -> Any:
    from radfoundry.tasks import probe

    made = probe.design(config.train_on, config.test_on, split=config.split, folds=config.folds, seed=config.seed)
    made = replace(made, held_out=config.held_out, labelled=config.labelled)
    return probe.with_cut_off(made, config.cut_off)


def _numbers(config: Config, asked: _Asked) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    from radfoundry.tasks import ladder_pages, measure

    predictions, task = asked.found.predictions, asked.task
    plain = measure.trivial(predictions, task, seed=config.seed)
    if asked.climb is not None:
        metrics, gaps = ladder_pages.numbers(asked.climb, task, seed=config.seed)
        return measure.by_class_name({**metrics, **gaps}, asked.classes), plain
    metrics = measure.measure(predictions, task, seed=config.seed)
    if asked.beside is not None:
        from radfoundry.tasks import contributions, fusion_beside

        metrics |= fusion_beside.numbers(asked.beside, task, seed=config.seed)
        metrics |= contributions.sizes(asked.beside.added) if asked.beside.added else {}
    metrics |= asked.gaps
    metrics |= measure.finished(predictions, asked.found.answers, task, seed=config.seed)
    return measure.by_class_name(metrics, asked.classes), plain


def _called(config: Config, numbers: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """The numbers by their name, with the word behind it that a setting asks for."""
    return {f"{name}-{config.called}" if config.called else name: value for name, value in numbers.items()}


def _write_contributions(asked: _Asked, folder: Path) -> None:
    """What each image of each exam added, as a table for people and with every bit."""
    if asked.beside is None or asked.beside.added is None:
        return
    import pandas as pd

    from radfoundry.tasks import contributions

    table = pd.DataFrame(contributions.table(asked.beside.added))
    with runs.atomic(folder / f"{contributions.NAME}.csv") as partial:
        table.to_csv(partial, index=False, float_format="%.6g")


def _write_predictor(config: Config, asked: _Asked, numbers: Mapping[str, Estimate], folder: Path) -> None:
    """The final fit as a folder of its own that `radfoundry predict` reads."""
    from radfoundry.tasks import accepts, predictor

    found, table = asked.found, asked.table
    taught = [table.series[row] for row in found.training.row]
    tested = f"split {config.split}" if config.split else f"{config.folds} folds between patients"
    about = {
        "trained": {
            "cohort": asked.cohort.fingerprint,
            "patients": found.training_patients,
            "cases": len(set(found.training.case.tolist())),
            "series": len(taught),
            "how": f"{asked.learner}, tested by {tested}",
        },
        "metrics": dict(numbers),
        "intended_use": config.intended_use or "Research on images like those below; not for decisions about patients.",
        "control": "the answers were dealt to other patients on purpose" if config.permute_labels else "",
        "versions": runs.versions(),
    }
    wanted = {**config.train_on}
    if asked.beside is not None:
        from radfoundry.tasks import slots

        wanted |= dict.fromkeys(slots.facts_of(found.fitted.by), "")
    limits = accepts.learned_from(taught, spec=asked.encoder.spec, wanted=wanted)
    model = predictor.Predictor(
        asked.task, asked.classes, asked.encoder, found.fitted, found.finish, limits, runs.plain(about), _prior(config)
    )
    predictor.write(model, folder / predictor.FOLDER, component=config.encoder, pack=config.pack)


def _write_encoder(config: Config, asked: _Asked, folder: Path) -> None:
    """The encoder as a rung that frees its weights left it, as a checkpoint of its own for other steps."""
    from radfoundry.tasks.tuned import FREE

    fitted = asked.found.fitted
    if getattr(fitted, "tuning", None) is not None and fitted.tuning.rung in FREE:
        from radfoundry.train import state

        state.save_encoder(config.encoder, fitted.network.encoder, {}, folder / "encoder.safetensors")


def _prior(config: Config) -> Any:
    from radfoundry.tasks import priors

    return None if config.prior is None else priors.named(config.prior)


def _blocks(
    config: Config, asked: _Asked, metrics: Mapping[str, Estimate], plain: Mapping[str, Estimate]
) -> list[dict[str, Any]]:
    from radfoundry.tasks import ladder_pages, pages

    found, task = asked.found, asked.task
    people = pages.people(asked.cohort, found.predictions)
    if asked.climb is not None:
        gaps = {key: value for key, value in metrics.items() if "-minus-" in key}
        own = {key: value for key, value in metrics.items() if key not in gaps}
        summary, *rest = ladder_pages.blocks(asked.climb, task, own, gaps)
        return [_controlled(summary, config), people, *rest, pages.numbers("Without looking at the image", plain)]
    main = next(iter(metrics))
    summary = {
        "kind": "text",
        "title": "Summary",
        "paragraphs": [
            f"{task.about} {_what(asked, config)} was tested on "
            f"{counted(len(np.unique(found.predictions.patient)), 'patient')} it had not seen: "
            f"{pages.label(main)} {metrics[main]}.",
            "The interval says how much this number could move with other patients of the same kind.",
        ],
    }
    fused = []
    if asked.beside is not None:
        from radfoundry.tasks import fusion_pages

        summary, metrics, fused = fusion_pages.blocks(asked.beside, summary, metrics)
    return [
        _controlled(summary, config),
        people,
        *fused,
        pages.numbers("Results", {**metrics, **plain}, note=task.about),
        *pages.curves({asked.table.encoder: found.predictions}, task),
    ]


def _what(asked: _Asked, config: Config) -> str:
    if asked.beside is not None:
        images = ", ".join(asked.found.fitted.slots)
        return f"{asked.learner.capitalize()} of {images} on frozen features of {asked.table.encoder}"
    if config.rung == "frozen":
        return f"A {asked.learner} head on frozen features of {asked.table.encoder}"
    return f"{asked.table.encoder}, rung {config.rung} ({asked.learner}),"


def _controlled(summary: dict[str, Any], config: Config) -> dict[str, Any]:
    """The summary, which says so where the answers were permuted."""
    if not config.permute_labels:
        return summary
    said = "The answers were dealt out to other patients on purpose: this is a negative control."
    return {**summary, "paragraphs": [*summary["paragraphs"][:-1], said]}
