"""Hospitals: their scanners, which sequences they run with which settings, and how often disease is seen there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from radfoundry.simulate.headers import Scanner, Slab

SEQUENCES = ("T1w", "T2w", "PDw", "FLAIR")
IN_PLANE = {"small": (1 / 102, 1 / 86), "medium": (1 / 187, 1 / 150), "full": (1 / 280, 1 / 224)}
REFERENCE_FIELD_MM = 224.0  # the field of view that thicknesses below are meant for
VOLUMES = ("MPRAGE", "SWI", "TOF", "Dixon-water", "Dixon-fat", "Dixon-opposed", "T1c-gradient", "dynamic", "Dixon")


@dataclass(frozen=True)
class Site:
    """One hospital: name, scanners, share of patients with a lesion, and how it likes its images.

    `gradient_t1` is the chance that its T1w is a spoiled gradient echo; `thickness_mm` the range of slice
    thickness; `planes` the planes each sequence may be taken in; `oblique` the share of series that are tilted by 10
    to 30 degrees.
    """

    name: str
    scanners: tuple[Scanner, ...]
    lesion_rate: float = 0.5
    gradient_t1: float = 0.3
    thickness_mm: tuple[float, float] = (4.0, 5.0)
    planes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    oblique: float = 0.0


@dataclass(frozen=True)
class Part:
    """Which part of the body is scanned: its name in headers, what the study is called, where slices are laid.

    `fixed` keeps the plane whatever a site prefers.
    """

    body_part: str = "HEAD"
    study: str = "MRI head"
    centre_mm: tuple[float, float, float] = (0.0, -16.0, 6.0)
    field_of_view_mm: tuple[float, float, float] = (184.0, 224.0, 172.0)
    plane: str = "axial"
    fixed: bool = False

    @property
    def reach_mm(self) -> float:
        """The longer side of the field of view in the plane of the slices."""
        across = {"axial": (0, 1), "sagittal": (1, 2), "coronal": (0, 2)}[self.plane]
        return max(self.field_of_view_mm[axis] for axis in across)


SITES = (
    Site(
        "Northgate Hospital",
        (
            Scanner("SIEMENS", "Avanto", 1.5, noise=0.035, shading=0.15, brightness=380.0, curve=0.95),
            Scanner("SIEMENS", "Skyra", 3.0, noise=0.022, shading=0.28, brightness=420.0),
        ),
        gradient_t1=0.25,
        planes={"T1w": ("axial", "axial", "sagittal")},
    ),
    Site(
        "Lakeside Clinic",
        (
            Scanner(
                "GE MEDICAL SYSTEMS", "DISCOVERY MR750", 3.0, noise=0.025, shading=0.24, brightness=1500.0, curve=1.1
            ),
            Scanner("Philips Medical Systems", "Achieva", 1.5, noise=0.03, shading=0.12, brightness=900.0),
        ),
        gradient_t1=0.6,
        thickness_mm=(3.0, 5.0),
        planes={"FLAIR": ("axial", "axial", "coronal")},
        oblique=0.05,
    ),
)
LOW_FIELD = Site(
    "Harbour Practice",
    (Scanner("SIEMENS", "MAGNETOM Free.Max", 0.55, noise=0.09, shading=0.1, brightness=300.0, curve=0.9),),
    lesion_rate=0.3,
    gradient_t1=0.1,
    thickness_mm=(5.0, 6.0),
)


def _alike(name: str, **differs: object) -> Site:
    """A hospital with one Siemens Skyra at 3 T that differs from others of its kind in what is named alone."""
    scanner = Scanner("SIEMENS", "Skyra", 3.0, noise=0.025, shading=0.15, brightness=400.0)
    return Site(name, (replace(scanner, **differs),), thickness_mm=(4.0, 5.0))


# Hospitals that differ in one thing alone, so that a study can say which difference a method takes away.
DIFFERENCES: dict[str, tuple[Site, ...]] = {
    "coil": (
        _alike("Northgate Hospital", slope=(0.0, 0.35, 0.0), brightness=350.0),
        _alike("Lakeside Clinic", slope=(0.0, -0.35, 0.0), brightness=900.0),
        _alike("Harbour Practice", slope=(0.3, 0.0, 0.25), brightness=550.0),
    ),
    "noise": (
        _alike("Northgate Hospital", noise=0.015),
        _alike("Lakeside Clinic", noise=0.045),
        _alike("Harbour Practice", noise=0.09),
    ),
}


def draw_slab(site: Site, sequence: str, part: Part, *, rng: np.random.Generator, size: str) -> Slab:
    """Slices as a site lays them: plane by sequence, thickness, gap, and a few degrees of tilt.

    Thickness follows the root of the field of view, so that a knee is cut finer than an abdomen. Volumes are thin and
    without gaps, localizers and calibration scans coarse.
    """
    planes = site.planes.get(sequence, (part.plane,)) if part.plane == "axial" and not part.fixed else (part.plane,)
    scale = (part.reach_mm / REFERENCE_FIELD_MM) ** 0.5
    thickness = max(1.0, round(float(rng.uniform(*site.thickness_mm)) * scale * 2) / 2)
    gap = round(thickness * float(rng.choice([0.0, 0.1, 0.2])), 2)
    tilt = rng.normal(0, 3, 3) * np.array([1.5, 0.5, 0.5])
    if rng.random() < site.oblique:
        tilt[int(rng.integers(2))] += float(rng.choice([-1, 1]) * rng.uniform(10, 30))
    in_plane = part.reach_mm * float(rng.uniform(*IN_PLANE[size]))
    if sequence in VOLUMES:
        thickness, gap = max(1.0, round(thickness) / 2), 0.0
    if sequence == "localizer":
        thickness, gap, in_plane = 8.0, 16.0, in_plane * 1.3
    if sequence == "calibration":
        thickness, gap, in_plane = 10.0, 0.0, in_plane * 2.2
    return Slab(
        plane=planes[int(rng.integers(len(planes)))],
        in_plane_mm=round(in_plane, 3),
        thickness_mm=thickness,
        gap_mm=gap,
        tilt_deg=(float(tilt[0]), float(tilt[1]), float(tilt[2])),
        field_of_view_mm=part.field_of_view_mm,
        centre_mm=part.centre_mm,
        body_part=part.body_part,
        coil_seed=int(rng.integers(2**62)),
    )
