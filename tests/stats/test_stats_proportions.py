"""Shares: limits invert their tests, clusters count for less, and no case means no number."""

import numpy as np
import pytest
from scipy.stats import binom

from radfoundry.records import InputError
from radfoundry.stats.proportions import clopper_pearson_limits, clustered_proportion, proportion, wilson_limits


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (121, 147)])
def test_exact_limits_put_half_the_error_in_each_tail(hits, n):
    low, high = clopper_pearson_limits(hits, n)
    if hits:
        assert binom.sf(hits - 1, n, low) == pytest.approx(0.025)
    if hits < n:
        assert binom.cdf(hits, n, high) == pytest.approx(0.025)


@pytest.mark.parametrize(("hits", "n"), [(1, 10), (3, 10), (121, 147)])
def test_wilson_limits_are_where_the_score_test_turns(hits, n):
    for limit in wilson_limits(hits, n):
        assert abs(hits / n - limit) / np.sqrt(limit * (1 - limit) / n) == pytest.approx(1.959964, rel=1e-6)


def test_wilson_takes_arrays_and_mirrors():
    low, high = wilson_limits(np.array([2, 8]), 10)
    assert [low[0], high[0]] == pytest.approx([1 - high[1], 1 - low[1]])
    assert np.isnan(wilson_limits(0, 0)[0])


def test_exact_is_wider_than_wilson():
    exact, wilson = proportion(45, 60, method="clopper-pearson"), proportion(45, 60)
    assert exact.low < wilson.low
    assert exact.high > wilson.high


def test_no_case_is_undefined():
    assert not proportion(0, 0, name="sensitivity").defined
    assert "sensitivity" in proportion(0, 0, name="sensitivity").note


def test_one_row_per_patient_is_the_plain_interval():
    rows = [1, 0, 1, 1, 0, 1]
    assert clustered_proportion(rows, list("abcdef")) == proportion(4, 6)


def test_copies_count_as_one_and_independent_rows_as_many():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2, 50)
    once, copies = (
        proportion(int(rows.sum()), 50),
        clustered_proportion(np.repeat(rows, 8), np.repeat(np.arange(50), 8)),
    )
    assert copies.high - copies.low == pytest.approx(once.high - once.low, rel=0.05)
    many = rng.integers(0, 2, 400)
    apart = clustered_proportion(many, np.repeat(np.arange(50), 8))
    assert apart.high - apart.low == pytest.approx(0.098, rel=0.25)


def test_a_share_without_variance_counts_patients():
    assert clustered_proportion([1] * 40, np.repeat(np.arange(10), 4)).low == pytest.approx(proportion(10, 10).low)


def test_impossible_counts_are_refused():
    with pytest.raises(InputError):
        proportion(5, 4)
    with pytest.raises(InputError):
        clustered_proportion([1, 0], ["a"])
