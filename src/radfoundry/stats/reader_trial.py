"""A trial of help in simulation: readers read cases alone and with an AI's scores, and the whole analysis follows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import Seed, finite_numbers, generator, interval_level, true_or_false
from radfoundry.stats.mrmc import obuchowski_rockette
from radfoundry.stats.reader_model import ReaderModel
from radfoundry.stats.readers import ReaderStudy
from radfoundry.stats.readers_aided import AidedChange, aided_change, change_by_ai, kappa_change, two_arms


@dataclass(frozen=True)
class ReaderTrial:
    """Everything a trial of help reports; every change is with help minus without, for new readers and patients.

    `by_ai` splits the change in accuracy by whether the AI was right: a loss where it was wrong is automation bias.
    """

    auroc: AidedChange
    accuracy: AidedChange
    sensitivity: AidedChange
    specificity: AidedChange
    agreement_with_truth: AidedChange
    agreement_between_readers: AidedChange
    by_ai: dict[str, AidedChange]


def simulate_trial(
    truth: ArrayLike,
    ai_score: ArrayLike,
    *,
    readers: int = 8,
    model: ReaderModel | None = None,
    trust: float = 0.4,
    rng: Seed = 0,
) -> ReaderStudy:
    """Ratings of simulated readers alone and with an AI, for cases whose truth and AI scores are known.

    With help a reader weighs his own evidence and the AI's, which is worth as much as its scores separate; readers
    differ in how far they trust it. Chance and reader-specific difficulty are drawn anew for the second reading,
    the case's own difficulty is the same.

    Args:
        truth: (cases,) 0/1.
        ai_score: (cases,) scores of the AI, larger meaning more suspicious.
        readers: how many.
        model: where readers' variation comes from (figure "auroc"); `value` is their AUROC alone.
        trust: mean weight of the AI's evidence, from 0 (ignored) to 1 (followed).
        rng: seed or generator.

    >>> study = simulate_trial([0, 0, 0, 1, 1, 1], [0.1, 0.3, 0.2, 0.6, 0.9, 0.8], readers=3, rng=1)
    >>> study.arms, study.ratings.shape
    (('alone', 'with AI'), (2, 3, 6))
    """
    states, scores = true_or_false(truth, "truth"), finite_numbers(ai_score, "ai_score")
    if len(states) != len(scores) or states.all() or not states.any():
        raise InputError("truth and AI scores do not fit", remedy="give one score per case, of both classes")
    if not 0 <= trust <= 1 or readers < 2:
        raise InputError(f"trust {trust}, readers {readers}", remedy="give 0 <= trust <= 1 and two readers or more")
    base, source = model or ReaderModel(value=0.75), generator(rng)
    shift = math.sqrt(2 * (1 + base.reader + base.arm_reader)) * float(ndtri(base.value))
    case = math.sqrt(base.case) * source.standard_normal(len(states))
    skill = math.sqrt(base.reader) * source.standard_normal((readers, 2))[:, states.astype(int)]
    chance = math.sqrt(max(1 - base.case, 0.0))
    own = [
        skill + case + chance * source.standard_normal((readers, len(states))) + shift * (states - 0.5)
        for _ in range(2)
    ]
    # The AI speaks in the readers' units: its ranks on the normal scale.
    ranks = np.argsort(np.argsort(scores)) + 0.5
    voice = ndtri(ranks / len(ranks)) * math.sqrt(1 + shift**2 / 4)
    weight = np.clip(trust + 0.15 * source.standard_normal((readers, 1)) * (0 < trust < 1), 0, 1)
    aided = (1 - weight) * own[1] + weight * voice
    return ReaderStudy.of([own[0], aided], states, arms=("alone", "with AI"))


def analyse_trial(
    study: ReaderStudy,
    ai_call: ArrayLike,
    *,
    threshold: float = 0.0,
    draws: int = 500,
    rng: Seed = 0,
    level: float = 0.95,
) -> ReaderTrial:
    """The whole analysis of a trial of help from its ratings.

    Args:
        study: two arms of ratings, without help first.
        ai_call: (cases,) what the AI said, 0 or 1.
        threshold: ratings above it are calls of disease; fixed beforehand, the same in both arms.
        draws, rng: of the bootstrap for kappa.
        level: confidence level.
    """
    two_arms(study)
    interval_level(level)
    decisions = ReaderStudy.of(
        (study.ratings > threshold).astype(float), study.truth, arms=study.arms, patient=study.patient
    )
    ratings = obuchowski_rockette(study, covariance="delong", level=level)
    gap = ratings.differences[0].estimate
    auroc = AidedChange(ratings.averages[0], ratings.averages[1], _turned(gap))
    shares = {name: aided_change(decisions, measure=name, level=level) for name in ("sensitivity", "specificity")}
    return ReaderTrial(
        auroc,
        aided_change(decisions, level=level),
        shares["sensitivity"],
        shares["specificity"],
        kappa_change(decisions, against="truth", draws=draws, rng=rng, level=level),
        kappa_change(decisions, against="readers", draws=draws, rng=rng, level=level),
        change_by_ai(decisions, ai_call, level=level),
    )


def _turned(gap: Estimate) -> Estimate:
    """Second minus first instead of first minus second."""
    return Estimate(
        -gap.value, -gap.high, -gap.low, level=gap.level, method=gap.method, n=gap.n, note=gap.note, p_value=gap.p_value
    )
