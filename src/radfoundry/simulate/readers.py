"""Readers and black-box tools: how sure they say they are, how an aid changes it, how a vendor's tool goes wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radfoundry.records import InputError


@dataclass(frozen=True)
class Reader:
    """A reader: `skill` is the separation d' of the equal-variance binormal model, `threshold` where yes begins.

    `learning` is how much d' grows with every hundred cases read; `trust` how far an aid's score pulls (0 ignores
    it, 1 copies it).
    """

    name: str = "reader"
    skill: float = 1.5
    threshold: float = 0.75
    learning: float = 0.0
    trust: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.trust <= 1:
            raise InputError(f"trust {self.trust} is not a share", where=self.name)


@dataclass(frozen=True, eq=False)
class Reading:
    """Scores `(readers, cases)` on a common scale and yes-or-no decisions, without and with the aid."""

    score: np.ndarray
    decision: np.ndarray
    aided_score: np.ndarray
    aided_decision: np.ndarray


def read_cases(
    truth: np.ndarray,
    readers: tuple[Reader, ...],
    *,
    aid: np.ndarray | None = None,
    case_sd: float = 0.5,
    rng: np.random.Generator,
) -> Reading:
    """Every reader reads every case, cases sharing a common difficulty (Roe and Metz 1997, Acad Radiol 4:298).

    Scores are `d' truth + difficulty + own noise`, with variances that add to 1 where `case_sd`² is the shared part,
    so a reader's expected area under the curve is `Phi(d'/sqrt 2)`. `aid` `(cases,)` is a score on the same scale.
    """
    truth = np.asarray(truth, dtype=float)
    if not 0 <= case_sd <= 1:
        raise InputError(f"case_sd {case_sd} leaves no room for the readers' own noise", remedy="give 0 to 1")
    difficulty = rng.normal(0, case_sd, len(truth))
    own = rng.normal(0, np.sqrt(1 - case_sd**2), (len(readers), len(truth)))
    skill = np.array([[reader.skill] for reader in readers])
    learning = np.array([[reader.learning] for reader in readers]) * np.arange(len(truth)) / 100
    score = (skill + learning) * truth + difficulty + own
    threshold = np.array([[reader.threshold] for reader in readers])
    trust = np.array([[reader.trust] for reader in readers])
    aided = score if aid is None else (1 - trust) * score + trust * np.asarray(aid, dtype=float)
    return Reading(score, score > threshold, aided, aided > threshold)


@dataclass(frozen=True)
class Vendor:
    """A tool we cannot look into, at a stated operating point.

    `failure` says which errors it makes: `random` ones have nothing to do with the image; `subgroup` lowers the
    sensitivity to `weak_sensitivity` where the subgroup is; `subtle` misses what is faint first.
    """

    name: str = "vendor"
    sensitivity: float = 0.9
    specificity: float = 0.9
    failure: str = "random"
    weak_sensitivity: float = 0.5

    def __post_init__(self) -> None:
        if self.failure not in ("random", "subgroup", "subtle"):
            raise InputError(f"unknown failure {self.failure!r}", remedy="one of random, subgroup, subtle")
        if not all(0 <= value <= 1 for value in (self.sensitivity, self.specificity, self.weak_sensitivity)):
            raise InputError("operating points are shares from 0 to 1", where=self.name)


def vendor_output(
    truth: np.ndarray,
    vendor: Vendor,
    *,
    rng: np.random.Generator,
    subgroup: np.ndarray | None = None,
    conspicuity: np.ndarray | None = None,
) -> np.ndarray:
    """The tool's yes or no for every case.

    `subgroup` `(n,)` booleans and `conspicuity` `(n,)` (larger is plainer to see) are needed by the failures of
    those names. A `subtle` tool finds exactly the plainest share `sensitivity` of the diseased.
    """
    truth = np.asarray(truth, dtype=bool)
    found = rng.random(len(truth)) < vendor.sensitivity
    if vendor.failure == "subgroup":
        if subgroup is None:
            raise InputError("the subgroup is missing", where=vendor.name, remedy="give one boolean a case")
        found = rng.random(len(truth)) < np.where(subgroup, vendor.weak_sensitivity, vendor.sensitivity)
    if vendor.failure == "subtle":
        if conspicuity is None:
            raise InputError("the conspicuity is missing", where=vendor.name, remedy="give one number a case")
        order = np.argsort(-np.where(truth, conspicuity, -np.inf), kind="stable")
        found = np.zeros(len(truth), dtype=bool)
        found[order[: round(vendor.sensitivity * int(truth.sum()))]] = True
    alarm = rng.random(len(truth)) >= vendor.specificity
    return np.where(truth, found, alarm)
