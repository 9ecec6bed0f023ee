"""Simulated heads: the same seed gives the same bytes, fractions stay fractions, labels and reports tell the truth."""

import numpy as np
import pytest
import torch

from radfoundry.records import InputError
from radfoundry.simulate import presets
from radfoundry.simulate.fields import grid_points, interpolate, resample, rotation, spline_field
from radfoundry.simulate.head import TISSUES, head
from radfoundry.simulate.lesions import Lesion, push_aside, surface_mm
from radfoundry.simulate.scan import Slab, slab_grid, through_slices
from radfoundry.simulate.subject import build, draw_subject
from radfoundry.volume import Volume


@pytest.fixture(scope="module")
def case():
    preset = presets.brain_multisequence(lesion_rate=1.0, sequences=("FLAIR", "T2w"))
    return preset.simulate(1, seed=5)


def test_the_template_is_a_head_of_human_size():
    template = head()
    voxel_ml = abs(np.linalg.det(template.affine[:3, :3])) / 1000
    total = template.fractions.sum(dim=0)
    assert float(total.max()) <= 1 + 1e-5 and float(template.fractions.min()) >= 0
    grey = float((template.fractions[0] + template.fractions[3]).sum()) * voxel_ml
    white = float(template.fractions[1].sum()) * voxel_ml
    # ICBM-152: brain of about 1.4-1.9 l with more grey than white matter (an average of enlarged, warped heads).
    assert 600 < white < grey < 1200


@pytest.mark.parametrize("age", [25.0, 80.0])
def test_fractions_stay_fractions_in_a_person(age):
    subject = draw_subject(np.random.default_rng(3), lesion_rate=1.0, age_years=age)
    assert subject.age_years == age
    body = build(subject)
    total = body.fractions.sum(dim=0)
    assert float(body.fractions.min()) >= -1e-6
    assert float(total.max()) <= 1 + 1e-4
    assert float(body.truth["lesion"].max()) <= 1 + 1e-6


def test_older_people_have_more_fluid():
    import dataclasses

    subject = draw_subject(np.random.default_rng(0), lesion_rate=0.0)
    young = build(dataclasses.replace(subject, ventricles_mm=0.0, sulci=0.1))
    old = build(dataclasses.replace(subject, ventricles_mm=4.0, sulci=0.5))
    fluid = [float(body.share("csf").sum()) * body.voxel_ml for body in (young, old)]
    assert fluid[1] > fluid[0] + 30  # ml


def test_same_seed_same_bytes_and_cases_do_not_depend_on_each_other(case):
    preset = presets.brain_multisequence(lesion_rate=1.0, sequences=("FLAIR", "T2w"))
    other = preset.simulate(0, seed=6)  # what is drawn in between must not matter
    again = preset.simulate(1, seed=5)
    assert again.labels == case.labels and again.report == case.report and other.person != case.person
    for one, twin in zip(case.series, again.series, strict=True):
        assert np.array_equal(one.volume.array, twin.volume.array)


def test_labels_reports_and_masks_agree(case):
    assert case.labels["lesion_present"] == 1 and case.labels["lesion_volume_ml"] > 0
    assert case.labels["lesion_side"] in case.report.text.lower()
    spacing = case.series[0].volume
    mask = case.series[0].truth["lesion"]
    assert mask.geometry.matches(spacing.geometry)
    seen_ml = float(mask.array.sum()) * abs(np.linalg.det(mask.affine[:3, :3])) / 1000
    assert seen_ml == pytest.approx(case.labels["lesion_volume_ml"], rel=0.35)  # gaps and the field of view cut it


def test_healthy_patients_have_no_lesion_anywhere():
    healthy = presets.brain_multisequence(lesion_rate=0.0, sequences=("T1w",)).simulate(2, seed=1)
    assert healthy.labels["lesion_present"] == 0 and healthy.labels["lesion_volume_ml"] == 0
    assert all(not series.truth["lesion"].array.any() for series in healthy.series)
    assert all(
        item.state != "present"
        for item in healthy.report.statements
        if item.finding in ("tumour", "infarct", "demyelination")
    )


def test_lesions_are_bright_on_flair_and_dark_on_t1(case):
    for name, brighter in (("FLAIR", True), ("T2w", True)):
        series = next(item for item in case.series if item.name == name)
        mask = series.truth["lesion"].array[0] > 0.8
        image = series.volume.array[0].astype(float)
        if mask.sum() < 5:
            continue
        brain = np.median(image[image > np.percentile(image, 60)])
        assert (np.median(image[mask]) > brain) == brighter


def test_headers_state_what_was_simulated(case):
    flair = next(item for item in case.series if item.name == "FLAIR").acquisition
    assert 1900 < flair.inversion_time_ms < 3000 and "IR" in flair.scanning_sequence
    assert all(item.acquisition.field_strength_t == case.labels["field_strength_t"] for item in case.series)


@pytest.mark.parametrize("plane, expected", [("axial", "LPS"), ("sagittal", "PIL"), ("coronal", "LIP")])
def test_slabs_lie_as_named(plane, expected):
    shape, affine = slab_grid(Slab(plane=plane))
    volume = Volume.of(np.zeros(shape), affine)
    assert volume.orientation == expected
    assert volume.spacing_mm == pytest.approx((2.5, 2.5, 5.0))


def test_slices_average_over_their_thickness_and_keep_the_mass():
    share = torch.zeros(1, 60, 60, 60)
    share[0, 25:35, 25:35, 25:35] = 1
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -59
    slab = Slab(in_plane_mm=2.0, thickness_mm=6.0, field_of_view_mm=(110, 110, 108), centre_mm=(0, 0, 0))
    seen = through_slices(share, affine, slab)[0]
    assert float(seen.sum()) * 2 * 2 * 6 == pytest.approx(1000 * 8, rel=0.02)


def test_splines_are_a_partition_of_one_and_linear():
    rng = np.random.default_rng(0)
    one, other = (torch.from_numpy(rng.normal(size=(3, 5, 6, 7)).astype(np.float32)) for _ in range(2))
    shape = (11, 9, 13)
    assert torch.allclose(spline_field(torch.ones(1, 5, 5, 5), shape), torch.ones(1, *shape), atol=1e-6)
    both = spline_field(2 * one + other, shape)
    assert torch.allclose(both, 2 * spline_field(one, shape) + spline_field(other, shape), atol=1e-4)


def test_both_ways_to_interpolate_agree_and_nothing_wraps():
    maps = torch.rand(2, 9, 8, 7, generator=torch.Generator().manual_seed(0))
    affine, target = np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([1.0, 1.5, 1.2, 1.0])
    affine[:3, 3], target[:3, 3] = -5, -4
    target[:3, :3] = rotation((5, 10, 3)) @ target[:3, :3]
    there = interpolate(maps, affine, grid_points((6, 7, 5), target))
    assert torch.allclose(resample(maps, affine, (6, 7, 5), target), there, atol=1e-5)
    far = np.eye(4)
    far[:3, 3] = 500
    assert float(resample(maps, affine, (4, 4, 4), far).abs().max()) == 0


def test_a_round_lesion_has_its_volume_and_its_mass_effect_folds_nothing():
    lesion = Lesion("tumour", (0.0, 0.0, 0.0), (10.0, 10.0, 10.0), mass_effect=0.45)
    points = grid_points((41, 41, 41), np.array([[1, 0, 0, -20], [0, 1, 0, -20], [0, 0, 1, -20], [0, 0, 0, 1.0]]))
    share = (0.5 - surface_mm(lesion, points)).clamp(0, 1)
    assert float(share.sum()) == pytest.approx(4 / 3 * np.pi * 1000, rel=0.01)
    moved = push_aside([lesion], points)
    jacobian = torch.stack(torch.gradient(moved, dim=(0, 1, 2)), dim=-1)
    assert float(torch.linalg.det(jacobian)[1:-1, 1:-1, 1:-1].min()) > 0


def test_options_out_of_range_are_refused():
    for options in ({"size": "huge"}, {"lesion_rate": 1.5}):
        with pytest.raises(InputError):
            presets.brain_multisequence(**options)


def test_tissue_names_of_the_head_are_known():
    from radfoundry.simulate.tissues import NAMES

    assert set(TISSUES) <= set(NAMES)


def test_rendered_t1_resembles_the_real_template():
    from radfoundry.simulate.head import template_map
    from radfoundry.simulate.sequences import Sequence, tissue_signals
    from radfoundry.simulate.tissues import at_field

    template = head()
    real, _ = template_map("t1", 2)
    # The ICBM-152 volumes were scanned as spoiled gradient echo, TR 18, TE 10 ms, 30 degrees at 1.5 T.
    sequence = Sequence("T1w", "gradient-echo", 18, 10, flip_angle_deg=30)
    values = tissue_signals(sequence, at_field(1.5, names=TISSUES)).numpy()
    rendered = np.tensordot(values, template.fractions.numpy(), 1)
    inside = (real > 0.05) & (template.depth_mm.numpy() > 0)
    assert np.corrcoef(rendered[inside], real[inside])[0, 1] > 0.95


def test_options_mark_fault_and_travel():
    preset = presets.brain_multisequence(
        sequences=("FLAIR",), lesion_rate=1.0, marker_rate=1.0, fault_rate=1.0, travelling=True
    )
    made = preset.simulate(0, seed=2)
    assert len(made.series) == 4 and len({item.site for item in made.series}) == 2
    assert made.labels["marker"] == 1
    for item in made.series:
        assert item.volume.array[0, 2, 8, 0] == item.volume.array[0, 2, 7, 0] > 0  # the stem of the burned-in L
