"""An arbiter over specialists: their votes, a generalist's own look and similar cases become one calibrated answer.

Our interpretation of generalist-specialist collaboration (GSCo, He et al., arXiv 2404.15127) without a language model:
there a generalist reads the specialists' diagnoses and those of retrieved cases; here the same evidence is stacked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from scipy.special import expit, logit

from radfoundry.records import InputError

STACKER, TRANSFORMER, LANGUAGE = "stacker", "transformer", "language"
ARBITERS = (STACKER, TRANSFORMER, LANGUAGE)
LOUDEST = 0.02  # no vote is heard as surer than this from 0 or 1
STRENGTHS = (0.003, 0.03, 0.3)
NEIGHBOURS = 10


@dataclass(frozen=True)
class ArbitrateTask:
    """Who decides about which label: the specialists' folders or tables, the kind of arbiter, what it listens to."""

    target: str
    specialists: tuple[str, ...]
    arbiter: str = STACKER
    neighbours: int = NEIGHBOURS
    address: str = ""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What an arbiter hears of each case, one row each.

    votes `(n, specialists)` chances of yes, NaN where a specialist did not answer · generalist `(n,)` the chance of a
    head on the arbiter's own encoder · retrieved `(n,)` share of yes among the most similar cases of other patients.
    """

    names: tuple[str, ...]
    votes: np.ndarray
    generalist: np.ndarray
    retrieved: np.ndarray

    def __len__(self) -> int:
        return len(self.votes)

    def take(self, rows: np.ndarray) -> Evidence:
        """The rows named by a mask or an index array."""
        return Evidence(self.names, self.votes[rows], self.generalist[rows], self.retrieved[rows])

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the columns of `logits`."""
        return (*self.names, "generalist", "similar cases")

    @property
    def logits(self) -> np.ndarray:
        """`(n, sources)` log odds, at most those of LOUDEST; a missing vote says nothing (0)."""
        table = np.column_stack([self.votes, self.generalist, self.retrieved])
        sure = np.clip(np.where(np.isnan(table), 0.5, table), LOUDEST, 1 - LOUDEST)
        return np.where(np.isnan(table), 0.0, logit(sure))


class Arbiter(Protocol):
    """A fitted arbiter."""

    def decide(self, evidence: Evidence) -> np.ndarray:
        """(n,) chances of yes."""
        ...


@dataclass(frozen=True, eq=False)
class Stacker:
    """A logistic line through the sources' log odds. `shares` are the weights that independence alone would give.

    `heard` marks the sources that are listened to (an ablation may leave some out).
    """

    weights: np.ndarray
    intercept: float
    shares: np.ndarray
    heard: np.ndarray
    strength: float

    def decide(self, evidence: Evidence) -> np.ndarray:
        """(n,) chances of yes."""
        return expit(evidence.logits @ self.weights + self.intercept)

    def parts(self, evidence: Evidence) -> np.ndarray:
        """(n, sources) what each source adds to the log odds of the decision."""
        return evidence.logits * self.weights


def build(
    *,
    target: str = "",
    specialists: Sequence[str] | str = (),
    arbiter: str = STACKER,
    neighbours: int = NEIGHBOURS,
    address: str = "",
) -> ArbitrateTask:
    """Is it so? Several specialists have said; an arbiter weighs them, its own look and similar cases.

    Refuses no target, fewer than two specialists, one named twice, unknown arbiters, and a language model without an
    address.
    """
    from radfoundry import registry

    if not target:
        raise InputError("no label is named", where="task.target", remedy="task.target=LABEL")
    names = (specialists,) if isinstance(specialists, str) else tuple(str(name) for name in specialists)
    if len(names) < 2:
        raise InputError(
            "no specialist is named" if not names else f"one specialist ({names[0]}) leaves nothing to weigh",
            where="task.specialists",
            remedy="name two or more runs of radfoundry adapt",
        )
    if len(set(names)) < len(names):
        raise InputError("a specialist is named twice", where="task.specialists", remedy="name each once")
    if arbiter not in ARBITERS:
        raise registry.unknown("arbiter", arbiter, ARBITERS, where="task.arbiter")
    if neighbours < 1:
        raise InputError(f"{neighbours} neighbours", where="task.neighbours", remedy="use for example 10")
    if (arbiter == LANGUAGE) != bool(address):
        raise InputError(
            "a language model needs an address, and only it takes one",
            where="task.address",
            remedy="task.arbiter=language task.address=http://HOST:PORT/PATH",
        )
    return ArbitrateTask(target, names, arbiter, int(neighbours), address)


def independence_shares(logits: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """(sources,) weights that sum to 1 and are small for sources which err together.

    The weights of least variance for a mean of correlated judges: the inverse of their correlation within each answer,
    shrunk by a tenth towards none, times 1; negative ones become 0. Two copies of one judge share one judge's weight.

    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 200)
    >>> own = y[:, None] + rng.normal(size=(400, 2))
    >>> independence_shares(np.column_stack([own, own[:, 1]]), y).round(1).tolist()
    [0.5, 0.3, 0.3]
    """
    within = logits - np.stack([logits[answers == kind].mean(axis=0) for kind in (0, 1)])[answers.astype(int)]
    spread = within.std(axis=0)
    scaled = within / np.where(spread > 1e-9, spread, 1.0)
    together = 0.9 * (scaled.T @ scaled / len(scaled)) + 0.1 * np.eye(scaled.shape[1])
    np.fill_diagonal(together, 1.0)
    raw = np.clip(np.linalg.solve(together, np.ones(len(together))), 0, None)
    raw = np.where(spread > 1e-9, raw, 0.0)
    return raw / raw.sum() if raw.sum() > 0 else np.full(len(raw), 1 / len(raw))


def fit_stacker(
    evidence: Evidence, answers: np.ndarray, patients: np.ndarray, *, heard: np.ndarray | None = None, seed: int = 0
) -> Stacker:
    """Fit the line so that it starts from the shares of independence and leaves them only as far as the cases ask.

    One weight for the pooled vote is free; departures of single sources from it are penalised (L2), the strength chosen
    between patients by log loss. Refuses cases that all have one answer.
    """
    if len(np.unique(answers)) < 2:
        raise InputError("the cases that teach all have one answer", remedy="check the split", finding="one-class")
    every = evidence.logits
    mask = np.ones(every.shape[1], bool) if heard is None else heard
    used = every[:, mask]
    strength = _best_strength(used, answers, patients, seed=seed)
    shares, weights, intercept = _line(used, answers, strength)
    whole, all_shares = np.zeros(every.shape[1]), np.zeros(every.shape[1])
    whole[mask], all_shares[mask] = weights, shares
    return Stacker(whole, intercept, all_shares, mask, strength)


def _line(logits: np.ndarray, answers: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray, float]:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    shares = independence_shares(logits, answers)
    # The pooled vote is written large so that the penalty hardly holds it; departures bear the penalty.
    loud = 30.0
    table = np.column_stack([loud * (logits @ shares), logits])
    with threadpool_limits(limits=1):
        fitted = LogisticRegression(C=strength, max_iter=500).fit(table, answers)
    pooled, departures = fitted.coef_[0][0], fitted.coef_[0][1:]
    return shares, loud * pooled * shares + departures, float(fitted.intercept_[0])


def _best_strength(logits: np.ndarray, answers: np.ndarray, patients: np.ndarray, *, seed: int) -> float:
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for teach, test in folds(answers, patients, count=4, seed=seed):
        for strength in STRENGTHS:
            _, weights, intercept = _line(logits[teach], answers[teach], strength)
            chance = np.clip(expit(logits[test] @ weights + intercept), 1e-6, 1 - 1e-6)
            losses[strength] -= float(np.log(np.where(answers[test] == 1, chance, 1 - chance)).sum())
    return min(STRENGTHS, key=lambda strength: losses[strength])


def folds(answers: np.ndarray, patients: np.ndarray, *, count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks of who teaches and who is tested, by patient, both answers on either side; none when that cannot be."""
    from sklearn.model_selection import StratifiedKFold

    owners, first = np.unique(patients, return_index=True)
    strata = answers[first]
    usable = min(count, int(np.bincount(strata.astype(int), minlength=2).min()))
    if usable < 2:
        return []
    parts = []
    for _, tested in StratifiedKFold(usable, shuffle=True, random_state=seed).split(owners, strata):
        test = np.isin(patients, owners[tested])
        if len(np.unique(answers[~test])) == 2:
            parts.append((~test, test))
    return parts


def similar_share(
    teaching: np.ndarray,
    answers: np.ndarray,
    owners: np.ndarray,
    asked: np.ndarray,
    patients: np.ndarray,
    *,
    count: int,
) -> np.ndarray:
    """(m,) share of yes among the `count` most similar teaching cases of other patients, drawn towards the prevalence.

    teaching (n, width) and asked (m, width) are features; similarity is the cosine of standardised features.
    """
    mean, spread = teaching.mean(axis=0), teaching.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    first, second = ((table - mean) / scale for table in (teaching, asked))
    first = first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
    second = second / np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 1e-12)
    alike = np.where(owners[None, :] == patients[:, None], -np.inf, second @ first.T)
    near = np.argsort(-alike, axis=1, kind="stable")[:, :count]
    known = np.isfinite(np.take_along_axis(alike, near, axis=1))
    yes = (answers[near] * known).sum(axis=1)
    return (yes + answers.mean()) / (known.sum(axis=1) + 1)


def attacked(evidence: Evidence, place: int, how: str, *, rng: np.random.Generator) -> Evidence:
    """The evidence with one specialist's votes turned into their opposite, or dealt out to other cases (`noise`)."""
    votes = evidence.votes.copy()
    votes[:, place] = 1 - votes[:, place] if how == "opposite" else rng.permutation(votes[:, place])
    return replace(evidence, votes=votes)


def forced(evidence: Evidence, chance: float) -> Evidence:
    """The evidence with every specialist made to say the same."""
    return replace(evidence, votes=np.full_like(evidence.votes, chance))


def mean_vote(evidence: Evidence) -> np.ndarray:
    """(n,) the mean of the specialists' votes, as if each were worth the same; half where none voted."""
    known = ~np.isnan(evidence.votes)
    total = np.where(known, evidence.votes, 0).sum(axis=1)
    return np.divide(total, known.sum(axis=1), out=np.full(len(evidence), 0.5), where=known.any(axis=1))


def conflicts(
    evidence: Evidence, decided: np.ndarray, parts: np.ndarray | None, cases: Sequence[str]
) -> list[dict[str, Any]]:
    """One row per case whose specialists disagree: every vote, the decision, and what decided."""
    rows = []
    calls = np.where(np.isnan(evidence.votes), np.nan, evidence.votes >= 0.5)
    for place, case in enumerate(cases):
        said = calls[place][~np.isnan(calls[place])]
        if len(said) < 2 or said.min() == said.max():
            continue
        values = [*evidence.votes[place], evidence.generalist[place], evidence.retrieved[place]]
        row: dict[str, Any] = {"case": case, "decision": round(float(decided[place]), 4)}
        row |= {name: round(float(value), 4) for name, value in zip(evidence.sources, values, strict=True)}
        rows.append({**row, "reason": _reason(evidence.sources, None if parts is None else parts[place])})
    return rows


def _reason(sources: Sequence[str], parts: np.ndarray | None) -> str:
    if parts is None:
        return "decided by an arbiter that gives no parts"
    order = np.argsort(-np.abs(parts), kind="stable")[:3]
    return "; ".join(
        f"{sources[place]} {'for' if parts[place] > 0 else 'against'} ({parts[place]:+.2f})" for place in order
    )


def table_of(fitted: Stacker, sources: Sequence[str]) -> list[Mapping[str, str]]:
    """Every source with its share under independence and its final weight, for the page."""
    return [
        {"source": name, "share": f"{share:.2f}", "weight": f"{weight:.2f}"}
        for name, share, weight in zip(sources, fitted.shares, fitted.weights, strict=True)
    ]
