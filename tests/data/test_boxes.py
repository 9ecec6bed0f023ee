"""Boxes: read, checked against the image, moved between grids without loss, and hit by points."""

import numpy as np
import pytest

from radfoundry.data import boxes
from radfoundry.records import InputError


@pytest.mark.parametrize("text", ["1 2 3", "a b c d", "5 5 4 9", "1 2 nan 4", "1 2 3 4; 5 6"])
def test_text_that_is_no_box_is_refused(text):
    with pytest.raises(InputError, match="box"):
        boxes.parse_boxes(text)


def test_boxes_of_pictures_and_volumes_are_read_alike():
    found = boxes.parse_boxes("1 2 3 4; 5,6,0,7,8,1")
    assert found.tolist() == [[1, 2, 0, 3, 4, 1], [5, 6, 0, 7, 8, 1]]


def test_a_box_outside_the_image_is_refused_and_one_at_the_edge_is_cut():
    with pytest.raises(InputError, match="leaves the image of"):
        boxes.check_inside(boxes.parse_boxes("10 10 300 40"), (256, 256, 1))
    cut = boxes.check_inside(boxes.parse_boxes("-0.4 3 256.3 9"), (256, 256, 1))
    assert cut.tolist() == [[0, 3, 0, 256, 9, 1]]


def test_boxes_of_a_mask_are_those_of_its_parts():
    mask = np.zeros((10, 10, 4))
    mask[1:3, 2:5, 0:2] = 1
    mask[7:9, 7:8, 3:4] = 2
    mask[0, 9, 3] = 1
    found = boxes.boxes_of_mask(mask, fewest_voxels=2)
    assert sorted(found.tolist()) == [[1, 2, 0, 3, 5, 2], [7, 7, 3, 9, 8, 4]]


def test_moving_boxes_to_another_grid_and_back_changes_nothing():
    step = np.array([[-0.5, 0, 0, 40.25], [0, 0, 2.0, 1.0], [0, 1.5, 0, -3.0], [0, 0, 0, 1]])
    some = np.array([[3.0, 4, 5, 9, 6, 8], [0, 0, 0, 2, 2, 2]])
    there = boxes.moved_boxes(some, step)
    assert np.allclose(boxes.moved_boxes(there, np.linalg.inv(step)), some)
    lengths = (there[:, 3:] - there[:, :3])[0]
    assert np.allclose(lengths, [3.0, 6.0, 3.0])


def test_the_middle_of_a_one_voxel_box_is_that_voxel():
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    assert boxes.centres_mm(np.array([[5.0, 6, 7, 6, 7, 8]]), affine).tolist() == [[-10, 18, 28]]


def test_points_hit_boxes_they_lie_in():
    two = np.array([[0.0, 0, 0, 2, 2, 1], [5, 5, 0, 9, 9, 1]])
    hit = boxes.holds(two, np.array([[1, 1, 0.5], [4.5, 7, 0.5]]))
    assert hit.tolist() == [[True, False], [False, False]]
    assert boxes.holds(two, np.array([[4.5, 7, 0.5]]), margin=1.0).tolist() == [[False, True]]
