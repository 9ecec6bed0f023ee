"""Laws of new grids; scipy's map_coordinates and nibabel are the judges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nibabel.spatialimages import SpatialImage
from scipy import ndimage
from volume_strategies import ORIENTATIONS, affines, same, volumes

from radfoundry.data.interpolation import anywhere
from radfoundry.data.resample import fit, resample, resample_to
from radfoundry.records import InputError
from radfoundry.volume import Geometry, Volume, points_to_voxels, points_to_world

few = settings(max_examples=40, deadline=None)
SPACING = st.tuples(*[st.floats(0.4, 5.0)] * 3)
FLOATS = ["f4", "i2", "u1"]


def grid_points(shape):
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)


def judged(volume, grid, order, mode="nearest", cval=0.0):
    """The slow, plain way: every new voxel centre to mm, to old voxel numbers, to a value."""
    at = points_to_voxels(volume.affine, points_to_world(grid.affine, grid_points(grid.shape)))
    channels = [
        ndimage.map_coordinates(channel.astype(float), at.T, order=order, mode=mode, cval=cval).reshape(grid.shape)
        for channel in volume.array
    ]
    return np.stack(channels), at.reshape(*grid.shape, 3)


@few
@given(volumes(sheared=True), st.sampled_from([0, 1, 3]))
def test_the_spacing_it_has_changes_nothing(volume, order):
    assert resample(volume, volume.spacing_mm, order=order) is volume
    assert resample_to(volume, volume.geometry, order=order) is volume
    assert fit(volume, volume.shape) is volume


@few
@given(volumes(kinds=["f4"], longest=12), SPACING)
def test_linear_resampling_is_that_of_scipy(volume, spacing):
    made = resample(volume, spacing, order=1, antialias=False)
    expected, _ = judged(volume, made.geometry, 1)
    assert made.array.dtype == np.float32
    assert np.allclose(made.array, expected, atol=0.05)  # values reach several thousand, float32


@few
@given(volumes(sheared=True), SPACING)
def test_the_field_of_view_stays_where_it_is(volume, spacing):
    made = resample(volume, spacing, order=0)
    ends = np.array([[-0.5] * 3, [0.0] * 3]), np.array([np.array(volume.shape) / 2 - 0.5])
    centre = points_to_world(volume.affine, ends[1])
    assert np.allclose(points_to_world(made.affine, np.array([np.array(made.shape) / 2 - 0.5])), centre, atol=1e-6)
    wanted = np.where(np.array(volume.shape) == 1, volume.spacing_mm, spacing)
    assert np.allclose(made.spacing_mm, wanted)
    covered = np.array(made.shape) * made.spacing_mm
    before = np.array(volume.shape) * volume.spacing_mm
    assert (np.abs(covered - before) <= np.maximum(wanted / 2, wanted - before) + 1e-6).all()
    turned = made.affine[:3, :3] / made.spacing_mm
    assert np.allclose(turned, volume.affine[:3, :3] / volume.spacing_mm)


@few
@given(volumes(kinds=["u1", "i2", "u2", "i4", "u4", "i8"], sheared=True), SPACING, affines(sheared=True))
def test_label_maps_get_no_new_labels_and_keep_their_type(volume, spacing, affine):
    known = set(np.unique(volume.array).tolist())
    moved = affine.copy()
    moved[:3, 3] = points_to_world(volume.affine, np.zeros((1, 3)))[0]
    for made in (resample(volume, spacing, order=0), resample_to(volume, Geometry((5, 6, 7), moved), order=0)):
        assert made.array.dtype == volume.array.dtype
        if volume.array.dtype != np.int64:  # ITK's background value passes through a double
            assert set(np.unique(made.array).tolist()) <= known


@few
@given(volumes(kinds=["f4"], sheared=True, most_channels=2), affines(sheared=True), st.sampled_from([0, 1]))
def test_any_grid_is_read_off_as_scipy_does(volume, affine, order):
    target = affine.copy()
    middle = points_to_world(volume.affine, np.array([np.array(volume.shape) / 2 - 0.5]))[0]
    target[:3, 3] = middle - target[:3, :3] @ np.array([2, 2, 2])
    grid = Geometry((5, 5, 5), target)
    made = resample_to(volume, grid, order=order, outside=-7777.0, antialias=False)
    expected, at = judged(volume, grid, order)
    outside = ((at < -0.5) | (at > np.array(volume.shape) - 0.5)).any(-1)
    # within rounding of a boundary either answer is right
    edge = np.abs(np.concatenate([at + 0.5, at - np.array(volume.shape) + 0.5], -1)).min(-1) < 1e-3
    tie = (np.abs(at - np.floor(at) - 0.5) < 1e-3).any(-1) if order == 0 else np.zeros_like(edge)
    for seen, wanted in zip(made.array, expected, strict=True):
        inside = ~outside & ~edge & ~tie
        assert np.allclose(seen[inside], wanted[inside], atol=0.5)
        assert (seen[outside & ~edge] == -7777.0).all()


@few
@given(volumes(kinds=["f4", "i2"]), st.sampled_from(ORIENTATIONS))
def test_turning_is_resampling_and_is_what_nibabel_does(volume, orientation):
    turned = volume.reorient(orientation)
    assert np.array_equal(resample_to(volume, turned.geometry, order=0).array, turned.array)
    image = SpatialImage(np.moveaxis(volume.array, 0, -1), volume.affine)
    judge = image.as_reoriented(ornt_transform(io_orientation(volume.affine), axcodes2ornt(orientation)))
    assert np.array_equal(np.moveaxis(np.asarray(judge.dataobj), -1, 0), turned.array)
    assert np.allclose(judge.affine, turned.affine, atol=1e-4)


@few
@given(volumes(kinds=["i2"], sheared=True), st.tuples(*[st.integers(1, 14)] * 3))
def test_fitting_keeps_every_voxel_in_its_place(volume, shape):
    made = fit(volume, shape, outside=12345)
    assert made.shape == tuple(n if have > 1 else 1 for n, have in zip(shape, volume.shape, strict=True))
    at = points_to_voxels(volume.affine, points_to_world(made.affine, grid_points(made.shape)))
    assert np.abs(at - np.round(at)).max() < 1e-6
    at = np.round(at).astype(int)
    inside = ((at >= 0) & (at < volume.shape)).all(1)
    seen = made.array.reshape(len(made.array), -1)
    assert np.array_equal(seen[:, inside], volume.array[(slice(None), *at[inside].T)])
    assert (seen[:, ~inside] == 12345).all()


@few
@given(volumes(kinds=["i2", "f4"], longest=11))
def test_cutting_after_filling_gives_the_image_back(volume):
    larger = tuple(n + 4 if n > 1 else 1 for n in volume.shape)  # even differences keep the centre
    assert same(fit(fit(volume, larger), volume.shape), volume, tolerance_mm=1e-6)


def test_both_ways_of_interpolating_agree():
    rng = np.random.default_rng(0)
    array = rng.standard_normal((20, 22, 24)).astype(np.float32)
    volume = Volume.of(array, np.diag([1.0, 1.5, 2.0, 1.0]))
    made = resample(volume, (1.3, 1.1, 2.9), antialias=False)
    step = np.linalg.solve(volume.affine, made.affine)
    assert np.allclose(anywhere(array, step, made.shape, order=1, outside=None), made.array[0], atol=1e-4)


def test_a_straight_line_of_grey_values_stays_straight():
    ramp = np.broadcast_to(np.arange(40.0)[:, None, None], (40, 5, 5)).astype(np.float32)
    volume = Volume.of(ramp, np.eye(4))
    for order in (1, 3):
        made = resample(volume, (2.5, 1, 1), order=order)
        wanted = points_to_world(made.affine, np.array([[n, 0, 0] for n in range(made.shape[0])]))[:, 0]
        middle = slice(3, -3)
        assert np.allclose(made.array[0, middle, 2, 2], wanted[middle], atol=0.05)


def test_fine_stripes_do_not_come_back_as_broad_ones():
    """One voxel light, one dark: at three times the spacing nothing but grey is left (Nyquist)."""
    stripes = np.broadcast_to((np.arange(90) % 2 * 100.0)[:, None, None], (90, 4, 4)).astype(np.float32)
    volume = Volume.of(stripes, np.eye(4))
    blurred = resample(volume, (3.1, 1, 1)).array[0, 3:-3]
    folded = resample(volume, (3.1, 1, 1), antialias=False).array[0, 3:-3]
    assert blurred.std() < 0.1 * folded.std()
    assert abs(blurred.mean() - 50) < 2


@pytest.mark.parametrize("factor", [1.5, 2.0, 4.0])
def test_the_blur_has_the_width_of_the_new_voxel(factor):
    """A point of 1 voxel FWHM becomes one of `factor` voxels (Cardoso 2015): variances add."""
    point = np.zeros((81, 1, 1), np.float32)
    point[40] = 1
    at = np.arange(81) - 40.0
    from radfoundry.data.interpolation import blur_sigma, blurred

    made = blurred(point[None], [factor, 1, 1])[0, :, 0, 0]
    assert abs(made.sum() - 1) < 1e-5
    width = np.sqrt((made * at**2).sum() * 8 * np.log(2) + 1)
    assert abs(width - factor) < 0.06 * factor  # the kernel is cut off at three sigma
    assert blur_sigma(factor) > 0


def test_air_outside_is_the_darkest_value():
    volume = Volume.of(np.full((4, 4, 4), -1000, np.int16), np.eye(4), units="HU")
    far = Geometry((2, 2, 2), np.diag([1.0, 1, 1, 1]) + np.array([[0, 0, 0, 99]] + [[0] * 4] * 3))
    assert (resample_to(volume, far, order=0).array == -1000).all()
    assert (fit(volume, (8, 8, 8)).array == -1000).all()


def test_pictures_keep_their_one_slice():
    picture = Volume(np.random.default_rng(0).random((3, 40, 30, 1)), np.diag([0.5, 0.5, 1.0, 1.0]))
    assert resample(picture, (1, 1, 1)).shape == (20, 15, 1)
    assert resample(picture, (1, 1, 7)).spacing_mm == (1.0, 1.0, 1.0)
    assert fit(picture, (32, 32, 32)).shape == (32, 32, 1)


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1, 1), (1, -1, 1), (np.nan, 1, 1), (np.inf, 1, 1)])
def test_spacings_that_cannot_be(spacing):
    with pytest.raises(InputError, match="positive lengths"):
        resample(Volume.of(np.zeros((3, 3, 3)), np.eye(4)), spacing)


def test_orders_that_are_not_there():
    with pytest.raises(InputError, match="order 2"):
        resample(Volume.of(np.zeros((3, 3, 3)), np.eye(4)), (2, 2, 2), order=2)
