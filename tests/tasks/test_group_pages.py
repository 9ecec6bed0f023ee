"""Groups of patients: quarters by age, and how far apart two calls keep curves of survival."""

import itertools

import numpy as np

from radfoundry.records import Case, Cohort
from radfoundry.stats.subgroups import age_quarters
from radfoundry.tasks import group_pages


def test_quarters_hold_a_quarter_each_and_follow_the_age():
    ages = np.random.default_rng(0).permutation(np.arange(20, 100))
    groups = age_quarters(ages)
    names = ("youngest", "younger", "older", "oldest")
    assert [int((groups == name).sum()) for name in names] == [20, 20, 20, 20]
    assert all(ages[groups == a].max() < ages[groups == b].min() for a, b in itertools.pairwise(names))
    assert age_quarters([np.nan, 30.0]).tolist()[0] == "unknown"


def test_quarters_are_a_factor_of_a_cohort():
    cohort = Cohort(tuple(Case(str(n), str(n), age_years=20.0 + n) for n in range(8)))
    found = group_pages.factors(cohort, np.array([str(n) for n in range(8)]), ["age-quarters"])
    assert found["age-quarters"].tolist()[:2] == ["youngest", "youngest"]


def test_the_true_call_keeps_curves_at_least_as_far_apart_as_a_blurred_one(monkeypatch):
    monkeypatch.setattr(group_pages, "DRAWS", 100)
    rng = np.random.default_rng(1)
    true = rng.random(400) < 0.5
    time, event = rng.exponential(np.where(true, 3.0, 1.0)), np.ones(400)
    blurred = np.where(rng.random(400) < 0.35, ~true, true)
    gap = group_pages.separation_gap(time, event, (blurred, true))
    assert gap.high < 0
    same = group_pages.separation_gap(time, event, (true, true))
    assert same.value == same.low == same.high == 0
    turned = group_pages.separation_gap(time, event, (~true, true))
    assert np.isclose(turned.value, 0, atol=1e-9)
    assert not group_pages.separation_gap(time, event, (np.ones(400, bool), true)).defined
