"""What tissue is to ultrasound: speed, density, attenuation, echo strength, and how its echoes are arranged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

from radfoundry.simulate.tissues import TISSUES, index


@dataclass(frozen=True, slots=True)
class Acoustic:
    """Speed in m/s, density in g/cm³, attenuation in dB/cm/MHz, backscatter in dB relative to liver.

    `strands` is how much of the echo comes from septa and fibres that run along the skin (0 none to 1).
    """

    speed_m_per_s: float
    density_g_per_cm3: float
    attenuation_db: float
    backscatter_db: float
    strands: float = 0.0

    @property
    def impedance_mrayl(self) -> float:
        """Speed times density, in 10⁶ kg/(m² s)."""
        return self.speed_m_per_s * self.density_g_per_cm3 / 1000


# Speeds, densities and attenuation: Duck 1990 (Physical Properties of Tissue) and Azhari 2010 (Basics of Biomedical
# Ultrasound, appendix A). Backscatter: ICRU report 61 (1998), D'Astous and Foster 1986 (Ultrasound Med Biol 12:795)
# for the breast: gland above fat, cancer below both. Values stand for wide ranges.
MATERIALS: Mapping[str, Acoustic] = MappingProxyType(
    {
        "liver": Acoustic(1595, 1.06, 0.50, 0.0),
        "fat": Acoustic(1450, 0.95, 0.48, -11.0, 0.55),
        "glandular": Acoustic(1515, 1.02, 0.75, 3.0, 0.2),
        "muscle": Acoustic(1580, 1.05, 0.80, -9.0, 0.85),
        "skin": Acoustic(1615, 1.09, 1.30, 5.0),
        "fibrous": Acoustic(1650, 1.10, 1.60, 6.0, 0.3),
        "blood": Acoustic(1575, 1.055, 0.18, -30.0),
        "water": Acoustic(1510, 1.00, 0.01, -60.0),
        "kidney": Acoustic(1560, 1.05, 0.65, -6.0),
        "medulla": Acoustic(1555, 1.04, 0.65, -11.0),
        "spleen": Acoustic(1567, 1.06, 0.45, 1.5),
        "pancreas": Acoustic(1590, 1.05, 0.80, 4.0),
        "carcinoma": Acoustic(1550, 1.06, 1.30, -17.0),
        "benign": Acoustic(1548, 1.05, 0.60, -13.0),
        "cartilage": Acoustic(1665, 1.10, 1.50, -25.0),
        "brain": Acoustic(1550, 1.04, 0.60, -8.0),
        "bone": Acoustic(3500, 1.90, 20.0, -6.0),
        "lung": Acoustic(650, 0.30, 40.0, 2.0),
        "air": Acoustic(343, 0.0012, 45.0, -70.0),
    }
)
# Tissues of the body that have no entry of their own, and what they are to ultrasound.
SAME: Mapping[str, str] = MappingProxyType(
    {
        "grey": "brain",
        "white": "brain",
        "deep-grey": "brain",
        "cord": "brain",
        "nerve": "fibrous",
        "csf": "water",
        "vitreous": "water",
        "synovial-fluid": "water",
        "bile": "water",
        "necrosis": "water",
        "flowing-blood": "blood",
        "haemorrhage": "blood",
        "marrow": "bone",
        "red-marrow": "bone",
        "calcification": "bone",
        "yellow-marrow": "fat",
        "tumour": "carcinoma",
        "enhancing": "carcinoma",
        "prostate-cancer": "carcinoma",
        "slow-enhancing": "benign",
        "tendon": "fibrous",
        "meniscus": "fibrous",
        "annulus": "fibrous",
        "stroma": "muscle",
        "bowel": "muscle",
        "lung-tissue": "lung",
    }
)


def acoustic(name: str) -> Acoustic:
    """The acoustic properties of a tissue; one without an entry is judged by its Hounsfield unit.

    >>> round(acoustic("water").impedance_mrayl, 2)
    1.51
    """
    known = SAME.get(name, name)
    if known in MATERIALS:
        return MATERIALS[known]
    unit = TISSUES[index(name)].hounsfield
    return MATERIALS["bone" if unit > 200 else "lung" if unit < -300 else "fat" if unit < -20 else "liver"]


@dataclass(frozen=True, eq=False)
class AcousticMaps:
    """Acoustic properties at places of any shape: impedance, attenuation, echo amplitude, share of strands."""

    impedance_mrayl: torch.Tensor
    attenuation_db: torch.Tensor
    amplitude: torch.Tensor
    strands: torch.Tensor


def acoustic_maps(names: Sequence[str], shares: torch.Tensor, *, gel: torch.Tensor | None = None) -> AcousticMaps:
    """Properties where tissues have shares `(tissues, …)`; what is missing to 1 is air, and gel where `gel` is true.

    Echo amplitudes add by power, since scatterers of different tissues are independent.
    """
    table = [acoustic(name) for name in names]
    air = MATERIALS["air"]
    empty = (1 - shares.sum(dim=0)).clamp(0, 1)
    impedance, loss = empty * air.impedance_mrayl, empty * air.attenuation_db
    if gel is not None:  # gel passes sound as skin does, and echoes as little as water
        impedance = torch.where(gel, empty * MATERIALS["skin"].impedance_mrayl, impedance)
        loss = torch.where(gel, empty * MATERIALS["water"].attenuation_db, loss)
    power, strands = torch.zeros_like(empty), torch.zeros_like(empty)
    for share, item in zip(shares, table, strict=True):
        impedance = impedance + share * item.impedance_mrayl
        loss = loss + share * item.attenuation_db
        power = power + share * 10 ** (item.backscatter_db / 10)
        strands = strands + share * item.strands
    return AcousticMaps(impedance, loss, power.sqrt(), strands)
