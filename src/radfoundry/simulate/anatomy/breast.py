"""Both breasts, hanging as in an MR coil: skin, nipple, fat, gland in lobes between ligaments, and the chest wall."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from radfoundry.simulate.anatomy.breast_findings import draw_findings, paint_findings
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.regions import Anatomy, Region
from radfoundry.simulate.anatomy.shapes import Shape, ellipsoid, grow, loft, tube, union
from radfoundry.simulate.anatomy.texture import Window, everywhere, noise, soft
from radfoundry.simulate.anatomy.trees import branches, cover_tree, grow_tree
from radfoundry.simulate.body import Body

LOW_MM, HIGH_MM = (-175.0, -75.0, -90.0), (175.0, 120.0, 90.0)
KINDS = ("breast-mass", "calcifications")
ORGANS = ("breast-right", "breast-left", "gland", "nipples", "pectoral-muscle", "ribs", "lungs", "heart")
# Share of the breast that is gland in density classes a to d: limits of volumetric density 3.5, 7.5 and 15.5 %
# (Gubern-Merida 2014, Eur Radiol 24:1785; van der Waal 2015, PLoS One 10:e0136667).
DENSITY_SHARE = ((0.018, 0.035), (0.035, 0.075), (0.075, 0.155), (0.155, 0.34))
# How often each class is seen by age 40 and by age 75: Sprague 2014, J Natl Cancer Inst 106:dju255.
CLASSES_AT_40, CLASSES_AT_75 = (0.06, 0.32, 0.49, 0.13), (0.15, 0.52, 0.30, 0.03)
LIGAMENT_MM = 0.7


def draw_breast(rng: np.random.Generator, *, age_years: float, sex: str, findings: tuple[str, ...] = ()) -> Anatomy:
    """Draw one woman's breasts: sizes, density class by age, and findings with their place.

    Volumes spread about 700 ml a side (Huang 2011, Med Phys 38:2180: mean 14 cm across, 7 cm from wall to nipple).
    A man gets what little he has: 10-20 mm of fat and a thin disc of gland.
    """
    share = float(np.clip((age_years - 40) / 35, 0, 1))
    odds = np.array(CLASSES_AT_40) * (1 - share) + np.array(CLASSES_AT_75) * share
    density = int(rng.choice(4, p=odds / odds.sum()))
    female = sex == "F"
    measures = {
        "projection_mm": float(np.clip(rng.normal(72, 14), 42, 104)) if female else float(rng.uniform(12, 20)),
        "half_width_mm": float(np.clip(rng.normal(67, 6), 54, 78)) if female else 50.0,
        "half_height_mm": float(np.clip(rng.normal(66, 6), 52, 78)) if female else 45.0,
        "asymmetry": float(rng.normal(0, 0.03)),
        "density_class": float(density),
        "gland_share": float(rng.uniform(*DENSITY_SHARE[density])) * (1 if female else 0.3),
        "skin_mm": float(rng.uniform(1.3, 2.0)),
        "muscle_mm": float(rng.uniform(9, 13)),
    }
    measures = {name: round(value, 4) for name, value in measures.items()}
    found = draw_findings(rng, findings, measures)
    return Anatomy("breast", age_years, sex, measures, int(rng.integers(2**31)), found)


def breast_shape(measures: Mapping[str, float], sign: int) -> Shape:
    """One breast with its skin, without the chest wall: hanging, fuller below the middle and to the side."""
    size = 1 + sign * measures["asymmetry"]
    wide, long, high = (measures[key] * size for key in ("half_width_mm", "projection_mm", "half_height_mm"))
    x = sign * 82.0
    root = ellipsoid((x, -14, 0), (wide, 14 + long * 0.72, high))
    tip = ellipsoid((x + sign * 3, long * 0.42, -3), (wide * 0.72, long * 0.58, high * 0.74))
    return union(root, tip, blend_mm=22.0)


def _wall() -> Shape:
    levels = [-130, -60, 0, 60, 130]
    return loft(levels, [(0.0, -104.0)] * 5, [(150, 94), (152, 98), (150, 98), (144, 92), (128, 82)], exponent=2.3)


def build_breast(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """Both breasts of one person as tissues on a grid; the front of the chest behind them."""
    measures, seed = anatomy.measures, anatomy.texture_seed
    canvas = Canvas(LOW_MM, HIGH_MM, spacing_mm)
    whole, points = everywhere(canvas), canvas.points()
    wall = _wall().distance(points)
    breasts = {sign: breast_shape(measures, sign) for sign in (1, -1)}
    depth = {sign: shape.distance(points) for sign, shape in breasts.items()}
    surface = wall - 9.0
    for distance in depth.values():
        share = (0.5 + 0.5 * (distance - surface) / 26.0).clamp(0, 1)
        surface = distance * (1 - share) + surface * share - 26.0 * share * (1 - share)
    surface = surface + 0.5 * noise(canvas, whole, wavelength_mm=50, seed=seed)
    canvas.pour("skin", whole, soft(surface, spacing_mm))
    inner = soft(surface + measures["skin_mm"], spacing_mm)
    canvas.pour("fat", whole, inner)
    for sign, name in ((1, "breast-right"), (-1, "breast-left")):
        ahead = (points[..., 0] * sign > 0) & (wall > 1)
        canvas.truth[name] = soft(torch.maximum(surface, depth[sign] - 6.0), spacing_mm) * ahead
    _paint_gland(canvas, measures, surface, wall, depth, seed=seed)
    _paint_wall(canvas, measures, wall, seed=seed)
    _paint_nipples(canvas, measures)
    paint_findings(canvas, anatomy.findings, inner * (wall > 2), seed=seed)
    return canvas.body()


def nipple_mm(measures: Mapping[str, float], sign: int) -> tuple[float, float, float]:
    """Where the nipple sits."""
    return (sign * 87.0, measures["projection_mm"] * (1 + sign * measures["asymmetry"]) - 1.0, -4.0)


def _paint_gland(
    canvas: Canvas,
    measures: Mapping[str, float],
    surface: torch.Tensor,
    wall: torch.Tensor,
    depth: Mapping[int, torch.Tensor],
    *,
    seed: int,
) -> None:
    """Ligaments round lobules of fat, and gland where lobes are dense: a cone from the nipple to the wall."""
    for sign in (1, -1):
        window = _half(canvas, sign)
        points, below = canvas.points(window), -surface[window]
        room = (below > 4.0) & (wall[window] > measures["muscle_mm"] + 2) & (depth[sign][window] < 0)
        if not room.any():
            continue
        bent = torch.stack(
            [noise(canvas, window, wavelength_mm=16, seed=seed + 33 + axis)[room] for axis in range(3)], dim=-1
        )
        cell, border = _cells(points[room] + 3.0 * bent, sign, seed=seed + sign)
        nipple = torch.tensor(nipple_mm(measures, sign))
        tip, heart = points[room] - nipple, torch.tensor([nipple[0], 0.35 * nipple[1], 2.0])
        cone = (points[room] - heart) / torch.tensor(
            [measures["half_width_mm"] * 0.8, nipple[1] * 0.62 + 4, measures["half_height_mm"] * 0.8]
        )
        fine = noise(canvas, window, wavelength_mm=11, seed=seed + 31)[room]
        score = -1.5 * cone.norm(dim=-1) + 0.55 * cell + 0.35 * fine - 0.3 * torch.exp(-tip.norm(dim=-1) / 12)
        score = score - 2.5 * torch.exp(-below[room] / 4.0)
        breast = float(canvas.truth["breast-right" if sign > 0 else "breast-left"].sum())
        wanted = min(0.9, measures["gland_share"] * breast / float(room.sum()))
        limit = torch.quantile(score[:: max(1, len(score) // 200000)], 1 - wanted)
        gland = ((score - limit) / 0.16 + 0.5).clamp(0, 1)
        share = torch.zeros(points.shape[:-1])
        share[room] = gland
        ligament = torch.zeros(points.shape[:-1])
        ligament[room] = (1 - border / (LIGAMENT_MM / 2 + canvas.spacing_mm / 2)).clamp(0, 1) * min(
            1.0, 2 * LIGAMENT_MM / (canvas.spacing_mm + LIGAMENT_MM)
        )
        fat = canvas.map("fat")[window].clamp(0, 1)
        canvas.pour("fibrous", window, ligament * fat * 0.38)
        canvas.pour("glandular", window, share * fat, name="")
        kept = canvas.truth.setdefault("gland", torch.zeros(canvas.shape))
        kept[window] += share * fat
        seeds = points[room][gland > 0.5].numpy()
        if len(seeds) > 40:
            picked = np.random.default_rng(seed + 40 + sign).choice(len(seeds), 40, replace=False)
            ducts = grow_tree(nipple_mm(measures, sign), seeds[np.sort(picked)], radius_mm=2.2)
            where, share = cover_tree(canvas, ducts)
            canvas.pour("glandular", where, share * (canvas.map("fat").clamp(0, 1) > 0.2) * 0.8)


def _half(canvas: Canvas, sign: int) -> Window:
    i, j, k = canvas.shape
    middle = round(-canvas.low_mm[0] / canvas.spacing_mm)
    return (slice(middle, i) if sign > 0 else slice(0, middle), slice(0, j), slice(0, k))


def _cells(places: torch.Tensor, sign: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """For every place the random value of its lobule, and the distance in mm to the wall of the lobule."""
    from scipy.spatial import KDTree

    rng = np.random.default_rng(seed)
    spots = rng.uniform((10, -30, -90), (170, 120, 90), size=(700, 3)) * (sign, 1, 1)
    values = rng.standard_normal(700)
    distance, index = KDTree(spots).query(places.numpy(), k=2)
    border = torch.from_numpy((distance[:, 1] - distance[:, 0]) / 2).float()
    return torch.from_numpy(values[index[:, 0]]).float(), border


def _paint_wall(canvas: Canvas, measures: Mapping[str, float], wall: torch.Tensor, *, seed: int) -> None:
    """Pectoral muscle, ribs, lungs and the front of the heart."""
    whole, spacing = everywhere(canvas), canvas.spacing_mm
    points = canvas.points()
    muscle = soft(wall - measures["muscle_mm"], spacing) * soft(6 - points[..., 0].abs(), spacing)
    strands = (noise(canvas, whole, wavelength_mm=14, seed=seed + 5) * 0.22).clamp(0, 0.35)
    canvas.pour("muscle", whole, muscle * (1 - strands), name="pectoral-muscle")
    canvas.pour("fat", whole, soft((wall + 1.0).abs() - 1.0, spacing) * 0.7)
    canvas.pour("muscle", whole, soft(wall + 2.0, spacing))
    lines = []
    for level in np.arange(-130, 150, 27.0):
        angles = np.radians(np.linspace(15, 165, 16))
        across, front = 143 * np.cos(angles), -104 + 91 * np.sin(angles)
        lines.append(
            list(zip(across.tolist(), front.tolist(), (level + 26 * np.cos(angles) ** 2).tolist(), strict=True))
        )
    ribs = branches(lines, 5.0)
    canvas.pour("bone", *cover_tree(canvas, ribs), name="ribs")
    window, inner = cover_tree(canvas, ribs, widen_mm=-1.4)
    canvas.pour("red-marrow", window, inner * 0.85)
    lung = torch.maximum(wall + 12.0, 9.0 + 0.02 * (points[..., 1] + 20) ** 2 * 0.1 - points[..., 0].abs())
    share = soft(lung, spacing)
    canvas.pour("fat", whole, soft(wall + 12.0, spacing))
    canvas.pour("air", whole, share, name="lungs")
    canvas.map("lung-tissue").add_(share * 0.15 * (1 + 0.1 * noise(canvas, whole, wavelength_mm=12, seed=seed + 6)))
    heart = ellipsoid((-26, -58, -40), (60, 36, 50))
    canvas.paint("fat", grow(heart, 3.0))
    canvas.paint("muscle", heart, name="heart")
    canvas.paint("flowing-blood", ellipsoid((-10, -44, -36), (38, 15, 36)))
    canvas.paint("flowing-blood", ellipsoid((-52, -66, -42), (24, 18, 32)))
    canvas.paint("bone", ellipsoid((0, -14, 0), (17, 6, 100)))
    canvas.paint("red-marrow", ellipsoid((0, -14, 0), (15, 4.5, 98)), strength=0.85)


def _paint_nipples(canvas: Canvas, measures: Mapping[str, float]) -> None:
    for sign in (1, -1):
        x, y, z = nipple_mm(measures, sign)
        canvas.paint("skin", tube([(x, y - 5, z), (x, y + 5, z)], [7.0, 4.5]), name="nipples")


BREAST = Region(
    name="breast",
    draw=draw_breast,
    build=build_breast,
    kinds=KINDS,
    organs=ORGANS,
    centre_mm=(0.0, 22.5, 0.0),
    field_of_view_mm=(350.0, 195.0, 180.0),
    plane="axial",
    protocols=("T1w", "T2w", "T2w-fat-suppressed"),
    modalities=("MR", "MG", "US"),
)
