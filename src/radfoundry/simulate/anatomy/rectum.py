"""The rectum in its fat and fascia: wall layers, tumours with a drawn distance to the fascia, invaded vessels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.pelvis import fascia, gut_at, paint_bladder, paint_gut, paint_pelvis, paint_uterus
from radfoundry.simulate.anatomy.prostate import gland
from radfoundry.simulate.anatomy.regions import Anatomy, Finding, Region
from radfoundry.simulate.anatomy.shapes import Point, Shape, common, ellipsoid, grow, shell, tube, union, wavy
from radfoundry.simulate.anatomy.trees import cover_tree, grow_tree, seeds_inside
from radfoundry.simulate.body import Body

LOW_MM, HIGH_MM = (-110.0, -125.0, -55.0), (110.0, 85.0, 105.0)
KINDS = ("rectal-tumour", "vascular-invasion", "fascia-involvement")
ORGANS = (
    "rectum",
    "mesorectal-fat",
    "mesorectal-fascia",
    "bladder",
    "prostate",
    "uterus",
    "cervix",
    "vagina",
    "sacrum",
    "hip-bones",
    "femora",
    "obturator-muscle",
    "levator-muscle",
    "gluteal-muscle",
)
# A margin of 1 mm or less to the fascia counts as involved: MERCURY 2007, Radiology 243:132.
INVOLVED_MM = 1.0


def draw_rectum(rng: np.random.Generator, *, age_years: float, sex: str, findings: tuple[str, ...] = ()) -> Anatomy:
    """Draw one person's rectum and, when a finding is asked for, the tumour it belongs to.

    `fascia_distance_mm` is the least distance from tumour to fascia, negative when it goes through; invaded
    fascia has 1 mm or less, spared fascia at least 3 mm. Vessel invasion after Smith 2008 (Br J Surg 95:229).
    """
    measures = {
        "rectum_mm": float(rng.uniform(27, 35)),
        "rectal_gas": float(rng.uniform(0.2, 0.8)),
        "bladder_ml": float(rng.uniform(60, 180)),
        "subcutaneous_fat_mm": float(np.clip(rng.normal(18, 6), 6, 36)),
        "mesorectum_scale": float(np.clip(rng.normal(1.05, 0.07), 0.9, 1.22)),
        "prostate_ml": float(np.clip(rng.normal(30 + 0.3 * (age_years - 50), 7), 20, 60)),
    }
    measures["transition_ml"] = measures["prostate_ml"] * 0.4
    found: tuple[Finding, ...] = ()
    if findings:
        found = _draw_tumour(rng, findings, measures)
    rounded = {name: round(value, 3) for name, value in measures.items()}
    return Anatomy("rectum", age_years, sex, rounded, int(rng.integers(2**31)), found)


def _draw_tumour(rng: np.random.Generator, kinds: Sequence[str], measures: dict[str, float]) -> tuple[Finding, ...]:
    severity = {kind: round(float(rng.uniform(0.15, 1.0)), 3) for kind in KINDS}
    level, angle = float(rng.uniform(8, 62)), float(rng.uniform(0, 360))
    involved = "fascia-involvement" in kinds
    measures |= {
        "tumour_level_mm": level,
        "tumour_angle_deg": angle,
        "tumour_length_mm": 18 + 34 * severity["rectal-tumour"],
        "tumour_arc_deg": 70 + 200 * severity["rectal-tumour"],
        "fascia_distance_mm": INVOLVED_MM - 2.5 * severity["fascia-involvement"]
        if involved
        else float(rng.uniform(3, 7)),
        "invaded_vessel_mm": 2.2 + 3.6 * severity["vascular-invasion"] if "vascular-invasion" in kinds else 0.0,
    }
    x, y, z = _wall_point(measures, 0.0)
    third = "lower" if level < 22 else "middle" if level < 45 else "upper"
    side = "none" if abs(x) < 6 else "right" if x > 0 else "left"
    place = (round(x, 2), round(y, 2), round(z, 2))
    sizes = {
        "rectal-tumour": measures["tumour_length_mm"],
        "vascular-invasion": measures["invaded_vessel_mm"],
        "fascia-involvement": max(0.0, INVOLVED_MM - measures["fascia_distance_mm"]),
    }
    named = tuple(dict.fromkeys(("rectal-tumour", *kinds)))
    return tuple(Finding(kind, severity[kind], place, round(sizes[kind], 2), side, f"{third} third") for kind in named)


def _wall_point(
    measures: Mapping[str, float], outwards_mm: float, *, turn_deg: float = 0.0, up_mm: float = 0.0
) -> Point:
    """A place on the wall at the tumour's angle, `outwards_mm` beyond the middle of the wall."""
    x, y, z = gut_at(measures["tumour_level_mm"] + up_mm)
    angle = np.radians(measures["tumour_angle_deg"] + turn_deg)
    reach = measures["rectum_mm"] / 2 - 2.5 + outwards_mm
    return (float(x + reach * np.cos(angle)), float(y + reach * np.sin(angle)), z)


def tumour_shapes(measures: Mapping[str, float], *, seed: int) -> dict[str, Shape]:
    """The tumour and, when there is one, the invaded vessel; no part is nearer the fascia than was drawn."""
    envelope = fascia(measures["mesorectum_scale"])
    limit = grow(envelope, -measures["fascia_distance_mm"])
    half_arc = measures["tumour_arc_deg"] / 2
    rows = []
    for up in np.linspace(-0.5, 0.5, 3) * (measures["tumour_length_mm"] - 12):
        arc = [
            _wall_point(measures, 0.0, turn_deg=float(turn), up_mm=float(up))
            for turn in np.linspace(-half_arc, half_arc, 9)
        ]
        rows.append(tube(arc, [4.0, 5.2, 6.2, 7.0, 7.4, 7.0, 6.2, 5.2, 4.0]))
    outward = np.linspace(2, 60, 117)
    path = torch.tensor([_wall_point(measures, float(value)) for value in outward])
    depth = -envelope.distance(path).numpy() - measures["fascia_distance_mm"]
    reach = outward[int(np.argmax(depth < 1.0))] if (depth < 1.0).any() else outward[-1]
    tongue = tube([_wall_point(measures, 0.0), _wall_point(measures, float(reach))], [8.0, 5.0])
    mass = wavy(union(*rows, tongue, blend_mm=5.0), amplitude_mm=0.5, wavelength_mm=9.0, seed=seed)
    shapes = {"rectal-tumour": common(mass, limit)}
    if measures["invaded_vessel_mm"] > 0:
        half = measures["invaded_vessel_mm"] / 2
        turns = np.linspace(20, 75, 6)
        line = [
            _wall_point(
                measures,
                6.0 + 0.05 * turn,
                turn_deg=float(turn),
                up_mm=float(4 + 0.35 * (turn - 20) + 2 * np.sin(turn)),
            )
            for turn in turns
        ]
        vessel = tube(line, [half * 1.1, half, half * 1.25, half * 0.9, half * 1.1, half * 0.7])
        shapes["vascular-invasion"] = common(vessel, grow(envelope, -max(1.5, measures["fascia_distance_mm"])))
    return shapes


def build_rectum(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """The rectum of one person in the pelvis, as tissues on a grid."""
    measures, seed = anatomy.measures, anatomy.texture_seed
    canvas = Canvas(LOW_MM, HIGH_MM, spacing_mm)
    paint_pelvis(canvas, measures, seed=seed)
    if anatomy.sex == "F":
        paint_bladder(canvas, (0.0, 13.0, -4.0), measures["bladder_ml"] * 0.55)
        paint_uterus(canvas)
    else:
        paint_bladder(canvas, (0.0, 12.0, 18.0), measures["bladder_ml"])
        _paint_prostate(canvas, measures)
    _paint_mesorectum(canvas, measures, seed=seed)
    paint_gut(canvas, measures, seed=seed)
    if anatomy.findings:
        _paint_tumour(canvas, anatomy)
    return canvas.body()


def _paint_prostate(canvas: Canvas, measures: Mapping[str, float]) -> None:
    shapes = gland(measures)
    canvas.paint("fibrous", grow(shapes["prostate"], 0.9), strength=0.8)
    canvas.paint("peripheral-zone", shapes["prostate"], strength=0.9, name="prostate")
    canvas.paint("prostate", shapes["transition-zone"])
    canvas.paint("stroma", shapes["fibromuscular-stroma"])
    for sign in (1, -1):
        line = [(sign * 5.0, -17.0, 18.0), (sign * 18.0, -19.0, 23.0), (sign * 30.0, -22.0, 25.0)]
        canvas.paint("stroma", tube(line, 4.4))
        canvas.paint("water", tube(line, 3.0), strength=0.7)


def _paint_mesorectum(canvas: Canvas, measures: Mapping[str, float], *, seed: int) -> None:
    """Fat within the fascia, with branching vessels and a few small nodes."""
    envelope = fascia(measures["mesorectum_scale"])
    canvas.paint("fibrous", grow(envelope, 0.6), strength=0.85, name="mesorectal-fascia")
    canvas.paint("fat", grow(envelope, -0.6), name="mesorectal-fat")
    rng = np.random.default_rng(seed + 12)
    spots = seeds_inside(envelope, 70, margin_mm=4.0, rng=rng)
    tree = grow_tree((0.0, -74.0, 96.0), spots, radius_mm=2.6)
    window, share = cover_tree(canvas, tree)
    canvas.pour("flowing-blood", window, share)
    for place in seeds_inside(envelope, int(rng.integers(3, 8)), margin_mm=5.0, rng=rng):
        radius = float(rng.uniform(1.5, 2.8))
        x, y, z = (float(value) for value in place)
        canvas.paint("spleen", ellipsoid((x, y, z), (radius, radius * 0.8, radius * 1.2)))


def _paint_tumour(canvas: Canvas, anatomy: Anatomy) -> None:
    measures = anatomy.measures
    kinds = [finding.kind for finding in anatomy.findings]
    shapes = tumour_shapes(measures, seed=anatomy.texture_seed)
    envelope = fascia(measures["mesorectum_scale"])
    for kind in ("vascular-invasion", "rectal-tumour"):
        if kind in shapes:
            canvas.paint("carcinoma", shapes[kind], strength=0.95)
            canvas.mark(kind, shapes[kind])
    if "fascia-involvement" in kinds:
        edge = shell(grow(envelope, 2.5), thickness_mm=2.5 + INVOLVED_MM + 0.5)
        canvas.mark("fascia-involvement", common(grow(shapes["rectal-tumour"], 0.5), edge))


RECTUM = Region(
    name="rectum",
    draw=draw_rectum,
    build=build_rectum,
    kinds=KINDS,
    organs=ORGANS,
    centre_mm=(0.0, -22.0, 25.0),
    field_of_view_mm=(200.0, 200.0, 150.0),
    plane="axial",
    protocols=("T2w", "T1w", "DWI-b0", "DWI-b1000"),
    modalities=("MR",),
)
