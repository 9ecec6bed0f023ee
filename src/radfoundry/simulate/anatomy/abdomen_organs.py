"""The organs of the abdomen: liver with its vessels, bile, spleen, kidneys, pancreas, gut with gas, great vessels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import torch

from radfoundry.simulate.anatomy.abdomen_wall import Trunk
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.shapes import Point, Shape, cut, ellipsoid, grow, half_space, tube, union, wavy
from radfoundry.simulate.anatomy.texture import everywhere, noise, soft
from radfoundry.simulate.anatomy.trees import branches, cover_tree, grow_tree, seeds_inside
from radfoundry.simulate.fields import rotation

COLON = (
    (82, -8, -150), (90, -8, -100), (90, -4, -55), (84, 22, -18), (52, 62, -30), (4, 72, -48), (-46, 64, -26),
    (-88, 22, 26), (-98, -18, 12), (-100, -26, -50), (-98, -26, -105), (-90, -20, -150),
)  # fmt: skip
STOMACH = ((-36, -8, 92), (-58, 4, 78), (-62, 26, 52), (-42, 50, 26), (-8, 54, 12), (24, 38, 18))
PANCREAS = ((34, 4, -6), (26, 10, 2), (10, 18, 10), (-14, 18, 14), (-44, -2, 26), (-76, -20, 44))


def paint_lungs(canvas: Canvas, trunk: Trunk, points: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """The lung bases above the diaphragm; gives the distance to its under side, negative below it."""
    x, y, z = points.unbind(dim=-1)
    frame, whole, spacing = trunk.cavity, everywhere(canvas), canvas.spacing_mm
    domes = []
    for cx, top in ((62, 124), (-62, 112), (0, 96)):
        u, v = (x / frame.width - cx) / 64, (y / frame.depth - 6) / 88
        domes.append((z - (top - 70 * (u**2 + v**2)) * frame.height) / (1 + u**2 + v**2).sqrt() / 1.4)
    below = torch.stack(domes).amin(dim=0)
    lung = soft(torch.maximum(hole + 2.0, 2.0 - below), spacing)
    canvas.pour("muscle", whole, soft(torch.maximum(hole, -1.5 - below), spacing))
    canvas.pour("air", whole, lung, name="lungs")
    canvas.map("lung-tissue").add_(lung * 0.17)
    return below


def liver_shape(trunk: Trunk, measures: Mapping[str, float]) -> Shape:
    """The outline of the liver before diaphragm, ribs and kidney press on it."""
    size, frame = measures["liver_scale"], trunk.organs
    wide = trunk.cavity.width / frame.width

    def egg(centre: Point, radii: Point, turn: Point = (0, 0, 0)) -> Shape:
        x, y, z = centre
        a, b, c = radii
        return frame.egg((x * wide, y, 60 + (z - 60) * size), (a * size, b * size, c * size), turn_deg=turn)

    right = egg((66, 0, 44), (66, 78, 90))
    left = egg((-6, 40, 66), (66, 36, 34), (0, -10, 0))
    under = half_space(frame.at(34, 10, 12), (-0.62, 0.1, -0.78))
    return cut(union(right, left, blend_mm=22), _flip(under))


def _flip(space: Shape) -> Shape:
    return Shape(lambda places: -space.distance(places), space.low, space.high)


def paint_liver(canvas: Canvas, trunk: Trunk, measures: Mapping[str, float], room: torch.Tensor, *, seed: int) -> None:
    """Liver within the room left by wall and diaphragm, its vessels, gall bladder and bile duct."""
    frame = trunk.organs
    shape = liver_shape(trunk, measures)
    found = canvas.depth(shape)
    if found is None:
        return
    window, depth = found
    depth = torch.maximum(depth + 1.5 * noise(canvas, window, wavelength_mm=50, seed=seed + 3), room[window] + 3.0)
    share = canvas.soft(depth)
    canvas.pour("liver", window, share, name="liver")
    fatty = measures["liver_fat_share"] * (1 + 0.2 * noise(canvas, window, wavelength_mm=24, seed=seed + 4))
    canvas.mix("liver", "fat", fatty.clamp(0, 0.6), window)
    rng = np.random.default_rng(seed + 5)
    spots = seeds_inside(shape, 420, margin_mm=6.0, rng=rng)
    roots = ((frame.at(26, 6, 28), 7.0), (frame.at(22, -20, 96), 7.5))
    inside = torch.zeros(canvas.shape)
    inside[window] = share
    for half, (root, radius) in enumerate(roots):
        where, vessels = cover_tree(canvas, grow_tree(root, spots[half::2], radius_mm=radius))
        canvas.pour("flowing-blood", where, vessels * inside)
    canvas.paint("bowel", grow(frame.egg((46, 56, 6), (12, 24, 15), turn_deg=(28, 0, 12)), 1.8), name="gall-bladder")
    canvas.paint("bile", frame.egg((46, 56, 6), (12, 24, 15), turn_deg=(28, 0, 12)))
    canvas.paint("bile", frame.pipe([(30, 10, 34), (26, 2, 14), (32, 0, -12)], 2.6), name="bile-duct")


def kidney_place(trunk: Trunk, sign: int) -> tuple[Point, Point]:
    """The middle and the turn of a kidney: upper pole inwards and backwards, hilum forwards and inwards."""
    wide = (trunk.cavity.width / trunk.organs.width) ** 0.5
    centre = trunk.organs.at(sign * 63 * wide, -42, -14 if sign > 0 else 2)
    return centre, (-9.0, sign * 12.0, -sign * 28.0)


def paint_kidneys(canvas: Canvas, trunk: Trunk, measures: Mapping[str, float]) -> None:
    """Both kidneys: cortex, pyramids of medulla, fat of the sinus, and the pelvis with its ureter."""
    for sign in (1, -1):
        centre, turn = kidney_place(trunk, sign)
        half = measures["kidney_length_mm"] / 2
        wide, deep = half * 0.52, half * 0.44
        matrix = rotation(turn)

        def local(
            x: float, y: float, z: float, sign: int = sign, matrix: np.ndarray = matrix, centre: Point = centre
        ) -> Point:
            a, b, c = np.array(centre) + matrix @ np.array([sign * x, y, z])
            return (float(a), float(b), float(c))

        shape = ellipsoid(centre, (wide, deep, half), turn_deg=turn)
        sinus = union(ellipsoid(local(-0.62 * wide, 2, 0), (0.55 * wide, 0.42 * deep, 0.5 * half), turn_deg=turn))
        canvas.paint("fat", grow(shape, 7.0), name="visceral-fat", within="liver")
        canvas.paint("kidney", shape, name="kidneys")
        for level in (-0.66, -0.34, 0.0, 0.34, 0.66):
            reach = (1 - level**2) ** 0.5
            for angle in (-62, 0, 62):
                x, y = np.cos(np.radians(angle)), np.sin(np.radians(angle))
                place = local(0.52 * wide * reach * x - 0.02 * wide, 0.56 * deep * reach * y, level * half)
                size = 0.2 * half * (0.75 + 0.25 * reach)
                canvas.paint("medulla", ellipsoid(place, (size, size * 0.85, size * 0.9)), within="kidney")
        canvas.paint("fat", sinus)
        pelvis = union(
            tube([local(-0.75 * wide, 2, -0.05 * half), local(-0.3 * wide, 1, 0.25 * half)], [4.5, 2.0]),
            tube([local(-0.75 * wide, 2, -0.05 * half), local(-0.3 * wide, 1, -0.28 * half)], [4.5, 2.0]),
        )
        canvas.paint("water", pelvis, name="renal-pelvis")
        exit_mm = local(-1.1 * wide, 3, -0.2 * half)
        drain = [
            local(-0.75 * wide, 2, -0.05 * half),
            exit_mm,
            trunk.organs.at(sign * 38, -24, -80),
            trunk.organs.at(sign * 36, -12, -150),
        ]
        canvas.paint("water", tube(drain, [4.0, 2.2, 1.6, 1.6]))
        canvas.paint(
            "spleen",
            tube([local(-8, -3, half + 8), local(-12, 6, half + 2), local(-20, 2, half - 8)], 3.0),
            name="adrenals",
        )


def paint_solid(canvas: Canvas, trunk: Trunk, measures: Mapping[str, float], room: torch.Tensor, *, seed: int) -> None:
    """Spleen and pancreas."""
    x, y, z = -96 * trunk.cavity.width, -34 * trunk.organs.depth, 60 * trunk.organs.height
    scale = (measures["spleen_ml"] / 200) ** (1 / 3)
    spleen = ellipsoid((x, y, z), (26 * scale, 44 * scale, 50 * scale), turn_deg=(12, -14, 20))
    spleen = cut(spleen, ellipsoid((x + 36 * scale, y + 16, z - 6), (26 * scale, 30 * scale, 40 * scale)))
    found = canvas.depth(spleen)
    if found is not None:
        window, depth = found
        canvas.pour("spleen", window, canvas.soft(torch.maximum(depth, room[window] + 3.0)), name="spleen")
    organ = trunk.organs.pipe(PANCREAS, [14.0, 13.0, 8.5, 8.5, 9.5, 7.0])
    organ = wavy(organ, amplitude_mm=1.6, wavelength_mm=11, seed=seed + 6)
    canvas.paint("pancreas", organ, name="pancreas")
    window = canvas.window(organ)
    if window is not None:
        fat = measures["pancreas_fat_share"] * (1 + 1.4 * noise(canvas, window, wavelength_mm=8, seed=seed + 7))
        canvas.mix("pancreas", "fat", fat.clamp(0, 0.8), window)
    canvas.paint("water", trunk.organs.pipe(PANCREAS, 1.1), strength=0.6)


def paint_vessels(canvas: Canvas, trunk: Trunk, measures: Mapping[str, float]) -> None:
    """Aorta with its branches, the lower caval vein, and the veins that meet in the portal vein."""
    frame, wide = trunk.organs, measures["aorta_mm"] / 2
    pipe = frame.pipe
    canvas.paint(
        "flowing-blood",
        pipe([(22, -20, 130), (22, -20, 40), (20, -18, -60), (8, -16, -80)], [11.5, 11.0, 10.0, 9.0]),
        name="vena-cava",
    )
    for sign in (1, -1):
        canvas.paint("flowing-blood", pipe([(8, -18, -78), (sign * 30 + 4, -24, -150)], [8.5, 7.0]))
        canvas.paint("flowing-blood", pipe([(-8, -18, -66), (sign * 28 - 4, -14, -150)], [wide * 0.66, wide * 0.55]))
        renal = [(-8, -18, 0), (sign * 24, -26, -4), (sign * 44, -32, -8 if sign > 0 else 2)]
        canvas.paint("flowing-blood", pipe(renal, [3.4, 3.0, 2.6]))
        vein = [(20, -14, -2), (sign * 26, -18, -4), (sign * 46, -30, -10 if sign > 0 else 4)]
        canvas.paint("flowing-blood", pipe(vein, [5.0, 4.6, 4.2]))
    aorta = pipe([(-10, -26, 130), (-9, -22, 40), (-8, -16, -66)], [wide * 1.1, wide, wide * 0.9])
    canvas.paint("muscle", grow(aorta, 1.4))
    canvas.paint("flowing-blood", aorta, name="aorta")
    canvas.paint("flowing-blood", pipe([(-8, -14, 12), (-5, 6, -8), (-2, 16, -90)], [3.8, 3.6, 2.4]))
    canvas.paint("flowing-blood", pipe([(-9, -14, 30), (2, 2, 36), (26, 8, 30)], [3.6, 3.0, 2.4]))
    canvas.paint("flowing-blood", pipe([(8, 18, -90), (10, 14, -10), (10, 10, 6)], [3.4, 5.0, 5.6]))
    canvas.paint(
        "flowing-blood",
        pipe([(-72, -22, 44), (-40, -6, 24), (10, 9, 7), (20, 8, 22), (28, 6, 30)], [3.6, 4.2, 5.4, 6.4, 6.8]),
        name="portal-vein",
    )


def paint_gut(canvas: Canvas, trunk: Trunk, measures: Mapping[str, float], *, seed: int) -> None:
    """Stomach, duodenum, loops of small bowel and the colon; gas gathers in front, where it is highest."""
    frame, cavity = trunk.organs, trunk.cavity
    y = canvas.points()[..., 1]
    duodenum = [
        frame.at(*place)
        for place in ((28, 36, 20), (50, 16, 14), (54, 0, -18), (40, -6, -44), (0, -2, -42), (-22, 8, -20))
    ]
    _loop(canvas, [duodenum], (10.5, 8.0), "duodenum", seed=seed + 8, gas=-1.6 + 0 * y)
    _loop(
        canvas,
        _small_bowel(trunk, seed=seed),
        (11.0, 8.8),
        "small-bowel",
        seed=seed + 9,
        gas=(y - 62 * cavity.depth) / 12 - 0.4,
    )
    colon = [cavity.at(x, b, z) for x, b, z in COLON]
    level = (y - 45 * cavity.depth) / 14 + 2.6 * (measures["bowel_gas"] - 0.5)
    _loop(canvas, [_bent(colon)], (19.0, 16.6), "colon", seed=seed + 10, gas=level)
    stomach = wavy(
        union(*(tube([cavity.at(*a), cavity.at(*b)], [r, s]) for (a, r), (b, s) in _pairs()), blend_mm=10),
        amplitude_mm=1.0,
        wavelength_mm=30,
        seed=seed,
    )
    found = canvas.depth(stomach)
    if found is not None:
        window, depth = found
        canvas.pour("bowel", window, canvas.soft(depth), name="stomach")
        canvas.pour("water", window, canvas.soft(depth + 4.0) * 0.75)
        canvas.pour(
            "stool",
            window,
            canvas.soft(depth + 4.0) * (0.3 + 0.2 * noise(canvas, window, wavelength_mm=16, seed=seed)).clamp(0, 0.8),
        )
        canvas.pour("air", window, canvas.soft(depth + 4.0) * soft(40 * cavity.depth - y[window], canvas.spacing_mm))


def _pairs() -> list[tuple[tuple[Point, float], tuple[Point, float]]]:
    wide = (20.0, 30.0, 29.0, 22.0, 16.0, 11.0)
    places = list(zip(STOMACH, wide, strict=True))
    return list(itertools.pairwise(places))


def _bent(line: list[Point]) -> list[Point]:
    """A line through the points with many more between, curved."""
    from scipy.interpolate import PchipInterpolator

    places = np.array(line)
    steps = np.linspace(0, len(line) - 1, 12 * len(line))
    fine = PchipInterpolator(np.arange(len(line)), places)(steps)
    return [(float(a), float(b), float(c)) for a, b, c in fine]


def _small_bowel(trunk: Trunk, *, seed: int) -> list[list[Point]]:
    """Loops laid to and fro in the middle of the belly, three layers deep."""
    rng = np.random.default_rng(seed + 11)
    lines = []
    for level in np.arange(-150, -30, 25.0):
        for front in (16, 40, 63):
            count = 26
            steps = np.linspace(0, 1, count)
            phase, waves = rng.uniform(0, 6.28), rng.uniform(2.5, 3.6)
            x = (steps - 0.5) * 2 * rng.uniform(62, 74)
            y = front + 9 * np.sin(waves * 6.28 * steps * 0.7 + rng.uniform(0, 6.28)) + rng.normal(0, 2)
            z = level + 12 * np.sin(waves * 6.28 * steps + phase) + rng.normal(0, 3)
            lines.append([trunk.cavity.at(float(a), float(b), float(c)) for a, b, c in zip(x, y, z, strict=True)])
    return lines


def _loop(
    canvas: Canvas, lines: list[list[Point]], radii: tuple[float, float], name: str, *, seed: int, gas: torch.Tensor
) -> None:
    """Bowel along lines: wall, contents, folds, and gas where `gas` (plus chance) is above 0; only where fat was."""
    whole = everywhere(canvas)
    outer, inner = radii
    wall = cover_tree(canvas, branches(lines, outer))[1]
    free = canvas.truth["visceral-fat"].clamp(0, 1)
    fold = noise(canvas, whole, wavelength_mm=13 if outer < 15 else 26, seed=seed)
    lumen = cover_tree(canvas, branches(lines, inner))[1] * (1.15 - 0.35 * (fold > 0.9).float()).clamp(0, 1)
    lumen = torch.minimum(lumen, wall) * free
    canvas.pour("bowel", whole, wall * free, name=name)
    contents = noise(canvas, whole, wavelength_mm=30, seed=seed + 1)
    canvas.pour("stool", whole, lumen * (0.9 if outer > 15 else 0.55))
    if outer < 15:
        canvas.pour("water", whole, lumen * (0.45 + 0.2 * contents).clamp(0, 0.9))
    canvas.pour("air", whole, lumen * (0.5 + 1.5 * (gas + 0.5 * contents)).clamp(0, 1))
