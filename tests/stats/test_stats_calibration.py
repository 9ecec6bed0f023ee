"""Probabilities: calibrated ones are recognised, distorted ones are mended, and the parts of a score add up."""

import numpy as np
import pytest

from radfoundry.records import InputError, Predictions
from radfoundry.stats.calibration import (
    brier_parts,
    brier_score,
    calibration_error,
    chance_calibration_error,
    reliability_curve,
)
from radfoundry.stats.recalibration import (
    calibration_in_the_large,
    calibration_slope,
    fit_class_temperature,
    fit_isotonic,
    fit_platt,
    fit_temperature,
    logistic_line,
)


def honest(seed, n=4000):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, n)
    return (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(int), logits


def probable(logits):
    return 1 / (1 + np.exp(-logits))


def test_calibrated_probabilities_are_recognised():
    truth, logits = honest(0)
    error = calibration_error(truth, probable(logits))
    assert error.value < 2 * float(error.note.split()[-1])
    assert error.low < 0.005
    assert calibration_slope(truth, probable(logits)).low < 1 < calibration_slope(truth, probable(logits)).high
    large = calibration_in_the_large(truth, probable(logits))
    assert large.low < 0 < large.high


def test_overconfident_probabilities_are_recognised_and_mended_by_their_temperature():
    truth, logits = honest(1)
    loud = Predictions.of(truth, probable(2.5 * logits))
    assert calibration_slope(loud).high < 0.6
    mended = fit_temperature(loud)
    assert 1 / mended.slope == pytest.approx(2.5, rel=0.1)
    assert calibration_error(truth, mended.apply(loud.score)).value < calibration_error(loud).value / 3


def test_temperature_is_the_best_of_many():
    truth, logits = honest(2, n=500)
    score = probable(1.7 * logits)
    best = fit_temperature(Predictions.of(truth, score)).slope

    def loss(slope):
        said = probable(slope * np.log(score / (1 - score)))
        return -np.mean(np.log(np.where(truth, said, 1 - said)))

    assert loss(best) <= min(loss(slope) for slope in np.linspace(0.2, 2, 400)) + 1e-9


def test_platts_line_equals_scikit_learns_optimum():
    from sklearn.linear_model import LogisticRegression

    truth, logits = honest(3, n=600)
    slope, intercept, _ = logistic_line(logits, truth.astype(float))
    theirs = LogisticRegression(C=1e10, tol=1e-10).fit(logits[:, None], truth)
    assert [slope, intercept] == pytest.approx([theirs.coef_[0, 0], theirs.intercept_[0]], abs=1e-4)
    pulled = fit_platt(Predictions.of(truth, logits))
    assert 0 < pulled.slope < slope


def test_isotonic_steps_equal_scikit_learns():
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(4)
    score, truth = rng.normal(size=200).round(1), rng.integers(0, 2, 200)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(score, truth)
    places = np.linspace(-4, 4, 50)
    assert fit_isotonic(Predictions.of(truth, score)).apply(places) == pytest.approx(theirs.predict(places))


def test_class_temperature_keeps_the_ranking_and_finds_the_scale():
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 1.5, (4000, 4))
    truth = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    fit = fit_class_temperature(truth, 3 * logits)
    assert fit.temperature == pytest.approx(3, rel=0.08)
    assert (fit.apply(3 * logits).argmax(axis=1) == logits.argmax(axis=1)).all()
    assert fit.apply(3 * logits).sum(axis=1) == pytest.approx(1)


def test_recalibration_never_changes_the_order():
    truth, logits = honest(6, n=300)
    data = Predictions.of(truth, probable(logits))
    ordered = np.sort(data.score)
    for fit in (fit_temperature(data), fit_platt(data), fit_platt(data, on_logits=True), fit_isotonic(data)):
        assert (np.diff(fit.apply(ordered)) >= 0).all()


def test_bins_hold_all_cases_and_average_to_the_prevalence():
    truth, logits = honest(7, n=500)
    curve = reliability_curve(truth, probable(logits), bins=8)
    assert curve.count.sum() == 500
    assert (curve.count * curve.observed).sum() / 500 == pytest.approx(truth.mean())
    assert (curve.low <= curve.observed).all()
    assert (curve.observed <= curve.high).all()
    assert (np.diff(curve.predicted) > 0).all()
    equal_width = reliability_curve(truth, probable(logits), bins=np.linspace(0, 1, 6))
    assert equal_width.edges.tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


def test_clustered_bins_have_wider_intervals():
    truth, logits = honest(8, n=100)
    rows = {"data": np.repeat(truth, 5), "score": np.repeat(probable(logits), 5), "bins": 4}
    naive, clustered = reliability_curve(**rows), reliability_curve(**rows, patient=np.repeat(np.arange(100), 5))
    assert ((clustered.high - clustered.low) > 1.5 * (naive.high - naive.low)).all()


def test_the_parts_of_the_brier_score_add_up():
    truth, logits = honest(9, n=400)
    for score in (probable(logits), probable(logits).round(1)):
        parts = brier_parts(truth, score, bins=10)
        total = parts.reliability - parts.resolution + parts.uncertainty + parts.within
        assert total == pytest.approx(parts.brier)
        assert parts.brier == pytest.approx(brier_score(truth, score).value)
        assert parts.uncertainty == pytest.approx(truth.mean() * (1 - truth.mean()))
    grid = brier_parts(truth, probable(logits).round(1), bins=np.linspace(-0.05, 1.05, 12).clip(0, 1))
    assert grid.within == 0.0


def test_chance_error_shrinks_with_more_cases():
    _, logits = honest(10)
    few, many = (chance_calibration_error(probable(logits[:n])) for n in (100, 4000))
    assert few > 3 * many


def test_what_is_no_probability_or_cannot_be_fitted_is_refused():
    with pytest.raises(InputError, match="outside 0 to 1"):
        brier_score([0, 1], [0.2, 1.2])
    with pytest.raises(InputError, match="borders must rise"):
        reliability_curve([0, 1], [0.2, 0.9], bins=[0, 0.5, 0.5, 1])
    with pytest.raises(InputError, match="no positive"):
        fit_platt(Predictions.of([0, 0], [0.1, 0.2]))
    with pytest.raises(InputError, match="perfectly"):
        fit_temperature(Predictions.of([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]))
    slope = calibration_slope([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert not slope.defined
    assert "perfectly" in slope.note
