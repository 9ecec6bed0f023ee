"""How well the later state is foreseen for patients who did not teach, beside answers that need no image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort, Estimate, InputError
from radfoundry.stats.bootstrap import draw_weights
from radfoundry.stats.comparisons import mean_amount, mean_difference
from radfoundry.stats.proportions import proportion
from radfoundry.tasks import foresee, heads, per_case, probe
from radfoundry.tasks.examples import Examples, by_case, examples

FORESEEN = "foreseen"
DRAWS = 2000
NO_CHANGE, MEAN_CHANGE, FIRST_VALUE = "no-change", "mean-change", "first-value"


@dataclass(frozen=True, eq=False)
class Foreseen:
    """What was said of each tested patient, in the order of `pairs`: intervals `(n, 3)` and what stands beside."""

    pairs: Sequence[foresee.Pair]
    later: np.ndarray
    beside: Mapping[str, np.ndarray]
    final: foresee.Foreseer
    training: Examples

    @property
    def truth(self) -> np.ndarray:
        """The later values as they came."""
        return np.array([pair.later for pair in self.pairs])


def answer(
    cohort: Cohort,
    table: Embeddings,
    known: Mapping[str, foresee.Pair],
    *,
    task: foresee.ForeseeTask,
    head: heads.Head,
    design: probe.Design,
) -> Foreseen:
    """Every patient is asked once, by what was learned on the other folds (or the test part of a split)."""
    change = {case: pair.change for case, pair in known.items()}
    learn = examples(table, change, design.train_on, name="train_on")
    asked = examples(table, change, design.test_on, name="test_on")
    parts = probe.pairs(cohort, learn, asked, kind="regression", design=design)
    said: dict[str, np.ndarray] = {}
    beside: dict[str, dict[str, np.ndarray]] = {NO_CHANGE: {}, MEAN_CHANGE: {}, FIRST_VALUE: {}}
    for teaching, testing in parts:
        rows, _ = _rows(teaching, known, task)
        tested, cases = _rows(testing, known, task)
        own = foresee.fit(rows, head=head, level=task.level, seed=design.seed)
        plain = foresee.fit(rows, head=None, level=task.level, seed=design.seed)
        without = foresee.Rows(rows.features, 0 * rows.first, rows.later - rows.first, rows.years)
        mean = foresee.fit(without, head=None, level=task.level, seed=design.seed)
        # The true first value is added back where it was not known: what is judged is the change.
        start = np.array([known[case].first for case in cases]) - tested.first
        named = {
            MEAN_CHANGE: tested.first + mean.change(tested.features, 0 * tested.first, tested.years),
            FIRST_VALUE: plain.later(tested.features, tested.first, tested.years)[:, 0],
            NO_CHANGE: tested.first,
        }
        later = own.later(tested.features, tested.first, tested.years) + start[:, None]
        said |= dict(zip(cases, later, strict=True))
        for name, values in named.items():
            beside[name] |= dict(zip(cases, values + start, strict=True))
    order = sorted(said)
    final = parts[0][0] if design.split else learn
    rows, _ = _rows(final, known, task)
    return Foreseen(
        [known[case] for case in order],
        np.stack([said[case] for case in order]),
        {name: np.array([values[case] for case in order]) for name, values in beside.items()},
        foresee.fit(rows, head=head, level=task.level, seed=design.seed),
        final,
    )


def _rows(
    rows: Examples, known: Mapping[str, foresee.Pair], task: foresee.ForeseeTask
) -> tuple[foresee.Rows, list[str]]:
    """One row an exam, with the mean of its series' features."""
    exams = by_case([(rows, rows.features)])
    cases = exams.case.tolist()
    return foresee.rows_of(exams.score, [known[case] for case in cases], measured=task.measured), cases


def dealt(known: Mapping[str, foresee.Pair], rng: np.random.Generator) -> dict[str, foresee.Pair]:
    """Everybody with somebody else's change: what can still be foreseen then was never in the first visit."""
    from dataclasses import replace

    cases = sorted(known)
    order = rng.permutation(len(cases))
    given = zip(cases, order, strict=True)
    return {case: replace(known[case], later=known[case].first + known[cases[place]].change) for case, place in given}


def skill(errors: np.ndarray, plain: np.ndarray, *, seed: int = 0) -> Estimate:
    """The share of a simple answer's squared error that is saved; 0 is as good as it, 1 is perfect.

    errors, plain: (n,) of the same patients, who are drawn again and again. Undefined where the simple answer is right.

    >>> round(skill(np.ones(30), np.full(30, 2.0)).value, 2)
    0.75
    """
    weights = np.vstack([np.ones(len(errors)), draw_weights(np.arange(len(errors)), draws=DRAWS, rng=seed)])
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = 1 - (weights @ errors**2) / (weights @ plain**2)
    rest = drawn[1:][np.isfinite(drawn[1:])]
    if not np.isfinite(drawn[0]) or len(rest) < DRAWS / 2:
        return Estimate.undefined("the simple answer makes no error", n=len(errors))
    low, high = np.quantile(rest, [0.025, 0.975])
    return Estimate(float(drawn[0]), float(low), float(high), n=len(errors), method="bootstrap by patient, percentile")


def measure(found: Foreseen, task: foresee.ForeseeTask, *, seed: int = 0) -> dict[str, Estimate]:
    """Mean errors, what is gained on each simple answer (paired, positive is better), and whether intervals hold."""
    truth = found.truth
    errors = {FORESEEN: np.abs(found.later[:, 0] - truth)}
    errors |= {name: np.abs(values - truth) for name, values in found.beside.items()}
    metrics = {"mae" if name == FORESEEN else f"mae-{name}": mean_amount(e) for name, e in errors.items()}
    for name in found.beside:
        if name == FIRST_VALUE and not task.measured:
            continue  # without the first value it is the mean change again
        metrics[f"gain-on-{name}"] = mean_difference(errors[name], errors[FORESEEN])
        metrics[f"skill-on-{name}"] = skill(errors[FORESEEN], errors[name], seed=seed)
    inside = (truth >= found.later[:, 1]) & (truth <= found.later[:, 2])
    metrics["interval-coverage"] = proportion(int(inside.sum()), len(inside), name="later values inside")
    changed = np.array([pair.change != 0 for pair in found.pairs])
    if changed.any() and not changed.all():
        held = inside[changed]
        metrics["interval-coverage-changed"] = proportion(int(held.sum()), len(held), name="changed values inside")
    metrics["interval-width"] = mean_amount(found.later[:, 2] - found.later[:, 1])
    metrics["mean-change"] = mean_difference(truth, np.array([pair.first for pair in found.pairs]))
    if not task.measured:
        metrics.pop(f"mae-{FIRST_VALUE}")
    return metrics


def per_exam(found: Foreseen) -> list[per_case.Row]:
    """Each patient's error, to pair two runs by."""
    errors = np.abs(found.later[:, 0] - found.truth)
    return [
        per_case.Row("foreseen-mae", pair.case, pair.patient, float(error), 1.0, -1)
        for pair, error in zip(found.pairs, errors, strict=True)
    ]


def table(found: Foreseen) -> list[dict[str, Any]]:
    """One row a patient: what was there, what came, and what was said."""
    if not len(found.pairs):
        raise InputError("nobody was asked", where="foresee")
    return [
        {
            "case": pair.case,
            "patient": pair.patient,
            "days": pair.days,
            "first": pair.first,
            "later": pair.later,
            "foreseen": float(said[0]),
            "low": float(said[1]),
            "high": float(said[2]),
        }
        for pair, said in zip(found.pairs, found.later, strict=True)
    ]
