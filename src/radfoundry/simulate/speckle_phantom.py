"""Ultrasound phantoms: speckle with one dark lesion, whose border, shadow and capsule are drawn independently."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.cases import SimulatedCase
from radfoundry.simulate.phantoms import PhantomOptions, drawn, finished, seen, soft

TOP_DB = 12.0


@dataclass(frozen=True)
class Scanner:
    """One hospital's machine: width of the pulse across and along the beam in pixels, looks, range, gain and loss."""

    site: str
    across: float
    along: float
    looks: int
    range_db: float
    gain_db: float
    loss_db: float


SCANNERS = (
    Scanner("Northgate Hospital", 1.3, 0.6, 4, 60.0, 0.0, 4.0),
    Scanner("Lakeside Clinic", 1.7, 0.8, 3, 52.0, 3.0, 7.0),
)


@dataclass(frozen=True, kw_only=True)
class SpecklePhantoms(PhantomOptions):
    """Pictures of 64 x 64 pixels from two hospitals, each with a lesion in speckle.

    Labels, each 0 or 1 and independent of the others: `spiculated` (the border has spikes, `spikes` of the radius
    long), `shadow` (dark behind the lesion), `capsule` (a bright rim); and `lesion_mm`. Speckle is what a sum of very
    many scatterers gives (Burckhardt 1978, IEEE Trans Sonics Ultrason 25:1). Options are those of
    `phantoms.PhantomOptions` as well.
    """

    spikes: float = 0.35
    name: str = "speckle-phantoms"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.spikes <= 1:
            raise InputError(f"spikes {self.spikes}", remedy="give a share of the radius from 0 to 1")

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient with one picture."""
        who = drawn(self, len(SCANNERS), case=case, seed=seed)
        rng, scanner = who.rng, SCANNERS[who.hospital]
        spiculated, shadow, capsule = (bool(value) for value in rng.random(3) < 0.5)
        scale = self.pixels / 64
        radius = float(rng.uniform(7.5, 12.0)) * scale
        echo, lesion = self._echo(rng, radius, spiculated=spiculated, shadow=shadow, capsule=capsule)
        header = Acquisition(modality="US", body_part="BREAST", model=scanner.site.split()[0])
        labels = {
            "spiculated": int(spiculated),
            "shadow": int(shadow),
            "capsule": int(capsule),
            "lesion_mm": round(radius / scale, 2),
        }
        series = seen(pictured(echo, scanner, rng=rng), header, {"lesion": lesion}, site=scanner.site)
        return finished(who, [series], case=case, labels=labels)

    def _echo(
        self, rng: np.random.Generator, radius: float, *, spiculated: bool, shadow: bool, capsule: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Echo strength in dB (columns, rows), rows going deeper, and where the lesion is."""
        side = self.pixels
        x, y = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
        centre = (side * rng.uniform(0.35, 0.65), side * rng.uniform(0.3, 0.5))
        angle = np.arctan2(y - centre[1], x - centre[0])
        spikes = self.spikes if spiculated else 0.04
        edge = radius * (1 + 0.08 * np.cos(2 * angle + rng.uniform(0, 2 * np.pi)))
        for count in (7, 9, 11):
            edge = edge + radius * spikes / 2 * np.cos(count * angle + rng.uniform(0, 2 * np.pi)) / np.sqrt(3) * 2
        away = np.hypot(x - centre[0], (y - centre[1]) * rng.uniform(1.0, 1.25))
        lesion = away < edge
        strands = gaussian_filter(rng.standard_normal((side, side)), (9, 1.5))
        echo = 2.5 * strands / strands.std() - float(rng.uniform(8, 13)) * soft(lesion, 0.5)
        if capsule:
            echo += 12.0 * soft((away >= edge) & (away < edge + 2.5), 0.5)
        if shadow:
            columns = soft(np.abs(np.arange(side) - centre[0]) < 0.8 * radius, 1.5)
            behind = 1 / (1 + np.exp(-(y - centre[1] - 0.8 * radius) / 1.5))
            echo -= float(rng.uniform(6, 10)) * columns[:, None] * behind
        return echo, lesion


def pictured(echo_db: np.ndarray, scanner: Scanner, *, rng: np.random.Generator) -> np.ndarray:
    """Brightness from 0 to 1 (columns, rows): scatterers through pulse and beam, the logarithm of their envelope."""
    depth = np.linspace(0, 1, echo_db.shape[1])
    strength = 10 ** ((echo_db - scanner.loss_db * depth + scanner.gain_db) / 20)
    total = np.zeros_like(strength)
    for _ in range(scanner.looks):
        parts = [
            gaussian_filter(rng.standard_normal(strength.shape) * strength, (scanner.across, scanner.along))
            for _ in range(2)
        ]
        total += np.hypot(*parts)
    # A Gaussian of these widths leaves 1 / (4 pi across along) of the power of white noise.
    envelope = total / scanner.looks * np.sqrt(4 * np.pi * scanner.across * scanner.along)
    return 1 + (20 * np.log10(np.maximum(envelope, 1e-6)) - TOP_DB) / scanner.range_db
