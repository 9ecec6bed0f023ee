"""Records say what they hold: estimates print with their doubt, predictions refuse what cannot be judged."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radfoundry.records import Acquisition, Case, Cohort, Estimate, InputError, Predictions, Series

numbers = st.floats(-1e6, 1e6)


@given(value=numbers, low=numbers, high=numbers, n=st.integers(0, 10**6))
def test_estimate_survives_a_round_trip_through_plain_values(value, low, high, n):
    estimate = Estimate(value, low, high, method="m", n=n, note="x", p_value=0.5)
    assert Estimate.from_dict(estimate.to_dict()) == estimate


def test_undefined_estimate_is_nan_with_its_reason_and_never_zero():
    undefined = Estimate.undefined("only negatives in site B", n=12)
    assert math.isnan(undefined.value)
    assert str(undefined) == "undefined (only negatives in site B)"
    back = Estimate.from_dict(undefined.to_dict())
    assert math.isnan(back.value) and back.note == undefined.note


def test_negative_limits_are_joined_by_to():
    assert Estimate(-0.1, -0.3, 0.1).text() == "-0.10 (-0.30 to 0.10)"


def test_an_estimate_without_interval_says_so():
    assert "no interval" in Estimate(0.5, note="one patient").text()


def test_input_error_is_one_line_and_survives_pickling_between_processes():
    error = InputError("gap", where="series 3", remedy="repair it", finding="slice-gap")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "series 3: gap; repair it"
    assert again.finding == "slice-gap"


def test_acquisition_round_trip_and_unknown_fields():
    header = Acquisition(modality="MR", echo_time_ms=90.0, image_type=("ORIGINAL", "PRIMARY"), matrix=(64, 64))
    assert Acquisition.from_dict(header.to_dict()) == header
    with pytest.raises(InputError, match="echo_time"):
        Acquisition.from_dict({"echo_time": 3})


def test_predictions_refuse_nan_and_unequal_columns():
    with pytest.raises(InputError, match="1 of 2 rows of score are NaN"):
        Predictions.of([0, 1], [0.1, math.nan])
    with pytest.raises(InputError, match="column score has 3 rows"):
        Predictions.of([0, 1], [0.1, 0.2, 0.3])


def test_predictions_take_keeps_rows_together():
    p = Predictions.of([0, 1, 1], [0.1, 0.7, 0.9], patient=["a", "b", "b"], site=["x", "y", "y"])
    part = p.take(np.array([2, 0]))
    assert (
        part.patient.tolist() == ["b", "a"] and part.score.tolist() == [0.9, 0.1] and part.site.tolist() == ["y", "x"]
    )


def test_cohort_part_and_the_error_that_lists_the_splits():
    cases = (Case("c1", "p1"), Case("c2", "p2"))
    cohort = Cohort(cases, splits={"default": {"c1": "train", "c2": "test"}})
    assert cohort.part("default", "test").patients == ("p2",)
    with pytest.raises(InputError, match="default"):
        cohort.part("other", "test")


def test_series_without_pixels_refuses_to_load():
    series = Series("s", "p", "c", Acquisition(), (1, 2, 2, 2), (1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="no pixels"):
        series.load()


def test_records_are_frozen():
    with pytest.raises(AttributeError):
        Estimate(0.5).value = 1.0
