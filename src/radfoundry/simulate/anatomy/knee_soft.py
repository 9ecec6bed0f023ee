"""Soft tissue of the knee: outline, muscles, vessels, joint cavity, menisci and ligaments."""

from __future__ import annotations

from radfoundry.simulate.anatomy.bones import keep
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.frames import band
from radfoundry.simulate.anatomy.limbs import Muscle
from radfoundry.simulate.anatomy.shapes import Point, Shape, box, common, cut, ellipsoid, grow, loft, tube, union

ACL: tuple[Point, ...] = ((7, -15, 25), (3, -5, 14), (-3, 9, -3))
PCL: tuple[Point, ...] = ((-6, 4, 22), (-4, -9, 21), (-2, -19, 12), (0, -27, -8))


def outline() -> Shape:
    """The skin of the knee."""
    return loft(
        [-140, -80, -45, -15, 15, 35, 60, 130],
        [(0, -12), (0, -12), (0, -9), (0, -6), (0, -1), (0, 1), (0, -1), (0, -2)],
        [(48, 52), (49, 52), (50, 51), (53, 55), (56, 60), (57, 62), (59, 62), (68, 70)],
        exponent=2.2,
    )


def muscles() -> list[Muscle]:
    """Thigh muscles above the joint and calf muscles below it, as seeds that grow until they meet."""
    lines: dict[str, tuple[list[Point], list[float]]] = {
        "vastus medialis": ([(-28, 18, 110), (-36, 14, 52), (-32, 20, 26)], [24, 19, 9]),
        "vastus lateralis": ([(32, 16, 110), (36, 16, 60), (30, 26, 44)], [24, 17, 7]),
        "vastus intermedius": ([(4, 27, 110), (3, 28, 62)], [16, 8]),
        "biceps femoris": ([(28, -36, 110), (36, -29, 24), (36, -23, -8)], [19, 13, 3]),
        "semimembranosus": ([(-18, -38, 110), (-25, -36, 24), (-29, -26, -4)], [20, 15, 5]),
        "semitendinosus": ([(-8, -50, 110), (-22, -47, 40)], [8, 3]),
        "sartorius": ([(-46, -20, 110), (-47, -18, 22), (-40, 2, -30)], [12, 10, 4]),
        "gracilis": ([(-42, -36, 110), (-44, -31, 30)], [7, 4]),
        "gastrocnemius medial": ([(-20, -36, 24), (-25, -42, -22), (-24, -42, -120)], [7, 15, 20]),
        "gastrocnemius lateral": ([(20, -36, 22), (23, -42, -22), (24, -42, -120)], [7, 14, 18]),
        "soleus": ([(14, -30, -44), (8, -30, -120)], [7, 20]),
        "tibialis anterior": ([(22, 10, -28), (24, 8, -120)], [7, 19]),
        "peroneus": ([(42, -8, -32), (40, -10, -120)], [6, 13]),
        "tibialis posterior": ([(12, -14, -46), (10, -12, -120)], [6, 15]),
    }
    tubes = [Muscle("muscle", tube(points, radii)) for points, radii in lines.values()]
    return [*tubes, Muscle("muscle", ellipsoid((0, -25, -36), (24, 6, 18), turn_deg=(0, -25, 0)))]


def paint_cords(canvas: Canvas) -> None:
    """Popliteal artery and vein, and the tibial and common peroneal nerves."""
    canvas.paint("flowing-blood", tube([(-2, -28, 110), (3, -37, 10), (4, -33, -45), (4, -24, -120)], 3.3))
    canvas.paint("flowing-blood", tube([(2, -36, 110), (7, -43, 10), (8, -39, -45), (8, -27, -120)], 3.9))
    canvas.paint("nerve", tube([(8, -46, 110), (8, -50, 10), (6, -44, -50)], 2.8))
    canvas.paint("nerve", tube([(14, -46, 90), (32, -38, 10), (42, -26, -20)], 1.7))
    canvas.paint("blood", tube([(-46, -34, 110), (-49, -28, 0), (-45, -14, -120)], 1.8))  # great saphenous vein


def paint_cavity(canvas: Canvas, ends: Shape, *, severity: float) -> None:
    """The joint fluid: a film in health, a filled pouch above the patella and recesses with effusion."""
    film = common(grow(ends, 3.0 + 2.0 * severity), box((0, -2, 14), (33, 38, 22)))
    canvas.paint("synovial-fluid", film, strength=0.45 + 0.5 * severity)
    pouch = ellipsoid((2, 36 + 2 * severity, 60), (17 + 8 * severity, 1.0 + 9.0 * severity, 15 + 8 * severity))
    sides = [ellipsoid((x, 26, 38), (5 + 3 * severity, 6 * severity + 0.8, 16)) for x in (-27, 30)]
    canvas.paint("synovial-fluid", union(pouch, *sides, blend_mm=4), strength=0.5 + 0.5 * severity)
    if severity > 0.5:  # a cyst behind the medial condyle fills with a large effusion
        canvas.paint("synovial-fluid", ellipsoid((-19, -44, 4), (7 * severity, 5 * severity, 14 * severity)))


def paint_menisci(canvas: Canvas, *, torn: float) -> None:
    """Two C-shaped wedges; painted before the bones, which leave of them what fits between."""
    for name, centre, outer, inner in (
        ("medial-meniscus", (-21, -5), (16.5, 22), (7, 11)),
        ("lateral-meniscus", (21, -6), (15.5, 17.5), (6, 7.5)),
    ):
        side = -1 if centre[0] < 0 else 1
        levels = [-9.0, 4.5]
        ring = cut(loft(levels, [centre] * 2, [outer] * 2), loft([-20.0, 20.0], [centre] * 2, [inner] * 2))
        mouth = box((side * 6, centre[1] + 1, 0), (8, 0.4 * outer[1], 20))
        canvas.paint("meniscus", cut(ring, mouth), name=name)
    if torn:
        cleft = ellipsoid((-22, -21, -1.5), (8, 5.5, 0.5 + 1.1 * torn), turn_deg=(25, 0, 0))
        covered = canvas.cover(cleft)
        if covered is not None:
            window, cover = covered
            share = cover * canvas.map("meniscus")[window] * (0.5 + 0.5 * torn)
            canvas.mix("meniscus", "synovial-fluid", share, window)
            keep(canvas, "meniscal-tear", window, share)


def paint_ligaments(canvas: Canvas, *, torn: float) -> None:
    """Cruciate and collateral ligaments, the patella's tendons and its side straps."""
    acl = band(ACL, width_mm=8, thickness_mm=4.5, across=(0.6, 0.0, 0.8))
    canvas.paint("tendon", acl, strength=0.82, name="anterior-cruciate-ligament")
    canvas.paint("tendon", tube(PCL, 4.6), strength=0.97, name="posterior-cruciate-ligament")
    straps = [
        band([(-40, -1, 34), (-41.5, 1, 5), (-38, 7, -50)], width_mm=11, thickness_mm=2.4, across=(0, 1, 0)),
        tube([(40, -4, 31), (41, -14, 5), (38, -21, -13)], 1.9),
        tube([(39, 6, 8), (38, 10, -14)], 1.5),  # the iliotibial tract
        band([(2, 53, 16), (2, 45, -4), (1, 30, -36)], width_mm=25, thickness_mm=4.6, across=(1, 0, 0)),
        band([(2, 50, 46), (3, 44, 90), (3, 42, 110)], width_mm=30, thickness_mm=6.0, across=(1, 0, 0)),
    ]
    for strap in straps:
        canvas.paint("tendon", strap, strength=0.95)
    for side in (-1, 1):
        strap = band(
            [(side * 19, 45, 32), (side * 34, 28, 30), (side * 41, 6, 24)],
            width_mm=26,
            thickness_mm=1.5,
            across=(0, 0, 1),
        )
        canvas.paint("tendon", strap, strength=0.8)
    if torn:
        covered = canvas.cover(common(grow(acl, 2.0 + torn), ellipsoid((2, -3, 11), (9, 7 + 4 * torn, 8 + 5 * torn))))
        if covered is not None:
            window, cover = covered
            canvas.pour("marrow-oedema", window, cover * torn * 0.6)
            canvas.pour("synovial-fluid", window, cover * torn * 0.45)
            keep(canvas, "ligament-tear", window, cover)
