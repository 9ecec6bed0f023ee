"""The bootstrap engine: patients stay whole, weights equal repeated rows, and intervals equal independent ones."""

import numpy as np
import pytest

from radfoundry.records import InputError, Predictions
from radfoundry.stats import bootstrap as engine
from radfoundry.stats.bootstrap import (
    bca_shares,
    bootstrap,
    bootstrap_difference,
    bootstrap_many,
    draw_weights,
    widened_level,
)
from radfoundry.stats.weighted import weighted_auroc, weighted_brier, weighted_mean


def data(seed=0, n=60, rows=1):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    return Predictions.of(truth, rng.random(n) * 0.5 + truth * 0.3, patient=np.arange(n) // rows)


def area(sample):
    return weighted_auroc(sample)


@pytest.mark.parametrize("method", ["percentile", "bca", "studentised", "stratified percentile", "stratified bca"])
def test_weights_give_the_same_interval_as_repeated_rows(method):
    sample = data(n=30, rows=2)
    fast = bootstrap(weighted_auroc, sample, draws=60, rng=3, method=method)
    slow = bootstrap(area, sample, draws=60, rng=3, method=method)
    assert [fast.low, fast.high] == pytest.approx([slow.low, slow.high])


def test_rows_of_a_patient_share_their_weight_and_each_draw_has_as_many_patients():
    patient = np.array(["c", "a", "a", "b", "c", "c"])
    weights = draw_weights(patient, draws=200, rng=0)
    for name in "abc":
        rows = weights[:, patient == name]
        assert (rows == rows[:, :1]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights[:, [0, 1, 3]].mean(axis=0) == pytest.approx([1, 1, 1], abs=0.2)


def test_strata_keep_their_number_of_patients():
    patient, strata = np.repeat(np.arange(10), 2), np.repeat([0] * 7 + [1] * 3, 2)
    weights = draw_weights(patient, draws=50, rng=0, strata=strata)
    assert (weights[:, ::2][:, 7:].sum(axis=1) == 3).all()
    with pytest.raises(InputError, match="two strata"):
        draw_weights(["a", "a"], draws=20, strata=[0, 1])


def test_the_size_of_blocks_does_not_change_the_draws(monkeypatch):
    sample = data(n=50)
    whole = [bootstrap(weighted_auroc, sample, draws=100, method=m) for m in ("percentile", "bca")]
    monkeypatch.setattr(engine, "BLOCK", 777)
    parts = [bootstrap(weighted_auroc, sample, draws=100, method=m) for m in ("percentile", "bca")]
    for one, other in zip(whole, parts, strict=True):
        assert (one.low, one.high) == (other.low, other.high)


def test_a_seed_repeats_and_another_differs():
    sample = data()
    first, again, other = (bootstrap(weighted_auroc, sample, draws=100, rng=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.low != other.low
    assert bootstrap(weighted_auroc, sample, draws=100, rng=np.random.default_rng(1)) == first


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_interval_of_a_mean_equals_scipys(method):
    from scipy.stats import bootstrap as scipys

    values = np.random.default_rng(0).exponential(size=40)
    sample = Predictions.of(values, values)
    ours = bootstrap(weighted_mean("mean", lambda d: d.score), sample, draws=20_000, method=method.lower())
    level = 0.95 if method == "percentile" else widened_level(0.95, 40)
    random = np.random.default_rng(1)
    theirs = scipys((values,), np.mean, n_resamples=20_000, method=method, confidence_level=level, rng=random)
    limits = theirs.confidence_interval
    assert [ours.low, ours.high] == pytest.approx([limits.low, limits.high], abs=0.02)


def test_studentised_interval_of_a_skewed_mean_leans_to_the_long_tail():
    values = np.random.default_rng(2).exponential(size=30)
    sample = Predictions.of(values, values)
    mean = weighted_mean("mean", lambda d: d.score)
    plain, leaning = (bootstrap(mean, sample, method=m) for m in ("percentile", "studentised"))
    assert leaning.high > plain.high


def test_symmetric_draws_need_no_correction():
    drawn = np.linspace(-1, 1, 2001)
    assert bca_shares(0.0, drawn, np.linspace(-1, 1, 11)) == pytest.approx([0.025, 0.975], abs=1e-6)


def test_many_statistics_share_their_draws():
    sample = data()
    both = bootstrap_many({"area": weighted_auroc, "brier": weighted_brier}, sample, draws=100, rng=5)
    assert both["area"] == bootstrap(weighted_auroc, sample, draws=100, rng=5)
    assert both["brier"] == bootstrap(weighted_brier, sample, draws=100, rng=5)


def test_undefined_draws_are_counted_and_an_undefined_statistic_says_so():
    rare = Predictions.of([1] + [0] * 9, np.linspace(1, 0, 10))
    estimate = bootstrap(weighted_auroc, rare, draws=200)
    assert "draws undefined" in estimate.note
    none = bootstrap(weighted_auroc, Predictions.of([0, 0], [0.1, 0.2]), draws=50)
    assert not none.defined
    assert "undefined" in none.note
    alone = bootstrap(weighted_auroc, Predictions.of([1, 0], [0.2, 0.1]), draws=200, method="stratified percentile")
    assert alone.value == 1.0


def test_the_difference_of_a_predictor_with_itself_is_nothing():
    sample = data()
    same = bootstrap_difference(weighted_auroc, sample, sample, draws=100)
    assert (same.value, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_a_clear_difference_is_found_and_its_p_value_is_never_nothing():
    truth = np.tile([0, 1], 100)
    noise = np.random.default_rng(0).normal(size=200)
    good, bad = Predictions.of(truth, truth * 3 + noise), Predictions.of(truth, noise)
    found = bootstrap_difference(weighted_auroc, good, bad, draws=500)
    assert found.low > 0.2
    assert found.p_value == pytest.approx(2 / 501)


def test_clusters_widen_the_interval():
    truth = np.tile([0, 1], 25)
    score = truth + np.random.default_rng(1).normal(size=50)
    copies = [np.repeat(column, 6) for column in (truth, score)]
    naive = bootstrap(weighted_auroc, Predictions.of(*copies))
    honest = bootstrap(weighted_auroc, Predictions.of(*copies, patient=np.repeat(np.arange(50), 6)))
    assert honest.high - honest.low > 2 * (naive.high - naive.low)


@pytest.mark.parametrize("wrong", [{"draws": 5}, {"method": "magic"}, {"level": 0}])
def test_impossible_requests_are_refused(wrong):
    with pytest.raises(InputError):
        bootstrap(weighted_auroc, data(), **wrong)


def test_stratifying_by_a_continuous_target_is_refused():
    ages = np.linspace(20, 90, 40)
    with pytest.raises(InputError, match="too many to stratify"):
        bootstrap(weighted_mean("mean", lambda d: d.score), Predictions.of(ages, ages), method="stratified percentile")
