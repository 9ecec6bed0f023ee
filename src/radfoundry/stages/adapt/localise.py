"""Localising: learn where a place lies from frozen features, beside the answers that need no image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.records import Cohort, Estimate, InputError, Run, counted
from radfoundry.stages.adapt.settings import Config, Progress

SHOWN = ("nearest", "median", "farthest")


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is to be learned, on which images; `items` all of them, `train` and `tested` those of each fold."""

    config: Config
    cohort: Cohort
    task: Any
    encoder: Any
    items: Sequence[Any]
    parts: Sequence[tuple[Sequence[int], Sequence[int]]]
    notes: Sequence[str]


@dataclass(frozen=True, eq=False)
class _Tested:
    """The tested images with everybody's answers, the votes' spread, and what was fitted on all that may teach."""

    items: Sequence[Any]
    answers: Mapping[str, Sequence[np.ndarray]]
    spread_mm: Sequence[float]
    fitted: Any
    taught: Sequence[Any]


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Let tokens vote, test on other patients, measure; write a predictor, `places.csv`, numbers and pictures."""
    from radfoundry.tasks import localise_measures

    asked = _asked(config)
    tested = _tested(asked, progress)
    found = localise_measures.measures(tested.items, tested.answers, within_mm=asked.task.within_mm, seed=config.seed)
    metrics = {f"{name}-{config.called}" if config.called else name: value for name, value in found.items()}
    with runs.writing("adapt", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs["cohort"] = asked.cohort.fingerprint
        writer.metrics.update(metrics)
        writer.notes += asked.notes
        _write_places(tested, writer.folder)
        _write_predictor(asked, tested, found, writer.folder)
        runs.write_json(writer.folder / "blocks.json", _blocks(asked, tested, found, writer.folder))
    return writer.finished


def _asked(config: Config) -> _Asked:
    """Everything that can be refused, refused before anything is learned."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding
    from radfoundry.tasks import localise, segment_simulated

    task = registry.build("tasks", config.task.name, **config.task.options)
    _refuse_other_ways(config)
    config = config.model_copy(update={"encoder": embedding.settled(config.encoder)})
    encoder = embedding.open_encoder(config.encoder)
    if not hasattr(encoder, "parameters"):
        raise InputError(f"{config.encoder.name} gives no places", where="encoder", remedy="choose another encoder")
    encoder.eval()
    if config.cohort == segment_simulated.NAME:
        if task.landmark:
            raise InputError(
                "simulated exams made on the way have masks",
                where="task.target",
                remedy="leave target out, or use radfoundry simulate with landmarks=true",
            )
        cohort = segment_simulated.cohort(task.simulate, seed=config.seed)
    else:
        cohort = cohorts.open_cohort(config.cohort)
    items, notes = localise.asked(cohort, task, config.train_on)
    items = _fitting(items, encoder.spec, notes)
    if task.cut:
        items = [localise.cut(item, task.cut, seed=config.seed) for item in items]
        notes.append(f"up to {task.cut:.0%} of each axis was cut off either end of every scan at random, on purpose")
    return _Asked(config, cohort, task, encoder, items, _parts(config, cohort, items), notes)


def _refuse_other_ways(config: Config) -> None:
    """The one way of learning here is votes of frozen features, each image on its own."""
    if config.rung != "frozen" or config.ladder:
        raise InputError("localise reads frozen features", where="rung", remedy="use rung=frozen without ladder")
    if config.head is not None and config.head.name != "ridge":
        raise InputError(f"head={config.head.name}", where="head", remedy="leave it out: tokens vote by ridge")
    if config.prior is not None or config.covariates or config.fuse.name != "average" or config.test_on is not None:
        raise InputError(
            "localise answers image by image",
            where="prior, covariates, fuse, test_on",
            remedy="leave them out; train_on chooses the images",
        )


def _fitting(items: Sequence[Any], spec: Any, notes: list[str]) -> list[Any]:
    """The images the encoder reads; the others are noted, and refused when none is left."""
    from radfoundry.nets.embedding import refusal

    reasons = [refusal(item.series, spec) for item in items]
    kept = [item for item, reason in zip(items, reasons, strict=True) if not reason]
    if not kept:
        raise InputError(
            f"{spec.name}: {reasons[0]}",
            where=f"series {items[0].series.key}",
            remedy="choose another encoder (radfoundry list encoders)",
            finding="modality",
        )
    if len(kept) < len(items):
        notes.append(f"{counted(len(items) - len(kept), 'image')} left out that {spec.name} does not read")
    return kept


def _parts(config: Config, cohort: Cohort, items: Sequence[Any]) -> list[tuple[list[int], list[int]]]:
    """Rows that teach and rows that are tested: of a named split, or of each fold between patients."""
    from radfoundry.tasks import localise

    if config.split is None:
        fold = localise.folds([item.patient for item in items], config.folds, seed=config.seed)
        turn = np.array([fold[item.patient] for item in items])
        return [(np.flatnonzero(turn != k).tolist(), np.flatnonzero(turn == k).tolist()) for k in range(config.folds)]
    inside = {name: {case.key for case in cohort.part(config.split, name).cases} for name in ("train", "test")}
    rows = {name: [row for row, item in enumerate(items) if item.case in keys] for name, keys in inside.items()}
    for name, chosen in rows.items():
        if len({items[row].patient for row in chosen}) < 2:
            raise InputError(f"fewer than 2 patients with a known place in part {name}", where=f"split {config.split}")
    shared = {items[row].patient for row in rows["train"]} & {items[row].patient for row in rows["test"]}
    if shared:
        raise InputError(f"patient {min(shared)} is on both sides", where=f"split {config.split}", finding="leak")
    return [(rows["train"], rows["test"])]


def _tested(asked: _Asked, progress: Progress | None) -> _Tested:
    from radfoundry.nets import untrained
    from radfoundry.tasks import localise, localise_fit
    from radfoundry.tasks import localise_measures as measures

    config, items = asked.config, asked.items
    taught = items
    if config.permute_labels:
        taught = localise.dealt(items, rng=np.random.default_rng(config.seed))
    seen = _seen(asked, asked.encoder, progress)
    rows = [row for _, tested in asked.parts for row in tested]
    fits = [_fit(asked, taught, seen, train) for train, _ in asked.parts]
    pairs = [(fit, row) for fit, (_, tested) in zip(fits, asked.parts, strict=True) for row in tested]
    found = [localise_fit.find(fit, seen[row]) for fit, row in pairs]
    answers: dict[str, list[np.ndarray]] = {
        measures.OURS: [item.points for item in found],
        measures.USUAL: [localise_fit.usual_place(fit, items[row]) for fit, row in pairs],
        measures.MIDDLE: [items[row].centre_mm[None] for row in rows],
    }
    fresh = untrained.twin(config.encoder)
    if fresh is not None:
        looks = _seen(asked, fresh, progress)
        answers[measures.FRESH] = [
            localise_fit.find(fit, looks[row]).points
            for train, tested in asked.parts
            for fit in [_fit(asked, taught, looks, train)]
            for row in tested
        ]
    teaching = sorted({row for train, _ in asked.parts for row in train})
    final = fits[0] if len(asked.parts) == 1 else _fit(asked, taught, seen, teaching)
    chosen = [items[row] for row in rows]
    return _Tested(chosen, answers, [item.spread_mm for item in found], final, [items[row] for row in teaching])


def _seen(asked: _Asked, encoder: Any, progress: Progress | None) -> list[Any]:
    from radfoundry.tasks import localise_fit

    seen = []
    for number, item in enumerate(asked.items, start=1):
        seen.append(localise_fit.see(item.series, encoder, None if asked.task.cut else asked.cohort.path))
        if progress is not None:
            progress(f"look with {encoder.spec.name}", number, len(asked.items))
    return seen


def _fit(asked: _Asked, items: Sequence[Any], seen: Sequence[Any], rows: Sequence[int]) -> Any:
    from radfoundry.tasks import localise_fit

    chosen = [items[row] for row in rows], [seen[row] for row in rows]
    return localise_fit.fit(*chosen, near_mm=asked.task.near_mm)


def _write_places(tested: _Tested, folder: Path) -> None:
    import pandas as pd

    from radfoundry.tasks import localise, localise_measures

    rows = []
    for name, said in tested.answers.items():
        errors = localise_measures.errors_mm(tested.items, said)
        for place, (item, points) in enumerate(zip(tested.items, said, strict=True)):
            found = dict(zip(localise.AXES, points[0].tolist(), strict=True))
            true = dict(zip((f"true_{axis}" for axis in localise.AXES), item.points[0].tolist(), strict=True))
            spread = tested.spread_mm[place] if name == localise_measures.OURS else None
            key = {"case": item.case, "image": item.series.key, "by": name}
            rows.append({**key, **found, **true, "error_mm": errors[place], "spread_mm": spread})
    with runs.atomic(folder / "places.csv") as partial:
        pd.DataFrame(rows).to_csv(partial, index=False, float_format="%.6g")


def _write_predictor(asked: _Asked, tested: _Tested, metrics: Mapping[str, Estimate], folder: Path) -> None:
    from radfoundry.tasks import accepts, localise_measures, localise_predictor, predictor

    config, taught = asked.config, tested.taught
    errors = localise_measures.errors_mm(tested.items, tested.answers[localise_measures.OURS])
    tried = f"split {config.split}" if config.split else f"{config.folds} folds between patients"
    about = {
        "trained": {
            "cohort": asked.cohort.fingerprint,
            "patients": len({item.patient for item in taught}),
            "cases": len({item.case for item in taught}),
            "series": len(taught),
            "how": f"votes of frozen features of {asked.encoder.spec.name}, tested by {tried}",
        },
        "metrics": {
            name: value
            for name, value in metrics.items()
            if "-minus-" not in name or name.endswith(f"-minus-{localise_measures.USUAL}/error-mm")
        },
        "error_quantiles_mm": {str(share): float(np.quantile(errors, share)) for share in (0.5, 0.9, 0.95)},
        "intended_use": config.intended_use or "Research on images like those below; not for decisions about patients.",
        "control": "the places were dealt to other patients on purpose" if config.permute_labels else "",
        "versions": runs.versions(),
    }
    wanted = accepts.learned_from([item.series for item in taught], spec=asked.encoder.spec, wanted=config.train_on)
    named = {name: getattr(asked.task, name) for name in ("name", "target", "kind", "unit", "about")}
    made = localise_predictor.Pointer(tested.fitted, asked.encoder, named, wanted, runs.plain(about))
    localise_predictor.write(made, folder / predictor.FOLDER, component=config.encoder, pack=config.pack)


def _blocks(asked: _Asked, tested: _Tested, metrics: Mapping[str, Estimate], folder: Path) -> list[dict[str, Any]]:
    from radfoundry.tasks import localise_measures, localise_pages, pages

    said = tested.answers[localise_measures.OURS]
    errors = localise_measures.errors_mm(tested.items, said)
    order = np.argsort(errors, kind="stable")
    shown = []
    for name, row in zip(SHOWN, (order[0], order[len(order) // 2], order[-1]), strict=True):
        item = tested.items[row]
        shown.append((item.series.load(), said[row], item.points, f"{name}: {errors[row]:.1f} mm off"))
    keys = {item.case for item in tested.items}
    people = replace(asked.cohort, cases=tuple(case for case in asked.cohort.cases if case.key in keys))
    return [
        localise_pages.summary(
            asked.task.about,
            asked.encoder.spec.name,
            metrics,
            count=len({item.patient for item in tested.items}),
            control=asked.config.permute_labels,
        ),
        localise_pages.pictures(folder, shown, title="Nearest, median and farthest answer"),
        pages.people(people),
        pages.numbers("Results", metrics, note="Errors in mm: less is better, so a difference below 0 speaks for us."),
    ]
