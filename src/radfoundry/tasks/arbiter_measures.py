"""What an arbiter adds to its specialists, and what it loses when one of them turns against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from radfoundry.records import Estimate, Predictions
from radfoundry.stats import auc, calibration, proportions
from radfoundry.tasks.arbiter import Evidence

ARBITER, MEAN, GENERALIST, CHOSEN = "arbiter", "mean-vote", "generalist", "chosen-specialist"


@dataclass(frozen=True, eq=False)
class Decided:
    """Out-of-sample decisions about tested cases, and what they were made from.

    chosen: votes of the specialist that was best on the teaching cases of each fold · attacks: how one specialist was
    replaced -> (arbiter's decisions, mean vote) · without: what was not listened to -> the arbiter's decisions ·
    forced: decisions with every specialist saying no.
    """

    case: np.ndarray
    patient: np.ndarray
    target: np.ndarray
    evidence: Evidence
    decided: np.ndarray
    mean: np.ndarray
    chosen: np.ndarray
    attacks: Mapping[str, tuple[np.ndarray, np.ndarray]]
    without: Mapping[str, np.ndarray]
    forced: np.ndarray

    def of(self, score: np.ndarray) -> Predictions:
        """Scores of the tested cases beside the truth."""
        return Predictions.of(self.target, score, patient=self.patient, case=self.case)


def measure(found: Decided, *, seed: int = 0) -> dict[str, Estimate]:
    """AUROC of the arbiter and everybody it hears, paired gains, losses under attack, and ablations.

    Attacks replace the specialist that votes best on the teaching cases by its opposite, or by votes of other cases.
    A gain above 0 is in favour of the arbiter.
    """
    main = found.of(found.decided)
    metrics = {f"auroc-{ARBITER}": auc.auroc(main), "brier": calibration.brier_score(main, rng=seed)}
    rivals = {MEAN: found.mean, GENERALIST: found.evidence.generalist, CHOSEN: found.chosen}
    for name, score in rivals.items():
        metrics[f"auroc-{name}"] = auc.auroc(found.of(score))
        metrics[f"{ARBITER}-minus-{name}"] = auc.auroc_difference(main, found.of(score))
    for place, name in enumerate(found.evidence.names):
        votes = np.nan_to_num(found.evidence.votes[:, place], nan=0.5)
        metrics[f"auroc-of-{name}"] = auc.auroc(found.of(votes))
    for name, (decided, mean) in found.attacks.items():
        under = found.of(decided)
        metrics[f"auroc-{ARBITER}-under-{name}"] = auc.auroc(under)
        metrics[f"lost-under-{name}"] = auc.auroc_difference(main, under)
        metrics[f"{ARBITER}-minus-{MEAN}-under-{name}"] = auc.auroc_difference(under, found.of(mean))
    for name, decided in found.without.items():
        metrics[f"gain-of-{name}"] = auc.auroc_difference(main, found.of(decided))
    metrics["kept-when-all-say-no"] = _kept(found)
    return metrics


def _kept(found: Decided) -> Estimate:
    """Of the true cases that the generalist calls, the share the arbiter still calls when all specialists say no."""
    rows = (found.target == 1) & (found.evidence.generalist >= 0.5)
    if not rows.any():
        return Estimate.undefined("the generalist calls no true case")
    return proportions.clustered_proportion(found.forced[rows] >= 0.5, found.patient[rows], name="kept")
