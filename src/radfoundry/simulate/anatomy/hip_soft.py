"""Soft tissue of the pelvis: outline, muscles of both sides, bladder and its neighbours, vessels and nerves."""

from __future__ import annotations

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.frames import band
from radfoundry.simulate.anatomy.limbs import Muscle
from radfoundry.simulate.anatomy.shapes import Point, Shape, ellipsoid, loft, mirrored, tube, union


def outline(fat_mm: float) -> Shape:
    """The skin of pelvis and upper thighs; thicker people are wider and deeper."""
    more = fat_mm - 17.0
    wide, deep = 0.4 * more, 0.5 * more
    trunk = loft(
        [-62, -36, 0, 50, 150],
        [(0, -8), (0, -8), (0, -8), (0, -6), (0, -2)],
        [(118, 60), (150 + wide, 84 + deep), (171 + wide, 106 + deep), (168 + wide, 108 + deep), (152, 104 + deep)],
        exponent=2.5,
    )
    thigh = loft(
        [-180, -90, -30, 10],
        [(88, 2), (91, 0), (93, -4), (92, -6)],
        [(72 + wide / 2, 76), (78 + wide / 2, 84 + deep), (78 + wide / 2, 94 + deep), (76, 96)],
        exponent=2.2,
    )
    return union(trunk, thigh, mirrored(thigh), blend_mm=14)


def muscles() -> list[Muscle]:
    """The muscles of both sides as seeds that grow until they meet."""
    lines: list[tuple[list[Point], list[float]]] = [
        ([(48, 8, 150), (66, 10, 84), (84, 32, 12), (100, 2, -46)], [22, 24, 15, 6]),
        ([(94, 20, 150), (96, 8, 96), (88, 30, 40)], [8, 15, 8]),
        ([(112, 40, 34), (104, 50, -20), (98, 55, -150)], [5, 10, 15]),
        ([(118, 50, 60), (96, 66, -30), (70, 66, -150)], [6, 8, 10]),
        ([(134, 34, 50), (138, 26, -10), (136, 10, -90)], [8, 13, 5]),
        ([(24, 34, -22), (62, 38, -30), (92, 12, -62)], [8, 13, 7]),
        ([(14, 24, -54), (40, 32, -90), (62, 34, -150)], [9, 17, 20]),
        ([(14, 8, -58), (30, 8, -100), (36, 6, -150)], [6, 9, 10]),
        ([(40, -4, -66), (62, -10, -100), (80, -14, -150)], [11, 20, 24]),
        ([(70, -44, -62), (78, -50, -100), (80, -52, -150)], [8, 17, 20]),
        ([(130, 2, -46), (134, 10, -90), (132, 14, -150)], [6, 18, 22]),
        ([(96, 30, -56), (100, 32, -150)], [6, 16]),
        ([(84, 22, -70), (80, 26, -150)], [4, 10]),
        ([(30, 8, -30), (66, 10, -38), (100, -14, -22)], [9, 12, 6]),
        ([(72, -30, -26), (100, -24, -32)], [9, 9]),
        ([(20, -72, 46), (66, -44, 24), (112, -18, 4)], [9, 9, 4]),
        ([(58, -34, 0), (118, -20, -4)], [7, 4]),
    ]
    solids = [tube(points, radii) for points, radii in lines]
    solids += [
        ellipsoid((80, -74, 4), (52, 26, 68), turn_deg=(0, 18, 24)),
        ellipsoid((112, -66, -32), (26, 24, 30)),
        ellipsoid((116, -20, 62), (16, 44, 46), turn_deg=(0, 14, -24)),
        ellipsoid((116, -4, 34), (10, 24, 28), turn_deg=(0, 10, -20)),
        ellipsoid((56, 0, -6), (6, 32, 26), turn_deg=(0, 8, -18)),
        ellipsoid((26, 78, 70), (24, 9, 80)),
        ellipsoid((28, -108, 90), (26, 12, 40)),
    ]
    both = [*solids, *(mirrored(solid) for solid in solids)]
    return [Muscle("muscle", solid) for solid in both]


def paint_organs(canvas: Canvas, sex: str) -> None:
    """Bladder, rectum with its fat, prostate or womb, and the floor of the pelvis."""
    canvas.paint("muscle", ellipsoid((0, -34, -34), (34, 30, 8)), strength=0.9)
    canvas.paint("fat", ellipsoid((0, -30, 10), (40, 36, 40)), strength=0.9)
    canvas.paint("muscle", ellipsoid((0, 22, 14), (41, 31, 31)))
    canvas.paint("water", ellipsoid((0, 22, 14), (37, 27, 27)), name="bladder")
    canvas.paint("muscle", tube([(0, -52, 90), (8, -64, 50), (0, -56, 8), (0, -40, -46)], [15, 16, 17, 12]))
    canvas.paint("muscle", tube([(0, -63, 50), (0, -55, 8)], [13, 14]))
    canvas.paint("air", ellipsoid((2, -52, 20), (9, 7, 15)))
    if sex == "M":
        canvas.paint("prostate", ellipsoid((0, 2, -30), (23, 15, 17)))
        canvas.paint("muscle", ellipsoid((0, 8, -28), (10, 9, 10)), strength=0.6)
        for side in (-1, 1):
            canvas.paint("water", ellipsoid((side * 20, -13, 2), (17, 5, 6), turn_deg=(0, side * 15, 0)), strength=0.7)
    else:
        canvas.paint("prostate", ellipsoid((4, -2, 54), (25, 30, 20), turn_deg=(25, 0, 0)))  # the womb: as wet
        canvas.paint("water", ellipsoid((4, 0, 55), (9, 20, 3), turn_deg=(25, 0, 0)), strength=0.7)
        canvas.paint("muscle", tube([(0, -16, 30), (0, -18, -40)], [13, 9]), strength=0.9)
    for x, y, z, radius in ((-30, 30, 80, 15), (34, 22, 84, 14), (4, 44, 78, 14), (-44, 0, 70, 12), (44, -10, 60, 12)):
        canvas.paint("muscle", ellipsoid((x, y, z), (1.5 * radius, radius, radius)))
        canvas.paint("water", ellipsoid((x, y, z), (1.5 * radius - 3, radius - 3, radius - 3)), strength=0.5)


def paint_cords(canvas: Canvas) -> None:
    """Iliac and femoral vessels, and the sciatic nerves; the disc of the symphysis is left between its bones."""
    artery: list[Point] = [(44, -10, 150), (56, 10, 70), (72, 50, 10), (76, 54, -40), (68, 44, -150)]
    vein: list[Point] = [(46, -18, 150), (52, 0, 70), (61, 46, 10), (65, 48, -40), (64, 36, -150)]
    nerve: list[Point] = [(52, -52, 60), (78, -50, 10), (92, -44, -40), (90, -36, -150)]
    for line, radius, tissue in ((artery, 4.6, "flowing-blood"), (vein, 5.6, "flowing-blood"), (nerve, 4.6, "nerve")):
        canvas.paint(tissue, tube(line, radius))
        canvas.paint(tissue, mirrored(tube(line, radius)))
    disc = band([(0, 26, -20), (0, 25, -50)], width_mm=16, thickness_mm=7, across=(0, 1, 0))
    canvas.paint("annulus", disc)
