"""What stands beside fused answers: each image alone, the best one, other ways of fusing, and images taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from radfoundry.config import Component
from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort, Estimate, InputError, Predictions, Task
from radfoundry.tasks import heads, measure
from radfoundry.tasks.contributions import MOST_SLOTS, Contributions, contributions, together
from radfoundry.tasks.covariates import SLOT
from radfoundry.tasks.examples import Examples, Fitted, Learner, by_case
from radfoundry.tasks.fusion import FittedFused, Fused, alone, named
from radfoundry.tasks.probe import Design, Probe, in_order, probe

BEST, IMAGES, FUSED = "single", "images", "fused"
WITHOUT = "without"


@dataclass(eq=False)
class Watched:
    """A learner whose fits are remembered, together with the rows they were asked about; the same rows fit once."""

    learner: Learner
    views: Any = None
    fits: dict[bytes, Any] = field(default_factory=dict)
    asked: list[tuple[Examples, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The learner's name."""
        return self.learner.name

    def fit(self, rows: Examples, *, kind: str, classes: int) -> Fitted:
        """Fit, or give back what these rows fitted before."""
        key = rows.row.tobytes() + rows.answer.tobytes()
        if key not in self.fits:
            self.fits[key] = self.learner.fit(rows, kind=kind, classes=classes)
        return _Asked(self, self.fits[key])


@dataclass(frozen=True, eq=False)
class _Asked:
    """A fitted model that tells its learner what it was asked about."""

    watched: Watched
    inner: Any

    @property
    def held_out(self) -> np.ndarray | None:
        return self.inner.held_out

    def predict(self, rows: Examples) -> np.ndarray:
        self.watched.asked.append((rows, self.inner))
        return self.inner.predict(rows)


@dataclass(frozen=True, eq=False)
class BestAlone:
    """The one image that answers best, chosen on held-out training patients: what fusion has to beat."""

    singles: Mapping[str, Watched]
    views: Any
    name: str = BEST

    def fit(self, rows: Examples, *, kind: str, classes: int) -> Fitted:
        """Fit each alone and keep the one with the smallest held-out loss; the first where none was held out."""
        fits = [single.fit(rows, kind=kind, classes=classes) for single in self.singles.values()]
        losses = [_loss(fit, rows, kind) for fit in fits]
        return fits[int(np.argmin(losses))]


def _loss(fitted: Any, rows: Examples, kind: str) -> float:
    if fitted.held_out is None:
        return np.inf
    held = by_case([(rows, fitted.held_out)])
    return float(heads.row_losses(kind, held.target, held.score).mean())


@dataclass(frozen=True, eq=False)
class Beside:
    """Out-of-sample answers by name, the fused ones first; `without`: (name, slot) with that slot taken away.

    `added` is what each slot contributed, None where there are too many slots; `notes` say so.
    """

    found: Mapping[str, Predictions]
    without: Mapping[tuple[str, str], Predictions]
    added: Contributions | None
    notes: tuple[str, ...] = ()


def ask(
    cohort: Cohort, table: Embeddings, learner: Fused, *, task: Task, truth: Mapping[str, Any], design: Design
) -> tuple[Probe, Beside]:
    """The fused answers and what stands beside them, all out of sample on the same folds."""

    def answered(one: Learner) -> Probe:
        return probe(cohort, table, task=task, truth=truth, head=one, design=design)

    fused = Watched(learner, learner.views)
    main = answered(fused)
    final: FittedFused = main.fitted.inner
    notes: list[str] = []
    others = {name: Watched(_other(learner, name), learner.views) for name in learner.fusion.beside}
    found = {FUSED: main.predictions, **{name: answered(one).predictions for name, one in others.items()}}
    images = [name for name in final.slots if name != SLOT]
    if len(final.slots) > 1:
        singles = {name: Watched(alone(learner, name), learner.views) for name in final.slots}
        for name, single in list(singles.items()):
            try:
                found[name] = answered(single).predictions
            except InputError as error:
                if error.finding not in ("too-few", "one-class"):
                    raise
                notes.append(f"{name} alone is not answered: {error.what}")
                del singles[name]
        chosen = {name: singles[name] for name in images if name in singles}
        if len(chosen) > 1:
            found[BEST] = answered(BestAlone(chosen, learner.views)).predictions
        if SLOT in final.slots:
            found[IMAGES] = answered(replace(learner, covariates=())).predictions
    without = {
        (name, slot): in_order([_without(rows, fitted, slot) for rows, fitted in watched.asked], [])[0]
        for name, watched in {FUSED: fused, **others}.items()
        for slot in final.slots
        if len(final.slots) > 1
    }
    notes += _gaps(main, final)
    added = None
    if len(final.slots) <= MOST_SLOTS:
        added = together([contributions(fitted, rows) for rows, fitted in fused.asked])
    else:
        notes.append(f"{len(final.slots)} slots: contributions are worked out for at most {MOST_SLOTS}")
    return replace(main, fitted=final), Beside(found, without, added, tuple(notes))


def _other(learner: Fused, name: str) -> Fused:
    """The same question fused another way, with the usual options."""
    if name == "average" and learner.covariates:
        raise InputError("covariates cannot be averaged with images", where="fuse.beside", remedy="leave average out")
    fusion = named(Component.model_validate({"name": name, "by": learner.fusion.by}), seed=learner.fusion.descent.seed)
    return replace(learner, fusion=fusion)


def _without(rows: Examples, fitted: FittedFused, slot: str) -> Predictions:
    exams = fitted.exams(rows)
    taken = exams.without(slot) if slot in exams.slots else exams
    return by_case([(rows, fitted.scores(taken)[exams.group])])


def _gaps(found: Probe, fitted: FittedFused) -> list[str]:
    """How many of the exams that taught lack which slot."""
    exams = fitted.exams(found.training)
    counts = (~exams.present).sum(axis=0)
    return [
        f"{count} of {len(exams)} exams that taught have no {name}"
        for name, count in zip(exams.slots, counts, strict=True)
        if count
    ]


def numbers(beside: Beside, task: Task, *, seed: int) -> dict[str, Estimate]:
    """The main number of everything beside, and fused minus each, paired by patient.

    `NAME/METRIC`; `fused-minus-NAME/METRIC`; `without-SLOT/METRIC`, `without-SLOT-minus-fused/METRIC` for what taking
    an image away costs, and `fused-minus-NAME/METRIC-without-SLOT` for who bears it better.
    """
    fused = beside.found[FUSED]
    metrics = {}
    for name, said in beside.found.items():
        if name != FUSED:
            metrics |= _named(_main(said, task, seed), f"{name}/")
            metrics |= _named(measure.difference(fused, said, task, seed=seed), f"{FUSED}-minus-{name}/")
    for (name, slot), said in beside.without.items():
        own = beside.without[FUSED, slot]
        if name == FUSED:
            metrics |= _named(_main(said, task, seed), f"{WITHOUT}-{slot}/")
            metrics |= _named(measure.difference(said, fused, task, seed=seed), f"{WITHOUT}-{slot}-minus-{FUSED}/")
        else:
            gap = measure.difference(own, said, task, seed=seed)
            metrics |= {f"{FUSED}-minus-{name}/{key}-{WITHOUT}-{slot}": value for key, value in gap.items()}
    return metrics


def _main(found: Predictions, task: Task, seed: int) -> dict[str, Estimate]:
    """The number that paired differences are of, or the question's main number."""
    metrics = measure.measure(found, task, seed=seed)
    first = next(iter(metrics))
    return {first: metrics[first]}


def _named(metrics: Mapping[str, Estimate], before: str) -> dict[str, Estimate]:
    return {f"{before}{name}": value for name, value in metrics.items()}
