"""Finished answers hold what they promise on data they were not chosen on."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit

from radfoundry.records import Predictions
from radfoundry.tasks import finish

RNG = np.random.default_rng


def binary(rng, patients=150, each=2):
    """Scores that are twice too sure, with the true probability beside them."""
    true = expit(np.repeat(rng.normal(size=patients), each))
    target = (rng.random(len(true)) < true).astype(int)
    score = expit(2 * logit(true))
    return Predictions.of(target, score, patient=np.repeat(np.arange(patients), each)), true


def test_calibrated_probabilities_and_their_intervals_hold_the_truth():
    inside, shift = [], []
    for seed in range(40):
        rng = RNG(seed)
        how = finish.choose(binary(rng)[0], "binary")
        new, true = binary(rng)
        said = finish.finish(new.score, how)
        middle = np.abs(logit(true)) < 0.5
        inside.append(((said.low <= true) & (true <= said.high))[middle].mean())
        shift.append(np.abs(said.value - true).mean() - np.abs(new.score - true).mean())
        assert ((said.low <= said.value) & (said.value <= said.high)).all()
    assert 0.85 < np.mean(inside) <= 1.0
    assert np.mean(shift) < -0.03


def test_the_range_around_a_quantity_holds_95_percent_of_new_patients():
    held = []
    for seed in range(60):
        rng = RNG(seed)
        truth = rng.normal(size=200)
        said = truth + rng.standard_t(3, size=200)
        how = finish.choose(Predictions.of(truth[:60], said[:60]), "regression")
        answers = finish.finish(said[60:], how)
        held.append(((answers.low <= truth[60:]) & (truth[60:] <= answers.high)).mean())
    assert np.mean(held) == pytest.approx(0.96, abs=0.02)
    few = finish.choose(Predictions.of(truth[:15], said[:15]), "regression")
    assert few.radius is None and "too few for a 95 % interval" in few.note


def test_classes_become_less_sure_when_they_were_too_sure():
    rng = RNG(0)
    raw = rng.normal(size=(300, 3))
    shares = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    target = np.array([rng.choice(3, p=row) for row in shares])
    sure = shares**3 / (shares**3).sum(axis=1, keepdims=True)
    how = finish.choose(Predictions.of(target, sure), "multiclass")
    assert how.temperature == pytest.approx(3, abs=0.8)
    said = finish.finish(sure, how)
    assert np.allclose(said.value.sum(axis=1), 1) and (said.called == sure.argmax(axis=1)).all()


def test_chances_of_an_event_are_those_that_happen():
    rng = RNG(1)
    risk = rng.normal(size=600)
    time, censored = rng.exponential(np.exp(-risk)), rng.exponential(2, size=600)
    target = np.column_stack([np.minimum(time, censored), time <= censored])
    how = finish.choose(Predictions.of(target, risk), "survival")
    said = finish.finish(risk, how).value
    true = 1 - np.exp(-how.horizon * np.exp(risk))
    assert np.abs(said - true).mean() < 0.05


def test_scores_that_run_against_the_truth_are_left_alone_and_said():
    rng = RNG(2)
    data, _ = binary(rng)
    against = Predictions.of(1 - data.target, data.score, patient=data.patient)
    how = finish.choose(against, "binary")
    assert how.curve == () and "against the truth" in how.note
    said = finish.finish(data.score, how)
    assert np.array_equal(said.value, data.score) and np.isnan(said.low).all()
    assert finish.choose(None, "binary").note == "too few patients to calibrate on"


def test_what_was_chosen_survives_as_json():
    data, _ = binary(RNG(3))
    for how in (finish.choose(data, "binary"), finish.choose(None, "regression")):
        again = finish.Finish.from_dict(json.loads(json.dumps(how.to_dict())))
        assert np.array_equal(finish.finish(data.score, again).value, finish.finish(data.score, how).value)
