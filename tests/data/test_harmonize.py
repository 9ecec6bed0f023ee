"""Harmonisers as laws: grey units do not matter, learning uses training images alone, files give back the same."""

import numpy as np
import pytest

from radfoundry import registry
from radfoundry.data import harmonize
from radfoundry.data.harmonize_bias import BiasField
from radfoundry.data.harmonize_grey import Histogram, Nyul, Stripe
from radfoundry.data.harmonize_spectrum import Spectrum
from radfoundry.records import InputError
from radfoundry.volume import Volume

METHODS = ("zscore", "nyul", "histogram", "stripe", "n4", "spectrum")
OPTIONS = {"n4": {"turns": 5}}


def scan(seed, *, gain=1.0, offset=0.0, curve=1.0, shape=(32, 36, 10), spacing=(4.0, 4.0, 8.0)):
    """An ellipsoid of three tissues in noise and air, in the grey units of some scanner."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(sum((axis / side) ** 2 for axis, side in zip(axes, (0.8, 0.85, 0.9), strict=True)))
    tissue = np.select([radius < 0.35, radius < 0.8, radius < 1.0], [2.0, 3.0, 1.5], 0.0)
    value = np.abs(tissue + rng.normal(0, 0.12, shape)) ** curve
    return Volume.of((gain * value + offset).astype(np.float32), np.diag([*spacing, 1.0]))


def fitted(name, images):
    return harmonize.fit([(name, OPTIONS.get(name, {}))], images)


@pytest.fixture(scope="module")
def training():
    return [scan(seed, gain=gain, curve=curve) for seed, gain, curve in ((0, 1, 1), (1, 500, 1.2), (2, 40, 0.8))]


@pytest.fixture(scope="module")
def chains(training):
    return {name: fitted(name, training) for name in METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_grid_stays_and_input_is_left_alone(chains, name):
    image = scan(7)
    before = image.array.copy()
    made = chains[name].apply(image)
    assert made.geometry.matches(image.geometry) and made.array.dtype == np.float32
    assert np.isfinite(made.array).all() and np.array_equal(image.array, before)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "n4"])
def test_grey_units_of_the_scanner_do_not_matter(chains, name):
    plain, changed = chains[name].apply(scan(7)), chains[name].apply(scan(7, gain=700.0, offset=-50.0))
    assert np.abs(plain.array - changed.array).max() < 2e-3 * np.ptp(plain.array)


def test_brightness_passes_through_n4(chains):
    plain, changed = chains["n4"].apply(scan(7)), chains["n4"].apply(scan(7, gain=700.0))
    assert np.abs(700 * plain.array - changed.array).max() < 0.01 * changed.array.max()


@pytest.mark.parametrize("name", METHODS)
def test_a_flat_image_stays_flat(chains, name):
    made = chains[name].apply(Volume.of(np.full((12, 12, 4), 5.0, np.float32), np.eye(4)))
    assert np.isfinite(made.array).all() and float(np.ptp(made.array)) < 1e-5


@pytest.mark.parametrize("name", METHODS)
def test_order_of_training_images_does_not_matter_and_a_file_gives_back_the_same(chains, training, name, tmp_path):
    image = scan(7)
    made = chains[name].apply(image).array
    assert np.allclose(fitted(name, training[::-1]).apply(image).array, made, atol=1e-5)
    harmonize.write(chains[name], tmp_path / "h.safetensors")
    assert np.array_equal(harmonize.read(tmp_path / "h.safetensors").apply(image).array, made)


@pytest.mark.parametrize("name", ["nyul", "histogram", "spectrum"])
def test_what_is_learned_depends_on_the_training_images(training, chains, name):
    other = fitted(name, [scan(seed, curve=3.0) for seed in (4, 5, 6)])
    assert not np.allclose(other.apply(scan(7)).array, chains[name].apply(scan(7)).array, atol=1e-2)


@pytest.mark.parametrize("name", ["nyul", "histogram", "zscore", "stripe"])
def test_twice_is_once(chains, name):
    mask = scan(7).array[0] > 1  # without one, Otsu's threshold finds slightly other tissue on the new scale
    once = chains[name].apply(scan(7), mask=mask)
    again = chains[name].apply(once, mask=mask)
    assert np.abs(again.array - once.array)[0][mask].max() < 0.01 * np.ptp(once.array)


def test_any_rising_curve_is_undone_by_histogram_matching(training):
    """A scanner's image filter bends grey values; quantiles do not care, a straight map does."""
    mask = scan(7).array[0] > 0.8
    bent = Volume.of(np.exp(scan(7).array[0]), scan(7).affine)
    chain = fitted("histogram", training)
    plain, found = chain.apply(scan(7), mask=mask).array[0][mask], chain.apply(bent, mask=mask).array[0][mask]
    inner = (plain > np.quantile(plain, 0.02)) & (plain < np.quantile(plain, 0.98))
    assert np.abs(plain - found)[inner].max() < 0.02
    straight = fitted("zscore", training)
    gap = straight.apply(scan(7), mask=mask).array[0][mask] - straight.apply(bent, mask=mask).array[0][mask]
    assert np.abs(gap).max() > 0.5


def test_nyul_puts_every_landmark_on_the_standard_scale(training):
    chain = fitted("nyul", training)
    learned: Nyul = chain.steps[0]
    image = scan(9, gain=12.0)
    mask = image.array[0] > 6
    made = chain.apply(image, mask=mask).array[0]
    assert np.percentile(made[mask], learned.percentiles) == pytest.approx(learned.standard, abs=0.01)
    order = np.argsort(image.array.ravel(), kind="stable")
    assert (np.diff(made.ravel()[order]) >= -1e-6).all(), "brighter stays brighter"


def test_stripe_finds_the_named_peak():
    """Two tissues at 2 (few voxels) and 3 (many), or the other way round: the stripe sits where it was asked to."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(100, 1, 6000), rng.normal(140, 1, 2000), np.zeros(8000)]).reshape(20, 20, 40)
    image = Volume.of(values.astype(np.float32), np.eye(4))
    for peak, centre in (("largest", 100.0), ("brightest", 140.0)):
        made = Stripe(peak).apply(image).array
        assert made[image.array > 90].min() < 0 < made.max()
        zero = image.array[np.abs(made) < 0.3]
        assert abs(float(zero.mean()) - centre) < 1.0


def test_n4_takes_out_a_known_field():
    image = scan(3)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in image.shape], indexing="ij")
    truth = np.exp(0.4 * axes[0] - 0.3 * axes[1] ** 2)
    shaded = Volume.of(image.array[0] * truth, image.affine)
    inside = image.array[0] > 0.8
    fit = BiasField(turns=15)
    found = fit.field(shaded)[inside]
    assert np.corrcoef(np.log(found), np.log(truth[inside]))[0, 1] > 0.95
    mended = fit.apply(shaded).array[0]
    middle = (image.array[0] > 2.6) & (image.array[0] < 3.4)

    def variation(array):
        return array[middle].std() / array[middle].mean()

    assert variation(mended) < 0.5 * variation(shaded.array[0])
    with pytest.raises(InputError, match="put n4 before"):
        BiasField().apply(Volume.of(image.array[0] - 1, image.affine))


def test_spectrum_equals_the_fast_fourier_transform_where_both_can():
    """On a grid that fills the box, replacing the slow waves is what cutting into numpy's spectrum does."""
    images = [scan(seed, shape=(24, 24, 12), spacing=(5.0, 5.0, 10.0)) for seed in range(4)]
    learned = Spectrum.fit(images[:3], wavelength_mm=40.0)
    image = images[3]
    low, high = np.percentile(image.array, [0.5, 99.5])
    spectrum = np.fft.fftn((image.array[0] - low) / (high - low))
    scaled = [(i.array[0] - np.percentile(i.array, 0.5)) / np.ptp(np.percentile(i.array, [0.5, 99.5])) for i in images]
    mean = np.exp(np.mean([np.log(np.abs(np.fft.fftn(s)) / s.size + 1e-6) for s in scaled[:3]], axis=0))
    own = np.abs(spectrum) / spectrum.size + 1e-6
    frequency = np.meshgrid(
        *[np.fft.fftfreq(n, d) for n, d in zip((24, 24, 12), (5, 5, 10), strict=True)], indexing="ij"
    )
    slow = np.sqrt(sum(axis**2 for axis in frequency)) <= 1 / 40 + 1e-12
    expected = np.fft.ifftn(np.where(slow, spectrum * np.clip(mean / own, 0.25, 4), spectrum)).real
    found = learned.apply(image).array[0]
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99999


def test_spectrum_without_a_share_is_the_z_score_and_small_detail_always_stays(training):
    image = scan(7)
    none = harmonize.fit([("spectrum", {"share": 0.0})], training).apply(image)
    assert np.allclose(none.array, fitted("zscore", training).apply(image).array, atol=1e-3)
    detail = np.zeros(image.shape, np.float32)
    detail[::2] = 0.5
    sharper = Volume.of(image.array[0] + detail * (image.array[0] > 1), image.affine)
    assert fitted("spectrum", training).apply(sharper).array.std() > 0


def test_a_chain_fits_each_step_on_what_the_one_before_made(training):
    chain = harmonize.fit([("n4", {"turns": 5}), ("nyul", {})], training)
    mended = [BiasField(turns=5).apply(image) for image in training]
    assert chain.steps[1] == Nyul.fit(mended)
    assert chain.names == ("n4", "nyul")


def test_two_dimensional_images_and_masks(training):
    film = Volume.of(scan(5).array[0, :, :, 5], np.eye(4) * [4, 4, 1, 1])
    for name in METHODS:
        made = fitted(name, [film, film, film]).apply(film, mask=film.array[0] > 1)
        assert made.shape == film.shape and np.isfinite(made.array).all()


def test_refusals_say_what_to_do(training, tmp_path):
    with pytest.raises(InputError, match="2 training images are too few"):
        Histogram.fit(training[:2])
    with pytest.raises(InputError, match="CT values are calibrated"):
        fitted("zscore", training).apply(Volume.of(scan(1).array[0], np.eye(4), units="HU"))
    with pytest.raises(InputError, match="the mask is empty"):
        fitted("nyul", training).apply(scan(1), mask=np.zeros(scan(1).shape, bool))
    with pytest.raises(InputError, match="did you mean 'nyul'"):
        harmonize.fit([("nyull", {})], training)
    with pytest.raises(InputError, match="did you mean 'turns'"):
        harmonize.fit([("n4", {"turn": 3})], training)
    with pytest.raises(InputError, match="a training image is flat"):
        Nyul.fit([*training, Volume.of(np.ones((9, 9, 9)), np.eye(4))])
    (tmp_path / "h.safetensors").write_text("no")
    with pytest.raises(InputError, match="not a fitted harmoniser"):
        harmonize.read(tmp_path / "h.safetensors")


def test_every_name_in_the_registry_can_be_fitted_and_restored():
    for name in registry.entries("harmonizers"):
        kind = registry.resolve("harmonizers", name)
        assert all(callable(getattr(kind, part)) for part in ("fit", "apply", "record", "arrays", "restored"))
