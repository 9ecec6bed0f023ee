"""Laws that every simulated body region obeys, one suite over the whole table of regions."""

import dataclasses

import numpy as np
import pytest
import torch

from radfoundry.records import InputError
from radfoundry.simulate.anatomy.regions import REGIONS, Anatomy, Region, draw_anatomy, region
from radfoundry.simulate.tissues import NAMES


def coarse_mm(name, voxels):
    """A spacing that lays so many voxels along the longest side of a region."""
    return max(region(name).field_of_view_mm) / voxels


def within(solid):
    """Places with tissue on both sides along one of the axes: the body and the air inside it."""
    full = torch.zeros_like(solid, dtype=torch.bool)
    for axis in range(3):
        before = (solid > 0.3).int().cummax(dim=axis).values
        after = (solid > 0.3).int().flip(axis).cummax(dim=axis).values.flip(axis)
        full |= (before * after).bool()
    return full


FAST = ("elbow", "prostate", "random-shapes")


@pytest.fixture(
    scope="module",
    params=[name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in sorted(REGIONS)],
)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def drawn(name):
    return draw_anatomy(name, rng=np.random.default_rng(11))


@pytest.fixture(scope="module")
def healthy(name, drawn):
    return region(name).build(drawn, spacing_mm=coarse_mm(name, 30))


@pytest.fixture(scope="module")
def diseased(name):
    kinds = region(name).kinds
    anatomy = draw_anatomy(name, rng=np.random.default_rng(12), findings=kinds)
    return anatomy, region(name).build(anatomy, spacing_mm=coarse_mm(name, 48))


def test_describes_itself(name):
    known = region(name)
    assert isinstance(known, Region)
    assert known.name == name
    assert len(set(known.kinds)) == len(known.kinds)
    assert len(set(known.organs)) == len(known.organs)
    assert min(known.field_of_view_mm) > 20
    assert max(known.field_of_view_mm) < 500
    assert known.plane in ("axial", "sagittal", "coronal")


def test_a_person_is_numbers_alone(name, drawn):
    assert isinstance(drawn, Anatomy)
    assert drawn.region == name
    assert 20 <= drawn.age_years <= 85
    assert drawn.sex in ("F", "M")
    assert drawn.findings == ()
    assert all(np.isfinite(float(value)) for value in drawn.measures.values())


def test_same_random_numbers_same_person(name, drawn):
    again = draw_anatomy(name, rng=np.random.default_rng(11))
    other = draw_anatomy(name, rng=np.random.default_rng(99))
    assert dict(again.measures) == dict(drawn.measures)
    assert (dict(other.measures), other.texture_seed) != (dict(drawn.measures), drawn.texture_seed)


def test_same_person_same_bytes(name, drawn, healthy):
    again = region(name).build(drawn, spacing_mm=coarse_mm(name, 30))
    assert again.tissues == healthy.tissues
    assert torch.equal(again.fractions, healthy.fractions)
    assert set(again.truth) == set(healthy.truth)
    assert all(torch.equal(again.truth[key], healthy.truth[key]) for key in healthy.truth)


def test_fractions_are_shares_of_known_tissues(healthy, diseased):
    for body in (healthy, diseased[1]):
        assert set(body.tissues) <= set(NAMES)
        assert float(body.fractions.min()) >= -1e-5
        assert float(body.fractions.sum(dim=0).max()) <= 1 + 1e-4
        assert bool(torch.isfinite(body.fractions).all())
        assert float(body.fractions.sum()) > 0


def test_truth_is_a_share_inside_the_body(healthy, diseased):
    for body in (healthy, diseased[1]):
        inside = within(body.fractions.sum(dim=0))
        for key, share in body.truth.items():
            assert share.shape == body.shape, key
            assert float(share.min()) >= -1e-5, key
            assert float(share.max()) <= 1 + 1e-4, key
            outside = float((share * ~inside).sum())
            assert outside <= 0.1 * float(share.sum()) + 1e-3, key


def test_every_organ_is_there_in_a_man_or_a_woman(name, drawn, healthy):
    known = region(name)
    found = {organ for organ, share in healthy.truth.items() if bool(share.any())}
    if not found >= set(known.organs):
        other = draw_anatomy(name, rng=np.random.default_rng(11), sex="F" if drawn.sex == "M" else "M")
        body = known.build(other, spacing_mm=coarse_mm(name, 30))
        found |= {organ for organ, share in body.truth.items() if bool(share.any())}
    assert set(known.organs) <= found


def test_the_grid_covers_the_field_of_view(name, healthy):
    known = region(name)
    size = np.array(healthy.shape) * np.abs(np.diag(healthy.affine)[:3])
    middle = healthy.affine[:3, :3] @ ((np.array(healthy.shape) - 1) / 2) + healthy.affine[:3, 3]
    assert np.all(np.abs(middle - np.array(known.centre_mm)) < 25)
    assert np.all(size > 0.75 * np.array(known.field_of_view_mm))


def test_every_finding_has_a_mask_where_it_says(name, diseased):
    anatomy, body = diseased
    known = region(name)
    assert {finding.kind for finding in anatomy.findings} == set(known.kinds)
    for finding in anatomy.findings:
        assert 0 < finding.severity <= 1
        assert finding.size_mm > 0
        mask = body.truth[finding.kind]
        assert float(mask.sum()) > 0, finding.kind
        places = np.argwhere(mask.numpy() > 0.3 * float(mask.max())) * np.diag(body.affine)[:3] + body.affine[:3, 3]
        low, high = places.min(axis=0), places.max(axis=0)
        margin = 0.5 * finding.size_mm + 15
        centre = np.array(finding.centre_mm)
        assert np.all(centre > low - margin), finding
        assert np.all(centre < high + margin), finding


def test_healthy_people_have_no_finding(name, healthy):
    found = [kind for kind in region(name).kinds if kind in healthy.truth and bool(healthy.truth[kind].any())]
    assert not found


def test_findings_change_the_tissues(name, diseased):
    anatomy, body = diseased
    if not anatomy.findings:
        assert region(name).kinds == ()
        return
    bare = region(name).build(dataclasses.replace(anatomy, findings=()), spacing_mm=coarse_mm(name, 48))
    shared = [tissue for tissue in body.tissues if tissue in bare.tissues]
    moved = sum(float((body.share(tissue) - bare.share(tissue)).abs().sum()) for tissue in shared)
    assert moved > 0


def test_unknown_findings_are_refused(name):
    with pytest.raises(InputError, match="has no finding"):
        draw_anatomy(name, rng=np.random.default_rng(0), findings=("no such thing",))


def test_unknown_regions_are_refused():
    with pytest.raises(InputError, match="unknown region"):
        region("tail")
