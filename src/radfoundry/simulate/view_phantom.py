"""Phantoms of the rectum in two planes: a tumour whose vessel shows partly in each, and whose fascia in one alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.cases import SimulatedCase, SimulatedSeries
from radfoundry.simulate.phantoms import Drawn, PhantomOptions, drawn, finished, seen, soft


@dataclass(frozen=True)
class Magnet:
    """One hospital's scanner: slow shading across the picture (columns, rows), noise, blur in pixels, tumours a share
    of which have an invaded vessel."""

    site: str
    slope: tuple[float, float]
    noise: float
    blur: float
    vessel_rate: float


MAGNETS = (
    Magnet("Northgate Hospital", (0.0, 0.25), 0.03, 0.5, 0.5),
    Magnet("Lakeside Clinic", (0.0, -0.25), 0.05, 0.7, 0.4),
    Magnet("Harbour Practice", (0.25, 0.0), 0.04, 0.6, 0.6),
)


@dataclass(frozen=True, kw_only=True)
class ViewPhantoms(PhantomOptions):
    """Pictures of 64 x 64 pixels, axial and sagittal, from three hospitals, each of a tumour of the rectum.

    Labels, 0 or 1: `vessel`, a dark tongue that leaves the tumour through bright fat: how much of it lies in the plane
    is drawn anew for each view, so that each tells a part; `fascia`: the tumour reaches the ring around the fat, seen
    across (axial) and not along (sagittal). `tongue` is the greatest length of the tongue in pixels. Options are those
    of `phantoms.PhantomOptions` as well.
    """

    tongue: float = 16.0
    name: str = "view-phantoms"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tongue >= 0:
            raise InputError(f"tongue {self.tongue}", remedy="give a length from 0")

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient with a picture in each plane."""
        who = drawn(self, len(MAGNETS), case=case, seed=seed)
        magnet = MAGNETS[who.hospital]
        vessel, fascia = (bool(who.rng.random() < rate) for rate in (magnet.vessel_rate, 0.5))
        size = float(who.rng.uniform(0.8, 1.2))
        series = [self._view(who, magnet, plane, size, vessel=vessel, fascia=fascia) for plane in ("axial", "sagittal")]
        labels = {"vessel": int(vessel), "fascia": int(fascia), "tumour_size": round(size, 3)}
        return finished(who, series, case=case, labels=labels)

    def _view(
        self, who: Drawn, magnet: Magnet, plane: str, size: float, *, vessel: bool, fascia: bool
    ) -> SimulatedSeries:
        rng, side = who.rng, self.pixels
        scale = side / 64
        x, y = np.meshgrid(np.arange(side) - side / 2, np.arange(side) - side / 2, indexing="ij")
        x, y = x / scale, y / scale
        across = plane == "axial"
        # Across, gut and fat are rings; along, they are bands from top to bottom.
        away = np.hypot(x, y) if across else np.abs(x)
        wall, ring = float(rng.uniform(7.5, 9)), float(rng.uniform(22, 25))
        picture = np.full((side, side), 0.35)
        picture += 0.45 * soft(away < ring, 0.6) - 0.35 * soft(np.abs(away - ring) < 0.8, 0.5)
        picture -= 0.35 * soft(away < wall, 0.6) - 0.1 * soft(away < wall - 3, 0.6)
        for _ in range(int(rng.integers(4, 9))):  # vessels of everybody, cut across
            place = rng.uniform(-22, 22, 2)
            picture -= 0.25 * np.exp(-0.5 * ((x - place[0]) ** 2 + (y - place[1]) ** 2)) * (away < ring) * (away > wall)
        angle = float(rng.uniform(0, 2 * np.pi)) if across else float(rng.choice([0.0, np.pi]))
        along = x * np.cos(angle) + y * np.sin(angle)
        beside = -x * np.sin(angle) + y * np.cos(angle)
        reach = wall + (ring - wall + 1 if fascia and across else float(rng.uniform(3, 6)))
        tumour = (np.abs(beside) < 5 * size) & (along > wall - 3) & (along < reach)
        picture -= 0.35 * soft(tumour, 0.8) * (picture > 0.4)
        if vessel:
            start, length = float(rng.uniform(-4, 4)), self.tongue * float(rng.uniform(0, 1))
            turn = along * np.cos(0.9) + (beside - start) * np.sin(0.9)
            off = -along * np.sin(0.9) + (beside - start) * np.cos(0.9)
            tongue = (np.abs(off + wall * 0.7) < 1.8) & (turn > wall * 0.6) & (turn < wall * 0.6 + length)
            picture -= 0.35 * soft(tongue & (away > wall - 2) & (away < ring), 0.6)
        shown = gaussian_filter(picture, magnet.blur) * np.exp((magnet.slope[0] * x + magnet.slope[1] * y) / 32)
        shown = shown + magnet.noise * rng.standard_normal(shown.shape)
        header = Acquisition(modality="MR", body_part="PELVIS", model=magnet.site.split()[0])
        return seen(0.7 * shown, header, {"lesion": tumour}, site=magnet.site, plane=plane)
