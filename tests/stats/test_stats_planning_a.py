"""Planned samples deliver the planned width, and a few audited cases stay honest whatever the guesses are worth."""

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.auc import auroc
from radfoundry.stats.prediction_powered import (
    prediction_powered_mean,
    prediction_powered_rates,
    prediction_powered_ratio,
)
from radfoundry.stats.proportions import proportion
from radfoundry.stats.sample_size import cases_for_auroc, cases_for_mean, cases_for_sensitivity, hanley_mcneil_variance


def test_the_planned_number_is_the_smallest_that_is_narrow_enough():
    plan = cases_for_sensitivity(0.9, half_width=0.05)
    enough = proportion(round(0.9 * plan.positives), plan.positives)
    assert (enough.high - enough.low) / 2 <= 0.0505
    fewer = proportion(round(0.9 * 120), 120)
    assert (fewer.high - fewer.low) / 2 > 0.05
    assert plan.cases == 2 * plan.positives


@pytest.mark.parametrize(("variance", "least"), [("hanley-mcneil", 0.9), ("binormal", 0.8)])
def test_simulated_areas_are_as_narrow_as_planned(variance, least):
    """Normal scores; the binormal formula is the cautious one and may deliver up to a fifth less width than asked."""
    plan = cases_for_auroc(0.8, half_width=0.06, prevalence=0.4, variance=variance)
    rng = np.random.default_rng(0)
    widths = []
    for _ in range(60):
        truth = (np.arange(plan.cases) < plan.positives).astype(int)
        estimate = auroc(truth, 1.19 * truth + rng.normal(size=plan.cases), method="delong")
        widths.append((estimate.high - estimate.low) / 2)
    assert least * 0.06 < np.mean(widths) < 1.03 * 0.06


def test_hanley_and_mcneils_variance_is_that_of_exponential_scores():
    rng = np.random.default_rng(7)
    areas = []
    for _ in range(4000):
        negative, positive = rng.exponential(1, 30), rng.exponential(4, 20)
        areas.append((positive[:, None] > negative).mean())
    assert np.mean(areas) == pytest.approx(0.8, abs=0.004)
    assert np.var(areas) == pytest.approx(hanley_mcneil_variance(0.8, 20, 30), rel=0.06)


def test_narrower_rarer_and_more_alike_needs_more():
    base = cases_for_auroc(0.8, half_width=0.05)
    assert cases_for_auroc(0.8, half_width=0.025).cases == pytest.approx(4 * base.cases, rel=0.02)
    assert cases_for_auroc(0.8, half_width=0.05, prevalence=0.05).cases > 3 * base.cases
    alone = cases_for_sensitivity(0.9, half_width=0.05)
    alike = cases_for_sensitivity(0.9, half_width=0.05, rows_per_patient=4, correlation=0.5)
    assert alike.positives == pytest.approx(2.5 * alone.positives, rel=0.03)


def test_a_planned_mean_is_as_narrow_as_students_interval():
    plan = cases_for_mean(0.12, half_width=0.02)
    rng = np.random.default_rng(1)
    from radfoundry.stats.comparisons import mean_difference

    halves = []
    for _ in range(200):
        dice = rng.normal(0.8, 0.12, plan.cases)
        found = mean_difference(dice, np.zeros(plan.cases))
        halves.append((found.high - found.low) / 2)
    assert np.mean(halves) == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: cases_for_auroc(0.4, half_width=0.05),
        lambda: cases_for_auroc(0.8, half_width=0),
        lambda: cases_for_auroc(0.8, half_width=0.05, prevalence=0),
        lambda: cases_for_sensitivity(0.9, half_width=1e-6),
        lambda: cases_for_mean(-1, half_width=0.1),
        lambda: prediction_powered_mean([1, 0], [1], [1]),
        lambda: prediction_powered_mean([1, 0], [1, 0], []),
    ],
)
def test_impossible_plans_are_refused(broken):
    with pytest.raises(InputError):
        broken()


def world(rng, n, quality):
    truth = (rng.random(n) < 0.3).astype(float)
    guess = np.where(rng.random(n) < quality, truth, (rng.random(n) < 0.5).astype(float))
    return truth, guess


@pytest.mark.parametrize("quality", [0.0, 0.6, 0.95])
def test_audited_intervals_cover_whatever_the_guesses_are_worth(quality):
    rng = np.random.default_rng(2)
    covered, widths, alone = 0, [], []
    for _ in range(500):
        truth, guess = world(rng, 80, quality)
        found = prediction_powered_mean(truth, guess, world(rng, 2000, quality)[1])
        covered += found.low <= 0.3 <= found.high
        widths.append(found.high - found.low)
        alone.append(2 * 1.99 * truth.std(ddof=1) / np.sqrt(80))
    # Good guesses leave a handful of audited errors to learn from; the interval is then cautious, never bold.
    assert 0.925 <= covered / 500 <= (1.0 if quality == 0.95 else 0.98)
    assert np.mean(widths) < 1.01 * np.mean(alone)
    if quality == 0.95:
        assert np.mean(widths) < 0.7 * np.mean(alone)


def test_biased_guesses_do_not_move_the_estimate():
    rng = np.random.default_rng(3)
    errors = []
    for _ in range(200):
        truth, guess = world(rng, 100, 0.9)
        errors.append(prediction_powered_mean(truth, guess + 5, world(rng, 2000, 0.9)[1] + 5).value - 0.3)
    assert abs(np.mean(errors)) < 0.01


def test_useless_guesses_get_no_weight():
    truth = np.tile([0.0, 1.0], 40)
    found = prediction_powered_mean(truth, np.ones(80), np.ones(500))
    assert found.value == 0.5
    assert "weight of the guesses 0.00" in found.note


def test_copies_of_patients_do_not_narrow_the_audit():
    rng = np.random.default_rng(4)
    truth, guess = world(rng, 60, 0.8)
    others = world(rng, 600, 0.8)[1]
    once = prediction_powered_mean(truth, guess, others)
    copies = prediction_powered_mean(
        np.repeat(truth, 3), np.repeat(guess, 3), others, patient=np.repeat(np.arange(60), 3)
    )
    assert copies.high - copies.low == pytest.approx(once.high - once.low, rel=0.02)


def test_useless_labels_leave_a_rate_close_to_wilsons_interval_of_the_audit():
    rng = np.random.default_rng(6)
    truth, call = (rng.random(300) < 0.4).astype(float), (rng.random(300) < 0.7).astype(float)
    nothing, others = np.zeros(300), (rng.random(5000) < 0.7).astype(float)
    found = prediction_powered_rates(truth, call, nothing, call=others, guess=np.zeros(5000))["sensitivity"]
    alone = proportion(int((truth * call).sum()), int(truth.sum()))
    assert [found.value, found.low, found.high] == pytest.approx([alone.value, alone.low, alone.high], abs=0.012)


@pytest.mark.slow
def test_rates_of_a_device_from_an_audit_cover_and_beat_the_audit_alone():
    rng = np.random.default_rng(5)
    right = {
        "sensitivity": 0.85,
        "specificity": 0.85,
        "positive_predictive_value": 0.3 * 0.85 / (0.3 * 0.85 + 0.7 * 0.15),
    }
    covered, widths, alone = dict.fromkeys(right, 0), [], []
    for _ in range(600):
        truth, silver = world(rng, 3000, 0.93)
        call = np.where(rng.random(3000) < 0.85, truth, 1 - truth)
        audit = slice(0, 200)
        found = prediction_powered_rates(truth[audit], call[audit], silver[audit], call=call[200:], guess=silver[200:])
        for name, value in right.items():
            covered[name] += found[name].low <= value <= found[name].high
        widths.append(found["sensitivity"].high - found["sensitivity"].low)
        found_alone = proportion(int((truth[audit] * call[audit]).sum()), int(truth[audit].sum()))
        alone.append(found_alone.high - found_alone.low)
    assert all(0.92 <= hits / 600 <= 0.985 for hits in covered.values())
    assert np.mean(widths) < np.mean(alone)


def test_a_ratio_without_a_denominator_is_undefined():
    none = (np.zeros(4), np.zeros(4))
    assert not prediction_powered_ratio(none, none, none).defined
