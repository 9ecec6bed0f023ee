"""From features to an answer: scaling, selection, class weights, head; all learned inside training patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from radfoundry import registry
from radfoundry.config import Component
from radfoundry.records import InputError, Predictions
from radfoundry.stats import recalibration
from radfoundry.tasks import heads
from radfoundry.tasks.head_answers import answer as answered
from radfoundry.tasks.head_fitting import NEVER, Asked, fit_arrays
from radfoundry.tasks.logistic_path import logistic_path, softmax_path
from radfoundry.tasks.nested_select import SELECTIONS, select

RUNGS = ("head", "lora", "mona", "partial", "full", "scratch")
MOST_CURVATURE = 90  # rows times classes beyond which scikit-learn fits several classes
LINEAR = "linear"  # logistic, ridge, ordinal or Cox, as the question needs
SCALINGS = ("zscore", "none", "minmax", "robust")
WEIGHTS = ("none", "balanced", "over", "under")
FACTORS: Mapping[str, tuple[str, ...]] = {
    "head": (LINEAR, "knn", "svm", "boosting", *RUNGS),
    "scaling": SCALINGS,
    "selection": SELECTIONS,
    "weights": WEIGHTS,
}


@dataclass(frozen=True)
class Pipeline:
    """The choices of one pipeline; every number it learns comes from the patients that teach it.

    `head` is `linear` (logistic, ridge, ordinal or Cox), knn, svm, boosting or a rung that tunes the encoder. `keep` is
    how many features a selection keeps. `weights`: none, balanced, or rows of the rare class drawn again (over) or of
    the common one left out (under). `share` is the part of the training patients that is used at all.
    """

    head: str = LINEAR
    scaling: str = "zscore"
    selection: str = "none"
    keep: int = 20
    weights: str = "none"
    share: float = 1.0

    def __post_init__(self) -> None:
        for factor, known in FACTORS.items():
            if getattr(self, factor) not in known:
                raise registry.unknown(factor, str(getattr(self, factor)), known, where=f"choices.{factor}")
        if not 0 < self.share <= 1:
            raise InputError(f"share {self.share} of the patients", where="choices.share", remedy="from 0 to 1")
        if self.keep < 1:
            raise InputError(f"{self.keep} features to keep", where="choices.keep", remedy="at least 1")

    def named(self, base: Pipeline) -> str:
        """What differs from the base, in words.

        >>> Pipeline(head="svm", scaling="none").named(Pipeline())
        'head=svm scaling=none'
        """
        words = [f"{name}={getattr(self, name)}" for name in LEVELS if getattr(self, name) != getattr(base, name)]
        return " ".join(words) or "base"

    def answers(self, kind: str) -> bool:
        """Whether its head answers this kind of question."""
        return self.head in RUNGS or kind in head_of(self, kind).kinds


LEVELS = ("head", "scaling", "selection", "keep", "weights", "share")


def head_of(pipeline: Pipeline, kind: str) -> heads.Head:
    """The head of a pipeline for one kind of question."""
    component = None if pipeline.head == LINEAR else Component(name=pipeline.head)
    return replace(heads.named(component, kind), balanced=pipeline.weights == "balanced")


def grid(choices: Mapping[str, Sequence[Any]], *, crossed: bool = False) -> list[Pipeline]:
    """The pipelines of a table of choices, the base first: the first level of every factor.

    Without `crossed` one factor is changed at a time. Refuses unknown factors and levels, and a level named twice.

    >>> [one.named(Pipeline()) for one in grid({"head": ["linear", "svm"], "scaling": ["zscore", "none"]})]
    ['base', 'head=svm', 'scaling=none']
    """
    for factor, levels in choices.items():
        if factor not in LEVELS:
            raise registry.unknown("factor", factor, LEVELS, where="choices")
        if not levels or len({str(level) for level in levels}) < len(levels):
            raise InputError("a level is named twice, or none is", where=f"choices.{factor}", remedy="name each once")
    kept = {factor: [_typed(factor, level) for level in levels] for factor, levels in choices.items()}
    base = Pipeline(**{factor: levels[0] for factor, levels in kept.items()})
    if not crossed:
        others = [replace(base, **{factor: level}) for factor, levels in kept.items() for level in levels[1:]]
        return [base, *others]
    every = [Pipeline(**dict(zip(kept, levels, strict=True))) for levels in product(*kept.values())]
    # A tuned encoder has its own scaling and uses every feature.
    plain = {name: getattr(base, name) for name in LEVELS if name not in ("head", "weights", "share")}
    return list(dict.fromkeys(replace(one, **plain) if one.head in RUNGS else one for one in every))


def _typed(factor: str, level: Any) -> Any:
    kind: Callable[[Any], Any] = {"keep": int, "share": float}.get(factor, str)
    try:
        # YAML reads a bare `none` as a word but `null` and `~` as nothing.
        return "none" if level is None else kind(level)
    except (TypeError, ValueError):
        raise InputError(f"{level!r} is not a number", where=f"choices.{factor}", remedy="give a number") from None


@dataclass(frozen=True, eq=False)
class Data:
    """What teaches: features (n, width), answers (n,) or (n, parts), patients (n,), the kind of question."""

    features: np.ndarray
    answer: np.ndarray
    patient: np.ndarray
    kind: str
    classes: int = 0

    def take(self, rows: np.ndarray) -> Data:
        """Some of the rows."""
        return replace(self, features=self.features[rows], answer=self.answer[rows], patient=self.patient[rows])


@dataclass(frozen=True, eq=False)
class Learned:
    """A fitted pipeline: how it answers new features, and what held-out training rows scored (None: too few)."""

    predict: Callable[[np.ndarray], np.ndarray]
    held_out: np.ndarray | None


def learn(pipeline: Pipeline, data: Data, *, inner_folds: int, seed: int) -> Learned:
    """Choose the head's strength on inner folds between patients, then fit everything on all training rows.

    Scaling, selection and resampling are learned again inside every inner fold, so that nothing about a held-out
    patient takes part in what judges it.
    """
    head = head_of(pipeline, data.kind)
    heads.check_fit(head.name, head.kinds, data.answer, data.patient, kind=data.kind)
    used = data.take(_share_of(data, pipeline.share, seed))
    strength, held_out = _strength(pipeline, head, used, inner_folds=inner_folds, seed=seed)
    fitted = _fit(pipeline, head, used, (strength,), seed=seed)[0]
    if pipeline.head == "svm" and data.kind == "binary" and held_out is not None:
        fitted = _calibrated(fitted, used, held_out)
    if pipeline.share < 1:
        held_out = None
    return Learned(fitted, held_out)


def _share_of(data: Data, share: float, seed: int) -> np.ndarray:
    """Rows of a share of the patients: the same order of patients for every share, so that smaller parts lie inside."""
    if share >= 1:
        return np.arange(len(data.patient))
    owners, first = np.unique(data.patient, return_index=True)
    answer = data.answer[first]
    strata = answer if data.kind in heads.CLASSES else np.zeros(len(owners), int)
    order = np.random.default_rng(seed).permutation(len(owners))
    chosen: list[str] = []
    for value in np.unique(strata):
        inside = order[strata[order] == value]
        chosen += owners[inside[: max(2, round(share * len(inside)))]].tolist()
    return np.flatnonzero(np.isin(data.patient, chosen))


def _strength(
    pipeline: Pipeline, head: heads.Head, data: Data, *, inner_folds: int, seed: int
) -> tuple[float, np.ndarray | None]:
    parts = heads.inner_parts(data.answer, data.patient, kind=data.kind, folds=inner_folds)
    allowed = tuple(v for v in head.strengths if head.name != "knn" or v <= len(data.answer) * 0.7) or (1.0,)
    if not parts:
        return allowed[len(allowed) // 2], None
    scores: list[Any] = [None] * len(allowed)
    for held in parts:
        rest = data.take(np.setdiff1d(np.arange(len(data.answer)), held))
        if data.kind in heads.CLASSES and len(np.unique(rest.answer)) < 2:
            return allowed[len(allowed) // 2], None
        for place, fitted in enumerate(_fit(pipeline, head, rest, allowed, seed=seed)):
            said = fitted(data.features[held])
            if scores[place] is None:
                scores[place] = np.full((len(data.answer), *said.shape[1:]), np.nan)
            scores[place][held] = said
    losses = [heads.row_losses(data.kind, data.answer, said).mean() for said in scores]
    best = int(np.argmin(np.round(losses, 12)))
    return allowed[best], scores[best]


def _fit(
    pipeline: Pipeline, head: heads.Head, data: Data, strengths: Sequence[float], *, seed: int
) -> list[Callable[[np.ndarray], np.ndarray]]:
    """The head at every strength behind one scaling and one selection."""
    centre, spread = _scale(pipeline.scaling, data.features)
    scaled = (data.features - centre) / spread
    chosen = select(pipeline.selection, scaled, data.answer, kind=data.kind, keep=pipeline.keep)
    inside, answer = chosen(scaled), data.answer
    rows = _resampled(pipeline.weights, answer, data.kind, seed)
    found = []
    for usable, arrays in _arrays(head, data, inside[rows], answer[rows], strengths):

        def predict(features: np.ndarray, arrays: Any = arrays, usable: float = usable) -> np.ndarray:
            return answered(head.name, data.kind, usable, arrays, chosen((features - centre) / spread))

        found.append(predict)
    return found


def _arrays(
    head: heads.Head, data: Data, inside: np.ndarray, answer: np.ndarray, strengths: Sequence[float]
) -> list[tuple[float, dict[str, np.ndarray]]]:
    """The head's arrays at every strength."""
    if head.name == "logistic" and data.kind == "binary":
        path = logistic_path(inside, answer, strengths, balanced=head.balanced)
        arrays = [{"weights": weights[None], "offset": np.array([offset])} for weights, offset in path]
        return list(zip(strengths, arrays, strict=True))
    seen, place = np.unique(answer, return_inverse=True) if data.kind in heads.CLASSES else (np.zeros(0), answer)
    small = len(seen) * min(inside.shape) <= MOST_CURVATURE
    if head.name == "logistic" and data.kind in heads.CLASSES and len(seen) > 2 and small:
        made = softmax_path(inside, place, strengths, classes=len(seen), balanced=head.balanced)
        full = [_every_class(*one, seen.astype(int), max(2, data.classes)) for one in made]
        return list(zip(strengths, full, strict=True))
    asked = Asked(data.kind, data.classes, head.balanced)
    usable = [min(value, len(answer)) if head.name == "knn" else value for value in strengths]
    return [(value, fit_arrays(head.name, inside, answer, asked, strength=value)) for value in usable]


def _every_class(weights: np.ndarray, offset: np.ndarray, seen: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """One row per class of the question; a class that no training patient had can never win."""
    full, shift = np.zeros((classes, weights.shape[1])), np.full(classes, NEVER)
    full[seen], shift[seen] = weights, offset
    return {"weights": full, "offset": shift}


def _scale(name: str, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is subtracted and what is divided by, per feature."""
    width = features.shape[1]
    if name == "zscore":
        centre, spread = features.mean(axis=0), features.std(axis=0)
    elif name == "minmax":
        centre, spread = features.min(axis=0), np.ptp(features, axis=0)
    elif name == "robust":
        low, centre, high = np.percentile(features, (25, 50, 75), axis=0)
        spread = high - low
    else:
        return np.zeros(width), np.ones(width)
    return centre, np.where(spread > 1e-9, spread, 1.0)


def _resampled(weights: str, answer: np.ndarray, kind: str, seed: int) -> np.ndarray:
    """Rows that teach: with `over` every class as often as the commonest, with `under` as often as the rarest."""
    rows = np.arange(len(answer))
    if weights not in ("over", "under") or kind not in heads.CLASSES:
        return rows
    rng = np.random.default_rng(seed)
    values, counts = np.unique(answer, return_counts=True)
    if weights == "under":
        each = [rng.permutation(rows[answer == value])[: counts.min()] for value in values]
    else:
        each = [
            np.concatenate([rows[answer == value], rng.choice(rows[answer == value], counts.max() - count)])
            for value, count in zip(values, counts, strict=True)
        ]
    return np.sort(np.concatenate(each))


def _calibrated(
    fitted: Callable[[np.ndarray], np.ndarray], data: Data, held_out: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """A machine's scores as probabilities, so that the folds can be pooled; the order within a fold stays."""
    held = Predictions.of(data.answer.astype(int), held_out, patient=data.patient)
    line = recalibration.fit_platt(held, on_logits=True)
    if not line.slope > 0:
        return fitted
    return lambda features: recalibrated(fitted(features), line.slope, line.intercept)


def recalibrated(score: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Probabilities moved along Platt's line on logits.

    >>> recalibrated(np.array([0.5]), 1.0, 0.0).tolist()
    [0.5]
    """
    clipped = np.clip(score, recalibration.EDGE, 1 - recalibration.EDGE)
    raw = slope * np.log(clipped / (1 - clipped)) + intercept
    return 1 / (1 + np.exp(-raw))
