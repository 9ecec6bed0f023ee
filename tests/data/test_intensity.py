"""Laws of the intensity rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_strategies import volumes

from radfoundry import registry
from radfoundry.data.intensity import otsu_threshold, percentile, sample, unchanged, window, zscore
from radfoundry.records import InputError
from radfoundry.volume import Volume

few = settings(max_examples=40, deadline=None)
KINDS = ["u1", "i2", "u2", "i4", "f4", "f8"]


def head(seed=0, *, tissue=600.0, spread=40.0, air=10.0):
    """A ball of tissue in air: 0.52 of the cube."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 40)] * 3, indexing="ij"))
    inside = (grid**2).sum(0) < 1
    array = np.where(inside, rng.normal(tissue, spread, inside.shape), np.abs(rng.normal(0, air, inside.shape)))
    return Volume.of(array.astype(np.float32), np.eye(4)), inside


@few
@given(volumes(kinds=KINDS))
def test_percentiles_land_between_0_and_1_and_keep_the_order(volume):
    made = percentile(volume)
    assert made.array.dtype == np.float32
    assert made.array.min() >= 0
    assert made.array.max() <= 1
    order = np.argsort(volume.array.ravel(), kind="stable")
    assert (np.diff(made.array.ravel()[order]) >= -1e-6).all()


@few
@given(volumes(kinds=["f4"]), st.floats(0.01, 100), st.floats(-1000, 1000))
def test_gain_and_offset_of_the_scanner_do_not_matter(volume, gain, offset):
    other = volume.with_array((volume.array.astype(float) * gain + offset).astype(np.float64))
    for rule in (percentile, zscore):
        assert np.allclose(rule(other).array, rule(volume).array, atol=5e-3)


@few
@given(volumes(kinds=KINDS, sheared=True))
def test_rules_leave_the_input_and_the_geometry_alone(volume):
    before = volume.array.copy()
    for rule in (unchanged, percentile, zscore, window):
        made = rule(volume)
        assert np.array_equal(volume.array, before)
        assert made.geometry.matches(volume.geometry)
        assert np.isfinite(made.array).all()


def test_zscore_in_a_mask_is_mean_0_and_deviation_1_there():
    volume, inside = head()
    made = zscore(volume, mask=inside).array[0][inside]
    assert abs(made.mean()) < 1e-4
    assert abs(made.std() - 1) < 1e-4


def test_zscore_finds_the_patient_by_itself():
    volume, inside = head()
    made = zscore(volume).array[0]
    assert abs(made[inside].mean()) < 0.02
    assert abs(made[inside].std() - 1) < 0.02


@pytest.mark.parametrize("tissue", [200.0, 600.0, 3000.0])
def test_otsu_parts_tissue_from_air(tissue):
    volume, inside = head(tissue=tissue, spread=tissue / 15)
    found = volume.array[0] > otsu_threshold(volume.array)
    assert (found == inside).mean() > 0.999


def test_otsu_against_its_definition():
    """Slow way: of all thresholds between bins, the one with the least variance within the two classes."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 500), rng.normal(7, 1.5, 300)])
    values = np.clip(values, None, np.percentile(values, 99.9))
    edges = np.linspace(values.min(), values.max(), 257)

    def within(threshold):
        low, high = values[values <= threshold], values[values > threshold]
        return (low.size * low.var() + high.size * high.var()) if low.size and high.size else np.inf

    best = edges[np.argmin([within(edge) for edge in edges])]
    assert abs(otsu_threshold(values) - best) <= 2 * (edges[1] - edges[0])


def test_one_single_value():
    flat = Volume.of(np.full((4, 4, 4), 7, np.int16), np.eye(4))
    for rule in (percentile, zscore):
        assert (rule(flat).array == 0).all()


def test_hounsfield_window_is_the_textbook_line():
    ct = Volume.of(np.array([-1024.0, -160, 40, 240, 3000]).reshape(5, 1, 1), np.eye(4), units="HU")
    assert np.allclose(window(ct, center_hu=40, width_hu=400).array.ravel(), [0, 0, 0.5, 1, 1])


def test_channels_share_a_scale_unless_told_otherwise():
    array = np.stack([np.linspace(0, 1, 64), np.linspace(0, 100, 64)]).reshape(2, 4, 4, 4)
    volume = Volume(array, np.eye(4))
    assert percentile(volume, low=0, high=100).array[0].max() < 0.02
    assert percentile(volume, low=0, high=100, per_channel=True).array[0].max() == 1


def test_the_sample_is_spread_evenly_and_always_the_same():
    array = np.broadcast_to(np.arange(256.0), (128, 128, 256)).copy()
    seen = sample(array)
    assert 100_000 < seen.size < 140_000
    counts = np.bincount(seen.astype(int), minlength=256)
    assert counts.min() > 0.9 * counts.mean()
    assert np.array_equal(sample(array), seen)
    # a view with the first axis running fastest is sampled without a copy, every column as often
    turned = np.bincount(sample(array.transpose(2, 1, 0)).astype(int), minlength=256)
    assert turned.min() > 0.9 * turned.mean()


@pytest.mark.parametrize(
    "call",
    [
        lambda v: percentile(v, low=50, high=50),
        lambda v: percentile(v, low=-1, high=50),
        lambda v: window(v, width_hu=0),
        lambda v: zscore(v, mask=np.zeros(v.shape, bool)),
        lambda v: zscore(v, mask=np.ones((1, 1, 1), bool)),
    ],
)
def test_settings_that_cannot_be(call):
    with pytest.raises(InputError):
        call(Volume.of(np.arange(27.0).reshape(3, 3, 3), np.eye(4)))


@pytest.mark.parametrize("name", sorted(registry.INTENSITY_RULES))
def test_every_registered_rule_is_there(name):
    volume, _ = head()
    assert registry.resolve("intensity-rules", name)(volume).shape == volume.shape
