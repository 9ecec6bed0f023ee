"""Reader studies against R, published worked examples and their own laws."""

import csv
import json
import math
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.mrmc import compare_arms, components, obuchowski_rockette
from radfoundry.stats.mrmc_covariance import auc_covariance, jackknife_aucs, reader_aucs
from radfoundry.stats.mrmc_pseudovalues import dorfman_berbaum_metz, pseudovalues
from radfoundry.stats.readers import ReaderStudy, from_rows

GOLDEN = Path(__file__).parents[1] / "golden"
# R 4.2.2, base and stats only; script and output in tests/golden/stats_c.R and stats_c.csv.
R = {row[0]: float(row[1]) for row in csv.reader((GOLDEN / "stats_c.csv").read_text().splitlines()[2:])}


def study_from(path, *, arm="arm", rating="rating"):
    with Path(path).open() as handle:
        rows = list(csv.DictReader(handle))
    column = {name: [row[name] for row in rows] for name in (arm, "reader", "case", "truth", rating)}
    truth = np.array(column["truth"], dtype=int)
    return from_rows(column[arm], column["reader"], column["case"], np.array(column[rating], dtype=float), truth=truth)


@pytest.fixture(scope="module")
def small():
    return study_from(GOLDEN / "stats_c_readers.csv")


@pytest.fixture(scope="module")
def reference():
    folder = Path(os.environ.get("RADFOUNDRY_DATA", "")) / "stats_reference"
    if not (folder / "references.json").is_file():
        pytest.skip("RADFOUNDRY_DATA has no stats_reference")
    published = json.loads((folder / "references.json").read_text())
    return study_from(folder / "mrmc_vandyke.csv", arm="treatment"), published


def test_areas_and_analysis_of_variance_equal_r(small):
    areas = reader_aucs(small)
    for i, j in product(range(2), range(4)):
        assert areas[i, j] == pytest.approx(R[f"auc.{small.arms[i]}.{small.readers[j]}"], abs=1e-11)
    found = dorfman_berbaum_metz(small)
    names = {"T": "arm", "R": "reader", "C": "case", "TR": "arm_reader", "TC": "arm_case", "RC": "reader_case"}
    for ours, theirs in names.items():
        assert found.mean_squares[ours] == pytest.approx(R[f"ms.{theirs}"], rel=1e-9)
    assert found.mean_squares["TRC"] == pytest.approx(R["ms.arm_reader_case"], rel=1e-9)
    assert (found.statistic, found.df2, found.p_value) == pytest.approx((R["rrrc.f"], R["rrrc.df2"], R["rrrc.p"]))


def test_pseudovalue_analysis_equals_jackknife_covariances(small):
    old, new = dorfman_berbaum_metz(small), obuchowski_rockette(small, covariance="jackknife")
    assert (new.statistic, new.df2, new.p_value) == pytest.approx((old.statistic, old.df2, old.p_value))
    ours, theirs = new.differences[0].estimate, old.differences[0].estimate
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert pseudovalues(small).mean(axis=2) == pytest.approx(new.figures)


# The Van Dyke data: summary numbers printed by OR-DBM MRMC 2.51 (University of Iowa) and in the MRMCaov paper
# (Smith, Hillis & Pesce). Reader AUCs and covariances go in, the published tests must come out.
AUCS = [
    [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
    [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169],
]
PUBLISHED = {
    "jackknife": ((0.00080229, 0.00034661, 0.00034407, 0.00023903), (4.456, 15.26, 0.0517), (-0.08796, 0.00036)),
    "delong": (
        (0.0007921325, 0.000342009, 0.0003395265, 0.0002358497),
        (4.484854, 15.06611, 0.05123303),
        (-0.087867196, 0.0002665519),
    ),
    "unbiased": (
        (0.0007883925, 0.0003416706, 0.000339065, 0.0002356148),
        (4.489614, 15.03418, 0.0511618),
        (-0.0878519409, 0.0002512968),
    ),
}


def covariance_of(variance, first, second, third, shape=(2, 5)):
    arm, reader = (index.ravel() for index in np.indices(shape))
    same_arm, same_reader = arm[:, None] == arm[None, :], reader[:, None] == reader[None, :]
    return np.select([same_arm & same_reader, same_reader, same_arm], [variance, first, second], third)


@pytest.mark.parametrize("method", PUBLISHED)
def test_published_covariances_give_the_published_tests(method):
    parts, test, interval = PUBLISHED[method]
    found = compare_arms(AUCS, covariance_of(*parts), cases=114)
    assert (found.statistic, found.df2, found.p_value) == pytest.approx(test, rel=1.1e-3)
    estimate = found.differences[0].estimate
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((-0.04380032, *interval), abs=1e-5)
    assert estimate.p_value == pytest.approx(found.p_value)


def test_published_fixed_readers_and_fixed_cases():
    matrix = covariance_of(*PUBLISHED["jackknife"][0])
    cases = compare_arms(AUCS, matrix, random="cases")
    assert (cases.statistic, cases.p_value) == pytest.approx((5.475953, 0.01927984), rel=2e-4)
    readers = compare_arms(AUCS, matrix, random="readers")
    assert (readers.statistic, readers.df2, readers.p_value) == pytest.approx((8.704, 4, 0.04195875), rel=1e-4)
    assert readers.differences[0].estimate.low == pytest.approx(-0.08502022, abs=1e-6)
    found = components(np.array(AUCS), matrix)
    assert (found.ms_arm, found.ms_reader, found.ms_arm_reader) == pytest.approx(
        (0.00479617, 0.0038362, 0.00055103), rel=1e-4
    )
    assert (found.variance_reader, found.variance_arm_reader) == pytest.approx((0.001535, 0.0002004), rel=1e-3)


@pytest.mark.data
@pytest.mark.parametrize("method", PUBLISHED)
def test_van_dyke_ratings_give_the_published_covariances(reference, method):
    study, _ = reference
    found = obuchowski_rockette(study, covariance=method)
    parts = found.components
    assert found.figures == pytest.approx(np.array(AUCS), abs=1e-8)
    ours = (parts.variance, parts.covariance1, parts.covariance2, parts.covariance3)
    assert ours == pytest.approx(PUBLISHED[method][0], abs=6e-9)
    assert found.df2 == pytest.approx(PUBLISHED[method][1][1], rel=1e-3)


@pytest.mark.data
def test_van_dyke_pseudovalues_and_single_arms(reference):
    study, published = reference
    found = dorfman_berbaum_metz(study).variances
    expected = published["vandyke"]["dbm"]
    assert (found["C"], found["TC"], found["RC"], found["TRC"]) == pytest.approx(
        (expected["var_C"], expected["var_TC"], expected["var_RC"], expected["var_TRC_plus_error"]), rel=1e-5
    )
    averages = compare_arms(reader_aucs(study), auc_covariance(study)).averages
    for ours, theirs in zip(averages, published["vandyke"]["jackknife"]["single_treatment_ci"], strict=True):
        assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-7)


@pytest.mark.data
def test_free_response_figures_give_the_published_analysis(reference):
    # RJafroc on its 5-reader FROC data set: highest-rating AUCs, jackknife components, both factors random.
    published = reference[1]["froc_dataset01"]["obuchowski_rockette_hr_auc"]
    figures = np.array(published["FOMs"]["foms"])
    values = {row["_row"]: row["Estimates"] for row in published["ANOVA"]["VarCom"]}
    matrix = covariance_of(values["Var"], values["Cov1"], values["Cov2"], values["Cov3"])
    found = compare_arms(figures, matrix, cases=185)
    expected = published["RRRC"]["ciDiffTrt"][0]
    ours = found.differences[0].estimate
    assert (ours.value, ours.low, ours.high) == pytest.approx(
        (expected["Estimate"], expected["CILower"], expected["CIUpper"]), rel=1e-9
    )
    assert (found.df2, found.p_value) == pytest.approx((expected["DF"], expected["PrGTt"]), rel=1e-9)
    components_found = found.components
    assert components_found.variance_reader == pytest.approx(values["VarR"])
    assert components_found.variance_arm_reader == pytest.approx(values["VarTR"])


def slow_left_out(study, patient):
    keep = study.patient != patient
    return reader_aucs(study.part(keep)).ravel()


def test_clustered_jackknife_equals_leaving_patients_out_one_by_one(small):
    # Pairs of neighbouring cases become patients, some with a diseased and a healthy case.
    order = np.random.default_rng(3).permutation(36)
    study = ReaderStudy.of(small.ratings[:, :, order], small.truth[order], patient=np.arange(36) // 2)
    slow = np.stack([slow_left_out(study, name) for name in np.unique(study.patient)], axis=1)
    assert jackknife_aucs(study) == pytest.approx(slow)
    plain = ReaderStudy.of(small.ratings, small.truth)
    one_by_one = np.stack([slow_left_out(plain, name) for name in plain.patient], axis=1)
    assert jackknife_aucs(plain) == pytest.approx(one_by_one)
    count = slow.shape[1]
    assert auc_covariance(study) == pytest.approx(np.cov(slow, bias=True) * (count - 1), abs=1e-15)


def test_covariance_methods_agree_roughly(small):
    known = auc_covariance(small, method="jackknife")
    for method in ("delong", "unbiased", "bootstrap"):
        other = auc_covariance(small, method=method, rng=4)
        assert np.trace(other) == pytest.approx(np.trace(known), rel=0.15), method


def test_case_order_reader_order_and_monotone_ratings_change_nothing(small):
    base = obuchowski_rockette(small)
    order, readers = np.random.default_rng(1).permutation(36), [2, 0, 3, 1]
    mixed = ReaderStudy.of(np.exp(small.ratings[:, readers][:, :, order]), small.truth[order])
    found = obuchowski_rockette(mixed)
    assert (found.statistic, found.df2, found.p_value) == pytest.approx((base.statistic, base.df2, base.p_value))


def test_swapping_arms_turns_the_difference_around(small):
    turned = obuchowski_rockette(ReaderStudy.of(small.ratings[::-1], small.truth))
    ours, theirs = turned.differences[0].estimate, obuchowski_rockette(small).differences[0].estimate
    assert (ours.value, ours.low, ours.high) == pytest.approx((-theirs.value, -theirs.high, -theirs.low))
    assert ours.p_value == pytest.approx(theirs.p_value)


def test_a_single_arms_interval_is_the_published_one_moved_to_the_logit_scale(small):
    moved = obuchowski_rockette(small).averages
    plain = compare_arms(reader_aucs(small), auc_covariance(small)).averages
    for ours, published in zip(moved, plain, strict=True):
        odds = [math.log(end / (1 - end)) for end in (ours.low, ours.value, ours.high)]
        assert odds[1] - odds[0] == pytest.approx(odds[2] - odds[1])
        reach = (published.high - published.value) / (published.value * (1 - published.value))
        assert odds[2] - odds[1] == pytest.approx(reach)
        assert 0 < ours.low < ours.high < 1


def test_three_arms_give_three_differences_and_one_overall_test(small):
    ratings = np.concatenate([small.ratings, small.ratings[:1] + np.arange(36) % 2])
    found = obuchowski_rockette(ReaderStudy.of(ratings, small.truth, arms=["a", "b", "c"]))
    assert [(pair.first, pair.second) for pair in found.differences] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found.df1 == 2


def test_one_reader_or_one_arm_has_no_interval_but_a_reason(small):
    alone = obuchowski_rockette(ReaderStudy.of(small.ratings[:, :1], small.truth))
    assert np.isnan(alone.differences[0].estimate.low)
    assert "too few readers" in alone.differences[0].estimate.note
    fixed = obuchowski_rockette(ReaderStudy.of(small.ratings[:, :1], small.truth), random="cases")
    assert fixed.differences[0].estimate.low < fixed.differences[0].estimate.value
    single = obuchowski_rockette(ReaderStudy.of(small.ratings[:1], small.truth))
    assert single.differences == ()
    assert single.averages[0].low < single.averages[0].value


def test_incomplete_studies_are_refused_by_name(small):
    arm, reader, case = ["a", "a", "a"], ["r1", "r1", "r2"], ["1", "2", "1"]
    with pytest.raises(InputError, match="arm a, reader r2, case 2: 1 readings are missing"):
        from_rows(arm, reader, case, [1, 2, 3], truth=[0, 1, 0])
    with pytest.raises(InputError, match="given twice"):
        from_rows(["a", "a"], ["r", "r"], ["1", "1"], [1, 2], truth=[0, 0])
    with pytest.raises(InputError, match="truth differs between rows"):
        from_rows(["a", "b"], ["r", "r"], ["1", "1"], [1, 2], truth=[0, 1])
    with pytest.raises(InputError, match="needs diseased and healthy"):
        obuchowski_rockette(small.part(small.truth))
    with pytest.raises(InputError, match="choose one of"):
        obuchowski_rockette(small, covariance="delonge")
