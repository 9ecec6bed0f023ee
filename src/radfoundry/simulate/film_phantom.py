"""Film phantoms: lungs with two textures that look alike, a network or bands, beside blots and fluid at the base."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.cases import SimulatedCase
from radfoundry.simulate.phantoms import PhantomOptions, drawn, finished, network, seen, soft, waves


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
    """Films of 64 x 64 pixels from three hospitals with a change of the lower lungs that is one of two.

    Labels: `network` (1: fine lines in every direction, as in interstitial change; 0: the same amount of lines that
    all lie across, as in plate-like atelectasis; `network_rate` of the patients have 1), and, independent of it and of
    one another, `blots`, `fluid` (0 or 1), `lean_deg` (how the pattern of the vessels is turned) and `wavelength`
    (pixels between its lines). Lines of both kinds are equally dense, `strength` of the film's range.
    """

    network_rate: float = 0.5
    strength: float = 0.12
    name: str = "film-phantoms"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.network_rate <= 1 and self.strength >= 0):
            raise InputError(
                f"network_rate {self.network_rate} strength {self.strength}",
                remedy="give a share, and a strength from 0",
            )

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient with one film."""
        who = drawn(self, len(ROOMS), case=case, seed=seed)
        rng, room = who.rng, ROOMS[who.hospital]
        blots, fluid = (bool(value) for value in rng.random(2) < 0.5)
        net = bool(rng.random() < self.network_rate)
        side = self.pixels
        x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
        lungs = np.zeros((side, side))
        for sign in (-1, 1):
            lungs += ((x - 0.45 * sign) / 0.36) ** 2 + (y / rng.uniform(0.75, 0.9)) ** 2 < 1
        lungs = np.clip(lungs, 0, 1)
        lower = soft(lungs, 1.0) / (1 + np.exp(-(y - rng.uniform(-0.1, 0.2)) / 0.08))
        wavelength, lean = float(rng.uniform(5.0, 8.0)), float(rng.uniform(-90, 90))
        film = 0.75 - 0.45 * soft(lungs, 1.5)
        film += 0.05 * _vessels((side, side), lean, rng=rng) * soft(lungs, 1.0)
        lines = network((side, side), wavelength, rng=rng) if net else waves((side, side), (0.0, wavelength), rng=rng)
        film += self.strength * float(rng.uniform(0.7, 1.3)) * lower * lines
        if blots:
            film += 0.22 * _blots(side, x, y, rng=rng) * lungs
        if fluid:
            film += 0.25 * soft(lungs, 1.0) / (1 + np.exp(-(y - 0.5) / 0.04))
        header = Acquisition(modality="DX", body_part="CHEST", model=room.site.split()[0])
        labels = {
            "network": int(net),
            "blots": int(blots),
            "fluid": int(fluid),
            "lean_deg": round(lean, 1),
            "wavelength": round(wavelength, 2),
        }
        series = seen(shown(film, room, rng=rng), header, {"lesion": lower}, site=room.site)
        return finished(who, [series], case=case, labels=labels)


def _vessels(shape: tuple[int, int], lean_deg: float, *, rng: np.random.Generator) -> np.ndarray:
    """Lines that lean to one side, of unit variance."""
    angle = np.radians(lean_deg)
    first, second = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), indexing="ij")
    near = np.zeros(shape)
    for sign in (1, -1):
        near += np.exp(
            -0.5 * ((first - sign * 0.13 * np.cos(angle)) ** 2 + (second - sign * 0.13 * np.sin(angle)) ** 2) / 0.04**2
        )
    made = np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) * near).real
    return made / made.std()


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
