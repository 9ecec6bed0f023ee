"""Shapes keep the volumes geometry gives them, and moving, mirroring and breaking them does what it says."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.records import InputError
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.frames import band
from radfoundry.simulate.anatomy.limbs import apart, share_for
from radfoundry.simulate.anatomy.shapes import box, broken, ellipsoid, grow, loft, mirrored, moved, tube, union
from radfoundry.simulate.tissues import TISSUES, index


def canvas(spacing=1.0, half=32.0):
    return Canvas((-half,) * 3, (half,) * 3, spacing)


def volume_mm3(shape, spacing=1.0):
    grid = canvas(spacing)
    _window, cover = grid.cover(shape)
    return float(cover.sum()) * spacing**3


@settings(max_examples=8, deadline=None)
@given(radii=st.tuples(*[st.floats(8, 20)] * 3), turn=st.tuples(*[st.floats(-90, 90)] * 3))
def test_an_egg_has_the_volume_of_an_ellipsoid_however_it_is_turned(radii, turn):
    expected = 4 / 3 * math.pi * math.prod(radii)
    assert volume_mm3(ellipsoid((0, 0, 0), radii, turn_deg=turn)) == pytest.approx(expected, rel=0.03)


def test_a_tube_is_a_cylinder_with_two_half_balls():
    expected = math.pi * 6**2 * 30 + 4 / 3 * math.pi * 6**3
    assert volume_mm3(tube([(0, 0, -15), (0, 0, 15)], 6.0)) == pytest.approx(expected, rel=0.02)


def test_a_band_has_the_volume_of_a_slab_with_round_edges():
    # Swept stadium: (width - t) * t + pi t^2 / 4 along the line, and its end caps.
    section = (20 - 6) * 6 + math.pi * 9
    expected = section * 30 + (14 * math.pi * 9 + 4 / 3 * math.pi * 27)
    made = band([(0, 0, -15), (0, 0, 15)], width_mm=20, thickness_mm=6, across=(1, 0, 0))
    assert volume_mm3(made) == pytest.approx(expected, rel=0.02)


def test_a_straight_loft_is_an_elliptical_cylinder():
    made = loft([-15, 0, 15], [(0, 0)] * 3, [(12, 8)] * 3)
    assert volume_mm3(made) == pytest.approx(math.pi * 12 * 8 * 30, rel=0.03)


def test_volumes_agree_between_spacings():
    shape = union(ellipsoid((3, 1, 0), (14, 9, 11)), tube([(0, 0, 0), (10, 10, 20)], [7, 5]), blend_mm=4)
    assert volume_mm3(shape, 2.0) == pytest.approx(volume_mm3(shape, 1.0), rel=0.02)


@settings(max_examples=6, deadline=None)
@given(turn=st.tuples(*[st.floats(-180, 180)] * 3), shift=st.tuples(*[st.floats(-6, 6)] * 3))
def test_moving_keeps_the_volume_and_the_box_holds_the_shape(turn, shift):
    shape = union(box((4, 0, 0), (9, 6, 4), rounding_mm=2), ellipsoid((-4, 2, 0), (7, 5, 6)), blend_mm=3)
    there = moved(shape, shift, turn_deg=turn)
    assert volume_mm3(there) == pytest.approx(volume_mm3(shape), rel=0.02)
    inside = canvas().points()[there.distance(canvas().points()) < 0]
    assert bool((inside >= torch.tensor(there.low) - 0.01).all())
    assert bool((inside <= torch.tensor(there.high) + 0.01).all())


def test_a_quarter_turn_about_the_long_axis_takes_right_to_front():
    there = moved(ellipsoid((10, 0, 0), (2, 2, 2)), (0, 0, 5), turn_deg=(0, 0, 90))
    assert float(there.distance(torch.tensor([[0.0, 10.0, 5.0]]))) < 0


def test_mirrored_twice_is_the_same_shape():
    shape = tube([(5, 2, 1), (12, -3, 9)], [3, 5])
    points = canvas(4.0).points()
    assert torch.equal(mirrored(mirrored(shape)).distance(points), shape.distance(points))
    flipped = points * torch.tensor([-1.0, 1, 1])
    assert torch.allclose(mirrored(shape).distance(flipped), shape.distance(points))


def test_a_break_takes_the_gap_out_of_the_volume_and_shifts_the_part_in_front():
    rod = tube([(0, 0, -20), (0, 0, 20)], 8.0)
    cleft = broken(rod, (0, 0, 0), (0, 0, 1), shift_mm=(0, 0, 0), gap_mm=4)
    assert volume_mm3(rod) - volume_mm3(cleft) == pytest.approx(math.pi * 64 * 4, rel=0.08)
    step = broken(rod, (0, 0, 0), (0, 0, 1), shift_mm=(5, 0, 0), gap_mm=0.5)
    above, below = torch.tensor([[12.0, 0, 10]]), torch.tensor([[12.0, 0, -10]])
    assert float(step.distance(above)) < 0 < float(step.distance(below))


def test_growing_moves_the_surface_by_so_much():
    ball = ellipsoid((0, 0, 0), (10, 10, 10))
    assert float(grow(ball, 3).distance(torch.tensor([[13.0, 0, 0]]))) == pytest.approx(0, abs=1e-4)


def test_solids_kept_apart_do_not_overlap_and_keep_their_gap():
    grid = canvas()
    shapes = [ellipsoid((x, 0, 0), (11, 11, 11)) for x in (-16, 0, 16)]
    total = torch.zeros(grid.shape)
    for window, depth in apart(grid, shapes, gap_mm=2.0):
        total[window] += grid.soft(depth)
    assert float(total.max()) <= 1 + 1e-5
    between = grid.points()[..., 0].abs().sub(8).abs() < 0.6
    assert float(total[between].max()) < 0.1


def test_paint_replaces_what_lay_there():
    grid = canvas(2.0, 20.0)
    grid.paint("muscle", ellipsoid((0, 0, 0), (15, 15, 15)), name="outer")
    before = float(grid.map("muscle").sum())
    grid.paint("fat", ellipsoid((0, 0, 0), (8, 8, 8)), name="inner")
    body = grid.body()
    assert float(body.fractions.sum()) == pytest.approx(before, rel=1e-4)
    assert float(body.share("fat").sum()) == pytest.approx(float(body.truth["inner"].sum()), rel=1e-5)
    assert float((body.truth["outer"] + body.truth["inner"]).max()) <= 1 + 1e-5


@settings(max_examples=20, deadline=None)
@given(fat_fraction=st.floats(0.0, 0.6))
def test_the_share_of_fat_gives_the_fat_fraction_that_was_asked_for(fat_fraction):
    # Proton-density fat fraction by its definition: fat protons over all protons.
    share, fat, muscle = share_for(fat_fraction), TISSUES[index("fat")], TISSUES[index("muscle")]
    protons = share * fat.proton_density + (1 - share) * muscle.proton_density
    assert share * fat.proton_density * fat.fat_fraction / protons == pytest.approx(fat_fraction, abs=1e-9)


def test_nonsense_is_refused():
    with pytest.raises(InputError):
        ellipsoid((0, 0, 0), (1, 0, 1))
    with pytest.raises(InputError):
        loft([0, 0], [(0, 0)] * 2, [(1, 1)] * 2)
    with pytest.raises(InputError):
        Canvas((0, 0, 0), (0, 1, 1), 1.0)
    assert np.all(np.diag(canvas(2.0).affine)[:3] == 2.0)
