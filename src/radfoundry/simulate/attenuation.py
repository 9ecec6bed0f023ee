"""How X-rays weaken in tissue: three materials from Hounsfield units, attenuation by energy, and tube spectra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch

from radfoundry.records import InputError
from radfoundry.simulate.body import Body
from radfoundry.simulate.tissues import TISSUES, index

MATERIALS = ("adipose", "soft", "bone")
REFERENCE_KEV = 70.0  # the effective energy of a CT scan at 120 kV, at which the Hounsfield units hold
AIR_HU = -1000.0
GAS_HU = -300.0  # emptier than this is soft tissue holding gas (lung), not fat

# Mass attenuation in cm²/g with coherent scattering: Hubbell and Seltzer 1995, NIST report 5632 (adipose tissue,
# skeletal muscle and cortical bone as in ICRU report 44). Densities in g/cm³.
ENERGIES_KEV = (10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
MASS_ATTENUATION = MappingProxyType(
    {
        "water": (5.329, 1.673, 0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505),
        "adipose": (3.268, 1.083, 0.5677, 0.3063, 0.2396, 0.2123, 0.1974, 0.1800, 0.1688, 0.1500),
        "soft": (5.356, 1.693, 0.8205, 0.3783, 0.2685, 0.2262, 0.2048, 0.1823, 0.1693, 0.1492),
        "bone": (28.51, 9.032, 4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480),
        "aluminium": (26.23, 7.955, 3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378),
        "copper": (215.9, 74.05, 33.79, 10.92, 4.862, 2.613, 1.593, 0.7630, 0.4584, 0.2217),
    }
)
DENSITY = MappingProxyType(
    {"water": 1.0, "adipose": 0.95, "soft": 1.05, "bone": 1.92, "aluminium": 2.699, "copper": 8.96}
)


# Marrow in the body is fat and blood; a scanner of X-rays sees the trabeculae around it as well. Cancellous bone:
# Schreiber 2011 (J Bone Joint Surg Am 93:1057), 78 to 160 HU from weak to sound vertebrae.
TRABECULAR_HU = MappingProxyType({"yellow-marrow": 90.0, "red-marrow": 150.0, "marrow": 130.0, "marrow-oedema": 120.0})


def unit_of(tissue: str) -> float:
    """The Hounsfield unit of a tissue as an X-ray scanner sees it, marrow with its trabeculae.

    >>> unit_of("muscle")
    55
    """
    return TRABECULAR_HU.get(tissue, TISSUES[index(tissue)].hounsfield)


@dataclass(frozen=True)
class Spectrum:
    """What leaves the tube and is seen by the detector: energies in keV and their weights, which sum to 1."""

    energies_kev: tuple[float, ...]
    weights: tuple[float, ...]


def attenuation_per_mm(material: str, energy_kev: float) -> float:
    """Linear attenuation of a material (`water`, `adipose`, `soft`, `bone`, `aluminium`, `copper`) in 1/mm.

    Interpolated between tabulated energies on logarithmic axes; refuses energies outside 10-150 keV.

    >>> round(attenuation_per_mm("water", 60), 5)
    0.02059
    """
    if material not in MASS_ATTENUATION:
        raise InputError(f"unknown material {material!r}", remedy=f"one of {', '.join(MASS_ATTENUATION)}")
    if not ENERGIES_KEV[0] <= energy_kev <= ENERGIES_KEV[-1]:
        raise InputError(f"{energy_kev} keV is outside 10-150 keV", remedy="give the energy in keV")
    logarithm = np.interp(np.log(energy_kev), np.log(ENERGIES_KEV), np.log(MASS_ATTENUATION[material]))
    return float(np.exp(logarithm)) * DENSITY[material] / 10


def hounsfield_of_material(material: str) -> float:
    """The Hounsfield unit of a pure material at the reference energy."""
    water = attenuation_per_mm("water", REFERENCE_KEV)
    return (attenuation_per_mm(material, REFERENCE_KEV) / water - 1) * 1000


def mixture(hounsfield: float) -> tuple[float, float, float]:
    """How much adipose, soft tissue and cortical bone a cubic mm of a tissue with this Hounsfield unit holds.

    At the reference energy the mixture attenuates exactly as the Hounsfield unit says. Below -300 HU it is soft
    tissue and gas, up to the unit of fat it is fat, then fat and soft tissue, then soft tissue and bone; denser
    than cortical bone counts as more than one mm of bone (calcifications).

    >>> mixture(-1000.0)
    (0.0, 0.0, 0.0)
    """
    fat, soft, bone = (hounsfield_of_material(name) for name in MATERIALS)
    if hounsfield < GAS_HU:
        return 0.0, max(0.0, (1000 + hounsfield) / (1000 + soft)), 0.0
    if hounsfield <= fat:
        return (1000 + hounsfield) / (1000 + fat), 0.0, 0.0
    if hounsfield <= soft:
        share = (hounsfield - fat) / (soft - fat)
        return 1 - share, share, 0.0
    share = (hounsfield - soft) / (bone - soft)
    return 0.0, 1 - share, share


def material_maps(body: Body) -> torch.Tensor:
    """The body as `(3, I, J, K)`: how much of each voxel acts as adipose, soft tissue and cortical bone."""
    maps = torch.zeros(len(MATERIALS), *body.shape)
    for name, share in zip(body.tissues, body.fractions, strict=True):
        for material, amount in enumerate(mixture(unit_of(name))):
            if amount:
                maps[material] += share * amount
    return maps


def spectrum(tube_voltage_kv: float, *, aluminium_mm: float = 2.5, copper_mm: float = 0.0, bins: int = 8) -> Spectrum:
    """The beam of a tungsten tube behind its filters, by Kramers' law; what the detector absorbs counts by energy.

    Kramers 1923 (Phil Mag 46:836) without characteristic lines, filters by Beer-Lambert. Refuses less than
    15 kV or more than 150 kV.
    """
    if not 15 <= tube_voltage_kv <= 150 or min(aluminium_mm, copper_mm) < 0 or bins < 1:
        raise InputError(f"{tube_voltage_kv} kV with these filters is no X-ray tube", remedy="give 15-150 kV")
    edges = np.linspace(ENERGIES_KEV[0], tube_voltage_kv, bins * 8 + 1)
    energies = (edges[1:] + edges[:-1]) / 2
    filters = [
        aluminium_mm * attenuation_per_mm("aluminium", float(e)) + copper_mm * attenuation_per_mm("copper", float(e))
        for e in energies
    ]
    photons = (tube_voltage_kv / energies - 1) * np.exp(-np.array(filters))
    seen = (photons * energies).reshape(bins, 8)
    middle = (seen * energies.reshape(bins, 8)).sum(axis=1) / seen.sum(axis=1)
    weights = seen.sum(axis=1) / seen.sum()
    return Spectrum(tuple(middle.tolist()), tuple(weights.tolist()))


def single_energy(energy_kev: float) -> Spectrum:
    """A beam of one energy, for which Beer-Lambert's law holds exactly."""
    return Spectrum((energy_kev,), (1.0,))


def transmission(paths_mm: torch.Tensor, beam: Spectrum, *, materials: Sequence[str] = MATERIALS) -> torch.Tensor:
    """The share of the beam that passes `(…)` for paths in mm `(materials, …)` through each material.

    Beer-Lambert for every energy, summed by weight: thick parts harden the beam.

    >>> one = transmission(torch.tensor([[0.0], [100.0], [0.0]]), single_energy(60))
    >>> round(float(one), 4) == round(float(np.exp(-100 * attenuation_per_mm("soft", 60))), 4)
    True
    """
    total = torch.zeros(paths_mm.shape[1:])
    for energy, weight in zip(beam.energies_kev, beam.weights, strict=True):
        exponent = torch.zeros_like(total)
        for path, name in zip(paths_mm, materials, strict=True):
            exponent += path * attenuation_per_mm(name, energy)
        total += weight * torch.exp(-exponent)
    return total


def hounsfield(body: Body) -> torch.Tensor:
    """Hounsfield units `(I, J, K)`: every tissue's own, by share; what is missing to 1 is air."""
    return AIR_HU + sum_of(body, [unit_of(name) - AIR_HU for name in body.tissues])


def sum_of(body: Body, values: Sequence[float]) -> torch.Tensor:
    """One value a tissue, weighted by the shares of every voxel: `(I, J, K)`."""
    total = torch.zeros(body.shape)
    for value, share in zip(values, body.fractions, strict=True):  # in order, so sums never depend on threads
        total += value * share
    return total
