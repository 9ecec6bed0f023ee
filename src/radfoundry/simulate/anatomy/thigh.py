"""Both thighs in their middle part: muscle groups, femur, vessels and fat, with a known fat fraction of muscle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from radfoundry.simulate.anatomy import bones
from radfoundry.simulate.anatomy.bones import Bone
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.frames import finished, stretched
from radfoundry.simulate.anatomy.limbs import Muscle, marble, pack, share_for, wrap
from radfoundry.simulate.anatomy.people import muscle_fat, severities
from radfoundry.simulate.anatomy.regions import Anatomy, Finding, Region
from radfoundry.simulate.anatomy.shapes import Shape, loft, mirrored, moved, tube, union
from radfoundry.simulate.body import Body

CENTRE_MM = (0.0, 0.0, 0.0)
FIELD_MM = (368.0, 196.0, 152.0)
RADIUS_MM = 68.0  # of the fascia at the middle of the thigh, at scale 1
GROUPS = ("sartorius", "quadriceps", "adductors", "gracilis", "hamstrings")
ORGANS = (*GROUPS, "femur", "subcutaneous-fat")
KINDS = ("muscle-atrophy", "muscle-oedema")
LEVELS_MM = (-110.0, 0.0, 110.0)

# Centre and half axes of each muscle in the right thigh (lateral and front are positive) at three levels from the
# knee's side upwards, after the sections of Moller and Reif, Pocket Atlas of Sectional Anatomy, vol. 3, 2007.
MUSCLES: Mapping[str, tuple[str, tuple[tuple[float, float, float, float], ...]]] = {
    "rectus femoris": ("quadriceps", ((8, 46, 8, 5), (12, 50, 19, 12), (14, 52, 16, 13))),
    "vastus lateralis": ("quadriceps", ((40, 14, 15, 24), (46, 16, 17, 33), (46, 14, 15, 30))),
    "vastus intermedius": ("quadriceps", ((10, 30, 20, 12), (14, 28, 24, 14), (16, 26, 20, 14))),
    "vastus medialis": ("quadriceps", ((-24, 24, 19, 24), (-18, 30, 15, 19), (-10, 28, 9, 12))),
    "sartorius": ("sartorius", ((-46, -12, 7, 14), (-42, 33, 13, 8), (-22, 55, 12, 8))),
    "gracilis": ("gracilis", ((-44, -30, 6, 8), (-56, -20, 8, 13), (-59, -8, 7, 17))),
    "adductor longus": ("adductors", ((-26, -4, 6, 6), (-34, 8, 17, 13), (-42, 18, 20, 16))),
    "adductor magnus": ("adductors", ((-22, -14, 8, 10), (-24, -20, 26, 17), (-26, -18, 32, 24))),
    "biceps, long head": ("hamstrings", ((26, -34, 15, 14), (20, -42, 17, 17), (10, -52, 12, 11))),
    "biceps, short head": ("hamstrings", ((22, -14, 10, 11), (22, -18, 9, 9), (20, -14, 4, 4))),
    "semitendinosus": ("hamstrings", ((-12, -50, 8, 8), (-5, -52, 15, 11), (-4, -56, 14, 9))),
    "semimembranosus": ("hamstrings", ((-24, -38, 18, 15), (-24, -44, 15, 14), (-22, -50, 9, 7))),
}


def draw(
    rng: np.random.Generator,
    *,
    age_years: float,
    sex: str,
    findings: tuple[str, ...] = (),
    severity: float | None = None,
) -> Anatomy:
    """A person's thighs: muscle shrinks and fat within it grows with age; atrophy takes one group of one side.

    Muscle cross-section at mid-thigh: some 155 cm2 in young men, 110 cm2 in young women, 25 to 30 % less at 80
    (Janssen 2000, J Appl Physiol 89:81; Grimm 2018, J Cachexia Sarcopenia Muscle 9:1093).
    """
    area = (112.0 if sex == "F" else 155.0) * (1 - 0.0048 * max(0.0, age_years - 25)) * np.exp(rng.normal(0, 0.1))
    measures = {
        "fascia_radius_mm": round(float((100 * area / np.pi) ** 0.5), 2),
        "fat_mm": round(float(np.clip(rng.normal(15.0 if sex == "F" else 8.0, 2.5), 3, 20)), 2),
        "muscle_fat_fraction": muscle_fat(age_years, sex, rng),
        "femur_radius_mm": round(float(rng.normal(13.2 if sex == "F" else 14.6, 0.6)), 2),
    }
    bad = severities(rng, findings, severity=severity)
    made = []
    for kind in KINDS:
        group, side = str(rng.choice(["quadriceps", "hamstrings", "adductors"])), str(rng.choice(["left", "right"]))
        if kind in bad:
            made.append(_finding(kind, bad[kind], group, side, measures))
    if "muscle-atrophy" in bad:
        measures["atrophied_fat_fraction"] = round(measures["muscle_fat_fraction"] + 0.4 * bad["muscle-atrophy"], 4)
    return Anatomy("thigh", age_years, sex, measures, int(rng.integers(2**31)), tuple(made))


def _finding(kind: str, severity: float, group: str, side: str, measures: Mapping[str, float]) -> Finding:
    scale = measures["fascia_radius_mm"] / RADIUS_MM
    lateral, front = {"quadriceps": (20.0, 28.0), "hamstrings": (0.0, -44.0), "adductors": (-26.0, -12.0)}[group]
    x = (_away(measures) + lateral) * scale * (1 if side == "right" else -1)
    return Finding(kind, severity, (round(x, 2), round(front * scale, 2), 0.0), round(50 * scale, 1), side, group)


def _away(measures: Mapping[str, float]) -> float:
    """How far the middle of each thigh is from the midline, at scale 1; both fit the field of view."""
    scale = measures["fascia_radius_mm"] / RADIUS_MM
    return RADIUS_MM + min(measures["fat_mm"] + 7.0, 23.0) / scale


def muscle_solids() -> dict[str, tuple[str, Shape]]:
    """The muscles of the right thigh about its middle: their groups and seeds."""
    return {
        name: (
            group,
            loft(LEVELS_MM, [(x, y) for x, y, _, _ in rows], [(max(a, 2), max(b, 2)) for _, _, a, b in rows]),
        )
        for name, (group, rows) in MUSCLES.items()
    }


def build(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """Both thighs of one person as tissues, organs and findings."""
    measures, seed = anatomy.measures, anatomy.texture_seed
    scale = measures["fascia_radius_mm"] / RADIUS_MM
    canvas = stretched(CENTRE_MM, FIELD_MM, spacing_mm=spacing_mm, scale=scale)
    skin, fat, away = 2.0 / scale, measures["fat_mm"] / scale, _away(measures)
    rim = skin + fat
    limb = loft(
        [-150, -110, 0, 110, 150],
        [(away, 0)] * 5,
        [(RADIUS_MM * share + rim, RADIUS_MM * share + rim) for share in (0.84, 0.88, 1.0, 1.05, 1.06)],
    )
    fascia = wrap(canvas, union(limb, mirrored(limb)), skin_mm=skin, fat_mm=fat)
    bad = {finding.kind: finding for finding in anatomy.findings}
    wasted = bad.get("muscle-atrophy")
    muscles = []
    for side in ("right", "left"):
        for group, seed_shape in muscle_solids().values():
            there = moved(seed_shape, (away, 0, 0))
            hit = wasted is not None and (wasted.side, wasted.site) == (side, group)
            lost = 4.5 * wasted.severity if hit and wasted else 0.0
            muscles.append(Muscle(group, there if side == "right" else mirrored(there), lost))
    pack(canvas, muscles, fascia, grow_mm=6.0, septum_mm=1.6)
    _paint_cords(canvas, away, measures["femur_radius_mm"] / scale)
    _paint_texture(canvas, anatomy, bad, seed)
    return finished(canvas, scale=scale)


def _paint_cords(canvas: Canvas, away: float, radius: float) -> None:
    """Femur, femoral vessels, sciatic nerve and the great saphenous vein of both sides."""
    artery = tube([(away - 30, -18, -110), (away - 26, 8, 0), (away - 14, 36, 110)], 3.6)
    vein = tube([(away - 28, -24, -110), (away - 25, 0, 0), (away - 22, 32, 110)], 4.4)
    nerve = tube([(away + 4, -26, -110), (away + 4, -28, 0), (away + 6, -34, 110)], 4.0)
    saphenous = tube([(away - 66, -18, -110), (away - 71, 2, 0), (away - 56, 46, 110)], 1.9)
    femur = tube([(away + 4, 6, -150), (away + 8, 9, 0), (away + 10, 5, 150)], radius)
    for shape, tissue in ((artery, "flowing-blood"), (vein, "flowing-blood"), (nerve, "nerve"), (saphenous, "blood")):
        canvas.paint(tissue, shape)
        canvas.paint(tissue, mirrored(shape))
    for shape in (femur, mirrored(femur)):
        bones.paint_bone(canvas, Bone("femur", shape, 0.5 * radius))


def _paint_texture(canvas: Canvas, anatomy: Anatomy, bad: Mapping[str, Finding], seed: int) -> None:
    """Fat within muscle, then what the findings add to one group of one side."""
    measures = anatomy.measures
    healthy = share_for(measures["muscle_fat_fraction"])
    marble(canvas, fat_fraction=measures["muscle_fat_fraction"], seed=seed, streak_mm=6)
    middle = canvas.shape[0] // 2
    for kind, finding in bad.items():
        half = slice(middle, None) if finding.side == "right" else slice(0, middle)
        window = (half, slice(None), slice(None))
        there = canvas.truth[finding.site][window].clone()
        if kind == "muscle-atrophy":
            more = (share_for(measures["atrophied_fat_fraction"]) - healthy) / (1 - healthy)
            canvas.mix("muscle", "fat", there * more, window)
        else:
            canvas.mix("muscle", "oedema", there * 0.6 * finding.severity, window)
        bones.keep(canvas, kind, window, there)
    bones.trabeculae(canvas, share=0.02, seed=seed)


THIGH = Region(
    "thigh",
    draw,
    build,
    KINDS,
    ORGANS,
    CENTRE_MM,
    FIELD_MM,
    plane="axial",
    protocols=("T1w", "T2w", "STIR", "Dixon-water", "Dixon-fat"),
    modalities=("MR", "CT"),
)
