"""Patient-level questions: fit a model on an encoder's features, or climb the ladder above and below it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.records import Cohort, Estimate, InputError, Run, Task, counted
from radfoundry.stages.adapt import patients_kept
from radfoundry.stages.adapt.patients_kept import Asked
from radfoundry.stages.adapt.settings import Config, Progress


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
        patients_kept.write_contributions(asked, writer.folder)
        patients_kept.write_predictor(config, asked, own, writer.folder)
        patients_kept.write_encoder(config, asked, writer.folder)
        blocks = patients_kept.blocks(config, asked, metrics, plain)
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
) -> Asked:
    from radfoundry.tasks import heads, ladder, probe, tuning
    from radfoundry.tasks.views import Views

    encoder, table, classes = parts
    views = Views(table.series, encoder, cohort.path, cases={case.key: case for case in cohort.cases})
    if config.ladder:
        how = _tuning(config, "head")
        steps = ladder.candidates(cohort, views, task, tuning=how, rungs=config.rungs, covariates=config.covariates)
        asked = ladder.Asked(cohort, table, views, task, truth)
        climbed = ladder.climb(asked, steps, design=_design(config), progress=progress)
        return Asked(cohort, task, classes, encoder, table, climbed.choice, climbed.name, climbed)
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
    return Asked(cohort, task, classes, encoder, table, found, learner.name, gaps=gaps)


def _with_others(config: Config, question: tuple[Cohort, Task, Any], parts: tuple[Any, Any, Any], views: Any) -> Asked:
    """One rung with others on the same folds, and what each encoder still knows of another question."""
    from radfoundry.tasks import questions, rungs_beside

    cohort, task, truth = question
    encoder, table, classes = parts
    asked = rungs_beside.Asked(cohort, table, views, task, truth, _design(config))
    own = rungs_beside.FROZEN if config.rung == "frozen" else _step_of(config)
    words = [own, *config.beside]
    if len(set(words)) < len(words):
        raise InputError(f"a rung is named twice in {', '.join(words)}", where="beside", remedy="name each once")
    # Asked first: what cannot be remembered is refused before anything learns.
    kept = questions.answers(cohort, questions.named(config.remember)) if config.remember is not None else None
    how = _tuning(config, "head")
    learners = {word: rungs_beside.learner_named(word, asked, how) for word in words}
    if config.rung == "frozen" and config.head is not None:
        learners[own] = _frozen(config, task)
    found = {word: rungs_beside.answered(asked, learner) for word, learner in learners.items()}
    gaps = rungs_beside.numbers(found, task, seed=config.seed)
    if kept is not None:
        gaps |= rungs_beside.remembered(asked, found, task=kept[0], truth=kept[1])
    return Asked(cohort, task, classes, encoder, table, found[own][0], learners[own].name, gaps=gaps)


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
) -> Asked:
    """Answers from all images of an exam together, and what stands beside them."""
    from radfoundry.tasks import fusion, fusion_beside, heads

    encoder, table, classes = parts
    head = heads.named(config.head, task.kind)
    learner = fusion.Fused(fusion.named(config.fuse, seed=config.seed), head, views, tuple(config.covariates))
    found, beside = fusion_beside.ask(cohort, table, learner, task=task, truth=truth, design=_design(config))
    gaps = _without_prior(config, cohort, (encoder, table), learner, found, (task, truth))
    return Asked(cohort, task, classes, encoder, table, found, learner.name, beside=beside, gaps=gaps)


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


def _numbers(config: Config, asked: Asked) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
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
