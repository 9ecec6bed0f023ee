"""Laws of preparation: pure, the same from the cache as computed, and never an old answer to a new question."""

import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_strategies import ORIENTATIONS, same, volumes

from radfoundry.data.prepare import Plan, cached_path, prepare, prepared
from radfoundry.data.store import content_hash
from radfoundry.records import Acquisition, InputError, Series
from radfoundry.volume import Volume

PLAN = Plan(spacing_mm=(2.0, 2.0, 2.0), shape=(16, 16, 16))


def head(seed=0):
    rng = np.random.default_rng(seed)
    return Volume.of(rng.integers(0, 900, (24, 30, 12)).astype(np.int16), np.diag([-1.5, 1.5, 3.0, 1.0]))


def series_of(volume, *, content="", repairs=(), loads=None):
    def load(series):
        if loads is not None:
            loads.append(series.key)
        return volume

    return Series(
        key="s1",
        patient="p1",
        case="c1",
        acquisition=Acquisition(),
        shape=volume.array.shape,
        spacing_mm=volume.spacing_mm,
        content=content,
        repairs=repairs,
        loader=load,
    )


@settings(max_examples=20, deadline=None)
@given(
    volumes(kinds=["i2", "f4"], longest=12),
    st.sampled_from([*ORIENTATIONS, None]),
    st.sampled_from([None, (2.0, 2.0, 2.0), (1.0, 3.0, 2.0)]),
    st.sampled_from([None, (8, 9, 10)]),
    st.sampled_from(["none", "percentile", "zscore", "window"]),
)
def test_the_result_is_what_the_plan_says(volume, orientation, spacing, shape, intensity):
    before = volume.array.copy()
    made = prepare(volume, Plan(orientation=orientation, spacing_mm=spacing, shape=shape, intensity=intensity))
    assert np.array_equal(volume.array, before)
    assert made.orientation == (orientation or volume.orientation)
    several = np.array(made.shape) > 1
    if spacing:
        assert np.allclose(np.array(made.spacing_mm)[several], np.array(spacing)[several])
    if shape:
        assert all(n in (1, wanted) for n, wanted in zip(made.shape, shape, strict=True))
    assert np.isfinite(made.array).all()


def test_a_mirrored_copy_on_disk_gives_the_same_picture():
    """The same head stored in any axis order and direction is prepared to the same voxels."""
    expected = prepare(head(), PLAN)
    for orientation in ORIENTATIONS:
        assert np.allclose(prepare(head().reorient(orientation), PLAN).array, expected.array, atol=1e-4)


def test_cached_is_computed_once_and_identical(tmp_path):
    loads = []
    series = series_of(head(), content=content_hash(head()), loads=loads)
    expected = prepare(head(), PLAN)
    for _ in range(3):
        assert same(prepared(series, PLAN, cache=tmp_path), expected, tolerance_mm=1e-9)
    assert len(loads) == 1
    assert same(prepared(series, PLAN), expected)


def test_another_image_or_plan_is_another_file(tmp_path):
    first = series_of(head(0), content=content_hash(head(0)))
    other = series_of(head(1), content=content_hash(head(1)))
    plans = [PLAN, replace(PLAN, intensity="zscore"), replace(PLAN, options={"low": 1.0}), replace(PLAN, shape=None)]
    seen = [prepared(series, plan, cache=tmp_path) for series in (first, other) for plan in plans]
    assert len(list(tmp_path.rglob("*.b2nd"))) == 8
    assert len({content_hash(volume) for volume in seen}) == 8


def test_without_a_known_content_the_content_is_computed(tmp_path):
    made = prepared(series_of(head()), PLAN, cache=tmp_path)
    assert cached_path(content_hash(head()), PLAN, cache=tmp_path).is_file()
    assert same(made, prepare(head(), PLAN), tolerance_mm=1e-9)


def test_a_damaged_file_in_the_cache_is_made_again(tmp_path):
    series = series_of(head(), content=content_hash(head()))
    expected = prepared(series, PLAN, cache=tmp_path)
    path = cached_path(series.content, PLAN, cache=tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    for broken in (bytes(data), data[:50], b""):
        path.write_bytes(broken)
        assert same(prepared(series, PLAN, cache=tmp_path), expected, tolerance_mm=1e-9)


def _prepare_many(cache):
    for seed in range(4):
        made = prepared(series_of(head(seed), content=content_hash(head(seed))), PLAN, cache=cache)
        if not np.array_equal(made.array, prepare(head(seed), PLAN).array):
            raise SystemExit(3)


def test_many_processes_share_a_cache(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_prepare_many, args=(tmp_path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(list(tmp_path.rglob("*.b2nd"))) == 4
    assert not list(tmp_path.rglob("*.partial"))


def test_equal_plans_have_equal_fingerprints():
    assert Plan(spacing_mm=(2, 2, 2)).fingerprint == Plan(spacing_mm=(2.0, 2.0, 2.0)).fingerprint
    assert hash(Plan(options={"low": 1})) == hash(Plan(options={"low": 1}))


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"intensity": "percentil"}, "did you mean 'percentile'"),
        ({"options": {"lo": 1}}, "did you mean 'low'"),
        ({"intensity": "zscore", "options": {"mask": 1}}, "unknown option 'mask'"),
    ],
)
def test_settings_that_are_not_there_name_the_nearest(settings_, words):
    with pytest.raises(InputError, match=words):
        Plan(**settings_)


def test_mm_are_refused_for_pictures_that_state_none(tmp_path):
    picture = Volume(np.random.default_rng(0).random((1, 40, 30, 1)), np.diag([-1.0, -1.0, 1.0, 1.0]))
    series = series_of(picture, repairs=("no-geometry",))
    with pytest.raises(InputError, match="pixel size in mm is not known"):
        prepared(series, PLAN)
    assert prepared(series, Plan(orientation=None, shape=(32, 32, 1))).shape == (32, 32, 1)


def test_content_cannot_lead_out_of_the_cache(tmp_path):
    with pytest.raises(InputError, match="not a content hash"):
        prepared(series_of(head(), content="../../etc/x"), PLAN, cache=tmp_path)
