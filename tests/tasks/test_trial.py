"""A simulated reader trial around an AI's scores: what holds with a good AI, and with labels dealt out to others."""

import numpy as np
import pytest

from radfoundry.records import InputError, Predictions
from radfoundry.tasks import trial

OPTIONS = {"readers": 10, "reader_auroc": 0.75, "trust": 0.5, "gain": 0.1, "seed": 1}


def ai(gain, *, permuted=False, n=120):
    rng = np.random.default_rng(2)
    truth = np.arange(n) % 2
    scores = gain * truth + rng.normal(size=n)
    return Predictions.of(rng.permutation(truth) if permuted else truth, scores, patient=np.arange(n) // 2)


def test_good_ai_helps_permuted_labels_do_not_and_pooled_tests_mislead(monkeypatch):
    monkeypatch.setattr(trial, "SIMULATIONS", 150)
    found = trial.plan_trial(ai(2.5), **OPTIONS)
    assert found["auroc-change"].low > 0
    assert found["kappa-between-readers-change"].low > 0
    assert found["false-findings-two-way"].low <= 0.05 <= found["false-findings-two-way"].high
    assert found["false-findings-pooled"].low > 0.10
    assert found["power"].value > 0.3
    control = trial.plan_trial(ai(2.5, permuted=True), **OPTIONS)
    assert control["auroc-change"].value < 0 > control["auroc-change"].low
    assert control["ai-auroc"].low < 0.5 < control["ai-auroc"].high


def test_questions_with_more_answers_are_refused():
    with pytest.raises(InputError, match="two answers"):
        trial.plan_trial(Predictions.of([0, 1, 2], [0.1, 0.2, 0.3]), **OPTIONS)
