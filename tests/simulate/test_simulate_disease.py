"""Disease in the brain: the midline moves as the label says, enhancement is where the label says, places are apart."""

import dataclasses

import numpy as np
import pytest
import torch

from radfoundry.simulate import subject as people
from radfoundry.simulate.body import Body
from radfoundry.simulate.fields import grid_points
from radfoundry.simulate.lesion_course import course
from radfoundry.simulate.lesions import SEPTUM_MM, Lesion, draw_finding, midline_shift_mm, push_aside
from radfoundry.simulate.placement import Sign, band_noise, draw_sign, place_share, with_sign
from radfoundry.simulate.protocols import draw_sequence
from radfoundry.simulate.scan import weighted
from radfoundry.simulate.susceptibility import field_shift_ppm

CLOT = Lesion("haemorrhage", (34.0, 4.0, 16.0), (18.0, 20.0, 18.0), mass_effect=0.15, shift_mm=8.0)
GLIOMA = Lesion("tumour", (-30.0, -20.0, 22.0), (20.0, 22.0, 20.0), mass_effect=0.2, enhancing=True)


def healthy():
    drawn = people.draw_subject(np.random.default_rng(2), lesion_rate=0.0)
    still = dataclasses.replace(drawn, pose=np.eye(4), bend_mm=np.zeros_like(drawn.bend_mm), lesions=())
    return dataclasses.replace(still, ventricles_mm=0.0, sulci=0.1)


@pytest.fixture(scope="module")
def plain():
    return people.build(healthy())


@pytest.fixture(scope="module")
def glioma():
    return people.build(dataclasses.replace(healthy(), lesions=(GLIOMA,)))


def midline_profile(body):
    """Fluid along the right-left line through the septum pellucidum, averaged over a centimetre around it."""
    start = np.linalg.inv(body.affine) @ [0, *SEPTUM_MM[1:], 1]
    j, k = round(start[1]), round(start[2])
    return body.share("csf")[:, j - 2 : j + 3, k - 2 : k + 3].mean(dim=(1, 2)).numpy()


@pytest.mark.parametrize("shift_mm", [4.0, 8.0])
def test_the_midline_of_the_built_body_moves_by_the_label(plain, shift_mm):
    clot = dataclasses.replace(CLOT, shift_mm=shift_mm)
    moved = midline_profile(people.build(dataclasses.replace(healthy(), lesions=(clot,))))
    before = midline_profile(plain)
    centre = len(before) // 2
    fine = np.arange(centre - 12, centre + 12, 0.05)  # the frontal horns on both sides of the septum
    ruler = np.arange(len(before))
    offsets = np.arange(-9, 3, 0.05)  # in voxels of 2 mm; from the right to the left is negative
    wanted = np.interp(fine, ruler, before)
    scores = [np.corrcoef(wanted, np.interp(fine + offset, ruler, moved))[0, 1] for offset in offsets]
    measured = -2.0 * offsets[int(np.argmax(scores))]
    assert measured == pytest.approx(midline_shift_mm((clot,)), abs=1.6)
    assert midline_shift_mm((clot,)) > shift_mm


def test_without_a_mass_nothing_is_shifted_and_sides_mirror():
    assert midline_shift_mm(()) == 0
    mirrored = dataclasses.replace(CLOT, centre_mm=(-34.0, 4.0, 16.0))
    assert midline_shift_mm((CLOT,)) == pytest.approx(midline_shift_mm((mirrored,)), abs=1e-9)


def test_a_shift_of_any_size_folds_nothing_and_ends_at_the_skull():
    points = grid_points((41, 41, 41), np.diag([5.0, 5.0, 5.0, 1.0]) + np.array([[0, 0, 0, -100]] * 3 + [[0] * 4]))
    largest = dataclasses.replace(CLOT, shift_mm=15.0, mass_effect=0.3)
    moved = push_aside([largest], points)
    slopes = torch.stack(torch.gradient(moved, spacing=5.0, dim=(0, 1, 2)), dim=-1)
    assert float(torch.linalg.det(slopes)[1:-1, 1:-1, 1:-1].min()) > 0
    assert float((moved - points)[0].abs().max()) < 0.05


def test_drawn_haemorrhages_shift_more_the_larger_they_are():
    rng = np.random.default_rng(0)
    drawn = [draw_finding(np.array([[30.0, 0, 10]]), rng, kinds=("haemorrhage",))[0] for _ in range(200)]
    volumes = [np.prod(item.radii_mm) for item in drawn]
    assert np.corrcoef(volumes, [item.shift_mm for item in drawn])[0, 1] > 0.6
    assert max(item.shift_mm for item in drawn) <= 15


def test_contrast_agent_brightens_the_rim_and_vessels_and_leaves_the_brain(glioma):
    rng = np.random.default_rng(1)
    after = draw_sequence("T1c", rng=rng)
    before = dataclasses.replace(after, minutes_after_contrast=None)
    plain_t1, with_agent = (weighted(glioma, item, field_t=1.5) for item in (before, after))
    ratio = with_agent / plain_t1.clamp_min(1e-6)
    assert float(ratio[glioma.share("enhancing") > 0.6].mean()) > 1.25
    assert float(ratio[glioma.share("blood") > 0.9].mean()) > 1.5
    assert float((ratio[glioma.share("white") > 0.99] - 1).abs().max()) < 0.01
    assert "enhancing" not in people.build(dataclasses.replace(healthy(), lesions=(CLOT,))).truth


@pytest.mark.parametrize("place", ["core", "halo", "texture", "FLAIR"])
def test_the_sign_is_in_its_place_and_nowhere_else(glioma, place):
    sign = Sign(place, 1, 0.4, seed=3)
    flair, t2 = (draw_sequence(name, rng=np.random.default_rng(0)) for name in ("FLAIR", "T2w"))
    changes = {}
    for name, sequence in (("FLAIR", flair), ("T2w", t2)):
        one = weighted(with_sign(glioma, sign, name), sequence, field_t=3.0)
        changes[name] = (one - weighted(glioma, sequence, field_t=3.0)).abs()
    own = place_share(glioma, place)
    assert float(changes["FLAIR"][own == 0].max()) == 0 and float(changes["FLAIR"].max()) > 0.001
    assert (float(changes["T2w"].max()) == 0) == (place == "FLAIR")
    if place in ("core", "halo"):
        other = place_share(glioma, "halo" if place == "core" else "core")
        assert float(changes["FLAIR"][other > 0.99].max()) < 0.02 * float(changes["FLAIR"].max())  # edges share voxels


def test_core_and_halo_make_up_the_lesion(glioma):
    core, halo = place_share(glioma, "core"), place_share(glioma, "halo")
    assert torch.allclose(core + halo, glioma.truth["lesion"], atol=1e-6)


def test_the_texture_holds_its_band_only(plain):
    noise = band_noise(plain, seed=0, wavelength_mm=(6.0, 9.0))
    power = torch.fft.rfftn(noise).abs() ** 2
    axes = [torch.fft.fftfreq(size, 2.0) for size in noise.shape[:2]] + [torch.fft.rfftfreq(noise.shape[2], 2.0)]
    frequency = torch.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)
    outside = (frequency < 1 / 9.01) | (frequency > 1 / 5.99)
    assert float(power[outside].sum() / power.sum()) < 1e-6
    assert float(noise.std()) == pytest.approx(1, abs=1e-3) and abs(float(noise.mean())) < 1e-4


def test_status_separates_as_the_formula_says():
    # Phi(strength / (spread sqrt 2)) = 0.76 for strength = spread = 1 (normal distribution, tables).
    rng = np.random.default_rng(0)
    drawn = [draw_sign("core", strength=1.0, spread=1.0, fading=0.0, rng=rng) for _ in range(4000)]
    ill = np.array([item.strength for item in drawn if item.status])
    well = np.array([item.strength for item in drawn if not item.status])
    assert float((ill[:, None] > well[None, :]).mean()) == pytest.approx(0.7602, abs=0.02)


def test_a_sphere_shifts_the_field_as_its_closed_form():
    # Outside a sphere of radius R: chi/3 (R/r)^3 (3 cos^2 - 1); inside 0 with the Lorentz correction (Haacke 1999).
    axis = torch.arange(64, dtype=torch.float32) - 31.5
    away = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    ball = (0.5 + 8.0 - away).clamp(0, 1)
    affine = np.eye(4)
    shift = field_shift_ppm(Body(("haemorrhage",), ball[None], affine))
    far = (away > 11) & (away < 18)
    cosine = axis / away.clamp_min(1e-6)
    expected = 1.0 / 3 * (8.0 / away) ** 3 * (3 * cosine**2 - 1)
    assert float((shift - expected)[far].abs().max()) < 0.012
    assert float(shift[away < 6].abs().max()) < 0.02


def test_tumours_grow_clots_dissolve_and_infarcts_stay():
    infarct = Lesion("infarct", (30.0, 0, 20), (12.0, 12, 12))
    person = dataclasses.replace(healthy(), lesions=(GLIOMA, CLOT, infarct))
    first, later = course(person, np.array([0.0, 90.0]), response=0.0, rng=np.random.default_rng(0))
    assert later.lesions[0].radii_mm[0] > first.lesions[0].radii_mm[0]
    assert later.lesions[1].radii_mm[0] < first.lesions[1].radii_mm[0]
    assert later.lesions[1].shift_mm < first.lesions[1].shift_mm
    assert later.lesions[2] == first.lesions[2]
    treated = course(person, np.array([0.0, 90.0]), response=0.9, rng=np.random.default_rng(0))[1]
    assert treated.lesions[0].radii_mm[0] < first.lesions[0].radii_mm[0]
