"""Cut-offs: measures that are undefined say so, clusters widen, frozen points stay frozen, decisions add up."""

import json
import math

import numpy as np
import pytest

from radfoundry.records import InputError, Predictions
from radfoundry.stats.classification import balanced_accuracy, confusion_measures, matthews_correlation
from radfoundry.stats.decision import decision_curve
from radfoundry.stats.operating import OperatingPoint, choose_operating_point
from radfoundry.stats.roc_readings import average_precision, partial_auroc, sensitivity_at_specificity


def simulated(seed, n=300, shift=1.5):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    return Predictions.of(truth, 1 / (1 + np.exp(-(shift * truth - shift / 2 + rng.normal(size=n)))))


def test_measures_equal_scikit_learns():
    from sklearn import metrics

    data = simulated(0)
    called = data.score >= 0.4
    ours = confusion_measures(data, threshold=0.4)
    theirs = {
        "sensitivity": metrics.recall_score(data.target, called),
        "positive_predictive_value": metrics.precision_score(data.target, called),
        "accuracy": metrics.accuracy_score(data.target, called),
        "balanced_accuracy": metrics.balanced_accuracy_score(data.target, called),
        "f1": metrics.f1_score(data.target, called),
        "matthews": metrics.matthews_corrcoef(data.target, called),
    }
    assert {name: ours[name].value for name in theirs} == pytest.approx(theirs)
    assert average_precision(data).value == pytest.approx(metrics.average_precision_score(data.target, data.score))
    assert matthews_correlation(data, threshold=0.4).value == pytest.approx(theirs["matthews"])
    assert balanced_accuracy(data, threshold=0.4).value == pytest.approx(theirs["balanced_accuracy"])


def test_always_normal_shows_its_emptiness():
    table = confusion_measures([0] * 985 + [1] * 15, np.zeros(1000))
    assert table["accuracy"].value == 0.985
    assert "0.98" in table["accuracy"].note
    assert table["sensitivity"].value == 0.0
    assert table["balanced_accuracy"].value == 0.5
    assert not table["positive_predictive_value"].defined
    assert "called positive" in table["positive_predictive_value"].note
    assert not table["matthews"].defined


def test_measures_without_their_class_are_undefined_not_nothing():
    table = confusion_measures([0, 0, 0], [0.1, 0.2, 0.9])
    assert math.isnan(table["sensitivity"].value)
    assert table["sensitivity"].note == "no positive case"
    assert table["specificity"].defined


def test_no_interval_rather_than_one_without_width():
    table = confusion_measures([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert table["matthews"].value == 1.0
    assert math.isnan(table["matthews"].low)
    assert table["sensitivity"].low < 0.5


def test_intervals_widen_when_rows_of_patients_are_alike():
    truth, score = np.tile([0, 1], 40), np.r_[np.full(40, 0.2), np.full(40, 0.8)]
    rows = {"data": np.repeat(truth, 5), "score": np.repeat(score, 5)}
    naive, honest = confusion_measures(**rows), confusion_measures(**rows, patient=np.repeat(np.arange(80), 5))
    for name in ("sensitivity", "accuracy", "balanced_accuracy", "f1"):
        assert honest[name].high - honest[name].low > 1.8 * (naive[name].high - naive[name].low)


def test_an_operating_point_survives_its_file_and_judges_the_test():
    validation, test = simulated(1), simulated(2)
    point = choose_operating_point(validation, rule="sensitivity", wanted=0.9)
    again = OperatingPoint.from_dict(json.loads(json.dumps(point.to_dict())))
    assert again == point
    assert again.judge(test)["sensitivity"] == confusion_measures(test, threshold=point.threshold)["sensitivity"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("rule", "wanted"), [("youden", 0.0), ("sensitivity", 0.85), ("specificity", 0.85), ("cost", 4.0)]
)
def test_no_other_cut_off_serves_the_rule_better(seed, rule, wanted):
    data = simulated(seed, n=60)
    score, truth = data.score, data.target.astype(bool)

    def rates(cut):
        return (score[truth] >= cut).mean(), (score[~truth] < cut).mean()

    def worth(cut):
        sensitivity, specificity = rates(cut)
        return {
            "youden": sensitivity + specificity,
            "sensitivity": specificity if sensitivity >= wanted else -1,
            "specificity": sensitivity if specificity >= wanted else -1,
            "cost": -(wanted * (1 - sensitivity) * truth.sum() + (1 - specificity) * (~truth).sum()),
        }[rule]

    point = choose_operating_point(data, rule=rule, wanted=wanted)
    assert worth(point.threshold) == pytest.approx(max(worth(cut) for cut in [*score, 2.0]))
    assert (point.sensitivity, point.specificity) == pytest.approx(rates(point.threshold))


def test_a_reading_on_the_same_cases_carries_more_doubt_than_a_frozen_cut_off():
    data = simulated(3, n=400)
    reading = sensitivity_at_specificity(data, specificity=0.9)
    cut = np.quantile(data.score[data.target == 0], 0.9)
    frozen = confusion_measures(data, threshold=cut)["sensitivity"]
    assert reading.high - reading.low > frozen.high - frozen.low


def test_partial_area_of_a_perfect_model_fills_its_part():
    truth = np.r_[np.zeros(20, int), np.ones(20, int)]
    area = partial_auroc(truth, np.arange(40.0), between=(0.8, 1.0))
    assert area.value == pytest.approx(0.2)
    assert "standardised 1.00" in area.note


def test_net_benefit_from_its_definition():
    data = simulated(4)
    curve = decision_curve(data, thresholds=[0.1, 0.3, 0.6])
    for place, value in zip(curve.thresholds, curve.net_benefit, strict=True):
        called = data.score >= place
        hits, alarms = (called & (data.target == 1)).sum(), (called & (data.target == 0)).sum()
        assert value == pytest.approx((hits - alarms * place / (1 - place)) / len(data))
    prevalence = data.target.mean()
    assert curve.treat_all == pytest.approx(prevalence - (1 - prevalence) * curve.thresholds / (1 - curve.thresholds))


def test_a_model_that_says_one_thing_has_no_advantage():
    data = simulated(5)
    constant = Predictions.of(data.target, np.full(len(data), 0.5))
    curve = decision_curve(constant, thresholds=np.linspace(0.05, 0.95, 19))
    assert (curve.advantage <= 1e-12).all()


def test_impossible_cut_offs_are_refused():
    with pytest.raises(InputError, match="outside 0 to 1"):
        decision_curve([0, 1], [0.1, 7.0])
    with pytest.raises(InputError, match="strictly between"):
        decision_curve([0, 1], [0.1, 0.7], thresholds=[0.0])
    with pytest.raises(InputError, match="no positive"):
        choose_operating_point(Predictions.of([0, 0], [0.1, 0.2]))
    with pytest.raises(InputError, match="wanted"):
        choose_operating_point(simulated(0), rule="sensitivity", wanted=1.5)
