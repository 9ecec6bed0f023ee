"""Laws every metric must obey, and a slow oracle written from the definition for each."""

import math
from itertools import product

import numpy as np
import pytest

from radfoundry.records import InputError, Predictions
from radfoundry.stats import weighted
from radfoundry.stats.auc import auroc
from radfoundry.stats.bootstrap import Weighted
from radfoundry.stats.calibration import weighted_calibration_error
from radfoundry.stats.classification import drawn_measures
from radfoundry.stats.multiclass import class_measures, hand_till_area, label_areas, quadratic_kappa
from radfoundry.stats.regression import MEASURES
from radfoundry.stats.roc_readings import partial_auroc, sensitivity_at_specificity, specificity_at_sensitivity

EDGES = np.linspace(0, 1, 6)


def binary(seed, n=60, ties=True):
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.r_[np.ones(n // 3, int), np.zeros(n - n // 3, int)])
    score = 1 / (1 + np.exp(-(truth * 1.2 - 0.5 + rng.normal(size=n))))
    return truth, np.round(score, 1) if ties else score


def numbers(seed, n=50):
    rng = np.random.default_rng(seed)
    truth = np.round(rng.normal(60, 12, n), 1)
    return truth, truth + rng.normal(1, 4, n)


def slow_area(truth, score):
    pairs = [(a > b) + (a == b) / 2 for a, b in product(score[truth == 1], score[truth == 0])]
    return sum(pairs) / len(pairs)


def slow_average_precision(truth, score):
    total, previous = 0.0, 0.0
    for cut in sorted(set(score), reverse=True):
        called = [t for t, s in zip(truth, score, strict=True) if s >= cut]
        recall = sum(called) / truth.sum()
        total += (recall - previous) * sum(called) / len(called)
        previous = recall
    return total


def slow_counts(truth, score, cut=0.5):
    cells = {"tp": 0, "fp": 0, "fn": 0, "tn": 0}
    for t, s in zip(truth, score, strict=True):
        cells[("t" if (s >= cut) == bool(t) else "f") + ("p" if s >= cut else "n")] += 1
    return cells


def slow_matthews(truth, score):
    c = slow_counts(truth, score)
    below = (c["tp"] + c["fp"]) * (c["tp"] + c["fn"]) * (c["tn"] + c["fp"]) * (c["tn"] + c["fn"])
    return (c["tp"] * c["tn"] - c["fp"] * c["fn"]) / math.sqrt(below)


def slow_calibration_error(truth, score):
    total = 0.0
    for k in range(5):
        inside = [i for i in range(len(score)) if min(int(score[i] * 5 + 1e-12), 4) == k]
        if inside:
            total += len(inside) * abs(np.mean([score[i] for i in inside]) - np.mean([truth[i] for i in inside]))
    return total / len(score)


def rates(truth, score):
    c = slow_counts(truth, score)
    return c["tp"] / (c["tp"] + c["fn"]), c["tn"] / (c["tn"] + c["fp"])


SLOW = {
    "auroc": (weighted.weighted_auroc, binary, slow_area),
    "average_precision": (weighted.weighted_average_precision, binary, slow_average_precision),
    "brier": (weighted.weighted_brier, binary, lambda t, s: sum((s - t) ** 2) / len(t)),
    "calibration_error": (weighted_calibration_error(EDGES), binary, slow_calibration_error),
    "matthews": (drawn_measures(0.5)["matthews"], binary, slow_matthews),
    "balanced_accuracy": (drawn_measures(0.5)["balanced_accuracy"], binary, lambda t, s: sum(rates(t, s)) / 2),
    "youden": (drawn_measures(0.5)["youden"], binary, lambda t, s: sum(rates(t, s)) - 1),
    "f1": (
        drawn_measures(0.5)["f1"],
        binary,
        lambda t, s: (lambda c: 2 * c["tp"] / (2 * c["tp"] + c["fp"] + c["fn"]))(slow_counts(t, s)),
    ),
    "mean_absolute_error": (
        MEASURES["mean_absolute_error"],
        numbers,
        lambda t, s: sum(abs(a - b) for a, b in zip(t, s, strict=True)) / len(t),
    ),
    "root_mean_square_error": (
        MEASURES["root_mean_square_error"],
        numbers,
        lambda t, s: math.sqrt(sum((a - b) ** 2 for a, b in zip(t, s, strict=True)) / len(t)),
    ),
    "bias": (MEASURES["bias"], numbers, lambda t, s: sum(s) / len(s) - sum(t) / len(t)),
    "r_squared": (MEASURES["r_squared"], numbers, lambda t, s: 1 - np.sum((t - s) ** 2) / np.sum((t - t.mean()) ** 2)),
}
ANY = pytest.mark.parametrize("name", SLOW)


@ANY
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_the_slow_definition(name, seed):
    metric, make, slow = SLOW[name]
    truth, score = make(seed)
    assert metric(Predictions.of(truth, score)) == pytest.approx(slow(truth, score), abs=1e-12)


@ANY
def test_order_of_rows_does_not_matter(name):
    metric, make, _ = SLOW[name]
    truth, score = make(3)
    order = np.random.default_rng(1).permutation(len(truth))
    shuffled = Predictions.of(truth[order], score[order])
    assert metric(shuffled) == pytest.approx(metric(Predictions.of(truth, score)), abs=1e-12)


@ANY
def test_a_weight_is_a_repetition(name):
    metric, make, slow = SLOW[name]
    truth, score = make(4)
    weights = np.random.default_rng(2).integers(0, 4, (5, len(truth)))
    at_once = metric.prepare(Predictions.of(truth, score))(weights.astype(float))
    one_by_one = [slow(np.repeat(truth, row), np.repeat(score, row)) for row in weights]
    assert at_once == pytest.approx(np.array(one_by_one), abs=1e-12)


@ANY
def test_all_rows_twice_changes_nothing(name):
    metric, make, _ = SLOW[name]
    truth, score = make(5)
    twice = metric.prepare(Predictions.of(truth, score))(np.full((1, len(truth)), 2.0))[0]
    assert twice == pytest.approx(metric(Predictions.of(truth, score)), abs=1e-12)


RANKED: dict[str, Weighted | object] = {
    "auroc": lambda t, s: auroc(t, s).value,
    "average_precision": lambda t, s: weighted.weighted_average_precision(Predictions.of(t, s)),
    "partial": lambda t, s: partial_auroc(t, s).value,
    "sensitivity": lambda t, s: sensitivity_at_specificity(t, s).value,
    "specificity": lambda t, s: specificity_at_sensitivity(t, s).value,
}


@pytest.mark.parametrize("name", RANKED)
def test_rank_metrics_ignore_monotone_transforms(name):
    truth, score = binary(6)
    metric = RANKED[name]
    assert metric(truth, np.exp(3 * score)) == pytest.approx(metric(truth, score), abs=1e-12)


def test_swapping_classes_and_turning_scores_leaves_the_area():
    truth, score = binary(7)
    assert auroc(1 - truth, -score).value == pytest.approx(auroc(truth, score).value, abs=1e-14)
    assert auroc(truth, -score).value == pytest.approx(1 - auroc(truth, score).value, abs=1e-14)


def test_readings_mirror_when_classes_swap():
    truth, score = binary(8)
    one = sensitivity_at_specificity(truth, score, specificity=0.8).value
    assert specificity_at_sensitivity(1 - truth, -score, sensitivity=0.8).value == pytest.approx(one)


def test_partial_areas_add_up_to_the_whole():
    truth, score = binary(9)
    parts = [partial_auroc(truth, score, between=ends).value for ends in ((0.0, 0.35), (0.35, 0.8), (0.8, 1.0))]
    assert sum(parts) == pytest.approx(auroc(truth, score).value, abs=1e-12)


def classes(seed, n=90):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    score = rng.random((n, 3)) + 0.5 * np.eye(3)[truth]
    return truth, score / score.sum(axis=1, keepdims=True)


def test_class_measures_do_not_depend_on_the_names_of_classes():
    truth, score = classes(0)
    order = np.array([2, 0, 1])
    first, second = class_measures(truth, score), class_measures(order[truth], score[:, np.argsort(order)])
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "matthews", "kappa"):
        assert second.overall[name].value == pytest.approx(first.overall[name].value)
    renamed = hand_till_area(order[truth], score[:, np.argsort(order)]).value
    assert renamed == pytest.approx(hand_till_area(truth, score).value)


def test_two_class_measures_equal_the_binary_ones():
    truth, score = binary(1, ties=False)
    pair = np.stack([1 - score, score], axis=1)
    many = class_measures(truth, pair)
    assert many.overall["matthews"].value == pytest.approx(slow_matthews(truth, score))
    assert hand_till_area(truth, pair).value == pytest.approx(slow_area(truth, score))
    assert label_areas(truth, pair).overall["macro_auroc"].value == pytest.approx(slow_area(truth, score))


def test_quadratic_kappa_from_its_definition_and_its_ends():
    rng = np.random.default_rng(3)
    truth, read = rng.integers(1, 5, 80), rng.integers(1, 5, 80)
    seen = np.mean((truth - read) ** 2)
    chance = np.mean([(a - b) ** 2 for a, b in product(truth, read)])
    assert quadratic_kappa(truth, read).value == pytest.approx(1 - seen / chance)
    assert quadratic_kappa(truth, truth).value == 1.0
    assert not quadratic_kappa([2, 2, 2], [2, 2, 2]).defined


def test_areas_of_findings_match_each_column_alone():
    rng = np.random.default_rng(5)
    truth, score = rng.integers(0, 2, (70, 4)), rng.random((70, 4)).round(1)
    table = label_areas(truth, score)
    each = [slow_area(truth[:, k], score[:, k]) for k in range(4)]
    assert [table.per_class[str(k)]["auroc"].value for k in range(4)] == pytest.approx(each)
    assert table.overall["macro_auroc"].value == pytest.approx(np.mean(each))
    assert table.overall["micro_auroc"].value == pytest.approx(slow_area(truth.ravel(), score.ravel()))


def test_a_column_with_one_class_is_left_out_and_named():
    table = label_areas([[0, 1], [1, 1], [1, 1], [0, 1]], np.random.default_rng(0).random((4, 2)))
    assert "1 of 2 columns" in table.overall["macro_auroc"].note
    assert not table.per_class["1"]["auroc"].defined


@pytest.mark.parametrize(
    "broken",
    [
        lambda: auroc([0, 2], [0.1, 0.2]),
        lambda: auroc([0, 1], [0.1, np.inf]),
        lambda: auroc([0, 1], ["a", "b"]),
        lambda: auroc([0, 1], None),
        lambda: auroc([0, 1], [0.1, 0.2], level=1.0),
        lambda: auroc([0, 1], [0.1, 0.2], method="guess"),
        lambda: auroc([], []),
        lambda: auroc(Predictions.of([0, 1], [0.1, 0.2]), [0.1, 0.2]),
        lambda: auroc([0, 1, 1], [0.1, 0.2, 0.3], patient=["a"]),
        lambda: label_areas([[0, 1], [1, 0]], [[0.1], [0.2]]),
        lambda: quadratic_kappa([0.5, 1], [1, 1]),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(broken):
    with pytest.raises(InputError) as caught:
        broken()
    assert "\n" not in str(caught.value)
