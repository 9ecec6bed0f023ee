"""The knee: bones, cartilage, menisci, ligaments, fat pad, muscles and fluid, and what goes wrong in it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from radfoundry.simulate.anatomy import bones, knee_soft
from radfoundry.simulate.anatomy.bones import Bone, Break, shaft_cortex
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.frames import finished, placed, stretched
from radfoundry.simulate.anatomy.limbs import marble, pack, wrap
from radfoundry.simulate.anatomy.people import muscle_fat, severities, sized
from radfoundry.simulate.anatomy.regions import Anatomy, Finding, Region
from radfoundry.simulate.anatomy.shapes import (
    Shape,
    box,
    common,
    cut,
    ellipsoid,
    grow,
    half_space,
    loft,
    moved,
    tube,
    union,
)
from radfoundry.simulate.body import Body

CENTRE_MM = (0.0, -2.0, 4.0)
FIELD_MM = (132.0, 136.0, 164.0)
WIDTH_MM = 80.0  # of the femur across its epicondyles, at scale 1
CONTACT_MM = 20.0  # where each condyle stands on the tibia, from the midline

# Width of the distal femur: Terzidis 2012, J Orthop Surg Res 7:24. Joint space of healthy knees: Beattie 2008,
# Osteoarthritis Cartilage 16:1403 (medial 4.8 mm in men, 4.2 mm in women). Cartilage: Eckstein 2001, Clin Anat 14:404.
MEANS = {
    "femur_width_mm": (76.0, 86.0),
    "medial_joint_space_mm": (4.4, 5.0),
    "lateral_joint_space_mm": (5.0, 5.6),
    "patellar_cartilage_mm": (2.5, 2.9),
}
FRACTURES: Mapping[str, Break] = {
    "lateral tibial plateau": Break("tibia", (15, -2, -14), (0.88, 0.0, 0.48), (0.3, 0.0, -0.9), reach_mm=46),
    "patella": Break("patella", (2, 46, 30), (0.05, 0.1, 1.0), (0.0, 0.1, 1.0), reach_mm=30),
    "medial femoral condyle": Break("femur", (-10, 0, 22), (-0.9, 0.0, 0.42), (-0.4, 0.0, 0.8), reach_mm=34),
}
OEDEMA = {
    "medial femoral condyle": (-22.0, 4.0, 18.0),
    "lateral femoral condyle": (22.0, 6.0, 18.0),
    "lateral tibial plateau": (22.0, -14.0, -16.0),
    "medial tibial plateau": (-22.0, -2.0, -16.0),
}
KINDS = ("fracture", "joint-narrowing", "effusion", "marrow-oedema", "ligament-tear", "meniscal-tear")
ORGANS = (
    "femur",
    "tibia",
    "patella",
    "fibula",
    "femoral-cartilage",
    "tibial-cartilage",
    "patellar-cartilage",
    "medial-meniscus",
    "lateral-meniscus",
    "anterior-cruciate-ligament",
    "posterior-cruciate-ligament",
    "muscle",
    "subcutaneous-fat",
)


def draw(
    rng: np.random.Generator,
    *,
    age_years: float,
    sex: str,
    findings: tuple[str, ...] = (),
    severity: float | None = None,
) -> Anatomy:
    """A person's knee: sizes by sex, cartilage and muscle by age, and the named findings (`severity` 0 to 1)."""
    measures = sized(rng, MEANS, sex=sex)
    worn = 1 - 0.0025 * max(0.0, age_years - 30)
    healthy = measures["medial_joint_space_mm"] * worn
    scale = measures["femur_width_mm"] / WIDTH_MM
    left = bool(rng.random() < 0.5)
    measures |= {
        "left": float(left),
        "muscle_fat_fraction": muscle_fat(age_years, sex, rng),
        "fat_mm": round(float(rng.normal(8.0 if sex == "F" else 5.5, 1.0)), 2),
        "lateral_joint_space_mm": round(measures["lateral_joint_space_mm"] * worn, 3),
    }
    bad = severities(rng, findings, severity=severity)
    sites = {"fracture": rng.choice(list(FRACTURES)), "marrow-oedema": rng.choice(list(OEDEMA))}
    narrow = bad.get("joint-narrowing", 0.0)
    # The radiographic grade: 0 none, 1 to 4 with the share of the joint space lost (Kellgren and Lawrence 1957).
    measures["kl_grade"] = float(min(4, 1 + int(narrow * 4))) if narrow else 0.0
    measures["medial_joint_space_mm"] = round(healthy * (1 - 0.88 * narrow), 3)
    made = tuple(
        placed(_finding(kind, value, str(sites.get(kind, ""))), scale=scale, left=left) for kind, value in bad.items()
    )
    return Anatomy("knee", age_years, sex, measures, int(rng.integers(2**31)), made)


def _finding(kind: str, severity: float, site: str) -> Finding:
    centre, size = {
        "joint-narrowing": ((-CONTACT_MM, -4.0, -1.0), 32.0),
        "effusion": ((2.0, 34.0, 52.0), 40.0 + 30 * severity),
        "ligament-tear": ((2.0, -3.0, 12.0), 10.0 + 8 * severity),
        "meniscal-tear": ((-22.0, -20.0, -1.0), 8.0 + 6 * severity),
        "marrow-oedema": (OEDEMA.get(site, (0.0, 0.0, 0.0)), 2 * (8.0 + 8.0 * severity)),
        "fracture": (FRACTURES[site].point_mm if site in FRACTURES else (0.0, 0.0, 0.0), 40.0),
    }[kind]
    named = {"joint-narrowing": "medial compartment", "ligament-tear": "anterior cruciate ligament"}
    return Finding(kind, severity, centre, size, site=site or named.get(kind, "knee joint"))


def condyles() -> Shape:
    """The joint end of the femur: two rollers, the groove for the patella in front and the notch behind."""
    rollers = [ellipsoid((side * 21.5, -14, 20), (12, 20, 20)) for side in (-1, 1)] + [
        ellipsoid((side * 19.5, 5, 25), (15, 27, 25)) for side in (-1, 1)
    ]
    swell = [ellipsoid((side * 30, -4, 31), (10, 13, 13)) for side in (-1, 1)]
    notch = ellipsoid((0, -22, 7), (9, 27, 23))
    groove = ellipsoid((1, 40, 28), (9, 13, 26))
    return cut(union(*rollers, *swell, blend_mm=7), notch, groove)


def femur() -> Shape:
    """The lower half of the thigh bone, flaring towards the condyles."""
    shaft = tube([(3, 5, 130), (3, 4, 62)], [13.5, 15])
    flare = [tube([(3, 3, 64), (side * 19, -2, 30)], [15, 17]) for side in (-1, 1)]
    return cut(union(condyles(), union(shaft, *flare, blend_mm=10), blend_mm=8), ellipsoid((0, -22, 7), (9, 27, 23)))


def tibia() -> Shape:
    """The upper half of the shin bone; its plateau lies at z = 0 before it is moved under the femur."""
    stem = loft(
        [-140, -60, -38, -20, -5, 0],
        [(-1, 4), (0, 1), (0, 0), (0, -2), (0, -4), (0, -4)],
        [(11, 14), (14, 18), (20, 22), (31, 24.5), (38, 26.5), (35, 24.5)],
        exponent=2.5,
    )
    spines = [ellipsoid((side * 5, -5, 0), (4, 9, 6)) for side in (-1, 1)]
    return union(stem, *spines, ellipsoid((1, 19, -36), (9, 8, 17)), blend_mm=4)


def _spurred(bone: Shape, places: list[tuple[float, float, float]], severity: float) -> Shape:
    """A bone with osteophytes: lips at its joint margins that grow with the wear."""
    if not severity:
        return bone
    size = 1.5 + 4.5 * severity
    return union(bone, *(ellipsoid(place, (size, 2.4 * size, 0.8 * size)) for place in places), blend_mm=3)


def _bones(measures: Mapping[str, float], scale: float, worn: float) -> dict[str, Bone]:
    medial, lateral = (measures[f"{side}_joint_space_mm"] / scale for side in ("medial", "lateral"))
    lean = math.degrees(math.asin((lateral - medial) / (2 * CONTACT_MM)))
    under = (0.0, 0.0, -(medial + lateral) / 2)
    fibula = tube([(35, -23, -15), (34, -23, -30), (31, -19, -140)], [8, 6, 5.5])
    patella = cut(ellipsoid((2, 44.5, 33), (22, 11.5, 21)), half_space((2, 36.0, 33), (0, 1, 0)))
    return {
        "femur": Bone(
            "femur",
            _spurred(femur(), [(-34, -6, 11), (34, -8, 12)], worn),
            shaft_cortex(2, 44, 120, thin_mm=1.0, thick_mm=5.5),
        ),
        "tibia": Bone(
            "tibia",
            moved(_spurred(tibia(), [(-37, -4, -4), (37, -5, -5)], 0.9 * worn), under, turn_deg=(0, lean, 0)),
            shaft_cortex(2, -30, -100, thin_mm=1.1, thick_mm=5.0),
        ),
        "fibula": Bone("fibula", moved(fibula, under, turn_deg=(0, lean, 0)), 1.6),
        "patella": Bone("patella", patella, 1.3),
    }


def build(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """The knee of one person as tissues, organs and findings."""
    measures = anatomy.measures
    scale = measures["femur_width_mm"] / WIDTH_MM
    bad = {finding.kind: finding for finding in anatomy.findings}
    canvas = stretched(CENTRE_MM, FIELD_MM, spacing_mm=spacing_mm, scale=scale)
    fascia = wrap(canvas, knee_soft.outline(), skin_mm=1.6, fat_mm=measures["fat_mm"])
    pack(canvas, knee_soft.muscles(), fascia, grow_mm=2.5, septum_mm=1.4)
    parts = _bones(measures, scale, _severity(bad, "joint-narrowing"))
    knee_soft.paint_cords(canvas)
    knee_soft.paint_cavity(canvas, condyles(), severity=_severity(bad, "effusion"))
    knee_soft.paint_menisci(canvas, torn=_severity(bad, "meniscal-tear"))
    knee_soft.paint_ligaments(canvas, torn=_severity(bad, "ligament-tear"))
    _paint_cartilage(canvas, parts, measures, scale)
    if "effusion" in bad:
        whole = tuple(slice(0, count) for count in canvas.shape)
        bones.keep(canvas, "effusion", whole, canvas.map("synovial-fluid"))  # ty: ignore[invalid-argument-type]
    plane = FRACTURES[bad["fracture"].site] if "fracture" in bad else None
    for name, bone in parts.items():
        hurt = plane is not None and plane.bone == name
        bones.paint_bone(canvas, bones.break_bone(bone, plane, bad["fracture"].severity) if hurt and plane else bone)
        if hurt and plane:
            bones.bleed(canvas, bone, plane, bad["fracture"].severity)
    _paint_wear(canvas, measures, scale, _severity(bad, "joint-narrowing"))
    if "marrow-oedema" in bad:
        patch = bad["marrow-oedema"]
        bones.oedema(canvas, OEDEMA[patch.site], patch.size_mm / 2 / scale, patch.severity, seed=anatomy.texture_seed)
    bones.trabeculae(canvas, share=0.09, seed=anatomy.texture_seed)
    marble(canvas, fat_fraction=measures["muscle_fat_fraction"], seed=anatomy.texture_seed, streak_mm=5)
    return finished(canvas, scale=scale, left=bool(measures["left"]))


def _severity(bad: Mapping[str, Finding], kind: str) -> float:
    return bad[kind].severity if kind in bad else 0.0


def _paint_cartilage(canvas: Canvas, parts: Mapping[str, Bone], measures: Mapping[str, float], scale: float) -> None:
    """Layers over the joint surfaces; each covers a little less than half of its compartment's joint space."""
    ends, thick = condyles(), measures["patellar_cartilage_mm"] / scale
    front = common(grow(ends, 0.8 * thick), box((1, 30, 28), (24, 14, 20)))
    canvas.paint("cartilage", front, name="femoral-cartilage")
    for side, compartment in ((-1, "medial"), (1, "lateral")):
        layer = 0.46 * measures[f"{compartment}_joint_space_mm"] / scale
        if layer < 0.15:
            continue
        roller = common(grow(ends, layer), box((side * 20, -8, 12), (15, 33, 26)))
        canvas.paint("cartilage", roller, name="femoral-cartilage")
        plate = common(grow(parts["tibia"].shape, layer), box((side * 21, -5, 0), (14, 20, 6)))
        canvas.paint("cartilage", plate, name="tibial-cartilage")
    behind = common(grow(parts["patella"].shape, thick), box((2, 34, 34), (20, 9, 16)))
    canvas.paint("cartilage", behind, name="patellar-cartilage")


def _paint_wear(canvas: Canvas, measures: Mapping[str, float], scale: float, severity: float) -> None:
    """Osteophytes, hard bone and cysts beside a narrowed medial joint space."""
    if not severity:
        return
    gap = measures["medial_joint_space_mm"] / scale
    bones.harden(canvas, (-CONTACT_MM, -2, -gap - 2), (15, 18, 3 + 5 * severity), 0.45 * severity)
    bones.harden(canvas, (-CONTACT_MM, 0, 2), (13, 18, 3 + 5 * severity), 0.45 * severity)
    if severity > 0.6:
        bones.cysts(canvas, [(-22, -6, -gap - 5), (-16, 5, -gap - 6), (-21, 3, 5)], 0.5 + 2.6 * severity)
    canvas.mark("joint-narrowing", ellipsoid((-CONTACT_MM, -4, -gap / 2), (15, 20, 4.0 + gap / 2)))


KNEE = Region(
    "knee",
    draw,
    build,
    KINDS,
    ORGANS,
    CENTRE_MM,
    FIELD_MM,
    plane="sagittal",
    protocols=("T1w", "PDw-fat-suppressed", "T2w", "PDw"),
    modalities=("MR", "CT", "DX"),
)
