"""What nested evaluation found: figures with their doubt, ranks, the effect of every choice, and optimism."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats import critical_difference, ranking, resampled, weighted
from radfoundry.stats.bootstrap import draw_weights, widened_level
from radfoundry.tasks import nested_figures
from radfoundry.tasks.nested import Outcome
from radfoundry.tasks.nested_pipeline import LEVELS, Pipeline

CHOSEN = "chosen"
Found = Mapping[tuple[str, str, Pipeline], Outcome]
Name = tuple[str, str]  # an encoder and a pipeline in words, or `chosen`


@dataclass(frozen=True, eq=False)
class Board:
    """Figures of every candidate in every task: as they are, redrawn, and run by run.

    `value` (candidates, tasks); `drawn` (candidates, tasks, draws), the same patients drawn for all; `runs`
    (candidates, tasks, repeats x folds). NaN where a candidate does not answer a task or a draw leaves nothing.
    """

    candidates: tuple[Name, ...]
    tasks: tuple[str, ...]
    value: np.ndarray
    drawn: np.ndarray
    runs: np.ndarray
    patients: int
    folds: int
    figure: str

    def row(self, name: Name) -> int:
        """The place of a candidate."""
        return self.candidates.index(name)

    def estimate(self, name: Name, task: str | None = None) -> Estimate:
        """The figure of a candidate in a task, or its mean over all tasks."""
        pick = self._tasks(task)
        row = self.row(name)
        return self._estimate(self.value[row, pick].mean(), self.drawn[row, pick].mean(axis=0))

    def difference(self, first: Name, second: Name, task: str | None = None) -> Estimate:
        """How much better the first is than the second on the same patients, in a task or on average over tasks.

        The interval is over patients; p is that of the corrected resampled t over runs (Nadeau & Bengio 2003), which
        also holds the doubt about who taught.
        """
        return self.contrast([(1.0, first), (-1.0, second)], task)

    def contrast(self, parts: Sequence[tuple[float, Name]], task: str | None = None) -> Estimate:
        """A sum of candidates' figures with signs, with its interval over patients and its p over runs."""
        rows = [(sign, self.row(name)) for sign, name in parts]
        pick = self._tasks(task)
        both = pick[~np.isnan(self.value[[row for _, row in rows]][:, pick]).any(axis=0)]
        if not len(both):
            return Estimate.undefined("no question is answered by both", n=self.patients)
        share = f"over {len(both)} of {len(pick)} questions" if len(both) < len(pick) else ""
        pick = both
        value = sum(sign * self.value[row, pick].mean() for sign, row in rows)
        drawn = sum(sign * self.drawn[row, pick].mean(axis=0) for sign, row in rows)
        each = _known_mean(np.asarray(sum(sign * self.runs[row, pick] for sign, row in rows)))
        made = self._estimate(float(value), np.asarray(drawn))
        return replace(made, p_value=self._p(each), note=made.note or share)

    def _tasks(self, task: str | None) -> np.ndarray:
        return np.arange(len(self.tasks)) if task is None else np.array([self.tasks.index(task)])

    def _p(self, each: np.ndarray) -> float | None:
        known = each[~np.isnan(each)]
        if len(known) < 2 or known.std() == 0:
            return None
        return resampled.resampled_t(known, test_share=1 / max(self.folds - 1, 1)).p_value

    def _estimate(self, value: float, drawn: np.ndarray) -> Estimate:
        known = drawn[~np.isnan(drawn)]
        method = f"bootstrap over patients, {len(drawn)} draws, percentile"
        if np.isnan(value):
            return Estimate.undefined("it does not answer every question", n=self.patients, method=method)
        if len(known) < len(drawn) / 2:
            return Estimate.undefined("too few patients of each answer", n=self.patients, method=method)
        tail = (1 - widened_level(0.95, self.patients)) / 2
        low, high = np.quantile(known, [tail, 1 - tail])
        note = f"{1 - len(known) / len(drawn):.0%} of draws undefined" if len(known) < len(drawn) else ""
        return Estimate(float(value), float(low), float(high), method=method, n=self.patients, note=note)


def _known_mean(values: np.ndarray) -> np.ndarray:
    """The mean of each column over its defined rows, NaN where there is none."""
    known = ~np.isnan(values)
    return weighted.ratio(np.where(known, values, 0).sum(axis=0), known.sum(axis=0).astype(float))


def board(
    found: Found, truth: Mapping[str, tuple[str, Predictions]], pipelines: Sequence[Pipeline], *, draws: int, seed: int
) -> Board:
    """All figures of finished outcomes, and of what the inner folds chose.

    Args:
        found: outcomes by (encoder, task, pipeline).
        truth: task -> (kind, the cases in the order of the outcomes' scores).
        pipelines: in their order, the base first.
        draws, seed: of the bootstrap over patients; a patient is drawn for all tasks at once.
    """
    base, tasks = pipelines[0], tuple(truth)
    encoders = tuple(dict.fromkeys(encoder for encoder, _, _ in found))
    everyone = np.unique(np.concatenate([rows.patient for _, rows in truth.values()]))
    weights = draw_weights(everyone, draws=draws, rng=seed)
    names = [(encoder, pipeline.named(base)) for encoder in encoders for pipeline in pipelines]
    names += [(encoder, CHOSEN) for encoder in encoders]
    names += [(CHOSEN, CHOSEN)] if len(encoders) > 1 else []
    repeats, folds = (max(one.inner.shape[axis] for one in found.values()) for axis in (0, 1))
    value = np.full((len(names), len(tasks)), np.nan)
    drawn = np.full((*value.shape, draws), np.nan, np.float32)
    runs = np.full((*value.shape, repeats * folds), np.nan)
    for column, (task, (kind, rows)) in enumerate(truth.items()):
        here = weights[:, np.searchsorted(everyone, rows.patient)]
        own = {(e, p.named(base)): one for (e, t, p), one in found.items() if t == task}
        own |= chosen(own, encoders)
        for place, name in enumerate(names):
            if name in own:
                figures = _figures(kind, rows, own[name], here, folds)
                value[place, column], drawn[place, column], runs[place, column] = figures
    kinds = {nested_figures.figure_name(kind) for kind, _ in truth.values()}
    title = kinds.pop() if len(kinds) == 1 else "score"
    return Board(tuple(names), tasks, value, drawn, runs, len(everyone), folds, title)


def chosen(own: Mapping[Name, Outcome], encoders: Sequence[str]) -> dict[Name, Outcome]:
    """What answers when every fold takes the pipeline with the best inner figure: for each encoder, and over all."""
    found = {}
    for encoder in encoders:
        mine = {name: one for name, one in own.items() if name[0] == encoder}
        if mine:
            found[encoder, CHOSEN] = _assembled(list(mine.values()))
    if len(encoders) > 1 and own:
        found[CHOSEN, CHOSEN] = _assembled(list(own.values()))
    return found


def _assembled(outcomes: Sequence[Outcome]) -> Outcome:
    first = outcomes[0]
    inner = np.stack([one.inner for one in outcomes])
    # Where nothing could be held out the first, the base, stands.
    best = np.where(np.isnan(inner).all(axis=0), 0, np.argmax(np.nan_to_num(inner, nan=-np.inf), axis=0))
    score = first.score.copy()
    for repeat, fold in np.ndindex(*best.shape):
        tested = first.fold[repeat] == fold
        score[repeat, tested] = outcomes[best[repeat, fold]].score[repeat, tested]
    return Outcome(score, np.nan_to_num(inner, nan=-np.inf).max(axis=0), first.fold)


def _figures(
    kind: str, rows: Predictions, one: Outcome, weights: np.ndarray, folds: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """The mean over repeats of the figure, of every draw, and the figure of every run."""
    value, drawn, each = 0.0, np.zeros(len(weights)), []
    for score, fold in zip(one.score, one.fold, strict=True):
        prepared = nested_figures.figure(kind, replace(rows, score=score))
        value += float(prepared(np.ones((1, len(rows))))[0]) / len(one.score)
        drawn += prepared(weights) / len(one.score)
        each.append(prepared((fold[None] == np.arange(folds)[:, None]).astype(float)))
    return value, drawn.astype(np.float32), np.concatenate(each)


@dataclass(frozen=True)
class Effect:
    """What one choice changes on one encoder's features, against the first level of its factor."""

    encoder: str
    factor: str
    level: str
    against: str
    gain: Estimate


def effects(found: Board, pipelines: Sequence[Pipeline], task: str | None = None) -> list[Effect]:
    """The effect of every level of every factor on every encoder, the other choices alike, averaged over tasks."""
    base = pipelines[0]
    encoders = list(dict.fromkeys(encoder for encoder, name in found.candidates if name != CHOSEN))
    made = []
    for encoder in encoders:
        for factor in LEVELS:
            first = getattr(base, factor)
            for level in dict.fromkeys(getattr(one, factor) for one in pipelines):
                pairs = [(one, replace(one, **{factor: first})) for one in pipelines if getattr(one, factor) == level]
                pairs = [(one, other) for one, other in pairs if other in pipelines and one != other]
                if pairs:
                    share = 1 / len(pairs)
                    parts = [(share, (encoder, one.named(base))) for one, _ in pairs]
                    parts += [(-share, (encoder, other.named(base))) for _, other in pairs]
                    made.append(Effect(encoder, factor, str(level), str(first), found.contrast(parts, task)))
    return made


def optimism(found: Board, encoder: str) -> Estimate:
    """By how much the best pipeline by outer result beats what the inner folds chose, averaged over tasks.

    The first is what is reported when many pipelines are tried and the best is told; the second could have been had.
    """
    rows = [place for place, (owner, name) in enumerate(found.candidates) if owner == encoder and name != CHOSEN]
    if len(rows) < 2:
        raise InputError("one pipeline: nothing to choose", where=f"encoder {encoder}", remedy="give choices")
    columns, own = np.flatnonzero(~np.isnan(found.value[rows]).all(axis=0)), found.row((encoder, CHOSEN))
    if not len(columns):
        return Estimate.undefined("no question is answered", n=found.patients)
    best = np.array(rows)[np.nanargmax(found.value[rows][:, columns], axis=0)]
    value = (found.value[best, columns] - found.value[own, columns]).mean()
    return found._estimate(float(value), (found.drawn[best, columns] - found.drawn[own, columns]).mean(axis=0))


@dataclass(frozen=True)
class Leader:
    """A model on the leaderboard: its mean figure, its mean rank over tasks, and how often it comes first.

    `first` is the share of redrawn patient samples in which its mean rank is the best.
    """

    name: Name
    figure: Estimate
    rank: Estimate
    first: float


def leaderboard(found: Board, names: Sequence[Name]) -> list[Leader]:
    """Models by mean rank over the tasks that all of them answer, with intervals from redrawing patients."""
    rows = [found.row(name) for name in names]
    full = ~np.isnan(found.value[rows]).any(axis=0)
    if len(rows) < 2 or not full.any():
        raise InputError("no two models answer one task", where="leaderboard", remedy="compare at least two")
    observed = ranking.rank_rows(-found.value[rows][:, full].T).mean(axis=0)
    # A draw that leaves a task undefined keeps that task's observed order.
    drawn = np.where(np.isnan(found.drawn), found.value[..., None], found.drawn)[rows][:, full]
    ranks = np.mean([ranking.rank_rows(-drawn[:, task].T) for task in range(drawn.shape[1])], axis=0)
    best = ranks == ranks.min(axis=1, keepdims=True)
    first = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    board_of = [
        Leader(name, found.estimate(name), found._estimate(float(observed[i]), ranks[:, i]), float(first[i]))
        for i, name in enumerate(names)
    ]
    return sorted(board_of, key=lambda item: (item.rank.value, item.name))


def separated(found: Board, names: Sequence[Name], *, seed: int) -> critical_difference.CriticalDifference | None:
    """Which models the tasks tell apart (Demšar 2006); nothing for fewer than five tasks or where all always tie."""
    rows = [found.row(name) for name in names]
    full = ~np.isnan(found.value[rows]).any(axis=0)
    if len(rows) < 2 or full.sum() < 5:
        return None
    table = {said(name): found.value[row, full] for name, row in zip(names, rows, strict=True)}
    if (found.value[rows][:, full] == found.value[rows[0], full]).all():
        return None
    return critical_difference.critical_difference(table, rng=seed)


def said(name: Name) -> str:
    """A candidate in words.

    >>> said(("intensity", "head=svm")), said(("chosen", "chosen"))
    ('intensity head=svm', 'chosen over all')
    """
    if name == (CHOSEN, CHOSEN):
        return "chosen over all"
    return name[0] if name[1] == "base" else f"{name[0]} {name[1]}"
