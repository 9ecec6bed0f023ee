"""The prostate with its zones in the male pelvis: nodules of the transition zone, and lesions by zone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.pelvis import fascia, paint_bladder, paint_gut, paint_pelvis
from radfoundry.simulate.anatomy.regions import Anatomy, Finding, Region
from radfoundry.simulate.anatomy.shapes import Shape, common, ellipsoid, grow, moved, shell, tube, union, wavy
from radfoundry.simulate.anatomy.texture import noise
from radfoundry.simulate.anatomy.trees import seeds_inside
from radfoundry.simulate.body import Body

LOW_MM, HIGH_MM = (-110.0, -100.0, -55.0), (110.0, 90.0, 80.0)
KINDS = ("prostate-lesion",)
ZONES = ("peripheral-zone", "transition-zone", "central-zone", "fibromuscular-stroma")
ORGANS = (
    "prostate",
    *ZONES,
    "urethra",
    "seminal-vesicles",
    "bladder",
    "rectum",
    "obturator-muscle",
    "levator-muscle",
    "gluteal-muscle",
    "hip-bones",
    "femora",
    "sacrum",
)
REFERENCE_ML = 31.4  # of the gland below at scale 1


def draw_prostate(rng: np.random.Generator, *, age_years: float, sex: str, findings: tuple[str, ...] = ()) -> Anatomy:
    """Draw one man's prostate: the gland grows with age, nearly all of it in the transition zone.

    Total and transition volumes by age after Berges and Oelke 2011 (World J Urol 29:171). The person is a man
    whatever `sex` says.
    """
    del sex
    transition = float(np.clip(np.exp(rng.normal(np.log(6 + 0.36 * max(0.0, age_years - 30)), 0.38)), 4, 70))
    outer = max(float(np.clip(rng.normal(21, 3), 14, 28)), 0.5 * transition)
    measures = {
        "prostate_ml": transition + outer,
        "transition_ml": transition,
        "bladder_ml": float(rng.uniform(70, 220)),
        "rectum_mm": float(rng.uniform(26, 34)),
        "rectal_gas": float(rng.uniform(0.2, 0.8)),
        "subcutaneous_fat_mm": float(np.clip(rng.normal(18, 6), 6, 36)),
        "vesicle_mm": float(np.clip(rng.normal(8.5, 1.5) - 0.03 * max(0.0, age_years - 50), 5, 12)),
        "nodules": float(np.clip(round(transition / 3.5), 2, 16)),
    }
    found = tuple(_draw_lesion(rng, kind, measures) for kind in findings)
    for finding in found:
        measures["pi_rads"] = float(pi_rads(finding))
    rounded = {name: round(value, 3) for name, value in measures.items()}
    return Anatomy("prostate", age_years, "M", rounded, int(rng.integers(2**31)), found)


def _draw_lesion(rng: np.random.Generator, kind: str, measures: Mapping[str, float]) -> Finding:
    """Seven lesions of ten lie in the peripheral zone (McNeal 1988, Am J Surg Pathol 12:897)."""
    severity = round(float(rng.uniform(0.1, 1.0)), 3)
    side = "right" if rng.random() < 0.5 else "left"
    sign, scale = 1 if side == "right" else -1, (measures["prostate_ml"] / REFERENCE_ML) ** (1 / 3)
    height = float(rng.uniform(-9, 9))
    level = "apex" if height < -4 else "base" if height > 5 else "mid-gland"
    if rng.random() < 0.7:
        x = float(rng.uniform(8, 16))
        place, zone = (sign * x, -10.8 + 0.022 * x * x, height), "peripheral zone"
    else:
        place, zone = (sign * float(rng.uniform(4, 9)), float(rng.uniform(4, 9)), height), "transition zone"
    x, y, z = (round(value * scale, 2) for value in place)
    return Finding(kind, severity, (x, y, z), round(5 + 17 * severity, 2), side, f"{side} {level}, {zone}")


def pi_rads(finding: Finding) -> int:
    """The category the lesion would get: 3 when its signal differs little, 5 from 15 mm on (PI-RADS v2.1, 2019)."""
    if finding.severity < 0.35:
        return 3
    return 5 if finding.size_mm >= 15 else 4


def gland(measures: Mapping[str, float]) -> dict[str, Shape]:
    """The outlines of the gland and its zones; the gland has its drawn volume."""
    k = (measures["prostate_ml"] / REFERENCE_ML) ** (1 / 3)
    body = union(
        ellipsoid((0, 0, 2 * k), (24 * k, 15 * k, 17 * k)),
        ellipsoid((0, 0, -9 * k), (16 * k, 13 * k, 12 * k)),
        blend_mm=8 * k,
    )
    # The outer gland is thickest behind: the inner gland stays 2 mm from the capsule and 7 mm from its back.
    inside = common(grow(body, -2.2), moved(body, (0.0, 4.8 * k**0.5, 0.0)))
    central = union(*(tube([(s * 9 * k, -7 * k, 15 * k), (s * 2, -5 * k, 2 * k)], [5.5 * k, 2.0 * k]) for s in (1, -1)))
    return {
        "prostate": body,
        "transition-zone": _inner_gland(inside, k, measures["transition_ml"]),
        "central-zone": common(central, inside),
        "fibromuscular-stroma": common(ellipsoid((0, 13 * k, 0), (11 * k, 5 * k, 17 * k)), grow(body, -0.5)),
        "urethra": tube([(0, 5 * k, 19 * k), (0, 0, 0), (0, 2, -24 * k)], [2.2, 2.6, 2.2]),
    }


def _inner_gland(inside: Shape, k: float, volume_ml: float) -> Shape:
    """Two lobes beside the urethra, as large as the drawn volume needs; they leave a shell of the outer gland."""

    def lobes(t: float) -> Shape:
        pair = (ellipsoid((s * 7.2 * t, 1.5 * k + 1.0, 3 * k), (8.6 * t, 9.0 * t, 12 * t)) for s in (1, -1))
        return common(union(*pair, blend_mm=3), inside)

    step = 2.0
    axes = [torch.arange(low, high, step) for low, high in zip(inside.low, inside.high, strict=True)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    low, high = 0.4, 4.0
    for _ in range(8):
        middle = (low + high) / 2
        held = float((0.5 - lobes(middle).distance(places) / step).clamp(0, 1).sum()) * step**3 / 1000
        low, high = (middle, high) if held < volume_ml else (low, middle)
    return lobes((low + high) / 2)


def build_prostate(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """The prostate of one man in his pelvis, as tissues on a grid."""
    measures, seed = anatomy.measures, anatomy.texture_seed
    canvas = Canvas(LOW_MM, HIGH_MM, spacing_mm)
    scale = (measures["prostate_ml"] / REFERENCE_ML) ** (1 / 3)
    paint_pelvis(canvas, measures, seed=seed)
    canvas.paint("fibrous", shell(fascia(0.85), thickness_mm=1.0), strength=0.5)
    paint_gut(canvas, measures, seed=seed)
    paint_bladder(canvas, (0.0, 10.0, 17.5 * scale), measures["bladder_ml"])
    _paint_vesicles(canvas, measures, scale, seed=seed)
    _paint_veins(canvas, scale, seed=seed)
    shapes = gland(measures)
    _paint_zones(canvas, shapes, measures, seed=seed)
    for finding in anatomy.findings:
        _paint_lesion(canvas, finding, shapes, seed=seed)
    canvas.mark("prostate", shapes["prostate"])
    return canvas.body()


def _paint_zones(canvas: Canvas, shapes: Mapping[str, Shape], measures: Mapping[str, float], *, seed: int) -> None:
    body = shapes["prostate"]
    canvas.paint("fibrous", grow(body, 0.9), strength=0.8)
    canvas.paint("peripheral-zone", body, name="peripheral-zone")
    _mottle(canvas, body, ("peripheral-zone", "stroma"), mean=0.10, seed=seed + 6)
    canvas.paint("stroma", grow(shapes["transition-zone"], 0.9), strength=0.85)
    canvas.paint("prostate", shapes["transition-zone"], name="transition-zone")
    _mottle(canvas, shapes["transition-zone"], ("prostate", "stroma"), mean=0.25, seed=seed + 7)
    _paint_nodules(canvas, shapes["transition-zone"], measures, seed=seed)
    canvas.paint("stroma", shapes["central-zone"], strength=0.75, name="central-zone")
    canvas.paint("stroma", shapes["fibromuscular-stroma"], name="fibromuscular-stroma")
    canvas.paint("muscle", shapes["fibromuscular-stroma"], strength=0.4)
    canvas.paint("stroma", grow(shapes["urethra"], 1.6), strength=0.7)
    canvas.paint("mucosa", shapes["urethra"], name="urethra")


def _mottle(canvas: Canvas, shape: Shape, tissues: tuple[str, str], *, mean: float, seed: int) -> None:
    window = canvas.window(shape)
    if window is not None:
        pattern = noise(canvas, window, wavelength_mm=7.0, seed=seed)
        canvas.mix(*tissues, (mean * (1 + 1.2 * pattern)).clamp(0, 0.7), window)


def _paint_nodules(canvas: Canvas, zone: Shape, measures: Mapping[str, float], *, seed: int) -> None:
    """Round nodules with thin dark rims: bright ones rich in glands, dark ones of stroma."""
    rng = np.random.default_rng(seed + 8)
    largest = 0.42 * (measures["transition_ml"] * 1000 / 4.19) ** (1 / 3)
    for place in seeds_inside(zone, int(measures["nodules"]), margin_mm=3.0, rng=rng):
        radius = float(rng.uniform(0.35, 1.0) * largest)
        x, y, z = (float(value) for value in place)
        ball = wavy(
            ellipsoid((x, y, z), (radius, radius * 0.9, radius)),
            amplitude_mm=0.05 * radius,
            wavelength_mm=2 * radius,
            seed=seed,
        )
        ball = common(ball, zone)
        canvas.paint("stroma", ball, strength=0.8)
        bright = rng.random() < 0.55
        canvas.paint(
            "peripheral-zone" if bright else "stroma", grow(ball, -0.8), strength=float(rng.uniform(0.4, 0.85))
        )
        canvas.paint("prostate", grow(ball, -0.8), strength=0.35)
        _mottle(canvas, ball, ("peripheral-zone", "prostate"), mean=0.25, seed=seed + 9)


def _paint_vesicles(canvas: Canvas, measures: Mapping[str, float], scale: float, *, seed: int) -> None:
    """Folded tubes of bright fluid with dark walls, above and behind the gland."""
    rng = np.random.default_rng(seed + 10)
    half = measures["vesicle_mm"] / 2
    for sign in (1, -1):
        for row in range(2):
            steps = np.linspace(0, 1, 11)
            x = sign * (5 + 27 * steps)
            y = -14 * scale - 2 - 5 * steps + 2.2 * np.sin(16 * steps + rng.uniform(0, 6)) - 3 * row
            z = 17 * scale + 6 * row + 9 * steps + 2.6 * np.cos(14 * steps + rng.uniform(0, 6))
            line = list(zip(x.tolist(), y.tolist(), z.tolist(), strict=True))
            canvas.paint("stroma", tube(line, half * 0.82), name="seminal-vesicles")
            canvas.paint("water", tube(line, half * 0.82 - 1.2), strength=0.55)
            canvas.paint("peripheral-zone", tube(line, half * 0.82 - 1.2), strength=0.4)


def _paint_veins(canvas: Canvas, scale: float, *, seed: int) -> None:
    rng = np.random.default_rng(seed + 11)
    for number in range(26):
        angle = rng.uniform(-0.25, 1.15) * np.pi / 2 if number < 18 else rng.uniform(-0.75, -0.55) * np.pi / 2
        sign = 1 if number % 2 else -1
        x, y = sign * 27 * scale * np.cos(angle), 20 * scale * np.sin(angle) + (2 if number < 18 else 0)
        z = rng.uniform(-16, 18)
        line = [(x, y, z - 8), (x + rng.normal(0, 2), y + rng.normal(0, 2), z), (x * 1.02, y + 1, z + 8)]
        canvas.paint("blood", tube([(float(a), float(b), float(c)) for a, b, c in line], float(rng.uniform(1.0, 2.0))))


def _paint_lesion(canvas: Canvas, finding: Finding, shapes: Mapping[str, Shape], *, seed: int) -> None:
    """A focus of cancer that stays in its zone: the more severe, the less of the zone's own tissue is left."""
    radius = finding.size_mm / 2
    outer = "peripheral" in finding.site
    radii = (radius, radius * (0.62 if outer else 0.75), radius * 0.9)
    turn = (0.0, 0.0, float(np.degrees(np.arctan(0.044 * finding.centre_mm[0]))) if outer else 0.0)
    shape = wavy(
        ellipsoid(finding.centre_mm, radii, turn_deg=turn),
        amplitude_mm=0.05 * radius,
        wavelength_mm=1.5 * radius,
        seed=seed,
    )
    covered = canvas.cover(common(shape, grow(shapes["prostate"], -0.3)))
    if covered is None:
        return
    window, share = covered
    room = canvas.truth["peripheral-zone" if outer else "transition-zone"][window]
    if not outer:
        room = room + canvas.truth["fibromuscular-stroma"][window]
    share = share * room.clamp(0, 1)
    canvas.pour("prostate-cancer", window, share * (0.45 + 0.5 * finding.severity))
    kept = canvas.truth.setdefault(finding.kind, torch.zeros(canvas.shape))
    kept[window] = torch.maximum(kept[window], share)


PROSTATE = Region(
    name="prostate",
    draw=draw_prostate,
    build=build_prostate,
    kinds=KINDS,
    organs=ORGANS,
    centre_mm=(0.0, -5.0, 2.0),
    field_of_view_mm=(200.0, 180.0, 90.0),
    plane="axial",
    protocols=("T2w", "DWI-b0", "DWI-b1000", "T1w"),
    modalities=("MR",),
)
