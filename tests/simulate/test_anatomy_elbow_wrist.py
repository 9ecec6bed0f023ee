"""Elbow and wrist: sizes follow what was drawn, findings act where they say and grow with their severity."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from radfoundry.simulate.anatomy.regions import region
from radfoundry.simulate.anatomy.wrist import CARPALS

SPACING_MM = {"elbow": 2.0, "wrist": 1.5}


def person(name, *, findings=(), severity=None, seed=3, sex="F"):
    rng = np.random.default_rng(seed)
    return region(name).draw(rng, age_years=50.0, sex=sex, findings=findings, severity=severity)


def built(anatomy):
    return region(anatomy.region).build(anatomy, spacing_mm=SPACING_MM[anatomy.region])


def ml(body, name):
    return float(body.truth[name].sum()) * body.voxel_ml


@pytest.mark.parametrize(
    ("name", "measure", "bone"), [("elbow", "humerus_width_mm", "humerus"), ("wrist", "wrist_width_mm", "radius")]
)
def test_larger_people_have_larger_bones_in_proportion(name, measure, bone):
    anatomy = person(name)
    small = built(replace(anatomy, measures={**anatomy.measures, measure: 50.0}))
    large = built(replace(anatomy, measures={**anatomy.measures, measure: 60.0}))
    inside = [body.truth[bone] for body in (small, large)]
    # The field of view is the same in mm, so a smaller person shows a longer piece of shaft: compare widths.
    widths = [float((mask.amax(dim=(1, 2)) > 0.5).sum()) for mask in inside]
    assert widths[1] / widths[0] == pytest.approx(60 / 50, rel=0.1)


def test_every_carpal_bone_is_there_and_of_human_size():
    body = built(person("wrist", sex="M", seed=5))
    # Crisco et al. 2005: from some 0.6 ml (pisiform) to 4 ml (capitate), with a wide spread between people.
    sizes = {name: ml(body, name) for name in CARPALS}
    assert all(0.3 < size < 6.0 for size in sizes.values()), sizes
    assert (
        max(sizes, key=lambda name: sizes[name]) == "capitate"
        and min(sizes, key=lambda name: sizes[name]) == "pisiform"
    )


@pytest.mark.parametrize("name", ["elbow", "wrist"])
@pytest.mark.parametrize("kind", ["fracture", "effusion", "marrow-oedema", "ligament-tear"])
def test_findings_grow_with_severity_and_lie_where_they_say(name, kind):
    mild, bad = (person(name, findings=(kind,), severity=severity) for severity in (0.3, 1.0))
    first, second = built(mild), built(bad)
    assert 0 < ml(first, kind) < ml(second, kind)
    mask = second.truth[kind]
    middle = (mask.nonzero().float() * mask[mask > 0][:, None]).sum(dim=0) / mask.sum()
    place = second.affine[:3, :3] @ middle.numpy() + second.affine[:3, 3]
    assert np.linalg.norm(place - np.array(bad.findings[0].centre_mm)) < 14


def test_an_effusion_is_fluid_and_a_bruise_lies_in_marrow():
    healthy, wet = built(person("elbow")), built(person("elbow", findings=("effusion",), severity=1.0))
    fluid = [float(body.share("synovial-fluid").sum()) * body.voxel_ml for body in (healthy, wet)]
    assert fluid[1] > fluid[0] + 3
    bruised = built(person("wrist", findings=("marrow-oedema",), severity=1.0))
    assert float(bruised.share("yellow-marrow").sum()) < float(built(person("wrist")).share("yellow-marrow").sum())


def test_left_is_the_mirror_image_of_right():
    anatomy = person("wrist")
    right = built(replace(anatomy, measures={**anatomy.measures, "left": 0.0}))
    left = built(replace(anatomy, measures={**anatomy.measures, "left": 1.0}))
    assert torch.equal(left.truth["scaphoid"], right.truth["scaphoid"].flip(0))
