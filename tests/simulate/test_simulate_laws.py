"""Laws of simulated scans: superposition, limits, labels that stay with their tissue, volumes, borders, units."""

import math

import numpy as np
import pytest
import torch

from radfoundry.simulate import subject as people
from radfoundry.simulate.body import Body
from radfoundry.simulate.headers import Scanner, Slab
from radfoundry.simulate.lesions import Lesion
from radfoundry.simulate.protocols import PROTOCOLS, draw_sequence
from radfoundry.simulate.scan import scan, slab_grid, through_slices, weighted
from radfoundry.simulate.sequences import Sequence, tissue_signals
from radfoundry.simulate.tissues import at_field, index

AFFINE = np.array([[4.0, 0, 0, -30], [0, 4, 0, -30], [0, 0, 4, -30], [0, 0, 0, 1]])
QUIET = Scanner("SIEMENS", "Skyra", 3.0, noise=0.0, shading=0.0, brightness=1000.0, receiver=1.0)


def shares(seed, tissues=3):
    raw = torch.rand(tissues, 16, 16, 16, generator=torch.Generator().manual_seed(seed))
    return raw / raw.sum(dim=0)


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "SWI"])
def test_what_two_bodies_give_together_is_the_sum(protocol):
    sequence = draw_sequence(protocol, rng=np.random.default_rng(0))
    names = ("white", "fat", "blood")
    one, other = shares(0), shares(1)
    parts = [weighted(Body(names, item, AFFINE), sequence, field_t=3.0) for item in (one, other)]
    both = weighted(Body(names, 0.3 * one + 0.7 * other, AFFINE), sequence, field_t=3.0)
    assert torch.allclose(both, 0.3 * parts[0] + 0.7 * parts[1], atol=1e-5)


def test_long_repetition_and_short_echo_leave_proton_density():
    table = at_field(1.5)
    density = table.proton_density
    settled = tissue_signals(Sequence("PDw", "spin-echo", 1e9, 0.0), table)
    assert torch.allclose(settled, density, atol=1e-5)
    tipped = tissue_signals(Sequence("PDw", "gradient-echo", 1e9, 0.0, flip_angle_deg=30), table)
    assert torch.allclose(tipped, density * math.sin(math.radians(30)), atol=1e-5)
    still = tissue_signals(Sequence("DWI", "diffusion", 1e9, 0.0, b_value_s_per_mm2=0.0), table)
    assert torch.allclose(still, density, atol=1e-5)
    turned = tissue_signals(Sequence("FLAIR", "inversion-recovery", 1e9, 0.0, 0.0), table)
    assert torch.allclose(turned, -density, atol=1e-5)  # read at once after inversion


def test_no_signal_without_time_to_recover_and_none_after_endless_echo():
    table = at_field(1.5)
    rushed = tissue_signals(Sequence("T1w", "gradient-echo", 1e-4, 0.0, flip_angle_deg=90), table)
    assert float(rushed.abs()[1:].max()) < 1e-3
    water = index("csf")
    late = tissue_signals(Sequence("T2w", "spin-echo", 1e9, 1e6), table)
    assert float(late[water]) < 1e-6


def test_perfusion_is_where_blood_flows_and_in_proportion():
    table = at_field(3.0)
    signal = tissue_signals(draw_sequence("ASL", rng=np.random.default_rng(0)), table)
    grey, white, fluid = (float(signal[index(name)]) for name in ("grey", "white", "csf"))
    assert grey > 2 * white > 0 and fluid == 0 and grey < 0.02


def test_fresh_blood_outshines_everything_in_time_of_flight():
    table = at_field(3.0)
    signal = tissue_signals(draw_sequence("TOF", rng=np.random.default_rng(0)), table)
    blood = float(signal[index("flowing-blood")])
    assert all(blood > 1.5 * float(signal[index(name)]) for name in ("grey", "white", "csf", "muscle"))


@pytest.fixture(scope="module")
def ill():
    drawn = people.draw_subject(np.random.default_rng(5), lesion_rate=0.0)
    plaque = Lesion("demyelination", (26.0, -30.0, 26.0), (9.0, 9.0, 9.0))
    return people.build(people.Subject(**{**drawn.__dict__, "lesions": (plaque,)}))


def centre_mm(array, affine):
    weights = array / array.sum()
    voxel = [float((weights * axis).sum()) for axis in np.indices(array.shape)]
    return affine[:3, :3] @ voxel + affine[:3, 3]


def test_a_label_stays_with_its_tissue_through_deformation_and_slices(ill):
    truth, tissue = ill.truth["lesion"].numpy(), ill.share("plaque").numpy()
    place = centre_mm(truth, ill.affine)
    assert np.linalg.norm(place - centre_mm(tissue, ill.affine)) < 0.1
    for plane, tilt in (("axial", (0, 0, 0)), ("sagittal", (0, 4, 2)), ("coronal", (20, 0, 8))):
        slab = Slab(plane, 2.0, 3.0, 0.0, tilt)
        made = scan(ill, Sequence("T2w", "spin-echo", 4000, 90), QUIET, slab, rng=np.random.default_rng(0))
        mask = made.truth["lesion"]
        assert np.linalg.norm(centre_mm(mask.array[0], mask.affine) - place) < 0.6
        voxel_ml = abs(np.linalg.det(mask.affine[:3, :3])) / 1000
        assert float(mask.array.sum()) * voxel_ml == pytest.approx(float(truth.sum()) * ill.voxel_ml, rel=0.03)


def test_a_person_is_as_large_as_their_pose_says():
    drawn = people.draw_subject(np.random.default_rng(1), lesion_rate=0.0)
    plain = {
        **drawn.__dict__,
        "bend_mm": np.zeros_like(drawn.bend_mm),
        "ventricles_mm": 0.0,
        "sulci": 0.0,
        "lesions": (),
    }
    smaller = np.diag([1 / 0.95, 1 / 0.95, 1 / 0.95, 1.0])
    volumes = [
        float(body.share("white").sum()) * body.voxel_ml
        for body in (people.build(people.Subject(**{**plain, "pose": pose})) for pose in (np.eye(4), smaller))
    ]
    assert volumes[1] / volumes[0] == pytest.approx(0.95**3, rel=0.005)


def test_what_lies_at_one_border_does_not_come_back_at_the_other():
    maps = torch.zeros(1, 16, 16, 16)
    maps[0, :2] = 1  # at the patient's left edge
    slab = Slab("axial", 4.0, 4.0, 0.0, (0, 0, 0), (64, 64, 64), (0, 0, 0))
    seen = through_slices(maps, AFFINE, slab)[0]
    shape, affine = slab_grid(slab)
    far = (affine @ np.array([shape[0] - 1, 0, 0, 1]))[0]
    near, away = (seen[-2:], seen[:-4]) if far < 0 else (seen[:2], seen[4:])
    assert float(near.max()) > 0.5 and float(away.max()) == 0


def test_brightness_has_the_units_of_the_receiver():
    body = Body(("white",), torch.ones(1, 16, 16, 16), AFFINE)
    sequence = Sequence("PDw", "spin-echo", 1e9, 0.0)
    slab = Slab("axial", 4.0, 4.0, 0.0, (0, 0, 0), (40, 40, 40), (0, 0, 0))
    made = scan(body, sequence, QUIET, slab, rng=np.random.default_rng(0)).volume.array[0]
    middle = made[3:-3, 3:-3, 3:-3]
    density = float(at_field(3.0, names=("white",)).proton_density[0])
    assert np.abs(middle - 1000 * density).max() <= 0.02 * 1000 * density  # receiver 1 is fully relaxed water
