"""Machines, forests, ordered classes and survival: plain arrays against the library or a slow formula of our own."""

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.svm import SVC, SVR

from radfoundry.stats.concordance_index import concordance_index
from radfoundry.tasks import heads
from radfoundry.tasks.head_answers import answer, softmax
from radfoundry.tasks.head_fitting import Asked, fit_arrays


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    scaled = rng.normal(size=(70, 6))
    return scaled, scaled[:, 0] * 2 + scaled[:, 1] + rng.normal(size=70), rng.normal(size=(20, 6))


def ask(name, kind, strength, data, answers, classes=2):
    arrays = fit_arrays(name, data[0], answers, Asked(kind, classes), strength=strength)
    return answer(name, kind, strength, arrays, data[2])


def test_machine_equals_scikit_learn(data):
    scaled, quantity, new = data
    yes = (quantity > 0).astype(int)
    oracle = SVC(C=1.0, gamma=1 / 6).fit(scaled, yes).decision_function(new)
    assert np.allclose(ask("svm", "binary", 1.0, data, yes), 1 / (1 + np.exp(-oracle)))
    centre, spread = quantity.mean(), quantity.std()
    predicted = SVR(C=1.0, gamma=1 / 6).fit(scaled, (quantity - centre) / spread).predict(new) * spread + centre
    assert np.allclose(ask("svm", "regression", 1.0, data, quantity), predicted)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_forest_equals_scikit_learn(data, kind):
    scaled, quantity, new = data
    options = {"n_estimators": 20, "max_depth": 2, "subsample": 0.7, "max_features": "sqrt", "random_state": 0}
    if kind == "regression":
        oracle = GradientBoostingRegressor(**options).fit(scaled, quantity).predict(new)
        assert np.allclose(ask("boosting", kind, 20, data, quantity), oracle)
        return
    classes = 2 if kind == "binary" else 3
    answers = np.digitize(quantity, np.quantile(quantity, np.arange(1, classes) / classes))
    oracle = GradientBoostingClassifier(**options).fit(scaled, answers).predict_proba(new)
    found = ask("boosting", kind, 20, data, answers, classes)
    assert np.allclose(found, oracle[:, 1] if kind == "binary" else oracle)


def test_a_class_that_was_never_seen_never_wins(data):
    _scaled, quantity, _ = data
    answers = np.where(quantity > 0, 2, 0)
    for name in ("boosting", "svm"):
        found = ask(name, "multiclass", 10, data, answers, classes=3)
        assert found.shape == (20, 3) and (found[:, 1] < 1e-6).all()
        assert np.allclose(found.sum(axis=1), 1)


def test_ordered_classes_follow_a_line_with_borders(data):
    """The likelihood at the fitted point cannot be raised by moving any parameter a little."""
    scaled, quantity, new = data
    answers = np.digitize(quantity, [-1.5, 0.5, 2.0])
    arrays = fit_arrays("ordinal", scaled, answers, Asked("ordinal", 4), strength=1.0)
    assert (np.diff(arrays["thresholds"]) > 0).all()

    def value(weights, thresholds):
        below = 1 / (1 + np.exp(-(thresholds[None] - (scaled @ weights)[:, None])))
        edges = np.column_stack([np.zeros(70), below, np.ones(70)])
        share = edges[np.arange(70), answers + 1] - edges[np.arange(70), answers]
        return np.log(share).sum() - weights @ weights / 2

    best = value(arrays["weights"][0], arrays["thresholds"])
    for step in np.concatenate([np.eye(9), -np.eye(9)]) * 0.02:
        assert value(arrays["weights"][0] + step[:6], arrays["thresholds"] + step[6:]) < best
    said = answer("ordinal", "ordinal", 1.0, arrays, new)
    assert np.allclose(said.sum(axis=1), 1)


def test_cox_equals_statsmodels_without_penalty(data):
    from statsmodels.duration.hazard_regression import PHReg

    scaled, quantity, _ = data
    rng = np.random.default_rng(1)
    time, event = rng.exponential(np.exp(-quantity / 2)).round(2) + 0.01, rng.random(70) < 0.7
    arrays = fit_arrays("cox", scaled, np.column_stack([time, event]), Asked("survival"), strength=1e-9)
    oracle = PHReg(time, scaled, status=event.astype(int), ties="breslow").fit().params
    assert np.allclose(arrays["weights"][0], oracle, atol=1e-3)


def test_survival_head_ranks_patients_it_has_not_seen(data):
    rng = np.random.default_rng(2)
    features = rng.normal(size=(120, 10))
    time, event = rng.exponential(np.exp(-2 * features[:, 0])), rng.random(120) < 0.7
    answers, patients = np.column_stack([time, event]), np.arange(120).astype(str)
    fitted = heads.fit(heads.cox(), features, answers, patients, kind="survival")
    assert concordance_index(time, event, fitted.held_out, patient=patients).low > 0.6


def test_discordance_agrees_with_the_concordance_index():
    rng = np.random.default_rng(3)
    time, event, risk = rng.integers(1, 20, 40).astype(float), rng.random(40) < 0.6, rng.normal(size=40)
    rows = heads.row_losses("survival", np.column_stack([time, event]), risk)
    pairs = np.zeros(40)
    for i, j in np.ndindex(40, 40):
        if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
            pairs[[i, j]] += 1
    assert np.isclose(1 - (rows * pairs).sum() / pairs.sum(), concordance_index(time, event, risk).value)


def test_many_findings_are_answered_one_by_one(data):
    _scaled, quantity, _new = data
    answers = np.column_stack([quantity > 0, quantity > 1, np.zeros(70)]).astype(int)
    found = ask("logistic", "multilabel", 1.0, data, answers)
    alone = ask("logistic", "binary", 1.0, data, answers[:, 0])
    assert np.allclose(found[:, 0], alone) and (found[:, 2] < 1e-9).all()


def test_held_out_scores_are_of_heads_that_had_not_seen_the_patient():
    """Features that only name the patient: scores of the fit itself would be perfect, held-out ones are chance."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 2).astype(str)
    answers = np.repeat(rng.integers(0, 2, 40), 2)
    features = np.repeat(rng.normal(size=(40, 30)) * 3, 2, axis=0)
    fitted = heads.fit(heads.knn(strengths=[1]), features, answers, patients, kind="binary")
    assert ((fitted.predict(features) > 0.5) == answers).all()
    assert 0.25 < ((fitted.held_out > 0.5) == answers).mean() < 0.75


def test_balanced_heads_weigh_a_rare_class_like_a_frequent_one(data):
    scaled, quantity, _ = data
    rare = (quantity > np.quantile(quantity, 0.85)).astype(int)
    for name in ("logistic", "svm", "boosting"):
        plain, even = (
            answer(
                name, "binary", 10, fit_arrays(name, scaled, rare, Asked("binary", 2, b), strength=10), scaled
            ).mean()
            for b in (False, True)
        )
        assert even > plain, name
    assert np.isclose(softmax(np.zeros((1, 4))).sum(), 1)
