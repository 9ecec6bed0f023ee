"""Signal equations against closed forms and limits; tissues against the sources they cite; k-space laws."""

import math

import numpy as np
import pytest
import torch

from radfoundry.records import InputError
from radfoundry.simulate import mr
from radfoundry.simulate.kspace import Faults, acquire, fold
from radfoundry.simulate.sequences import Sequence, tissue_signals
from radfoundry.simulate.tissues import NAMES, at_field, index

T1 = torch.tensor([250.0, 700.0, 1300.0, 4300.0])
T2 = torch.tensor([50.0, 75.0, 95.0, 2000.0])


def test_spin_echo_reaches_the_proton_density_when_nothing_is_lost():
    assert torch.allclose(mr.spin_echo(T1, T2, repetition_time_ms=1e7, echo_time_ms=0), torch.ones(4))


def test_spin_echo_decays_with_t2_alone_when_fully_recovered():
    ratio = mr.spin_echo(T1, T2, repetition_time_ms=1e7, echo_time_ms=100) / mr.spin_echo(
        T1, T2, repetition_time_ms=1e7, echo_time_ms=20
    )
    assert torch.allclose(ratio, torch.exp(-80 / T2), atol=1e-6)


def test_nothing_recovers_in_no_time():
    assert torch.allclose(mr.spin_echo(T1, T2, repetition_time_ms=1e-4, echo_time_ms=0), torch.zeros(4), atol=1e-5)


def test_inversion_without_waiting_is_minus_one_and_at_the_null_time_zero():
    kwargs = {"repetition_time_ms": 1e7, "echo_time_ms": 0}
    assert torch.allclose(mr.inversion_recovery(T1, T2, inversion_time_ms=0, **kwargs), -torch.ones(4))
    for t1 in T1.tolist():
        null = mr.null_time_ms(t1, repetition_time_ms=9000)
        signal = mr.inversion_recovery(
            torch.tensor([t1]), T2[:1], repetition_time_ms=9000, inversion_time_ms=null, echo_time_ms=0
        )
        assert abs(float(signal)) < 1e-6


def test_stir_nulls_fat_at_the_textbook_inversion_time():
    # ln 2 times a T1 of 260 ms at 1.5 T: 180 ms (Bydder and Young 1985).
    assert mr.null_time_ms(260, repetition_time_ms=1e9) == pytest.approx(180.2, abs=0.1)


def test_ernst_angle_is_the_brightest_flip_angle():
    repetition, t1 = 30.0, torch.tensor([900.0])
    ernst = math.degrees(math.acos(math.exp(-repetition / 900)))
    angles = np.arange(1, 90, 0.25)
    signal = [
        float(mr.spoiled_gradient_echo(t1, t1, repetition_time_ms=repetition, echo_time_ms=0, flip_angle_deg=a))
        for a in angles
    ]
    assert angles[int(np.argmax(signal))] == pytest.approx(ernst, abs=0.25)


def test_balanced_signal_for_short_repetition_is_the_known_limit():
    # TR << T2: sin a / (1 + cos a + (1 - cos a) T1/T2); Scheffler and Lehnhardt 2003, Eur Radiol 13:2409.
    angle = math.radians(50)
    expected = math.sin(angle) / (1 + math.cos(angle) + (1 - math.cos(angle)) * T1 / T2)
    signal = mr.balanced_steady_state(
        T1.double(), T2.double(), repetition_time_ms=0.01, echo_time_ms=0, flip_angle_deg=50
    )
    assert torch.allclose(signal.float(), expected, atol=1e-4)


def test_diffusion_gives_back_its_coefficient():
    coefficient = torch.tensor([0.7, 3.0])
    low, high = (mr.diffusion_decay(coefficient, b_value_s_per_mm2=b) for b in (0, 1000))
    assert torch.allclose(-torch.log(high / low), coefficient, atol=1e-5)


@pytest.mark.parametrize("field_t, grey, white", [(1.5, 998, 680), (3.0, 1295, 887), (0.2, 468, 315)])
def test_t1_follows_rooney(field_t, grey, white):
    # Rooney et al. 2007: 1.16e-3 (gamma B0)^0.376 s and 0.71e-3 (gamma B0)^0.382 s, gamma = 42.577 MHz/T.
    table = at_field(field_t)
    for name, expected, factor, power in (("grey", grey, 1.16e-3, 0.376), ("white", white, 0.71e-3, 0.382)):
        assert float(table.t1_ms[index(name)]) == pytest.approx(factor * (42.577e6 * field_t) ** power * 1000, rel=0.01)
        assert float(table.t1_ms[index(name)]) == pytest.approx(expected, rel=0.01)


def weighted(sequence, *names, field_t=1.5):
    values = tissue_signals(sequence, at_field(field_t))
    return [abs(float(values[index(name)])) for name in names]


def test_contrast_is_in_the_order_radiologists_know():
    white, grey, csf = weighted(Sequence("T1w", "spin-echo", 500, 12), "white", "grey", "csf")
    assert white > grey > csf
    csf, grey, white = weighted(Sequence("T2w", "spin-echo", 4500, 100, echo_train_length=12), "csf", "grey", "white")
    assert csf > grey > white
    flair = Sequence("FLAIR", "inversion-recovery", 9000, 110, mr.null_time_ms(4300, repetition_time_ms=9000))
    plaque, grey, white, csf = weighted(flair, "plaque", "grey", "white", "csf")
    assert plaque > grey > white > csf
    stir = Sequence("STIR", "inversion-recovery", 5000, 40, 170, fat_suppressed=True)
    fat, muscle = weighted(stir, "fat", "muscle")
    assert fat < 0.2 * muscle


def test_dixon_parts_add_up_and_oppose():
    table = at_field(3.0)
    whole, water, fat, opposed = (
        tissue_signals(Sequence("Dixon", "gradient-echo", 6, 1.2, flip_angle_deg=9, part=part), table)
        for part in ("all", "water", "fat", "opposed")
    )
    assert torch.allclose(water + fat, whole, atol=1e-7)
    assert torch.allclose(opposed, (water - fat).abs(), atol=1e-7)


def test_contrast_agent_brightens_t1_in_proportion_to_its_rate():
    table = at_field(1.5)
    sequence = Sequence("T1w", "gradient-echo", 5, 1.5, flip_angle_deg=12)
    dose = torch.zeros(len(NAMES))
    dose[index("tumour")] = 0.5
    before, after = tissue_signals(sequence, table), tissue_signals(sequence, table, contrast_mm=dose)
    assert float(after[index("tumour")]) > 1.5 * float(before[index("tumour")])
    others = torch.arange(len(NAMES)) != index("tumour")
    assert torch.equal(before[others], after[others])


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "spin-echoe", "repetition_time_ms": 500, "echo_time_ms": 10},
        {"kind": "spin-echo", "repetition_time_ms": 50, "echo_time_ms": 100},
        {"kind": "inversion-recovery", "repetition_time_ms": 5000, "echo_time_ms": 100},
        {"kind": "diffusion", "repetition_time_ms": 5000, "echo_time_ms": 100},
    ],
)
def test_impossible_sequences_are_refused(settings):
    with pytest.raises(InputError):
        Sequence("x", **settings)


def smooth_image(size=48, slices=2):
    place = torch.linspace(-1, 1, size)
    ball = torch.exp(-(place[:, None] ** 2 + place[None, :] ** 2) * 8)
    return ball[..., None].repeat(1, 1, slices)


def seeded():
    return torch.Generator().manual_seed(3)


def test_without_faults_the_scanner_returns_the_image():
    image = smooth_image()
    assert torch.allclose(acquire(image, (48, 48), faults=Faults(), spacing_mm=1, generator=seeded()), image, atol=1e-5)


def test_a_smaller_matrix_keeps_the_mean():
    image = smooth_image()
    small = acquire(image, (24, 24), faults=Faults(), spacing_mm=2, generator=seeded())
    assert float(small.mean()) == pytest.approx(float(image.mean()), rel=1e-3)


def test_noise_is_rayleigh_in_air_and_has_the_stated_size():
    # Rayleigh: mean = sigma sqrt(pi/2), sd = sigma sqrt(2 - pi/2) (Gudbjartsson and Patz 1995).
    air = acquire(torch.zeros(96, 96, 4), (96, 96), faults=Faults(noise=2.0), spacing_mm=1, generator=seeded())
    assert float(air.mean()) == pytest.approx(2 * math.sqrt(math.pi / 2), rel=0.02)
    assert float(air.std()) == pytest.approx(2 * math.sqrt(2 - math.pi / 2), rel=0.02)


def test_ghost_lies_half_a_field_of_view_away_with_half_the_weakening():
    image = torch.zeros(32, 32, 1)
    image[16, 8] = 1.0
    seen = acquire(image, (32, 32), faults=Faults(ghosting=0.2), spacing_mm=1, generator=seeded())
    assert float(seen[16, 24, 0]) == pytest.approx(0.1, abs=1e-4)
    assert float(seen[16, 8, 0]) == pytest.approx(0.9, abs=1e-4)


def test_folding_moves_signal_and_loses_none():
    image = torch.rand(8, 40, 2, generator=seeded())
    folded = fold(image, 0.3)
    assert float(folded.sum()) == pytest.approx(float(image.sum()), rel=1e-5)
    assert float(folded[:, :6].abs().sum()) == 0.0


def test_motion_keeps_the_energy():
    image = smooth_image()
    moved = acquire(image, (48, 48), faults=Faults(motion_mm=3), spacing_mm=1, generator=seeded())
    assert float((moved**2).sum()) == pytest.approx(float((image**2).sum()), rel=1e-3)
    assert float((moved - image).abs().max()) > 0.01
