"""Geometry laws: every voxel stays where it is in the patient, whatever is done to the array."""

import nibabel.orientations as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.records import InputError
from radfoundry.volume import Volume, orientation_of, points_to_voxels, points_to_world

angles = st.floats(-0.6, 0.6)
sizes = st.tuples(*[st.integers(1, 6)] * 3)


def rotation(a, b, c):
    ca, sa, cb, sb, cc, sc = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(c), np.sin(c)
    x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return x @ y @ z


@st.composite
def affines(draw):
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    spacing = draw(st.tuples(*[st.floats(0.3, 7.0)] * 3))
    affine = np.eye(4)
    affine[:3, :3] = rotation(draw(angles), draw(angles), draw(angles)) @ (np.eye(3)[:, order] * signs) * spacing
    affine[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return affine


@st.composite
def volumes(draw):
    shape = draw(sizes)
    array = np.arange(np.prod(shape) * 2, dtype=np.int16).reshape(2, *shape)
    return Volume(array, draw(affines()))


def places(volume):
    """Every voxel's world position by its value in the first channel."""
    index = np.argwhere(np.ones(volume.shape, dtype=bool))
    where = points_to_world(volume.affine, index)
    return dict(zip(volume.array[0][tuple(index.T)].tolist(), where.tolist(), strict=True))


@given(volumes(), st.sampled_from(["RAS", "LPS", "PIR", "SAL", "ILA"]))
@settings(max_examples=60, deadline=None)
def test_reorienting_moves_no_voxel_in_the_patient(volume, orientation):
    turned = volume.reorient(orientation)
    assert turned.orientation == orientation
    before, after = places(volume), places(turned)
    assert before.keys() == after.keys()
    assert max(np.abs(np.subtract(before[key], after[key])).max() for key in before) < 1e-6


@given(volumes())
@settings(max_examples=40, deadline=None)
def test_reorienting_back_is_identity(volume):
    back = volume.reorient("LPI").reorient(volume.orientation)
    assert np.array_equal(back.array, volume.array)
    assert np.allclose(back.affine, volume.affine, atol=1e-9)


@given(affines())
@settings(max_examples=100, deadline=None)
def test_orientation_agrees_with_nibabel(affine):
    assert orientation_of(affine) == "".join(oracle.aff2axcodes(affine))


@given(volumes(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_crop_keeps_every_voxel_where_it_was(volume, data):
    start = [data.draw(st.integers(0, n - 1)) for n in volume.shape]
    size = [data.draw(st.integers(1, n - a)) for n, a in zip(volume.shape, start, strict=True)]
    before, after = places(volume), places(volume.crop(start, size))
    assert len(after) == np.prod(size)
    assert all(np.allclose(before[key], where, atol=1e-6) for key, where in after.items())


@given(affines(), st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=1, max_size=5))
def test_voxels_and_millimetres_are_inverse(affine, points):
    assert np.allclose(points_to_voxels(affine, points_to_world(affine, np.array(points))), points, atol=1e-6)


@pytest.mark.parametrize(
    ("array", "affine", "said"),
    [
        (np.zeros((1, 2, 2)), np.eye(4), "4 axes"),
        (np.zeros((1, 0, 2, 2)), np.eye(4), "no voxels"),
        (np.zeros((1, 2, 2, 2)), np.diag([1.0, 0, 1, 1]), "singular"),
        (np.zeros((1, 2, 2, 2)), np.diag([1.0, np.nan, 1, 1]), "finite"),
        (np.zeros((1, 2, 2, 2)), np.ones((4, 4)), "last row"),
        (np.zeros((1, 2, 2, 2)), np.eye(3), "4x4"),
    ],
)
def test_impossible_volumes_are_refused(array, affine, said):
    with pytest.raises(InputError, match=said):
        Volume(array, affine)


def test_a_crop_outside_and_a_wrong_orientation_are_refused():
    volume = Volume.of(np.zeros((4, 4, 4)), np.eye(4))
    with pytest.raises(InputError, match="leaves the grid"):
        volume.crop([2, 0, 0], [3, 1, 1])
    for wrong in ("RAX", "RRS", "RA"):
        with pytest.raises(InputError, match="orientation"):
            volume.reorient(wrong)


def test_same_grid_is_recognised_and_another_is_not():
    first = Volume.of(np.zeros((4, 4, 4)), np.eye(4))
    moved = np.eye(4)
    moved[0, 3] = 0.01
    assert first.geometry.matches(Volume.of(np.ones((4, 4, 4)), np.eye(4)).geometry)
    assert not first.geometry.matches(Volume.of(np.ones((4, 4, 4)), moved).geometry)


def test_the_affine_cannot_be_changed_from_outside():
    affine = np.eye(4)
    volume = Volume.of(np.zeros((2, 2, 2)), affine)
    affine[0, 0] = 9
    assert volume.spacing_mm == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 2
