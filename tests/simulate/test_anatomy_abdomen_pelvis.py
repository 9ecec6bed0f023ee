"""Abdomen, prostate, rectum and random shapes: sizes as drawn, known truth, findings in their direction."""

import dataclasses

import numpy as np
import pytest
import torch

from radfoundry.simulate.anatomy.pelvis import fascia
from radfoundry.simulate.anatomy.prostate import PROSTATE, ZONES, pi_rads
from radfoundry.simulate.anatomy.random_shapes import RANDOM_SHAPES
from radfoundry.simulate.anatomy.rectum import INVOLVED_MM, RECTUM
from radfoundry.simulate.anatomy.regions import Finding, draw_anatomy, region
from radfoundry.simulate.fields import grid_points
from radfoundry.simulate.tissues import at_field

SPACING_MM = {"abdomen": 8.0, "prostate": 4.0, "rectum": 4.0, "random-shapes": 8.0}


def ml(body, name):
    share = body.truth.get(name)
    return 0.0 if share is None else float(share.sum()) * body.voxel_ml


def draw(name, seed=1, sex="M", findings=()):
    return draw_anatomy(name, rng=np.random.default_rng(seed), age_years=60.0, sex=sex, findings=findings)


def build(anatomy, spacing=None):
    return region(anatomy.region).build(anatomy, spacing_mm=spacing or SPACING_MM[anatomy.region])


def changed(anatomy, **measures):
    return dataclasses.replace(anatomy, measures={**anatomy.measures, **measures})


@pytest.mark.parametrize("name", list(SPACING_MM))
def test_regions_are_sound_and_the_same_draw_gives_the_same_bytes(name):
    sex = "F" if name == "rectum" else "M"
    body, again = (build(draw(name, sex=sex, findings=region(name).kinds)) for _ in range(2))
    assert float(body.fractions.min()) >= -1e-6
    assert float(body.fractions.sum(dim=0).max()) <= 1 + 1e-4
    assert body.tissues == again.tissues
    assert body.fractions.numpy().tobytes() == again.fractions.numpy().tobytes()
    inside = body.fractions.sum(dim=0)
    for kind in region(name).kinds:
        share = body.truth[kind]
        assert 0 < float(share.max()) <= 1 + 1e-4
        assert float(inside[share > 0.9].sum()) >= 0.9 * int((share > 0.9).sum())  # never outside the body
    missing = set(region(name).organs) - set(body.truth)
    assert missing <= {"prostate", "uterus", "cervix", "vagina", *(f"blob-{n}" for n in range(1, 9))}


# abdomen


def test_body_composition_follows_the_measures():
    plain = draw("abdomen")
    lean = build(changed(plain, subcutaneous_fat_mm=8.0, cavity_scale=0.95))
    fat = build(changed(plain, subcutaneous_fat_mm=24.0, cavity_scale=0.95))
    wide = build(changed(plain, subcutaneous_fat_mm=8.0, cavity_scale=1.15))
    assert 2.2 < ml(fat, "subcutaneous-fat") / ml(lean, "subcutaneous-fat") < 4.5  # three times as thick
    assert ml(fat, "visceral-fat") == pytest.approx(ml(lean, "visceral-fat"), rel=0.01)
    assert ml(wide, "visceral-fat") > 1.3 * ml(lean, "visceral-fat")


def test_fat_rises_with_body_mass_and_lies_where_the_sexes_store_it():
    people = {sex: [draw("abdomen", seed, sex).measures for seed in range(60)] for sex in "MF"}
    for drawn in people.values():
        bmi = [one["body_mass_index"] for one in drawn]
        assert np.corrcoef(bmi, [one["subcutaneous_fat_mm"] for one in drawn])[0, 1] > 0.9
        assert np.corrcoef(bmi, [one["cavity_scale"] for one in drawn])[0, 1] > 0.8
    mean = {sex: np.mean([one["subcutaneous_fat_mm"] for one in drawn]) for sex, drawn in people.items()}
    assert mean["F"] > mean["M"] + 3


@pytest.mark.slow
def test_organs_have_human_volumes_and_follow_their_measures():
    plain = changed(draw("abdomen"), stature=1.0, cavity_scale=1.03, kidney_length_mm=110.0, spleen_ml=200.0)
    body = build(plain)
    # Two kidneys of 110 mm hold about 300 ml (Emamian 1993), a liver 1.0 to 2.2 l (Johnson 2005).
    assert 200 < ml(body, "kidneys") < 420
    assert 950 < ml(body, "liver") < 2200
    longer = build(changed(plain, kidney_length_mm=125.0))
    assert ml(longer, "kidneys") / ml(body, "kidneys") == pytest.approx((125 / 110) ** 3, rel=0.12)
    larger = build(changed(plain, spleen_ml=320.0))
    assert ml(larger, "spleen") > 1.25 * ml(body, "spleen")


@pytest.mark.slow
def test_abdominal_findings_have_their_size_and_substance():
    anatomy = draw("abdomen", findings=region("abdomen").kinds)
    body = build(anatomy, 4.0)
    for finding in anatomy.findings:
        whole = 4.19 * (finding.size_mm / 2) ** 3 * 0.94 * 0.9 / 1000
        assert ml(body, finding.kind) == pytest.approx(whole, rel=0.4, abs=0.08), finding
    cyst = body.truth["kidney-cyst"] > 0.99
    assert float(body.share("water")[cyst].min()) > 0.9
    assert float(body.share("calcification").sum()) > 0


@pytest.mark.slow
def test_abdominal_volumes_agree_between_spacings():
    coarse, fine = (build(draw("abdomen"), spacing) for spacing in (6.0, 3.0))
    for organ in ("liver", "kidneys", "spleen", "subcutaneous-fat", "visceral-fat", "skeletal-muscle"):
        assert ml(fine, organ) == pytest.approx(ml(coarse, organ), rel=0.1), organ


# prostate


@pytest.mark.slow
def test_the_prostate_has_its_drawn_volume_and_zones():
    plain = draw("prostate")
    for volume, inner in ((28.0, 9.0), (60.0, 38.0)):
        body = build(changed(plain, prostate_ml=volume, transition_ml=inner, nodules=4.0), 2.0)
        assert ml(body, "prostate") == pytest.approx(volume, rel=0.06)
        assert ml(body, "transition-zone") == pytest.approx(inner, rel=0.35)
        assert sum(ml(body, zone) for zone in ZONES) == pytest.approx(volume, rel=0.25)


def test_the_gland_grows_with_age():
    young, old = (
        np.mean(
            [
                PROSTATE.draw(np.random.default_rng(seed), age_years=age, sex="M").measures["prostate_ml"]
                for seed in range(40)
            ]
        )
        for age in (30.0, 75.0)
    )
    assert 22 < young < 34 < old < 55


@pytest.mark.parametrize("zone", ["peripheral zone", pytest.param("transition zone", marks=pytest.mark.slow)])
def test_worse_lesions_diffuse_less_and_stay_in_their_zone(zone):
    plain = changed(draw("prostate"), prostate_ml=45.0, transition_ml=24.0, nodules=3.0)
    place = (17.0, -8.0, 0.0) if zone == "peripheral zone" else (9.0, 8.0, 4.0)
    seen = []
    for severity in (0.2, 0.95):
        lesion = Finding("prostate-lesion", severity, place, 12.0, "right", f"right mid-gland, {zone}")
        body = build(dataclasses.replace(plain, findings=(lesion,)), 2.0)
        table = at_field(3.0, names=body.tissues)
        there = body.truth["prostate-lesion"] > 0.8
        assert there.any()
        weight = body.fractions[:, there] * table.proton_density[:, None]
        values = torch.stack([table.diffusivity_um2_per_ms, table.t2_ms])
        seen.append((values @ weight).sum(dim=1) / weight.sum())
    assert bool((seen[1] < seen[0] - torch.tensor([0.1, 2.0])).all())  # diffusivity and T2
    assert float(seen[1][0]) < 1.05  # µm²/ms: below about 1.0 a lesion counts as restricted (PI-RADS v2.1)


def test_categories_follow_size_and_severity():
    drawn = [draw("prostate", seed, findings=("prostate-lesion",)) for seed in range(40)]
    for anatomy in drawn:
        (finding,) = anatomy.findings
        assert anatomy.measures["pi_rads"] == pi_rads(finding)
        assert (pi_rads(finding) == 5) == (finding.size_mm >= 15 and finding.severity >= 0.35)
    assert {pi_rads(anatomy.findings[0]) for anatomy in drawn} == {3, 4, 5}


# rectum


def least_distance(body, scale, name="rectal-tumour"):
    places = grid_points(body.shape, body.affine)[body.truth[name] > 0.5]
    return float(-fascia(scale).distance(places).max())


@pytest.mark.parametrize(
    "wanted", [pytest.param(6.0, marks=pytest.mark.slow), pytest.param(3.0, marks=pytest.mark.slow), 0.5]
)
def test_the_tumour_is_as_near_the_fascia_as_drawn(wanted):
    plain = draw("rectum", 4, findings=("rectal-tumour",))
    anatomy = changed(plain, fascia_distance_mm=wanted)
    body = build(anatomy, 2.0)
    assert least_distance(body, anatomy.measures["mesorectum_scale"]) == pytest.approx(wanted, abs=1.2)


def test_involvement_and_invasion_are_what_the_measures_say():
    for seed in range(12):
        spared, involved = (draw("rectum", seed, findings=f) for f in (("rectal-tumour",), ("fascia-involvement",)))
        assert spared.measures["fascia_distance_mm"] >= 3 and spared.measures["invaded_vessel_mm"] == 0
        assert involved.measures["fascia_distance_mm"] <= INVOLVED_MM
        assert [item.kind for item in involved.findings] == ["rectal-tumour", "fascia-involvement"]
    assert draw("rectum").findings == () and "tumour_level_mm" not in draw("rectum").measures


@pytest.mark.slow
def test_invaded_vessels_widen_with_severity_and_healthy_people_have_no_tumour():
    plain = draw("rectum", 5, findings=("vascular-invasion",))
    thin, thick = (build(changed(plain, invaded_vessel_mm=width), 2.0) for width in (2.5, 5.5))
    assert ml(thick, "vascular-invasion") > 2 * ml(thin, "vascular-invasion") > 0
    body = RECTUM.build(draw("rectum", sex="F"), spacing_mm=4.0)
    assert "carcinoma" not in body.tissues and ml(body, "uterus") > 40 and "prostate" not in body.truth


# random shapes


def test_random_shapes_differ_from_seed_to_seed():
    bodies = [RANDOM_SHAPES.build(draw("random-shapes", seed), spacing_mm=8.0) for seed in range(4)]
    assert len({body.tissues for body in bodies}) == 4
    assert all(len(body.tissues) >= 5 for body in bodies)
