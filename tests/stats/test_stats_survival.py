"""Survival statistics against R (survival, riskRegression), hand-worked curves, slow counting, and laws."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.auc import auroc
from radfoundry.stats.concordance_index import concordance_difference, concordance_index
from radfoundry.stats.cox import cox_regression
from radfoundry.stats.follow_up import censor_at, still_followed
from radfoundry.stats.log_rank import log_rank
from radfoundry.stats.survival import kaplan_meier
from radfoundry.stats.time_dependent import auroc_at, brier_over_time

# R 4.2.2, survival 3.5.3, riskRegression 2022.11.28: tests/golden/stats_b.R, data and results in one file.
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "stats_b.json").read_text())
REFERENCE, DYNAMIC = GOLDEN["survival"], GOLDEN["dynamic"]
DATA = {name: np.array(column) for name, column in REFERENCE["data"].items()}
TIME, EVENT = DATA["time"], DATA["status"]


def close(numbers, **options):
    return pytest.approx(numbers, **({"rel": 1e-6, "abs": 1e-9} | options))


@pytest.mark.parametrize("golden", REFERENCE["km"], ids=lambda g: g["type"])
def test_kaplan_meier_equals_survfit(golden):
    curve = kaplan_meier(TIME, EVENT, interval=golden["type"])
    found = [curve.at(t) for t in (6, 12, 24, 36)]
    assert [e.value for e in found] == close(golden["surv"])
    assert [e.low for e in found] == close(golden["low"])
    assert [e.high for e in found] == close(golden["high"])
    for share, value, low, high in zip((0.25, 0.5), golden["quantile"], golden["q_low"], golden["q_high"], strict=True):
        quantile = curve.quantile(share)
        assert [quantile.value, quantile.low, quantile.high] == close([value, low, high])


def test_restricted_mean_equals_survfit():
    found = kaplan_meier(TIME, EVENT).restricted_mean(30)
    value, error = REFERENCE["rmean"]
    assert found.value == close(value)
    assert (found.high - found.low) / 2 == close(1.959963985 * error)


def test_restricted_mean_without_censoring_is_the_mean_of_cut_times():
    rng = np.random.default_rng(0)
    time = rng.exponential(10, 50)
    found = kaplan_meier(time, np.ones(50)).restricted_mean(8.0)
    assert found.value == close(np.minimum(time, 8.0).mean())


def test_worked_kaplan_meier():
    # Freireich 1963, 6-MP arm (as in Collett): S(10) = 0.7529, S(23) = 0.4482, median 23.
    time = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    curve = kaplan_meier(time, [1] * 9 + [0] * 12)
    assert round(curve.at(10).value, 4) == 0.7529 and round(curve.at(23).value, 4) == 0.4482
    assert curve.median.value == 23
    placebo = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
    # The same trial: log-rank chi-square 16.79.
    test = log_rank(time + placebo, [1] * 9 + [0] * 12 + [1] * 21, ["6-MP"] * 21 + ["placebo"] * 21)
    assert round(test.chi_square, 2) == 16.79 and test.hazard_ratio.low > 1


def test_curve_without_censoring_is_the_share_left():
    time = np.array([1, 2, 2, 3, 5, 8, 9, 9, 10, 12.0])
    curve = kaplan_meier(time, np.ones(10))
    for moment in (1, 2.5, 9, 11):
        assert curve.at(moment).value == close((time > moment).mean())
    assert curve.at(12).value == 0.0


def test_undefined_parts_say_why():
    curve = kaplan_meier([5, 6, 7, 8], [1, 0, 0, 0])
    assert not curve.median.defined and "follow-up" in curve.median.note
    assert not curve.at(9).defined and "ended at 8" in curve.at(9).note
    assert curve.at(1).value == 1.0 and curve.at(1).note == "no event so far"
    assert not curve.restricted_mean(20).defined
    none = log_rank([1, 2, 3, 4], [0, 0, 0, 0], list("aabb"))
    assert np.isnan(none.p_value) and not none.hazard_ratio.defined
    with pytest.raises(InputError, match="negative"):
        kaplan_meier([-1, 2], [1, 0])
    with pytest.raises(InputError, match="0 or 1"):
        kaplan_meier([1, 2], [2, 1])
    with pytest.raises(InputError, match="one group"):
        log_rank([1, 2], [1, 1], ["a", "a"])


def test_log_rank_equals_survdiff():
    two = log_rank(TIME, EVENT, DATA["arm"])
    assert two.chi_square == close(REFERENCE["logrank"]["chisq"])
    assert two.observed == close(tuple(REFERENCE["logrank"]["obs"]))
    assert two.expected == close(tuple(REFERENCE["logrank"]["exp"]))
    assert log_rank(TIME, EVENT, DATA["three"]).chi_square == close(REFERENCE["logrank3"])
    assert log_rank(TIME, EVENT, DATA["arm"], strata=DATA["three"]).chi_square == close(REFERENCE["logrank_strata"])


def test_log_rank_laws():
    base = log_rank(TIME, EVENT, DATA["arm"])
    swapped = log_rank(TIME, EVENT, 1 - DATA["arm"])
    assert swapped.chi_square == close(base.chi_square)
    assert swapped.hazard_ratio.value == close(1 / base.hazard_ratio.value)
    # Only the order of times counts.
    assert log_rank(np.exp(TIME / 20), EVENT, DATA["arm"]).chi_square == close(base.chi_square)
    assert sum(base.observed) == close(sum(base.expected)) == EVENT.sum()


def slow_concordance(time, event, risk, weight=None):
    """Every pair looked at once."""
    good = total = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                w = 1.0 if weight is None else weight[i]
                total += w
                good += w * ((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j]))
    return good / total


def test_concordance_equals_counting_and_r():
    marker = DATA["marker"]
    found = concordance_index(TIME, EVENT, marker)
    assert found.value == close(slow_concordance(TIME, EVENT, marker)) == close(REFERENCE["harrell"][0])
    # R's error has no factor n/(n-1) and its interval no logit; undo both.
    spread = np.diff([np.log(x / (1 - x)) for x in (found.low, found.high)])[0] / 2
    error = spread * found.value * (1 - found.value) / 1.980100 * np.sqrt(119 / 120)
    assert error == close(REFERENCE["harrell"][1], rel=1e-4)
    limited = concordance_index(*censor_at(TIME, EVENT, 36), marker, weighting="uno")
    weight = 1 / still_followed(TIME, EVENT == 1).before(TIME)[0] ** 2
    slow = slow_concordance(*censor_at(TIME, EVENT, 36), marker, np.where(TIME < 36, weight, 0))
    assert limited.value == close(slow)


def test_uno_equals_r():
    # R counts events at the limit itself (ymax = 36); ours end just before, so end just after.
    found = concordance_index(*censor_at(TIME, EVENT, 36.5), DATA["marker"], weighting="uno")
    assert found.value == close(REFERENCE["uno"][0])


def test_concordance_laws():
    marker = DATA["marker"]
    base = concordance_index(TIME, EVENT, marker)
    assert concordance_index(TIME, EVENT, np.exp(marker)).value == close(base.value)
    assert concordance_index(TIME, EVENT, -marker).value == close(1 - base.value)
    assert concordance_index(TIME, EVENT, np.zeros(120)).value == 0.5
    twice = concordance_index(
        np.tile(TIME, 2), np.tile(EVENT, 2), np.tile(marker, 2), patient=np.tile(np.arange(120), 2)
    )
    alone = concordance_index(TIME, EVENT, marker, patient=np.arange(120))
    assert (twice.value, twice.low, twice.high) == close((alone.value, alone.low, alone.high))
    assert not concordance_index([3, 4], [0, 0], [1, 2]).defined
    # Without censoring Uno's weights are all 1.
    ones = np.ones(120)
    assert concordance_index(TIME, ones, marker, weighting="uno").value == close(
        concordance_index(TIME, ones, marker).value
    )


def test_concordance_difference_equals_r():
    golden = REFERENCE["two"]
    found = concordance_difference(TIME, EVENT, (DATA["marker"], DATA["age"]))
    # R's second model has a negative coefficient for age, so its C belongs to the reversed age.
    first, second = golden["c"]
    age = concordance_index(TIME, EVENT, DATA["age"]).value
    assert found.value == close(first - age)
    assert second in (close(age), close(1 - age))
    sign = 1 if second == close(age) else -1
    variance = golden["var"][0][0] + golden["var"][1][1] - 2 * sign * golden["var"][0][1]
    assert (found.high - found.low) / 2 / 1.959964 == pytest.approx(np.sqrt(variance * 120 / 119), rel=1e-5)
    same = concordance_difference(TIME, EVENT, (DATA["marker"], 2 * DATA["marker"]))
    assert same.value == 0 and np.isnan(same.low) and "alike" in same.note


def test_cox_equals_coxph():
    golden = REFERENCE["cox"]
    covariates = {name: DATA[name] for name in ("arm", "age", "marker")}
    model = cox_regression(TIME, EVENT, covariates)
    assert model.coefficients == close(golden["coef"], rel=1e-5)
    assert np.sqrt(np.diag(model.covariance)) == close(golden["se"], rel=1e-5)
    assert model.log_likelihood == close(tuple(golden["loglik"]))
    assert model.concordance.value == close(REFERENCE["cox_c"][0])
    assert cox_regression(TIME, EVENT, covariates, ties="breslow").coefficients == close(golden["breslow"], rel=1e-5)
    # Efron's and Breslow's baselines differ only where events tie.
    at = np.searchsorted(golden["base_time"], 20, side="right") - 1
    here = np.searchsorted(model.hazard_time, 20, side="right") - 1
    assert model.hazard[here] == pytest.approx(golden["base"][at], rel=0.03)
    predicted = model.survival(covariates, [0.5, 12, 24])
    assert predicted.shape == (120, 3) and (np.diff(predicted, axis=1) <= 0).all()
    assert predicted[:, 1].mean() == pytest.approx(kaplan_meier(TIME, EVENT).at(12).value, abs=0.03)


def test_cox_refusals():
    covariates = {"marker": DATA["marker"]}
    with pytest.raises(InputError, match="constant"):
        cox_regression(TIME, EVENT, {"one": np.ones(120)})
    with pytest.raises(InputError, match="repeat"):
        cox_regression(TIME, EVENT, {"a": DATA["age"], "b": 2 * DATA["age"]})
    with pytest.raises(InputError, match="events for"):
        cox_regression(TIME, np.zeros(120), covariates)
    model = cox_regression(TIME, EVENT, covariates)
    with pytest.raises(InputError, match="marker is missing"):
        model.risk({"age": DATA["age"]})
    code = (
        "import sys; sys.modules['statsmodels'] = None; sys.modules['statsmodels.duration'] = None\n"
        "from radfoundry.stats.cox import cox_regression\n"
        "try: cox_regression([1, 2, 3], [1, 1, 1], {'a': [1, 2, 4]})\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "radfoundry[stats]" in done.stdout


@pytest.mark.parametrize("place", range(3))
def test_dynamic_auroc_and_brier_equal_risk_regression(place):
    risk = np.array(DYNAMIC["risk"])
    moment = DYNAMIC["times"][place]
    found = auroc_at(TIME, EVENT, risk[:, place], moment=moment)
    assert found.value == close(DYNAMIC["auc"][place])
    # Its error comes from influence functions, ours from draws.
    assert (found.high - found.low) / 3.92 == pytest.approx(DYNAMIC["auc_se"][place], rel=0.15)
    score = brier_over_time(TIME, EVENT, 1 - risk[:, place], moments=[moment]).scores[0]
    assert score.value == close(DYNAMIC["brier"][place])
    assert (score.high - score.low) / 3.92 == pytest.approx(DYNAMIC["brier_se"][place], rel=0.15)


def test_without_censoring_they_are_the_plain_measures():
    rng = np.random.default_rng(2)
    time = rng.exponential(10, 80).round(1) + 0.1
    risk = -time + rng.normal(0, 8, 80)
    ones = np.ones(80)
    assert auroc_at(time, ones, risk, moment=7.0).value == close(auroc((time <= 7).astype(int), risk).value)
    survival = 1 / (1 + np.exp(risk / 8))
    found = brier_over_time(time, ones, survival, moments=[7.0]).scores[0]
    assert found.value == close((((time > 7) - survival) ** 2).mean())


def test_brier_over_time_integrates_and_knows_its_reference():
    risk = np.array(DYNAMIC["risk"])
    found = brier_over_time(TIME, EVENT, 1 - risk, moments=DYNAMIC["times"])
    values = DYNAMIC["brier"]
    assert found.integrated.value == close(((values[0] + values[1]) / 2 + (values[1] + values[2]) / 2) / 2)
    # Predicting the pooled curve for everyone removes nothing.
    flat = np.tile([kaplan_meier(TIME, EVENT).at(t).value for t in DYNAMIC["times"]], (120, 1))
    pooled = brier_over_time(TIME, EVENT, flat, moments=DYNAMIC["times"])
    assert pooled.scaled.value == pytest.approx(0.0, abs=1e-6)
    beyond = brier_over_time(TIME, EVENT, flat[:, :1], moments=[1e4]).scores[0]
    assert not beyond.defined and "follow-up ended" in beyond.note
    assert not auroc_at(TIME, EVENT, DATA["marker"], moment=1e4).defined
    with pytest.raises(InputError, match="columns"):
        brier_over_time(TIME, EVENT, flat, moments=[1.0])
    with pytest.raises(InputError, match="survival leaves"):
        brier_over_time(TIME, EVENT, flat + 1, moments=DYNAMIC["times"])


@pytest.mark.data
def test_lung_cancer_trial():
    # Reference values by R's survival on the same table (references.json of the statistics set).
    import pandas as pd

    folder = Path(os.environ.get("RADFOUNDRY_DATA", "")) / "stats_reference"
    if not folder.is_dir():
        pytest.skip("set RADFOUNDRY_DATA")
    rows = pd.read_csv(folder / "lung.csv")
    reference = json.loads((folder / "references.json").read_text())["lung"]
    event = rows.status == 2
    curve = kaplan_meier(rows.time, event, interval="log")
    assert curve.median.value == reference["km_median"]
    at = curve.at(365)
    assert [at.value, at.low, at.high] == close([reference["km_at_365"], *reference["km_at_365_ci"]])
    test = log_rank(rows.time, event, rows.sex)
    assert (test.chi_square, test.p_value) == close((reference["logrank_chisq"], reference["logrank_p"]))
    assert [kaplan_meier(rows.time[rows.sex == s], event[rows.sex == s]).median.value for s in (1, 2)] == reference[
        "median_by_sex"
    ]
    assert concordance_index(rows.time, event, rows.age).value == close(reference["harrell_c_age"])
    whole = rows.dropna(subset=["ph.ecog"])
    event = whole.status == 2
    for ties, expected in (("efron", reference["cox_efron"]["coef"]), ("breslow", reference["cox_breslow_coef"])):
        model = cox_regression(whole.time, event, {n: whole[n] for n in ("age", "sex", "ph.ecog")}, ties=ties)
        assert model.coefficients == close(expected, rel=1e-5)
        if ties == "efron":
            assert model.concordance.value == close(reference["cox_efron"]["concordance"])
            assert model.log_likelihood == close(tuple(reference["cox_efron"]["loglik"]))
