"""Chest, breasts, trees and patterns: sizes are as drawn, disease acts in its direction, one draw is one body."""

import dataclasses

import numpy as np
import pytest
import torch

from radfoundry.records import InputError
from radfoundry.simulate.anatomy.breast import BREAST, DENSITY_SHARE
from radfoundry.simulate.anatomy.breast_findings import sprinkle
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.chest import CHEST
from radfoundry.simulate.anatomy.chest_findings import worked_on
from radfoundry.simulate.anatomy.chest_organs import LOBES
from radfoundry.simulate.anatomy.regions import draw_anatomy
from radfoundry.simulate.anatomy.shapes import ellipsoid
from radfoundry.simulate.anatomy.texture import everywhere, noise
from radfoundry.simulate.anatomy.trees import branches, cover_tree, grow_tree, seeds_inside
from radfoundry.simulate.tissues import at_field

COARSE_MM = 8.0


def ml(body, name):
    share = body.truth.get(name)
    return 0.0 if share is None else float(share.sum()) * body.voxel_ml


def lung_ml(body, side=""):
    return sum(ml(body, lobe) for lobe in LOBES if lobe.startswith(side))


def hounsfield(body):
    table = at_field(1.5, names=body.tissues)
    return torch.einsum("tijk,t->ijk", body.fractions, table.hounsfield + 1000) - 1000


def healthy(seed=1, sex="M"):
    return draw_anatomy("chest", rng=np.random.default_rng(seed), age_years=50.0, sex=sex)


def diseased(kind, severity, side="left", site=None):
    """The healthy person of `healthy` with one finding of a chosen severity."""
    plain = healthy()
    (finding,) = draw_anatomy("chest", rng=np.random.default_rng(8), age_years=50.0, sex="M", findings=(kind,)).findings
    place = (abs(finding.centre_mm[0]) * (1 if side == "right" else -1), *finding.centre_mm[1:])
    changed = dataclasses.replace(
        finding, severity=severity, side=side if finding.side in ("left", "right") else finding.side,
        centre_mm=place, site=site or finding.site,
    )  # fmt: skip
    return dataclasses.replace(plain, measures=worked_on(plain.measures, (changed,)), findings=(changed,))


@pytest.fixture(scope="module")
def chest():
    return CHEST.build(healthy(), spacing_mm=COARSE_MM)


def assert_sound(body):
    assert float(body.fractions.min()) >= -1e-6
    assert float(body.fractions.sum(dim=0).max()) <= 1 + 1e-4
    for name, share in body.truth.items():
        assert float(share.min()) >= -1e-6, name
        assert float(share.max()) <= 1 + 1e-4, name


def test_the_chest_is_sound_and_has_its_organs(chest):
    assert_sound(chest)
    assert set(CHEST.organs) - set(chest.truth) == {"breast-tissue"}  # a man
    # Total lung capacity of adults is 4 to 7.5 l, the heart with its blood 350 to 800 ml.
    assert 3600 < lung_ml(chest) < 7500
    assert 350 < ml(chest, "heart") < 800
    assert lung_ml(chest, "left") < lung_ml(chest, "right")


def test_lung_is_as_dense_as_full_inspiration_and_denser_at_the_back(chest):
    lungs = sum(chest.truth[lobe] for lobe in LOBES) > 0.999
    values = hounsfield(chest)
    assert float(values[lungs].median()) == pytest.approx(-840, abs=60)
    y = torch.arange(chest.shape[1]).float()[None, :, None].expand(chest.shape)
    back, front = lungs & (y < y[lungs].quantile(0.3)), lungs & (y > y[lungs].quantile(0.7))
    assert float(values[back].median()) > float(values[front].median()) + 10


def test_the_same_person_gives_the_same_bytes(chest):
    again = CHEST.build(healthy(), spacing_mm=COARSE_MM)
    assert again.tissues == chest.tissues
    assert again.fractions.numpy().tobytes() == chest.fractions.numpy().tobytes()


@pytest.mark.slow
def test_chest_volumes_agree_between_spacings(chest):
    fine = CHEST.build(healthy(), spacing_mm=3.5)
    assert lung_ml(fine) == pytest.approx(lung_ml(chest), rel=0.05)
    for organ, tolerance in (("heart", 0.08), ("aorta", 0.15), ("liver", 0.08)):
        assert ml(fine, organ) == pytest.approx(ml(chest, organ), rel=tolerance)


@pytest.mark.slow
def test_cardiomegaly_widens_the_heart_to_the_drawn_ratio():
    anatomy = diseased("cardiomegaly", 0.8)
    body = CHEST.build(anatomy, spacing_mm=COARSE_MM)
    profile = body.truth["heart"].amax(dim=(1, 2))
    width = float(profile.sum()) * COARSE_MM
    inner = anatomy.measures["thorax_width_mm"] - 19
    assert anatomy.measures["cardiothoracic_ratio"] == pytest.approx(0.52 + 0.14 * 0.8)
    assert width / inner == pytest.approx(anatomy.measures["cardiothoracic_ratio"], abs=0.05)


@pytest.mark.slow
def test_atelectasis_takes_volume_and_pulls_the_heart_towards_it(chest):
    volumes, centres = [], []
    across = torch.arange(chest.shape[0]).float()[:, None, None] * COARSE_MM - 180
    for severity in (0.4, 1.0):
        body = CHEST.build(diseased("atelectasis", severity), spacing_mm=COARSE_MM)
        volumes.append(lung_ml(body, "left"))
        heart = body.truth["heart"]
        centres.append(float((heart * across).sum() / heart.sum()))
    assert lung_ml(chest, "left") > volumes[0] + 100 > volumes[1] + 200
    assert centres[1] < centres[0] - 3  # further to the left (RAS: x falls)


def test_effusion_has_the_drawn_volume_and_lies_lowest():
    anatomy = diseased("pleural-effusion", 0.5)
    lying = CHEST.build(anatomy, spacing_mm=COARSE_MM)
    assert ml(lying, "pleural-effusion") == pytest.approx(anatomy.measures["effusion_ml"], rel=0.1)
    sitting = dataclasses.replace(anatomy, measures={**anatomy.measures, "upright": 1.0})
    upright = CHEST.build(sitting, spacing_mm=COARSE_MM)
    centre = {}
    for name, body in (("lying", lying), ("upright", upright)):
        share = body.truth["pleural-effusion"]
        index = torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in body.shape), indexing="ij"))
        centre[name] = (index * share).sum(dim=(1, 2, 3)) / share.sum() * COARSE_MM
    assert centre["lying"][1] < centre["upright"][1] - 15  # further back
    assert centre["upright"][2] < centre["lying"][2] - 15  # further down


@pytest.mark.slow
def test_pneumothorax_is_air_in_front_and_squeezes_the_lung():
    small, large = (CHEST.build(diseased("pneumothorax", s), spacing_mm=COARSE_MM) for s in (0.2, 0.9))
    assert ml(large, "pneumothorax") > 2 * ml(small, "pneumothorax") > 0
    there = large.truth["pneumothorax"] > 0.99
    assert float(large.fractions[:, there].sum(dim=0).max()) < 0.02
    left = large.truth["left-upper-lobe"] > 0.99
    assert float(hounsfield(large)[left].median()) > float(hounsfield(small)[left].median()) + 50


@pytest.mark.parametrize("kind", ["consolidation", pytest.param("interstitial", marks=pytest.mark.slow)])
def test_dense_disease_adds_tissue_with_severity(chest, kind):
    def tissue(body):
        return float(body.share("airless-lung").sum()) * body.voxel_ml

    site = "right lower lobe" if kind == "consolidation" else None
    mild, bad = (CHEST.build(diseased(kind, s, "right", site), spacing_mm=COARSE_MM) for s in (0.3, 0.9))
    assert tissue(chest) == 0 < tissue(mild) < 0.7 * tissue(bad)
    assert ml(bad, kind) > ml(mild, kind)
    if kind == "interstitial":  # below the pleura, at the bases
        level = torch.arange(bad.shape[2]).float()
        centre = float((bad.truth[kind].sum(dim=(0, 1)) * level).sum() / bad.truth[kind].sum())
        lungs = sum(bad.truth[lobe] for lobe in LOBES)
        assert centre < float((lungs.sum(dim=(0, 1)) * level).sum() / lungs.sum()) - 1


def test_air_trapping_makes_one_side_larger_and_blacker(chest):
    body = CHEST.build(diseased("air-trapping", 1.0, "right"), spacing_mm=COARSE_MM)
    assert lung_ml(body, "right") > lung_ml(chest, "right") + 100
    values, sides = hounsfield(body), {}
    for side in ("right", "left"):
        there = sum(body.truth[lobe] for lobe in LOBES if lobe.startswith(side)) > 0.999
        sides[side] = float(values[there].median())
    assert sides["right"] < sides["left"] - 30


@pytest.mark.slow
@pytest.mark.parametrize("kind_of_nodule", ["solid", "ground-glass"])
def test_nodules_are_as_large_as_drawn_and_ground_glass_is_fainter(kind_of_nodule):
    drawn = diseased("nodule", 1.0, "right", f"right upper lobe, {kind_of_nodule}")
    finding = dataclasses.replace(drawn.findings[0], size_mm=30.0)
    anatomy = dataclasses.replace(drawn, findings=(finding,))
    body = CHEST.build(anatomy, spacing_mm=5.0)
    radius = finding.size_mm / 2
    wanted = 4.19 * radius**3 * 0.92 * 0.88 / 1000
    assert ml(body, "nodule") == pytest.approx(wanted, rel=0.2)
    inside = hounsfield(body)[body.truth["nodule"] > 0.999].median()
    assert -100 < float(inside) < 80 if kind_of_nodule == "solid" else -700 < float(inside) < -350


def test_a_woman_has_breast_tissue_and_a_narrower_chest():
    measures = {sex: [healthy(seed, sex).measures for seed in range(30)] for sex in "MF"}
    width = {sex: np.mean([one["thorax_width_mm"] for one in people]) for sex, people in measures.items()}
    assert 15 < width["M"] - width["F"] < 40
    assert all(one["breast_mm"] > 0 for one in measures["F"])


# breasts


def woman(seed=3, findings=()):
    return draw_anatomy("breast", rng=np.random.default_rng(seed), age_years=52.0, sex="F", findings=findings)


def test_breasts_are_sound_and_as_dense_as_drawn():
    for density in (0, 3):
        share = float(np.mean(DENSITY_SHARE[density]))
        plain = woman()
        anatomy = dataclasses.replace(plain, measures={**plain.measures, "gland_share": share})
        body = BREAST.build(anatomy, spacing_mm=4.0)
        assert_sound(body)
        whole = ml(body, "breast-right") + ml(body, "breast-left")
        assert 150 < whole < 3000
        assert ml(body, "gland") / whole == pytest.approx(share, rel=0.35, abs=0.01)


def test_masses_grow_and_calcifications_keep_their_volume():
    plain = woman(findings=("breast-mass",))
    sizes = []
    for severity in (0.4, 1.0):
        finding = dataclasses.replace(plain.findings[0], severity=severity, size_mm=6 + 28 * severity)
        body = BREAST.build(dataclasses.replace(plain, findings=(finding,)), spacing_mm=4.0)
        sizes.append(ml(body, "breast-mass"))
        assert float(body.share("carcinoma").sum()) * body.voxel_ml >= 0.9 * sizes[-1]
    assert sizes[1] > 3 * sizes[0] > 0
    places, volumes = np.array([[0.2, 0.4, 0.1], [5.3, -2, 3.7]]), np.array([0.05, 0.3])
    for spacing in (1.0, 2.0):
        share = sprinkle(Canvas((-20,) * 3, (20,) * 3, spacing), places, volumes)
        assert float(share.sum()) * spacing**3 == pytest.approx(0.35, rel=1e-4)


# trees and patterns


@pytest.mark.parametrize("spacing", [1.0, 2.0, 4.0])
def test_thin_tubes_keep_their_volume_at_any_spacing(spacing):
    canvas = Canvas((-40, -20, -20), (40, 20, 20), spacing)
    line = branches([[(-30.0, 0.3, 0.7), (30.0, 0.3, 0.7)]], 1.5)
    volume = float(cover_tree(canvas, line)[1].sum()) * spacing**3
    assert volume == pytest.approx(np.pi * 1.5**2 * 60, rel=0.15)


def test_trees_reach_every_seed_and_follow_murray():
    rng = np.random.default_rng(0)
    seeds = seeds_inside(ellipsoid((0, 0, 0), (40, 30, 50)), 120, margin_mm=2.0, rng=rng)
    tree = grow_tree((0, 0, 60), seeds, radius_mm=6.0)
    ends = {tuple(end) for end in tree.ends.round(3)}
    assert all(tuple(seed) in ends for seed in seeds.astype(float).round(3))
    for place, radius in zip(tree.ends, tree.radii_mm, strict=True):
        children = tree.radii_mm[(tree.starts == place).all(axis=1)]
        if len(children):
            assert (children**3).sum() == pytest.approx(radius**3)


def test_patterns_are_the_same_at_every_spacing_and_in_every_window():
    coarse, fine = (Canvas((-40,) * 3, (40,) * 3, spacing) for spacing in (4.0, 2.0))
    one, two = (noise(canvas, everywhere(canvas), wavelength_mm=20, seed=3) for canvas in (coarse, fine))
    torch.testing.assert_close(one, two[::2, ::2, ::2], atol=1e-4, rtol=1e-4)
    window = (slice(5, 12), slice(0, 7), slice(14, 21))
    torch.testing.assert_close(noise(coarse, window, wavelength_mm=20, seed=3), one[window], atol=1e-4, rtol=1e-4)
    assert 0.7 < float(two.std()) < 1.3
    with pytest.raises(InputError, match="pattern"):
        noise(coarse, window, wavelength_mm=0, seed=3)
