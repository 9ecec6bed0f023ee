"""The signal each MR sequence gives from relaxation times and settings: closed-form equations on tensors.

All times are in ms, angles in degrees; tensors broadcast. Signals are relative to the fully relaxed proton
density and keep their sign, because partial volumes cancel before the magnitude is taken.
"""

from __future__ import annotations

import math

import torch

from radfoundry.records import InputError


def spin_echo(
    t1_ms: torch.Tensor, t2_ms: torch.Tensor, *, repetition_time_ms: float, echo_time_ms: float
) -> torch.Tensor:
    """Spin echo (and turbo spin echo at its effective echo time): recovery over TR, T2 decay over TE.

    `(1 - 2 exp(-(TR - TE/2)/T1) + exp(-TR/T1)) exp(-TE/T2)`, Haacke et al., Magnetic Resonance Imaging (1999), ch. 8.

    >>> one = torch.tensor([1000.0])
    >>> round(float(spin_echo(one, one / 10, repetition_time_ms=1e9, echo_time_ms=0.0)), 6)
    1.0
    """
    _check_times(repetition_time_ms, echo_time_ms)
    recovered = (
        1 - 2 * torch.exp(-(repetition_time_ms - echo_time_ms / 2) / t1_ms) + torch.exp(-repetition_time_ms / t1_ms)
    )
    return recovered * torch.exp(-echo_time_ms / t2_ms)


def inversion_recovery(
    t1_ms: torch.Tensor,
    t2_ms: torch.Tensor,
    *,
    repetition_time_ms: float,
    inversion_time_ms: float,
    echo_time_ms: float,
) -> torch.Tensor:
    """Inversion-recovery spin echo (FLAIR, STIR): tissues whose T1 fits the inversion time vanish.

    `(1 - 2 exp(-TI/T1) + exp(-TR/T1)) exp(-TE/T2)`; signed. Refuses an inversion time beyond the repetition time.
    """
    _check_times(repetition_time_ms, echo_time_ms)
    if not 0 <= inversion_time_ms <= repetition_time_ms:
        raise InputError(
            f"inversion time {inversion_time_ms} ms is not within the repetition time {repetition_time_ms} ms"
        )
    recovered = 1 - 2 * torch.exp(-inversion_time_ms / t1_ms) + torch.exp(-repetition_time_ms / t1_ms)
    return recovered * torch.exp(-echo_time_ms / t2_ms)


def null_time_ms(t1_ms: float, *, repetition_time_ms: float) -> float:
    """The inversion time at which a tissue gives no signal: `T1 (ln 2 - ln(1 + exp(-TR/T1)))`.

    >>> round(null_time_ms(260.0, repetition_time_ms=1e9))
    180
    """
    return t1_ms * (math.log(2) - math.log1p(math.exp(-repetition_time_ms / t1_ms)))


def spoiled_gradient_echo(
    t1_ms: torch.Tensor,
    t2_star_ms: torch.Tensor,
    *,
    repetition_time_ms: float,
    echo_time_ms: float,
    flip_angle_deg: float,
) -> torch.Tensor:
    """Spoiled gradient echo (FLASH, SPGR): the Ernst equation with T2* decay.

    `sin(a) (1 - E1) / (1 - cos(a) E1) exp(-TE/T2*)` with `E1 = exp(-TR/T1)`; Ernst and Anderson 1966.
    """
    _check_times(repetition_time_ms, echo_time_ms)
    angle = math.radians(flip_angle_deg)
    recovery = torch.exp(-repetition_time_ms / t1_ms)
    steady = math.sin(angle) * (1 - recovery) / (1 - math.cos(angle) * recovery)
    return steady * torch.exp(-echo_time_ms / t2_star_ms)


def prepared_gradient_echo(
    t1_ms: torch.Tensor,
    t2_star_ms: torch.Tensor,
    *,
    repetition_time_ms: float,
    inversion_time_ms: float,
    echo_time_ms: float,
    flip_angle_deg: float,
) -> torch.Tensor:
    """MPRAGE read at the centre of k-space: recovery after inversion, small flip angle, T2* decay; signed.

    The readout train's own saturation is left out, so `1 - 2 exp(-TI/T1) / (1 + exp(-TR/T1))` scales `sin(a)`;
    after Mugler and Brookeman 1990.
    """
    _check_times(repetition_time_ms, echo_time_ms)
    recovered = 1 - 2 * torch.exp(-inversion_time_ms / t1_ms) / (1 + torch.exp(-repetition_time_ms / t1_ms))
    return math.sin(math.radians(flip_angle_deg)) * recovered * torch.exp(-echo_time_ms / t2_star_ms)


def balanced_steady_state(
    t1_ms: torch.Tensor,
    t2_ms: torch.Tensor,
    *,
    repetition_time_ms: float,
    echo_time_ms: float,
    flip_angle_deg: float,
) -> torch.Tensor:
    """Balanced steady-state free precession (TrueFISP, FIESTA) on resonance.

    `sin(a) (1 - E1) / (1 - (E1 - E2) cos(a) - E1 E2) exp(-TE/T2)`; Freeman and Hill 1971.
    """
    _check_times(repetition_time_ms, echo_time_ms)
    angle = math.radians(flip_angle_deg)
    one, two = torch.exp(-repetition_time_ms / t1_ms), torch.exp(-repetition_time_ms / t2_ms)
    steady = math.sin(angle) * (1 - one) / (1 - (one - two) * math.cos(angle) - one * two)
    return steady * torch.exp(-echo_time_ms / t2_ms)


def diffusion_decay(diffusivity_um2_per_ms: torch.Tensor, *, b_value_s_per_mm2: float) -> torch.Tensor:
    """The factor diffusion leaves of the signal: `exp(-b D)`; Stejskal and Tanner 1965."""
    if b_value_s_per_mm2 < 0:
        raise InputError(f"b-value {b_value_s_per_mm2} s/mm² is negative")
    return torch.exp(-b_value_s_per_mm2 * 1e-3 * diffusivity_um2_per_ms)


def _check_times(repetition_time_ms: float, echo_time_ms: float) -> None:
    if repetition_time_ms <= 0 or echo_time_ms < 0:
        raise InputError(
            f"repetition time {repetition_time_ms} ms and echo time {echo_time_ms} ms must be positive",
            remedy="give times in ms",
        )
