"""Simulated trials of help: what a good, a useless and a wrong AI do to readers."""

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.mrmc import obuchowski_rockette
from radfoundry.stats.mrmc_covariance import reader_aucs
from radfoundry.stats.reader_trial import analyse_trial, simulate_trial


def cases(seed, *, gain, n=160):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) < n // 2
    return truth, gain * truth + rng.normal(size=n)


def trial(gain, *, seed=0, **options):
    truth, scores = cases(seed, gain=gain)
    study = simulate_trial(truth, scores, readers=8, rng=seed, **options)
    return analyse_trial(study, scores > np.median(scores), draws=100)


def test_good_help_raises_everything_and_readers_agree_more():
    found = trial(2.5)
    assert found.auroc.change.low > 0
    assert found.accuracy.change.low > 0
    assert found.agreement_with_truth.change.low > 0
    assert found.agreement_between_readers.change.low > 0
    assert found.auroc.without.low < 0.75 < found.auroc.without.high


def test_automation_bias_shows_where_the_ai_is_wrong():
    found = trial(1.0, seed=1, trust=0.6)
    assert found.by_ai["AI right"].change.low > 0
    assert found.by_ai["AI wrong"].change.high < 0


def test_useless_help_does_harm_and_ignored_help_does_nothing():
    assert trial(0.0, seed=2, trust=0.6).auroc.change.high < 0
    ignored = [simulate_trial(*cases(seed, gain=2.5), trust=0.0, rng=seed) for seed in range(20)]
    p_values = [obuchowski_rockette(study, covariance="delong").p_value for study in ignored]
    assert sum(p_value > 0.05 for p_value in p_values) >= 16


def test_readers_who_follow_fully_are_the_ai():
    truth, scores = cases(3, gain=1.5)
    study = simulate_trial(truth, scores, trust=1.0, rng=3)
    area = (scores[truth][:, None] > scores[~truth]).mean()
    assert reader_aucs(study)[1] == pytest.approx(area)


def test_trials_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="both classes"):
        simulate_trial([1, 1], [0.1, 0.2])
    with pytest.raises(InputError, match="trust 2"):
        simulate_trial([0, 1], [0.1, 0.2], trust=2)
