"""Errors of predicted numbers: units, shifts, undefined cases and pairs."""

import numpy as np
import pytest

from radfoundry.records import InputError, Predictions
from radfoundry.stats.regression import (
    bias,
    mean_absolute_error,
    r_squared,
    regression_difference,
    root_mean_square_error,
)


def ages(seed=0, n=120, rows=1):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(20, 90, n // rows).repeat(rows)
    wrong = rng.normal(0, 5, n // rows).repeat(rows) + rng.normal(0, 0.5, n)
    return truth, truth + wrong, np.arange(n) // rows


def test_the_unit_carries_through_and_r_squared_has_none():
    truth, guess, _ = ages()
    for metric in (mean_absolute_error, root_mean_square_error, bias):
        years, months = metric(truth, guess), metric(12 * truth, 12 * guess)
        assert [months.value, months.low, months.high] == pytest.approx(
            [12 * years.value, 12 * years.low, 12 * years.high]
        )
    assert r_squared(12 * truth + 3, 12 * guess + 3).value == pytest.approx(r_squared(truth, guess).value)


def test_a_shift_moves_only_the_bias():
    truth, guess, _ = ages()
    assert bias(truth, guess + 2).value == pytest.approx(bias(truth, guess).value + 2)


def test_r_squared_of_large_offsets_stays_exact():
    truth, guess, _ = ages()
    far = r_squared(truth + 1e6, guess + 1e6)
    assert far.value == pytest.approx(r_squared(truth, guess).value, abs=1e-9)


def test_targets_that_do_not_vary_have_no_r_squared():
    assert not r_squared([70, 70, 70], [68, 70, 71]).defined


def test_scans_of_one_patient_do_not_count_as_patients():
    truth, guess, patient = ages(rows=6)
    naive, honest = mean_absolute_error(truth, guess), mean_absolute_error(truth, guess, patient=patient)
    assert honest.high - honest.low > 1.8 * (naive.high - naive.low)
    assert "20 patients" in honest.method


def test_a_paired_difference_is_tighter_than_two_intervals_suggest():
    truth, guess, _ = ages()
    rng = np.random.default_rng(1)
    one, other = Predictions.of(truth, guess), Predictions.of(truth, guess + rng.normal(0, 1, len(truth)))
    gap = regression_difference(one, other)
    single = mean_absolute_error(one)
    assert gap.value == pytest.approx(single.value - mean_absolute_error(other).value)
    assert gap.high - gap.low < single.high - single.low


def test_text_is_refused():
    with pytest.raises(InputError, match="numbers"):
        mean_absolute_error(["a", "b"], [1.0, 2.0])
    with pytest.raises(InputError, match="measure"):
        regression_difference(Predictions.of([1.0], [1.0]), Predictions.of([1.0], [1.0]), measure="mse")
