"""Laws of looking inside a region: it lies where it should, moves as told, and nothing outside it is seen."""

import math
from dataclasses import replace

import numpy as np
import pytest

from radfoundry import registry
from radfoundry.data import store
from radfoundry.records import Acquisition, Case, Cohort, InputError, Series
from radfoundry.tasks import priors
from radfoundry.volume import Volume

SHAPE, STEP = (64, 64, 64), 3.0
AFFINE = np.diag([STEP, STEP, STEP, 1.0])
AFFINE[:3, 3] = -96.0


def series_of(array, affine, *, modality="MR", key="image"):
    volume = Volume.of(np.asarray(array, np.float32), affine)
    spacing = tuple(float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
    return Series(
        key,
        "patient",
        "case",
        Acquisition(modality=modality),
        (1, *volume.shape),
        spacing,
        content=store.content_hash(volume),
        loader=lambda _: volume,
    )


def case_of(*series):
    return Case("case", "patient", tuple(series))


def test_a_ball_has_its_volume_and_its_place():
    ball = priors.ball(radius_mm=30, offset_mm=(12, 0, 0))
    region = priors.region_of(case_of(), AFFINE, SHAPE, ball, (0, 0, 0))
    assert region.sum() * STEP**3 == pytest.approx(4 / 3 * math.pi * 30**3, rel=0.02)
    centre = np.argwhere(region).mean(axis=0)
    assert np.allclose(centre - 31.5, [4, 0, 0], atol=1e-9)
    moved = priors.region_of(case_of(), AFFINE, SHAPE, ball, (0, 30, 0))
    assert np.array_equal(moved, np.roll(region, 10, axis=1))


def test_a_mask_on_another_grid_lies_where_it_was_drawn():
    drawn = np.zeros((40, 40, 10))
    drawn[10:20, 10:20, 4:6] = 2
    affine = np.diag([2.0, 2.0, 6.0, 1.0])
    case = case_of(series_of(np.ones(SHAPE), AFFINE), series_of(drawn, affine, modality="SEG", key="mask"))
    grid = np.diag([1.0, 1.0, 1.0, 1.0])
    region = priors.region_of(case, grid, (80, 80, 60), priors.mask(), (0, 0, 0))
    where = np.argwhere(region)
    assert where.min(axis=0).tolist() == [19, 19, 21] and where.max(axis=0).tolist() == [38, 38, 32]
    assert not priors.region_of(case, grid, (80, 80, 60), priors.mask(labels=1), (0, 0, 0)).any()
    wider = priors.region_of(case, grid, (80, 80, 60), priors.mask(margin_mm=3), (0, 0, 0))
    assert np.argwhere(wider).min(axis=0).tolist() == [16, 16, 18] and wider[region].all()
    assert priors.region_of(case_of(), grid, (8, 8, 8), priors.mask(), (0, 0, 0)) is None


@pytest.mark.parametrize("how", ["image", "places"])
def test_what_lies_outside_is_not_seen(how):
    rng = np.random.default_rng(0)
    image = 100 + 10 * rng.random(SHAPE)
    image[:4, :4, :4] = [[0.0]]  # the darkest place stays the same
    other, inside = image.copy(), image.copy()
    other[5:20, 5:20, 5:20] = image[5:20, 5:20, 5:20][::-1]  # as bright on the whole, elsewhere
    inside[28:36, 28:36, 28:36] = 60
    found = []
    for array in (image, other, inside):
        cohort = Cohort((case_of(series_of(array, AFFINE)),))
        encoder = registry.build("encoders", "intensity")
        found.append(priors.embed_inside(cohort, encoder, priors.ball(radius_mm=15, how=how)).vectors[0])
    assert np.allclose(found[0], found[1], atol=0.01)
    assert not np.allclose(found[0], found[2], atol=0.1)


def test_series_without_a_mask_are_left_out_with_the_reason():
    image = series_of(np.random.default_rng(0).random((16, 16, 16)), AFFINE)
    mask = series_of(np.ones((16, 16, 16)), AFFINE, modality="SEG", key="mask")
    bare = replace(image, key="bare", case="bare")
    cohort = Cohort((case_of(image, mask), Case("bare", "other", (bare,))))
    found = priors.embed_inside(cohort, registry.build("encoders", "intensity"), priors.mask(how="image"))
    assert [series.key for series in found.series] == ["image"]
    assert found.refused == (("bare", "its exam has no mask"),)
    with pytest.raises(InputError, match="nothing lies inside the prior: its exam has no mask"):
        priors.embed_inside(
            Cohort((Case("bare", "other", (bare,)),)), registry.build("encoders", "intensity"), priors.mask()
        )


def test_a_prior_survives_the_disk_and_refuses_nonsense():
    for prior in (priors.ball(radius_mm=20, wrong_mm=(40, 0, 0)), priors.mask(labels=[1, 2], margin_mm=3)):
        assert priors.restored(prior.to_dict()) == prior
    for options, said in (({"radius_mm": 0}, "sizes above 0"), ({"radius_mm": 5, "offset_mm": 1}, "three numbers")):
        with pytest.raises(InputError, match=said):
            priors.ball(**options)
    with pytest.raises(InputError, match="did you mean 'places'"):
        priors.mask(how="place")
