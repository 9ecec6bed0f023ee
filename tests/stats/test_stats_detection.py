"""Average precision, mean best IoU and the pointing game against hand-worked and slow answers."""

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.detection import detection_precision, mean_average_precision, mean_best_overlap, pointing_game
from radfoundry.stats.marks import Marks


def random_marks(seed, cases=30):
    rng = np.random.default_rng(seed)
    lesions = {str(i): int(rng.integers(0, 3)) for i in range(cases)}
    case, rating, lesion = [], [], []
    for name, count in lesions.items():
        for number in range(count):
            if rng.random() < 0.7:
                case.append(name), rating.append(round(rng.normal(1), 1)), lesion.append(number)
        for _ in range(rng.poisson(1)):
            case.append(name), rating.append(round(rng.normal(), 1)), lesion.append(-1)
    return Marks.of(case, rating, lesion, lesions=lesions)


def slow_precision(marks):
    """Precision envelope summed threshold by threshold."""
    total = marks.lesions.sum()
    points = []
    for threshold in sorted(set(marks.rating.tolist()), reverse=True):
        rows = marks.rating >= threshold
        found = (rows & (marks.lesion >= 0)).sum()
        points.append((found / total, found / rows.sum()))
    area = previous = 0.0
    for place, (recall, _) in enumerate(points):
        area += (recall - previous) * max(p for _, p in points[place:])
        previous = recall
    return area


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_equals_slow_counting(seed):
    marks = random_marks(seed)
    found = detection_precision(marks, draws=200)
    assert found.value == pytest.approx(slow_precision(marks))
    assert found.low <= found.value <= found.high


def test_average_precision_of_known_rankings():
    # Lesions at ranks 1 and 3 of four marks, one lesion unmarked: (1 * 1/3) + (2/3 * 1/3).
    marks = Marks.of(list("abcd"), [4, 3, 2, 1], [0, -1, 0, -1], lesions={"a": 1, "b": 0, "c": 1, "d": 1})
    assert detection_precision(marks, draws=50).value == pytest.approx(1 / 3 + 2 / 9)
    perfect = Marks.of(["a", "b"], [2, 1], [0, -1], lesions={"a": 1, "b": 0})
    assert detection_precision(perfect, draws=50).value == 1.0
    assert detection_precision(Marks.of([], [], [], lesions={"a": 1}), draws=50).value == 0.0
    assert not detection_precision(Marks.of([], [], [], lesions={"a": 0}), draws=50).defined


def test_mean_over_classes_leaves_empty_classes_out():
    first, second = random_marks(1), random_marks(1)
    empty = Marks.of([], [], [], lesions=dict.fromkeys(first.cases, 0))
    found = mean_average_precision([first, second, empty], draws=100)
    assert found.value == pytest.approx(slow_precision(first)) and "1 classes" in found.note
    with pytest.raises(InputError, match="different cases"):
        mean_average_precision([first, random_marks(1, cases=10)])


def test_mean_best_overlap_ignores_false_marks_and_says_so():
    truth = [[[0, 0, 10, 10]], [[0, 0, 4, 4], [20, 20, 30, 30]]]
    boxes = [[[0, 0, 10, 5]], [[0, 0, 4, 4]]]
    found = mean_best_overlap(boxes, truth, draws=100)
    assert found.value == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    noisy = [[*case, *[[k, k, k + 3, k + 3] for k in range(40, 90)]] for case in boxes]
    assert mean_best_overlap(noisy, truth, draws=100).value == found.value
    assert "ignores false marks" in found.note
    assert not mean_best_overlap([[]], [[]], draws=100).defined


def test_pointing_game_by_hand():
    lesion = np.zeros((6, 6))
    lesion[2:4, 2:4] = 1
    inside, outside = np.zeros((2, 6, 6))
    inside[2, 3], outside[2, 4] = 5, 5
    maps, masks = [inside, outside, inside], [lesion, lesion, np.zeros((6, 6))]
    found = pointing_game(maps, masks, spacing_mm=(1.0, 0.5))
    assert found.value == 0.5 and found.n == 2 and "1 cases without" in found.note
    assert "0.11" in found.note
    # Half a millimetre away: a hit with a margin of 0.5 mm, by the spacing of that axis.
    assert pointing_game(maps, masks, spacing_mm=(1.0, 0.5), margin_mm=0.5).value == 1.0
    assert pointing_game(maps, masks, spacing_mm=(1.0, 1.0), margin_mm=0.5).value == 0.5
    # A flat map points nowhere.
    assert pointing_game([np.ones((6, 6))], [lesion], spacing_mm=(1.0, 1.0)).value == 0.0
    assert not pointing_game([inside], [np.zeros((6, 6))], spacing_mm=(1.0, 1.0)).defined
    clustered = pointing_game(maps[:2] * 10, masks[:2] * 10, spacing_mm=(1, 1), patient=["a", "b"] * 10)
    assert clustered.high - clustered.low > 0.7
