"""What lies inside the rib cage: lungs with lobes and trees, heart, great vessels, airways, upper abdomen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.shapes import Point, Shape, ellipsoid, grow, union
from radfoundry.simulate.anatomy.texture import everywhere, noise, soft
from radfoundry.simulate.anatomy.trees import Tree, cover_tree, grow_tree
from radfoundry.simulate.anatomy.trunk import Frame

LOBES = ("right-upper-lobe", "right-middle-lobe", "right-lower-lobe", "left-upper-lobe", "left-lower-lobe")
# Share of a lung voxel that is tissue and blood in the smallest vessels, the rest air: -850 HU at full inspiration
# (Gattinoni 2001, Am J Respir Crit Care Med 164:1701), denser towards the lowest side (Millar 1989, Thorax 44:485).
LUNG_SHARE = 0.143
WALL_MM = 9.5  # ribs, muscle between them and pleura


@dataclass(frozen=True, eq=False)
class Inside:
    """The chest with everything that findings need: frame, places, distances `(I, J, K)` in mm and lobes.

    `ring` is the distance to the outside of the rib cage, `lung` to the surface of the lungs, `lobes` the share of
    every voxel in each lobe, `fissure` the distance to the nearest fissure, `up` the height against gravity.
    """

    frame: Frame
    points: torch.Tensor
    ring: torch.Tensor
    lung: torch.Tensor
    lobes: Mapping[str, torch.Tensor]
    fissure: torch.Tensor
    up: torch.Tensor

    def side(self, name: str) -> torch.Tensor:
        """The share of every voxel in the lung of one side."""
        return sum((share for lobe, share in self.lobes.items() if lobe.startswith(name)), torch.zeros(()))


def heart_parts(frame: Frame, measures: Mapping[str, float]) -> dict[str, Shape]:
    """The whole heart and its chambers; as wide as the drawn cardiothoracic ratio makes it."""
    width = measures["cardiothoracic_ratio"] * (measures["thorax_width_mm"] - 2 * WALL_MM)
    wide = width / 121.0
    other = wide**0.7
    shift = measures["mediastinal_shift_mm"]

    def part(centre: Point, radii: Point, turn: Point = (0.0, 0.0, 0.0)) -> Shape:
        x, y, z = centre
        place = (-18 * frame.width + shift + (x + 18) * wide, y * frame.depth, (z + 32) * other - 32 * frame.height)
        return ellipsoid(place, (radii[0] * wide, radii[1] * other, radii[2] * other), turn_deg=turn)

    muscle = union(
        part((-40, 20, -42), (39, 34, 38)),
        part((-8, 38, -42), (46, 27, 36)),
        part((22, 16, -24), (21, 27, 34)),
        part((-4, -12, -12), (34, 20, 24)),
        blend_mm=16.0,
    )
    return {
        "heart": muscle,
        "left-ventricle": part((-38, 17, -38), (26, 22, 25)),
        "right-ventricle": part((-6, 44, -40), (37, 16, 26), (0, 0, 14)),
        "right-atrium": part((23, 15, -23), (16, 21, 27)),
        "left-atrium": part((-4, -13, -12), (29, 15, 19)),
    }


def dome_mm(points: torch.Tensor, frame: Frame, measures: Mapping[str, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """The height of the diaphragm above every place, and how steep it is there (as 1 / cosine)."""
    x, y = points[..., 0] / frame.width, points[..., 1] / frame.depth
    tops = (measures["right_dome_mm"], measures["left_dome_mm"], (-78.0) * frame.height)
    places = ((72, 8, 66, 96), (-72, 8, 64, 94), (-10, 24, 72, 80))
    height, steep = torch.full_like(x, -1e6), torch.ones_like(x)
    for top, (cx, cy, wide, deep) in zip(tops, places, strict=True):
        u, v = (x - cx) / wide, (y - cy) / deep
        here = top - 70 * frame.height * (u**2 + v**2)
        slope = (1 + (140 / wide * u) ** 2 + (140 / deep * v) ** 2).sqrt()
        steep = torch.where(here > height, slope, steep)
        height = torch.maximum(height, here)
    return height, steep


def inside_of(canvas: Canvas, frame: Frame, measures: Mapping[str, float], ring: torch.Tensor, *, seed: int) -> Inside:
    """Where lungs and lobes lie, before anything is painted."""
    points = canvas.points()
    z = points[..., 2]
    height, steep = dome_mm(points, frame, measures)
    above = (height - z) / steep
    middle = torch.full(canvas.shape, 40.0)
    found = canvas.depth(grow(_mediastinum(frame, measures), 12.0))
    if found is not None:
        middle[found[0]] = found[1] + 12.0
    apex = (z - 116 * frame.height) * 0.9
    lung = torch.stack([ring + WALL_MM, -middle, above, apex]).amax(dim=0)
    waves = noise(canvas, everywhere(canvas), wavelength_mm=70, seed=seed + 11)
    share = soft(lung, canvas.spacing_mm)
    right = (points[..., 0] > measures["mediastinal_shift_mm"]).float()
    fissures = fissures_mm(points / torch.tensor([frame.width, frame.depth, frame.height]), waves)
    lower = [soft(value, canvas.spacing_mm) for value in fissures]
    parts = (
        right * (1 - lower[0]) * (1 - lower[2]),
        right * (1 - lower[0]) * lower[2],
        right * lower[0],
        (1 - right) * (1 - lower[1]),
        (1 - right) * lower[1],
    )
    up = z if measures["upright"] else points[..., 1]
    lobes = {name: part * share for name, part in zip(LOBES, parts, strict=True)}
    oblique = torch.where(right > 0, fissures[0], fissures[1])
    level = torch.where((right > 0) & (fissures[0] > 0), fissures[2].abs(), torch.full_like(z, 99.0))
    return Inside(frame, points, ring, lung, lobes, torch.minimum(oblique.abs(), level), up)


def fissures_mm(reference: torch.Tensor, waves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Signed distances to the right and left oblique and the horizontal fissure; negative below them.

    The oblique fissure runs from the fourth vertebra to the diaphragm behind the sixth costal cartilage, the
    horizontal one along the fourth rib (Gray's Anatomy, 41st ed., chapter 54).
    """
    _, y, z = reference.unbind(dim=-1)
    right = (z - 52 + 0.80 * (y + 85) + 2.5 * waves) / 1.28
    left = (z - 58 + 0.86 * (y + 85) + 2.5 * waves) / 1.32
    return right, left, z - 4 - 0.1 * (y - 30) + 2.5 * waves


def _mediastinum(frame: Frame, measures: Mapping[str, float]) -> Shape:
    """All that keeps the lungs apart: heart with its fat, great vessels, spine, and the fat behind the breastbone."""
    shift = measures["mediastinal_shift_mm"] / frame.width
    levels = [-170, -60, 0, 30, 60, 90, 125, 160]
    sides = [shift * share for share in (0.4, 0.8, 1.0, 0.9, 0.7, 0.4, 0.1, 0.0)]
    backs = [-32, -32, -24, -20, -16, -15, -22, -26]
    radii = [(20, 26), (20, 26), (25, 32), (31, 38), (31, 38), (29, 36), (27, 26), (26, 26)]
    column = frame.column(levels, list(zip(sides, backs, strict=True)), radii)
    front = frame.column([-90, 110], [(shift, 44), (0, 20)], [(7, 60), (7, 60)])
    spine = frame.column(
        [-170, -60, 20, 80, 130], [(0, -56), (0, -64), (0, -68), (0, -60), (0, -48)], [(22, 20)] * 2 + [(19, 18)] * 3
    )
    heart = grow(heart_parts(frame, measures)["heart"], 3.5)
    vessels = grow(union(*_aorta(frame, measures)), 2.5)
    return union(column, front, heart, vessels, spine, blend_mm=8.0)


def _aorta(frame: Frame, measures: Mapping[str, float]) -> list[Shape]:
    shift, wide = measures["mediastinal_shift_mm"], measures["aorta_mm"] / 2
    rising = [(-6, 18, -2), (10, 22, 26), (12, 16, 52), (2, 4, 70), (-12, -18, 74), (-21, -38, 66), (-24, -46, 48)]
    falling = [(-24, -46, 48), (-23, -47, 0), (-16, -46, -60), (-6, -38, -110), (-4, -34, -170)]
    weights = [1.0, 1.0, 0.9, 0.7, 0.5, 0.3, 0.2]
    moved = [(x + shift * share / frame.width, y, z) for (x, y, z), share in zip(rising, weights, strict=True)]
    first = frame.pipe(moved, [wide, wide, wide, wide * 0.92, wide * 0.86, wide * 0.8, wide * 0.76])
    second = frame.pipe([moved[-1], *falling[1:]], [wide * 0.76, wide * 0.74, wide * 0.72, wide * 0.7, wide * 0.62])
    return [first, second]


def paint_organs(canvas: Canvas, inside: Inside, measures: Mapping[str, float], *, seed: int) -> None:
    """Everything inside the rib cage but the lungs' vessels: fat, diaphragm, upper abdomen, heart, vessels, lungs."""
    frame, whole, spacing = inside.frame, everywhere(canvas), canvas.spacing_mm
    inner = soft(inside.ring + WALL_MM, spacing)
    canvas.pour("fat", whole, inner)
    height, steep = dome_mm(inside.points, frame, measures)
    below = (inside.points[..., 2] - height) / steep  # negative under the diaphragm
    canvas.pour("muscle", whole, inner * soft(below, spacing))
    _paint_abdomen(canvas, inside, below, measures)
    _paint_heart(canvas, frame, measures)
    fraction = lung_share(canvas, inside, measures, seed=seed)
    for name, share in inside.lobes.items():
        canvas.pour("air", whole, share, name=name)
    lung = canvas.map("lung-tissue")
    for share in inside.lobes.values():
        lung += share * fraction
    _paint_vessels(canvas, frame, measures)


def lung_share(canvas: Canvas, inside: Inside, measures: Mapping[str, float], *, seed: int) -> torch.Tensor:
    """The share of tissue in every lung voxel: mottled, denser on the lowest side, lower with emphysema of age."""
    mottled = noise(canvas, everywhere(canvas), wavelength_mm=18, seed=seed + 12)
    height = (inside.up / 100).clamp(-1, 1)
    share = measures["lung_tissue_share"] * (1 - 0.22 * height + 0.05 * mottled)
    line = (1 - inside.fissure / canvas.spacing_mm).clamp(0, 1)
    return (share + line * min(1.0, 1.0 / canvas.spacing_mm) * 0.3).clamp(0, 1)


def _paint_abdomen(canvas: Canvas, inside: Inside, below: torch.Tensor, measures: Mapping[str, float]) -> None:
    """The tops of liver, stomach and spleen, and fat around them."""
    frame, whole, spacing = inside.frame, everywhere(canvas), canvas.spacing_mm
    deep = torch.maximum(inside.ring + WALL_MM + 1.5, below + 3.0)
    canvas.pour("fat", whole, soft(deep + 0.5, spacing))
    x, y, z = inside.points.unbind(dim=-1)
    edge = (-42 * frame.width - x) * 0.75 - (y - 20) * 0.35 - (z + 90) * 0.35
    spine_side = 48 * frame.width - (x**2 + ((y + 75 * frame.depth) * 0.9) ** 2).sqrt()
    canvas.pour("liver", whole, soft(torch.stack([deep, edge, spine_side]).amax(dim=0), spacing), name="liver")
    stomach = frame.egg((-58, 14, measures["left_dome_mm"] / frame.height - 42), (38, 44, 38))
    wall = torch.maximum(stomach.distance(inside.points), deep + 1.0)
    canvas.pour("bowel", whole, soft(wall, spacing), name="stomach")
    lumen = soft(wall + 3.5, spacing)
    level = (measures["left_dome_mm"] - 34) if measures["upright"] else 22.0 * frame.depth
    gas = soft(level - inside.up, spacing)
    canvas.pour("water", whole, lumen * (1 - gas))
    canvas.pour("air", whole, lumen * gas)
    spleen = frame.egg((-96, -46, -104), (27, 46, 50), turn_deg=(0, -14, 18))
    place = torch.maximum(spleen.distance(inside.points), deep + 1.0)
    canvas.pour("spleen", whole, soft(place, spacing), name="spleen")


def _paint_heart(canvas: Canvas, frame: Frame, measures: Mapping[str, float]) -> None:
    parts = heart_parts(frame, measures)
    canvas.paint("fat", grow(parts["heart"], 3.5))
    canvas.paint("muscle", parts["heart"], name="heart")
    for name, chamber in parts.items():
        if name != "heart":
            canvas.paint("blood", chamber)


def _paint_vessels(canvas: Canvas, frame: Frame, measures: Mapping[str, float]) -> None:
    shift = measures["mediastinal_shift_mm"] / frame.width

    def pipe(points: list[Point], radii: list[float] | float) -> Shape:
        return frame.pipe([(x + shift * min(1.0, max(0.0, 1 - z / 150)), y, z) for x, y, z in points], radii)

    scale = measures["aorta_mm"] / 33
    canvas.paint("blood", pipe([(-14, 42, -8), (-19, 26, 20), (-18, 14, 31)], 13.0 * scale), name="pulmonary-artery")
    canvas.paint("blood", pipe([(-18, 14, 31), (-36, -10, 34), (-50, -28, 24)], [12.0, 11.0, 8.5]))
    canvas.paint("blood", pipe([(-16, 12, 29), (10, 2, 27), (40, -18, 20)], [11.5, 10.5, 8.5]))
    for shape in _aorta(frame, measures):
        canvas.paint("muscle", grow(shape, 1.4))
    for shape in _aorta(frame, measures):
        canvas.paint("blood", shape, name="aorta")
    canvas.paint("blood", pipe([(22, 12, -4), (22, 8, 55), (22, 10, 84)], [10.0, 9.0, 8.0]))
    canvas.paint("blood", pipe([(22, 10, 84), (-16, 16, 92), (-44, 6, 104)], [7.5, 6.5, 6.5]))
    canvas.paint("blood", pipe([(22, 10, 84), (32, 2, 106)], 7.0))
    canvas.paint("blood", pipe([(22, 2, -40), (24, -8, -90), (22, -16, -170)], 11.5))
    for root, top in (
        ((4, -2, 76), (22, -12, 124)),
        ((-9, -14, 78), (-22, -20, 126)),
        ((-18, -30, 74), (-40, -30, 112)),
    ):
        canvas.paint("blood", pipe([root, top], [6.0, 4.5]))
    canvas.paint("muscle", pipe([(-3, -34, 170), (-4, -38, 50), (-6, -34, -40), (-22, -10, -92)], 7.5))
    canvas.paint("air", pipe([(-3, -34, 170), (-4, -38, 60)], 1.8))
    _paint_windpipe(canvas, pipe, measures)


def _paint_windpipe(canvas: Canvas, pipe, measures: Mapping[str, float]) -> None:  # noqa: ANN001
    wide = measures["trachea_mm"] / 2
    parts = [
        pipe([(0, -14, 170), (1, -20, 110), (2, -28, 54)], wide),
        pipe([(2, -28, 54), (22, -32, 38), (36, -34, 20)], [wide * 0.9, wide * 0.85, wide * 0.75]),
        pipe([(2, -28, 54), (-20, -32, 34), (-40, -34, 20)], [wide * 0.85, wide * 0.75, wide * 0.65]),
    ]
    for part in parts:
        canvas.paint("cartilage", grow(part, 1.6))
    for part in parts:
        canvas.paint("air", part, name="trachea")


def lung_trees(inside: Inside, measures: Mapping[str, float], *, seed: int) -> dict[str, list[Tree]]:
    """Arteries, veins and airways of both lungs."""
    rng = np.random.default_rng(seed + 13)
    made: dict[str, list[Tree]] = {"arteries": [], "veins": [], "airways": []}
    lung, frame = inside.lung.reshape(-1), inside.frame
    shift = measures["mediastinal_shift_mm"]
    for sign in (1, -1):
        spots = rng.uniform((-170, -120, -160), (170, 120, 125), size=(26000, 3))
        index = _nearest(inside, spots)
        deep = (lung[index] < -3.0).numpy()
        spots = spots[deep & ((spots[:, 0] > shift) == (sign > 0))]
        half = len(spots) // 2
        x = sign * 44 * frame.width + shift
        roots = {"arteries": (x, -24.0, 19.0), "veins": (sign * 34 * frame.width + shift, -10.0, -4.0)}
        made["arteries"].append(grow_tree(roots["arteries"], spots[: min(420, half)], radius_mm=7.6))
        made["veins"].append(grow_tree(roots["veins"], spots[half : half + 300], radius_mm=6.4))
        airway = (sign * 38 * frame.width + shift, -34.0 * frame.depth, 20.0 * frame.height)
        made["airways"].append(grow_tree(airway, spots[-60:], radius_mm=5.2))
    return made


def _nearest(inside: Inside, spots: np.ndarray) -> torch.Tensor:
    first, last = inside.points[0, 0, 0], inside.points[-1, -1, -1]
    size = torch.tensor(inside.lung.shape)
    place = (torch.from_numpy(spots).float() - first) / (last - first) * (size - 1)
    i, j, k = place.round().long().clamp_min(0).minimum(size - 1).unbind(dim=-1)
    return (i * size[1] + j) * size[2] + k


def paint_trees(canvas: Canvas, inside: Inside, trees: Mapping[str, list[Tree]]) -> None:
    """The vessels of the lungs as blood, the airways as tubes of air with thin walls; only inside the lungs."""
    lung = soft(inside.lung, canvas.spacing_mm)
    for tree in (*trees["arteries"], *trees["veins"]):
        window, share = cover_tree(canvas, tree)
        canvas.pour("blood", window, share * lung)
    for tree in trees["airways"]:
        window, outer = cover_tree(canvas, tree, widen_mm=0.9)
        canvas.pour("cartilage", window, outer * lung * 0.8)
        canvas.pour("air", window, cover_tree(canvas, tree)[1] * lung)
