"""Fusing with heads: features side by side, or one answer per kind of image and a weight for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.records import InputError
from radfoundry.tasks import heads
from radfoundry.tasks.covariates import SLOT
from radfoundry.tasks.head_answers import logistic, softmax
from radfoundry.tasks.slots import Exams

EDGE = 1e-6
SHRINK = 0.05  # how strongly weights of slots are held towards equal shares
LOGS = ("multiclass", "ordinal")


def to_open(kind: str, scores: np.ndarray) -> np.ndarray:
    """Scores on a scale without ends: log odds, log probabilities of classes, or the quantity itself."""
    if kind in ("binary", "multilabel"):
        kept = np.clip(scores, EDGE, 1 - EDGE)
        return np.log(kept) - np.log1p(-kept)
    return np.log(np.clip(scores, EDGE, 1)) if kind in LOGS else np.asarray(scores, float)


def from_open(kind: str, raw: np.ndarray) -> np.ndarray:
    """The inverse of `to_open`; probabilities of classes add up to one."""
    if kind in ("binary", "multilabel"):
        return logistic(raw)
    return softmax(raw) if kind in LOGS else raw


def usual(kind: str, classes: int, answers: np.ndarray) -> np.ndarray:
    """The score of somebody of whom nothing is known: the share, the shares of classes, the mean, or risk 0."""
    if kind in LOGS:
        counts = np.bincount(answers.astype(int), minlength=max(2, classes)) + 0.5
        return counts / counts.sum()
    if kind == "survival":
        return np.array(0.0)
    share = np.asarray(answers, float).mean(axis=0)
    return np.clip(share, 0.5 / len(answers), 1 - 0.5 / len(answers)) if kind != "regression" else share


@dataclass(frozen=True, eq=False)
class Early:
    """One head on all features side by side; an absent slot is its mean, and a mark says that it is absent."""

    head: heads.FittedHead
    slots: tuple[str, ...]
    scale: Mapping[str, np.ndarray]

    def scores(self, exams: Exams) -> np.ndarray:
        """One score per exam."""
        return self.head.predict(side_by_side(exams, self.scale))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What describes it."""
        about, arrays = of_head(self.head, "all")
        return {"heads": {"all": about}}, arrays | {f"scale.{name}": value for name, value in self.scale.items()}


@dataclass(frozen=True, eq=False)
class Separate:
    """One head per slot (or one for all of them), combined; what is absent adds nothing.

    With `weights` (one per slot) deviations from the usual answer are weighed and added; without, scores are averaged.
    """

    heads: Mapping[str, heads.FittedHead]
    slots: tuple[str, ...]
    kind: str
    start: np.ndarray
    weights: np.ndarray | None

    def scores(self, exams: Exams) -> np.ndarray:
        """One score per exam; the usual answer where nothing is present."""
        said = {name: head.predict(exams.seen(name)) for name, head in self.heads.items()}
        return combined(said, exams, self.kind, self.start, self.weights)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What describes it."""
        about: dict[str, Any] = {}
        arrays = {"start": np.atleast_1d(self.start), "scalar": np.array([np.ndim(self.start) == 0])}
        for name, head in self.heads.items():
            about[name], own = of_head(head, name)
            arrays |= own
        return {"heads": about}, arrays | ({} if self.weights is None else {"weights": self.weights})


def fit(
    name: str, head: heads.Head, exams: Exams, *, kind: str, classes: int
) -> tuple[Early | Separate, np.ndarray | None]:
    """Fit `average`, `early` or `late` to exams, and the scores of exams from fits that had not seen them."""
    if name == "early":
        scale = _scale(exams)
        table = side_by_side(exams, scale)
        fitted = heads.fit(head, table, exams.answer, exams.patient, kind=kind, classes=classes)
        return Early(fitted, exams.slots, scale), fitted.held_out
    start = usual(kind, classes, exams.answer)
    if name == "average":
        return _average(head, exams, start, kind=kind, classes=classes)
    return _late(head, exams, start, kind=kind, classes=classes)


def side_by_side(exams: Exams, scale: Mapping[str, np.ndarray]) -> np.ndarray:
    """(exams, all widths + slots): each slot's features over its spread, 0 where absent, then marks of absence."""
    parts = []
    for place, name in enumerate(exams.slots):
        mean, spread = scale[name]
        parts.append((exams.seen(name) - mean) / spread * exams.present[:, place : place + 1])
    return np.concatenate([*parts, (~exams.present).astype(float)], axis=1)


def combined(
    said: Mapping[str, np.ndarray], exams: Exams, kind: str, start: np.ndarray, weights: np.ndarray | None
) -> np.ndarray:
    """Slots' scores as one: their mean, or the usual answer plus weighted deviations from it on the open scale."""
    shape = (len(exams), *np.shape(start))
    total, origin = np.zeros(shape), to_open(kind, start)
    for place, name in enumerate(exams.slots):
        there = exams.present[:, place].reshape(-1, *[1] * (len(shape) - 1))
        if name not in said:
            continue
        if weights is None:
            total += np.where(there, said[name], 0)
        else:
            total += np.where(there, weights[place] * (to_open(kind, said[name]) - origin), 0)
    if weights is not None:
        return from_open(kind, origin + total)
    count = exams.present[:, [name in said for name in exams.slots]].sum(axis=1)
    count = count.reshape(-1, *[1] * (len(shape) - 1))
    return np.where(count > 0, total / np.maximum(count, 1), start)


def _average(
    head: heads.Head, exams: Exams, start: np.ndarray, *, kind: str, classes: int
) -> tuple[Separate, np.ndarray | None]:
    if SLOT in exams.slots:
        raise InputError("covariates cannot be averaged with images", remedy="use fuse=early, late or experts")
    where, who = np.nonzero(exams.present.T)
    table = np.concatenate([exams.features[name][exams.present[:, place]] for place, name in enumerate(exams.slots)])
    fitted = heads.fit(head, table, exams.answer[who], exams.patient[who], kind=kind, classes=classes)
    model = Separate(dict.fromkeys(exams.slots, fitted), exams.slots, kind, start, None)
    if fitted.held_out is None:
        return model, None
    said = {}
    for place, name in enumerate(exams.slots):
        said[name] = np.zeros((len(exams), *np.shape(start)))
        said[name][who[where == place]] = fitted.held_out[where == place]
    return model, combined(said, exams, kind, start, None)


def _late(
    head: heads.Head, exams: Exams, start: np.ndarray, *, kind: str, classes: int
) -> tuple[Separate, np.ndarray | None]:
    fitted, said = own_answers(head, exams, kind=kind, classes=classes)
    equal = np.array([float(name in fitted) for name in exams.slots]) / len(fitted)
    if set(said) != set(fitted):
        return Separate(fitted, exams.slots, kind, start, equal), None
    weights = _weights(said, exams, kind, start, equal)
    held_out = _held_out(said, exams, kind, start, equal)
    return Separate(fitted, exams.slots, kind, start, weights), held_out


def own_answers(
    head: heads.Head, exams: Exams, *, kind: str, classes: int
) -> tuple[dict[str, heads.FittedHead], dict[str, np.ndarray]]:
    """A head for each slot, and each exam's score from a fit of that slot's head that had not seen it (0 if absent).

    A slot whose exams all have the same answer has no head; one with too few patients has no held-out scores.
    """
    fitted: dict[str, heads.FittedHead] = {}
    said: dict[str, np.ndarray] = {}
    for place, name in enumerate(exams.slots):
        rows = np.flatnonzero(exams.present[:, place])
        try:
            found = heads.fit(
                head, exams.features[name][rows], exams.answer[rows], exams.patient[rows], kind=kind, classes=classes
            )
        except InputError as error:
            if error.finding not in ("one-class", "too-few"):
                raise
            continue
        fitted[name] = found
        if found.held_out is not None:
            said[name] = np.zeros((len(exams), *found.held_out.shape[1:]))
            said[name][rows] = found.held_out
    if not fitted:
        raise InputError("the training patients all have one class", remedy="check the split", finding="one-class")
    return fitted, said


def _held_out(
    said: Mapping[str, np.ndarray], exams: Exams, kind: str, start: np.ndarray, equal: np.ndarray
) -> np.ndarray:
    """Each exam's combined score with weights that other patients chose."""
    parts = heads.inner_parts(exams.answer, exams.patient, kind=kind, folds=4)
    found = combined(said, exams, kind, start, equal)
    for held in parts:
        learn = np.setdiff1d(np.arange(len(exams)), held)
        weights = _weights({name: part[learn] for name, part in said.items()}, exams.take(learn), kind, start, equal)
        found[held] = combined(
            {name: part[held] for name, part in said.items()}, exams.take(held), kind, start, weights
        )
    return found


def _weights(
    said: Mapping[str, np.ndarray], exams: Exams, kind: str, start: np.ndarray, equal: np.ndarray
) -> np.ndarray:
    """Weights of slots, none negative, that make held-out answers least wrong, held a little towards equal shares."""
    from scipy.optimize import minimize

    loss = LOSSES.get(kind, lambda answers, scores: heads.row_losses(kind, answers, scores))
    scale = max(float(np.mean(loss(exams.answer, combined(said, exams, kind, start, equal)))), 1e-9)

    def wrong(weights: np.ndarray) -> float:
        scores = combined(said, exams, kind, start, weights)
        return float(np.mean(loss(exams.answer, scores))) / scale + SHRINK * float(((weights - equal) ** 2).sum())

    bounds = [(0.0, 3.0 if share else 0.0) for share in equal]
    return np.asarray(minimize(wrong, equal, bounds=bounds, method="L-BFGS-B", options={"maxiter": 60}).x)


def _squared(answers: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return (scores - answers) ** 2


def _hazards(answers: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """Each event's share of Cox's negative log partial likelihood."""
    time, event = answers[:, 0], answers[:, 1] > 0
    there = time[None] >= time[event][:, None]
    raised = np.exp(risk - risk.max())
    return np.log((there * raised[None]).sum(axis=1)) + risk.max() - risk[event]


LOSSES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"regression": _squared, "survival": _hazards}


def _scale(exams: Exams) -> dict[str, np.ndarray]:
    """(2, width) mean and spread of each slot over the exams that have it."""
    found = {}
    for place, name in enumerate(exams.slots):
        seen = exams.features[name][exams.present[:, place]]
        spread = seen.std(axis=0)
        found[name] = np.stack([seen.mean(axis=0), np.where(spread > 1e-9, spread, 1.0)])
    return found


def of_head(head: heads.FittedHead, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What describes one slot's head, and its arrays under the slot's name."""
    about = {"name": head.name, "kind": head.kind, "strength": head.strength}
    return about, {f"head.{name}.{key}": value for key, value in head.arrays.items()}


def restore_head(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray], name: str) -> heads.FittedHead:
    """The head that `of_head` described."""
    mark = f"head.{name}."
    own = {key.removeprefix(mark): value for key, value in arrays.items() if key.startswith(mark)}
    said = about["heads"][name]
    return heads.FittedHead(said["name"], said["kind"], float(said["strength"]), own)


def restore(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Early | Separate:
    """The model that `state` described."""
    names: Sequence[str] = about["slots"]
    if about["fusion"] == "early":
        scale = {name: arrays[f"scale.{name}"] for name in names}
        return Early(restore_head(about, arrays, "all"), tuple(names), scale)
    start = arrays["start"][0] if arrays["scalar"][0] else arrays["start"]
    fitted = {name: restore_head(about, arrays, name) for name in about["heads"]}
    return Separate(fitted, tuple(names), about["kind"], start, arrays.get("weights"))
