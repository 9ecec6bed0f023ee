"""Small pictures with known truth, made in milliseconds: who is examined where, and the finished case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.cases import SimulatedCase, SimulatedSeries, generator_for
from radfoundry.simulate.people import draw_person
from radfoundry.simulate.words import Report
from radfoundry.volume import Volume

LEAST_PIXELS = 32


@dataclass(frozen=True, kw_only=True)
class PhantomOptions:
    """What a cohort of phantoms can be asked for.

    pixels: the side of the square picture · shares: how many of the patients each hospital has, in their order.
    """

    pixels: int = 64
    shares: Sequence[float] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", tuple(float(value) for value in self.shares))
        if not isinstance(self.pixels, int) or self.pixels < LEAST_PIXELS:
            raise InputError(f"pixels {self.pixels}", remedy=f"give a whole number of at least {LEAST_PIXELS}")
        if any(value < 0 for value in self.shares) or (self.shares and not sum(self.shares) > 0):
            raise InputError(f"shares {list(self.shares)}", remedy="give numbers of at least 0, not all of them 0")


@dataclass(frozen=True, eq=False)
class Drawn:
    """Who is examined where: the random numbers, the hospital's number, age and sex."""

    rng: np.random.Generator
    hospital: int
    age_years: float
    sex: str


def drawn(options: PhantomOptions, hospitals: int, *, case: int, seed: int) -> Drawn:
    """A patient of one of the hospitals; refuses shares for another number of hospitals."""
    shares = np.array(options.shares or [1.0] * hospitals)
    if len(shares) != hospitals:
        raise InputError(f"{len(shares)} shares of {hospitals} hospitals", where="shares", remedy="give one for each")
    rng = generator_for(seed, case)
    hospital = int(rng.choice(hospitals, p=shares / shares.sum()))
    return Drawn(rng, hospital, round(float(rng.uniform(30, 85)), 1), "F" if rng.random() < 0.5 else "M")


PLANES: Mapping[str, np.ndarray] = {
    "axial": np.diag([-0.5, -0.5, 1.0, 1.0]),
    "sagittal": np.array([[0.0, 0.0, 1.0, 0.0], [-0.5, 0.0, 0.0, 0.0], [0.0, -0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]),
}


def seen(
    picture: np.ndarray, header: Acquisition, truth: Mapping[str, np.ndarray], *, site: str, plane: str = "axial"
) -> SimulatedSeries:
    """A picture `(columns, rows)` between 0 and 1 as a series, with its truth on the same grid."""
    array = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    affine = PLANES[plane]
    shape = (int(array.shape[0]), int(array.shape[1]))
    masks = {name: Volume.of(mask.astype(np.float32)[..., None], affine, units="share") for name, mask in truth.items()}
    return SimulatedSeries(
        name=f"phantom-{header.modality}-{plane}".lower(),
        volume=Volume.of(array[..., None], affine),
        acquisition=replace(header, matrix=shape, image_type=("ORIGINAL", "PRIMARY"), photometric="MONOCHROME2"),
        truth=masks,
        site=site,
        study="Phantom",
    )


def finished(who: Drawn, series: Sequence[SimulatedSeries], *, case: int, labels: Mapping[str, Any]) -> SimulatedCase:
    """The case of one exam; the hospital is that of its series."""
    site = series[0].site
    person = draw_person(case, age_years=who.age_years, sex=who.sex, rng=who.rng)
    text = "FINDINGS: A phantom; its labels say what it holds.\nIMPRESSION: None.\n"
    columns = {"site": site, "age_years": who.age_years, "sex": who.sex, **labels}
    return SimulatedCase(person, site, tuple(series), columns, Report(text))


def network(shape: tuple[int, int], wavelength: float, *, rng: np.random.Generator, width: float = 0.35) -> np.ndarray:
    """A random field of unit variance with waves of so many pixels in every direction."""
    first, second = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), indexing="ij")
    near = np.exp(-0.5 * ((np.hypot(first, second) - 1 / wavelength) * wavelength / width) ** 2)
    made = np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) * near).real
    return made / made.std()


def soft(mask: np.ndarray, pixels: float) -> np.ndarray:
    """A mask with a border that many pixels soft."""
    return gaussian_filter(mask.astype(float), pixels)
