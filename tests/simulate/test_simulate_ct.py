"""CT numbers against their definition, kernels and noise against their laws, streaks against their direction."""

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
from radfoundry.simulate.anatomy.shapes import box, tube
from radfoundry.simulate.attenuation import hounsfield
from radfoundry.simulate.body import Body
from radfoundry.simulate.ct import (
    ENHANCEMENT,
    KERNELS,
    VESSELS,
    CtScanner,
    Kernel,
    enhancement,
    filtered,
    noise_deviation,
    noise_field,
    scan_ct,
)
from radfoundry.simulate.ct_streaks import streaks
from radfoundry.simulate.scan import Slab
from radfoundry.simulate.tissues import NAMES

SCANNER = CtScanner("SIEMENS", "Definition AS")
SLAB = Slab(in_plane_mm=1.5, thickness_mm=4.0, field_of_view_mm=(120, 120, 48), centre_mm=(0, 0, 0))


def phantom():
    canvas = Canvas((-60, -60, -30), (60, 60, 30), 2.0)
    canvas.paint("muscle", box((0, 0, 0), (50, 50, 40)))
    canvas.paint("liver", box((-20, 0, 0), (15, 30, 40)), name="liver")
    canvas.paint("blood", box((20, 0, 0), (12, 12, 40)))
    return canvas.body()


def test_nothing_is_air_and_mixtures_are_linear():
    empty = Body(("muscle",), torch.zeros(1, 2, 2, 2), np.eye(4))
    assert torch.equal(hounsfield(empty), torch.full((2, 2, 2), -1000.0))
    half = Body(("muscle", "fat"), torch.full((2, 2, 2, 2), 0.5), np.eye(4))
    assert torch.allclose(hounsfield(half), torch.tensor((55.0 - 100.0) / 2))
    quarter = Body(("muscle",), torch.full((1, 2, 2, 2), 0.25), np.eye(4))
    assert torch.allclose(hounsfield(quarter), torch.tensor(-1000 + 0.25 * 1055))


def test_a_scan_shows_each_tissue_at_its_unit():
    made = scan_ct(phantom(), SCANNER, SLAB, rng=np.random.default_rng(0))
    image = made.volume.array[0]
    liver = made.truth["liver"].array[0] > 0.99
    assert image[liver].mean() == pytest.approx(60, abs=2)
    assert image[:4, :4].mean() == pytest.approx(-1000, abs=8)
    assert made.volume.units == "HU" and made.volume.orientation == "LPS"


@pytest.mark.parametrize("phase", ENHANCEMENT)
def test_contrast_adds_only_where_its_table_says(phase):
    body = phantom()
    added = enhancement(body, phase)
    for name in body.tissues:
        there = body.share(name) > 0.999
        assert torch.allclose(added[there], torch.tensor(ENHANCEMENT[phase].get(name, 0.0)))
    assert set(ENHANCEMENT[phase]) <= set(NAMES)


def test_arteries_fill_before_veins():
    canvas = Canvas((-20, -20, -4), (20, 20, 4), 2.0)
    canvas.paint("flowing-blood", box((-10, 0, 0), (5, 5, 10)), name="aorta")
    canvas.paint("flowing-blood", box((10, 0, 0), (5, 5, 10)), name="portal-vein")
    body = canvas.body()
    artery, vein = (body.truth[name] > 0.99 for name in ("aorta", "portal-vein"))
    early, late = enhancement(body, "arterial"), enhancement(body, "portal-venous")
    assert early[artery].min() > 200 > 60 > early[vein].max()
    assert late[vein].min() > late[artery].max()
    assert not enhancement(body, "non-contrast").any()


def test_phases_order_as_in_patients():
    # Bae 2010: the aorta peaks in the arterial phase, the liver in the portal venous one; both wash out.
    aorta = [VESSELS[phase]["aorta"] for phase in ("arterial", "portal-venous", "delayed")]
    liver = [ENHANCEMENT[phase]["liver"] for phase in ("arterial", "portal-venous", "delayed")]
    assert aorta == sorted(aorta, reverse=True)
    assert liver[1] == max(liver) and liver[0] == min(liver)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_keep_means_and_leave_half_at_their_frequency(name):
    kernel = KERNELS[name]
    assert float(kernel.transfer(torch.tensor(0.0))) == 1.0
    assert float(kernel.transfer(torch.tensor(kernel.half_per_mm))) == pytest.approx(0.5, abs=1e-6)
    flat = torch.full((24, 20, 2), 37.0)
    assert torch.allclose(filtered(flat, kernel, 0.8), flat, atol=1e-3)


def test_a_wave_is_weakened_by_the_transfer_function():
    kernel = Kernel(0.3)
    place = torch.arange(256) * 0.8
    wave = torch.sin(2 * np.pi * 0.2 * place)[:, None, None].expand(-1, 8, 1)
    seen = filtered(wave, kernel, 0.8)[64:192]
    expected = float(kernel.transfer(torch.tensor(0.2)))
    assert float(seen.std() / wave[64:192].std()) == pytest.approx(expected, rel=0.01)


def test_noise_variance_is_inverse_to_dose_and_to_thickness():
    water = torch.zeros(200, 200, 3)
    square = noise_deviation(water, SCANNER, SLAB) ** 2
    quarter = CtScanner("SIEMENS", "Definition AS", dose=0.25)
    assert torch.allclose(noise_deviation(water, quarter, SLAB) ** 2, 4 * square)
    thin = Slab(in_plane_mm=1.5, thickness_mm=1.0, field_of_view_mm=(120, 120, 48))
    assert torch.allclose(noise_deviation(water, SCANNER, thin) ** 2, 4 * square)


def test_noise_of_the_reference_is_one_and_sharp_kernels_are_noisier():
    generator = torch.Generator().manual_seed(1)
    spread = {
        name: float(noise_field((192, 192, 8), kernel, 0.8, generator=generator).std())
        for name, kernel in KERNELS.items()
    }
    assert spread["standard"] == pytest.approx(1.0, rel=0.03)
    assert spread["soft"] < spread["standard"] < spread["sharp"]


def test_noise_has_the_spectrum_of_back_projection():
    noise = noise_field((128, 128, 64), KERNELS["soft"], 0.8, generator=torch.Generator().manual_seed(2))
    power = (torch.fft.fft2(noise.movedim(-1, 0)).abs() ** 2).mean(dim=0)
    assert power[0, 0] < 0.02 * power.max()  # nothing at frequency 0: back projection keeps the mean
    frequency = torch.fft.fftfreq(128, d=0.8)
    low, middle = (int((frequency - value).abs().argmin()) for value in (0.06, 0.18))
    ratio = float(power[low - 2 : low + 3, 0].mean() / power[middle - 2 : middle + 3, 0].mean())
    transfer = KERNELS["soft"].transfer(torch.tensor([0.06, 0.18])) ** 2
    assert ratio == pytest.approx(float(0.06 * transfer[0] / (0.18 * transfer[1])), rel=0.25)


def test_beam_hardening_darkens_the_band_between_two_bones_and_needs_bones():
    canvas = Canvas((-60, -60, 0), (60, 60, 4), 2.0)
    canvas.paint("muscle", box((0, 0, 0), (55, 55, 20)))
    for side in (-30, 30):
        canvas.paint("bone", tube([(side, 0, -20), (side, 0, 20)], 12.0))
    image = hounsfield(canvas.body())
    added = streaks(image, 2.0)
    between, above = added[30, 30, 1], added[30, 52, 1]
    assert between < -5 and between < above - 5
    assert not streaks(torch.zeros(20, 20, 2), 2.0).any()


def test_scans_repeat_and_come_back_from_dicom(tmp_path):
    made = scan_ct(phantom(), SCANNER, SLAB, rng=np.random.default_rng(5), kernel="sharp", phase="portal-venous")
    again = scan_ct(phantom(), SCANNER, SLAB, rng=np.random.default_rng(5), kernel="sharp", phase="portal-venous")
    assert made.volume.array.tobytes() == again.volume.array.tobytes()
    paths = write_series(made.volume, tmp_path, acquisition=made.acquisition, identity=Identity(patient_id="P"))
    read = load_series(read_instances(walk([tmp_path])))
    assert np.array_equal(read.volume.array, made.volume.array) and read.volume.units == "HU"
    assert read.volume.geometry.matches(made.volume.geometry)
    assert read.acquisition.convolution_kernel == "B70f" and read.acquisition.tube_voltage_kv == 120
    assert read.acquisition.slice_thickness_mm == 4
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(paths[0])
    assert (float(dataset.RescaleIntercept), float(dataset.RescaleSlope), dataset.RescaleType) == (-1024, 1, "HU")
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2" and dataset.PixelRepresentation == 0


def test_unknown_kernels_and_phases_are_refused():
    with pytest.raises(InputError, match="kernel"):
        scan_ct(phantom(), SCANNER, SLAB, rng=np.random.default_rng(0), kernel="crisp")
    with pytest.raises(InputError, match="phase"):
        enhancement(phantom(), "late")
