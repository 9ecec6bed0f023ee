"""Tests: exact ones from all possibilities, error rates under true nulls, and verdicts against margins."""

from itertools import product
from math import comb

import numpy as np
import pytest

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.comparisons import (
    mann_whitney,
    mcnemar,
    mcnemar_p,
    mean_amount,
    mean_difference,
    paired_permutation,
    permutation_test,
    wilcoxon,
)
from radfoundry.stats.equivalence import equivalence, non_inferiority
from radfoundry.stats.multiplicity import adjust, adjust_estimates
from radfoundry.stats.resampled import auroc_over_seeds, mean_over_seeds, resampled_t
from radfoundry.stats.weighted import weighted_auroc


@pytest.mark.parametrize(("one", "other"), [(0, 0), (3, 3), (1, 6), (0, 5), (10, 4)])
def test_mcnemar_counts_binomial_possibilities(one, other):
    n = one + other
    at_most = sum(comb(n, k) for k in range(min(one, other) + 1)) / 2**n
    point = comb(n, min(one, other)) / 2**n
    assert mcnemar_p(one, other, method="exact") == pytest.approx(min(1, 2 * at_most))
    assert mcnemar_p(one, other, method="mid-p") == pytest.approx(min(1, 2 * at_most - point) if n else 1.0)


def test_mcnemar_turns_round_and_its_interval_holds_the_difference():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, 80), rng.integers(0, 2, 80)
    there, back = mcnemar(first, second), mcnemar(second, first)
    assert there.value == pytest.approx(np.mean(first) - np.mean(second))
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p_value == back.p_value
    assert mcnemar(first, first).p_value == 1.0
    assert mcnemar(first, first).low < 0 < mcnemar(first, first).high


def test_clustered_mcnemar_does_not_count_copies():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 2, 60), rng.integers(0, 2, 60)
    six = [np.repeat(column, 6) for column in (first, second)]
    naive, honest = mcnemar(*six), mcnemar(*six, patient=np.repeat(np.arange(60), 6))
    assert honest.value == naive.value
    assert honest.high - honest.low > 2 * (naive.high - naive.low)


def test_exact_permutation_counts_every_swap():
    gap = np.array([0.3, -0.1, 0.5, 0.2, 0.4])
    sums = [abs(sum(s * g for s, g in zip(signs, gap, strict=True))) for signs in product((1, -1), repeat=5)]
    share = np.mean(np.array(sums) >= abs(gap.sum()) - 1e-12)
    assert paired_permutation(gap, np.zeros(5)).p_value == pytest.approx(share)


def test_random_swaps_agree_with_students_t_and_clusters_swap_whole():
    rng = np.random.default_rng(2)
    first = rng.normal(0.2, 1, 120)
    drawn, closed = paired_permutation(first, np.zeros(120)), mean_difference(first, np.zeros(120))
    assert drawn.p_value == pytest.approx(closed.p_value, abs=0.02)
    copies = paired_permutation(np.repeat(first, 4), np.zeros(480), patient=np.repeat(np.arange(120), 4))
    assert copies.p_value == pytest.approx(drawn.p_value, abs=0.02)


def test_permutation_of_an_area():
    truth = np.tile([0, 1], 60)
    noise = np.random.default_rng(3).normal(size=(2, 120))
    good, bad = Predictions.of(truth, 2 * truth + noise[0]), Predictions.of(truth, noise[1])
    assert permutation_test(weighted_auroc, good, bad, draws=300).p_value == pytest.approx(1 / 301)
    assert permutation_test(weighted_auroc, bad, bad, draws=300).p_value == 1.0


def test_mann_whitney_is_the_share_of_pairs_won():
    rng = np.random.default_rng(4)
    one, other = rng.integers(0, 9, 25), rng.integers(2, 11, 30)
    won = np.mean([(a > b) + (a == b) / 2 for a, b in product(one, other)])
    test, back = mann_whitney(one, other), mann_whitney(other, one)
    assert test.value == pytest.approx(won)
    assert back.value == pytest.approx(1 - won)
    assert not mann_whitney([], [1.0]).defined


def test_wilcoxon_counts_every_sign_and_its_interval_inverts_the_test():
    gap = np.array([0.3, -0.1, 0.52, 0.21, 0.44, 0.7, -0.32, 0.9])
    ranks = np.argsort(np.argsort(np.abs(gap))) + 1
    seen = sum(r for r, g in zip(ranks, gap, strict=True) if g > 0)
    sums = np.array([sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in product((0, 1), repeat=8)])
    test = wilcoxon(gap, np.zeros(8))
    assert test.p_value == pytest.approx(min(1, 2 * min((sums >= seen).mean(), (sums <= seen).mean())))
    assert wilcoxon(gap - test.low - 1e-6, np.zeros(8)).p_value > 0.05
    assert wilcoxon(gap - test.low + 0.05, np.zeros(8)).p_value <= 0.05
    assert np.isnan(wilcoxon([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]).low)
    assert wilcoxon([1.0, 2.0], [1.0, 2.0]).p_value == 1.0


def test_corrected_t_rejects_a_true_null_about_as_often_as_it_says_where_the_plain_one_does_not():
    rng = np.random.default_rng(5)
    corrected = plain = 0
    for _ in range(400):
        # Ten runs whose differences share half their variance, as overlapping training sets make them.
        runs = rng.normal(0, 1) + rng.normal(0, 1, 10)
        corrected += resampled_t(runs, test_share=1.0).p_value < 0.05
        plain += mean_difference(runs, np.zeros(10)).p_value < 0.05
    assert corrected / 400 < 0.08
    assert plain / 400 > 0.3


def test_seed_and_case_variance_are_told_apart():
    rng = np.random.default_rng(6)
    cases, seeds = rng.normal(0, 1, 4000), rng.normal(0, 0.5, 8)
    table = cases + seeds[:, None] + rng.normal(0, 1, (8, 4000))
    apart = mean_over_seeds(table)
    assert apart.seed_spread == pytest.approx(seeds.std(ddof=1), rel=0.05)
    assert apart.case_spread == pytest.approx(np.sqrt((1 + 1 / 8) / 4000), rel=0.05)
    assert apart.over_both.high - apart.over_both.low > 5 * (apart.over_cases.high - apart.over_cases.low)


def test_seeds_that_differ_by_case_noise_alone_have_no_seed_variance():
    rng = np.random.default_rng(7)
    spreads = [mean_over_seeds(rng.normal(0, 1, (5, 200))).seed_spread for _ in range(40)]
    assert np.median(spreads) < 0.03


def test_area_over_seeds_is_the_mean_area_and_needs_the_same_cases():
    rng = np.random.default_rng(8)
    truth = rng.integers(0, 2, 150)
    runs = [Predictions.of(truth, truth + rng.normal(0, 1.2, 150)) for _ in range(4)]
    apart = auroc_over_seeds(runs)
    assert apart.over_both.value == pytest.approx(np.mean([weighted_auroc(run) for run in runs]))
    assert apart.over_both.high - apart.over_both.low >= apart.over_cases.high - apart.over_cases.low
    with pytest.raises(InputError, match="rows"):
        auroc_over_seeds([runs[0], runs[1].take(np.arange(100))])


def test_adjusting_keeps_order_counts_only_tests_and_never_shrinks():
    raw = np.array([0.04, np.nan, 0.001, 0.3, 0.02])
    for method in ("holm", "benjamini-hochberg", "bonferroni"):
        changed = adjust(raw, method=method)
        known = ~np.isnan(raw)
        assert np.isnan(changed[1])
        assert (changed[known] >= raw[known]).all()
        assert (np.argsort(changed[known], kind="stable") == np.argsort(raw[known], kind="stable")).all()
    assert adjust(raw, method="bonferroni")[2] == pytest.approx(0.004)
    named = adjust_estimates({"a": Estimate(1.0, p_value=0.02), "b": Estimate(1.0)})
    assert (named["a"].p_value, named["b"].p_value) == (0.02, None)


def test_holm_keeps_false_claims_rare_when_all_nulls_are_true():
    rng = np.random.default_rng(9)
    claims = sum((adjust(rng.random(20)) < 0.05).any() for _ in range(2000)) / 2000
    assert 0.03 < claims < 0.065


def test_verdicts_follow_the_interval():
    sure = Estimate(-0.01, -0.03, 0.01)
    assert non_inferiority(sure, margin=0.05).shown
    assert not non_inferiority(sure, margin=0.02).shown
    assert non_inferiority(Estimate(0.04, 0.01, 0.07), margin=0.02).text.startswith("superior")
    assert non_inferiority(Estimate(0.5, 0.2, 0.8), margin=1.0, larger_is_better=False).shown
    assert not non_inferiority(Estimate(0.5, 0.2, 1.2), margin=1.0, larger_is_better=False).shown
    assert equivalence(Estimate(0.0, -0.04, 0.04, level=0.9), margin=0.05).shown
    assert not equivalence(Estimate(0.0, -0.06, 0.04, level=0.9), margin=0.05).shown


def test_a_verdicts_p_value_meets_its_limit():
    """The p-value equals the one-sided error exactly where the limit touches the margin."""
    touching = Estimate(-0.01, -0.05, 0.03)
    assert non_inferiority(touching, margin=0.05).p_value == pytest.approx(0.025, abs=1e-6)
    assert equivalence(Estimate(0.0, -0.05, 0.05, level=0.9), margin=0.05).p_value == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: mcnemar([1, 0], [1]),
        lambda: mcnemar([1, 0], [1, 0], method="guess"),
        lambda: adjust([0.1, 1.4]),
        lambda: resampled_t([0.1, 0.2], test_share=0),
        lambda: mean_over_seeds([[1.0, 2.0]]),
        lambda: non_inferiority(Estimate(0.1, -0.1, 0.3), margin=-1),
        lambda: equivalence(Estimate(0.1), margin=0.1),
        lambda: wilcoxon([1.0], [1.0, 2.0]),
    ],
)
def test_impossible_questions_are_refused(broken):
    with pytest.raises(InputError):
        broken()


def test_the_mean_of_an_amount_has_the_interval_of_the_paired_test_and_no_test():
    values = [3.0, 5.0, 4.0, 7.5]
    found, paired = mean_amount(values), mean_difference(values, [0.0] * 4)
    assert (found.value, found.low, found.high) == (paired.value, paired.low, paired.high)
    assert found.p_value is None and found.note == "" and mean_amount([1.0]).note
