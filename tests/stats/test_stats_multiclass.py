"""Several classes and several findings: scikit-learn as oracle, clusters, classes that do not occur."""

import numpy as np
import pytest

from radfoundry.records import InputError, Predictions
from radfoundry.stats.bootstrap import bootstrap
from radfoundry.stats.multiclass import class_measures, hand_till_area, label_areas, quadratic_kappa
from radfoundry.stats.weighted import weighted_auroc


def simulated(seed, n=200, classes=4):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    score = rng.random((n, classes)) + 0.4 * np.eye(classes)[truth]
    return truth, score / score.sum(axis=1, keepdims=True)


def test_measures_equal_scikit_learns():
    from sklearn import metrics

    truth, score = simulated(0)
    answer = score.argmax(axis=1)
    ours = class_measures(truth, score)
    theirs = {
        "accuracy": metrics.accuracy_score(truth, answer),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, answer),
        "macro_f1": metrics.f1_score(truth, answer, average="macro"),
        "matthews": metrics.matthews_corrcoef(truth, answer),
        "kappa": metrics.cohen_kappa_score(truth, answer),
        "quadratic_kappa": metrics.cohen_kappa_score(truth, answer, weights="quadratic"),
    }
    assert {name: ours.overall[name].value for name in theirs} == pytest.approx(theirs)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, answer)
    for k in range(4):
        found = ours.per_class[str(k)]
        values = [found[name].value for name in ("positive_predictive_value", "sensitivity", "f1")]
        assert values == pytest.approx([precision[k], recall[k], f1[k]])


def test_areas_equal_scikit_learns():
    from sklearn.metrics import roc_auc_score

    truth, score = simulated(1)
    macro = roc_auc_score(truth, score, multi_class="ovr", average="macro")
    assert label_areas(truth, score).overall["macro_auroc"].value == pytest.approx(macro)
    pairs = roc_auc_score(truth, score, multi_class="ovo", average="macro")
    assert hand_till_area(truth, score).value == pytest.approx(pairs)


def test_answers_and_scores_give_the_same_measures():
    truth, score = simulated(2)
    from_scores, from_answers = class_measures(truth, score), class_measures(truth, score.argmax(axis=1))
    assert from_scores.overall == from_answers.overall
    named = class_measures(truth, score, names=["none", "mild", "moderate", "severe"])
    assert named.per_class["mild"] == from_scores.per_class["1"]


def test_macro_interval_agrees_with_the_bootstrap_of_patients():
    truth, score = simulated(3, n=150, classes=3)
    rows = {"data": np.repeat(truth, 2), "score": np.repeat(score, 2, axis=0)}
    patient = np.repeat(np.arange(150), 2)
    closed = label_areas(**rows, patient=patient).overall["macro_auroc"]

    def macro(sample):
        return np.mean([weighted_auroc(Predictions.of(sample.target == k, sample.score[:, k])) for k in range(3)])

    drawn = bootstrap(macro, Predictions.of(rows["data"], rows["score"], patient=patient), draws=150)
    assert closed.value == pytest.approx(drawn.value)
    assert closed.high - closed.low == pytest.approx(drawn.high - drawn.low, rel=0.2)


def test_a_class_that_does_not_occur_is_undefined_and_left_out_of_means():
    truth, score = simulated(4, classes=3)
    kept = truth < 2
    found = class_measures(truth[kept], score[kept])
    assert not found.per_class["2"]["sensitivity"].defined
    assert found.per_class["2"]["positive_predictive_value"].value == 0.0
    answer = score[kept].argmax(axis=1)
    recalls = [(answer[truth[kept] == k] == k).mean() for k in range(2)]
    assert found.overall["balanced_accuracy"].value == pytest.approx(np.mean(recalls))


def test_copies_of_patients_do_not_narrow_intervals():
    truth, score = simulated(5, n=80)
    rows = {"data": np.repeat(truth, 4), "score": np.repeat(score, 4, axis=0)}
    naive, honest = class_measures(**rows), class_measures(**rows, patient=np.repeat(np.arange(80), 4))
    for name in ("accuracy", "macro_f1", "kappa"):
        narrow, wide = naive.overall[name], honest.overall[name]
        assert wide.high - wide.low > 1.7 * (narrow.high - narrow.low)


def test_the_most_frequent_class_is_printed_beside_accuracy():
    found = class_measures([0] * 90 + [1] * 10, [0] * 100)
    assert found.overall["accuracy"].note == "always the most frequent class scores 0.90"
    assert not found.overall["matthews"].defined
    assert found.overall["balanced_accuracy"].value == 0.5


def test_kappa_weights_far_errors_more():
    truth = [0, 1, 2, 3] * 10
    near, far = np.minimum(np.array(truth) + 1, 3), np.array([3 if t == 0 else t for t in truth])
    assert quadratic_kappa(truth, near).value > quadratic_kappa(truth, far).value - 0.1
    assert quadratic_kappa(truth, far).value < class_measures(truth, far).overall["kappa"].value


def test_wrong_shapes_are_refused():
    truth, score = simulated(6)
    with pytest.raises(InputError, match="names"):
        label_areas(truth, score, names=["a"])
    with pytest.raises(InputError, match="classes in target"):
        label_areas(np.array(["a", "b"] * 100), score)
    with pytest.raises(InputError, match="0 or 1"):
        label_areas([[0, 2], [1, 1]], [[0.1, 0.2], [0.3, 0.4]])
