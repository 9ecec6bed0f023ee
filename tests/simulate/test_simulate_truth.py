"""Truth on the grid of a series: fractions and label maps agree with the body, outlines with their annotator."""

import numpy as np
import pytest
import torch

from radfoundry.simulate.body import Body
from radfoundry.simulate.headers import Scanner, Slab
from radfoundry.simulate.judges import Judged, judge, outlined
from radfoundry.simulate.scan import averaged, scan, slab_grid, through_slices, truth_on
from radfoundry.simulate.sequences import Sequence
from radfoundry.simulate.tissue_maps import tissue_truth
from radfoundry.simulate.tissues import index

SLAB = Slab(in_plane_mm=2.0, thickness_mm=4.0, field_of_view_mm=(48, 48, 48), centre_mm=(0, 0, 0))
BLOCK = Sequence("T1w", "spin-echo", 500, 12)


def block():
    """A cube of white matter, its right half muscle, with a lesion in one corner."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -29
    cube = torch.zeros(30, 30, 30)
    cube[5:25, 5:25, 5:25] = 1
    right = cube.clone()
    right[:15] = 0
    lesion = torch.zeros_like(cube)
    lesion[7:13, 7:13, 7:13] = 1
    return Body(("white", "muscle"), torch.stack([cube - right, right]), affine, {"lesion": lesion, "organ": right})


def test_label_maps_name_what_fills_most_of_a_voxel():
    found = tissue_truth(block(), SLAB, organs=("liver", "organ"))
    shape, affine = slab_grid(SLAB)
    assert set(found) == {"fractions", "tissues", "organs"}
    assert all(item.shape == shape and np.allclose(item.affine, affine) for item in found.values())
    assert set(np.unique(found["tissues"].array)) == {0, index("white"), index("muscle")}
    assert set(np.unique(found["organs"].array)) == {0, 2}
    voxel_ml = 2 * 2 * 4 / 1000
    for number, share in enumerate(block().fractions):
        seen = float(found["fractions"].array[number].sum()) / 100 * voxel_ml
        assert seen == pytest.approx(float(share.sum()) * 8 / 1000, rel=0.02)


def test_truth_from_its_window_is_truth_from_the_whole():
    for tilt in ((0.0, 0.0, 0.0), (4.0, 2.0, -3.0), (25.0, 0.0, 10.0)):
        slab = Slab("axial", 2.0, 4.0, 0.5, tilt, (48, 48, 48), (1, 0, 2))
        seen = truth_on(block(), slab)["lesion"].array[0]
        whole = through_slices(block().truth["lesion"][None], block().affine, slab)[0].numpy()
        assert np.abs(seen - whole).max() < 1e-5 and whole.max() > 0.5


def test_an_average_over_a_width_keeps_the_sum_and_is_linear():
    line = torch.zeros(1, 21, 1, 1)
    line[0, 10] = 1
    for width in (1.0, 1.7, 2.0, 3.4):
        spread = averaged(line, width, axis=1)
        assert float(spread.sum()) == pytest.approx(1, abs=1e-6)
        assert float(spread.max()) == pytest.approx(1 / max(width, 1.0), abs=1e-6)
        assert torch.allclose(averaged(3 * line, width, axis=1), 3 * spread, atol=1e-6)


def test_the_scanner_keeps_a_fixed_receiver_and_records_every_fault():
    from radfoundry.simulate.kspace import Faults

    scanner = Scanner("SIEMENS", "Skyra", 3.0, noise=0.0, shading=0.0, brightness=100.0, receiver=0.5)
    made = scan(block(), BLOCK, scanner, SLAB, rng=np.random.default_rng(0), faults=Faults(ghosting=0.1, spikes=1))
    assert made.degradations["reference"] == 0.5
    assert made.degradations["ghosting"] == 0.1 and made.degradations["spikes"] == 1
    louder = scan(
        block(),
        BLOCK,
        Scanner("SIEMENS", "Skyra", 3.0, 0.0, 0.0, 200.0, receiver=0.5),
        SLAB,
        rng=np.random.default_rng(0),
    )
    quiet = scan(
        block(),
        BLOCK,
        Scanner("SIEMENS", "Skyra", 3.0, 0.0, 0.0, 100.0, receiver=0.5),
        SLAB,
        rng=np.random.default_rng(0),
    )
    assert np.abs(louder.volume.array - 2 * quiet.volume.array).max() <= 2  # rounding to whole numbers


def test_annotators_outline_the_half_filled_lesion():
    lesion = truth_on(block(), SLAB)["lesion"]
    drawn = outlined(lesion, count=3, rng=np.random.default_rng(0))
    assert list(drawn) == ["lesion-by-accurate", "lesion-by-generous", "lesion-by-shaky"]
    true = lesion.array >= 0.5
    accurate, generous = (drawn[f"lesion-by-{name}"].array > 0 for name in ("accurate", "generous"))
    dice = 2 * (accurate & true).sum() / (accurate.sum() + true.sum())
    assert dice > 0.85 and generous.sum() > true.sum()


def test_tools_fail_as_they_are_asked_to():
    rng = np.random.default_rng(0)
    ask = [judge(Judged(True, size, age, 0), readers=0, vendor=kind, rng=rng)["vendor"] for kind, size, age in cases()]
    found = np.array(ask).reshape(3, 2, -1).mean(axis=2)
    # random: 0.9 whatever; subgroup: 0.9 and 0.5 in the old; subtle: V / (V + 3) of the volume
    assert found == pytest.approx(np.array([[0.9, 0.9], [0.9, 0.5], [0.25, 0.75]]), abs=0.06)


def cases():
    for kind, pairs in (
        ("random", ((5, 40), (5, 80))),
        ("subgroup", ((5, 40), (5, 80))),
        ("subtle", ((1, 40), (9, 40))),
    ):
        for size, age in pairs:
            for _ in range(500):
                yield kind, float(size), float(age)


def test_readers_agree_with_the_truth_as_far_as_they_are_skilled():
    rng = np.random.default_rng(1)
    rows = [judge(Judged(bool(case % 2), 5.0, 50.0, 0), readers=2, vendor="", rng=rng) for case in range(1600)]
    ill, well = rows[1::2], rows[::2]
    for number, skill in ((1, 1.0), (2, 2.2)):
        scores = [np.array([row[f"reader_{number}_score"] for row in part]) for part in (ill, well)]
        assert scores[0].mean() - scores[1].mean() == pytest.approx(skill, abs=0.15)  # d' with unit variance
