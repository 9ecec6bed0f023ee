"""The spine: heights, discs and canal measured on the built body follow what was drawn."""

import dataclasses
import itertools

import numpy as np
import pytest

from radfoundry.simulate.anatomy.regions import region
from radfoundry.simulate.anatomy.spine_plans import PLANS, at, column

COARSE_MM = 3.0


def drawn(name="lumbar-spine", *, seed=6, age_years=45.0, sex="M", findings=(), severity=None):
    return region(name).draw(
        np.random.default_rng(seed), age_years=age_years, sex=sex, findings=findings, severity=severity
    )


def straight(anatomy):
    """The same person without any curve, so that heights can be read off the grid."""
    return dataclasses.replace(anatomy, measures={**anatomy.measures, "curve_share": 0.0})


def profile(body, organ, x_mm, y_mm):
    place = [round((value - body.affine[axis, 3]) / body.affine[axis, axis]) for axis, value in enumerate((x_mm, y_mm))]
    return body.truth[organ][place[0], place[1]]


@pytest.mark.parametrize("name", sorted(PLANS))
def test_vertebrae_are_stacked_with_their_discs_between(name):
    plan, anatomy = PLANS[name], drawn(name)
    vertebrae = column(plan, anatomy.measures)
    assert [one.level for one in vertebrae] == list(plan.levels)
    heights = [one.centre_mm[2] for one in vertebrae]
    assert heights == sorted(heights, reverse=True)
    for above, below in itertools.pairwise(vertebrae):
        gap = np.subtract(at(above, (0, 0, -above.height_mm / 2)), at(below, (0, 0, below.height_mm / 2)))
        assert 1 < np.linalg.norm(gap) < 16
    assert sum(one.width_mm for one in vertebrae) > 0


@pytest.mark.parametrize(("name", "front"), [("cervical-spine", 1), ("thoracic-spine", -1), ("lumbar-spine", 1)])
def test_neck_and_loin_bend_forwards_and_the_chest_backwards(name, front):
    vertebrae = column(PLANS[name], drawn(name).measures)
    places = np.array([one.centre_mm[1] for one in vertebrae[: 7 if name == "lumbar-spine" else None]])
    chord = np.linspace(places[0], places[-1], len(places))
    assert front * (places - chord)[1:-1].mean() > 0.5


@pytest.mark.slow
def test_the_height_of_a_body_is_the_one_drawn():
    anatomy = straight(drawn())
    body = region("lumbar-spine").build(anatomy, spacing_mm=1.5)
    line = profile(body, "L3", 15.0, 0.0)
    assert float(line.sum()) * 1.5 == pytest.approx(anatomy.measures["body_height_mm"], abs=2.5)


@pytest.mark.slow
def test_a_vertebral_fracture_takes_the_front_height():
    losses = []
    for severity in (0.2, 0.9):
        anatomy = straight(drawn(findings=("vertebral-fracture",), severity=severity))
        level = anatomy.findings[0].site
        vertebrae = {one.level: one for one in column(PLANS["lumbar-spine"], anatomy.measures)}
        body = region("lumbar-spine").build(anatomy, spacing_mm=2.0)
        ahead = vertebrae[level].depth_mm * 0.42
        middle = vertebrae[level].centre_mm[1]
        front = float(profile(body, level, 0.0, middle + ahead).sum()) * 2.0
        losses.append(1 - front / vertebrae[level].height_mm)
        assert float(body.share("marrow-oedema").sum()) > 0
    assert 0 < losses[0] < losses[1]


@pytest.mark.slow
def test_a_degenerated_disc_is_lower_and_drier():
    low, wet = [], []
    for findings, severity in (((), None), (("disc-degeneration",), 0.3), (("disc-degeneration",), 1.0)):
        anatomy = drawn(findings=findings, severity=severity)
        level = drawn(findings=("disc-degeneration",), severity=0.5).findings[0].site.split("-")[0]
        low.append(anatomy.measures[f"disc_share_below_{level}"])
        wet.append(float(region("lumbar-spine").build(anatomy, spacing_mm=COARSE_MM).share("nucleus").sum()))
    assert low[0] > low[1] > low[2]
    assert wet[0] > wet[1] > wet[2]


@pytest.mark.slow
def test_a_herniated_disc_takes_room_from_the_sac():
    anatomy = drawn(findings=("disc-herniation",), severity=1.0)
    body = region("lumbar-spine").build(anatomy, spacing_mm=2.0)
    bare = region("lumbar-spine").build(dataclasses.replace(anatomy, findings=()), spacing_mm=2.0)
    there = body.truth["disc-herniation"] > 0.5
    assert bool(there.any())
    assert float(body.share("csf")[there].sum()) < float(bare.share("csf")[there].sum())
    sizes = [
        drawn(findings=("disc-herniation",), severity=value).measures["herniation_mm"] for value in (0.2, 0.6, 1.0)
    ]
    assert sizes == sorted(sizes)


def test_the_canal_is_open_at_every_level():
    for name in ("cervical-spine", "lumbar-spine"):
        anatomy = drawn(name)
        body = region(name).build(anatomy, spacing_mm=COARSE_MM)
        filled = body.truth["spinal-fluid"] + body.truth["cord"]
        top = column(PLANS[name], anatomy.measures)[5 if name == "lumbar-spine" else -1].centre_mm[2]
        first = max(0, round((top - body.affine[2, 3]) / COARSE_MM))
        assert float(filled.sum(dim=(0, 1))[first:].min()) * COARSE_MM**2 > 40


def test_discs_dry_with_age_and_marrow_turns_to_fat():
    young = [drawn(seed=seed, age_years=25.0).measures for seed in range(8)]
    old = [drawn(seed=seed, age_years=80.0).measures for seed in range(8)]
    for name in ("dryness_below_L4", "marrow_fat_fraction"):
        assert np.mean([one[name] for one in young]) < np.mean([one[name] for one in old])


@pytest.mark.slow
def test_volumes_agree_between_spacings():
    anatomy = drawn("cervical-spine")
    fine, coarse = (region("cervical-spine").build(anatomy, spacing_mm=value) for value in (1.5, 3.0))
    for organ in ("C5", "C6", "discs", "spinal-fluid"):
        small, large = (float(body.truth[organ].sum()) * body.voxel_ml for body in (fine, coarse))
        assert large == pytest.approx(small, rel=0.1)
