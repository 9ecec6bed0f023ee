"""Yes/no readings, aided reading, visual Turing tests and reader study sizes."""

import csv
from pathlib import Path

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.mrmc import obuchowski_rockette, reader_average
from radfoundry.stats.reader_model import STRUCTURES, ReaderDesign, ReaderModel, simulate_study
from radfoundry.stats.reader_size import power_from_pilot, reader_study_power, reader_study_size
from radfoundry.stats.readers import ReaderStudy, from_rows
from radfoundry.stats.readers_aided import aided_change, change_by_ai, kappa_change, order_effect, reading_time_ratio
from radfoundry.stats.readers_two_way import binary_readers, two_way_mean, two_way_variance
from radfoundry.stats.visual_turing import visual_turing_test

GOLDEN = Path(__file__).parents[1] / "golden"
R = {row[0]: float(row[1]) for row in csv.reader((GOLDEN / "stats_c.csv").read_text().splitlines()[2:])}


@pytest.fixture(scope="module")
def decisions():
    with (GOLDEN / "stats_c_readers.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    column = {name: [row[name] for row in rows] for name in rows[0]}
    rating = (np.array(column["rating"], dtype=int) >= 3).astype(int)
    truth = np.array(column["truth"], dtype=int)
    return from_rows(column["arm"], column["reader"], column["case"], rating, truth=truth)


def test_two_way_variance_equals_rs_mean_squares(decisions):
    found = binary_readers(decisions).differences[0].estimate
    assert found.value == pytest.approx(R["two_way.mean"])
    reader, case, rest = (R[f"two_way.ms_{name}"] for name in ("reader", "case", "rest"))
    # R's mean squares put into Satterthwaite's formula by hand: the total falls below the rest, so the rest counts.
    assert reader + case - rest < rest
    expected = np.sqrt(rest / (4 * 36))
    from scipy.stats import t

    half = t.ppf(0.975, 3 * 35) * expected
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))


def test_two_way_variance_with_reader_and_case_parts_matches_simulation():
    rng = np.random.default_rng(0)
    means, variances = [], []
    for _ in range(1500):
        table = rng.normal(size=(6, 1)) * 0.5 + rng.normal(size=(1, 30)) + rng.normal(size=(6, 30))
        means.append(table.mean())
        variances.append(two_way_variance(table)[0])
    # 1,500 draws know a variance to 4 %: three standard errors.
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.12)


def test_two_way_variance_agrees_with_obuchowski_rockette_when_nothing_is_cut_off():
    rng = np.random.default_rng(5)
    table = rng.normal(size=(5, 1)) + rng.normal(size=(1, 40)) + rng.normal(size=(5, 40))
    covariance = np.cov(table) / 40
    average = reader_average(table.mean(axis=1), covariance, cases=40)
    from scipy.stats import t

    half_or = (average.high - average.low) / 2
    spread = table.mean(axis=1).var(ddof=1) + 5 * covariance[~np.eye(5, dtype=bool)].mean()
    assert two_way_variance(table)[0] == pytest.approx(spread / 5)
    assert half_or > t.ppf(0.975, 1000) * np.sqrt(spread / 5) * 0.99


def test_duplicated_cases_of_a_patient_are_one_case():
    table = np.random.default_rng(2).normal(size=(4, 20))
    twice = two_way_mean(np.repeat(table, 2, axis=1), patient=np.repeat(np.arange(20), 2))
    once = two_way_mean(table)
    assert (twice.value, twice.low, twice.high) == pytest.approx((once.value, once.low, once.high))


def test_measures_split_by_truth(decisions):
    found = {
        name: binary_readers(decisions, measure=name).averages[0] for name in ("accuracy", "sensitivity", "specificity")
    }
    mixed = (15 * found["sensitivity"].value + 21 * found["specificity"].value) / 36
    assert found["accuracy"].value == pytest.approx(mixed)
    assert all(0 <= item.low < item.value < item.high <= 1 for item in found.values())
    healthy = decisions.part(~decisions.truth)
    missing = binary_readers(healthy, measure="sensitivity").differences[0].estimate
    assert not missing.defined
    assert "no case" in missing.note


def test_ratings_that_are_not_decisions_are_refused():
    with pytest.raises(InputError, match="reading must be 0 or 1"):
        binary_readers(ReaderStudy.of([[[1, 2, 3]]], [0, 0, 1]))


def test_aided_change_is_with_minus_without(decisions):
    found = aided_change(decisions)
    assert found.change.value == pytest.approx(found.aided.value - found.without.value)
    assert found.change.low < found.change.value < found.change.high


def test_change_by_ai_finds_automation_bias():
    model = ReaderModel(figure="accuracy", value=0.75, case=0.2, arm_case=0.0, reader_case=0.1)
    study = simulate_study(model, ReaderDesign(6, 60, 60), rng=1)
    rng = np.random.default_rng(2)
    ai = np.where(rng.random(120) < 0.75, study.truth, ~study.truth)
    followed = rng.random(study.ratings[0].shape) < 0.5
    aided = np.where(followed, ai, study.ratings[0])
    found = change_by_ai(ReaderStudy.of([study.ratings[0], aided], study.truth), ai)
    assert found["AI right"].change.low > 0
    assert found["AI wrong"].change.high < 0


def test_reading_time_ratio_recovers_a_known_saving():
    rng = np.random.default_rng(4)
    base = np.exp(5 + 0.3 * rng.normal(size=(8, 1)) + 0.3 * rng.normal(size=(1, 40)) + 0.3 * rng.normal(size=(8, 40)))
    ratio = reading_time_ratio(base, 0.6 * base * np.exp(0.2 * rng.normal(size=base.shape)))
    assert ratio.low < 0.6 < ratio.high < 1
    swapped = reading_time_ratio(0.6 * base, base)
    assert swapped.value == pytest.approx(1 / 0.6)
    with pytest.raises(InputError, match="above 0 s"):
        reading_time_ratio(base - 1e6, base)


def test_order_effect_finds_a_planted_learning_effect_and_only_that():
    rng = np.random.default_rng(7)
    first = rng.random((10, 60)) < 0.5
    help_effect, learning = 0.3, 0.1
    difference = help_effect + np.where(first, -learning, learning) + 0.3 * rng.normal(size=first.shape)
    found = order_effect(difference, first)
    assert found.low < learning < found.high
    assert found.low > 0
    assert not order_effect(difference, np.ones_like(first)).defined


def slow_kappa(one, other):
    agree = np.mean(one == other)
    chance = one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean())
    return (agree - chance) / (1 - chance)


def test_kappas_equal_the_definition(decisions):
    truth = kappa_change(decisions, draws=200)
    by_hand = [np.mean([slow_kappa(row, decisions.truth) for row in arm]) for arm in decisions.ratings]
    assert (truth.without.value, truth.aided.value) == pytest.approx(tuple(by_hand))
    pairs = kappa_change(decisions, against="readers", draws=200)
    arm = decisions.ratings[0]
    expected = np.mean([slow_kappa(arm[i], arm[j]) for i in range(4) for j in range(i + 1, 4)])
    assert pairs.without.value == pytest.approx(expected)
    assert pairs.change.low < pairs.change.value < pairs.change.high


def test_signal_detection_equals_r_for_identical_readers():
    # 15 of 20 synthetic and 7 of 25 real images called synthetic, by two readers who call alike.
    calls = np.r_[np.repeat([1, 0], [15, 5]), np.repeat([1, 0], [7, 18])]
    found = visual_turing_test([calls, calls], np.repeat([1, 0], [20, 25]))
    assert found.d_prime.value == pytest.approx(R["dprime"])
    assert found.criterion.value == pytest.approx(R["criterion"])
    assert found.balanced_accuracy.value == pytest.approx((15 / 20 + 18 / 25) / 2)


def test_visual_turing_intervals_cover_the_readers_true_signal():
    rng = np.random.default_rng(11)
    synthetic = np.arange(80) < 40
    covered, refuted, runs = 0, 0, 50
    for _ in range(runs):
        image, bias = 0.5 * rng.normal(size=80), 0.3 * rng.normal(size=(6, 1))
        noise = np.sqrt(0.75) * rng.normal(size=(6, 80))
        found = visual_turing_test(image + bias + noise + 0.8 * synthetic > 0.4, synthetic)
        covered += found.d_prime.low <= 0.8 <= found.d_prime.high
        found = visual_turing_test(image + bias + noise > 0, synthetic)
        refuted += found.balanced_accuracy.p_value < 0.05
    # 50 runs know a share of 0.95 to 0.031; three of these below. The slow suite makes 1,500.
    assert covered / runs >= 0.86
    assert refuted / runs <= 0.14


def test_simulated_studies_have_the_asked_figure():
    design = ReaderDesign(6, 60, 60)
    for model in (*STRUCTURES.values(), ReaderModel(value=0.7)):
        rng = np.random.default_rng(3)
        areas = [
            obuchowski_rockette(simulate_study(model, design, gain=0.05, rng=rng), covariance="delong").figures.mean(
                axis=1
            )
            for _ in range(30)
        ]
        # Case samples alone scatter the mean of 30 studies by about 0.006.
        assert np.mean(areas, axis=0) == pytest.approx([model.value, model.value + 0.05], abs=0.02)
    binary = ReaderModel(figure="accuracy", value=0.72)
    share = np.mean([binary_readers(simulate_study(binary, design, rng=i)).averages[0].value for i in range(40)])
    assert share == pytest.approx(0.72, abs=0.02)
    with pytest.raises(InputError, match="variances"):
        ReaderModel(case=0.9, arm_case=0.2)


def test_power_grows_with_readers_cases_and_gain_and_agrees_with_the_projection():
    model = STRUCTURES["low-case low-reader"]
    little = reader_study_power(model, ReaderDesign(3, 25, 25), 0.06, simulations=100, rng=1)
    more = reader_study_power(model, ReaderDesign(6, 50, 50), 0.06, simulations=100, rng=1)
    assert more.low > little.value
    # One very large pilot knows its components well enough to be projected down.
    pilot = obuchowski_rockette(
        simulate_study(model, ReaderDesign(40, 200, 200), gain=0.06, rng=5), covariance="delong"
    )
    projected = power_from_pilot(pilot, 0.06, readers=6, cases=100)
    assert projected.value == pytest.approx(more.value, abs=0.15)


def test_size_names_the_cheapest_sufficient_design_or_none():
    model = ReaderModel(figure="accuracy", value=0.7, case=0.3, arm_case=0.05, reader_case=0.2)
    designs = [ReaderDesign(4, 15, 15), ReaderDesign(10, 60, 60), ReaderDesign(20, 120, 120)]
    plan = reader_study_size(model, 0.08, designs, simulations=100, rng=2)
    values = [chance.value for _, chance in plan.designs]
    assert values == sorted(values)
    assert plan.smallest in designs[1:]
    assert reader_study_size(model, 0.005, designs[:1], simulations=50).smallest is None
