"""The wrist: radius, ulna, eight carpals, bases of the metacarpals, tendons and the carpal tunnel, and its injuries."""

from __future__ import annotations

from collections.abc import Mapping

from radfoundry.simulate.anatomy import bones
from radfoundry.simulate.anatomy.bones import Bone, Break, shaft_cortex
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.frames import band, finished, stretched
from radfoundry.simulate.anatomy.joints import JointPlan, whole, worst
from radfoundry.simulate.anatomy.limbs import Muscle, marble, pack, wrap
from radfoundry.simulate.anatomy.regions import Anatomy, Finding, Region
from radfoundry.simulate.anatomy.shapes import Shape, box, cut, ellipsoid, grow, loft, tube, union
from radfoundry.simulate.body import Body

CENTRE_MM = (0.0, 0.0, -6.0)
FIELD_MM = (94.0, 58.0, 124.0)

# Widths and carpal height: Schuind 1992, J Hand Surg Am 17:698 (normal hand radiographs; ulna to radius 50 to 60 mm).
PLAN = JointPlan(
    "wrist",
    {"wrist_width_mm": (51.0, 58.0), "radiocarpal_space_mm": (1.9, 2.1)},
    ("wrist_width_mm", 54.0),
    {
        "distal radius": Break("radius", (11, 0, 15), (0.0, 0.25, -1.0), (0.1, -0.9, 0.35), reach_mm=30),
        "scaphoid waist": Break("scaphoid", (15.5, 1.5, -12), (0.55, 0.25, -0.8), (0.2, 0.5, 0.0), reach_mm=16),
        "ulnar styloid": Break("ulna", (-23.5, -5, 1), (-0.2, 0.0, -1.0), (-0.5, 0.0, -0.5), reach_mm=7),
    },
    {
        "effusion": {"radiocarpal joint": ((2.0, -6.0, -4.0), 34.0)},
        "marrow-oedema": {"lunate": ((0.0, 0.0, -8.5), 14.0), "distal radius": ((12.0, 0.0, 8.0), 22.0),
                          "scaphoid": ((15.0, 2.0, -12.0), 16.0)},
        "ligament-tear": {"triangular fibrocartilage": ((-11.0, -2.0, -2.5), 10.0)},
    },
    (3.0, 2.2),
)  # fmt: skip
CARPALS: Mapping[str, Shape] = {
    "scaphoid": tube([(11.5, -1.5, -6.5), (15, 1, -12), (20, 5, -19)], [7.2, 5.6, 6.4]),
    "lunate": ellipsoid((0, 0, -8.5), (8.6, 8.6, 7.4)),
    "triquetrum": ellipsoid((-13, -2, -13.5), (7.4, 7.2, 7.6), turn_deg=(0, 35, 0)),
    "pisiform": ellipsoid((-16, 10.5, -14), (4.8, 4.6, 5.4)),
    "trapezium": ellipsoid((24.5, 6, -28), (8.2, 7.4, 7.4), turn_deg=(0, -25, 0)),
    "trapezoid": ellipsoid((13.6, 0, -28), (5.8, 8.0, 6.8)),
    "capitate": union(ellipsoid((2.5, 0, -18), (7.2, 7.4, 8)), ellipsoid((3.5, 0, -27), (7.6, 8.4, 9)), blend_mm=3),
    "hamate": union(ellipsoid((-9.5, 0, -25), (7.4, 8.2, 9.5)), tube([(-10, 5, -28), (-10.5, 12, -29)], [3.4, 2.6])),
}
METACARPALS: Mapping[str, Shape] = {
    "metacarpal-1": tube([(31, 9, -38), (38, 12, -56), (46, 15, -90)], [7.4, 5.0, 5.5]),
    "metacarpal-2": tube([(15, 0, -40), (17.5, 1, -56), (21, 2, -100)], [7.4, 4.8, 4.8]),
    "metacarpal-3": tube([(3.5, -1, -42), (4.5, 0, -58), (6, 1, -100)], [7.2, 4.7, 4.7]),
    "metacarpal-4": tube([(-7.5, -1, -40), (-9, 0, -56), (-12, 1, -100)], [6.0, 4.0, 4.2]),
    "metacarpal-5": tube([(-16.5, -1, -38), (-20, -0.5, -54), (-27, 1, -100)], [6.2, 4.1, 4.3]),
}
ORGANS = ("radius", "ulna", *CARPALS, *METACARPALS, "triangular-fibrocartilage", "muscle", "subcutaneous-fat")


def _radius() -> Shape:
    """The distal radius: a flare that ends in a hollow, with its styloid at the thumb's side."""
    stem = loft(
        [-11, -3, 4, 12, 26, 110],
        [(22, -1), (14, 0), (11.5, 0), (11.5, 0), (12, 0), (9, 0)],
        [(6, 7), (15, 10), (17, 11), (15, 10), (9, 7.5), (7.5, 7)],
        exponent=2.6,
    )
    return cut(stem, ellipsoid((5, 0, -22), (23.5, 22, 21.5)))


def _ulna() -> Shape:
    """The distal ulna: a round head and a small styloid."""
    return union(
        tube([(-16, -2, 110), (-16.5, -2, 20), (-17, -3, 6)], [6.2, 5.8, 7.2]),
        ellipsoid((-17, -3, 5.5), (8.2, 8.0, 6.6)),
        tube([(-23, -5, 6), (-24, -5.5, -4)], [2.8, 2.0]),
        blend_mm=2,
    )


def build(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """The wrist of one person as tissues, organs and findings."""
    measures, seed = anatomy.measures, anatomy.texture_seed
    scale = PLAN.size(measures)
    bad = {finding.kind: finding for finding in anatomy.findings}
    canvas = stretched(CENTRE_MM, FIELD_MM, spacing_mm=spacing_mm, scale=scale)
    outline = loft(
        [-120, -68, -50, -28, -5, 25, 120],
        [(8, 2), (7, 2), (7, 2), (2, 2), (0, 2), (-1, 2), (-1, 2)],
        [(44, 17), (43, 19), (43, 20), (36, 21), (31, 20), (29, 20), (36, 25)],
        exponent=2.6,
    )
    fascia = wrap(canvas, outline, skin_mm=1.4, fat_mm=0.8 * measures["fat_mm"])
    pack(canvas, _muscles(), fascia, grow_mm=2.2, septum_mm=1.0)
    _paint_cords(canvas)
    _paint_joint(canvas, measures["radiocarpal_space_mm"] / scale, worst(bad, "effusion"))
    _paint_disc(canvas, bad.get("ligament-tear"))
    if "effusion" in bad:
        bones.keep(canvas, "effusion", whole(canvas), canvas.map("synovial-fluid"))
    PLAN.paint_bones(canvas, _bones(), bad)
    PLAN.paint_oedema(canvas, anatomy, bad)
    bones.trabeculae(canvas, share=0.1, seed=seed)
    marble(canvas, fat_fraction=measures["muscle_fat_fraction"], seed=seed, streak_mm=4)
    return finished(canvas, scale=scale, left=bool(measures["left"]))


def _bones() -> dict[str, Bone]:
    """All bones; each carpal yields to the ones before it, so that a joint space stays between them."""
    made = {
        "radius": Bone("radius", _radius(), shaft_cortex(2, 8, 40, thin_mm=0.8, thick_mm=2.6)),
        "ulna": Bone("ulna", _ulna(), shaft_cortex(2, 8, 40, thin_mm=0.8, thick_mm=2.3)),
    }
    earlier: list[Shape] = [bone.shape for bone in made.values()]
    for name, shape in {**CARPALS, **METACARPALS}.items():
        near = [grow(other, 1.5) for other in earlier if _meet(other, shape)]
        cortex = 0.9 if name in CARPALS else shaft_cortex(2, -46, -64, thin_mm=0.8, thick_mm=2.0)
        made[name] = Bone(name, cut(shape, *near), cortex)
        earlier.append(shape)
    return made


def _meet(one: Shape, other: Shape) -> bool:
    """Whether the boxes of two shapes come within 2 mm of each other."""
    return all(one.low[axis] - 2 < other.high[axis] and other.low[axis] - 2 < one.high[axis] for axis in range(3))


def _paint_joint(canvas: Canvas, space_mm: float, severity: float) -> None:
    """Cartilage and a film of fluid between the bones, wider recesses with an effusion."""
    ligaments = loft(
        [-44, -36, -20, -2, 3], [(6, 0), (6, 0), (2, 0), (1, 0), (1, 0)],
        [(27, 11), (30, 12), (24, 12), (24, 12.5), (20, 10)], exponent=2.6,
    )  # fmt: skip
    canvas.paint("tendon", ligaments, strength=0.4)
    if severity:
        recess = [ellipsoid((4, -11, -6), (16, 2 + 4 * severity, 6 + 3 * severity))]
        recess += [
            ellipsoid((8, 11, -3), (12, 1.5 + 2.5 * severity, 5)),
            ellipsoid((-14, -3, 11), (9, 9, 2 + 4 * severity)),
        ]
        canvas.paint("synovial-fluid", union(*recess, blend_mm=3), strength=0.6 + 0.4 * severity)
    for name, shape in CARPALS.items():
        if name != "pisiform":
            canvas.paint("cartilage", grow(shape, 0.5 * space_mm), strength=0.9)
            canvas.paint("synovial-fluid", grow(shape, 0.25), strength=0.25 + 0.4 * severity)
    canvas.paint("cartilage", grow(_radius(), 0.4 * space_mm), strength=0.6, within="tendon")


def _paint_disc(canvas: Canvas, torn: Finding | None) -> None:
    """The triangular fibrocartilage between ulna and carpus, and a tear in it."""
    disc = ellipsoid((-13, -2, -2.2), (10.5, 7, 1.9), turn_deg=(0, 8, 0))
    canvas.paint("meniscus", disc, name="triangular-fibrocartilage")
    if torn is not None:
        covered = canvas.cover(ellipsoid((-10, -2, -2.5), (1.0 + 2.5 * torn.severity, 6, 4)))
        if covered is not None:
            window, cover = covered
            share = cover * canvas.map("meniscus")[window] * (0.4 + 0.6 * torn.severity)
            canvas.mix("meniscus", "synovial-fluid", share, window)
            bones.keep(canvas, "ligament-tear", window, share)


def _muscles() -> list[Muscle]:
    """Forearm bellies above, thumb's and little finger's muscles below, and those between the metacarpals."""
    return [
        Muscle("muscle", tube([(-8, 14, 120), (-8, 13, 40), (-6, 12, 24)], [13, 8, 3])),
        Muscle("muscle", tube([(10, 15, 120), (10, 13, 44), (8, 12, 30)], [12, 7, 3])),
        Muscle("muscle", box((-3, 8.5, 26), (13, 2.6, 14), rounding_mm=2)),
        Muscle("muscle", tube([(-2, -12, 120), (0, -11, 40)], [11, 4])),
        Muscle("muscle", tube([(24, 16, -30), (32, 20, -46), (38, 24, -100)], [4, 9, 10])),
        Muscle("muscle", tube([(-20, 10, -26), (-24, 12, -44), (-30, 12, -100)], [3.5, 7.5, 8])),
        Muscle("muscle", tube([(26, 6, -50), (30, 8, -100)], [4, 8])),
        Muscle("muscle", tube([(10.5, 0, -52), (13, 0, -100)], [2.5, 4.5])),
        Muscle("muscle", tube([(-2.5, 0, -52), (-3, 0, -100)], [2.5, 4])),
        Muscle("muscle", tube([(-13.5, 0, -50), (-18.5, 0, -100)], [2.5, 4])),
    ]


def _paint_cords(canvas: Canvas) -> None:
    """Flexor tendons and median nerve in the carpal tunnel, extensor tendons behind, arteries beside."""
    for number in range(8):
        x, y = (number % 4 - 1.5) * 4.6 + 1.5, 11.2 + 3.9 * (number // 4)
        canvas.paint(
            "tendon", tube([(1.1 * x, y + 1, 120), (x, y, 10), (x, y - 1, -30), (1.9 * x + 1, y + 1, -100)], 1.6)
        )
    canvas.paint("tendon", tube([(17, 14, 120), (16, 13, 0), (21, 13, -34), (36, 17, -100)], 1.8))
    canvas.paint(
        "nerve", band([(3, 19, 120), (4, 18.4, 0), (4, 17.6, -36)], width_mm=5, thickness_mm=2.4, across=(1, 0, 0))
    )
    roof = band([(24, 13, -24), (8, 19.5, -24), (-10, 14.5, -24)], width_mm=20, thickness_mm=1.6, across=(0, 0, 1))
    canvas.paint("tendon", roof, strength=0.9)
    for x, y in ((24, -4), (19, -9.5), (13, -12.5), (6, -13.5), (1, -13.5), (-5, -13), (-12, -12), (-23, -9)):
        canvas.paint(
            "tendon", tube([(0.9 * x, y - 1, 120), (x, y, 5), (1.05 * x, y - 0.5, -30), (1.2 * x, y, -100)], 1.3)
        )
    canvas.paint("tendon", tube([(-19, 17, 120), (-17, 15, 0), (-16, 13, -12)], 2.0))
    canvas.paint("tendon", tube([(20, 16, 120), (18, 17, 0), (17, 13, -36)], 2.0))
    for x, y in ((25, 11), (-13, 16.5)):
        canvas.paint("flowing-blood", tube([(x, y, 120), (x, y, 0), (0.9 * x, y, -20)], 1.3))
    canvas.paint("nerve", tube([(-16.5, 18, 120), (-13, 18, -20)], 1.5))
    for x, y in ((16, -17), (-12, -17), (28, -9)):
        canvas.paint("blood", tube([(x, y + 1, 120), (x, y, 0), (x, y, -100)], 1.0))


WRIST = Region(
    "wrist",
    PLAN.draw,
    build,
    PLAN.kinds,
    ORGANS,
    CENTRE_MM,
    FIELD_MM,
    plane="coronal",
    protocols=("T1w", "PDw-fat-suppressed", "T2w"),
    modalities=("MR", "CT", "DX"),
)
