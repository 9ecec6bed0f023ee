"""Degradations of known strength: none changes nothing, more is worse, and people's scores fall with each."""

from dataclasses import replace

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.simulate.degrade import KINDS, LADDERS, Strengths, degrade
from radfoundry.simulate.panel import PURPOSES, opinion, true_score
from radfoundry.simulate.rated import draw_strengths, worsened


def disc(size=48, slices=7):
    x, y, z = np.mgrid[:size, :size, :slices]
    inside = np.hypot(x - size / 2, y - size / 2) < size * 0.48
    return (inside * (1 + 0.3 * np.sin(x / 2.0) * np.sin(y / 2.5) * np.cos(z / 3))).astype("f4")


def test_no_strength_changes_nothing():
    made = degrade(disc(), Strengths(), spacing_mm=2.0, rng=np.random.default_rng(0))
    np.testing.assert_allclose(made, disc(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_of_a_ladder_lies_farther_from_the_clean_image(kind):
    away = []
    for strength in LADDERS[kind]:
        made = degrade(disc(), Strengths(**{kind: strength}), spacing_mm=2.0, rng=np.random.default_rng(1))
        away.append(float(np.abs(made - disc()).mean()))
    assert (np.diff(away) > 0).all(), away


def test_only_the_slices_asked_for_are_made_and_they_know_their_neighbours():
    whole = degrade(disc(), Strengths(thickening=2), spacing_mm=2.0, rng=np.random.default_rng(0))
    some = degrade(disc(), Strengths(thickening=2), spacing_mm=2.0, rng=np.random.default_rng(0), slices=np.array([3]))
    np.testing.assert_allclose(some[..., 0], whole[..., 3], atol=1e-5)
    np.testing.assert_allclose(some[..., 0], disc()[..., 2:5].mean(axis=2), atol=1e-5)


def test_negative_and_impossible_strengths_are_refused():
    for wrong in ({"noise": -0.1}, {"blur": 0.9}, {"clipping": 1.0}):
        with pytest.raises(InputError):
            Strengths(**wrong)


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("sequence", ["T1w", "FLAIR", None])
def test_every_fault_costs_every_panel_something(purpose, sequence):
    base = Strengths(noise=0.02)
    for kind in KINDS:
        worse = replace(base, **{kind: getattr(base, kind) + LADDERS[kind][1]})
        assert true_score(worse, purpose=purpose, sequence=sequence) < true_score(
            base, purpose=purpose, sequence=sequence
        )
    assert true_score(Strengths(), purpose=purpose) == 100


def test_more_raters_agree_better_with_the_truth():
    rng = np.random.default_rng(0)
    spread = [np.std([opinion(50, raters=count, rng=rng) for _ in range(300)]) for count in (1, 16)]
    assert spread[0] == pytest.approx(8, rel=0.2) and spread[1] == pytest.approx(2, rel=0.2)
    with pytest.raises(InputError):
        opinion(50, raters=0, rng=rng)
    with pytest.raises(InputError, match="reading"):
        true_score(Strengths(), purpose="art")


def test_a_worsened_scan_is_worse_in_exactly_one_way():
    rng = np.random.default_rng(0)
    for _ in range(50):
        before = draw_strengths(rng)
        step = worsened(before, rng).vector() - before.vector()
        assert (step >= 0).all() and (step > 0).sum() <= 1
