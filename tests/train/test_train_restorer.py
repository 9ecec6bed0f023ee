"""The restorer: trained on nothing but disturbed images, it takes shading out and leaves detail alone."""

import numpy as np
import pytest
import torch

from radfoundry.data import harmonize
from radfoundry.nets.restorer import SlowField
from radfoundry.records import InputError
from radfoundry.train.restorer import Restorer, disturbed, in_tissue
from radfoundry.volume import Volume


def block(seed, *, shape=(28, 28, 20), spacing=8.0):
    """A body of random tissues with an air border."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    bumps = np.kron(
        rng.uniform(0.85, 1.15, (7, 7, 5)), np.ones([n // k for n, k in zip(shape, (7, 7, 5), strict=True)])
    )
    return Volume.of((100 * bumps * (radius < 0.95)).astype(np.float32), np.diag([spacing] * 3 + [1.0]))


def shaded(volume, slope):
    axis = np.linspace(-1, 1, volume.shape[0])[:, None, None]
    return volume.with_array((volume.array[0] * np.exp(slope * axis)).astype(np.float32))


@pytest.fixture(scope="module")
def trained():
    return Restorer.fit([block(seed) for seed in range(6)], steps=100, coarse_mm=8.0)


def lean(volume):
    """Right-left slope of the logarithm of tissue brightness over the field of view."""
    inside = volume.array[0] > np.percentile(volume.array, 60)
    place = np.broadcast_to(np.linspace(-1, 1, volume.shape[0])[:, None, None], volume.shape)[inside]
    return np.polyfit(place, volume.array[0][inside], 1)[0] / volume.array[0][inside].std()


@pytest.mark.slow
def test_shading_is_taken_out(trained):
    image = block(20)
    before = [abs(lean(shaded(image, slope))) for slope in (-0.4, 0.4)]
    after = [abs(lean(trained.apply(shaded(image, slope)))) for slope in (-0.4, 0.4)]
    assert np.mean(after) < 0.6 * np.mean(before)


@pytest.mark.slow
def test_grey_units_do_not_matter_and_the_grid_stays(trained):
    image = block(21)
    plain = trained.apply(image)
    changed = trained.apply(image.with_array(image.array[0] * 30))
    assert np.allclose(plain.array, changed.array, atol=1e-3)
    assert plain.geometry.matches(image.geometry) and plain.array.dtype == np.float32


@pytest.mark.slow
def test_detail_is_only_ever_multiplied_by_a_slow_field(trained):
    """Neighbouring voxels get nearly the same factor, so that a lesion of a few voxels keeps its contrast."""
    field = trained.field(block(22))
    assert np.abs(np.diff(field, axis=0)).max() < 0.25
    assert np.ptp(field) < 3.0


def test_the_same_seed_gives_the_same_net_and_a_file_gives_it_back(tmp_path):
    images = [block(seed, shape=(14, 14, 10), spacing=16.0) for seed in range(3)]
    first, again = (Restorer.fit(images, steps=2, coarse_mm=16.0, seed=5) for _ in range(2))
    assert np.array_equal(first.apply(images[0]).array, again.apply(images[0]).array)
    harmonize.write(harmonize.Chain(("restorer",), (first,)), tmp_path / "r.safetensors")
    image = block(23)
    assert np.array_equal(harmonize.read(tmp_path / "r.safetensors").apply(image).array, first.apply(image).array)


def test_untrained_it_changes_nothing():
    assert float(SlowField()(torch.rand(1, 1, 16, 16, 8)).abs().max()) == 0.0


def test_disturbing_changes_slow_waves_and_keeps_the_image_recognisable():
    images = torch.from_numpy(np.stack([block(seed).array for seed in (0, 1)])) / 100
    images = torch.nn.functional.pad(images, (2, 2, 2, 2, 2, 2))
    generator = torch.Generator().manual_seed(0)
    changed = disturbed(images, images.flip(0), coarse_mm=8.0, generator=generator)
    assert changed.shape == images.shape and bool(torch.isfinite(changed).all())
    flat = in_tissue(images).flatten(1)
    alike = torch.nn.functional.cosine_similarity(flat, in_tissue(changed).flatten(1))
    assert bool((alike > 0.6).all()) and not torch.allclose(changed, images)


def test_flat_images_and_refusals():
    flat = Volume.of(np.full((16, 16, 8), 3.0, np.float32), np.diag([8.0, 8.0, 8.0, 1.0]))
    untrained = Restorer(SlowField(), 8.0, 0, ())
    assert np.isfinite(untrained.apply(flat).array).all()
    with pytest.raises(InputError, match="2 training images are too few for restorer"):
        Restorer.fit([block(0), block(1)], steps=1)
    with pytest.raises(InputError, match="0 steps"):
        Restorer.fit([block(0)] * 3, steps=0)
