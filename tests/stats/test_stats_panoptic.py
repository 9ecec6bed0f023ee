"""Matching lesions against trying every assignment, worked panoptic quality, and intervals that know patients."""

import itertools

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.panoptic import Match, Matching, lesion_labels, lesion_scores, match_lesions


def slow_best_total(first, second, threshold):
    """Largest summed IoU over all one-to-one assignments, by trying every one."""
    names_first = [n for n in np.unique(first) if n]
    names_second = [n for n in np.unique(second) if n]
    size = max(len(names_first), len(names_second))

    def overlap(a, b):
        both = ((first == a) & (second == b)).sum()
        value = both / ((first == a) | (second == b)).sum()
        return value if value >= threshold and value > 0 else 0.0

    best = 0.0
    for order in itertools.permutations(range(size)):
        total = sum(
            overlap(names_first[i], names_second[j])
            for i, j in enumerate(order)
            if i < len(names_first) and j < len(names_second)
        )
        best = max(best, total)
    return best


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3])
def test_assignment_equals_trying_all(seed, threshold):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 5, (2, 6, 6))
    found = match_lesions(first, second, threshold=threshold)
    assert sum(pair.overlap for pair in found.pairs) == pytest.approx(slow_best_total(first, second, threshold))
    assert found.lesions == len(set(np.unique(first)) - {0})
    assert len(found.pairs) + len(found.extra) == len(set(np.unique(second)) - {0})


def test_lesions_touching_by_a_corner():
    mask = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert lesion_labels(mask, spacing_mm=(1.0, 1.0)).max() == 2
    assert lesion_labels(mask, spacing_mm=(1.0, 1.0), corners_connect=False).max() == 3
    large = lesion_labels(mask, spacing_mm=(1.0, 2.0), smallest_mm3=4.0)
    assert large.max() == 1 and large[2, 3] == 0 and large[0, 0] == 1


def test_worked_panoptic_quality():
    # One case: IoU 0.8 and 0.6 found, one missed, one extra: F1 = 2/3, fit = 0.7, quality = 1.4/3.
    case = Matching((Match(1, 1, 0.8), Match(2, 3, 0.6)), (3,), (2,))
    scores = lesion_scores([case])
    assert scores.f1.value == pytest.approx(2 / 3)
    assert scores.fit.value == pytest.approx(0.7)
    assert scores.panoptic_quality.value == pytest.approx(1.4 / 3)
    assert scores.sensitivity.value == scores.precision.value == pytest.approx(2 / 3)
    assert np.isnan(scores.f1.low) and scores.f1.note == "one patient"
    assert scores.panoptic_quality.value == pytest.approx(scores.f1.value * scores.fit.value)


def test_nothing_to_count_is_undefined():
    empty = lesion_scores([Matching((), (), ())] * 3)
    assert not empty.f1.defined and not empty.sensitivity.defined and empty.extra_per_case.value == 0.0
    only_extra = lesion_scores([Matching((), (), (1,))] * 3)
    assert not only_extra.sensitivity.defined and only_extra.precision.value == 0.0


def test_cover_measure_finds_a_lesion_inside_a_larger_mark():
    truth, found = np.zeros((2, 6, 6), int)
    truth[2:4, 2:4], found[1:6, 1:6] = 1, 1
    assert not match_lesions(truth, found, threshold=0.5).pairs
    assert match_lesions(truth, found, threshold=0.5, measure="cover").pairs[0].overlap == 1.0


def test_cases_of_one_patient_are_drawn_together():
    rng = np.random.default_rng(0)
    cases = [
        Matching(
            tuple(Match(i, i, 0.7) for i in range(rng.integers(0, 4))), tuple(range(10, 10 + rng.integers(0, 3))), ()
        )
        for _ in range(40)
    ]
    alone = lesion_scores(cases, rng=1).f1
    tripled = lesion_scores(cases * 3, patient=list(range(40)) * 3, rng=1).f1
    naive = lesion_scores(cases * 3, rng=1).f1
    assert tripled.high - tripled.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert naive.high - naive.low < 0.75 * (alone.high - alone.low)


def test_refusals():
    with pytest.raises(InputError, match="threshold"):
        match_lesions([1], [1], threshold=2.0)
    with pytest.raises(InputError, match="no cases"):
        lesion_scores([])
