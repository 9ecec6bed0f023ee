"""A reader trial in simulation: what readers would gain from an AI whose scores are known, and what would mislead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.auc import auroc
from radfoundry.stats.reader_model import ReaderDesign, ReaderModel
from radfoundry.stats.reader_size import false_findings, reader_study_power
from radfoundry.stats.reader_trial import analyse_trial, simulate_trial

SIMULATIONS = 400
# Variances of yes/no readings in which help changes readers and cases differently, as it does.
ACCURACY = ReaderModel(figure="accuracy", reader=0.05, arm_reader=0.02, case=0.4, arm_case=0.1, reader_case=0.1)


def plan_trial(
    ai: Predictions, *, readers: int, reader_auroc: float, trust: float, gain: float, seed: int
) -> dict[str, Estimate]:
    """Simulate readers alone and with the AI on the AI's own cases, analyse the trial, and judge its design.

    Args:
        ai: scores of a yes-or-no question with the truth.
        readers: how many.
        reader_auroc: of a reader alone.
        trust: weight readers give to the AI.
        gain: gain in accuracy whose chance of being found is reported as `power`.
        seed: of everything drawn.

    `false-findings-pooled` is what a test that pools all readings would claim in trials without any effect.
    """
    truth = np.asarray(ai.target).astype(int)
    if ai.score.ndim != 1 or not set(np.unique(truth)) <= {0, 1}:
        raise InputError("not a yes-or-no question", where="reader trial", remedy="choose a question with two answers")
    rng = np.random.default_rng(seed)
    study = simulate_trial(
        truth, ai.score, readers=readers, model=ReaderModel(value=reader_auroc), trust=trust, rng=rng
    )
    study = replace(study, patient=ai.patient)
    # The AI calls as many cases as there are diseased ones.
    call = ai.score > np.quantile(ai.score, 1 - truth.mean())
    found = analyse_trial(study, call, rng=rng)
    design = ReaderDesign(readers, int(truth.sum()), int((1 - truth).sum()))
    model = replace(ACCURACY, value=min(max(found.accuracy.without.value, 0.55), 0.95 - gain))
    false = false_findings(model, design, simulations=SIMULATIONS, rng=rng)
    return {
        "ai-auroc": auroc(ai),
        "auroc-alone": found.auroc.without,
        "auroc-with-ai": found.auroc.aided,
        "auroc-change": found.auroc.change,
        "accuracy-change": found.accuracy.change,
        "sensitivity-change": found.sensitivity.change,
        "specificity-change": found.specificity.change,
        "kappa-with-truth-change": found.agreement_with_truth.change,
        "kappa-between-readers-change": found.agreement_between_readers.change,
        "accuracy-change-ai-right": found.by_ai["AI right"].change,
        "accuracy-change-ai-wrong": found.by_ai["AI wrong"].change,
        "power": reader_study_power(model, design, gain, simulations=SIMULATIONS, rng=rng),
        "false-findings-two-way": false["two-way"],
        "false-findings-pooled": false["pooled"],
    }
