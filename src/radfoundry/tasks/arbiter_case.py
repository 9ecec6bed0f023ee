"""The arbiter's own look at each case: features and a generalist's chances, out of sample, fold by fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.records import InputError
from radfoundry.tasks import arbiter, arbiter_fit, heads
from radfoundry.tasks.arbiter import ArbitrateTask, Evidence
from radfoundry.tasks.arbiter_measures import Decided
from radfoundry.tasks.examples import Examples

ATTACKS = ("opposite", "noise")


@dataclass(frozen=True, eq=False)
class Cases:
    """One row per case: features `(n, width)`, answer, patient, name, and the specialists' votes `(n, s)`."""

    features: np.ndarray
    answer: np.ndarray
    patient: np.ndarray
    case: np.ndarray
    names: tuple[str, ...]
    votes: np.ndarray

    def take(self, rows: np.ndarray) -> Cases:
        """The rows named by a mask or an index array."""
        parts = (self.features, self.answer, self.patient, self.case)
        return Cases(*(part[rows] for part in parts), self.names, self.votes[rows])


@dataclass(frozen=True, eq=False)
class Fitted:
    """An arbiter with what it needs to hear a new case: the generalist's head and the teaching cases."""

    arbiter: Any
    generalist: heads.FittedHead
    teaching: Cases
    task: ArbitrateTask


def cases_of(rows: Examples, names: tuple[str, ...], votes: Callable[[list[str]], np.ndarray]) -> Cases:
    """Series' rows as cases: the mean of their features, and the votes about them."""
    keys, first, group = np.unique(rows.case, return_index=True, return_inverse=True)
    total = np.zeros((len(keys), rows.features.shape[1]))
    np.add.at(total, group, rows.features)
    mean = total / np.bincount(group)[:, None]
    return Cases(mean, rows.answer[first].astype(int), rows.patient[first], keys, names, votes(keys.tolist()))


def fit(cases: Cases, task: ArbitrateTask, head: heads.Head, *, seed: int) -> tuple[Fitted, Evidence]:
    """Fit the generalist and the arbiter on some cases; the evidence it learned from was out of sample for each."""
    general = heads.fit(head, cases.features, cases.answer, cases.patient, kind="binary", classes=2)
    if general.held_out is None:
        raise InputError("too few patients to learn an arbiter from", remedy="use a larger cohort", finding="too-few")
    own = arbiter.similar_share(
        cases.features, cases.answer, cases.patient, cases.features, cases.patient, count=task.neighbours
    )
    heard = Evidence(cases.names, cases.votes, np.asarray(general.held_out, float), own)
    made = arbiter_fit.fit(task, heard, cases.answer, cases.patient, seed=seed)
    return Fitted(made, general, cases, task), heard


def hear(fitted: Fitted, features: np.ndarray, patients: np.ndarray, votes: np.ndarray) -> Evidence:
    """The evidence about cases that did not teach."""
    known = fitted.teaching
    share = arbiter.similar_share(
        known.features, known.answer, known.patient, features, patients, count=fitted.task.neighbours
    )
    return Evidence(known.names, votes, fitted.generalist.predict(features), share)


def decide(cases: Cases, task: ArbitrateTask, head: heads.Head, *, folds: int, seed: int) -> Decided:
    """Decide about every case by an arbiter that learned from other patients, with attacks and ablations."""
    parts = arbiter.folds(cases.answer, cases.patient, count=folds, seed=seed)
    if not parts:
        raise InputError("too few patients of the rarer answer for two folds", remedy="add patients", finding="too-few")
    pieces = [_fold(cases, task, head, teach, test, seed) for teach, test in parts]
    order = np.argsort(np.concatenate([piece.case for piece in pieces]), kind="stable")

    def joined(get: Callable[[Decided], np.ndarray]) -> np.ndarray:
        return np.concatenate([get(piece) for piece in pieces])[order]

    evidence = Evidence(
        cases.names,
        joined(lambda piece: piece.evidence.votes),
        joined(lambda piece: piece.evidence.generalist),
        joined(lambda piece: piece.evidence.retrieved),
    )
    first = pieces[0]
    attacks = {
        how: (
            joined(lambda piece, how=how: piece.attacks[how][0]),
            joined(lambda piece, how=how: piece.attacks[how][1]),
        )
        for how in first.attacks
    }
    return Decided(
        case=joined(lambda piece: piece.case),
        patient=joined(lambda piece: piece.patient),
        target=joined(lambda piece: piece.target),
        evidence=evidence,
        decided=joined(lambda piece: piece.decided),
        mean=joined(lambda piece: piece.mean),
        chosen=joined(lambda piece: piece.chosen),
        attacks=attacks,
        without={name: joined(lambda piece, name=name: piece.without[name]) for name in first.without},
        forced=joined(lambda piece: piece.forced),
    )


def _fold(
    cases: Cases, task: ArbitrateTask, head: heads.Head, teach: np.ndarray, test: np.ndarray, seed: int
) -> Decided:
    teaching, testing = cases.take(teach), cases.take(test)
    fitted, learned = fit(teaching, task, head, seed=seed)
    heard = hear(fitted, testing.features, testing.patient, testing.votes)
    best = _best(teaching)
    rng = np.random.default_rng(seed)
    attacks = {}
    # A language model is not asked again and again: it costs the user's time and money.
    cheap = task.arbiter != arbiter.LANGUAGE
    for how in ATTACKS if cheap else ():
        turned = arbiter.attacked(heard, best, how, rng=rng)
        attacks[how] = (fitted.arbiter.decide(turned), arbiter.mean_vote(turned))
    without = {}
    if task.arbiter == arbiter.STACKER:
        for name, mask in _ablations(len(cases.names)).items():
            deaf = arbiter.fit_stacker(learned, teaching.answer, teaching.patient, heard=mask, seed=seed)
            without[name] = deaf.decide(heard)
    return Decided(
        testing.case, testing.patient, testing.answer, heard,
        fitted.arbiter.decide(heard), arbiter.mean_vote(heard), np.nan_to_num(heard.votes[:, best], nan=0.5),
        attacks, without,
        fitted.arbiter.decide(arbiter.forced(heard, 0.05)) if cheap else np.zeros(len(heard)),
    )  # fmt: skip


def _best(cases: Cases) -> int:
    """The specialist that ranks the teaching cases best."""
    from radfoundry.records import Predictions
    from radfoundry.stats.auc import auroc

    votes = np.nan_to_num(cases.votes, nan=0.5)
    return int(np.argmax([auroc(Predictions.of(cases.answer, column)).value for column in votes.T]))


def _ablations(specialists: int) -> dict[str, np.ndarray]:
    """What is not listened to, by name: masks over the sources."""
    every = np.ones(specialists + 2, bool)
    silent = {"votes": slice(0, specialists), "generalist": specialists, "similar-cases": specialists + 1}
    masks = {}
    for name, place in silent.items():
        masks[name] = every.copy()
        masks[name][place] = False
    return masks
