"""Film phantoms: lungs with fine lines at the base, on both sides or on one, beside fluid and round spots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.cases import SimulatedCase
from radfoundry.simulate.phantoms import PhantomOptions, drawn, finished, network, seen, soft


@dataclass(frozen=True)
class Room:
    """One hospital's X-ray room: blur in pixels, noise, contrast, and the share of fine detail that is added."""

    site: str
    blur: float
    noise: float
    contrast: float
    edges: float


ROOMS = (
    Room("Northgate Hospital", 0.4, 0.04, 1.0, 0.3),
    Room("Lakeside Clinic", 0.6, 0.05, 0.8, 0.0),
    Room("Harbour Practice", 0.3, 0.07, 1.3, 0.8),
)


@dataclass(frozen=True, kw_only=True)
class FilmPhantoms(PhantomOptions):
    """Films of 64 x 64 pixels from three hospitals with one of two changes of the lower lungs that look alike.

    Labels: `both` (1: fine lines and haze at both bases, as in interstitial change, in `both_rate` of the patients; 0:
    the same lines, and in all as much haze, at one base, as in atelectasis), and, independent of it and of one another,
    `fluid_left`, `fluid_right` (at the very base) and `blots` (0 or 1). Haze is `strength` of the film's range.
    """

    both_rate: float = 0.5
    strength: float = 0.12
    name: str = "film-phantoms"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.both_rate <= 1 and self.strength >= 0):
            raise InputError(
                f"both_rate {self.both_rate} strength {self.strength}", remedy="give a share, and a strength from 0"
            )

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient with one film."""
        who = drawn(self, len(ROOMS), case=case, seed=seed)
        rng, room = who.rng, ROOMS[who.hospital]
        blots, left, right = (bool(value) for value in rng.random(3) < 0.4)
        both = bool(rng.random() < self.both_rate)
        side = self.pixels
        x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
        amount = self.strength * float(rng.uniform(0.7, 1.3))
        share = float(rng.uniform(0.4, 0.6)) if both else float(rng.choice([0.05, 0.95]))
        lines = network((side, side), float(rng.uniform(4.0, 6.0)), rng=rng)
        film, lesion = np.full((side, side), 0.75), np.zeros((side, side))
        for sign, part, fluid in ((-1, share, left), (1, 1 - share, right)):
            lung = ((x - 0.45 * sign) / 0.36) ** 2 + (y / rng.uniform(0.75, 0.9)) ** 2 < 1
            base = soft(lung, 1.0) / (1 + np.exp(-(y - rng.uniform(0.0, 0.2)) / 0.08))
            film += -0.45 * soft(lung, 1.0) + 2 * amount * part * base * (1 + 0.5 * lines)
            if fluid:
                film += 0.2 * soft(lung, 1.0) / (1 + np.exp(-(y - 0.55) / 0.04))
            lesion = np.maximum(lesion, base * (part > 0.2))
        film += 0.03 * network((side, side), 9.0, rng=rng)
        if blots:
            film += 0.2 * _blots(side, x, y, rng=rng) * (film < 0.6)
        header = Acquisition(modality="DX", body_part="CHEST", model=room.site.split()[0])
        labels = {"both": int(both), "fluid_left": int(left), "fluid_right": int(right), "blots": int(blots)}
        series = seen(shown(film, room, rng=rng), header, {"lesion": lesion}, site=room.site)
        return finished(who, [series], case=case, labels=labels)


def _blots(side: int, x: np.ndarray, y: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """A few round spots anywhere, the largest 1."""
    found = np.zeros((side, side))
    for _ in range(int(rng.integers(3, 7))):
        place = rng.uniform([-0.7, -0.6], [0.7, 0.7])
        found = np.maximum(
            found, np.exp(-0.5 * ((x - place[0]) ** 2 + (y - place[1]) ** 2) / rng.uniform(0.05, 0.09) ** 2)
        )
    return found


def shown(film: np.ndarray, room: Room, *, rng: np.random.Generator) -> np.ndarray:
    """The film as a hospital shows it: blurred, noisy, edges raised, contrast around its middle."""
    film = gaussian_filter(film, room.blur) + room.noise * gaussian_filter(rng.standard_normal(film.shape), 0.5)
    film = film + room.edges * (film - gaussian_filter(film, 2.0))
    return 0.5 + room.contrast * (film - film.mean())
