"""Heads remember what scikit-learn fitted: the plain arrays give its predictions, and its own are the oracle."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from radfoundry.records import InputError
from radfoundry.tasks import heads


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(60, 8)) * rng.uniform(0.1, 30, 8)
    quantity = features @ rng.normal(size=8) + rng.normal(size=60)
    return features, quantity, np.arange(60).astype(str)


def test_logistic_equals_scikit_learn(data):
    features, quantity, patients = data
    answers = (quantity > 0).astype(int)
    fitted = heads.fit(heads.logistic(strengths=[0.1]), features, answers, patients, kind="binary")
    scaled = StandardScaler().fit_transform(features)
    oracle = LogisticRegression(C=0.1, max_iter=5000).fit(scaled, answers).predict_proba(scaled)[:, 1]
    assert np.allclose(fitted.predict(features), oracle, atol=1e-6)


@pytest.mark.parametrize("present", [(0, 1, 2), (0, 2), (1, 2)])
def test_multiclass_equals_scikit_learn_on_the_classes_seen(data, present):
    features, quantity, patients = data
    answers = np.digitize(quantity, np.quantile(quantity, [0.33, 0.66]))
    seen = np.isin(answers, present)
    fitted = heads.fit(
        heads.logistic(strengths=[0.1]), features[seen], answers[seen], patients[seen], kind="multiclass", classes=3
    )
    scaler = StandardScaler().fit(features[seen])
    oracle = LogisticRegression(C=0.1, max_iter=5000).fit(scaler.transform(features[seen]), answers[seen])
    found = fitted.predict(features)
    assert found.shape == (60, 3) and np.allclose(found.sum(axis=1), 1)
    assert np.allclose(found[:, list(present)], oracle.predict_proba(scaler.transform(features)), atol=1e-5)


def test_ridge_equals_scikit_learn(data):
    features, quantity, patients = data
    fitted = heads.fit(heads.ridge(strengths=[10.0]), features, quantity, patients, kind="regression")
    scaled = StandardScaler().fit_transform(features)
    assert np.allclose(fitted.predict(features), Ridge(alpha=10.0).fit(scaled, quantity).predict(scaled))


def test_nearest_neighbours_equal_scikit_learn(data):
    features, quantity, patients = data
    answers = (quantity > 0).astype(int)
    fitted = heads.fit(heads.knn(strengths=[5]), features[:40], answers[:40], patients[:40], kind="binary")
    scaler = StandardScaler().fit(features[:40])
    oracle = KNeighborsClassifier(5, weights="distance").fit(scaler.transform(features[:40]), answers[:40])
    assert np.allclose(
        fitted.predict(features[40:]), oracle.predict_proba(scaler.transform(features[40:]))[:, 1], atol=1e-6
    )


def test_the_strength_is_chosen_inside_the_training_patients(data):
    """Pure noise in many directions: the most cautious strength wins; a clear signal: it does not."""
    rng = np.random.default_rng(0)
    noise, answers, patients = rng.normal(size=(80, 200)), rng.integers(0, 2, 80), np.arange(80).astype(str)
    cautious = heads.fit(heads.logistic(), noise, answers, patients, kind="binary")
    clear = heads.fit(
        heads.logistic(), answers[:, None] * 4.0 + rng.normal(size=(80, 3)), answers, patients, kind="binary"
    )
    assert cautious.strength < clear.strength


@pytest.mark.parametrize(
    ("head", "kind", "answers", "patients", "said"),
    [
        (heads.ridge(), "binary", [0, 1, 0, 1], "abcd", "does not answer a binary question"),
        (heads.logistic(), "regression", [0.1, 1, 3, 2], "abcd", "ridge or knn"),
        (heads.logistic(), "binary", [1, 1, 1, 1], "abcd", "all have one class"),
        (heads.logistic(), "binary", [0, 1, 0, 1], "aaaa", "1 training patient"),
    ],
)
def test_what_cannot_be_fitted_is_refused(head, kind, answers, patients, said):
    with pytest.raises(InputError, match=said):
        heads.fit(head, np.ones((4, 2)), np.array(answers), np.array(list(patients)), kind=kind)
