"""Change over time by hand, by simulation of unchanged patients, and by the laws of units."""

import math

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.progression import change, doubling_time, growth_rate, reliable_change
from radfoundry.stats.repeated import repeatability


def test_absolute_change_by_hand():
    found = change(10.0, 14.0, error=1.0)
    # 4 ± 1.96 √2: the smallest detectable change is 2.77.
    assert [found.absolute.low, found.absolute.high] == pytest.approx([4 - 2.7718, 4 + 2.7718], abs=1e-4)
    assert found.call == "increase" and found.relative.value == pytest.approx(0.4)
    assert change(10.0, 12.7, error=1.0).call == "within measurement error"
    assert change(10.0, 7.0, error=1.0).call == "decrease"
    assert not change(-1.0, 3.0, error=0.1).relative.defined


def test_relative_change_does_not_know_the_unit():
    one, other = change(2.0, 3.0, error=0.1, kind="relative"), change(2000.0, 3000.0, error=0.1, kind="relative")
    assert one.relative.low == pytest.approx(other.relative.low)
    assert other.absolute.high == pytest.approx(1000 * one.absolute.high)
    # Growth and shrinkage by one factor are equally sure.
    back = change(3.0, 2.0, error=0.1, kind="relative")
    assert back.relative.p_value == pytest.approx(one.relative.p_value)
    with pytest.raises(InputError, match="positive"):
        change(0.0, 3.0, error=0.1, kind="relative")
    with pytest.raises(InputError, match="error is 0"):
        change(1.0, 3.0, error=0.0)


@pytest.mark.parametrize("kind", ["absolute", "relative"])
def test_unchanged_patients_are_called_changed_in_five_of_a_hundred(kind):
    rng = np.random.default_rng(0)
    truth = rng.uniform(5, 50, 4000)
    if kind == "absolute":
        pairs = truth[:, None] + rng.normal(0, 0.7, (4000, 2))
        error = 0.7
    else:
        spread = math.sqrt(math.log1p(0.15**2))
        pairs = truth[:, None] * np.exp(rng.normal(0, spread, (4000, 2)))
        error = 0.15
    calls = [change(a, b, error=error, kind=kind).call for a, b in pairs.tolist()]
    assert np.mean([call != "within measurement error" for call in calls]) == pytest.approx(0.05, abs=0.012)


def test_fieller_limits_hold_their_level():
    rng = np.random.default_rng(1)
    pairs = np.array([20.0, 26.0]) + rng.normal(0, 2.0, (2000, 2))
    inside = [(e := change(a, b, error=2.0).relative).low <= 0.3 <= e.high for a, b in pairs.tolist()]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_reliable_change_uses_repeatability_and_subtracts_practice():
    rng = np.random.default_rng(2)
    retest = repeatability(rng.normal(100, 10, (60, 1)) + rng.normal(0, 2, (60, 2)))
    before = rng.normal(100, 10, 500) + rng.normal(0, 2, 500)
    after = before + 3 + rng.normal(0, 2 * math.sqrt(2), 500)
    plain = reliable_change(before, after, error=retest)
    corrected = reliable_change(before, after, error=retest, practice=3.0)
    assert plain.increased.value > corrected.increased.value
    assert corrected.increased.value + corrected.decreased.value == pytest.approx(0.05, abs=0.04)
    assert plain.smallest_detectable == pytest.approx(retest.coefficient.value)
    assert len(plain.calls) == 500 and (plain.index > 1.96).sum() == plain.calls.count("increase")


def test_growth_and_doubling_by_hand():
    found = growth_rate([1.0, 2.0, 4.0, 8.0], [0, 1, 2, 3], error=0.1)
    assert found.value == pytest.approx(math.log(2))
    # Slope error: sigma / sqrt(sum of squared centred times) = sqrt(log 1.01) / sqrt(5).
    assert found.high - found.value == pytest.approx(1.959964 * math.sqrt(math.log(1.01) / 5))
    assert doubling_time([1.0, 2.0, 4.0, 8.0], [0, 1, 2, 3], error=0.1).value == pytest.approx(1.0)
    shrinking = doubling_time([8.0, 4.0], [0, 30], error=0.05)
    assert shrinking.value == pytest.approx(-30) and shrinking.low < -30 < shrinking.high < 0
    unsure = doubling_time([1.0, 1.05], [0, 30], error=0.2)
    assert math.isinf(unsure.high) and "ruled out" in unsure.note
    with pytest.raises(InputError, match="increase"):
        growth_rate([1.0, 2.0], [3, 3], error=0.1)
