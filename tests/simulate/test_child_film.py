"""Films of children with trapped air: what the sign does, and that the other signs know nothing of it."""

import numpy as np
import pytest

from radfoundry import registry
from radfoundry.records import InputError


def cases(count, **options):
    preset = registry.build("cohorts", "child-films", shares=[1.0, 0.0, 0.0], **options)
    return [preset.simulate(number, seed=5) for number in range(count)]


def blacker(case):
    """How much blacker the right lung (on the left of the picture) is than the left, at the height of both."""
    picture = case.series[0].volume.array[0, :, :, 0].astype(float)
    return picture[38:52, 12:36].mean() - picture[12:26, 12:36].mean()


def test_the_lung_with_trapped_air_is_the_blacker_one():
    found = {"right": [], "left": [], "none": []}
    for case in cases(45, trapping_rate=0.6):
        found[case.labels["side"]].append(blacker(case))
    assert np.mean(found["right"]) > np.mean(found["none"]) + 3 > np.mean(found["left"]) + 6
    assert abs(np.mean(found["none"])) < 4


def test_without_strength_the_sign_is_gone_and_the_label_stays():
    made = cases(24, strength=0.0, trapping_rate=0.5)
    held = np.array([case.labels["trapping"] for case in made])
    right = np.array([case.labels["side"] == "right" for case in made])
    gaps = np.array([blacker(case) for case in made])
    assert 0.1 < held.mean() < 0.9
    assert abs(gaps[right].mean() - gaps[held == 0].mean()) < 5


def test_the_other_signs_are_drawn_by_themselves():
    made = cases(100)
    for name in ("patches", "tube", "wide"):
        table = np.array([[case.labels["trapping"], case.labels[name]] for case in made])
        assert abs(np.corrcoef(table.T)[0, 1]) < 0.3
    assert {round(case.labels["age_years"]) for case in made} <= set(range(1, 15))


def test_a_share_that_is_none_is_refused():
    with pytest.raises(InputError, match="trapping_rate"):
        registry.build("cohorts", "child-films", trapping_rate=1.4)
