"""Film phantoms of children: air trapped in one lung by something inhaled, beside signs of other things."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.cases import SimulatedCase
from radfoundry.simulate.film_phantom import ROOMS, shown
from radfoundry.simulate.phantoms import PhantomOptions, drawn, finished, seen, soft


@dataclass(frozen=True, kw_only=True)
class ChildFilms(PhantomOptions):
    """Frontal chest films of children aged 1 to 14 from three hospitals.

    Labels: `trapping` (air trapped behind something inhaled, in `trapping_rate` of the children: one lung, the `side`,
    is blacker and larger, the diaphragm below it lower, and heart and midline stand towards the other side, by
    `strength`), and, independent of it and of one another, `patches` (round shadows in both lungs), `tube` (a thin line
    from above) and `wide` (a large heart).
    """

    trapping_rate: float = 0.4
    strength: float = 1.0
    name: str = "child-films"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.trapping_rate <= 1 and self.strength >= 0):
            raise InputError(
                f"trapping_rate {self.trapping_rate} strength {self.strength}", remedy="give a share, and 0 or more"
            )

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One child with one film."""
        who = drawn(self, len(ROOMS), case=case, seed=seed)
        rng, room = who.rng, ROOMS[who.hospital]
        patches, tube, wide = (bool(value) for value in rng.random(3) < 0.5)
        trapping = bool(rng.random() < self.trapping_rate)
        side = int(rng.choice([-1, 1]))
        size = self.strength * float(rng.uniform(0.7, 1.3)) * trapping
        x, y = np.meshgrid(np.linspace(-1, 1, self.pixels), np.linspace(-1, 1, self.pixels), indexing="ij")
        lean = float(rng.normal(0, 0.03))  # a child that is a little turned looks like a little of it
        shift = -0.07 * size * side + lean
        lungs = np.zeros((2, self.pixels, self.pixels))
        for place, sign in enumerate((-1, 1)):
            held = size * (sign == side)
            middle = 0.42 * sign + shift * 0.7
            across, along = 0.30 + 0.03 * held + rng.normal(0, 0.012), 0.70 + 0.07 * held + rng.normal(0, 0.03)
            lungs[place] = ((x - middle) / across) ** 2 + ((y + 0.1 - 0.04 * held) / along) ** 2 < 1
        air = [soft(lung, 1.0) for lung in lungs]
        film = 0.72 - 0.36 * (air[0] + air[1])
        film -= 0.07 * size * air[int(side > 0)]
        film += float(rng.normal(0, 0.012)) * (air[0] - air[1])  # no two lungs are equally black
        film += 0.30 * _heart(x, y, shift, 1.25 if wide else 1.0, rng=rng)
        film += 0.10 * soft(np.abs(x - shift) < 0.09, 1.0)
        film += 0.035 * np.sin(2 * np.pi * (y * 4.5 + 1.6 * np.abs(x) + float(rng.uniform()))) * (air[0] + air[1])
        if patches:
            film += 0.16 * _patches(x, y, rng=rng) * (air[0] + air[1])
        if tube:
            film += 0.25 * soft(np.abs(x - shift - 0.03 * np.sin(3 * y)) < 0.02, 0.4) * (y < 0.1)
        film += 0.02 * gaussian_filter(rng.standard_normal(film.shape), 2.0) * 4
        labels: dict[str, str | int] = {
            "trapping": int(trapping),
            "patches": int(patches),
            "tube": int(tube),
            "wide": int(wide),
        }
        labels["side"] = "none" if not trapping else "right" if side < 0 else "left"
        header = Acquisition(modality="DX", body_part="CHEST", view_position="AP", model=room.site.split()[0])
        truth = {"lesion": air[int(side > 0)] * trapping}
        series = seen(shown(film, room, rng=rng), header, truth, site=room.site)
        child = replace(who, age_years=round(1 + (who.age_years - 30) / 55 * 13, 1))
        return finished(child, [series], case=case, labels=labels)


def _heart(x: np.ndarray, y: np.ndarray, shift: float, scale: float, *, rng: np.random.Generator) -> np.ndarray:
    """The shadow of the heart, more of it on the child's left."""
    wide, tall = 0.27 * scale * rng.uniform(0.93, 1.07), 0.30 * rng.uniform(0.93, 1.07)
    return soft(((x - 0.08 - shift) / wide) ** 2 + ((y - 0.28) / tall) ** 2 < 1, 1.2)


def _patches(x: np.ndarray, y: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """A few round shadows anywhere, the largest 1."""
    found = np.zeros(x.shape)
    for _ in range(int(rng.integers(3, 6))):
        place, width = rng.uniform([-0.7, -0.6], [0.7, 0.4]), rng.uniform(0.06, 0.10)
        found = np.maximum(found, np.exp(-0.5 * ((x - place[0]) ** 2 + (y - place[1]) ** 2) / width**2))
    return found
