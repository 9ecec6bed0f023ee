"""The true pelvis of a man or woman: bones, muscles, bladder, uterus, vessels, fat; the prostate's middle is 0."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.shapes import Point, Shape, cut, ellipsoid, grow, half_space, loft, shell, tube, union
from radfoundry.simulate.anatomy.texture import everywhere, noise, soft

# The gut's midline from the anal margin upwards, and the fascia around the fat behind and beside it: level, centre
# front-back, half width, half depth. Sizes after Heald 1988 (J R Soc Med 81:503) and MERCURY 2007 (Radiology 243:132).
GUT = ((0, -16, -64), (0, -23, -40), (0, -36, 0), (0, -46, 34), (0, -54, 64), (6, -46, 92), (22, -26, 120))
FASCIA = (
    (-34, -29, 12, 12),
    (-18, -33, 20, 17),
    (0, -39, 27, 21),
    (30, -50, 35, 28),
    (60, -57, 38, 32),
    (98, -50, 37, 33),
)


def gut_at(level_mm: float) -> Point:
    """The middle of the rectum at a level."""
    for (x, y, z), (a, b, c) in itertools.pairwise(GUT):
        if level_mm <= c:
            share = (level_mm - z) / (c - z)
            return (x + share * (a - x), y + share * (b - y), level_mm)
    return (float(GUT[-1][0]), float(GUT[-1][1]), level_mm)


def fascia(scale: float) -> Shape:
    """The mesorectal fascia: the envelope of the rectum and its fat."""
    return loft(
        [row[0] for row in FASCIA],
        [(0.0, row[1]) for row in FASCIA],
        [(row[2] * scale, row[3] * scale) for row in FASCIA],
    )


def both(shape_of) -> tuple[Shape, Shape]:  # noqa: ANN001
    """A pair of shapes from a function of the side: +1 right, -1 left."""
    return shape_of(1), shape_of(-1)


def paint_pelvis(canvas: Canvas, measures: Mapping[str, float], *, seed: int) -> None:
    """Everything around the organs: skin, fat with strands, muscles, bones and the vessels of the wall."""
    whole, points = everywhere(canvas), canvas.points()
    trunk = loft(
        [-140, -40, 40, 180], [(0, -14), (0, -14), (0, -8), (0, 0)], [(168, 108), (178, 116), (172, 110), (158, 100)]
    )
    surface = trunk.distance(points) - measures["subcutaneous_fat_mm"] + 15
    canvas.pour("skin", whole, soft(surface, canvas.spacing_mm))
    canvas.pour("fat", whole, soft(surface + 2.0, canvas.spacing_mm))
    strands = noise(canvas, whole, wavelength_mm=10, seed=seed + 1)
    canvas.mix("fat", "fibrous", (0.12 - 0.5 * strands.abs()).clamp(0, 0.12), whole)
    for name, shapes in _muscles().items():
        for shape in shapes:
            _muscle(canvas, shape, name, seed=seed)
    _paint_bones(canvas, seed=seed)
    for sign in (1, -1):
        artery = [(sign * 48, 26, 120), (sign * 60, 44, 60), (sign * 72, 62, 20)]
        vein = [(sign * 50, 14, 120), (sign * 62, 32, 60), (sign * 62, 56, 20)]
        canvas.paint("flowing-blood", tube(artery, 4.5))
        canvas.paint("flowing-blood", tube(vein, 5.5))
        deep = [(sign * 44, -20, 110), (sign * 56, -26, 60), (sign * 50, -34, 25), (sign * 40, -34, 0)]
        canvas.paint("blood", tube(deep, [4.0, 3.2, 2.4, 1.6]))


def _muscle(canvas: Canvas, shape: Shape, name: str, *, seed: int) -> None:
    covered = canvas.cover(shape)
    if covered is not None:
        window, share = covered
        strands = noise(canvas, window, wavelength_mm=7, seed=seed + 2)
        canvas.pour("muscle", window, share * (1 - (0.35 * strands - 0.2).clamp(0, 0.4)), name=name)


def _muscles() -> dict[str, Sequence[Shape]]:
    def inner(side: int) -> Shape:
        front = tube([(side * 42, 30, -4), (side * 58, 6, 2), (side * 62, -22, 4), (side * 56, -46, 6)], [7, 8.5, 9, 8])
        upper = tube([(side * 52, 26, 20), (side * 62, 0, 26), (side * 62, -30, 24)], [6.5, 8, 8])
        lower = tube([(side * 44, 22, -24), (side * 56, -2, -24), (side * 58, -24, -20)], [6, 7.5, 7.5])
        return union(front, upper, lower, blend_mm=14)

    # The funnel goes on beyond both of its ends, so that no lid is left when they are cut off.
    funnel = loft(
        [-80, -46, -30, -12, 8, 26, 60],
        [(0, -22), (0, -20), (0, -20), (0, -14), (0, -12), (0, -12), (0, -12)],
        [(10, 13), (13, 17), (19, 24), (28, 34), (38, 42), (50, 48), (60, 58)],
    )
    ends = (half_space((0, 16, 0), (0, -1, 0)), half_space((0, 0, 20), (0, 0, -1)), half_space((0, 0, -52), (0, 0, 1)))
    floor = cut(shell(funnel, thickness_mm=4.0), *ends)
    return {
        "obturator-muscle": both(inner),
        "levator-muscle": (floor,),
        "gluteal-muscle": both(
            lambda side: ellipsoid((side * 78, -88, 6), (62, 30, 100), turn_deg=(0, 0, side * 24.0))
        ),
        "": (
            *both(lambda side: tube([(side * 34, -84, 60), (side * 70, -70, 52), (side * 118, -48, 36)], [13, 15, 8])),
            *both(lambda side: tube([(side * 96, 66, 120), (side * 100, 54, 50), (side * 112, 26, -20)], [19, 17, 13])),
            *both(lambda side: tube([(side * 26, 46, -30), (side * 54, 30, -42), (side * 100, 0, -44)], [10, 14, 11])),
            *both(lambda side: ellipsoid((side * 122, 60, 0), (30, 26, 70))),
            *both(lambda side: ellipsoid((side * 64, 36, -14), (36, 15, 22), turn_deg=(0, 0, -side * 24.0))),
            *both(lambda side: ellipsoid((side * 108, -40, -2), (36, 22, 60), turn_deg=(0, 0, side * 20.0))),
            *both(lambda side: ellipsoid((side * 84, 16, -26), (26, 24, 18))),
            *both(lambda side: tube([(side * 18, 78, 130), (side * 18, 74, 30)], [17, 9])),
        ),
    }


def _paint_bones(canvas: Canvas, *, seed: int) -> None:
    canvas.paint("cartilage", ellipsoid((0, 47, -2), (6, 9, 18)))
    sacrum = loft(
        [-8, 10, 30, 60, 90, 125],
        [(0, -66), (0, -76), (0, -88), (0, -102), (0, -100), (0, -88)],
        [(6, 5), (9, 6), (18, 8), (38, 12), (50, 17), (58, 25)],
    )
    _bone(canvas, sacrum, "sacrum", seed=seed)
    for sign in (1, -1):
        _bone(canvas, _pubis(sign), "hip-bones", seed=seed)
        head, hole = (sign * 90.0, 8.0, 24.0), ellipsoid((sign * 94.0, 8, 24), (26.5, 26.5, 26.5))
        cup = cut(
            union(
                ellipsoid((sign * 82, 4, 32), (24, 33, 36)),
                tube([(sign * 84, -6, 50), (sign * 78, -56, 116)], [20, 12]),
            ),
            hole,
        )
        _bone(canvas, cup, "hip-bones", seed=seed)
        canvas.paint("cartilage", ellipsoid((sign * 92.0, 8, 24), (26, 26, 26)))
        neck = tube([head, (sign * 128, 0, 0), (sign * 140, -4, -12)], [16, 17, 24])
        _bone(canvas, union(ellipsoid(head, (24, 24, 24)), neck, blend_mm=6), "femora", seed=seed)


def _pubis(sign: int) -> Shape:
    body = ellipsoid((sign * 14, 47, -2), (12, 9, 20), turn_deg=(-18, 0, 0))
    upper = tube([(sign * 16, 48, 12), (sign * 44, 42, 24), (sign * 74, 22, 34)], [8, 7.5, 12])
    lower = tube([(sign * 13, 42, -18), (sign * 32, 16, -44), (sign * 50, -18, -56)], [7, 7, 14])
    sitting = tube([(sign * 52, -22, -52), (sign * 66, -26, -10), (sign * 74, -14, 20)], [14, 10, 12])
    return union(body, upper, lower, sitting, blend_mm=5)


def _bone(canvas: Canvas, solid: Shape, name: str, *, seed: int) -> None:
    """A hard shell round marrow, which is mostly fat in the thigh bone and partly red in the pelvis."""
    found = canvas.depth(solid)
    if found is None:
        return
    window, depth = found
    canvas.pour("bone", window, canvas.soft(depth), name=name)
    canvas.pour("yellow-marrow", window, canvas.soft(depth + 1.8) * 0.93)
    mean = 0.12 if name == "femora" else 0.42
    red = mean + 0.2 * noise(canvas, window, wavelength_mm=16, seed=seed + 3)
    canvas.mix("yellow-marrow", "red-marrow", red.clamp(0, 0.8), window)


def paint_bladder(canvas: Canvas, centre: Point, volume_ml: float) -> None:
    """The bladder with its wall, thinner the fuller it is."""
    scale = (volume_ml * 1000 / (4.18879 * 1.25 * 1.0 * 0.85)) ** (1 / 3)
    x, y, z = centre
    shape = ellipsoid((x, y, z + 0.85 * scale), (1.25 * scale, scale, 0.85 * scale))
    wall = 2.5 + 2.5 * (120 / max(volume_ml, 60)) ** 0.5
    canvas.paint("bowel", grow(shape, wall), name="bladder")
    canvas.paint("water", shape)


def paint_uterus(canvas: Canvas) -> None:
    """Uterus, cervix and vagina between bladder and rectum."""
    canvas.paint("myometrium", ellipsoid((2, 4, 44), (26, 20, 36), turn_deg=(-38, 0, 0)), name="uterus")
    canvas.paint("stroma", ellipsoid((2, 4, 44), (12, 7, 24), turn_deg=(-38, 0, 0)), strength=0.6)
    canvas.paint("mucosa", ellipsoid((2, 4, 44), (10, 4, 22), turn_deg=(-38, 0, 0)))
    canvas.paint("stroma", tube([(1, -8, 18), (0, -11, 2)], [14, 12]), name="cervix")
    canvas.paint("mucosa", tube([(1, -8, 18), (0, -11, 2)], 2.5))
    canvas.paint("bowel", tube([(0, -12, 0), (0, -6, -30), (0, 4, -58)], [10, 8, 7]), name="vagina")
    canvas.paint("mucosa", tube([(0, -12, 0), (0, -6, -30), (0, 4, -58)], 2.5))


def paint_gut(canvas: Canvas, measures: Mapping[str, float], *, seed: int) -> None:
    """The rectum in layers: muscle, submucosal fat and mucosa round gas and stool; the anal sphincter below."""
    radius = measures["rectum_mm"] / 2
    line = [tuple(float(value) for value in point) for point in GUT]
    wide = [9.0, 10.0, radius * 0.92, radius, radius * 1.05, radius * 0.9, radius * 0.85]
    outer = tube([(p[0], p[1], p[2]) for p in line], wide)
    found = canvas.depth(outer)
    if found is None:
        return
    window, depth = found
    depth = depth + 0.8 * noise(canvas, window, wavelength_mm=16, seed=seed + 4)
    canvas.pour("bowel", window, canvas.soft(depth), name="rectum")
    canvas.pour("mucosa", window, canvas.soft(depth + 2.4) * 0.9)
    canvas.pour("bowel", window, canvas.soft((depth + 3.4).abs() - 0.35) * 0.4)
    z = canvas.points(window)[..., 2]
    lumen = canvas.soft(torch.maximum(depth + 4.6, -30 - z))
    clump = noise(canvas, window, wavelength_mm=14, seed=seed + 5)
    gas = (0.5 + 2.5 * (clump + 3.2 * measures["rectal_gas"] - 1.6)).clamp(0, 1)
    canvas.pour("stool", window, lumen)
    canvas.pour("air", window, lumen * gas)
