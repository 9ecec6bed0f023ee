"""Surface distances against brute force over all pairs of points, closed forms, and the laws they must obey."""

import itertools

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.nearest import nearest_distances
from radfoundry.stats.surface import (
    boundary,
    hausdorff,
    mean_surface_distance,
    surface_dice,
    surface_scores,
)
from radfoundry.stats.surface_elements import element_measures, surface_elements

SPACINGS = [(1.0, 1.0, 1.0), (3.0, 0.7, 0.7), (0.5, 2.0, 1.1)]


def blobs(seed, shape=(9, 11, 10), share=0.3):
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2)
    return noise > np.quantile(noise, 1 - share)


def slow_boundary(mask):
    """Voxels of the mask with one of the six neighbours outside it, one voxel at a time."""
    padded = np.pad(mask, 1)
    return [
        place
        for place in zip(*np.nonzero(mask), strict=True)
        if any(
            not padded[tuple(p + 1 + step * (axis == a) for a, p in enumerate(place))]
            for axis in range(mask.ndim)
            for step in (-1, 1)
        )
    ]


def slow_distances(first, second, spacing):
    """Every pairwise distance, no tree and no transform."""
    a, b = (np.array(slow_boundary(mask)) * np.array(spacing) for mask in (first, second))
    table = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return table.min(axis=1), table.min(axis=0)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_equal_to_brute_force(spacing, seed):
    first, second = blobs(seed), blobs(seed + 100, share=0.1 + 0.1 * seed)
    there, back = slow_distances(first, second, spacing)
    scores = surface_scores(first, second, spacing_mm=spacing, tolerance_mm=1.5)
    assert scores["hd95_mm"].value == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert scores["assd_mm"].value == pytest.approx(np.concatenate([there, back]).mean())
    within = (np.concatenate([there, back]) <= 1.5).mean()
    assert scores["surface_dice"].value == pytest.approx(within)
    # The single functions stop early; they must not notice.
    assert hausdorff(first, second, spacing_mm=spacing).value == pytest.approx(scores["hd95_mm"].value)
    assert surface_dice(first, second, spacing_mm=spacing, tolerance_mm=1.5).value == pytest.approx(within)
    full = hausdorff(first, second, spacing_mm=spacing, percentile=100).value
    assert full == pytest.approx(max(there.max(), back.max()))


@pytest.mark.parametrize("tolerance", [0.0, 0.7, 1.0, 2.5, 40.0])
def test_far_apart_surfaces_take_the_tree_and_stay_exact(tolerance):
    first, second = np.zeros((2, 40, 12, 12), bool)
    first[2:5, 3:8, 3:8], second[30:36, 4:9, 4:9] = True, True
    there, back = slow_distances(first, second, (0.7, 1.0, 1.0))
    found = surface_dice(first, second, spacing_mm=(0.7, 1.0, 1.0), tolerance_mm=tolerance).value
    assert found == pytest.approx((np.concatenate([there, back]) <= tolerance).mean())
    assert mean_surface_distance(first, second, spacing_mm=(0.7, 1.0, 1.0)).value == pytest.approx(
        np.concatenate([there, back]).mean()
    )


def test_distances_agree_with_a_distance_transform_point_by_point():
    from scipy.ndimage import distance_transform_edt

    source, target = boundary(blobs(5, (20, 20, 20))), boundary(blobs(6, (20, 20, 20), 0.02))
    spacing = np.array([2.0, 0.8, 0.8])
    expected = distance_transform_edt(~target, sampling=spacing)[source]
    np.testing.assert_allclose(nearest_distances(source, target, spacing), expected)


@pytest.mark.parametrize("definition", ["voxels", "areas"])
def test_memory_order_does_not_matter(definition):
    # Images read from NIfTI files lie in Fortran order.
    first, second = blobs(9, (14, 11, 5)), blobs(10, (14, 11, 5))
    options = {"spacing_mm": (0.6, 0.6, 3.3), "tolerance_mm": 1.0, "definition": definition}
    here = surface_scores(first, second, **options)
    assert surface_scores(np.asfortranarray(first), np.asfortranarray(second), **options) == here
    target = np.asfortranarray(second)
    found = nearest_distances(np.asfortranarray(first), target, np.array([0.6, 0.6, 3.3]))
    np.testing.assert_array_equal(found, nearest_distances(first, second, np.array([0.6, 0.6, 3.3])))


def test_two_cubes_shifted_by_a_known_length():
    first, second = np.zeros((2, 20, 20, 20), bool)
    first[5:10, 5:10, 5:10], second[8:13, 5:10, 5:10] = True, True
    # Three voxels of 2 mm along the first axis; every other axis lines up.
    assert hausdorff(first, second, spacing_mm=(2.0, 1.0, 1.0), percentile=100).value == pytest.approx(6.0)


def test_laws_of_swapping_scaling_and_identity():
    first, second = blobs(1), blobs(2)
    for definition in ("voxels", "areas"):
        options = {"spacing_mm": (3.0, 0.7, 0.7), "definition": definition}
        assert hausdorff(first, second, **options).value == hausdorff(second, first, **options).value
        one = mean_surface_distance(first, second, **options).value
        assert one == pytest.approx(mean_surface_distance(second, first, **options).value)
        double = mean_surface_distance(first, second, spacing_mm=(6.0, 1.4, 1.4), definition=definition).value
        assert double == pytest.approx(2 * one)
        assert surface_dice(first, first, tolerance_mm=0.0, **options).value == 1.0
        values = [surface_dice(first, second, tolerance_mm=t, **options).value for t in (0.0, 0.7, 1.5, 3.0, 50.0)]
        assert values == sorted(values) and values[-1] == 1.0


def test_flips_and_padding_change_nothing():
    first, second = blobs(3), blobs(4)
    options = {"spacing_mm": (3.0, 0.7, 0.7), "tolerance_mm": 1.0}
    # Padding moves the image border away; the border already counted as outside.
    wide = [np.pad(mask, 3) for mask in (first, second)]
    for definition in ("voxels", "areas"):
        here = surface_dice(first, second, definition=definition, **options).value
        assert surface_dice(*wide, definition=definition, **options).value == pytest.approx(here)
        assert surface_dice(first[::-1], second[::-1], definition=definition, **options).value == pytest.approx(here)


def test_empty_masks_follow_the_stated_rules():
    some, none = blobs(0), np.zeros((9, 11, 10), bool)
    options = {"spacing_mm": (1.0, 1.0, 1.0)}
    for first, second, word in ((some, none, "predicted"), (none, some, "reference"), (none, none, "both")):
        for score in (hausdorff(first, second, **options), mean_surface_distance(first, second, **options)):
            assert not score.defined and word in score.note
        found = surface_dice(first, second, tolerance_mm=1.0, **options)
        assert (not found.defined) if word == "both" else found.value == 0.0


def test_refusals_name_the_problem():
    mask = blobs(0)
    with pytest.raises(InputError, match="spacing"):
        hausdorff(mask, mask, spacing_mm=(1.0, 1.0))
    with pytest.raises(InputError, match="positive"):
        hausdorff(mask, mask, spacing_mm=(1.0, 0.0, 1.0))
    with pytest.raises(InputError, match="shape"):
        hausdorff(mask, mask[:-1], spacing_mm=(1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="0 and 1"):
        hausdorff(mask * 3, mask, spacing_mm=(1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="tolerance"):
        surface_dice(mask, mask, spacing_mm=(1.0, 1.0, 1.0), tolerance_mm=-1.0)
    with pytest.raises(TypeError):
        hausdorff(mask, mask)


def test_element_areas_of_known_blocks():
    # Worked by hand on the unit cube: a corner cut (side sqrt(1/2) triangle), an edge cut, a plane.
    areas = element_measures((1.0, 1.0, 1.0))
    assert areas[0] == areas[255] == 0
    assert areas[0b1] == pytest.approx(np.sqrt(3) / 4 * 0.5)
    assert areas[0b11] == pytest.approx(np.sqrt(0.5))
    assert areas[0b1111] == pytest.approx(1.0)
    # Three corners of a face, as in the published table: 0.5 + sqrt(3)/4 + sqrt(3)/8.
    assert areas[0b111] == pytest.approx(0.5 + np.sqrt(3) / 4 + np.sqrt(3) / 8)


def test_element_areas_obey_complement_and_cube_symmetry():
    corners = list(itertools.product((0, 1), repeat=3))
    index = {corner: bit for bit, corner in enumerate(corners)}
    areas = element_measures((1.0, 1.0, 1.0))
    for code in range(256):
        assert areas[code] == pytest.approx(areas[255 - code])
        for axes in itertools.permutations(range(3)):
            turned = sum(
                1 << index[tuple(corner[a] for a in axes)] for corner in corners if (code >> index[corner]) & 1
            )
            assert areas[turned] == pytest.approx(areas[code])
    flat = element_measures((3.0, 0.7, 0.7))
    # A plane across the first axis has the area of the other two, and so on.
    assert flat[0b1111] == pytest.approx(0.49)
    assert sorted({flat[0b1111], flat[0b110011], flat[0b1010101]}) == pytest.approx([0.49, 2.1])


def test_area_of_a_ball_and_contour_of_a_disc():
    grid = np.indices((41, 41, 41)) - 20.0
    ball = (grid**2).sum(axis=0) <= 15.0**2
    where, area = surface_elements(ball, np.array([1.0, 1.0, 1.0]))
    # Midpoint surfaces are stepped, so the area is a little large: within 10 % of 4 pi r² (known bias about 8 %).
    assert area[where].sum() == pytest.approx(4 * np.pi * 15.25**2, rel=0.1)
    disc = ball[20]
    where, length = surface_elements(disc, np.array([1.0, 1.0]))
    assert length[where].sum() == pytest.approx(2 * np.pi * 15.25, rel=0.1)


def test_area_definition_against_a_slow_count():
    first, second = blobs(7), blobs(8)
    spacing = np.array([3.0, 0.7, 0.7])
    parts = [surface_elements(mask, spacing) for mask in (first, second)]
    points = [np.argwhere(where) * spacing for where, _ in parts]
    weights = [area[where] for where, area in parts]
    table = np.sqrt(((points[0][:, None] - points[1][None]) ** 2).sum(-1))
    there, back = table.min(axis=1), table.min(axis=0)
    expected = (weights[0][there <= 1.0].sum() + weights[1][back <= 1.0].sum()) / (weights[0].sum() + weights[1].sum())
    found = surface_dice(first, second, spacing_mm=spacing, tolerance_mm=1.0, definition="areas").value
    assert found == pytest.approx(expected)
