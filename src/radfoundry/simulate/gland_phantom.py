"""Gland phantoms: a bright gland near the middle, a dark spot in it or not, and dark spots around it in everybody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.cases import SimulatedCase
from radfoundry.simulate.phantoms import PhantomOptions, drawn, finished, seen, soft

SITES = ("Northgate Hospital", "Lakeside Clinic")
PIXEL_MM = 0.5


@dataclass(frozen=True, kw_only=True)
class GlandPhantoms(PhantomOptions):
    """Pictures of 64 x 64 pixels of 0.5 mm, with a gland of 8 to 10 mm radius within 1.5 mm of the middle.

    The label `lesion` says whether a spot `contrast` darker than the gland lies in it; up to `decoys` such spots lie
    around the gland whatever the label. The truth `gland` is its outline. Options are those of
    `phantoms.PhantomOptions` as well.
    """

    contrast: float = 0.2
    decoys: int = 6
    name: str = "gland-phantoms"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.contrast >= 0 or self.decoys < 0:
            raise InputError(f"contrast {self.contrast} decoys {self.decoys}", remedy="give numbers from 0")

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient with one picture."""
        who = drawn(self, len(SITES), case=case, seed=seed)
        rng, side = who.rng, self.pixels
        x, y = (axis * PIXEL_MM for axis in np.meshgrid(*2 * [np.arange(side) - side / 2], indexing="ij"))
        reach = side * PIXEL_MM / 2
        middle, radius = rng.uniform(-1.5, 1.5, 2), float(rng.uniform(8, 10)) * reach / 16
        gland = np.hypot(x - middle[0], (y - middle[1]) * 1.15) < radius
        texture = gaussian_filter(rng.standard_normal((side, side)), 1.5)
        picture = 0.5 + 0.2 * soft(gland, 0.7) + 0.05 * texture / texture.std()
        present = bool(rng.random() < 0.5)
        if present:
            angle, away = rng.uniform(0, 2 * np.pi), radius * np.sqrt(rng.uniform(0, 0.4))
            place = middle + away * np.array([np.cos(angle), np.sin(angle)])
            picture -= self._spot(rng, x, y, place)
        for _ in range(int(rng.integers(0, self.decoys + 1))):
            angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(1.35 * radius, 1.7 * radius)
            picture -= self._spot(rng, x, y, middle + away * np.array([np.cos(angle), np.sin(angle)]))
        picture += 0.02 * rng.standard_normal(picture.shape)
        site = SITES[who.hospital]
        header = Acquisition(modality="MR", body_part="PROSTATE", model=site.split()[0])
        series = seen(0.9 * picture, header, {"gland": gland}, site=site)
        return finished(who, [series], case=case, labels={"lesion": int(present), "gland_mm": round(2 * radius, 2)})

    def _spot(self, rng: np.random.Generator, x: np.ndarray, y: np.ndarray, place: np.ndarray) -> np.ndarray:
        """A dark spot of 1.5 to 3 mm radius."""
        return self.contrast * soft(np.hypot(x - place[0], y - place[1]) < rng.uniform(1.5, 3.0), 0.7)
