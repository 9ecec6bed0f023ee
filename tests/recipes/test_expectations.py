"""Claims can fail: each rule is met and missed, undefined meets nothing, and silence is refused."""

import pytest

from radfoundry import config
from radfoundry.recipes.expectations import Expectation, judge
from radfoundry.records import Estimate, InputError

ABOVE, AROUND, BELOW = Estimate(0.8, 0.7, 0.9), Estimate(0.5, 0.4, 0.6), Estimate(0.2, 0.1, 0.3)


@pytest.mark.parametrize(
    ("rule", "met"),
    [
        ({"low_above": 0.5}, [True, False, False]),
        ({"high_below": 0.5}, [False, False, True]),
        ({"contains": 0.5}, [False, True, False]),
        ({"low_below": 0.5}, [False, True, True]),
        ({"low_above": 0.0, "high_below": 0.65}, [False, True, True]),
    ],
)
def test_rules(rule, met):
    claim = Expectation(metric="auroc", **rule)
    assert [judge(claim, [{"auroc": found}]).met for found in (ABOVE, AROUND, BELOW)] == met


def test_an_undefined_number_meets_no_claim():
    undefined = Estimate.undefined("one class")
    for rule in ({"low_above": -1}, {"high_below": 2}, {"contains": 0.5}, {"low_below": 2}):
        assert not judge(Expectation(metric="auroc", **rule), [{"auroc": undefined}]).met


def test_names_of_metrics():
    assert Expectation(metric="auroc", of="a", low_above=0).key == "a/auroc"
    assert Expectation(metric="auroc", of="a", beats="b", low_above=0).key == "a-minus-b/auroc"


def test_the_last_step_that_has_the_metric_is_asked():
    claim = Expectation(metric="auroc", low_above=0.5)
    assert judge(claim, [{"auroc": BELOW}, {"auroc": ABOVE}, {"other": BELOW}]).met
    with pytest.raises(InputError, match="metrics: other"):
        judge(claim, [{"other": ABOVE}])


@pytest.mark.parametrize(
    ("values", "said"),
    [({"metric": "auroc"}, "has to be able to fail"), ({"metric": "m", "beats": "x", "contains": 0}, "needs of")],
)
def test_claims_that_say_nothing_are_refused(values, said):
    with pytest.raises(InputError, match=said):
        config.check(Expectation, values)
