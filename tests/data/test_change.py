"""Lesions of two visits: every call from a planted change, and what a small shift must not change."""

import numpy as np
import pytest

from radfoundry.data.change import lesion_changes
from radfoundry.records import InputError
from radfoundry.tasks.change import Options, compare
from radfoundry.volume import Volume

AFFINE = np.diag([-1.0, 1.0, 2.0, 1.0])


def mask(*boxes):
    array = np.zeros((30, 30, 15))
    for (i, j, k), (a, b, c) in boxes:
        array[i : i + a, j : j + b, k : k + c] = 1
    return Volume.of(array, AFFINE)


SMALL, LARGE = (3, 3, 2), (6, 6, 3)
HERE, THERE = (3, 3, 3), (18, 18, 8)


@pytest.mark.parametrize(
    ("before", "after", "calls"),
    [
        ([(HERE, SMALL)], [(HERE, SMALL)], ["stable"]),
        ([], [(HERE, SMALL)], ["new"]),
        ([(HERE, SMALL)], [], ["gone"]),
        ([(HERE, SMALL)], [(HERE, LARGE)], ["enlarging"]),
        ([(HERE, LARGE)], [(HERE, SMALL)], ["shrinking"]),
        ([(HERE, SMALL)], [(HERE, SMALL), (THERE, LARGE)], ["new", "stable"]),
        ([(HERE, (4, 4, 3)), ((9, 3, 3), (4, 4, 3))], [(HERE, (10, 4, 3))], ["merged"]),
    ],
)
def test_each_planted_change_gets_its_call(before, after, calls):
    found = lesion_changes(mask(*before), mask(*after), tolerance_mm=1.0)
    assert [lesion.call for lesion in found] == calls


def test_swapping_the_visits_turns_new_into_gone_and_growth_into_shrinkage():
    one, two = mask((HERE, SMALL)), mask((HERE, LARGE), (THERE, SMALL))
    there = sorted(lesion.call for lesion in lesion_changes(one, two, tolerance_mm=1.0))
    back = sorted(lesion.call for lesion in lesion_changes(two, one, tolerance_mm=1.0))
    assert (there, back) == (["enlarging", "new"], ["gone", "shrinking"])


def test_a_shift_within_the_tolerance_makes_nothing_new():
    one, two = mask((HERE, SMALL)), mask(((6, 3, 3), SMALL))
    assert [lesion.call for lesion in lesion_changes(one, two, tolerance_mm=1.0)] == ["stable"]
    assert {lesion.call for lesion in lesion_changes(one, mask(((9, 3, 3), SMALL)), tolerance_mm=1.0)} == {
        "new",
        "gone",
    }


def test_volumes_are_in_cubic_mm_and_places_in_the_patient():
    (lesion,) = lesion_changes(mask(), mask((HERE, SMALL)), tolerance_mm=0.0)
    assert lesion.after_mm3 == 3 * 3 * 2 * 2.0
    assert lesion.place_mm == (-4.0, 4.0, 7.0)


def test_small_components_are_ignored():
    assert lesion_changes(mask(), mask((HERE, (1, 1, 1))), tolerance_mm=0.0, smallest_mm3=3.0) == []


def test_the_total_change_has_the_interval_of_measuring_twice():
    said = compare(mask((HERE, SMALL)), mask((HERE, LARGE)), tolerance_mm=1.0, options=Options(error=0.1))
    total = said.metrics["volume-change"]
    assert total.value == pytest.approx(6 * 6 * 3 / (3 * 3 * 2) - 1)
    # Two measurements, each with a deviation of sqrt(log(1 + 0.1²)) on the logarithm.
    spread = 1.959964 * np.sqrt(2 * np.log1p(0.01))
    assert total.low == pytest.approx(6 * np.exp(-spread) - 1, rel=1e-4)
    assert not compare(mask(), mask((HERE, SMALL)), tolerance_mm=1.0).metrics["volume-change"].defined


def test_masks_on_different_grids_are_refused():
    other = Volume.of(np.zeros((30, 30, 15)), np.eye(4))
    with pytest.raises(InputError, match="different grids"):
        lesion_changes(mask(), other, tolerance_mm=1.0)
