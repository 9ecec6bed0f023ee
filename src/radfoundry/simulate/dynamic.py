"""Images that need more than one picture: contrast-agent uptake over time, diffusion maps, perfusion, inflow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from radfoundry.records import InputError

HAEMATOCRIT = 0.42
# Uptake of contrast agent: transfer constant Ktrans per minute and leakage volume v_e. Tumours and benign growths:
# Tofts et al. 1995, Magn Reson Med 33:564; organs: typical values, such that they enhance in the order seen clinically.
UPTAKE: Mapping[str, tuple[float, float]] = {
    "enhancing": (0.45, 0.35), "carcinoma": (0.50, 0.35), "prostate-cancer": (0.40, 0.30), "mucosa": (0.20, 0.30),
    "peripheral-zone": (0.10, 0.35), "stroma": (0.15, 0.25), "myometrium": (0.40, 0.35), "bowel": (0.08, 0.20),
    "synovial-fluid": (0.004, 0.9), "airless-lung": (0.30, 0.30), "marrow-oedema": (0.12, 0.30),
    "slow-enhancing": (0.06, 0.55), "tumour": (0.004, 0.3), "necrosis": (0.008, 0.9),
    "haemorrhage": (0.002, 0.3), "muscle": (0.025, 0.12), "skin": (0.08, 0.25), "marrow": (0.04, 0.12),
    "red-marrow": (0.08, 0.15), "liver": (0.35, 0.28), "spleen": (0.7, 0.3), "kidney": (1.2, 0.4),
    "medulla": (0.6, 0.45), "pancreas": (0.6, 0.28), "prostate": (0.12, 0.3), "glandular": (0.035, 0.4),
    "synovium": (0.2, 0.4), "fat": (0.004, 0.08),
}  # fmt: skip
BLOOD_BRAIN_PARTITION = 0.9  # ml/g; Alsop et al. 2015, Magn Reson Med 73:102
BLOOD_T1_MS = {1.5: 1350.0, 3.0: 1650.0}  # the values that consensus paper asks for


def arterial_concentration_mm(time_min: torch.Tensor, *, dose: float = 1.0) -> torch.Tensor:
    """Contrast agent in arterial plasma over time (minutes) after a standard dose, in mmol/l.

    The biexponential of Weinmann 1984 as used by Tofts and Kermode 1991: `D (a1 exp(-m1 t) + a2 exp(-m2 t))` with
    D = 0.1 mmol/kg, a1 = 3.99, a2 = 4.78 kg/l, m1 = 0.144, m2 = 0.0111 per minute; zero before the injection.
    """
    curve = 0.1 * dose * (3.99 * torch.exp(-0.144 * time_min) + 4.78 * torch.exp(-0.0111 * time_min))
    return torch.where(time_min >= 0, curve, torch.zeros_like(curve))


def tissue_concentration_mm(
    time_min: torch.Tensor, *, transfer_per_min: torch.Tensor, leakage_volume: torch.Tensor
) -> torch.Tensor:
    """Contrast agent in tissue over time: `(…, times)` for tissues `(…)`, Tofts and Kermode 1991 in closed form.

    `transfer_per_min` is Ktrans, `leakage_volume` the share v_e of tissue it leaks into. High Ktrans over v_e washes
    in and out quickly (malignant), low keeps rising. Refuses v_e that is not positive.
    """
    if bool((leakage_volume <= 0).any()):
        raise InputError("the leakage volume must be positive", remedy="give v_e between 0 and 1")
    out = (transfer_per_min / leakage_volume)[..., None]
    total = torch.zeros(())
    for amplitude, rate in ((3.99, 0.144), (4.78, 0.0111)):
        apart = out - rate
        apart = torch.where(apart.abs() < 1e-6, torch.full_like(apart, 1e-6), apart)
        total = total + amplitude * (torch.exp(-rate * time_min) - torch.exp(-out * time_min)) / apart
    curve = 0.1 * transfer_per_min[..., None] * total
    return torch.where(time_min >= 0, curve, torch.zeros_like(curve))


def concentrations_mm(tissues: Sequence[str], minutes: float) -> torch.Tensor:
    """Contrast agent in each tissue some minutes after a standard dose, in mmol/l; 0 where none is taken up.

    Blood holds what the plasma holds, less its cells.

    >>> [round(float(value), 2) for value in concentrations_mm(("white", "enhancing"), 5.0)]
    [0.0, 0.25]
    """
    time = torch.tensor([float(minutes)])
    found = torch.zeros(len(tissues))
    for number, name in enumerate(tissues):
        if name in ("blood", "flowing-blood"):
            found[number] = float(arterial_concentration_mm(time)) * (1 - HAEMATOCRIT)
        elif name in UPTAKE:
            transfer, volume = (torch.tensor([value]) for value in UPTAKE[name])
            found[number] = float(tissue_concentration_mm(time, transfer_per_min=transfer, leakage_volume=volume))
    return found


def apparent_diffusion_um2_per_ms(
    low: torch.Tensor, high: torch.Tensor, *, b_values: tuple[float, float]
) -> torch.Tensor:
    """The ADC map from two images: `ln(S_low / S_high) / (b_high - b_low)`; 0 where there is no signal."""
    apart = b_values[1] - b_values[0]
    if apart <= 0:
        raise InputError(f"b-values {b_values} do not rise")
    there = (low > 0) & (high > 0)
    ratio = torch.where(there, low / high.clamp_min(1e-12), torch.ones_like(low))
    return torch.log(ratio) / apart * 1000


def label_difference(
    flow_ml_per_100g_min: torch.Tensor, *, field_t: float = 3.0, delay_ms: float = 1800, duration_ms: float = 1800
) -> torch.Tensor:
    """Arterial spin labelling: the share of the equilibrium signal by which labelling lowers it.

    Pseudo-continuous labelling, efficiency 0.85; inverse of the equation in Alsop et al. 2015.
    """
    t1 = BLOOD_T1_MS[1.5] if field_t < 2.2 else BLOOD_T1_MS[3.0]
    flow_per_s = flow_ml_per_100g_min / 6000
    stays = math.exp(-delay_ms / t1) * (1 - math.exp(-duration_ms / t1)) * t1 / 1000
    return 2 * 0.85 * flow_per_s * stays / BLOOD_BRAIN_PARTITION


def inflow_signal(
    t1_ms: float, *, repetition_time_ms: float, flip_angle_deg: float, fresh_pulses: torch.Tensor
) -> torch.Tensor:
    """Time of flight: transverse signal of blood that has felt so many pulses since it entered the slab.

    From full magnetisation towards the Ernst steady state: fresh blood is bright, stationary tissue saturated.
    """
    angle = math.radians(flip_angle_deg)
    recovery = math.exp(-repetition_time_ms / t1_ms)
    steady = (1 - recovery) / (1 - math.cos(angle) * recovery)
    left = (math.cos(angle) * recovery) ** fresh_pulses
    return math.sin(angle) * (steady + (1 - steady) * left)
