"""Joints and thighs: sizes measured on the built body follow what was drawn, and findings do what they should."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from radfoundry.simulate.anatomy.regions import region
from radfoundry.simulate.tissues import at_field

COARSE_MM = 3.0
JOINTS = ["elbow", *(pytest.param(name, marks=pytest.mark.slow) for name in ("knee", "wrist", "hip"))]


def drawn(name, *, seed=4, age_years=45.0, sex="M", findings=(), severity=None):
    return region(name).draw(
        np.random.default_rng(seed), age_years=age_years, sex=sex, findings=findings, severity=severity
    )


def built(name, *, spacing_mm=COARSE_MM, **options):
    anatomy = drawn(name, **options)
    return anatomy, region(name).build(anatomy, spacing_mm=spacing_mm)


def volume_ml(body, mask):
    return float(mask.sum()) * body.voxel_ml


def density(body):
    hounsfield = at_field(3.0, names=body.tissues).hounsfield
    air = 1 - body.fractions.sum(dim=0)
    return (body.fractions * hounsfield[:, None, None, None]).sum(dim=0) - 1000 * air


def bone_gap_mm(body, upper, lower, x_mm, y_mm):
    """Distance along the body's length between two bones at one place, from their shares in a column of voxels."""
    place = [round((value - body.affine[axis, 3]) / body.affine[axis, axis]) for axis, value in enumerate((x_mm, y_mm))]
    step = float(body.affine[2, 2])
    above, below = (body.truth[name][place[0], place[1]] for name in (upper, lower))
    bottom = (above > 0.5).nonzero().min()
    top = (below > 0.5).nonzero().max()
    # Soft edges: the shares at the two surfaces tell where within the voxels the bone ends.
    return (
        float((bottom - top - 1) * step)
        + step * (1 - float(above[bottom - 1]) - float(below[top + 1]))
        - step * (float(above[bottom]) + float(below[top]) - 2)
    )


@pytest.mark.slow
def test_the_knees_joint_space_is_the_one_drawn():
    gaps = []
    for severity in (None, 0.4, 0.8):
        findings = () if severity is None else ("joint-narrowing",)
        anatomy, body = built("knee", spacing_mm=1.5, findings=findings, severity=severity)
        scale = anatomy.measures["femur_width_mm"] / 80
        x = 20 * scale * (1 if anatomy.measures["left"] else -1)
        gap = bone_gap_mm(body, "femur", "tibia", x, -10 * scale)
        assert gap == pytest.approx(anatomy.measures["medial_joint_space_mm"], abs=1.6)
        gaps.append(gap)
    assert gaps[0] > gaps[1] > gaps[2]


@pytest.mark.parametrize("name", ["knee", "hip"])
def test_the_radiographic_grade_rises_as_the_space_narrows(name):
    space = {"knee": "medial_joint_space_mm", "hip": "joint_space_mm"}[name]
    people = [drawn(name, findings=("joint-narrowing",), severity=value).measures for value in (0.1, 0.3, 0.6, 0.9)]
    assert [person["kl_grade"] for person in people] == [1, 2, 3, 4]
    spaces = [drawn(name).measures[space], *(person[space] for person in people)]
    assert all(wide > narrow for wide, narrow in itertools.pairwise(spaces))
    assert drawn(name).measures["kl_grade"] == 0


@pytest.mark.parametrize("name", JOINTS)
def test_effusion_adds_fluid_and_grows_with_severity(name):
    spacing = 4.0 if name == "hip" else 2.5
    volumes = []
    for findings, severity in (((), None), (("effusion",), 0.3), (("effusion",), 1.0)):
        _, body = built(name, spacing_mm=spacing, findings=findings, severity=severity)
        volumes.append(volume_ml(body, body.share("synovial-fluid")))
    assert volumes[0] < volumes[1] < volumes[2]


@pytest.mark.parametrize("name", JOINTS)
def test_a_fracture_opens_the_bone_and_bruises_its_marrow(name):
    spacing = 3.0 if name == "hip" else 2.0
    _, whole = built(name, spacing_mm=spacing)
    _, light = built(name, spacing_mm=spacing, findings=("fracture",), severity=0.3)
    _, bad = built(name, spacing_mm=spacing, findings=("fracture",), severity=1.0)
    clot = [volume_ml(body, body.share("haemorrhage")) for body in (whole, light, bad)]
    assert clot[0] == 0 < clot[1] < clot[2]
    wet = [volume_ml(body, body.share("marrow-oedema")) for body in (whole, light, bad)]
    assert wet[0] == 0 < wet[1] < wet[2]
    changed = (density(bad) - density(whole)).abs()
    assert float(changed[bad.truth["fracture"] > 0.5].max()) > 150


@pytest.mark.parametrize("name", [*JOINTS, pytest.param("lumbar-spine", marks=pytest.mark.slow)])
def test_marrow_oedema_lies_in_marrow_and_grows_with_severity(name):
    spacing = 4.0 if name in ("hip", "lumbar-spine") else 2.5
    amounts = []
    for severity in (0.2, 0.9):
        _, body = built(name, spacing_mm=spacing, findings=("marrow-oedema",), severity=severity)
        amounts.append(volume_ml(body, body.share("marrow-oedema")))
        patch = body.truth["marrow-oedema"] > 0.5
        assert float(body.share("marrow-oedema")[patch].mean()) > 0.1
        assert float(body.share("muscle")[patch].mean()) < 0.1
    assert 0 < amounts[0] < amounts[1]


@pytest.mark.parametrize("name", JOINTS[:3])
def test_a_torn_ligament_is_wetter_than_a_whole_one(name):
    anatomy = drawn(name, findings=("ligament-tear",), severity=0.9)
    torn = region(name).build(anatomy, spacing_mm=1.5)
    whole = region(name).build(dataclasses.replace(anatomy, findings=()), spacing_mm=1.5)
    there = torn.truth["ligament-tear"] > 0.5
    assert bool(there.any())
    wet = [float(body.share("synovial-fluid")[there].mean()) for body in (whole, torn)]
    fibres = [float((body.share("tendon") + body.share("meniscus"))[there].mean()) for body in (whole, torn)]
    assert wet[1] > wet[0]
    assert fibres[1] < fibres[0]


def test_a_left_knee_is_a_mirrored_right_one():
    anatomy = drawn("knee")
    right = dataclasses.replace(anatomy, measures={**anatomy.measures, "left": 0.0})
    left = dataclasses.replace(anatomy, measures={**anatomy.measures, "left": 1.0})
    bodies = [region("knee").build(one, spacing_mm=4.0) for one in (right, left)]
    assert torch.equal(bodies[0].fractions, bodies[1].fractions.flip(1))
    places = bodies[0].truth["fibula"].sum(dim=(1, 2))
    middle = float((places * torch.arange(len(places))).sum() / places.sum())
    assert middle * bodies[0].affine[0, 0] + bodies[0].affine[0, 3] > 15  # the fibula is lateral: to the right


@pytest.mark.slow
def test_volumes_of_organs_agree_between_spacings():
    anatomy = drawn("knee")
    fine, coarse = (region("knee").build(anatomy, spacing_mm=value) for value in (1.5, 3.0))
    for organ in ("femur", "tibia", "muscle", "patella"):
        assert volume_ml(coarse, coarse.truth[organ]) == pytest.approx(volume_ml(fine, fine.truth[organ]), rel=0.08)


@pytest.mark.slow
def test_wrist_bones_do_not_touch():
    _, body = built("wrist", spacing_mm=1.0)
    carpals = ("scaphoid", "lunate", "triquetrum", "capitate", "hamate", "trapezoid", "trapezium")
    shares = torch.stack([body.truth[name] for name in carpals])
    assert all(volume_ml(body, share) > 0.4 for share in shares)
    assert float(shares.sum(dim=0).max()) <= 1 + 1e-4


def test_muscle_of_the_thigh_shrinks_and_fattens_with_age():
    young = [drawn("thigh", seed=seed, age_years=25.0).measures for seed in range(12)]
    old = [drawn("thigh", seed=seed, age_years=80.0).measures for seed in range(12)]
    assert np.mean([m["fascia_radius_mm"] for m in young]) > np.mean([m["fascia_radius_mm"] for m in old]) + 4
    assert np.mean([m["muscle_fat_fraction"] for m in young]) < np.mean([m["muscle_fat_fraction"] for m in old])


def fat_fraction(body, mask):
    """Proton-density fat fraction by its definition, over a mask."""
    table = at_field(3.0, names=body.tissues)
    protons = (body.fractions * table.proton_density[:, None, None, None])[:, mask].sum(dim=1)
    return float((protons * table.fat_fraction).sum() / protons.sum())


def test_the_fat_fraction_of_thigh_muscle_is_the_one_drawn():
    for age in (25.0, 75.0):
        anatomy, body = built("thigh", spacing_mm=3.0, age_years=age)
        inside = body.truth["quadriceps"] + body.truth["hamstrings"] + body.truth["adductors"] > 0.999
        assert fat_fraction(body, inside) == pytest.approx(anatomy.measures["muscle_fat_fraction"], abs=0.02)


@pytest.mark.slow
def test_atrophy_takes_muscle_of_one_group_on_one_side():
    sizes, fats = [], []
    for severity in (0.3, 0.9):
        anatomy = drawn("thigh", findings=("muscle-atrophy",), severity=severity)
        body = region("thigh").build(anatomy, spacing_mm=4.0)
        bare = region("thigh").build(dataclasses.replace(anatomy, findings=()), spacing_mm=4.0)
        finding = anatomy.findings[0]
        middle = body.shape[0] // 2
        half = slice(middle + 1, None) if finding.side == "right" else slice(0, middle)
        other = slice(0, middle) if finding.side == "right" else slice(middle + 1, None)
        sizes.append(float(body.truth[finding.site][half].sum() / bare.truth[finding.site][half].sum()))
        assert float(body.truth[finding.site][other].sum()) == pytest.approx(
            float(bare.truth[finding.site][other].sum()), rel=1e-4
        )
        mask = body.truth["muscle-atrophy"] > 0.999
        fats.append(fat_fraction(body, mask))
        assert fats[-1] == pytest.approx(anatomy.measures["atrophied_fat_fraction"], abs=0.05)
    assert 1 > sizes[0] > sizes[1]
    assert fats[0] < fats[1]


def test_both_thighs_are_alike():
    _, body = built("thigh", spacing_mm=4.0)
    quadriceps = body.truth["quadriceps"]
    assert torch.allclose(quadriceps, quadriceps.flip(0), atol=1e-3)


def test_the_hips_socket_holds_the_head():
    anatomy, body = built("hip", spacing_mm=3.0)
    both = body.truth["femur"] * body.truth["pelvis"]
    assert float(both.max()) < 0.3
    assert volume_ml(body, body.truth["cartilage"]) > 4
    assert anatomy.measures["head_diameter_mm"] == pytest.approx(48, rel=0.2)
