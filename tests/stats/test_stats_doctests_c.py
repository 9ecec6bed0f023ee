"""The examples in the docstrings of reader studies, rankings, label budgets, power, charts and drift run as shown."""

import doctest
import importlib

import pytest

MODULES = [
    "control_charts",
    "critical_difference",
    "curve_points",
    "drift",
    "drift_kernels",
    "label_budget",
    "label_costs",
    "learning_curves",
    "mrmc",
    "mrmc_covariance",
    "mrmc_pseudovalues",
    "power",
    "ranking",
    "ranking_tasks",
    "reader_model",
    "reader_size",
    "reader_trial",
    "readers",
    "readers_aided",
    "readers_two_way",
    "visual_turing",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(f"radfoundry.stats.{name}")
    assert doctest.testmod(module).failed == 0
