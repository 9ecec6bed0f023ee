"""The jackknife: Student's interval for a mean, leaving patients out by hand, and the ends of a scale."""

import math

import numpy as np
import pytest
from scipy import stats

from radfoundry.records import InputError, Predictions
from radfoundry.stats.jackknife import jackknife
from radfoundry.stats.regression import r_squared, root_mean_square_error
from radfoundry.stats.roc_readings import average_precision
from radfoundry.stats.weighted import weighted_average_precision, weighted_mean_score


def made(rng, patients=30):
    patient = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    truth = (rng.random(len(patient)) < 0.4).astype(int)
    return Predictions.of(truth, truth + rng.normal(size=len(patient)), patient=patient)


def test_of_a_mean_it_is_students_interval():
    values = np.random.default_rng(0).normal(5, 2, 40)
    found = jackknife(weighted_mean_score, Predictions.of(np.zeros(40), values), level=0.9)
    low, high = stats.t.interval(0.9, 39, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_average_precision_equals_leaving_patients_out_by_hand():
    data = made(np.random.default_rng(1))
    value = weighted_average_precision(data)
    names = np.unique(data.patient)
    without = np.array([weighted_average_precision(data.take(data.patient != name)) for name in names])
    error = math.sqrt((len(names) - 1) / len(names) * ((without - without.mean()) ** 2).sum())
    positives = len(np.unique(data.patient[data.target == 1]))
    reach = stats.t.ppf(0.975, positives - 1) * error / (value * (1 - value))
    odds = math.log(value / (1 - value))
    found = average_precision(data)
    assert found.value == pytest.approx(value)
    assert (found.low, found.high) == pytest.approx(tuple(1 / (1 + math.exp(-odds - way * reach)) for way in (-1, 1)))


def test_root_mean_square_error_equals_the_log_scale_by_hand():
    rng = np.random.default_rng(2)
    error = rng.normal(size=25)
    logs = np.array([math.log(np.sqrt(np.mean(np.delete(error, row) ** 2))) for row in range(25)])
    reach = stats.t.ppf(0.975, 24) * math.sqrt(24 / 25 * ((logs - logs.mean()) ** 2).sum())
    found = root_mean_square_error(np.zeros(25), error)
    assert (found.low / found.value, found.high / found.value) == pytest.approx((math.exp(-reach), math.exp(reach)))


def test_the_unit_of_the_error_only_scales_the_interval():
    rng = np.random.default_rng(3)
    truth, guess = rng.normal(60, 10, (2, 40))
    years, months = root_mean_square_error(truth, guess), root_mean_square_error(12 * truth, 12 * guess)
    assert (months.low, months.high) == pytest.approx((12 * years.low, 12 * years.high))
    assert r_squared(truth, guess).high < 1


def test_copies_of_every_row_of_a_patient_change_nothing():
    data = made(np.random.default_rng(4))
    rows = np.repeat(np.arange(len(data)), 3)
    once, thrice = average_precision(data), average_precision(data.take(rows))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize(
    ("truth", "score", "reason"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], "end of its scale"),
        ([0, 0, 0, 1], [0.1, 0.2, 0.9, 0.8], "without one of the patients"),
    ],
)
def test_no_interval_without_doubt_to_measure(truth, score, reason):
    found = average_precision(truth, score)
    assert not found.defined or math.isnan(found.low)
    assert reason in found.note


def test_no_misses_have_no_interval_and_unknown_scales_are_named():
    assert math.isnan(root_mean_square_error([1, 2, 3], [1, 2, 3]).low)
    with pytest.raises(InputError, match="scale"):
        jackknife(weighted_mean_score, Predictions.of([0, 0], [1.0, 2.0]), scale="cube")
