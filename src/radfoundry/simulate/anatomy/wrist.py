"""The wrist: radius, ulna, eight carpal bones, metacarpal bases, tendons in their tunnel, and what goes wrong in it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from radfoundry.simulate.anatomy import bones
from radfoundry.simulate.anatomy.bones import Bone, Break, shaft_cortex
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.frames import band, finished, placed, stretched
from radfoundry.simulate.anatomy.limbs import Muscle, marble, pack, wrap
from radfoundry.simulate.anatomy.people import muscle_fat, severities, sized
from radfoundry.simulate.anatomy.regions import Anatomy, Finding, Region
from radfoundry.simulate.anatomy.shapes import Point, Shape, box, common, cut, ellipsoid, grow, loft, tube, union
from radfoundry.simulate.body import Body

# Drawn as the right hand with the palm forward: the thumb is at +x, the fingers point down.
CENTRE_MM = (4.0, 1.0, -12.0)
FIELD_MM = (100.0, 64.0, 132.0)
WIDTH_MM = 54.0  # of radius and ulna together at the joint, at scale 1

# Width of the wrist's bones: Schuind et al. 1992, J Hand Surg 17:698. Carpal sizes: Crisco et al. 2005, J Bone Joint
# Surg Am 87:2256 (women's bones have about 60 % of the volume of men's, some 15 % less along each axis).
MEANS = {"wrist_width_mm": (49.5, 57.0), "cartilage_mm": (0.8, 0.9)}
CARPALS: Mapping[str, tuple[Point, Point, Point]] = {
    "scaphoid": ((15.5, 2.5, -13.0), (6.0, 6.0, 12.0), (15.0, 30.0, 0.0)),
    "lunate": ((2.0, 0.5, -9.5), (7.5, 8.5, 7.0), (0.0, -6.0, 0.0)),
    "triquetrum": ((-11.0, -1.5, -14.5), (6.0, 7.0, 7.5), (0.0, 20.0, 0.0)),
    "pisiform": ((-14.0, 9.5, -16.0), (4.2, 4.5, 5.5), (0.0, 0.0, 0.0)),
    "trapezium": ((23.5, 6.0, -28.5), (7.0, 6.5, 7.0), (0.0, 20.0, 0.0)),
    "trapezoid": ((14.0, -2.0, -29.0), (5.5, 7.5, 6.5), (0.0, 0.0, 0.0)),
    "capitate": ((3.0, -1.0, -26.5), (6.3, 8.0, 11.5), (0.0, 0.0, 0.0)),
    "hamate": ((-9.0, 0.0, -28.5), (6.8, 8.0, 9.0), (0.0, -15.0, 0.0)),
}
METACARPALS: tuple[tuple[Point, Point], ...] = (
    ((28, 10, -39), (42, 16, -80)),
    ((15, -1, -41), (19, -1, -95)),
    ((4, -1, -43), (5, -2, -95)),
    ((-6, -1, -42), (-9, -1, -95)),
    ((-14, 1, -41), (-22, 1, -95)),
)
FRACTURES: Mapping[str, Break] = {
    "distal radius": Break("radius", (12, 0, 14), (0.15, 0.25, 0.95), (0.0, -0.9, 0.4), reach_mm=26),
    "scaphoid waist": Break("scaphoid", (15.5, 2.5, -13), (-0.5, -0.2, 0.85), (0.3, 0.0, 0.0), reach_mm=14),
}
OEDEMA = {"lunate": (2.0, 0.5, -9.5), "scaphoid": (15.5, 2.5, -13.0), "distal radius": (12.0, 0.0, 8.0)}
DISC: tuple[Point, ...] = ((3, -1, -0.5), (-8, -1, -1.0), (-17, -2, -1.5))
# Across the palm, towards it, and where each flexor tendon leads to among the fingers.
FLEXORS = (
    *((-5, 14, -12), (-1, 15, -4), (3, 15, 4), (7, 14, 13)),
    *((-6, 10, -14), (-2, 10, -5), (2, 10, 5), (6, 10, 14), (11, 12, 30)),
)
KINDS = ("fracture", "effusion", "marrow-oedema", "ligament-tear")
ORGANS = ("radius", "ulna", *CARPALS, "metacarpals", "cartilage", "triangular-disc", "muscle", "subcutaneous-fat")


def draw(
    rng: np.random.Generator,
    *,
    age_years: float,
    sex: str,
    findings: tuple[str, ...] = (),
    severity: float | None = None,
) -> Anatomy:
    """A person's wrist: sizes by sex, fat in muscle by age, and the named findings (`severity` 0 to 1)."""
    measures = sized(rng, MEANS, sex=sex)
    scale = measures["wrist_width_mm"] / WIDTH_MM
    left = bool(rng.random() < 0.5)
    measures |= {
        "left": float(left),
        "muscle_fat_fraction": muscle_fat(age_years, sex, rng),
        "fat_mm": round(float(np.clip(rng.normal(2.6 if sex == "F" else 2.0, 0.4), 1.0, 5.0)), 2),
    }
    bad = severities(rng, findings, severity=severity)
    sites = {"fracture": str(rng.choice(list(FRACTURES))), "marrow-oedema": str(rng.choice(list(OEDEMA)))}
    made = tuple(
        placed(_finding(kind, value, sites.get(kind, "")), scale=scale, left=left) for kind, value in bad.items()
    )
    return Anatomy("wrist", age_years, sex, measures, int(rng.integers(2**31)), made)


def _finding(kind: str, severity: float, site: str) -> Finding:
    centre, size = {
        "effusion": ((2.0, 0.0, -16.0), 30.0 + 10 * severity),
        "ligament-tear": (DISC[1], 5.0 + 6 * severity),
        "marrow-oedema": (OEDEMA.get(site, (0.0, 0.0, 0.0)), 2 * (4.0 + 4.0 * severity)),
        "fracture": (FRACTURES[site].point_mm if site in FRACTURES else (0.0, 0.0, 0.0), 24.0),
    }[kind]
    return Finding(kind, severity, centre, size, site=site or {"ligament-tear": "triangular disc"}.get(kind, "wrist"))


def radius() -> Shape:
    """The radius, broad at the joint, hollowed for scaphoid and lunate, with its styloid."""
    shaft = loft(
        [-2, 4, 12, 26, 45, 70],
        [(12, 0), (11.5, 0), (11, 0), (10.5, 0), (10, 0), (10, 0)],
        [(13.5, 9), (15, 10), (14, 9.5), (9.5, 7.5), (7.5, 6.5), (7.5, 6.5)],
        exponent=2.5,
    )
    styloid = tube([(21, 0, 8), (25.5, 1, -6)], [6, 2.5])
    return cut(union(shaft, styloid, blend_mm=3), grow(_row(), 1.8))


def ulna() -> Shape:
    """The ulna with its round head and the styloid."""
    return union(
        tube([(-13, -2, 70), (-13.5, -2, 24), (-13, -2, 12)], [5.5, 5.5, 7.5]),
        tube([(-13, -2, 12), (-12.5, -2, 7)], [8, 7]),
        tube([(-18, -5, 6), (-19, -6, -1.5)], [3, 1.8]),
        blend_mm=3,
    )


def _row() -> Shape:
    """Scaphoid and lunate, the surface that the radius is hollowed for."""
    return union(carpal("scaphoid"), carpal("lunate"), blend_mm=6)


def carpal(name: str) -> Shape:
    """One carpal bone: an egg squared off towards its neighbours, the hamate with its hook."""
    centre, radii, turn = CARPALS[name]
    egg = ellipsoid(centre, (radii[0] * 1.12, radii[1] * 1.12, radii[2] * 1.12), turn_deg=turn)
    block = box(centre, radii, rounding_mm=0.62 * min(radii), turn_deg=turn)
    shape = common(egg, block)
    if name == "hamate":
        shape = union(shape, tube([(-8, 6, -30), (-7, 11.5, -31)], [2.8, 2.2]), blend_mm=2)
    return shape


def metacarpals() -> Shape:
    """The five bones of the hand's middle, broad at their bases."""
    return union(*(_metacarpal(base, head) for base, head in METACARPALS))


def _metacarpal(base: Point, head: Point) -> Shape:
    x, y, z = (float(value) for value in 0.8 * np.asarray(base, float) + 0.2 * np.asarray(head, float))
    foot = ellipsoid((base[0], base[1], base[2] - 3), (6.2, 7.6, 6.5))
    return union(foot, tube([(x, y, z), head], [5.0, 4.3]), blend_mm=4)


def outline() -> Shape:
    """The skin of the wrist and the hand's root, the thumb's ball to one side."""
    arm = loft(
        [-90, -70, -45, -25, -8, 10, 30, 64],
        [(-1, 0), (0, 1), (1, 2), (2, 1.5), (1, 1), (0, 0), (-1, 0), (-1, 0)],
        [(41, 16), (40, 18), (36, 20), (32, 20), (29, 19.5), (29, 19), (29.5, 20), (32, 23)],
        exponent=2.4,
    )
    return union(arm, tube([(24, 9, -34), (40, 15, -66), (48, 18, -90)], [12, 14, 10]), blend_mm=12)


def muscles() -> list[Muscle]:
    """Muscles of the palm, between the metacarpals, and those of the forearm before they become tendons."""
    lines: dict[str, tuple[list[Point], list[float]]] = {
        "thumb ball": ([(20, 14, -34), (34, 18, -58), (44, 18, -80)], [4, 9, 5]),
        "adductor": ([(6, 10, -58), (28, 12, -66)], [5, 5]),
        "little finger ball": ([(-16, 12, -28), (-24, 8, -60), (-27, 4, -88)], [4, 7, 4]),
        "pronator quadratus": ([(8, 8, 22), (-10, 7, 22)], [4.5, 4.5]),
        "pronator quadratus high": ([(8, 8, 38), (-10, 7, 38)], [4.5, 4.5]),
        "flexor mass": ([(-4, 16, 20), (-4, 15, 64)], [2.5, 8]),
        "extensor mass": ([(2, -14, 26), (0, -15, 64)], [2.5, 7]),
    }
    between = [([(x, 0, -50), (x, 0, -92)], [3.6, 4.0]) for x in (10.5, -1.5, -12.5)]
    tubes = [Muscle("muscle", tube(points, radii)) for points, radii in lines.values()]
    return [*tubes, *(Muscle("muscle", tube(points, radii)) for points, radii in between)]


def build(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """The wrist of one person as tissues, organs and findings."""
    measures = anatomy.measures
    scale = measures["wrist_width_mm"] / WIDTH_MM
    bad = {finding.kind: finding for finding in anatomy.findings}
    layer = measures["cartilage_mm"] / scale
    canvas = stretched(CENTRE_MM, FIELD_MM, spacing_mm=spacing_mm, scale=scale)
    fascia = wrap(canvas, outline(), skin_mm=1.4, fat_mm=measures["fat_mm"])
    pack(canvas, muscles(), fascia, grow_mm=4.0, septum_mm=0.8)
    parts = {
        "radius": Bone("radius", radius(), shaft_cortex(2, 4, 40, thin_mm=0.9, thick_mm=2.6)),
        "ulna": Bone("ulna", ulna(), shaft_cortex(2, 8, 40, thin_mm=0.9, thick_mm=2.2)),
        **{name: Bone(name, carpal(name), 0.8) for name in CARPALS},
        "metacarpals": Bone("metacarpals", metacarpals(), shaft_cortex(2, -44, -75, thin_mm=0.8, thick_mm=1.8)),
    }
    _paint_joint(canvas, parts, layer, bad)
    _paint_cords(canvas)
    plane = FRACTURES[bad["fracture"].site] if "fracture" in bad else None
    for name, bone in parts.items():
        hurt = plane is not None and plane.bone == name
        bones.paint_bone(canvas, bones.break_bone(bone, plane, bad["fracture"].severity) if hurt and plane else bone)
        if hurt and plane:
            bones.bleed(canvas, bone, plane, bad["fracture"].severity)
    if "marrow-oedema" in bad:
        patch = bad["marrow-oedema"]
        bones.oedema(canvas, OEDEMA[patch.site], patch.size_mm / 2 / scale, patch.severity, seed=anatomy.texture_seed)
    bones.trabeculae(canvas, share=0.09, seed=anatomy.texture_seed)
    marble(canvas, fat_fraction=measures["muscle_fat_fraction"], seed=anatomy.texture_seed, streak_mm=3)
    return finished(canvas, scale=scale, left=bool(measures["left"]))


def _paint_joint(canvas: Canvas, parts: Mapping[str, Bone], layer: float, bad: Mapping[str, Finding]) -> None:
    """Fluid in the joints, cartilage on the bones, the ligaments between and the disc beside the ulna."""
    wet = bad["effusion"].severity if "effusion" in bad else 0.0
    carpus = union(*(parts[name].shape for name in CARPALS))
    canvas.paint("tendon", common(grow(carpus, 2.6), box((4, 0, -20), (26, 11, 22))), strength=0.75)
    film = common(grow(carpus, 1.5 * layer + 0.3 + 1.2 * wet), box((4, 0, -17), (25, 9 + 3 * wet, 22)))
    canvas.paint("synovial-fluid", film, strength=0.35 + 0.6 * wet)
    if wet:
        pouches = [
            ellipsoid((8, -9 - 2 * wet, -6), (14, 2 + 4 * wet, 7)),
            ellipsoid((-10, -7, 6), (6, 3 * wet + 0.5, 7)),
        ]
        canvas.paint("synovial-fluid", union(*pouches))
        whole = tuple(slice(0, count) for count in canvas.shape)
        bones.keep(canvas, "effusion", whole, canvas.map("synovial-fluid"))  # ty: ignore[invalid-argument-type]
    for name in (*CARPALS, "metacarpals"):
        limit = box((4, 0, -24), (30, 14, 24))
        canvas.paint("cartilage", common(grow(parts[name].shape, layer), limit), name="cartilage")
    hollow = common(grow(parts["radius"].shape, layer), grow(_row(), 2.2))
    canvas.paint("cartilage", hollow, name="cartilage")
    disc = band(DISC, width_mm=11, thickness_mm=2.0, across=(0, 1, 0))
    canvas.paint("meniscus", disc, strength=0.95, name="triangular-disc")
    if "ligament-tear" in bad:
        torn = bad["ligament-tear"].severity
        covered = canvas.cover(common(grow(disc, 0.5), ellipsoid(DISC[1], (1.0 + 2.5 * torn, 7, 4))))
        if covered is not None:
            window, cover = covered
            canvas.pour("synovial-fluid", window, cover * (0.3 + 0.65 * torn))
            bones.keep(canvas, "ligament-tear", window, cover)


def _paint_cords(canvas: Canvas) -> None:
    """Flexor tendons and the median nerve under their retinaculum, extensor tendons, radial and ulnar arteries."""
    for x, y, fan in FLEXORS:
        canvas.paint("tendon", tube([(x - 1, y, 64), (x, y, -10), (x, y, -36), (fan, y - 1, -92)], 2.0), strength=0.95)
    canvas.paint("nerve", tube([(4, 16, 64), (5, 17, 0), (6, 17, -40)], 2.2))
    roof = band(
        [(-13, 13, -26), (-4, 19, -26), (8, 19, -26), (20, 13, -26)], width_mm=22, thickness_mm=1.6, across=(0, 0, 1)
    )
    canvas.paint("tendon", roof, strength=0.9)
    for x, fan in ((-19, -24), (-9, -12), (-2, -8), (2, 5), (6, 14), (13, 17), (18, 19)):
        canvas.paint("tendon", tube([(x, -13, 64), (x, -13.5, 0), (fan, -12, -92)], 1.5), strength=0.95)
    canvas.paint("tendon", tube([(26, 2, 64), (29, 4, 4), (33, 6, -34), (44, 12, -80)], 1.7), strength=0.95)
    canvas.paint("flowing-blood", tube([(18, 13, 64), (20, 13, 6), (28, -2, -24)], 1.5))
    canvas.paint("flowing-blood", tube([(-15, 13, 64), (-17, 14, -8), (-15, 15, -40)], 1.4))
    canvas.paint("nerve", tube([(-18, 13, 64), (-20, 13, -8), (-17, 14, -40)], 1.5))


WRIST = Region(
    "wrist",
    draw,
    build,
    KINDS,
    ORGANS,
    CENTRE_MM,
    FIELD_MM,
    plane="coronal",
    protocols=("T1w", "PDw-fat-suppressed", "T2w", "PDw"),
    modalities=("MR", "CT", "DX"),
)
