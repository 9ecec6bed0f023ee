"""Speckle, beam width, attenuation, shadow and enhancement of simulated ultrasound against their laws."""

import math

import numpy as np
import pytest
import torch

from radfoundry.data.dicom_header import read_instances
from radfoundry.data.dicom_identity import Identity
from radfoundry.data.dicom_series import load_series
from radfoundry.data.dicom_write import write_series
from radfoundry.data.sources import walk
from radfoundry.records import InputError
from radfoundry.simulate.acoustics import acoustic, acoustic_maps
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.shapes import box, ellipsoid, half_space
from radfoundry.simulate.tissues import NAMES
from radfoundry.simulate.ultrasound import (
    Contact,
    Machine,
    Probe,
    compressed,
    crisp,
    echoes,
    scan_converted,
    spread,
    ultrasound,
)

PROBE = Probe("Linear", 8.0, 30.0, lines=128)
PLAIN = Machine("Maker", "Box", gain_db_per_cm_mhz=0.0, looks=1, noise_db=-200.0, pixel_mm=0.15)
CONTACT = Contact((0, 0, 0), (0, -1, 0), (-1, 0, 0))


def even(tissue="liver", lines=128, samples=400):
    return acoustic_maps([tissue], torch.ones(1, lines, samples))


def without_loss(maps):
    return type(maps)(maps.impedance_mrayl, torch.zeros_like(maps.attenuation_db), maps.amplitude, maps.strands)


def test_impedances_are_those_of_the_textbook():
    # Szabo 2014, table B.1: water 1.48-1.52, fat 1.38, muscle 1.65-1.74, bone 6-8 MRayl.
    assert acoustic("fat").impedance_mrayl == pytest.approx(1.38, abs=0.03)
    assert acoustic("water").impedance_mrayl == pytest.approx(1.5, abs=0.03)
    assert acoustic("muscle").impedance_mrayl == pytest.approx(1.68, abs=0.06)
    assert 6 < acoustic("bone").impedance_mrayl < 8
    assert all(acoustic(name).impedance_mrayl > 0 for name in NAMES)


def test_fully_developed_speckle_has_the_signal_to_noise_ratio_of_rayleigh():
    envelope = echoes(without_loss(even(samples=900)), PROBE, PLAIN, rng=np.random.default_rng(0))
    inner = envelope[16:-16, 20:-20]
    assert float(inner.mean() / inner.std()) == pytest.approx(math.sqrt(math.pi / (4 - math.pi)), rel=0.04)  # 1.913
    assert float((inner**2).mean()) == pytest.approx(1.0, rel=0.08)  # liver is the reference


def test_compounding_raises_it_by_the_root_of_the_number_of_views():
    four = Machine("Maker", "Box", gain_db_per_cm_mhz=0.0, looks=4, noise_db=-200.0)
    envelope = echoes(without_loss(even(samples=900)), PROBE, four, rng=np.random.default_rng(1))[16:-16, 20:-20]
    assert float(envelope.mean() / envelope.std()) == pytest.approx(2 * 1.913, rel=0.06)


def test_tissue_weakens_the_echo_both_ways_and_gain_makes_up_for_it():
    envelope = echoes(even(), PROBE, PLAIN, rng=np.random.default_rng(2))
    shallow, deep = 50, 350
    drop = 20 * math.log10(
        float(
            envelope[:, deep - 30 : deep + 30].pow(2).mean().sqrt()
            / envelope[:, shallow - 30 : shallow + 30].pow(2).mean().sqrt()
        )
    )
    apart_cm = (deep - shallow) * PROBE.sample_mm / 10
    assert drop == pytest.approx(-2 * 8.0 * 0.5 * apart_cm, abs=1.0)
    gained = Machine("Maker", "Box", gain_db_per_cm_mhz=0.5, looks=1, noise_db=-200.0)
    flat = echoes(even(), PROBE, gained, rng=np.random.default_rng(2))
    assert float(flat[:, 320:380].mean() / flat[:, 20:80].mean()) == pytest.approx(1.0, abs=0.1)


def test_the_beam_is_wider_in_depth_and_as_wide_as_stated():
    widths = []
    fine_lines = Probe("Linear", 8.0, 30.0, width_mm=12.0, lines=128)
    for place in (60, 700):
        signal = torch.zeros(1, 128, 800, dtype=torch.complex64)
        signal[0, 64, place] = 1.0
        profile = spread(signal, fine_lines, torch.arange(800.0) * PROBE.sample_mm)[0, :, place].abs() ** 2
        fine = torch.nn.functional.interpolate(profile[None, None], scale_factor=16, mode="linear")[0, 0]
        widths.append(float((fine > fine.max() / 2).sum()) / 16 * 12.0 / 127)
        stated = float(PROBE.lateral_mm(torch.tensor(place * PROBE.sample_mm)))
        assert widths[-1] == pytest.approx(stated, rel=0.1)
    assert widths[1] > 1.1 * widths[0]


def test_crisp_borders_keep_the_sum_of_pure_and_empty_places():
    shares = torch.tensor([[1.0, 0.0, 0.7, 0.5], [0.0, 0.0, 0.3, 0.5]])
    made = crisp(shares)
    assert torch.allclose(made[:, 0], torch.tensor([1.0, 0.0])) and not made[:, 1].any()
    assert made[0, 2] > 0.95 and torch.allclose(made[:, 3], torch.tensor([0.5, 0.5]))


@pytest.fixture(scope="module")
def scanned():
    canvas = Canvas((-24, -32, -4), (24, 0, 4), 0.6)
    canvas.paint("glandular", half_space((0, -1, 0), (0, 1, 0)))
    canvas.paint("water", ellipsoid((10, -12, 0), (4, 4, 4)), name="cyst")
    canvas.paint("bone", box((-10, -12, 0), (2.5, 0.8, 5)), name="stone")
    body = canvas.body()
    return body, ultrasound(body, PROBE, CONTACT, Machine("Maker", "Box", pixel_mm=0.2), rng=np.random.default_rng(3))


def mean_behind(picture, truth, columns_from):
    there = truth.array[0, :, :, 0] > 0.5
    columns, rows = np.nonzero(there)
    inner = columns[(columns > np.percentile(columns, 25)) & (columns < np.percentile(columns, 75))]
    below = slice(rows.max() + 8, rows.max() + 30)
    return picture[np.unique(inner)][:, below].mean(), picture[columns_from, below].mean()


def test_bone_casts_a_shadow_and_fluid_brightens_what_is_behind(scanned):
    _, made = scanned
    picture = made.volume.array[0, :, :, 0].astype(float)
    beside = slice(85, 105)
    shadow, neighbour = mean_behind(picture, made.truth["stone"], beside)
    assert shadow < neighbour - 40
    bright, neighbour = mean_behind(picture, made.truth["cyst"], beside)
    assert bright > neighbour + 5
    inside = picture[made.truth["cyst"].array[0, :, :, 0] > 0.9].mean()
    assert inside < 0.5 * neighbour


def test_right_of_the_patient_is_left_in_the_image(scanned):
    _, made = scanned
    columns, _ = np.nonzero(made.truth["cyst"].array[0, :, :, 0] > 0.5)  # the cyst lies at x = +10 mm: right
    assert columns.mean() < made.volume.shape[0] / 2 - 30


def test_a_curved_field_is_a_sector_and_black_outside():
    probe = Probe("Curved", 3.5, 80.0, radius_mm=50.0, angle_deg=60.0, lines=64)
    lines = torch.ones(1, 64, math.ceil(80 / probe.sample_mm))
    shown, inside = scan_converted(lines, probe, 0.5)
    depth = lines.shape[2] * probe.sample_mm
    area = math.radians(60) / 2 * ((50 + depth) ** 2 - 50**2)
    assert float(inside.sum()) * 0.25 == pytest.approx(area, rel=0.01)
    assert torch.equal(shown[0] > 0, inside)


def test_brightness_is_the_logarithm():
    machine = Machine("Maker", "Box", dynamic_range_db=60.0)
    grey = compressed(torch.tensor([10.0, 1.0, 0.1, 1e-5]), machine)
    assert torch.allclose(grey, torch.tensor([1.0, 40 / 60, 20 / 60, 0.0]), atol=1e-5)


def test_images_repeat_and_come_back_from_dicom(scanned, tmp_path):
    body, made = scanned
    again = ultrasound(body, PROBE, CONTACT, Machine("Maker", "Box", pixel_mm=0.2), rng=np.random.default_rng(3))
    assert again.volume.array.tobytes() == made.volume.array.tobytes()
    paths = write_series(made.volume, tmp_path, acquisition=made.acquisition, identity=Identity(patient_id="P"))
    read = load_series(read_instances(walk([tmp_path])))
    assert np.array_equal(read.volume.array, made.volume.array)
    assert read.volume.geometry.matches(made.volume.geometry) and read.acquisition.modality == "US"
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(paths[0])
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.6.1" and dataset.BitsAllocated == 8


def test_a_probe_in_the_air_is_refused(scanned):
    body, _ = scanned
    with pytest.raises(InputError, match="does not touch"):
        ultrasound(body, PROBE, Contact((0, 60, 200), (0, -1, 0), (-1, 0, 0)), PLAIN, rng=np.random.default_rng(0))
