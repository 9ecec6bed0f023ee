"""Every example in the documentation strings of these modules runs and prints what it says."""

import doctest
import importlib

import pytest

MODULES = [
    "inputs",
    "auc",
    "roc",
    "roc_readings",
    "bootstrap",
    "jackknife",
    "weighted",
    "regression",
    "calibration",
    "recalibration",
    "proportions",
    "classification",
    "multiclass",
    "decision",
    "operating",
    "comparisons",
    "resampled",
    "multiplicity",
    "equivalence",
    "subgroups",
    "sample_size",
    "prediction_powered",
    "tables",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    found = doctest.testmod(importlib.import_module(f"radfoundry.stats.{name}"))
    assert found.failed == 0
