"""People over time, annotators, readers, vendors and shortcuts: their errors have the size that was asked for."""

import math

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.simulate.annotators import PANEL, Annotator, outline
from radfoundry.simulate.readers import Reader, Vendor, read_cases, vendor_output
from radfoundry.simulate.shortcuts import burn, tied
from radfoundry.simulate.time import draw_survival, drifted, grown_volume_ml, training_effect, visit_days
from radfoundry.volume import Volume


def rng():
    return np.random.default_rng(7)


def test_survival_has_its_median_its_hazard_ratio_and_its_censoring():
    n = 40000
    group = (np.arange(n) % 2)[:, None].astype(float)
    known = draw_survival(group, np.array([math.log(2)]), rng=rng(), median_days=500, shape=1.0, censored=0.0)
    assert known.event.all()
    assert np.median(known.time_days[group[:, 0] == 0]) == pytest.approx(500, rel=0.03)
    # With shape 1 the hazard is events over time at risk: its ratio is the hazard ratio.
    rates = [1 / known.time_days[group[:, 0] == g].mean() for g in (0, 1)]
    assert rates[1] / rates[0] == pytest.approx(2, rel=0.04)
    cut = draw_survival(group, np.array([math.log(2)]), rng=rng(), censored=0.4)
    assert 1 - cut.event.mean() == pytest.approx(0.4, abs=0.01)


def test_tumours_double_in_their_doubling_time_and_never_pass_the_limit():
    early = grown_volume_ml(1.0, np.array([0.0, 1.0]), doubling_days=100)
    assert early[0] == pytest.approx(1.0)
    assert math.log(2) / math.log(early[1]) == pytest.approx(100, rel=0.01)
    assert grown_volume_ml(1.0, np.array([1e6]), doubling_days=100)[0] == pytest.approx(250)
    assert grown_volume_ml(1.0, np.array([60.0]), doubling_days=400, response=0.6)[0] < 1.0


def test_visits_come_in_order_and_training_has_its_effect():
    days = visit_days(6, interval_days=42, jitter_days=5, rng=rng())
    assert days[0] == 0 and (np.diff(days) > 0).all()
    before, after = training_effect(
        np.full(20000, 100.0), mean_change=0.03, between_sd=0.01, measurement_sd=2, rng=rng()
    )
    assert (after - before).mean() == pytest.approx(3, abs=0.1)
    assert drifted(9, onset_day=10, size=2) == 0 and drifted(15, onset_day=10, size=2, ramp_days=10) == 1


def ball(radius=10.0):
    i, j, k = np.indices((41, 41, 41)) - 20
    return i**2 + j**2 + k**2 <= radius**2


def test_an_annotator_without_errors_draws_the_truth():
    assert np.array_equal(outline(ball(), Annotator(), spacing_mm=(1, 1, 1), rng=rng()), ball())


def test_bias_moves_the_boundary_by_its_millimetres():
    drawn = outline(ball(), Annotator(bias_mm=2.0), spacing_mm=(1, 1, 1), rng=rng())
    radius = (drawn.sum() * 3 / (4 * math.pi)) ** (1 / 3)
    assert radius == pytest.approx(12, abs=0.35)


def test_misses_and_inventions_come_at_their_rates():
    generator = rng()
    small = np.zeros((30, 30), bool)
    small[10:14, 10:14] = True
    missed = np.mean(
        [not outline(small, Annotator(miss_rate=0.3), spacing_mm=(1, 1), rng=generator).any() for _ in range(600)]
    )
    assert missed == pytest.approx(0.3, abs=0.06)
    none = np.zeros((30, 30), bool)
    seen = np.mean(
        [outline(none, Annotator(invent_rate=0.2), spacing_mm=(1, 1), rng=generator).any() for _ in range(600)]
    )
    assert seen == pytest.approx(0.2, abs=0.06)


def test_the_panel_is_ordered_by_skill():
    truth = ball(8)
    dice = []
    for annotator in PANEL[:3]:
        drawn = outline(truth, annotator, spacing_mm=(1, 1, 1), rng=rng())
        dice.append(2 * (drawn & truth).sum() / (drawn.sum() + truth.sum()))
    assert dice[0] > 0.94 and dice[0] > max(dice[1:])


def test_readers_reach_the_area_their_skill_implies():
    truth = np.arange(6000) % 2
    reading = read_cases(truth, (Reader(skill=1.5),), rng=rng())
    positive, negative = reading.score[0, truth == 1], reading.score[0, truth == 0]
    area = np.mean([(positive > value).mean() for value in negative])
    expected = 0.5 * (1 + math.erf(1.5 / 2))  # Phi(1.5 / sqrt 2)
    assert area == pytest.approx(expected, abs=0.015)


def test_a_perfect_aid_helps_and_an_ignored_one_does_not():
    truth = np.arange(2000) % 2
    perfect = np.where(truth == 1, 5.0, -5.0)
    reading = read_cases(truth, (Reader(trust=0.6), Reader(trust=0.0)), aid=perfect, rng=rng())
    right = (reading.aided_decision == truth).mean(axis=1)
    assert right[0] > 0.99
    assert np.array_equal(reading.aided_score[1], reading.score[1])


def test_vendors_keep_their_operating_point():
    truth = np.arange(20000) % 2
    output = vendor_output(truth, Vendor(sensitivity=0.64, specificity=0.83), rng=rng())
    assert output[truth == 1].mean() == pytest.approx(0.64, abs=0.015)
    assert 1 - output[truth == 0].mean() == pytest.approx(0.83, abs=0.015)


def test_vendor_failures_are_where_they_should_be():
    truth = np.ones(4000)
    group = np.arange(4000) % 4 == 0
    output = vendor_output(truth, Vendor(failure="subgroup"), subgroup=group, rng=rng())
    assert output[group].mean() < 0.6 < 0.85 < output[~group].mean()
    plain = rng().random(4000)
    output = vendor_output(truth, Vendor(failure="subtle", sensitivity=0.7), conspicuity=plain, rng=rng())
    assert plain[output].min() > plain[~output].max()
    with pytest.raises(InputError):
        vendor_output(truth, Vendor(failure="subgroup"), rng=rng())


def test_letters_are_burned_into_every_slice_and_nowhere_else():
    volume = Volume.of(np.zeros((40, 40, 3), np.int16) + 100, np.eye(4))
    marked = burn(volume, "L", brightness=500)
    changed = marked.array != volume.array
    assert changed[0, :, :, 0].sum() == 11 and np.array_equal(changed[..., 0], changed[..., 2])
    assert not changed[:, 20:].any()
    with pytest.raises(InputError):
        burn(volume, "Q")


def test_a_shortcut_follows_the_label_at_its_rate():
    generator = rng()
    there = [tied(True, rate=0.9, rng=generator) for _ in range(3000)]
    absent = [tied(False, rate=0.9, rng=generator) for _ in range(3000)]
    assert np.mean(there) == pytest.approx(0.9, abs=0.02) and np.mean(absent) == pytest.approx(0.1, abs=0.02)
