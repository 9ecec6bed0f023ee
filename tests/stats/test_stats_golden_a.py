"""Our numbers against R's on a seeded table: tests/golden/stats_a.R makes both files; versions are in the JSON."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from radfoundry.records import Predictions
from radfoundry.stats.auc import auroc, auroc_difference, roc_curve
from radfoundry.stats.calibration import brier_score
from radfoundry.stats.classification import confusion_measures
from radfoundry.stats.comparisons import mann_whitney, mcnemar, mean_difference, wilcoxon
from radfoundry.stats.multiclass import class_measures, hand_till_area, quadratic_kappa
from radfoundry.stats.multiplicity import adjust
from radfoundry.stats.operating import choose_operating_point
from radfoundry.stats.proportions import proportion
from radfoundry.stats.recalibration import calibration_slope, fit_isotonic, logistic_line
from radfoundry.stats.regression import MEASURES
from radfoundry.stats.roc_readings import (
    partial_auroc,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
    standardised_partial,
)
from radfoundry.stats.sample_size import binormal_variance

GOLDEN = Path(__file__).parents[1] / "golden"
R = json.loads((GOLDEN / "stats_a.json").read_text())
with (GOLDEN / "stats_a_input.csv").open() as file:
    TABLE = list(csv.DictReader(file))
COLUMN = {name: np.array([float(row[name]) for row in TABLE]) for name in TABLE[0]}
OUTCOME = COLUMN["outcome"].astype(int)
FIRST = Predictions.of(OUTCOME, COLUMN["first"])
SECOND = Predictions.of(OUTCOME, COLUMN["second"])
PROBABLE = Predictions.of(OUTCOME, COLUMN["probability"])


def close(value, expected, tolerance=1e-9):
    assert value == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("name", ["first", "second"])
def test_area_and_delong_interval_equal_proc(name):
    estimate = auroc(OUTCOME, COLUMN[name], method="delong")
    low, value, high = R[f"auc_{name}"]["ci"]
    close(estimate.value, value)
    close(estimate.low, low)
    close(estimate.high, high)


def test_paired_delong_equals_proc():
    difference = auroc_difference(FIRST, SECOND)
    close(difference.p_value, R["paired"]["p"])
    close([difference.low, difference.high], R["paired"]["ci"])


def test_unpaired_variance_is_the_sum_of_procs_variances():
    half = np.arange(len(FIRST)) < 60
    difference = auroc_difference(FIRST.take(half), FIRST.take(~half), paired=False)
    close(difference.value, R["unpaired"]["auc"][0] - R["unpaired"]["auc"][1])
    close(difference.high - difference.low, 2 * 1.959963984540054 * np.sqrt(sum(R["unpaired"]["var"])))


def test_partial_areas_equal_proc():
    close(partial_auroc(FIRST, between=(0.8, 1.0)).value, R["partial"]["spec_0.8_1"])
    close(partial_auroc(FIRST, between=(0.6, 0.9)).value, R["partial"]["spec_0.6_0.9"])
    close(partial_auroc(FIRST, between=(0.7, 1.0), along="sensitivity").value, R["partial"]["sens_0.7_1"])
    close(standardised_partial(R["partial"]["spec_0.8_1"], 0.8, 1.0), R["partial"]["spec_0.8_1_corrected"])


def test_readings_along_the_curve_equal_proc():
    close(sensitivity_at_specificity(FIRST, specificity=0.9).value, R["readings"]["sens_at_spec_0.9"])
    close(specificity_at_sensitivity(FIRST, sensitivity=0.9).value, R["readings"]["spec_at_sens_0.9"])


def test_the_whole_curve_equals_proc():
    curve = roc_curve(FIRST)
    close(curve.sensitivity[::-1], np.array(R["roc"]["sensitivity"]))
    close(1 - curve.false_positive_rate[::-1], np.array(R["roc"]["specificity"]))


def test_youden_point_equals_proc():
    point = choose_operating_point(FIRST, rule="youden")
    close(point.threshold, R["youden"]["threshold"])
    close([point.sensitivity, point.specificity], [R["youden"]["sensitivity"], R["youden"]["specificity"]])


def test_confusion_measures_equal_caret():
    ours, by_class = confusion_measures(PROBABLE, threshold=0.5), R["confusion"]["by_class"]
    pairs = {
        "sensitivity": "Sensitivity",
        "specificity": "Specificity",
        "positive_predictive_value": "Pos Pred Value",
        "negative_predictive_value": "Neg Pred Value",
        "f1": "F1",
        "balanced_accuracy": "Balanced Accuracy",
        "prevalence": "Prevalence",
    }
    for name, theirs in pairs.items():
        close(ours[name].value, by_class[theirs])
    close(ours["accuracy"].value, R["confusion"]["overall"]["Accuracy"])
    called = (COLUMN["probability"] >= 0.5).astype(int)
    close(class_measures(OUTCOME, called).overall["kappa"].value, R["confusion"]["overall"]["Kappa"])


def test_proportion_limits_equal_r():
    hits, n = int(OUTCOME.sum()), len(OUTCOME)
    wilson, exact = proportion(hits, n), proportion(hits, n, method="clopper-pearson")
    close([wilson.low, wilson.high], R["wilson"])
    close([exact.low, exact.high], R["clopper_pearson"])
    none = proportion(0, 15)
    close([none.low, none.high], R["wilson_none"])


@pytest.mark.parametrize(("method", "key"), [("exact", "exact_p"), ("mid-p", "mid_p"), ("chi2", "chi2_p")])
def test_mcnemar_equals_r(method, key):
    right = [(COLUMN[name] > 0.5) == (OUTCOME == 1) for name in ("first", "second")]
    close(mcnemar(*right, method=method).p_value, R["mcnemar"][key])


def test_wilcoxon_equals_r():
    test = wilcoxon(COLUMN["after"][:30], COLUMN["before"][:30])
    close(test.p_value, R["wilcoxon"]["p"])
    close([test.low, test.high], R["wilcoxon"]["ci"])
    close(test.value, R["wilcoxon"]["estimate"])


def test_mann_whitney_equals_r():
    exact = mann_whitney(COLUMN["before"][:20], COLUMN["after"][20:45])
    close(exact.p_value, R["mann_whitney"]["exact_p"])
    close(exact.value * 20 * 25, R["mann_whitney"]["u"])
    tied = mann_whitney(COLUMN["first"][OUTCOME == 1], COLUMN["first"][OUTCOME == 0])
    close(tied.p_value, R["mann_whitney"]["ties_p"])


def test_paired_t_equals_r():
    test = mean_difference(COLUMN["after"], COLUMN["before"])
    close([test.p_value, test.value], [R["paired_t"]["p"], R["paired_t"]["value"]])
    close([test.low, test.high], R["paired_t"]["ci"])


def test_adjusted_p_values_equal_r():
    for ours, theirs in {"holm": "holm", "benjamini-hochberg": "bh", "bonferroni": "bonferroni"}.items():
        close(adjust(R["adjusted"]["raw"], method=ours), np.array(R["adjusted"][theirs]))


def test_kappas_equal_psych():
    close(class_measures(COLUMN["grade"], COLUMN["read"]).overall["kappa"].value, R["kappa"]["plain"])
    close(quadratic_kappa(COLUMN["grade"], COLUMN["read"]).value, R["kappa"]["quadratic"])


def test_hand_till_equals_proc():
    scores = np.stack([COLUMN[f"class{k}"] for k in range(4)], axis=1)
    close(hand_till_area(COLUMN["grade"].astype(int), scores).value, R["multiclass"])


def test_calibration_slope_and_logistic_line_equal_glm():
    close(calibration_slope(PROBABLE).value, R["slope"]["value"], 1e-7)
    slope, intercept, covariance = logistic_line(COLUMN["first"], OUTCOME.astype(float))
    close([slope, intercept], [R["line"]["slope"], R["line"]["intercept"]], 1e-7)
    probability = COLUMN["probability"]
    _, _, covariance = logistic_line(np.log(probability / (1 - probability)), OUTCOME.astype(float))
    close(np.sqrt(covariance[0, 0]), R["slope"]["model_se"], 1e-5)


def test_isotonic_steps_equal_isoreg():
    close(fit_isotonic(FIRST).apply(np.sort(COLUMN["first"])), np.array(R["isotonic"]))


def test_brier_and_regression_errors_equal_r():
    close(brier_score(PROBABLE).value, R["brier"])
    pair = Predictions.of(COLUMN["before"], COLUMN["after"])
    keys = {"mean_absolute_error": "mae", "root_mean_square_error": "rmse", "bias": "bias", "r_squared": "r2"}
    for ours, theirs in keys.items():
        close(MEASURES[ours](pair), R["regression"][theirs])


def test_binormal_variance_is_procs_obuchowski_variance():
    assert binormal_variance(0.8, 40, 60) == pytest.approx(R["var_obuchowski"], rel=1e-9)
