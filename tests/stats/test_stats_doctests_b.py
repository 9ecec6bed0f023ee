"""Every example in the documentation strings of the agreement, segmentation, detection and survival modules runs."""

import doctest
import importlib

import pytest

MODULES = [
    "bland_altman",
    "concordance",
    "concordance_index",
    "correlation",
    "detection",
    "follow_up",
    "froc",
    "icc",
    "influence",
    "jafroc",
    "kappa",
    "log_rank",
    "marks",
    "masks",
    "panoptic",
    "progression",
    "repeated",
    "segmentation",
    "surface",
    "surface_elements",
    "survival",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    found = doctest.testmod(importlib.import_module(f"radfoundry.stats.{name}"))
    assert found.attempted > 0 and found.failed == 0
