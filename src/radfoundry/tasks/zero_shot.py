"""The question `zero-shot`: which findings are there, told from sentences alone, without one labelled study?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from radfoundry.records import Estimate, InputError, Predictions, Task
from radfoundry.stats import auc, weighted
from radfoundry.stats.bootstrap import Weighted, bootstrap, bootstrap_difference, bootstrap_many
from radfoundry.tasks.in_words import KIND, Asked

LEAST_OF_A_CLASS = 5
SPREAD_DRAWS = 500


def build(*, findings: Mapping[str, str] | None = None, phrases: Mapping[str, Sequence[str]] | None = None) -> Task:
    """Which findings are there, from prompts alone.

    findings: for a cohort, the label (0 or 1) that says whether each finding is there; phrases: other words for a
    finding than the built-in synonyms.
    """
    spoken = ", ".join(findings) if findings else "every finding the simulator knows"
    del phrases  # read from the setting where prompts are made
    return Task("zero-shot", "findings", KIND, metrics=("zero-shot-auroc",), about=f"Is it there: {spoken}?")


@dataclass(frozen=True, eq=False)
class Prompted:
    """Metrics with intervals, and the ensembles' scores by finding for comparisons in pairs."""

    metrics: Mapping[str, Estimate]
    scores: Mapping[str, Predictions]
    table: Predictions


def measure(asked: Asked, *, phrases: Mapping[str, Sequence[str]] | None = None, seed: int = 0) -> Prompted:
    """AUROC of each finding and their mean, scored by the mean over prompts; and how much single prompts differ.

    The score of a prompt is how much nearer the image is to "there is …" than to "no …". `prompt-spread` is the gap
    between the best and the worst single prompt, mean over findings; `ensemble-minus-single` what the mean of the
    prompts gains over one prompt. Findings with fewer than 5 studies of either kind are named and left out.
    """
    gaps = {name: prompt_gaps(asked, name, (phrases or {}).get(name, ())) for name in asked.findings}
    kept = [name for name, truth in asked.findings.items() if _enough(truth)]
    if not kept:
        raise InputError("no finding has five studies with it and five without", remedy="ask more studies")
    scores = {name: _told(asked, name, gaps[name].mean(axis=0)) for name in kept}
    metrics: dict[str, Estimate] = {}
    for name in asked.findings:
        metrics[f"zero-shot-auroc-{name}"] = (
            _one(asked, name, gaps[name], scores[name]) if name in kept else _too_few(asked.findings[name])
        )
    table = _table(asked, kept, [gaps[name].mean(axis=0) for name in kept])
    metrics["zero-shot-auroc"] = bootstrap(MEAN_AUROC, table, rng=seed)
    metrics |= _spread(asked, {name: gaps[name] for name in kept}, table, seed=seed)
    return Prompted(metrics, scores, table)


def prompt_gaps(asked: Asked, finding: str, phrases: Sequence[str] = ()) -> np.ndarray:
    """`(prompts, N)`: how much nearer each study is to a finding's presence than to its absence."""
    from radfoundry.simulate import prompts

    pairs = prompts.pairs(finding, phrases)
    said = asked.model.said([sentence for pair in pairs for sentence in pair])
    return ((said[0::2] - said[1::2]) @ asked.seen.T).numpy()


def difference(first: Prompted, second: Prompted, *, seed: int = 0) -> dict[str, Estimate]:
    """How much better the first model tells the findings both were asked about, study by study."""
    found = {
        f"zero-shot-auroc-{name}": auc.auroc_difference(first.scores[name], second.scores[name])
        for name in first.scores
        if name in second.scores
    }
    return {"zero-shot-auroc": bootstrap_difference(MEAN_AUROC, first.table, second.table, rng=seed), **found}


def _spread(asked: Asked, gaps: Mapping[str, np.ndarray], table: Predictions, *, seed: int) -> dict[str, Estimate]:
    """What single prompts do: the gap between best and worst, and what their mean gains over one."""
    areas = [[_area(asked.findings[name], gap) for gap in values] for name, values in gaps.items()]
    whole = MEAN_AUROC.prepare(table)

    def gap(weights: np.ndarray) -> np.ndarray:
        return np.mean([np.ptp([area(weights) for area in prompts], axis=0) for prompts in areas], axis=0)

    def gain(weights: np.ndarray) -> np.ndarray:
        single = np.mean([np.mean([area(weights) for area in prompts], axis=0) for prompts in areas], axis=0)
        return whole(weights) - single

    asked_of = {
        "prompt-spread": Weighted("prompt spread", lambda _: gap),
        "ensemble-minus-single": Weighted("ensemble minus one prompt", lambda _: gain),
    }
    return bootstrap_many(asked_of, table, rng=seed, method="percentile", draws=SPREAD_DRAWS)


Area = Callable[[np.ndarray], np.ndarray]


def _area(truth: np.ndarray, score: np.ndarray) -> Area:
    """AUROC over the studies whose truth is known, as a function of weights of all studies."""
    known = ~np.isnan(truth)
    area = weighted.weighted_auroc.prepare(Predictions.of(truth[known].astype(int), score[known]))
    return lambda weights: area(weights[:, known])


def _mean_area(data: Predictions) -> Area:
    """The mean over findings, one column each; a target of -1 is unknown."""
    parts = [
        _area(np.where(truth < 0, np.nan, truth.astype(float)), score)
        for truth, score in zip(data.target.T, data.score.T, strict=True)
    ]
    return lambda weights: np.mean([part(weights) for part in parts], axis=0)


MEAN_AUROC = Weighted("mean AUROC over findings", _mean_area)


def _table(asked: Asked, names: Sequence[str], scores: Sequence[np.ndarray]) -> Predictions:
    truth = np.stack([np.nan_to_num(asked.findings[name], nan=-1).astype(int) for name in names], axis=1)
    return Predictions.of(truth, np.stack(scores, axis=1), patient=asked.patient, case=asked.case)


def _one(asked: Asked, name: str, gaps: np.ndarray, told: Predictions) -> Estimate:
    whole = auc.auroc(told)
    single = [auc.auroc(_told(asked, name, gap)).value for gap in gaps]
    there = f"{int(told.target.sum())} of {len(told)} have it"
    note = f"mean of {len(gaps)} prompts, single ones {min(single):.2f} to {max(single):.2f}; {there}"
    return Estimate(whole.value, whole.low, whole.high, method=whole.method, n=whole.n, note=note)


def _enough(truth: np.ndarray) -> bool:
    return min((truth == 1).sum(), (truth == 0).sum()) >= LEAST_OF_A_CLASS


def _too_few(truth: np.ndarray) -> Estimate:
    return Estimate.undefined(f"{int((truth == 1).sum())} of {len(truth)} studies have it", n=len(truth))


def _told(asked: Asked, name: str, score: np.ndarray) -> Predictions:
    """The studies whose truth is known, with their score."""
    truth = asked.findings[name]
    known = ~np.isnan(truth)
    whole = Predictions.of(np.nan_to_num(truth).astype(int), score, patient=asked.patient, case=asked.case)
    return whole if known.all() else whole.take(known)
