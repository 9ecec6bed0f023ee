"""Simulated power against R's formulas, and the laws of power."""

import csv
from pathlib import Path

import numpy as np
import pytest

from radfoundry.records import InputError, Predictions
from radfoundry.stats.auc import auroc_difference
from radfoundry.stats.power import _delong, auroc_power, binary_power, score_power, size_for_power

GOLDEN = Path(__file__).parents[1] / "golden"
R = {row[0]: float(row[1]) for row in csv.reader((GOLDEN / "stats_c.csv").read_text().splitlines()[2:])}


def test_paired_t_power_equals_rs_power_t_test():
    found = score_power((0.02, 0.05), 40, simulations=20_000, rng=1)
    assert found.value == pytest.approx(R["power.paired_t"], abs=0.012)  # 20,000 runs: standard error 0.003
    assert found.low < R["power.paired_t"] < found.high


def test_mcnemar_power_equals_rs_exact_enumeration():
    found = binary_power((0.15, 0.05), 60, simulations=40_000, rng=2)
    assert found.value == pytest.approx(R["power.mcnemar_exact"], abs=0.01)


def test_many_delongs_at_once_equal_the_single_test():
    rng = np.random.default_rng(3)
    above, below = rng.normal(0.8, 1, (4, 2, 15)), rng.normal(0, 1, (4, 2, 20))
    value, p_value = _delong(above, below)
    truth = np.r_[np.ones(15, int), np.zeros(20, int)]
    for run in range(4):
        first, second = (Predictions.of(truth, np.r_[above[run, k], below[run, k]]) for k in (1, 0))
        single = auroc_difference(first, second)
        assert (value[run], p_value[run]) == pytest.approx((single.value, single.p_value))


def test_no_difference_is_found_in_five_of_a_hundred():
    for found in (
        auroc_power((0.8, 0.8), cases=(60, 60), simulations=3000, rng=4),
        score_power((0.0, 0.1), 30, simulations=3000, rng=4),
        binary_power((0.1, 0.1), 200, simulations=3000, rng=4),
    ):
        assert 0.035 < found.value < 0.065, found.method


def test_power_grows_with_cases_and_correlation():
    few = auroc_power((0.75, 0.82), cases=(30, 30), simulations=600, rng=5)
    many = auroc_power((0.75, 0.82), cases=(120, 120), simulations=600, rng=5)
    paired = auroc_power((0.75, 0.82), cases=(30, 30), correlation=0.9, simulations=600, rng=5)
    assert few.high < many.low
    assert few.value < paired.value


def test_pilot_keeps_its_shape_and_takes_the_planned_gain():
    pilot = np.random.default_rng(6).exponential(0.05, 60)
    own = score_power(pilot, 30, rng=6)
    none = score_power(pilot, 30, gain=0.0, rng=6)
    assert own.value > 0.9
    # A skewed pilot rejects a true null more often than 5 %: the simulation shows what the t test will really do.
    assert 0.03 < none.value < 0.12
    with pytest.raises(InputError, match="pilot cases"):
        score_power([0.1, 0.2], 30)


def test_smallest_size_reaches_the_aim_with_its_lower_limit():
    plan = size_for_power(lambda n: score_power((0.02, 0.05), n, rng=7), [20, 40, 60, 80, 100])
    assert plan.smallest == 60
    assert all(chance.low < 0.8 for size, chance in plan.tried if size < 60)
    assert size_for_power(lambda n: score_power((0.001, 0.05), n), [20, 40]).smallest is None
    with pytest.raises(InputError, match="growing sizes"):
        size_for_power(lambda n: score_power((0.02, 0.05), n), [40, 20])
