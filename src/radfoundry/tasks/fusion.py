"""One answer from several images of a patient: ways of fusing them, each something that learns from rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from radfoundry import registry
from radfoundry.config import Component
from radfoundry.records import Case, InputError
from radfoundry.tasks import covariates as clinical
from radfoundry.tasks import fusion_heads, fusion_nets, heads, slots
from radfoundry.tasks.examples import Examples
from radfoundry.tasks.slots import Exams
from radfoundry.tasks.views import Views

USUAL = "average"
HEADED = ("average", "early", "late")
NETS = ("attention", "experts")


@dataclass(frozen=True)
class Fusion:
    """How images are fused: `name`, what tells slots apart (`by`), and what else stands `beside` it for comparison.

    `descent` belongs to the ways that learn by descent.
    """

    name: str
    by: str = "sequence"
    beside: tuple[str, ...] = ()
    descent: fusion_nets.Descent = field(default_factory=fusion_nets.Descent)

    def __post_init__(self) -> None:
        slots.facts_of(self.by)
        for other in self.beside:
            if other not in (*HEADED, *NETS):
                raise registry.unknown("fusion", other, (*HEADED, *NETS), where="fuse.beside")


def check(chosen: Component, names: Sequence[str], cases: Sequence[Case], *, target: str) -> None:
    """Refuse what cannot be fused before any image is looked at: facts nobody states, covariates nobody has."""
    slots.check(cases, named(chosen).by)
    clinical.check(names, cases, target=target)


def average(*, by: str = "sequence", beside: Sequence[str] = ()) -> Fusion:
    """One head answers for every image, the exam gets the mean of the answers."""
    return Fusion("average", by, _words(beside))


def early(*, by: str = "sequence", beside: Sequence[str] = ()) -> Fusion:
    """One head on the features of all images side by side, with a mark for every image that is missing."""
    return Fusion("early", by, _words(beside))


def late(*, by: str = "sequence", beside: Sequence[str] = ()) -> Fusion:
    """A head for each kind of image; how much each counts is learned on held-out training patients."""
    return Fusion("late", by, _words(beside))


def attention(
    *,
    by: str = "sequence",
    beside: Sequence[str] = (),
    drop: float = 0.2,
    steps: int = 60,
    components: int = 6,
) -> Fusion:
    """A learned attention over the images that are there; `drop` hides images at random while it learns."""
    chosen = fusion_nets.Descent(drop=drop, steps=steps, components=components)
    return Fusion("attention", by, _words(beside), chosen)


def experts(
    *,
    by: str = "sequence",
    beside: Sequence[str] = (),
    drop: float = 0.2,
    steps: int = 60,
    components: int = 6,
    experts: int = 8,
) -> Fusion:
    """A mixture of modality experts: each image on its own path, then shared soft experts; any image may be missing.

    Source: Luo et al., MOME, Nature Communications 2025 (arXiv 2408.12606).
    """
    chosen = fusion_nets.Descent(drop=drop, steps=steps, components=components, experts=experts)
    return Fusion("experts", by, _words(beside), chosen)


def _words(given: Sequence[str] | str) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def named(component: Component, *, seed: int = 0) -> Fusion:
    """The way of fusing that a setting names."""
    made = registry.build("fusions", component.name, **component.options)
    return replace(made, descent=replace(made.descent, seed=seed))


@dataclass(frozen=True, eq=False)
class Fused:
    """A way of fusing as something that learns from rows; `only` keeps some of the slots."""

    fusion: Fusion
    head: heads.Head | None
    views: Views
    covariates: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"fusion ({self.fusion.name})" if not self.only else ", ".join(self.only)

    def fit(self, rows: Examples, *, kind: str, classes: int) -> FittedFused:
        """Learn which slots there are and what they say; refuses rows that state nothing to tell slots by."""
        columns = None
        found = slots.names(rows, self.fusion.by)
        if self.covariates:
            cases = [self.views.cases[str(case)] for case in np.unique(rows.case)]
            columns = clinical.learn(self.covariates, cases)
            found = (*found, clinical.SLOT) if columns.columns else found
        kept = tuple(name for name in found if not self.only or name in self.only)
        if not kept:
            raise InputError(f"too few training patients have {', '.join(self.only)}", where="fuse", finding="too-few")
        exams = slots.gather(rows, self.fusion.by, kept, columns=columns)
        model, held_out = _model(self, exams, kind=kind, classes=classes)
        said = None if held_out is None else held_out[exams.group]
        return FittedFused(self.fusion.name, self.fusion.by, kept, columns, kind, classes, model, said)


def _model(asked: Fused, exams: Exams, *, kind: str, classes: int) -> tuple[Any, np.ndarray | None]:
    """The fitted model and, where there were enough patients, each exam's score from a fit that had not seen it."""
    name, head = asked.fusion.name, asked.head or heads.named(None, kind)
    if name in NETS:
        return fusion_nets.fit(name, asked.fusion.descent, head, exams, kind=kind, classes=classes)
    return fusion_heads.fit(name, head, exams, kind=kind, classes=classes)


@dataclass(frozen=True, eq=False)
class FittedFused:
    """A fitted fusion: it answers rows by all the images of their exam, whichever are there.

    Every row gets the answer of its exam, so that the mean over an exam's rows is that answer.
    """

    name: str
    by: str
    slots: tuple[str, ...]
    columns: clinical.Columns | None
    kind: str
    classes: int
    model: Any
    held_out: np.ndarray | None = None

    def exams(self, rows: Examples) -> Exams:
        """The rows as exams with this model's slots."""
        return slots.gather(rows, self.by, self.slots, columns=self.columns)

    def scores(self, exams: Exams) -> np.ndarray:
        """(exams,) or (exams, classes): one score per exam, as `head_answers.answer` describes it."""
        return self.model.scores(exams)

    def predict(self, rows: Examples) -> np.ndarray:
        """Scores of rows."""
        exams = self.exams(rows)
        return self.scores(exams)[exams.group]

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What describes this model, and its arrays."""
        about, arrays = self.model.state()
        columns = None if self.columns is None else self.columns.to_list()
        about |= {"fusion": self.name, "by": self.by, "slots": list(self.slots), "covariates": columns}
        return {"rung": "fused", "kind": self.kind, "classes": self.classes, **about}, arrays


def restore(about: Mapping[str, Any], arrays: dict[str, np.ndarray], _encoder: Any) -> FittedFused:
    """The model that `FittedFused.state` described."""
    columns = None if about["covariates"] is None else clinical.Columns.from_list(about["covariates"])
    made = fusion_nets.restore if about["fusion"] in NETS else fusion_heads.restore
    kept, kind, classes = tuple(about["slots"]), about["kind"], int(about["classes"])
    return FittedFused(about["fusion"], about["by"], kept, columns, kind, classes, made(about, arrays))


def alone(asked: Fused, slot: str) -> Fused:
    """The same question to one slot alone, by a head: what fusion has to beat."""
    return replace(asked, fusion=replace(asked.fusion, name="early"), only=(slot,))
