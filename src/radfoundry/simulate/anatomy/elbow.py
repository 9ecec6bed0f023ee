"""The elbow held straight: humerus, ulna, radius, cartilage, muscles and fluid, and what goes wrong in it."""

from __future__ import annotations

from radfoundry.simulate.anatomy import bones
from radfoundry.simulate.anatomy.bones import Bone, Break, shaft_cortex
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.frames import band, finished, stretched
from radfoundry.simulate.anatomy.joints import JointPlan, whole, worst
from radfoundry.simulate.anatomy.limbs import Muscle, marble, pack, wrap
from radfoundry.simulate.anatomy.regions import Anatomy, Finding, Region
from radfoundry.simulate.anatomy.shapes import Point, Shape, box, common, cut, ellipsoid, grow, loft, tube, union
from radfoundry.simulate.body import Body

CENTRE_MM = (0.0, 0.0, 0.0)
FIELD_MM = (108.0, 100.0, 150.0)

# Width across the epicondyles: 55 mm in women, 63 mm in men (Robinson 1998, J Orthop Trauma 12:461 for the joint;
# Koslowsky 2007, Surg Radiol Anat 29:211 for the radial head, 21 to 24 mm wide).
PLAN = JointPlan(
    "elbow",
    {"epicondyle_width_mm": (56.0, 64.0), "joint_space_mm": (2.6, 2.9)},
    ("epicondyle_width_mm", 61.0),
    {
        "radial head": Break("radius", (16, 5, -16), (0.8, 0.55, 0.2), (0.2, 0.2, -0.8), reach_mm=16),
        "olecranon": Break("ulna", (-7, -16, 1), (0.0, -0.35, 0.94), (0.0, -0.3, 0.9), reach_mm=22),
        "distal humerus": Break("humerus", (0, 0, 27), (0.1, 0.15, -1.0), (0.1, -0.8, 0.2), reach_mm=40),
    },
    {
        "effusion": {"elbow joint": ((0.0, 12.0, 20.0), 34.0)},
        "marrow-oedema": {"capitellum": ((13.0, 4.0, 2.0), 18.0), "radial head": ((14.0, 3.0, -16.0), 18.0),
                          "olecranon": ((-7.0, -15.0, 4.0), 18.0)},
        "ligament-tear": {"ulnar collateral ligament": ((-26.0, 1.0, 0.0), 14.0),
                          "common extensor origin": ((27.0, -2.0, 9.0), 14.0)},
    },
    (6.0, 4.0),
)  # fmt: skip
ORGANS = ("humerus", "ulna", "radius", "cartilage", "muscle", "subcutaneous-fat")
COLLATERAL: tuple[Point, ...] = ((-29, -1, 9), (-25, 2, -1), (-17, 6, -14))
EXTENSOR: tuple[Point, ...] = ((26, -1, 15), (29, -3, 2), (31, -5, -12))


def _rollers() -> Shape:
    """The joint end of the humerus: the pulley for the ulna and the ball for the radius."""
    pulley = loft([-19, -12, -6, 0], [(2, 1)] * 4, [(11, 11), (9, 9), (8.6, 8.6), (9.6, 9.6)], axis=0)
    return union(pulley, ellipsoid((12, 4, 1), (10.5, 10.5, 10.5)), blend_mm=2)


def _humerus() -> Shape:
    """The distal humerus: shaft, flat flare with two epicondyles, and hollows before and behind."""
    stem = loft(
        [5, 14, 24, 40, 56, 130],
        [(-1, 0), (-2, 0), (-1, 0), (0, 0), (0, 0), (0, 1)],
        [(20, 7), (28, 7.5), (25, 7.5), (15, 8.5), (11.5, 10), (11, 11)],
        exponent=2.4,
    )
    knobs = [ellipsoid((-29, -3, 13), (7, 6.5, 8)), ellipsoid((25, -1, 11), (6, 6.5, 8))]
    hollows = [ellipsoid((-6, -11, 19), (11, 8.5, 10)), ellipsoid((-6, 11, 17), (9, 7, 8))]
    return cut(union(stem, _rollers(), *knobs, blend_mm=4), *hollows)


def _ulna(space_mm: float) -> Shape:
    """The proximal ulna: the hook behind, the beak in front, and the shaft; hollowed by the pulley."""
    solid = union(
        tube([(-7, -17, 15), (-7, -17, -2), (-7, -12, -16)], [7, 9.5, 10]),
        ellipsoid((-8, 6, -13), (9.5, 9, 7)),
        tube([(-7, -6, -16), (-9, -6, -45), (-16, -5, -130)], [11, 8, 6.5]),
        blend_mm=5,
    )
    return cut(solid, grow(_rollers(), space_mm), ellipsoid((-6, -4, 16), (30, 9, 12)))


def _radius(space_mm: float) -> Shape:
    """The proximal radius: a drum with a hollow top, a neck and the knob where the biceps pulls."""
    solid = union(
        loft([-21, -19, -11, -9.5], [(13.5, 4)] * 4, [(9, 9), (11.4, 11.4), (11.8, 11.8), (11, 11)]),
        tube([(13.5, 4, -18), (11.5, 3, -32), (12, 2, -55), (17, 0, -130)], [8, 7, 6.5, 7]),
        ellipsoid((5.5, 2.5, -36), (4.5, 6, 8)),
        blend_mm=3,
    )
    return cut(solid, grow(_rollers(), space_mm))


def build(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """The elbow of one person as tissues, organs and findings."""
    measures, seed = anatomy.measures, anatomy.texture_seed
    scale = PLAN.size(measures)
    space = measures["joint_space_mm"] / scale
    bad = {finding.kind: finding for finding in anatomy.findings}
    canvas = stretched(CENTRE_MM, FIELD_MM, spacing_mm=spacing_mm, scale=scale)
    outline = loft(
        [-130, -78, -40, -12, 12, 40, 78, 130],
        [(0, 1), (2, 1), (3, 2), (1, 1), (-2, 1), (0, 2), (0, 3), (0, 3)],
        [(33, 31), (40, 37), (45, 41), (44, 38), (42, 36), (41, 38), (43, 43), (46, 46)],
        exponent=2.2,
    )
    fascia = wrap(canvas, outline, skin_mm=1.5, fat_mm=measures["fat_mm"])
    pack(canvas, _muscles(), fascia, grow_mm=5.5, septum_mm=1.2)
    _paint_cords(canvas)
    _paint_joint(canvas, space, worst(bad, "effusion"))
    _paint_tear(canvas, bad.get("ligament-tear"))
    if "effusion" in bad:
        bones.keep(canvas, "effusion", whole(canvas), canvas.map("synovial-fluid"))
    parts = {
        "humerus": Bone("humerus", _humerus(), shaft_cortex(2, 22, 70, thin_mm=0.9, thick_mm=3.8)),
        "ulna": Bone("ulna", _ulna(space), shaft_cortex(2, -16, -60, thin_mm=1.1, thick_mm=3.0)),
        "radius": Bone("radius", _radius(space), shaft_cortex(2, -20, -60, thin_mm=0.9, thick_mm=2.8)),
    }
    PLAN.paint_bones(canvas, parts, bad)
    PLAN.paint_oedema(canvas, anatomy, bad)
    bones.trabeculae(canvas, share=0.09, seed=seed)
    marble(canvas, fat_fraction=measures["muscle_fat_fraction"], seed=seed, streak_mm=4)
    return finished(canvas, scale=scale, left=bool(measures["left"]))


def _paint_joint(canvas: Canvas, space_mm: float, severity: float) -> None:
    """Fluid and cartilage between the bones; an effusion lifts the fat out of the hollows before and behind."""
    ends = _rollers()
    film = common(grow(ends, space_mm + 0.6 + severity), box((-2, 1, 0), (25, 15, 13)))
    canvas.paint("synovial-fluid", film, strength=0.5 + 0.5 * severity)
    if severity:
        recess = [
            ellipsoid((0, 13 + 2 * severity, 17), (17, 2 + 5 * severity, 8 + 6 * severity)),
            ellipsoid((-6, -13 - severity, 22), (12, 2 + 4 * severity, 8 + 5 * severity)),
            ellipsoid((13, 3, -23), (13, 13, 2 + 3 * severity)),
        ]
        canvas.paint("synovial-fluid", union(*recess, blend_mm=3), strength=0.6 + 0.4 * severity)
    layer = 0.92 * space_mm
    canvas.paint("cartilage", common(grow(ends, layer), box((-2, 1, -2), (24, 14, 11))), name="cartilage")
    canvas.paint("synovial-fluid", grow(ends, 0.5 * layer + 0.2), strength=0.35)
    canvas.paint("cartilage", grow(ends, 0.5 * layer - 0.2), name="cartilage")


def _paint_tear(canvas: Canvas, torn: Finding | None) -> None:
    """Ligaments and tendon origins at both epicondyles, and fluid where one is torn."""
    inner = band(COLLATERAL, width_mm=8, thickness_mm=3.0, across=(0, 1, 0.4))
    outer = band(EXTENSOR, width_mm=9, thickness_mm=4.0, across=(0, 1, 0))
    canvas.paint("tendon", inner, strength=0.95)
    canvas.paint("tendon", outer, strength=0.9)
    canvas.paint("tendon", tube([(24, 3, 9), (26, 4, -4), (20, 0, -18)], 1.6), strength=0.9)
    if torn is None:
        return
    inside = torn.site == "ulnar collateral ligament"
    place = (-27, 1, 3) if inside else (27, -2, 9)
    size = 3 + 4 * torn.severity
    covered = canvas.cover(common(grow(inner if inside else outer, 0.8), ellipsoid(place, (6, 8, size))))
    if covered is not None:
        window, cover = covered
        canvas.pour("synovial-fluid", window, cover * (0.3 + 0.65 * torn.severity))
        bones.keep(canvas, "ligament-tear", window, cover)


def _muscles() -> list[Muscle]:
    """Arm muscles above, forearm flexors on the inner and extensors on the outer side below."""
    lines: list[tuple[list[Point], list[float]]] = [
        ([(-2, 26, 130), (0, 25, 50), (2, 22, 18)], [18, 12, 5]),
        ([(2, 14, 130), (0, 15, 40), (-3, 14, 8), (-7, 9, -18)], [14, 13, 10, 4]),
        ([(-4, -24, 130), (-3, -23, 60), (-5, -20, 28)], [20, 15, 6]),
        ([(22, -18, 130), (16, -16, 40)], [12, 7]),
        ([(26, 8, 62), (30, 14, 16), (30, 19, -25), (24, 18, -130)], [4, 10, 12, 9]),
        ([(32, -4, 10), (34, -2, -22), (28, -4, -130)], [4, 10, 9]),
        ([(28, -12, 2), (26, -18, -30), (18, -20, -130)], [4, 10, 9]),
        ([(10, -20, 4), (2, -20, -34)], [4, 6]),
        ([(-28, 6, 6), (-14, 16, -28), (0, 20, -70)], [6, 11, 8]),
        ([(-33, 2, 4), (-32, 10, -34), (-24, 14, -130)], [5, 12, 10]),
        ([(-28, -6, -2), (-30, -8, -40), (-26, -10, -130)], [4, 11, 10]),
        ([(-10, 6, -40), (-10, 6, -130)], [6, 10]),
        ([(22, -2, -20), (18, -6, -50)], [5, 6]),
    ]
    return [Muscle("muscle", tube(points, radii)) for points, radii in lines]


def _paint_cords(canvas: Canvas) -> None:
    """Biceps and triceps tendons, brachial artery, veins, and the three nerves."""
    canvas.paint("tendon", tube([(2, 22, 24), (4, 18, -8), (6, 6, -34)], [3.4, 2.6, 2.2]), strength=0.95)
    triceps = band([(-4, -29, 60), (-5, -26, 30), (-7, -22, 13)], width_mm=17, thickness_mm=4, across=(1, 0, 0))
    canvas.paint("tendon", triceps, strength=0.92)
    canvas.paint("flowing-blood", tube([(-14, 14, 130), (-9, 23, 20), (-2, 22, -22), (8, 18, -130)], 2.2))
    canvas.paint("nerve", tube([(-17, 14, 130), (-13, 23, 20), (-7, 20, -30)], 2.0))
    canvas.paint("nerve", tube([(-20, -10, 130), (-21, -12, 14), (-22, -6, -30)], 2.0))
    canvas.paint("nerve", tube([(22, 6, 70), (19, 14, 10), (18, 12, -20)], 1.7))
    for x, y in ((-30, 24), (30, 27), (4, 35)):
        canvas.paint("blood", tube([(x, y, 130), (x, y - 1, 0), (0.9 * x, y - 2, -130)], 1.6))


ELBOW = Region(
    "elbow",
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
