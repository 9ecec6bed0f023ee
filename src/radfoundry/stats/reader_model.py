"""Simulated reader studies with known truth: how readers, cases and arms vary, after Roe and Metz."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from radfoundry.records import InputError
from radfoundry.stats.inputs import Seed, at_least, choice, generator
from radfoundry.stats.readers import ReaderStudy

FIGURES = ("auroc", "accuracy")


@dataclass(frozen=True)
class ReaderModel:
    """Where the variation of readings comes from, in units of the total variance of one reader's readings (1).

    `value` is the expected AUROC (figure "auroc") or the expected share of right readings (figure "accuracy").
    `case`, `arm_case`, `reader_case` are variances of case difficulty, of how arms change it, and of how readers
    differ in it; what is left of 1 is chance. `reader`, `arm_reader` are variances of reader skill and of how much
    each reader gains.

    Source: Roe & Metz, Acad Radiol 1997;4:298.
    """

    figure: str = "auroc"
    value: float = 0.855
    reader: float = 0.0055
    arm_reader: float = 0.0055
    case: float = 0.3
    arm_case: float = 0.3
    reader_case: float = 0.2

    def __post_init__(self) -> None:
        choice(self.figure, FIGURES, "figure")
        parts = (self.reader, self.arm_reader, self.case, self.arm_case, self.reader_case)
        if min(parts) < 0 or self.chance < -1e-9:
            raise InputError(f"variances {parts}", remedy="give variances >= 0 with case parts adding to at most 1")
        if not 0 < self.value < 1:
            raise InputError(f"an expected {self.figure} of {self.value}", remedy="give a number between 0 and 1")

    @property
    def chance(self) -> float:
        """The variance that is neither reader nor case."""
        return 1.0 - self.case - self.arm_case - self.reader_case


@dataclass(frozen=True)
class ReaderDesign:
    """How many readers read how many diseased and healthy cases, each in every arm."""

    readers: int
    diseased: int
    healthy: int

    def __post_init__(self) -> None:
        for name in ("readers", "diseased", "healthy"):
            at_least(getattr(self, name), 2, name)

    @property
    def cases(self) -> int:
        """Diseased and healthy together."""
        return self.diseased + self.healthy


# Roe & Metz 1997, table 1: L or H data (case) correlation, L or H reader variance, at an AUROC of 0.855.
STRUCTURES = {
    "low-case low-reader": ReaderModel(case=0.1, arm_case=0.1, reader_case=0.2, reader=0.0055, arm_reader=0.0055),
    "high-case low-reader": ReaderModel(case=0.3, arm_case=0.3, reader_case=0.2, reader=0.0055, arm_reader=0.0055),
    "low-case high-reader": ReaderModel(case=0.1, arm_case=0.1, reader_case=0.2, reader=0.030, arm_reader=0.030),
    "high-case high-reader": ReaderModel(case=0.3, arm_case=0.3, reader_case=0.2, reader=0.030, arm_reader=0.030),
}


def simulate_study(model: ReaderModel, design: ReaderDesign, *, gain: float = 0.0, rng: Seed = 0) -> ReaderStudy:
    """One two-arm study drawn from a model, the second arm better by `gain` on average over readers and cases.

    With figure "auroc" ratings are continuous; with "accuracy" they are yes/no decisions.

    >>> study = simulate_study(ReaderModel(value=0.8), ReaderDesign(4, 20, 30), gain=0.05, rng=1)
    >>> study.ratings.shape, int(study.truth.sum())
    ((2, 4, 50), 20)
    """
    source = generator(rng)
    truth = np.arange(design.cases) < design.diseased
    if model.figure == "accuracy":
        right = _latent(model, design.readers, np.zeros(design.cases, int), source)
        spread = math.sqrt(1 + model.reader + model.arm_reader)
        level = [spread * float(ndtri(_expected(model, shift))) for shift in (0.0, gain)]
        decided = np.where(right + np.array(level)[:, None, None] > 0, truth, ~truth)
        return ReaderStudy.of(decided.astype(float), truth)
    ratings = _latent(model, design.readers, truth.astype(int), source)
    # Skill varies separately for diseased and healthy cases, so that it moves the distance between them twice.
    spread = math.sqrt(2 * (1 + model.reader + model.arm_reader))
    for arm, shift in enumerate((0.0, gain)):
        ratings[arm][:, truth] += spread * float(ndtri(_expected(model, shift)))
    return ReaderStudy.of(ratings, truth)


def _expected(model: ReaderModel, gain: float) -> float:
    value = model.value + gain
    if not 0 < value < 1:
        raise InputError(f"a gain of {gain} takes the {model.figure} to {value}", remedy="choose a smaller gain")
    return value


def _latent(model: ReaderModel, readers: int, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(arms, readers, cases) of variance 1 plus reader parts; `group` 0/1 has reader effects of its own."""
    cases = len(group)

    def part(variance: float, *shape: int) -> np.ndarray:
        return math.sqrt(max(variance, 0.0)) * rng.standard_normal(shape)

    skill = part(model.reader, 1, readers, 2) + part(model.arm_reader, 2, readers, 2)
    return (
        skill[:, :, group]
        + part(model.case, 1, 1, cases)
        + part(model.arm_case, 2, 1, cases)
        + part(model.reader_case, 1, readers, cases)
        + part(model.chance, 2, readers, cases)
    )
