"""Operating points: a cut-off chosen on validation data, written down, and used unchanged on the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.classification import confusion_measures
from radfoundry.stats.inputs import Seed, as_predictions, binary_columns, choice, one_class_note
from radfoundry.stats.weighted import Ladder

RULES = ("youden", "sensitivity", "specificity", "cost")


@dataclass(frozen=True)
class OperatingPoint:
    """A frozen cut-off and how it was found: a case is called positive at or above `threshold`.

    `sensitivity` and `specificity` are those on the data it was chosen on (flattering, for the record only).
    """

    threshold: float
    rule: str
    wanted: float
    sensitivity: float
    specificity: float
    n: int

    def judge(self, test: Predictions, *, level: float = 0.95, rng: Seed = 0) -> dict[str, Estimate]:
        """The confusion measures of this cut-off on other data, with their intervals."""
        return confusion_measures(test, threshold=self.threshold, level=level, rng=rng)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OperatingPoint:
        """The inverse of `to_dict`."""
        return cls(**dict(values))


def choose_operating_point(
    validation: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    rule: str = "youden",
    wanted: float = 0.9,
) -> OperatingPoint:
    """Choose a cut-off on validation data so that it can be frozen before the test is touched.

    The cut-off lies halfway between the two neighbouring scores, so that it does not hang on one case's decimals.

    Args:
        validation: predictions with both classes, or (n,) targets 0/1; not the test.
        score: (n,) scores beside plain targets.
        rule: "youden" (largest sensitivity + specificity), "sensitivity" (at least `wanted`, then the most
            specific), "specificity" (at least `wanted`, then the most sensitive) or "cost" (a miss costs `wanted`
            times a false alarm; least total cost).
        wanted: what the rule aims at; unused by youden.

    >>> point = choose_operating_point([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.8])
    >>> point.threshold, point.sensitivity
    (0.5, 1.0)
    """
    choice(rule, RULES, "rule")
    if wanted < 0 or (rule in ("sensitivity", "specificity") and wanted > 1):
        raise InputError(f"wanted is {wanted}", remedy="give a share between 0 and 1, or a cost ratio")
    truth, values = binary_columns(as_predictions(validation, score))
    note = one_class_note(truth)
    if note:
        raise InputError(note, remedy="choose the cut-off on cases with and without the finding")
    ladder = Ladder(truth, values)
    found, alarms = (side[0] for side in ladder.climbed(np.ones((1, len(truth)))))
    sensitivity = np.r_[0.0, found / found[-1]]
    specificity = 1 - np.r_[0.0, alarms / alarms[-1]]
    best = _best(rule, wanted, (sensitivity, specificity), (found[-1], alarms[-1]))
    used = wanted if rule != "youden" else float("nan")
    return OperatingPoint(
        _halfway(ladder.threshold, best), rule, used, float(sensitivity[best]), float(specificity[best]), len(truth)
    )


def _best(rule: str, wanted: float, rates: tuple[np.ndarray, np.ndarray], sizes: tuple[float, float]) -> int:
    """The step the rule prefers; 0 calls nothing, the last calls everything."""
    sensitivity, specificity = rates
    if rule == "youden":
        return int(np.argmax(sensitivity + specificity))
    if rule == "cost":
        return int(np.argmin(wanted * (1 - sensitivity) * sizes[0] + (1 - specificity) * sizes[1]))
    # Both rates are monotone along the steps, so the first (or last) step that qualifies is the best one.
    if rule == "sensitivity":
        return int(np.flatnonzero(sensitivity >= wanted - 1e-12)[0])
    return int(np.flatnonzero(specificity >= wanted - 1e-12)[-1])


def _halfway(threshold: np.ndarray, step: int) -> float:
    """A cut-off between the last score called and the first one spared; beyond the ends, just outside them."""
    if step == 0:
        return float(np.nextafter(threshold[0], np.inf))
    if step == len(threshold):
        return float(threshold[-1])
    return float((threshold[step - 1] + threshold[step]) / 2)
