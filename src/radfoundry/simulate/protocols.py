"""Which settings clinics use for which sequence: ranges to draw from, for every kind of MR image simulated here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from radfoundry.records import InputError
from radfoundry.simulate.mr import null_time_ms
from radfoundry.simulate.sequences import Sequence

CSF_T1_MS = 4300.0


@dataclass(frozen=True)
class Range:
    """What a protocol varies: low and high ends, times in ms, angle in degrees, echoes in a train.

    `null` names the T1 that the inversion time has to null, otherwise `inversion` is the range.
    """

    kind: str
    repetition: tuple[float, float]
    echo: tuple[float, float]
    flip: tuple[float, float] = (90, 90)
    train: tuple[int, int] = (1, 1)
    inversion: tuple[float, float] | None = None
    null_t1_ms: float | None = None
    b_value: float | None = None
    fat_suppressed: bool = False
    part: str = "all"
    volumetric: bool = False
    minutes: tuple[float, float] | None = None
    inflow: tuple[float, float] | None = None


# Typical clinical ranges at 1.5-3 T: Westbrook, MRI in Practice, 5th ed. 2018, appendix; MPRAGE: Mugler 1990 and the
# ADNI protocols; SWI: Haacke 2004; whole-body Dixon: Ma 2008, J Magn Reson Imaging 28:543;
# labelling: Alsop 2015, Magn Reson Med 73:102; calibration: low-angle proton-density scans of the coil.
PROTOCOLS: Mapping[str, Range] = {
    "T1w": Range("spin-echo", (400, 650), (8, 15)),
    "T1w-gradient": Range("gradient-echo", (150, 260), (2.3, 4.6), flip=(65, 80)),
    "MPRAGE": Range(
        "prepared-gradient-echo", (1700, 2300), (2.2, 3.6), flip=(8, 12), inversion=(850, 1000), volumetric=True
    ),
    "T1c": Range("spin-echo", (400, 650), (8, 15), minutes=(4, 8)),
    "T1c-gradient": Range(
        "gradient-echo", (4.5, 8), (1.8, 3.2), flip=(10, 15), fat_suppressed=True, volumetric=True, minutes=(3, 6)
    ),
    "T2w": Range("spin-echo", (3000, 6000), (80, 115), train=(7, 20)),
    "T2w-fat-suppressed": Range("spin-echo", (3000, 6000), (55, 90), train=(7, 16), fat_suppressed=True),
    "PDw": Range("spin-echo", (2200, 4000), (12, 30), train=(3, 8)),
    "PDw-fat-suppressed": Range("spin-echo", (2200, 4000), (25, 42), train=(5, 9), fat_suppressed=True),
    "FLAIR": Range(
        "inversion-recovery", (8000, 10500), (85, 135), train=(12, 24), null_t1_ms=CSF_T1_MS, fat_suppressed=True
    ),
    "STIR": Range("inversion-recovery", (3500, 6000), (30, 60), train=(7, 16), inversion=(150, 220)),
    "T2star": Range("gradient-echo", (500, 900), (15, 28), flip=(18, 30)),
    "SWI": Range("gradient-echo", (34, 50), (20, 30), flip=(12, 18), volumetric=True),
    "bSSFP": Range("balanced", (3.5, 6.0), (1.5, 2.6), flip=(45, 70)),
    "DWI-b0": Range("diffusion", (3500, 7000), (60, 95), train=(64, 128), b_value=0, fat_suppressed=True),
    "DWI-b1000": Range("diffusion", (3500, 7000), (60, 95), train=(64, 128), b_value=1000, fat_suppressed=True),
    "Dixon-water": Range("gradient-echo", (5, 9), (1.1, 2.5), flip=(8, 14), part="water", volumetric=True),
    "Dixon-fat": Range("gradient-echo", (5, 9), (1.1, 2.5), flip=(8, 14), part="fat", volumetric=True),
    "Dixon-opposed": Range("gradient-echo", (5, 9), (1.1, 2.5), flip=(8, 14), part="opposed", volumetric=True),
    "TOF": Range("gradient-echo", (20, 28), (3.0, 6.9), flip=(18, 25), volumetric=True, inflow=(3, 10)),
    "ASL": Range("perfusion", (4000, 5200), (11, 18), train=(40, 72)),
    "localizer": Range("gradient-echo", (7, 12), (3.2, 5.0), flip=(15, 25)),
    "calibration": Range("gradient-echo", (4, 8), (0.8, 1.8), flip=(1.5, 4), volumetric=True),
}


def draw_sequence(protocol: str, *, rng: np.random.Generator) -> Sequence:
    """Settings for one of PROTOCOLS, drawn from the ranges clinics use.

    Where a tissue is to be nulled the inversion time fits the repetition time within 3 %. The name of the
    sequence is the protocol's, without how it was made (`T1w-gradient` is a T1w). Refuses an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise InputError(
            f"unknown sequence {protocol!r}", remedy=f"one of {', '.join(PROTOCOLS)}", finding="unknown-name"
        )
    chosen = PROTOCOLS[protocol]
    repetition, echo = float(rng.uniform(*chosen.repetition)), float(rng.uniform(*chosen.echo))
    inversion = None
    if chosen.null_t1_ms is not None:
        inversion = null_time_ms(chosen.null_t1_ms, repetition_time_ms=repetition) * float(rng.uniform(0.97, 1.03))
    elif chosen.inversion is not None:
        inversion = float(rng.uniform(*chosen.inversion))
    names = {"T1w-gradient": "T1w", "MPRAGE": "T1w", "T1c-gradient": "T1c"}
    return Sequence(
        names.get(protocol, protocol),
        chosen.kind,
        repetition,
        echo,
        inversion,
        flip_angle_deg=float(rng.uniform(*chosen.flip)),
        echo_train_length=int(rng.integers(chosen.train[0], chosen.train[1] + 1)),
        b_value_s_per_mm2=chosen.b_value,
        fat_suppressed=chosen.fat_suppressed,
        part=chosen.part,
        volumetric=chosen.volumetric,
        minutes_after_contrast=None if chosen.minutes is None else float(rng.uniform(*chosen.minutes)),
        inflow_pulses=None if chosen.inflow is None else float(rng.uniform(*chosen.inflow)),
    )
