"""How the three parts of the spine are built up: levels, sizes, curve, and where each vertebra then lies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from radfoundry.simulate.anatomy.shapes import Point
from radfoundry.simulate.anatomy.vertebrae import Vertebra


@dataclass(frozen=True)
class Plan:
    """One part of the spine. Sizes are (woman's, man's) means at the middle level.

    `growth` is how much larger each level is than the one above it; `leans_deg` are the angles of the levels in a
    person of average curve; `diseased` are the levels whose discs and bodies may be ill, `shown` those that lie in the
    field of view in everybody.
    """

    name: str
    levels: tuple[str, ...]
    middle: str
    means: Mapping[str, tuple[float, float]]
    growth: float
    leans_deg: tuple[float, ...]
    diseased: tuple[str, ...]
    shown: tuple[str, ...]
    centre_mm: Point
    field_mm: Point


# Panjabi et al., Spine 1991;16:861 (cervical) and 888 (thoracic), 1992;17:299 (lumbar); Zhou 2000, Eur Spine J 9:242
# (lumbar bodies and discs by sex); Zukowski 2012, Clin Anat 25:767 (canal).
CERVICAL_PLAN = Plan(
    "cervical-spine",
    ("C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2"),
    "C5",
    {
        "body_width_mm": (17.5, 19.5), "body_depth_mm": (15.5, 17.5), "body_height_mm": (12.2, 13.6),
        "disc_height_mm": (5.2, 5.8), "canal_depth_mm": (13.6, 14.2), "canal_width_mm": (23.0, 24.0),
    },
    0.025,
    (9, 6, 2, -3, -9, -15, -20, -23),
    ("C3", "C4", "C5", "C6", "C7"),
    ("C2", "C3", "C4", "C5", "C6", "C7"),
    (0.0, -12.0, 2.0),
    (132.0, 136.0, 150.0),
)  # fmt: skip
THORACIC_PLAN = Plan(
    "thoracic-spine",
    ("T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10", "T11", "T12", "L1"),
    "T7",
    {
        "body_width_mm": (27.5, 30.5), "body_depth_mm": (26.0, 29.0), "body_height_mm": (18.2, 19.6),
        "disc_height_mm": (4.4, 5.0), "canal_depth_mm": (15.0, 16.0), "canal_width_mm": (17.0, 18.0),
    },
    0.03,
    (-24, -21, -17, -13, -9, -5, -1, 3, 7, 10, 12, 13, 13),
    ("T6", "T7", "T8", "T9", "T10", "T11"),
    ("T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10", "T11"),
    (0.0, -14.0, -8.0),
    (120.0, 132.0, 280.0),
)  # fmt: skip
LUMBAR_PLAN = Plan(
    "lumbar-spine",
    ("T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1", "S2", "S3"),
    "L3",
    {
        "body_width_mm": (42.5, 47.5), "body_depth_mm": (31.5, 34.5), "body_height_mm": (27.0, 28.5),
        "disc_height_mm": (9.6, 10.6), "canal_depth_mm": (17.0, 17.5), "canal_width_mm": (23.0, 24.5),
    },
    0.02,
    (13, 13, 11, 7, 1, -7, -19, -41, -50, -50),
    ("L1", "L2", "L3", "L4", "L5", "S1"),
    ("T12", "L1", "L2", "L3", "L4", "L5", "S1"),
    (0.0, -22.0, -16.0),
    (140.0, 150.0, 228.0),
)  # fmt: skip
PLANS: Mapping[str, Plan] = {plan.name: plan for plan in (CERVICAL_PLAN, THORACIC_PLAN, LUMBAR_PLAN)}


def disc_heights(plan: Plan, measures: Mapping[str, float]) -> list[float]:
    """The height of the disc below each level; lower discs are a little higher, those of the sacrum are remnants."""
    heights = []
    for number, level in enumerate(plan.levels[:-1]):
        own = measures["disc_height_mm"] * (1 + 2 * plan.growth * (number - plan.levels.index(plan.middle)))
        heights.append(2.0 if level in ("S1", "S2") else own * measures.get(f"disc_share_below_{level}", 1.0))
    return heights


def column(plan: Plan, measures: Mapping[str, float]) -> list[Vertebra]:
    """Every vertebra of one person, from the top; the middle one's body is centred at the origin."""
    middle, made = plan.levels.index(plan.middle), []
    for number, level in enumerate(plan.levels):
        size = 1 + plan.growth * (number - middle)
        sacral = {"S1": (1.0, 0.92, 1.0), "S2": (0.78, 0.7, 0.85), "S3": (0.6, 0.52, 0.75)}.get(level, (1.0, 1.0, 1.0))
        made.append(
            Vertebra(
                level,
                measures["body_width_mm"] * size * sacral[0],
                measures["body_depth_mm"] * (0.3 + 0.7 * size) * sacral[1],
                measures["body_height_mm"] * (0.5 + 0.5 * size) * sacral[2],
                measures["canal_depth_mm"] * (0.75 if level.startswith("S") else 1.0),
                measures["canal_width_mm"],
                (0.0, 0.0, 0.0),
                plan.leans_deg[number] * measures["curve_share"],
                wedge=measures.get(f"wedge_{level}", 0.0),
                dent=measures.get(f"dent_{level}", 0.0),
            )
        )
    return _stacked(made, disc_heights(plan, measures), middle)


def _stacked(vertebrae: list[Vertebra], discs: list[float], middle: int) -> list[Vertebra]:
    """Each body half a disc away from its neighbour's end plate, along the way both lean."""
    steps = [
        _up(above, above.height_mm / 2 + disc / 2) + _up(below, below.height_mm / 2 + disc / 2)
        for (above, below), disc in zip(itertools.pairwise(vertebrae), discs, strict=True)
    ]
    places = np.cumsum([np.zeros(3), *(-step for step in steps)], axis=0)
    places -= places[middle]
    return [
        replace(vertebra, centre_mm=tuple(float(v) for v in place))
        for vertebra, place in zip(vertebrae, places, strict=True)
    ]


def _up(vertebra: Vertebra, length_mm: float) -> np.ndarray:
    angle = math.radians(vertebra.lean_deg)
    return np.array([0.0, -math.sin(angle), math.cos(angle)]) * length_mm


def at(vertebra: Vertebra, place_mm: Point) -> Point:
    """A place beside a vertebra (about its body's centre, along its own axes) in the patient's mm."""
    angle = math.radians(vertebra.lean_deg)
    x, y, z = place_mm
    a, b, c = vertebra.centre_mm
    return (a + x, b + math.cos(angle) * y - math.sin(angle) * z, c + math.sin(angle) * y + math.cos(angle) * z)


def along(vertebrae: list[Vertebra], x: float, y: float, *, from_front: bool = False) -> list[Point]:
    """A line down the column beside all bodies: `y` from the centre, or from the front wall."""
    ends = [at(vertebrae[0], (x, y + vertebrae[0].depth_mm / 2 * from_front, 40.0))]
    ends += [at(one, (x, y + one.depth_mm / 2 * from_front, 0.0)) for one in vertebrae]
    return [*ends, at(vertebrae[-1], (x, y + vertebrae[-1].depth_mm / 2 * from_front, -40.0))]


def canal(vertebrae: list[Vertebra], *, shift_mm: float = 0.0) -> list[Point]:
    """The middle line of the spinal canal, from above the first level to below the last."""
    line = [at(one, (0.0, -one.depth_mm / 2 - one.canal_depth_mm / 2 - 0.5 + shift_mm, 0.0)) for one in vertebrae]
    first, last = vertebrae[0], vertebrae[-1]
    above = at(first, (0.0, -first.depth_mm / 2 - first.canal_depth_mm / 2 - 0.5 + shift_mm, 60.0))
    below = at(last, (0.0, -last.depth_mm / 2 - last.canal_depth_mm / 2 - 0.5 + shift_mm, -60.0))
    return [above, *line, below]
