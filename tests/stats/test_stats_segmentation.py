"""Overlap and volume against counting one voxel at a time, and the stated rules for empty masks."""

import math

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.segmentation import dice, iou, over_cases, segmentation_scores, volume_error


def random_masks(seed, shape=(6, 7, 5)):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < 0.4, rng.random(shape) < 0.5


@pytest.mark.parametrize("seed", range(5))
def test_overlap_equals_counting(seed):
    first, second = random_masks(seed)
    both = sum(1 for a, b in zip(first.flat, second.flat, strict=True) if a and b)
    either = sum(1 for a, b in zip(first.flat, second.flat, strict=True) if a or b)
    total = sum(map(int, first.flat)) + sum(map(int, second.flat))
    assert dice(first, second).value == pytest.approx(2 * both / total)
    assert iou(first, second).value == pytest.approx(both / either)
    # Dice and IoU order masks alike: D = 2 J / (1 + J).
    j = iou(first, second).value
    assert dice(first, second).value == pytest.approx(2 * j / (1 + j))
    assert dice(first, second) == dice(second, first)


def test_volume_error_has_a_sign_and_a_unit():
    truth, found = np.zeros((2, 10, 10, 10))
    truth[:5], found[:6] = 1, 1
    # 500 and 600 voxels of 2 x 1 x 0.5 mm: 0.5 and 0.6 ml.
    assert volume_error(truth, found, spacing_mm=(2.0, 1.0, 0.5)).value == pytest.approx(0.1)
    assert volume_error(found, truth, spacing_mm=(2.0, 1.0, 0.5)).value == pytest.approx(-0.1)
    assert volume_error(truth, found, spacing_mm=(2.0, 1.0, 0.5), relative=True).value == pytest.approx(0.2)
    empty = volume_error(np.zeros((2, 2, 2)), np.ones((2, 2, 2)), spacing_mm=(1, 1, 1), relative=True)
    assert not empty.defined and "empty" in empty.note


def test_empty_masks_follow_the_stated_rules():
    none, some = np.zeros((4, 4), bool), np.eye(4, dtype=bool)
    for measure in (dice, iou):
        assert measure(none, some).value == measure(some, none).value == 0.0
        both = measure(none, none)
        assert math.isnan(both.value) and "true negative" in both.note
        perfect = measure(none, none, both_empty="perfect")
        assert perfect.value == 1.0 and "by choice" in perfect.note


def test_table_judges_each_structure_on_its_own():
    truth = np.zeros((12, 12, 12), int)
    truth[1:5, 1:5, 1:5], truth[7:11, 7:11, 7:11] = 1, 4
    found = truth.copy()
    found[truth == 4] = 2
    table = segmentation_scores(truth, found, spacing_mm=(2.0, 1.0, 1.0), tolerance_mm=1.0)
    assert list(table) == ["1", "2", "4"]
    assert table["1"]["dice"].value == 1.0 and table["1"]["assd_mm"].value == 0.0
    assert table["4"]["dice"].value == 0.0 and not table["4"]["hd95_mm"].defined
    assert table["2"]["volume_error_ml"].value == pytest.approx(64 * 2 / 1000)
    named = segmentation_scores(
        truth, found, spacing_mm=(2.0, 1.0, 1.0), tolerance_mm=1.0, structures={"left": 1, "absent": 9}
    )
    assert list(named) == ["left", "absent"] and not named["absent"]["dice"].defined


def test_a_structure_at_the_image_border_scores_the_same_in_a_table():
    truth, found = np.zeros((2, 8, 8, 8), int)
    truth[:3], found[:4] = 1, 1
    table = segmentation_scores(truth, found, spacing_mm=(1.0, 1.0, 1.0), tolerance_mm=0.5)
    wide = [np.pad(labels, 2) for labels in (truth, found)]
    padded = segmentation_scores(*wide, spacing_mm=(1.0, 1.0, 1.0), tolerance_mm=0.5)
    assert {k: v.value for k, v in table["1"].items()} == {k: v.value for k, v in padded["1"].items()}


def test_mean_over_cases_leaves_undefined_cases_out_and_draws_patients():
    values = [0.9, 0.8, float("nan"), 0.7, 0.6, 0.95]
    found = over_cases(values)
    assert found.value == pytest.approx(np.nanmean(values)) and found.n == 5 and "1 undefined" in found.note
    assert found.low < found.value < found.high
    # Copies of a case of the same patient tell nothing new: the interval must not shrink.
    rng = np.random.default_rng(0)
    base = rng.random(40)
    alone = over_cases(base, rng=1)
    copied = over_cases(np.repeat(base, 5), patient=np.repeat(np.arange(40), 5), rng=1)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert not over_cases([float("nan")]).defined


def test_refusals():
    with pytest.raises(InputError, match="whole numbers"):
        segmentation_scores(np.full((2, 2, 2), 0.5), np.zeros((2, 2, 2)), spacing_mm=(1, 1, 1), tolerance_mm=1)
    with pytest.raises(InputError, match="both_empty"):
        dice([0, 1], [0, 1], both_empty="whatever")
    with pytest.raises(InputError, match="one spacing"):
        volume_error(np.zeros((2, 2)), np.zeros((2, 2)), spacing_mm=(1.0, 1.0))
