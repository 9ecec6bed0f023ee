"""The elbow: humerus, ulna and radius with their cartilage, muscles, vessels and fluid, and what goes wrong in it."""

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

# Drawn as the right arm with the palm forward: lateral is +x, the hand points down.
CENTRE_MM = (0.0, -1.0, -2.0)
FIELD_MM = (104.0, 104.0, 168.0)
WIDTH_MM = 62.0  # of the humerus across its epicondyles, at scale 1

# Width across the epicondyles and diameter of the radial head: Berrigan et al. 2009, J Shoulder Elbow Surg 18:e15;
# Captier et al. 2002, Surg Radiol Anat 24:295 (head 20.5 mm in women, 23 mm in men).
MEANS = {"humerus_width_mm": (56.0, 64.0), "radial_head_mm": (20.5, 23.0), "cartilage_mm": (1.1, 1.3)}
FRACTURES: Mapping[str, Break] = {
    "radial head": Break("radius", (17, 8, -16), (0.95, 0.2, 0.1), (0.2, 0.0, -0.9), reach_mm=16),
    "olecranon": Break("ulna", (-8, -14, 0), (0.0, -0.25, 0.97), (0.0, -0.4, 0.9), reach_mm=24),
    "distal humerus": Break("humerus", (0, 2, 30), (0.1, 0.25, 0.96), (0.0, -0.9, 0.2), reach_mm=46),
}
OEDEMA = {
    "capitellum": (14.0, 6.0, 5.0),
    "radial head": (15.0, 6.0, -16.0),
    "olecranon": (-8.0, -15.0, 6.0),
}
KINDS = ("fracture", "effusion", "marrow-oedema", "ligament-tear")
ORGANS = ("humerus", "ulna", "radius", "cartilage", "ulnar-collateral-ligament", "muscle", "subcutaneous-fat")
COLLATERAL: tuple[Point, ...] = ((-32, -1, 9), (-27, 3, -4), (-20, 6, -17))


def draw(
    rng: np.random.Generator,
    *,
    age_years: float,
    sex: str,
    findings: tuple[str, ...] = (),
    severity: float | None = None,
) -> Anatomy:
    """A person's elbow: sizes by sex, fat in muscle by age, and the named findings (`severity` 0 to 1)."""
    measures = sized(rng, MEANS, sex=sex)
    scale = measures["humerus_width_mm"] / WIDTH_MM
    left = bool(rng.random() < 0.5)
    measures |= {
        "left": float(left),
        "muscle_fat_fraction": muscle_fat(age_years, sex, rng),
        "fat_mm": round(float(np.clip(rng.normal(5.0 if sex == "F" else 3.2, 0.8), 1.5, 9)), 2),
    }
    bad = severities(rng, findings, severity=severity)
    sites = {"fracture": str(rng.choice(list(FRACTURES))), "marrow-oedema": str(rng.choice(list(OEDEMA)))}
    made = tuple(
        placed(_finding(kind, value, sites.get(kind, "")), scale=scale, left=left) for kind, value in bad.items()
    )
    return Anatomy("elbow", age_years, sex, measures, int(rng.integers(2**31)), made)


def _finding(kind: str, severity: float, site: str) -> Finding:
    centre, size = {
        "effusion": ((0.0, 4.0, 14.0), 34.0 + 12 * severity),
        "ligament-tear": (COLLATERAL[1], 8.0 + 8 * severity),
        "marrow-oedema": (OEDEMA.get(site, (0.0, 0.0, 0.0)), 2 * (5.0 + 5.0 * severity)),
        "fracture": (FRACTURES[site].point_mm if site in FRACTURES else (0.0, 0.0, 0.0), 24.0),
    }[kind]
    return Finding(
        kind, severity, centre, size, site=site or {"ligament-tear": "ulnar collateral ligament"}.get(kind, "elbow")
    )


def trochlea() -> Shape:
    """The joint end of the humerus: a spool for the ulna, a ball for the radius."""
    spool = [tube([(-18, 3, 0), (-8, 4, 1)], [12.0, 8.6]), tube([(-8, 4, 1), (2, 4, 1)], [8.6, 10.2])]
    return union(*spool, ellipsoid((13, 7, 2), (9.5, 10.5, 10.5)), blend_mm=2)


def humerus() -> Shape:
    """The lower part of the upper arm's bone, flat and broad above the joint, with its two epicondyles."""
    shaft = tube([(0, 0, 100), (0, -1, 52)], [10.5, 10.5])
    flare = loft(
        [2, 14, 28, 44, 60],
        [(-1, 1), (-1, 0), (-1, 0), (0, -1), (0, -1)],
        [(25, 8), (27, 8), (20, 8), (13.5, 9), (11, 10)],
        exponent=2.6,
    )
    sides = [ellipsoid((-27, -3, 11), (7, 7, 9)), ellipsoid((25, -1, 10), (6, 7, 9))]
    pits = [ellipsoid((-7, -11, 17), (9, 8, 9)), ellipsoid((-6, 12, 15), (8, 6, 6))]
    return cut(union(trochlea(), union(shaft, flare, blend_mm=6), *sides, blend_mm=4), *pits)


def ulna(cartilage_mm: float) -> Shape:
    """The ulna: its hook lies around the spool with the cartilage of both between."""
    hook = union(
        ellipsoid((-8, -13, 8), (9.5, 9, 17)),
        ellipsoid((-8, 9, -13), (8.5, 8, 6)),
        ellipsoid((-8, -4, -16), (9, 13, 8)),
    )
    shaft = tube([(-8, -6, -18), (-8, -9, -50), (-7, -8, -110)], [9.5, 7.5, 6.8])
    return cut(union(hook, shaft, blend_mm=7), grow(trochlea(), 2 * cartilage_mm))


def radius(head_mm: float, cartilage_mm: float) -> Shape:
    """The radius: a dished disc on a neck, the tuberosity of the biceps, and the shaft."""
    wide = head_mm / 2
    sections = [(wide * share, wide * share) for share in (0.75, 1.0, 1.0, 0.93)]
    head = loft([-22, -18, -12, -9.5], [(14, 7)] * 4, sections)
    neck = tube([(14, 7, -19), (12, 5, -38), (14, 1, -110)], [7, 6.4, 7.2])
    knob = ellipsoid((8, 6, -40), (5, 6, 9))
    return cut(union(head, neck, knob, blend_mm=3), grow(ellipsoid((13, 7, 2), (9.5, 10.5, 10.5)), 2 * cartilage_mm))


def outline() -> Shape:
    """The skin of the elbow."""
    return loft(
        [-115, -70, -35, -5, 15, 40, 70, 110],
        [(0, 1), (1, 2), (2, 2), (0, -1), (-1, 0), (0, 1), (0, 1), (0, 1)],
        [(36, 34), (42, 39), (46, 41), (45, 38), (43, 37), (41, 41), (42, 45), (43, 47)],
        exponent=2.2,
    )


def muscles() -> list[Muscle]:
    """The muscles before and behind the humerus and those of the forearm, as seeds that grow until they meet."""
    lines: dict[str, tuple[list[Point], list[float]]] = {
        "biceps": ([(-2, 30, 100), (0, 28, 45), (4, 20, 5), (8, 12, -34)], [17, 13, 4, 3]),
        "brachialis": ([(2, 16, 100), (-2, 17, 30), (-6, 15, 0), (-7, 10, -22)], [12, 14, 9, 4]),
        "triceps medial": ([(-14, -18, 100), (-8, -20, 35), (-8, -22, 18)], [16, 11, 4]),
        "triceps lateral": ([(14, -18, 100), (8, -20, 35), (-4, -22, 18)], [17, 10, 3]),
        "brachioradialis": ([(27, 6, 50), (32, 14, 5), (30, 18, -55), (26, 16, -110)], [7, 10, 12, 9]),
        "extensor carpi": ([(28, -3, 12), (32, -6, -30), (28, -10, -110)], [5, 10, 10]),
        "extensor digitorum": ([(27, -6, 6), (20, -20, -45), (12, -22, -110)], [4, 10, 12]),
        "anconeus": ([(22, -8, 8), (4, -19, -20)], [3, 7]),
        "supinator": ([(22, 0, -6), (20, -2, -40), (18, 4, -60)], [3, 6, 5]),
        "pronator teres": ([(-26, 6, 14), (-12, 20, -20), (8, 20, -70)], [5, 9, 6]),
        "flexor carpi": ([(-28, 2, 8), (-28, 10, -40), (-24, 14, -110)], [4, 11, 10]),
        "flexor ulnaris": ([(-26, -6, 4), (-27, -8, -45), (-26, -6, -110)], [4, 9, 9]),
        "flexor profundus": ([(-14, 4, -30), (-12, 8, -110)], [7, 13]),
    }
    return [Muscle("muscle", tube(points, radii)) for points, radii in lines.values()]


def build(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """The elbow of one person as tissues, organs and findings."""
    measures = anatomy.measures
    scale = measures["humerus_width_mm"] / WIDTH_MM
    bad = {finding.kind: finding for finding in anatomy.findings}
    layer = measures["cartilage_mm"] / scale
    canvas = stretched(CENTRE_MM, FIELD_MM, spacing_mm=spacing_mm, scale=scale)
    fascia = wrap(canvas, outline(), skin_mm=1.6, fat_mm=measures["fat_mm"])
    pack(canvas, muscles(), fascia, grow_mm=6.0, septum_mm=1.2)
    _paint_cords(canvas)
    parts = {
        "humerus": Bone("humerus", humerus(), shaft_cortex(2, 22, 80, thin_mm=1.0, thick_mm=4.0)),
        "ulna": Bone("ulna", ulna(layer), shaft_cortex(2, -20, -70, thin_mm=1.2, thick_mm=3.2)),
        "radius": Bone("radius", radius(measures["radial_head_mm"] / scale, layer), 1.3),
    }
    _paint_joint(canvas, parts, layer, bad)
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
    marble(canvas, fat_fraction=measures["muscle_fat_fraction"], seed=anatomy.texture_seed, streak_mm=4)
    return finished(canvas, scale=scale, left=bool(measures["left"]))


def _paint_cords(canvas: Canvas) -> None:
    """Brachial artery and vein, basilic and cephalic veins, median and ulnar nerves, tendons of biceps and triceps."""
    canvas.paint("flowing-blood", tube([(-14, 22, 100), (-6, 26, 20), (2, 22, -20), (10, 18, -110)], 2.4))
    canvas.paint("flowing-blood", tube([(-18, 20, 100), (-10, 26, 20), (-2, 23, -20)], 1.8))
    for line in ([(-30, 16, 100), (-30, 20, 0), (-26, 24, -110)], [(30, 24, 100), (26, 28, 0), (22, 28, -110)]):
        canvas.paint("blood", tube(line, 1.7))
    canvas.paint("nerve", tube([(-17, 24, 100), (-11, 24, 10), (-2, 17, -30)], 1.9))
    canvas.paint("nerve", tube([(-22, -8, 100), (-20, -12, 12), (-22, 4, -40)], 1.9))
    canvas.paint("tendon", tube([(3, 20, 8), (6, 15, -18), (7, 9, -38)], [3.2, 2.6, 2.6]), strength=0.95)
    strap = band([(-6, -20, 50), (-8, -23, 22)], width_mm=16, thickness_mm=3.5, across=(1, 0, 0))
    canvas.paint("tendon", strap, strength=0.95)


def _paint_joint(canvas: Canvas, parts: Mapping[str, Bone], layer: float, bad: Mapping[str, Finding]) -> None:
    """Fat pads, fluid, cartilage and the ligament on the inner side; painted before the bones, which cover them."""
    wet = bad["effusion"].severity if "effusion" in bad else 0.0
    lift = 5.0 * wet
    for y, z in ((13.0 + lift, 18.0), (-13.0 - lift, 20.0)):
        canvas.paint("fat", ellipsoid((-5, y, z), (13, 5, 11)))
    ends = trochlea()
    film = common(grow(ends, 2.2 * layer + 0.6 + 1.6 * wet), box((-1, 1, -2), (26, 20, 16)))
    canvas.paint("synovial-fluid", film, strength=0.4 + 0.6 * wet)
    if wet:
        pouches = [ellipsoid((-4, 9 + 2 * wet, 15), (13, 2 + 5 * wet, 8 + 5 * wet))]
        pouches.append(ellipsoid((-6, -10 - 2 * wet, 17), (11, 2 + 5 * wet, 8 + 5 * wet)))
        canvas.paint("synovial-fluid", union(*pouches, blend_mm=2))
    canvas.paint("cartilage", common(grow(ends, layer), box((-1, 4, -3), (24, 18, 11))), name="cartilage")
    for name in ("ulna", "radius"):
        socket = common(grow(parts[name].shape, layer), grow(ends, 2.2 * layer))
        canvas.paint("cartilage", socket, name="cartilage")
    if wet:
        whole = tuple(slice(0, count) for count in canvas.shape)
        bones.keep(canvas, "effusion", whole, canvas.map("synovial-fluid"))  # ty: ignore[invalid-argument-type]
    ligament = band(COLLATERAL, width_mm=7, thickness_mm=3.0, across=(0.2, 0.9, 0.3))
    canvas.paint("tendon", ligament, strength=0.95, name="ulnar-collateral-ligament")
    outer = band([(25, -1, 8), (24, 0, -6), (22, -4, -18)], width_mm=6, thickness_mm=2.4, across=(0, 1, 0))
    canvas.paint("tendon", outer, strength=0.9)
    if "ligament-tear" in bad:
        torn = bad["ligament-tear"].severity
        covered = canvas.cover(common(grow(ligament, 1.0 + torn), ellipsoid(COLLATERAL[1], (7, 7, 4 + 5 * torn))))
        if covered is not None:
            window, cover = covered
            canvas.pour("synovial-fluid", window, cover * (0.35 + 0.6 * torn))
            bones.keep(canvas, "ligament-tear", window, cover)


ELBOW = Region(
    "elbow",
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
