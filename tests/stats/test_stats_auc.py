"""The area under the curve: variance against its definition, clusters, pairs, and the edges."""

import math

import numpy as np
import pytest

from radfoundry.records import InputError, Predictions
from radfoundry.stats.auc import auroc, auroc_difference, roc_curve, score_limits
from radfoundry.stats.bootstrap import bootstrap, bootstrap_difference
from radfoundry.stats.roc import sensitivity_at
from radfoundry.stats.weighted import weighted_auroc


def simulated(seed, n=80, shift=1.0, rows=1):
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n // rows), rows)
    truth = rng.integers(0, 2, len(patient))
    score = shift * truth + 0.7 * rng.normal(size=n // rows)[patient] + 0.7 * rng.normal(size=len(patient))
    return truth, score.round(1), patient


def slow_variance(truth, score, patient):
    """Obuchowski 1997, equations written out patient by patient."""
    cases, controls = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
    beats = lambda a, b: float(score[a] > score[b]) + (score[a] == score[b]) / 2  # noqa: E731
    m, n = len(cases), len(controls)
    v10 = {i: sum(beats(i, j) for j in controls) / n for i in cases}
    v01 = {j: sum(beats(i, j) for i in cases) / m for j in controls}
    area = sum(v10.values()) / m
    s10 = s01 = s11 = 0.0
    people = sorted(set(patient))
    with_case = sum(any(patient[i] == p for i in cases) for p in people)
    with_control = sum(any(patient[j] == p for j in controls) for p in people)
    for p in people:
        ours, theirs = [i for i in cases if patient[i] == p], [j for j in controls if patient[j] == p]
        up = sum(v10[i] for i in ours) - len(ours) * area
        down = sum(v01[j] for j in theirs) - len(theirs) * area
        s10, s01, s11 = s10 + up**2, s01 + down**2, s11 + up * down
    s10 *= with_case / ((with_case - 1) * m)
    s01 *= with_control / ((with_control - 1) * n)
    s11 *= len(people) / (len(people) - 1)
    return area, s10 / m + s01 / n + 2 * s11 / (m * n)


@pytest.mark.parametrize("rows", [1, 4])
def test_variance_equals_obuchowskis_equations(rows):
    truth, score, patient = simulated(0, rows=rows)
    area, variance = slow_variance(truth, score, patient)
    found = auroc(truth, score, patient=patient, method="delong")
    from scipy.stats import norm, t

    quantile = norm.ppf(0.975) if rows == 1 else t.ppf(0.975, len(set(patient)) - 1)
    assert found.value == pytest.approx(area, abs=1e-12)
    assert found.high - found.low == pytest.approx(2 * quantile * math.sqrt(variance), rel=1e-9)


def test_repeating_every_row_within_its_patient_does_not_narrow_the_interval():
    truth, score, patient = simulated(1)
    once = auroc(truth, score, method="delong")
    copies = auroc(np.repeat(truth, 3), np.repeat(score, 3), patient=np.repeat(patient, 3), method="delong")
    naive = auroc(np.repeat(truth, 3), np.repeat(score, 3), method="delong")
    assert copies.value == once.value
    assert copies.high - copies.low == pytest.approx(once.high - once.low, rel=0.03)
    assert naive.high - naive.low < 0.65 * (once.high - once.low)


def test_paired_difference_is_tighter_than_unpaired_and_agrees_with_the_bootstrap():
    truth, score, _ = simulated(2, n=300)
    second = score + np.random.default_rng(9).normal(0, 0.4, len(score))
    one, other = Predictions.of(truth, score), Predictions.of(truth, second)
    paired, unpaired = auroc_difference(one, other), auroc_difference(one, other, paired=False)
    drawn = bootstrap_difference(weighted_auroc, one, other)
    assert paired.value == unpaired.value == pytest.approx(drawn.value)
    assert paired.high - paired.low < 0.7 * (unpaired.high - unpaired.low)
    assert [paired.low, paired.high] == pytest.approx([drawn.low, drawn.high], abs=0.01)


def test_difference_turns_its_sign_when_the_predictors_swap():
    truth, score, patient = simulated(3, rows=2)
    one = Predictions.of(truth, score, patient=patient)
    other = Predictions.of(truth, score[::-1].copy(), patient=patient)
    there, back = auroc_difference(one, other), auroc_difference(other, one)
    assert there.value == pytest.approx(-back.value)
    assert there.low == pytest.approx(-back.high)
    assert there.p_value == pytest.approx(back.p_value)


def test_a_predictor_equals_itself():
    truth, score, _ = simulated(4)
    same = auroc_difference(Predictions.of(truth, score), Predictions.of(truth, 2 * score + 1))
    assert (same.value, same.p_value) == (0.0, 1.0)


def test_paired_comparison_refuses_other_cases():
    one = Predictions.of([0, 1], [0.1, 0.2], case=["a", "b"])
    with pytest.raises(InputError, match="different cases"):
        auroc_difference(one, Predictions.of([0, 1], [0.1, 0.2], case=["a", "c"]))
    with pytest.raises(InputError, match="different targets"):
        auroc_difference(one, Predictions.of([1, 0], [0.1, 0.2], case=["a", "b"]))


def test_one_class_is_undefined_with_the_reason():
    for estimate in (auroc([1, 1], [0.1, 0.2]), auroc([0, 0], [0.1, 0.2], method="bootstrap")):
        assert math.isnan(estimate.value)
        assert "no " in estimate.note
    both = auroc_difference(Predictions.of([1, 1], [0.1, 0.2]), Predictions.of([1, 1], [0.3, 0.2]))
    assert not both.defined


def test_perfect_separation_keeps_its_doubt():
    few, many = (auroc([0] * n + [1] * n, range(2 * n)) for n in (5, 50))
    assert few.value == many.value == few.high == 1.0
    assert 0.5 < few.low < many.low < 1.0
    assert "perfect" in few.note


def test_one_positive_patient_falls_back_to_the_score_interval():
    estimate = auroc([0, 0, 0, 1], [0.1, 0.2, 0.5, 0.4])
    assert estimate.low < estimate.value < estimate.high
    assert "fewer than two" in estimate.note


def test_score_limits_solve_newcombes_equation():
    low, high = score_limits(0.8, 20, 30)
    for area in (low, high):
        star = (20 + 30) / 2 - 1
        variance = area * (1 - area) * (1 + star * ((1 - area) / (2 - area) + area / (1 + area))) / 600
        assert abs(area - 0.8) / math.sqrt(variance) == pytest.approx(1.959964, rel=1e-5)


def test_methods_agree_in_large_samples():
    truth, score, _ = simulated(5, n=2000)
    limits = [auroc(truth, score, method=m) for m in ("delong", "delong-logit", "score", "bootstrap")]
    for estimate in limits:
        assert [estimate.low, estimate.high] == pytest.approx([limits[0].low, limits[0].high], abs=0.004)


def test_the_area_of_the_curve_is_the_area():
    truth, score, _ = simulated(6)
    curve = roc_curve(truth, score)
    area = np.trapezoid(curve.sensitivity, curve.false_positive_rate)
    assert area == pytest.approx(auroc(truth, score).value, abs=1e-12)
    assert (curve.low <= curve.sensitivity).all()
    assert (curve.sensitivity <= curve.high).all()


def test_the_simultaneous_band_is_wider_than_the_pointwise_one():
    truth, score, _ = simulated(7, n=200)
    narrow, wide = roc_curve(truth, score), roc_curve(truth, score, band="simultaneous")
    assert (wide.high - wide.low).mean() > 1.1 * (narrow.high - narrow.low).mean()


def test_a_clustered_band_is_wider_than_a_naive_one():
    truth, score, patient = simulated(8, n=80)
    rows = {"data": np.repeat(truth, 4), "score": np.repeat(score, 4)}
    naive, honest = roc_curve(**rows), roc_curve(**rows, patient=np.repeat(patient, 4))
    assert (honest.high - honest.low).mean() > 1.5 * (naive.high - naive.low).mean()


def test_curve_needs_both_classes():
    with pytest.raises(InputError, match="no negative"):
        roc_curve([1, 1], [0.2, 0.3])


def test_reading_takes_the_top_of_vertical_steps():
    up, right = np.array([[0, 0.2, 0.6, 0.6, 1.0]]), np.array([[0, 0.0, 0.0, 0.5, 1.0]])
    assert sensitivity_at(up, right, places=np.array([0.0, 0.25, 0.75, 1.0])).tolist() == [[0.6, 0.6, 0.8, 1.0]]


def test_bootstrap_of_the_area_agrees_with_delong():
    truth, score, patient = simulated(9, n=600, rows=3)
    data = Predictions.of(truth, score, patient=patient)
    drawn, closed = bootstrap(weighted_auroc, data), auroc(data, method="delong")
    assert [drawn.low, drawn.high] == pytest.approx([closed.low, closed.high], abs=0.008)
