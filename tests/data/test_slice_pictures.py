"""What a rater sees of a scan: independent of units, in order of depth, and telling noise from detail."""

import numpy as np
import pytest
from scipy import ndimage

from radfoundry.data.slice_pictures import CHANNELS, MEASURES, chosen_slices, look, measures_of, pictures_of
from radfoundry.records import InputError
from radfoundry.volume import Volume

AFFINE = np.diag([1.5, 1.5, 4.0, 1.0])


def body(noise=0.02, size=(90, 80, 11), seed=0):
    rng = np.random.default_rng(seed)
    x, y = np.mgrid[: size[0], : size[1]]
    inside = np.hypot((x - size[0] / 2) / 30, (y - size[1] / 2) / 26) < 1
    detail = 1 + 0.2 * ndimage.gaussian_filter(rng.standard_normal(size), (2, 2, 0)) / 0.14
    return np.hypot(inside[..., None] * detail + rng.normal(0, noise, size), rng.normal(0, noise, size)).astype("f4")


def test_units_do_not_matter_and_shapes_are_as_promised():
    one, other = (look(Volume.of(body() * scale, AFFINE)) for scale in (1.0, 730.0))
    assert one.pictures.shape == (7, len(CHANNELS), 64, 64) and one.measures.shape == (7, len(MEASURES))
    np.testing.assert_allclose(one.pictures, other.pictures, atol=1e-3)
    np.testing.assert_allclose(one.measures, other.measures, atol=1e-3)


def test_the_slice_axis_is_found_and_slices_come_in_order_of_depth():
    image = body()
    turned = Volume.of(image.transpose(2, 0, 1).copy(), np.diag([4.0, 1.5, 1.5, 1.0]))
    np.testing.assert_allclose(look(turned).pictures, look(Volume.of(image, AFFINE)).pictures, atol=1e-4)
    assert chosen_slices(3).tolist() == [0, 0, 1, 1, 1, 2, 2] and chosen_slices(1).tolist() == [0] * 7


def test_shrinking_keeps_the_mean_but_not_at_the_price_of_noise():
    calm, noisy = (pictures_of(body(noise=noise, size=(200, 180, 3))) for noise in (0.02, 0.2))
    lonely = CHANNELS.index("lonely pixels")
    middle = (slice(None), lonely, slice(26, 38), slice(26, 38))
    # A tenfold noise is one step of the logarithm, also after shrinking to a third.
    assert noisy[middle].mean() - calm[middle].mean() == pytest.approx(np.log10(0.204 / 0.024), abs=0.15)
    assert calm[:, 0, 26:38, 26:38].mean() == pytest.approx(noisy[:, 0, 26:38, 26:38].mean(), rel=0.25)


def test_noise_is_measured_in_every_slice():
    calm, noisy = (measures_of(body(noise=noise), in_plane_mm=1.5) for noise in (0.02, 0.15))
    assert (noisy - calm)[:, MEASURES.index("noise")].mean() > 0.5


@pytest.mark.parametrize(
    "image", [np.zeros((40, 40, 5)), np.full((40, 40, 5), np.nan), np.ones((10, 40, 5)) + np.eye(10, 40)[..., None]]
)
def test_what_cannot_be_judged_is_refused(image):
    with pytest.raises(InputError):
        look(Volume.of(image.astype("f4"), AFFINE))
