"""Hospitals: their scanners, which sequences they run with which settings, and how often disease is seen there."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from radfoundry.simulate.headers import Scanner, Slab

SEQUENCES = ("T1w", "T2w", "PDw", "FLAIR")


@dataclass(frozen=True)
class Site:
    """One hospital: name, scanners, share of patients with a lesion, and how it likes its images.

    `gradient_t1` is the chance that its T1w is a spoiled gradient echo; `thickness_mm` the range of slice
    thickness; `planes` the planes each sequence may be taken in.
    """

    name: str
    scanners: tuple[Scanner, ...]
    lesion_rate: float = 0.5
    gradient_t1: float = 0.3
    thickness_mm: tuple[float, float] = (4.0, 5.0)
    planes: dict[str, tuple[str, ...]] = field(default_factory=dict)


SITES = (
    Site(
        "Northgate Hospital",
        (
            Scanner("SIEMENS", "Avanto", 1.5, noise=0.035, shading=0.15, brightness=380.0),
            Scanner("SIEMENS", "Skyra", 3.0, noise=0.022, shading=0.28, brightness=420.0),
        ),
        gradient_t1=0.25,
        planes={"T1w": ("axial", "axial", "sagittal")},
    ),
    Site(
        "Lakeside Clinic",
        (
            Scanner("GE MEDICAL SYSTEMS", "DISCOVERY MR750", 3.0, noise=0.025, shading=0.24, brightness=1500.0),
            Scanner("Philips Medical Systems", "Achieva", 1.5, noise=0.03, shading=0.12, brightness=900.0),
        ),
        gradient_t1=0.6,
        thickness_mm=(3.0, 5.0),
        planes={"FLAIR": ("axial", "axial", "coronal")},
    ),
)


def draw_slab(site: Site, sequence: str, *, rng: np.random.Generator, in_plane_mm: tuple[float, float]) -> Slab:
    """Slices as a site lays them: plane by sequence, thickness, gap, and a few degrees of tilt."""
    planes = site.planes.get(sequence, ("axial",))
    thickness = round(float(rng.uniform(*site.thickness_mm)) * 2) / 2
    tilt = tuple(float(value) for value in rng.normal(0, 3, 3) * np.array([1.5, 0.5, 0.5]))
    return Slab(
        plane=planes[int(rng.integers(len(planes)))],
        in_plane_mm=round(float(rng.uniform(*in_plane_mm)), 3),
        thickness_mm=thickness,
        gap_mm=round(thickness * float(rng.choice([0.0, 0.1, 0.2])), 2),
        tilt_deg=(tilt[0], tilt[1], tilt[2]),
    )
