"""Attenuation against tables and Beer-Lambert's law; line integrals against closed forms; films against physics."""

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
from radfoundry.simulate import attenuation
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.shapes import box, ellipsoid
from radfoundry.simulate.projection import VIEWS, Film, project, project_smoothly
from radfoundry.simulate.radiograph import (
    Detector,
    Display,
    Exam,
    Room,
    Tube,
    box_of,
    detected,
    radiograph,
    shutters,
)
from radfoundry.simulate.tissues import NAMES, TISSUES

QUIET = Detector("Maker", "Plate", scatter_fraction=0.0, blur_mm=0.0, electronic_quanta=0.0)


def ball(radius_mm=30.0, centre=(0.0, 0.0, 0.0), tissue="muscle", spacing_mm=2.0):
    canvas = Canvas((-50, -50, -50), (50, 50, 50), spacing_mm)
    canvas.paint(tissue, ellipsoid(centre, (radius_mm,) * 3))
    return canvas.body()


def test_water_attenuates_as_the_table_of_nist_says():
    # Hubbell and Seltzer 1995: 0.2059 cm²/g at 60 keV, 0.1707 at 100 keV.
    assert attenuation.attenuation_per_mm("water", 60.0) == pytest.approx(0.02059, rel=1e-6)
    assert attenuation.attenuation_per_mm("water", 100.0) == pytest.approx(0.01707, rel=1e-6)


@pytest.mark.parametrize("tissue", NAMES)
def test_every_tissue_attenuates_as_its_hounsfield_unit_says_at_the_reference_energy(tissue):
    unit = TISSUES[NAMES.index(tissue)].hounsfield
    parts = attenuation.mixture(unit)
    total = sum(
        part * attenuation.attenuation_per_mm(name, attenuation.REFERENCE_KEV)
        for part, name in zip(parts, attenuation.MATERIALS, strict=True)
    )
    water = attenuation.attenuation_per_mm("water", attenuation.REFERENCE_KEV)
    assert total == pytest.approx(water * (1 + unit / 1000), rel=1e-9, abs=1e-12)


def test_a_slab_lets_the_exponential_of_its_thickness_through():
    canvas = Canvas((-40, -30, -40), (40, 30, 40), 2.0)
    canvas.paint("muscle", box((0, 0, 0), (100, 21, 100)))
    body = canvas.body()
    film = Film((9, 9), 3.0)
    paths = project(attenuation.material_maps(body), body.affine, VIEWS["PA"], film)
    energy = attenuation.REFERENCE_KEV
    passed = attenuation.transmission(paths, attenuation.single_energy(energy))
    muscle = attenuation.attenuation_per_mm("water", energy) * 1.055  # 55 HU
    assert torch.allclose(passed, torch.full_like(passed, math.exp(-muscle * 42.0)), rtol=1e-4)


def test_a_thick_body_hardens_a_beam_of_many_energies():
    beam = attenuation.spectrum(100.0)
    thickness = torch.tensor([1.0, 50.0, 200.0])
    paths = torch.stack([torch.zeros(3), thickness, torch.zeros(3)])
    per_mm = -torch.log(attenuation.transmission(paths, beam)) / thickness
    assert per_mm[0] > per_mm[1] > per_mm[2]
    assert sum(beam.weights) == pytest.approx(1.0)


def test_the_path_through_a_ball_is_its_chord():
    body = ball(30.0, spacing_mm=1.0)
    film = Film((61, 1), 1.0)
    path = project(body.fractions, body.affine, VIEWS["AP"], film)[0, :, 0]
    away = (torch.arange(61) - 30.0).abs()
    chord = 2 * (900 - away**2).clamp_min(0).sqrt()
    inner = away < 27
    assert torch.allclose(path[inner], chord[inner], atol=0.35)


@pytest.mark.parametrize("view", [*VIEWS.values(), VIEWS["AP"].tilted(25.0)], ids=lambda view: view.name)
def test_parallel_rays_conserve_the_amount_of_tissue(view):
    body = ball(25.0, centre=(6.0, -8.0, 10.0))
    film = Film((160, 160), 1.0)
    seen = float(project(body.fractions, body.affine, view, film).sum()) * film.pixel_mm**2
    assert seen == pytest.approx(float(body.fractions.sum()) * 8.0, rel=2e-3)


def test_a_cone_of_rays_magnifies_by_source_detector_over_source_object():
    body = ball(10.0, spacing_mm=1.0)
    film = Film((121, 121), 0.5, source_mm=1000.0, behind_mm=200.0)
    assert film.magnification == pytest.approx(1.25)
    path = project(body.fractions, body.affine, VIEWS["PA"], film)[0]
    parallel = project(body.fractions, body.affine, VIEWS["PA"], replace(film, source_mm=math.inf))[0]
    # The area of the shadow grows with the square of the magnification; lengths along the beam do not change.
    ratio = float((path > 4).sum()) / float((parallel > 4).sum())
    assert ratio == pytest.approx(1.25**2, rel=0.02)
    assert float(path.max()) == pytest.approx(20.0, abs=0.2)


def test_frontal_films_show_the_patients_right_on_the_readers_left_and_the_head_above():
    body = ball(8.0, centre=(30.0, 0.0, 30.0))  # right, high
    for name in ("PA", "AP"):
        path = project(body.fractions, body.affine, VIEWS[name], Film((100, 100), 1.0))[0]
        column, row = divmod(int(path.argmax()), 100)
        assert column < 30 and row < 30
    front = ball(8.0, centre=(0.0, 30.0, 0.0))
    path = project(front.fractions, front.affine, VIEWS["LL"], Film((100, 100), 1.0))[0]
    assert int(path.argmax()) // 100 < 30  # the front is on the reader's left


def test_interpolated_line_integrals_are_those_of_every_pixel():
    body = ball(30.0, spacing_mm=2.0)
    film = Film((150, 150), 0.6, source_mm=1500.0, behind_mm=100.0)
    exact = project(body.fractions, body.affine, VIEWS["PA"], film)
    assert float((project_smoothly(body.fractions, body.affine, VIEWS["PA"], film) - exact).abs().max()) < 1.5


def test_a_source_inside_the_body_is_refused():
    body = ball()
    with pytest.raises(InputError, match="inside the body"):
        project(body.fractions, body.affine, VIEWS["PA"], Film((9, 9), 1.0, source_mm=40.0, behind_mm=20.0))


def test_noise_variance_is_inverse_to_the_dose():
    film = Film((128, 128), 0.5)
    through = torch.full(film.shape, 0.1)
    spread = []
    for quanta in (1e4, 4e4):
        room = Room(Tube(quanta_per_mm2=quanta), QUIET)
        seen = detected(through, room, film, rng=np.random.default_rng(3))
        spread.append(float(seen.var()))
        assert float(seen.mean()) == pytest.approx(0.1, rel=0.01)
        assert float(seen.var()) == pytest.approx(0.1 / (quanta * 0.25), rel=0.05)  # Poisson: mean over quanta
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.1)


def test_scatter_is_the_stated_share_of_all_photons():
    film = Film((64, 64), 2.0)
    room = Room(Tube(quanta_per_mm2=1e7), replace(QUIET, scatter_fraction=0.6))
    seen = detected(torch.full(film.shape, 0.2), room, film, rng=np.random.default_rng(0))
    assert float(seen.mean()) == pytest.approx(0.2 / (1 - 0.6), rel=1e-3)


@pytest.fixture(scope="module")
def film_of_a_ball():
    canvas = Canvas((-50, -50, -50), (50, 50, 50), 2.5)
    canvas.paint("muscle", box((0, 0, 0), (45, 30, 45)))
    canvas.paint("bone", ellipsoid((20, 0, 15), (9, 9, 9)), name="nodule")
    room = Room(Tube(), Detector("Philips", "DigitalDiagnost"), Display(photometric="MONOCHROME1"))
    exam = Exam("CHEST", marker="L", collimated_mm=(10.0, 6.0))
    film = Film((120, 130), 0.9, source_mm=1800.0, behind_mm=60.0)
    return (
        canvas.body(),
        film,
        room,
        exam,
        radiograph(canvas.body(), VIEWS["PA"], film, room, exam, rng=np.random.default_rng(4)),
    )


def test_same_seed_same_film(film_of_a_ball):
    body, film, room, exam, made = film_of_a_ball
    again = radiograph(body, VIEWS["PA"], film, room, exam, rng=np.random.default_rng(4))
    assert again.volume.array.tobytes() == made.volume.array.tobytes()
    other = radiograph(body, VIEWS["PA"], film, room, exam, rng=np.random.default_rng(5))
    assert other.volume.array.tobytes() != made.volume.array.tobytes()


def test_the_truth_lies_where_the_ball_is_brightest(film_of_a_ball):
    *_, made = film_of_a_ball
    left, top, right, bottom = box_of(made.truth["nodule"])
    picture = made.volume.array[0, :, :, 0]
    inside = picture[left:right, top:bottom].mean()
    assert inside > 1.1 * picture[30:60, 60:100].mean()
    # A ball of 18 mm, magnified 1800/1740, on pixels of 0.9 mm; the edge of the box lies within a voxel.
    assert (right - left) * 0.9 == pytest.approx(18.6, abs=3)
    assert made.truth["nodule"].array.max() == pytest.approx(18 / 60, abs=0.03)  # its share of the 60 mm ray


def test_shutters_are_black_and_the_lead_letter_is_white(film_of_a_ball):
    _, film, _, exam, made = film_of_a_ball
    picture = made.volume.array[0, :, :, 0]
    opened = shutters(film, exam.collimated_mm).numpy()
    assert (picture[opened < 0.4] == 0).all()
    unmarked = radiograph(
        *film_of_a_ball[:1],
        VIEWS["PA"],
        film,
        film_of_a_ball[2],
        replace(exam, marker=""),
        rng=np.random.default_rng(4),
    ).volume.array[0, :, :, 0]
    letter = (picture.astype(int) - unmarked) > 500
    columns, rows = np.nonzero(letter)
    assert letter.sum() >= 9 and columns.min() > 60 and rows.max() < 50  # on the reader's right, above
    assert picture[letter].min() > np.percentile(unmarked, 90)


def test_films_come_back_from_dicom_as_they_were(film_of_a_ball, tmp_path):
    *_, made = film_of_a_ball
    identity = Identity(patient_id="P1", study_date="20240101")
    paths = write_series(made.volume, tmp_path, acquisition=made.acquisition, identity=identity)
    read = load_series(read_instances(walk([tmp_path])))
    assert np.array_equal(read.volume.array, made.volume.array)
    assert read.volume.geometry.matches(made.volume.geometry)
    header = read.acquisition
    assert (header.modality, header.view_position, header.laterality) == ("DX", "PA", "U")
    assert header.photometric == "MONOCHROME1" and header.tube_voltage_kv == 120
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(paths[0])
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.1" and dataset.BitsStored == 12
    assert dataset.PresentationLUTShape == "INVERSE" and list(dataset.PatientOrientation) == ["L", "F"]
    stored = dataset.pixel_array.astype(int).T
    assert np.array_equal(4095 - stored, made.volume.array[0, :, :, 0])
