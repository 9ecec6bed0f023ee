"""Body regions as cohorts: training adds its muscle, fat fractions are measured right, curves differ by kind."""

import dataclasses

import numpy as np
import pytest
import torch

from radfoundry.records import InputError
from radfoundry.simulate.anatomy.regions import draw_anatomy
from radfoundry.simulate.body import Body
from radfoundry.simulate.bundles import scan_bundle
from radfoundry.simulate.dynamic import concentrations_mm
from radfoundry.simulate.headers import Scanner, Slab
from radfoundry.simulate.region_course import course, fat_percent, with_enhancement
from radfoundry.simulate.region_presets import RegionMultisequence, built
from radfoundry.simulate.region_words import statements_of
from radfoundry.simulate.scan import scan
from radfoundry.simulate.tissues import at_field

SLAB = Slab(in_plane_mm=4.0, thickness_mm=4.0, field_of_view_mm=(64, 64, 48), centre_mm=(0, 0, 0), coil_seed=1)
CLEAN = Scanner("SIEMENS", "Skyra", 3.0, noise=0.0, shading=0.3, brightness=800.0)


def pair(first, second, share):
    """A cube of one tissue with a share of another in every voxel."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -30
    cube = torch.zeros(16, 16, 16)
    cube[2:14, 2:14, 2:14] = 1
    return Body((first, second), torch.stack([cube * (1 - share), cube * share]), affine, {"quadriceps": cube})


def bundle(name, body):
    rng = np.random.default_rng(0)
    return scan_bundle(
        name, lambda sequence, machine: scan(body, sequence, machine, SLAB, rng=rng), CLEAN, SLAB, rng=rng
    )


def middle(scanned):
    array = scanned.volume.array[0].astype(float)
    i, j, k = (size // 2 for size in array.shape)
    return float(np.median(array[i - 2 : i + 2, j - 2 : j + 2, k - 2 : k + 2]))


def test_training_adds_its_share_of_muscle():
    rng = np.random.default_rng(0)
    before = draw_anatomy("thigh", rng=rng)
    after = course(before, np.array([0.0, 42.0]), response=0.06, rng=np.random.default_rng(1))[1]
    fascia, femur = before.measures["fascia_radius_mm"], before.measures["femur_radius_mm"]
    wanted = (after.measures["fascia_radius_mm"] ** 2 - femur**2) / (fascia**2 - femur**2)
    volumes = [fat_percent(built(item, spacing_mm=6.0))["muscle_volume_ml"] for item in (before, after)]
    assert 1.0 < wanted < 1.12
    assert volumes[1] / volumes[0] == pytest.approx(wanted, abs=0.03)
    assert course(before, np.array([0.0, 42.0]), response=0.0, rng=rng)[1].measures == before.measures


def test_a_dixon_scan_measures_the_fat_that_is_there():
    body = pair("muscle", "fat", 0.25)
    table = at_field(3.0, names=body.tissues)
    water_and_fat = table.proton_density * torch.tensor([0.75, 0.25])
    truth = 100 * float((water_and_fat * table.fat_fraction).sum() / water_and_fat.sum())
    assert fat_percent(body)["muscle_fat_percent"] == pytest.approx(truth, abs=0.1)
    # A T1-weighted gradient echo shows too much fat, because fat recovers faster: the known T1 bias (Liu et al. 2007).
    measured = middle(bundle("Dixon", body)["Dixon-fat-fraction"])
    assert truth < measured < truth + 35
    assert middle(bundle("Dixon", pair("muscle", "fat", 0.0))["Dixon-fat-fraction"]) < 2


def test_the_diffusion_map_is_the_coefficient_whatever_the_coil():
    for tissue, expected in (("white", 0.70), ("tumour", 1.05)):
        made = bundle("DWI", pair(tissue, "fat", 0.0))
        assert middle(made["ADC"]) == pytest.approx(1000 * expected, rel=0.03)
    assert made["ADC"].acquisition.image_type[0] == "DERIVED"


def test_carcinoma_washes_out_and_slow_masses_go_on_rising():
    curves = {name: [middle(item) for item in bundle("dynamic", pair(name, "fat", 0.0)).values()] for name in KINETICS}
    fast, slow = curves["carcinoma"], curves["slow-enhancing"]
    assert np.argmax(fast) in (1, 2) and fast[-1] < max(fast) * 0.99 and fast[1] > 1.4 * fast[0]
    assert np.all(np.diff(slow) > 0)
    assert curves["csf"][-1] == pytest.approx(curves["csf"][0], rel=0.02)  # one receiver for the whole series


KINETICS = ("carcinoma", "slow-enhancing", "csf")


def test_contrast_agent_goes_where_blood_goes():
    dose = concentrations_mm(("blood", "flowing-blood", "white", "kidney", "muscle"), 1.5)
    assert float(dose[0]) == float(dose[1]) > 0 and float(dose[2]) == 0
    assert float(dose[3]) > float(dose[4]) > 0
    assert float(concentrations_mm(("blood",), -1.0)) == 0


def test_benign_masses_are_of_another_tissue_than_carcinoma():
    anatomy = draw_anatomy("breast", rng=np.random.default_rng(0), findings=("breast-mass",))
    mild, severe = (
        dataclasses.replace(anatomy, findings=(dataclasses.replace(anatomy.findings[0], severity=value),))
        for value in (0.2, 0.9)
    )
    body = pair("glandular", "carcinoma", 0.3)
    benign = with_enhancement(body, mild)
    assert float(benign.share("carcinoma").sum()) == 0
    assert torch.equal(benign.share("slow-enhancing"), body.share("carcinoma"))
    assert with_enhancement(body, severe) is body


def test_every_finding_is_stated_once_and_the_rest_denied():
    anatomy = draw_anatomy("knee", rng=np.random.default_rng(3), findings=("fracture", "effusion"))
    stated = statements_of(anatomy, ("fracture", "effusion", "ligament-tear"))
    present = {item.finding for item in stated if item.state == "present"}
    assert present == {"fracture", "joint-effusion"} and stated[-1].state == "absent"
    assert all(item.site for item in stated if item.state == "present")


@pytest.mark.slow
def test_several_regions_of_one_person_and_bad_requests():
    known = RegionMultisequence(regions=["elbow", "wrist", "prostate"], parts=2)
    patient = known._draw(np.random.default_rng(0), 0.0, np.array([0.0]))
    assert len(patient.visits[0]) == 2 and patient.labels["lesion_present"] == 0
    assert patient.labels["region"].count("+") == 1
    for wrong in ({"regions": "nose"}, {"parts": 2}, {"findings": ["gremlin"]}):
        with pytest.raises(InputError):
            RegionMultisequence(**wrong)
