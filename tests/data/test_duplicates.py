"""Near-duplicates are found under every change that keeps the picture, and different pictures are not."""

import time

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom

from radfoundry.data.duplicates import near_duplicate_groups, same_images
from radfoundry.records import Acquisition, InputError, Series
from radfoundry.volume import Volume


def picture(seed, side=96):
    """A smooth random picture with detail, unlike any other seed's."""
    rng = np.random.default_rng(seed)
    broad, fine = (gaussian_filter(rng.standard_normal((side, side)), width) * width for width in (12, 3))
    return 100 + 60 * broad + 30 * fine


def image(array):
    return Volume.of(np.asarray(array, dtype=np.float32), np.eye(4))


CHANGES = {
    "equal": lambda a: a,
    "brighter": lambda a: 3 * a + 40,
    "left for right": lambda a: a[:, ::-1],
    "upside down": lambda a: a[::-1],
    "turned": lambda a: np.rot90(a),
    "turned back": lambda a: np.rot90(a, 3),
    "transposed": lambda a: a.T,
    "anti-transposed": lambda a: a[::-1, ::-1].T,
    "half turn": lambda a: a[::-1, ::-1],
    "smaller": lambda a: zoom(a, 0.5, order=1),
    "noisy": lambda a: a + np.random.default_rng(9).normal(0, 0.1 * a.std(), a.shape),
    "eight bits": lambda a: np.round(255 * (a - a.min()) / np.ptp(a)),
    "shifted a little": lambda a: np.roll(a, 1, axis=0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(change):
    others = [image(picture(seed)) for seed in range(1, 30)]
    volumes = [image(picture(0)), *others, image(CHANGES[change](picture(0)))]
    assert near_duplicate_groups(volumes) == [(0, 30)]


def test_different_pictures_are_not_and_order_does_not_matter():
    arrays = [picture(seed, side=64) for seed in range(300)]
    assert near_duplicate_groups(map(image, arrays)) == []
    twins = [*arrays[:50], arrays[7][::-1], arrays[7].T, arrays[3]]
    order = np.random.default_rng(0).permutation(len(twins))
    groups = near_duplicate_groups(image(twins[index]) for index in order)
    assert sorted(sorted(int(order[place]) for place in group) for group in groups) == [[3, 52], [7, 50, 51]]


def test_flat_and_empty_input():
    assert near_duplicate_groups([]) == []
    assert near_duplicate_groups([image(np.zeros((20, 20))), image(np.full((30, 20), 7.0))]) == []
    blobs = [np.pad(np.full((9, 9), 255.0), ((20, 20 + n), (20 + n, 20))) for n in range(3)]
    assert near_duplicate_groups(map(image, blobs)) == []  # masks resemble each other without being one picture
    with pytest.raises(InputError, match="expected 2D images"):
        near_duplicate_groups([image(np.zeros((4, 4, 4)))])


def test_a_thousand_images_take_seconds():
    arrays = np.random.default_rng(0).random((1000, 64, 64)).cumsum(1).cumsum(2)
    begin = time.process_time()
    near_duplicate_groups(map(image, arrays))
    assert time.process_time() - begin < 10


def test_series_with_equal_content_join_near_duplicates_and_masks_do_not():
    pictures = {"a": picture(1), "b": picture(2), "c": picture(1)[::-1]}

    def series(key, content, shape=(1, 96, 96, 1), **more):
        return Series(
            key,
            "p",
            "c",
            Acquisition(),
            shape,
            (1.0, 1.0, 1.0),
            content=content,
            loader=lambda s: image(pictures[s.key]),
            **more,
        )

    found = same_images(
        [
            series("a", "1"),
            series("b", "2"),
            series("c", "3"),
            series("m", "9", sequence="mask"),
            series("n", "9", sequence="mask"),
            series("v", "3", shape=(1, 9, 9, 9)),
            series("w", "3", shape=(1, 9, 9, 9)),
        ]
    )
    assert found == [("a", "c", "v", "w")]
