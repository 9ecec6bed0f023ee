"""Film phantoms of the knee in three views, and films of other parts: each with a report of what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.cases import SimulatedCase, SimulatedSeries
from radfoundry.simulate.child_film import ChildFilms
from radfoundry.simulate.film_phantom import ROOMS, FilmPhantoms, Room, shown
from radfoundry.simulate.phantoms import Drawn, PhantomOptions, drawn, finished, network, seen, soft
from radfoundry.simulate.words import STYLES, Statement, write_report

VIEWS = ("AP", "LATERAL", "SKYLINE")
HEALTHY_POUCH = 0.02  # as full as the pouch above the kneecap gets without an effusion


@dataclass(frozen=True)
class _Knee:
    """What is to be seen: findings, and what differs between healthy knees.

    line: how deep the fracture's line is in each view (0 where there is none) · pouch: how full the pouch above the
    kneecap is · gap: the width of the inner joint space as a share of the outer one.
    """

    line: Mapping[str, float]
    pouch: float
    gap: float
    size: float
    tissue: float


@dataclass(frozen=True, kw_only=True)
class KneeFilms(PhantomOptions):
    """Frontal, lateral and skyline films of 64 x 64 pixels of one knee, from three hospitals, with a report.

    Labels, 0 or 1: `effusion` (the pouch above the kneecap is full: clear in the lateral film, a lifted kneecap in
    the skyline view, next to nothing in the frontal one), `fracture` (a thin line through the shin bone; how deep it
    shows is drawn anew for the frontal and for the lateral film, so that each tells a part) and `narrowing` (the inner
    joint space is narrow, which the frontal film alone shows). `rate` of the knees have each, independent of the
    others. `strength` scales line and pouch.
    """

    rate: float = 0.4
    strength: float = 1.0
    name: str = "knee-phantoms"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.rate <= 1 and self.strength >= 0):
            raise InputError(f"rate {self.rate} strength {self.strength}", remedy="give a share, and a strength from 0")

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient with three films of one knee."""
        who = drawn(self, len(ROOMS), case=case, seed=seed)
        rng, room = who.rng, ROOMS[who.hospital]
        effusion, fracture, narrowing = (bool(value) for value in rng.random(3) < self.rate)
        knee = _Knee(
            line={view: 0.4 * self.strength * fracture * float(rng.uniform(0.2, 1)) for view in VIEWS[:2]},
            pouch=0.24 * self.strength * float(rng.uniform(0.6, 1.3))
            if effusion
            else HEALTHY_POUCH * float(rng.uniform(0, 1)),
            gap=float(rng.uniform(0.2, 0.5) if narrowing else rng.uniform(0.8, 1.1)),
            size=float(rng.uniform(0.9, 1.1)),
            tissue=float(rng.uniform(0.25, 0.4)),
        )
        series = [self._film(who, room, view, knee) for view in VIEWS]
        found = {"joint-effusion": effusion, "fracture": fracture, "joint-narrowing": narrowing}
        labels = {"effusion": int(effusion), "fracture": int(fracture), "narrowing": int(narrowing)}
        made = finished(who, series, case=case, labels=labels)
        return reported(made, found, technique="Radiographs of the knee.", rng=rng)

    def _film(self, who: Drawn, room: Room, view: str, knee: _Knee) -> SimulatedSeries:
        rng = who.rng
        x, y = np.meshgrid(np.linspace(-1, 1, self.pixels), np.linspace(-1, 1, self.pixels), indexing="ij")
        x, y = (x + float(rng.normal(0, 0.05))) / knee.size, (y + float(rng.normal(0, 0.05))) / knee.size
        film, lesion = {"AP": _frontal, "LATERAL": _lateral, "SKYLINE": _skyline}[view](x, y, knee, rng)
        film = film + 0.03 * network(film.shape, 9.0, rng=rng)
        header = Acquisition(modality="DX", body_part="KNEE", view_position=view, model=room.site.split()[0])
        made = seen(shown(film, room, rng=rng), header, {"lesion": lesion}, site=room.site)
        return replace(made, name=f"knee-{view.lower()}", study="Knee phantom")


def _bones(shapes: list[np.ndarray], soft_parts: np.ndarray, tissue: float, rng: np.random.Generator) -> np.ndarray:
    """Bone with its pattern on soft parts on black."""
    bone = np.clip(sum(soft(shape, 0.7) for shape in shapes), 0, 1)
    pattern = 1 + 0.06 * network(bone.shape, float(rng.uniform(3.0, 4.5)), rng=rng)
    return 0.08 + tissue * soft(soft_parts, 1.2) + 0.38 * bone * pattern


def _crack(x: np.ndarray, y: np.ndarray, bone: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A thin, slightly broken line across the upper shin bone, 1 on it."""
    slope, bend = float(rng.uniform(-0.7, 0.7)), float(rng.uniform(0.0, 0.05))
    course = float(rng.uniform(0.28, 0.5)) + slope * x + bend * np.sign(np.sin(x * float(rng.uniform(8, 14))))
    return np.exp(-0.5 * ((y - course) / 0.03) ** 2) * soft(bone, 0.5)


def _scar(y: np.ndarray, bone: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The bright line that the growth plate leaves in everybody, more or less."""
    return float(rng.uniform(0, 0.1)) * np.exp(-0.5 * ((y - float(rng.uniform(0.24, 0.34))) / 0.03) ** 2) * bone


def _frontal(x: np.ndarray, y: np.ndarray, knee: _Knee, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    half = 0.07 * np.where(x < 0, knee.gap, 1.0)
    shaft = (np.abs(x) < 0.22 + 0.25 * (y + 0.5).clip(0)) & (y < -0.2)
    knobs = [((x - sign * 0.26) / 0.3) ** 2 + ((y + half + 0.2) / 0.2) ** 2 < 1 for sign in (-1, 1)]
    shin = (y > half) & (np.abs(x) < 0.54 - 0.4 * (y - 0.05).clip(0, 0.7))
    film = _bones([shaft | knobs[0] | knobs[1], shin], np.abs(x) < 0.85, knee.tissue, rng) + _scar(y, shin, rng)
    crack = _crack(x, y, shin, rng)
    film += 0.1 * knee.pouch * np.exp(-0.5 * ((x / 0.4) ** 2 + ((y + 0.6) / 0.2) ** 2))
    return film - knee.line["AP"] * crack, crack * (knee.line["AP"] > 0)


def _lateral(x: np.ndarray, y: np.ndarray, knee: _Knee, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    shaft = (np.abs(x + 0.12) < 0.2) & (y < -0.2)
    knob = ((x + 0.05) / 0.4) ** 2 + ((y + 0.25) / 0.3) ** 2 < 1
    shin = (y > 0.1) & (np.abs(x + 0.05) < 0.42 - 0.28 * (y - 0.1).clip(0, 0.7))
    lift = 0.35 * knee.pouch + float(rng.normal(0, 0.015))
    cap = ((x - 0.5 - lift) / 0.09) ** 2 + ((y + 0.32) / 0.19) ** 2 < 1
    film = _bones([shaft | knob, shin, cap], np.abs(x - 0.05) < 0.8, knee.tissue, rng) + _scar(y, shin, rng)
    pouch = soft(((x - 0.3) / 0.13) ** 2 + ((y + 0.68) / 0.24) ** 2 < 1, 1.5)
    crack = _crack(x, y, shin, rng)
    lesion = np.maximum(pouch * (knee.pouch > HEALTHY_POUCH), crack * (knee.line["LATERAL"] > 0))
    return film + knee.pouch * pouch - knee.line["LATERAL"] * crack, lesion


def _skyline(x: np.ndarray, y: np.ndarray, knee: _Knee, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    groove = 0.22 * np.exp(-0.5 * (x / 0.25) ** 2)
    thigh = (y > 0.0 + groove) & ((x / 0.75) ** 2 + ((y - 0.3) / 0.6) ** 2 < 1)
    lift = 0.25 * knee.pouch + float(rng.normal(0, 0.02))
    cap = (np.abs(x) < 0.42) & (y < groove - 0.09 - lift) & (y > -0.36 - lift + 0.3 * x**2)
    film = _bones([thigh, cap], (x / 0.9) ** 2 + ((y - 0.1) / 0.85) ** 2 < 1, knee.tissue, rng)
    return film, np.zeros(x.shape)


def reported(
    made: SimulatedCase, found: Mapping[str, bool], *, technique: str, rng: np.random.Generator
) -> SimulatedCase:
    """The case with a report that states each finding as there or not, in the style of one of three radiologists."""
    stated = [Statement(name, "present" if there else "absent") for name, there in found.items()]
    style = STYLES[int(rng.integers(len(STYLES)))]
    return replace(made, report=write_report(stated, rng=rng, style=style, technique=technique))


# What a report of the two kinds of chest film says of each label.
SPOKEN = {
    "both": "interstitial-change",
    "blots": "lung-nodule",
    "fluid_left": "pleural-effusion",
    "trapping": "air-trapping",
    "patches": "consolidation",
    "wide": "cardiomegaly",
}


@dataclass(frozen=True, kw_only=True)
class BroadFilms(PhantomOptions):
    """Films of no knees with a report, in turn of adults' chests (`film-phantoms`) and of children's (`child-films`).

    Labels are those of the two.
    """

    name: str = "broad-phantoms"

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient with one film."""
        kind = (FilmPhantoms, ChildFilms)[case % 2]
        made = kind(pixels=self.pixels, shares=self.shares).simulate(case, seed=seed)
        found = {SPOKEN[name]: bool(value) for name, value in made.labels.items() if name in SPOKEN}
        if "fluid_right" in made.labels:
            found["pleural-effusion"] = bool(made.labels["fluid_left"] or made.labels["fluid_right"])
        rng = np.random.default_rng(np.random.SeedSequence([seed, case, 1]))
        return reported(made, found, technique="Radiograph of the chest.", rng=rng)
