"""Compression keeps volume, calcifications keep theirs, views hang as they should, films come back from DICOM."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from radfoundry.data.dicom_header import read_instances
from radfoundry.data.dicom_identity import Identity
from radfoundry.data.dicom_series import load_series
from radfoundry.data.dicom_write import write_series
from radfoundry.data.sources import walk
from radfoundry.records import InputError
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.shapes import box, common, ellipsoid, grow, half_space
from radfoundry.simulate.breast_compression import breast_view, compress, one_breast, rounded
from radfoundry.simulate.mammogram import (
    BreastExam,
    Calcification,
    MammographyUnit,
    calcified,
    cluster,
    density_class,
    mammogram,
    parenchyma,
)
from radfoundry.simulate.radiograph import box_of, power_law

UNIT = MammographyUnit("HOLOGIC, Inc.", "Selenia Dimensions", pixel_mm=0.4, photometric="MONOCHROME1")


@pytest.fixture(scope="module")
def body():
    canvas = Canvas((-150, -30, -80), (150, 90, 80), 3.0)
    canvas.paint("muscle", box((0, -30, 0), (160, 20, 200)))
    front = half_space((0, -9, 0), (0, -1, 0))
    for side in (-1, 1):
        whole = ellipsoid((80 * side, 0, 0), (56, 75, 56))
        canvas.paint("skin", common(whole, front))
        canvas.paint("fat", common(grow(whole, -3.0), front))
        canvas.paint("glandular", ellipsoid((80 * side, 30, 0), (24, 26, 22)))
    canvas.paint("carcinoma", ellipsoid((-100, 35, 18), (7, 7, 7)), name="mass")
    return canvas.body()


@pytest.mark.parametrize("name", ["CC", "MLO"])
def test_pressing_keeps_the_volume_and_gives_the_thickness(body, name):
    breast = one_breast(body, "L")
    view = breast_view(name, "L")
    pressed = compress(breast, view, thickness_mm=55.0)
    before = float(breast.fractions.sum()) * breast.voxel_ml
    after = float(pressed.fractions.sum()) * pressed.voxel_ml
    assert after == pytest.approx(before, rel=0.03)
    thickness = pressed.fractions.sum(dim=(0, 3)) * 3.0
    assert float(thickness.max()) == pytest.approx(55.0, abs=1.5)
    gland = [float(item.share("glandular").sum()) * item.voxel_ml for item in (breast, pressed)]
    assert gland[1] == pytest.approx(gland[0], rel=0.1)
    mass = [float(item.truth["mass"].sum()) * item.voxel_ml for item in (breast, pressed)]
    assert mass[1] == pytest.approx(mass[0], rel=0.2)


def test_the_edge_of_a_pressed_breast_is_half_a_circle():
    edge = torch.tensor([-3.0, 0.0, 5.0, 10.0, 20.0])
    assert torch.allclose(rounded(edge, 20.0), torch.tensor([0.0, 0.0, 20 * math.sqrt(0.75), 20.0, 20.0]))


def test_views_hang_back_to_back():
    left, right = breast_view("CC", "L"), breast_view("CC", "R")
    assert left.row == (0.0, 1.0, 0.0) and right.row == (0.0, -1.0, 0.0)
    assert left.column[0] > 0 > right.column[0]  # lateral above: left runs to the right, right to the left
    oblique = breast_view("MLO", "L").axes
    assert np.allclose(oblique.T @ oblique, np.eye(3)) and oblique[2, 2] < 0 > oblique[2, 1]


def test_a_calcification_keeps_its_volume_at_every_pixel_size():
    for pixel in (0.1, 0.2, 0.4):
        paths = calcified([Calcification(10.0, 3.03, 0.3)], (200, 200), pixel)
        assert float(paths.sum()) * pixel**2 == pytest.approx(4 / 3 * math.pi * 0.15**3, rel=0.03)


def test_clusters_are_of_the_stated_size():
    grains = cluster((40.0, 5.0), count=200, radius_mm=5.0, rng=np.random.default_rng(0))
    places = np.array([(grain.front_mm, grain.across_mm) for grain in grains])
    assert np.allclose(places.mean(axis=0), (40.0, 5.0), atol=0.6) and np.allclose(places.std(axis=0), 2.5, atol=0.4)
    assert 0.15 <= min(grain.diameter_mm for grain in grains) <= max(grain.diameter_mm for grain in grains) <= 0.6


def test_texture_has_the_cubic_spectrum_of_mammograms():
    field = power_law((256, 256), 0.5, rng=np.random.default_rng(1), largest_mm=60.0)
    power = torch.fft.fft2(field).abs() ** 2
    frequency = torch.fft.fftfreq(256, d=0.5)
    radius = (frequency[:, None] ** 2 + frequency[None] ** 2).sqrt()
    edges = np.geomspace(0.06, 0.8, 12)
    bands = [power[(radius >= a) & (radius < b)].mean() for a, b in itertools.pairwise(edges)]
    slope = np.polyfit(np.log(np.sqrt(edges[:-1] * edges[1:])), np.log(bands), 1)[0]
    assert slope == pytest.approx(-3.0, abs=0.2)  # Burgess 2001


def test_fine_texture_moves_tissue_but_makes_none():
    materials = torch.rand(3, 80, 90) * 30
    made = parenchyma(materials, materials[1], 0.5, rng=np.random.default_rng(2))
    assert torch.allclose(made[0] + made[1], materials[0] + materials[1], atol=1e-3)
    assert torch.equal(made[2], materials[2]) and float(made.min()) >= 0


@pytest.fixture(scope="module")
def film(body):
    grains = cluster((30.0, 10.0), count=12, radius_mm=4.0, rng=np.random.default_rng(5))
    exam = BreastExam("CC", "L", calcifications=grains)
    return exam, mammogram(body, UNIT, exam, rng=np.random.default_rng(6))


def test_the_mass_and_the_grains_are_bright_and_boxed(film):
    _, made = film
    picture = made.volume.array[0, :, :, 0]
    left, top, right, bottom = box_of(made.truth["mass"], share=0.5)
    ring = picture[left - 12 : right + 12, top - 12 : bottom + 12]
    assert picture[left:right, top:bottom].mean() > ring.mean() + 50
    assert top < picture.shape[1] / 2  # the mass lies laterally: in the upper half of a CC film
    grains = made.truth["calcifications"].array[0, :, :, 0]
    assert grains.any() and box_of(made.truth["calcifications"]) is not None
    assert picture[grains > 0.5 * grains.max()].mean() > picture[picture > 0].mean() + 200


def test_the_chest_wall_is_at_the_left_of_left_films_and_at_the_right_of_right_ones(film, body):
    _, left = film
    right = mammogram(body, UNIT, BreastExam("CC", "R"), rng=np.random.default_rng(6))
    first = left.volume.array[0, :, :, 0] > 0
    last = right.volume.array[0, :, :, 0] > 0
    assert first[2].sum() > 3 * first[-3].sum() and last[-3].sum() > 3 * last[2].sum()
    assert left.volume.orientation[0] == "A" and right.volume.orientation[0] == "P"


def test_the_muscle_shows_in_the_oblique_view_only(body):
    plain = BreastExam("MLO", "L", marker=False)
    with_muscle = mammogram(body, UNIT, plain, rng=np.random.default_rng(7)).volume.array[0, :, :, 0].astype(int)
    without = mammogram(body, UNIT, replace(plain, muscle=0.0), rng=np.random.default_rng(7))
    assert with_muscle[:30, 12:32].mean() > np.median(with_muscle[with_muscle > 0]) + 300
    assert with_muscle[:15, -60:-40].mean() < with_muscle[:30, 12:32].mean() - 300  # below, no muscle
    assert without.volume.shape[1] > with_muscle.shape[1]  # the axilla is cut only where it is drawn in


def test_density_is_of_the_tissue_and_not_of_the_film(film, body):
    _, made = film
    breast = one_breast(body, "L")
    dense = float((breast.share("glandular") + breast.share("carcinoma")).sum())
    whole = float((breast.fractions.sum(dim=0) - breast.share("skin")).sum())
    assert made.degradations["density_percent"] == pytest.approx(100 * dense / whole, rel=0.12)
    assert [density_class(value) for value in (0, 24.9, 25, 60, 100)] == ["a", "a", "b", "c", "d"]


def test_films_repeat_and_come_back_from_dicom(film, body, tmp_path):
    exam, made = film
    again = mammogram(body, UNIT, exam, rng=np.random.default_rng(6))
    assert again.volume.array.tobytes() == made.volume.array.tobytes()
    paths = write_series(made.volume, tmp_path, acquisition=made.acquisition, identity=Identity(patient_id="P"))
    read = load_series(read_instances(walk([tmp_path])))
    assert np.array_equal(read.volume.array, made.volume.array)
    assert read.volume.geometry.matches(made.volume.geometry)
    header = read.acquisition
    assert (header.modality, header.view_position, header.laterality) == ("MG", "CC", "L")
    assert header.photometric == "MONOCHROME1"
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(paths[0])
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.2"
    assert dataset.ViewCodeSequence[0].CodeMeaning == "cranio-caudal"
    assert list(dataset.PatientOrientation) == ["A", "R"]


def test_what_cannot_be_pressed_or_seen_is_refused(body):
    with pytest.raises(InputError, match="thinner"):
        compress(one_breast(body, "L"), breast_view("CC", "L"), thickness_mm=150.0)
    with pytest.raises(InputError, match="no view"):
        breast_view("ML", "L")
    canvas = Canvas((-20, -20, -20), (20, 20, 20), 4.0)
    canvas.paint("muscle", box((0, 0, 0), (30, 30, 30)))
    with pytest.raises(InputError, match="no breast"):
        one_breast(canvas.body(), "L")
