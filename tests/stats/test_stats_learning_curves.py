"""Learning curves and label budgets: fits against R, planted truths, and a flat curve that must be called flat."""

import csv
import importlib.util
import json
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from radfoundry.records import InputError
from radfoundry.stats.auc import auroc
from radfoundry.stats.curve_points import FAMILY_ERROR, case_points, nested_subsets, score_points
from radfoundry.stats.label_budget import HORIZON, forecast, plan_labels
from radfoundry.stats.label_costs import cheapest_mix, compare_costs, mixed_forecast
from radfoundry.stats.learning_curves import FAMILIES, fit_curves, model_weights

GOLDEN = Path(__file__).parents[1] / "golden"
R = {row[0]: float(row[1]) for row in csv.reader((GOLDEN / "stats_c.csv").read_text().splitlines()[2:])}
SIZES = np.array([5.0, 8, 12, 18, 25, 35, 50])
# The points in tests/golden/stats_c.R, section nls.
SCORES = np.array([0.612, 0.671, 0.702, 0.741, 0.757, 0.772, 0.789])
ERRORS = np.array([0.030, 0.025, 0.022, 0.018, 0.016, 0.014, 0.012])


def test_power_law_fits_as_well_as_rs_nls():
    fit = fit_curves("power", SIZES, SCORES, ERRORS)
    # The exponents lie on a grid 8 % apart and are drawn towards 1/2, so the loss may exceed R's minimum a little.
    assert R["power.loss"] <= fit.loss[0] < R["power.loss"] + 0.1
    assert fit.predict([200])[0, 0] == pytest.approx(R["power.at_200"], abs=0.004)


def test_line_search_equals_a_general_optimiser():
    rng = np.random.default_rng(1)
    for trial in range(6):
        scores = 0.85 - 0.6 * SIZES**-0.5 + 0.03 * rng.normal(size=7) * (1 + trial)
        fit = fit_curves("power", SIZES, scores, ERRORS)
        exponent = fit.shape[0, 0]

        def loss(p, scores=scores, exponent=exponent):
            return (((scores - p[0] + p[1] * SIZES**-exponent) / ERRORS) ** 2).sum()

        best = minimize(loss, [0.8, 0.3], bounds=[(0.5, 1), (0, None)], tol=1e-12)
        assert fit.loss[0] == pytest.approx(best.fun, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_many_curves_at_once_equal_one_by_one(family):
    scores = np.clip(0.85 - 0.6 * SIZES**-0.5 + 0.03 * np.random.default_rng(2).normal(size=(20, 7)), 0.01, 0.99)
    together = fit_curves(family, SIZES, scores, ERRORS)
    for row, score in enumerate(scores):
        alone = fit_curves(family, SIZES, score, ERRORS)
        assert alone.predict([10, 100])[0] == pytest.approx(together.predict([10, 100])[row])


@pytest.mark.parametrize("family", ["power", "probit-power", "mmf"])
def test_curves_rise_stay_within_bounds_and_invert(family):
    fit = fit_curves(family, SIZES, SCORES, ERRORS)
    grid = np.geomspace(5, 1e6, 50)
    curve = fit.predict(grid)[0]
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] <= 1
    for target in (0.70, 0.78):
        size = fit.size_for(target)[0]
        assert fit.predict([size])[0, 0] == pytest.approx(target)
    ceiling = norm.cdf(fit.ceiling[0]) if family == "probit-power" else fit.ceiling[0]
    assert math.isinf(fit.size_for(min(ceiling + 1e-6, 0.999999))[0]) or ceiling > 0.9999


def test_exact_power_law_is_believed_over_last_value():
    weights = model_weights(SIZES, 0.9 - 0.9 * SIZES**-0.5, np.full(7, 0.01))[0]
    assert weights[FAMILIES.index("power")] > 5 * weights[FAMILIES.index("last-value")]
    assert weights.sum() == pytest.approx(1)


def noisy_table(rng, *, draws=10, ceiling=0.9, drop=0.9, exponent=0.5, noise=0.03):
    """Nested draws: neighbouring sizes of a draw share most of their cases, so their errors are correlated."""
    steps = rng.normal(size=(draws, len(SIZES)))
    walk = np.cumsum(steps, axis=1) / np.sqrt(np.arange(1, len(SIZES) + 1))
    return ceiling - drop * SIZES**-exponent + noise * walk * np.sqrt(5 / SIZES)


def points_of(table, **options):
    draw = np.repeat(np.arange(len(table)), len(SIZES))
    return score_points(np.tile(SIZES, len(table)), np.asarray(table).ravel(), draw=draw, **options)


def test_forecast_beats_last_value_and_covers_a_planted_curve():
    rng = np.random.default_rng(3)
    better, covered, runs = 0, 0, 30
    truth = 0.9 - 0.9 * 250**-0.5
    for run in range(runs):
        points = points_of(np.clip(noisy_table(rng), 0, 1))
        at = forecast(points, draws=100, rng=run).at(250)[0]
        better += abs(at.value - truth) < abs(points.score[-1] - truth)
        covered += at.low <= truth <= at.high
    assert better >= 0.8 * runs
    assert covered >= 0.85 * runs


def test_plan_for_a_rising_curve_gives_an_interval_and_a_next_round_of_at_most_twice():
    points = points_of(np.clip(noisy_table(np.random.default_rng(4), ceiling=0.95, noise=0.02), 0, 1))
    plan = plan_labels(forecast(points, draws=300), 0.86)
    # The planted curve 0.95 - 0.9 n^-0.5 reaches 0.86 at n = 100.
    assert plan.reachable.value > 0.5
    assert plan.labels.low <= 100 <= plan.labels.high
    assert plan.labels.low < plan.labels.high
    assert 50 < plan.next_round <= 100
    assert "measure again" in plan.decision
    assert plan.expected.low < plan.expected.value < plan.expected.high


@pytest.mark.parametrize("level", [0.5, 0.72])
def test_flat_curve_is_not_reachable(level):
    rng = np.random.default_rng(5)
    for seed in range(5):
        points = points_of(np.clip(level + 0.02 * rng.normal(size=(10, 7)), 0, 1))
        plan = plan_labels(forecast(points, draws=150, rng=seed), level + 0.1)
        assert plan.decision == "not reachable with this encoder"
        assert plan.reachable.value < 0.2
        assert plan.next_round is None
        assert not plan.labels.defined


def test_target_already_reached_needs_no_next_round():
    plan = plan_labels(forecast(points_of(np.clip(noisy_table(np.random.default_rng(6)), 0, 1)), draws=100), 0.6)
    assert plan.next_round is None
    assert "reached" in plan.decision
    assert plan.labels.value < 50


def test_margin_asks_for_more_and_far_forecasts_are_marked():
    curve = forecast(points_of(np.clip(noisy_table(np.random.default_rng(7), noise=0.01), 0, 1)), draws=100)
    plain, careful = plan_labels(curve, 0.80), plan_labels(curve, 0.80, margin=0.02)
    assert careful.labels.value > plain.labels.value
    assert careful.reachable.value <= plain.reachable.value
    near, far = curve.at([SIZES[-1] * HORIZON, SIZES[-1] * HORIZON * 2])
    assert near.note == ""
    assert "guess" in far.note


def simulated_cases(rng, *, validation=200, draws=6):
    """Scores whose signal grows with n, for one validation set shared by all points."""
    truth = np.arange(validation) < validation // 4
    base = rng.normal(size=validation)
    gain = norm.ppf(0.9 - 0.9 * SIZES**-0.5) * np.sqrt(2)
    own = rng.normal(size=(draws, len(SIZES), validation))
    return truth, truth * gain[None, :, None] + 0.8 * base + 0.6 * own


def test_validation_cases_are_redrawn_together_for_all_sizes():
    truth, scores = simulated_cases(np.random.default_rng(8))
    points = case_points(SIZES, scores, truth)
    assert points.table[2, 3] == pytest.approx(auroc(truth.astype(int), scores[2, 3]).value)
    drawn = points.redrawn(200, np.random.default_rng(1))
    # One validation set makes the errors of all points correlated; drawn separately they would not be.
    correlation = np.corrcoef(drawn.T)
    assert correlation[np.triu_indices(7, 1)].min() > 0.3
    scores_only = points_of(points.table)
    spread = scores_only.redrawn(200, np.random.default_rng(1)).std(axis=0)
    assert (drawn.std(axis=0)[-3:] > 1.3 * spread[-3:]).all()
    assert (points.error > FAMILY_ERROR).all()


def test_stated_validation_size_widens_the_forecast():
    table = np.clip(noisy_table(np.random.default_rng(9), noise=0.005), 0, 1)
    narrow = forecast(points_of(table), draws=200).at(100)[0]
    wide = forecast(points_of(table, validation=(20, 100)), draws=200).at(100)[0]
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_row_order_and_draw_names_do_not_matter():
    table = np.clip(noisy_table(np.random.default_rng(10), draws=4), 0, 1)
    draw = np.repeat(np.arange(4), 7)
    order = np.random.default_rng(0).permutation(28)
    mixed = score_points(np.tile(SIZES, 4)[order], table.ravel()[order], draw=draw[order])
    assert mixed.table == pytest.approx(table)


def test_unusable_points_are_refused_in_one_line():
    with pytest.raises(InputError, match="2 sizes"):
        score_points([5, 10], [0.6, 0.7])
    with pytest.raises(InputError, match="draw b, n = 20"):
        score_points([5, 10, 20, 5, 10], [0.6] * 5, draw=list("aaabb"))
    with pytest.raises(InputError, match="not percentages"):
        score_points([5, 10, 20], [60, 70, 75])
    with pytest.raises(InputError, match="says nothing about its error"):
        score_points([5, 10, 20], [0.6, 0.7, 0.75])
    with pytest.raises(InputError, match=r"between 0\.5 and 1"):
        plan_labels(forecast(points_of(np.full((3, 7), 0.7)), draws=50), 0.4)


def test_nested_subsets_contain_the_smaller_ones_and_keep_the_class_mix():
    truth = np.r_[np.ones(60), np.zeros(300)]
    for draw in nested_subsets(truth, [5, 20, 50], draws=3, negatives_per_positive=5, rng=np.random.default_rng(1)):
        for small, large in pairwise(draw):
            assert set(small) < set(large)
        assert [int(truth[rows].sum()) for rows in draw] == [5, 20, 50]
        assert [len(set(rows)) for rows in draw] == [30, 120, 300]
    with pytest.raises(InputError, match="cohort can fill"):
        nested_subsets(truth, [61], draws=1, negatives_per_positive=1, rng=np.random.default_rng(1))


def curve_of(ceiling, exponent, seed):
    table = np.clip(noisy_table(np.random.default_rng(seed), ceiling=ceiling, exponent=exponent, noise=0.01), 0, 1)
    return forecast(points_of(table), draws=150, rng=seed)


def test_boxes_win_when_labels_stall_and_lose_when_equal_but_dearer():
    # Planted: image labels stall at 0.72 (a shortcut), boxes go on to 0.95; a box costs six times a label.
    stalled, boxes = curve_of(0.72, 1.0, 1), curve_of(0.95, 0.6, 2)
    found = compare_costs(stalled, boxes, 0.85, cost_each=(1, 6))
    assert not found.first.defined
    assert found.second_cheaper.value > 0.9
    equal = compare_costs(curve_of(0.95, 0.6, 3), boxes, 0.85, cost_each=(1, 6))
    assert equal.second_cheaper.value < 0.1
    assert equal.second.value > equal.first.value
    never = compare_costs(stalled, stalled, 0.9, cost_each=(1, 1))
    assert not never.first.defined
    assert not never.second.defined


def mixed_scores(rng, surface):
    boxes, labels = (side.ravel() for side in np.meshgrid([0, 20, 60, 150], [20, 60, 200, 500]))
    return boxes, labels, np.clip(surface(boxes, labels) + 0.008 * rng.normal(size=(6, boxes.size)), 0, 1)


def test_cheapest_mix_follows_the_price():
    rng = np.random.default_rng(11)
    # One box is worth four labels: at six times the price labels win, at twice the price boxes do.
    boxes, labels, scores = mixed_scores(rng, lambda b, m: 0.92 - 0.8 * (1 + m + 4 * b) ** -0.4)
    curve = mixed_forecast(boxes, labels, scores, draws=100)
    dear = cheapest_mix(curve, 0.85, cost_each=(6, 1), limits=(2000, 5000))
    cheap = cheapest_mix(curve, 0.85, cost_each=(2, 1), limits=(2000, 5000))
    assert dear.reachable.value > 0.9
    assert dear.boxes.value < cheap.boxes.value
    assert dear.labels.value > cheap.labels.value
    # The planted surface needs (0.8 / 0.07)^(1 / 0.4) = 441 label equivalents.
    needed = (0.8 / 0.07) ** 2.5
    assert dear.cost.low <= 1.25 * needed
    assert dear.cost.high >= 0.8 * needed
    never = cheapest_mix(curve, 0.97, cost_each=(2, 1), limits=(2000, 5000))
    assert never.decision.startswith("not reachable")
    assert not never.cost.defined


def test_mixed_budgets_need_both_kinds_to_vary():
    with pytest.raises(InputError, match="vary too little"):
        mixed_forecast([0, 0, 0, 0, 0], [10, 20, 30, 40, 50], np.full((2, 5), 0.7))


@pytest.mark.slow
@pytest.mark.data
def test_real_learning_curves_of_the_learning_curve_database(tmp_path):
    named = os.environ.get("LCDB_CSV")
    if named is None and importlib.util.find_spec("lcdb") is not None:
        named = str(Path(importlib.util.find_spec("lcdb").origin).parent / "database-auc.csv")
    if named is None or not Path(named).is_file():
        pytest.skip("set LCDB_CSV to database-auc.csv of the package lcdb")
    script = Path(__file__).parents[2] / "benchmarks" / "label_budget.py"
    copy = tmp_path / "label_budget.py"
    copy.write_text(script.read_text())
    subprocess.run([sys.executable, copy, named], check=True, capture_output=True)
    for name, found in json.loads((tmp_path / "results" / "label_budget.json").read_text()).items():
        if isinstance(found, dict):
            assert found["fit"] < found["last"], name
            assert found["inside95"] >= 0.80, name
