"""MR signal equations: what a voxel of one tissue gives under a sequence's timing; steady state, magnitude."""

from __future__ import annotations

import math
from dataclasses import dataclass

from radfoundry.records import InputError
from radfoundry.simulate import tissues

KINDS = ("spin-echo", "inversion-recovery", "gradient-echo")


@dataclass(frozen=True)
class Sequence:
    """A pulse sequence with its timing: `kind` is one of KINDS; times in ms, the flip angle in degrees."""

    name: str
    kind: str
    repetition_time_ms: float
    echo_time_ms: float
    inversion_time_ms: float | None = None
    flip_angle_deg: float = 90.0
    echo_train_length: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"unknown kind of sequence {self.kind!r}", remedy=f"one of {', '.join(KINDS)}")
        if not 0 <= self.echo_time_ms < self.repetition_time_ms:
            raise InputError(f"echo time {self.echo_time_ms} ms is not within the repetition time")
        if (self.inversion_time_ms is None) == (self.kind == "inversion-recovery"):
            raise InputError("an inversion time goes with inversion recovery, and only with it")


def spin_echo(t1_ms: float, t2_ms: float, density: float, *, repetition_time_ms: float, echo_time_ms: float) -> float:
    """Signal of a 90-180 spin echo (Bernstein, King and Zhou 2004, equation 14.59).

    For TR far beyond T1 and TE = 0 this is the proton density.

    >>> round(spin_echo(1000, 100, 0.8, repetition_time_ms=1e6, echo_time_ms=0), 6)
    0.8
    """
    half = echo_time_ms / 2
    recovered = 1 - 2 * math.exp(-(repetition_time_ms - half) / t1_ms) + math.exp(-repetition_time_ms / t1_ms)
    return density * abs(recovered) * math.exp(-echo_time_ms / t2_ms)


def inversion_recovery(
    t1_ms: float,
    t2_ms: float,
    density: float,
    *,
    repetition_time_ms: float,
    echo_time_ms: float,
    inversion_time_ms: float,
) -> float:
    """Magnitude of an inversion recovery spin echo (Bernstein, King and Zhou 2004, equation 14.51).

    Zero where the inversion time is `null_time_ms` of the tissue.
    """
    recovered = 1 - 2 * math.exp(-inversion_time_ms / t1_ms) + math.exp(-repetition_time_ms / t1_ms)
    return density * abs(recovered) * math.exp(-echo_time_ms / t2_ms)


def null_time_ms(t1_ms: float, repetition_time_ms: float) -> float:
    """The inversion time at which a tissue gives no signal."""
    return t1_ms * math.log(2 / (1 + math.exp(-repetition_time_ms / t1_ms)))


def gradient_echo(
    t1_ms: float,
    t2_star_ms: float,
    density: float,
    *,
    repetition_time_ms: float,
    echo_time_ms: float,
    flip_angle_deg: float,
) -> float:
    """Signal of a spoiled gradient echo (Ernst and Anderson 1966; Bernstein, King and Zhou 2004, equation 14.9)."""
    recovery, flip = math.exp(-repetition_time_ms / t1_ms), math.radians(flip_angle_deg)
    steady = math.sin(flip) * (1 - recovery) / (1 - math.cos(flip) * recovery)
    return density * steady * math.exp(-echo_time_ms / t2_star_ms)


def ernst_angle_deg(t1_ms: float, repetition_time_ms: float) -> float:
    """The flip angle at which a spoiled gradient echo is brightest."""
    return math.degrees(math.acos(math.exp(-repetition_time_ms / t1_ms)))


def tissue_signal(name: str, sequence: Sequence, *, field_strength_t: float) -> float:
    """What one voxel full of a tissue gives under a sequence; 1 is fully recovered water."""
    t1, t2, t2_star, density = tissues.at_field(name, field_strength_t)
    timing = {"repetition_time_ms": sequence.repetition_time_ms, "echo_time_ms": sequence.echo_time_ms}
    if sequence.kind == "spin-echo":
        return spin_echo(t1, t2, density, **timing)
    if sequence.kind == "inversion-recovery":
        return inversion_recovery(t1, t2, density, inversion_time_ms=float(sequence.inversion_time_ms or 0), **timing)
    return gradient_echo(t1, t2_star, density, flip_angle_deg=sequence.flip_angle_deg, **timing)
