"""The abdomen: drawn as numbers for one person, with body composition as known truth, then built with findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from radfoundry.simulate.anatomy.abdomen_organs import (
    kidney_place,
    paint_gut,
    paint_kidneys,
    paint_liver,
    paint_lungs,
    paint_solid,
    paint_vessels,
)
from radfoundry.simulate.anatomy.abdomen_wall import Trunk, paint_bones, paint_wall, trunk_of
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.regions import Anatomy, Finding, Region
from radfoundry.simulate.anatomy.shapes import ellipsoid, wavy
from radfoundry.simulate.body import Body

LOW_MM, HIGH_MM = (-190.0, -145.0, -120.0), (190.0, 145.0, 120.0)
KINDS = ("liver-lesion", "kidney-cyst", "kidney-stone")
ORGANS = (
    "liver",
    "gall-bladder",
    "bile-duct",
    "spleen",
    "kidneys",
    "renal-pelvis",
    "adrenals",
    "pancreas",
    "stomach",
    "duodenum",
    "small-bowel",
    "colon",
    "aorta",
    "vena-cava",
    "portal-vein",
    "spine",
    "ribs",
    "hip-bones",
    "lungs",
    "psoas",
    "skeletal-muscle",
    "visceral-fat",
    "subcutaneous-fat",
)


def draw_abdomen(rng: np.random.Generator, *, age_years: float, sex: str, findings: tuple[str, ...] = ()) -> Anatomy:
    """Draw one person's abdomen: stature, body-mass index, where the fat is, organ sizes, findings.

    Men store more fat inside, women more under the skin (Kuk 2005, Am J Clin Nutr 81:1330; Geer and Shen 2009,
    Gend Med 6:60). Liver about 1.5 l (Johnson 2005, AJR 185:1484), spleen about 200 ml (Prassopoulos 1997, Eur
    Radiol 7:246), kidneys 11 cm long, shorter in age (Emamian 1993, AJR 160:83), aorta after Rogers 2013 (J
    Cardiovasc Comput Tomogr 7:384). Liver fat rises with the index (Szczepaniak 2005, Am J Physiol 288:E462).
    """
    female = sex == "F"
    bmi = float(np.clip(rng.lognormal(np.log(25.5), 0.16), 17.5, 42))
    over = bmi - 23
    inside = (0.0085 if female else 0.0125) * (1 + 0.004 * (age_years - 50))
    thin = max(0.02, float(rng.normal(0.05, 0.015)) + 0.0015 * (age_years - 50))
    measures = {
        "body_mass_index": bmi,
        "stature": float(rng.normal(0.93 if female else 1.0, 0.03)),
        "cavity_scale": float(np.clip(1 + inside * over + rng.normal(0, 0.015), 0.9, 1.24)),
        "subcutaneous_fat_mm": float(np.clip((15 if female else 10) + (1.5 if female else 1.05) * over, 4, 34)),
        "muscle_fat_share": float(np.clip(thin + 0.004 * over, 0.01, 0.35)),
        "liver_scale": float(np.clip(rng.normal(1.0, 0.045) + 0.003 * over, 0.85, 1.12)),
        "liver_fat_share": float(np.clip(np.exp(rng.normal(-3.6, 0.7) + 0.07 * over), 0.005, 0.4)),
        "pancreas_fat_share": float(np.clip(0.08 + 0.003 * (age_years - 40) + 0.006 * over, 0.03, 0.5)),
        "spleen_ml": float(np.clip(rng.normal(190, 45), 90, 330)),
        "kidney_length_mm": float(
            np.clip(rng.normal(110 if female else 114, 7) - 0.12 * max(0, age_years - 50), 88, 130)
        ),
        "aorta_mm": (16.5 if female else 19.5) + 0.05 * (age_years - 50) + float(rng.normal(0, 1.2)),
        "bowel_gas": float(rng.uniform(0.2, 0.8)),
    }
    measures = {name: round(value, 4) for name, value in measures.items()}
    found = tuple(_draw_finding(rng, kind, measures) for kind in findings)
    return Anatomy("abdomen", age_years, sex, measures, int(rng.integers(2**31)), found)


def _draw_finding(rng: np.random.Generator, kind: str, measures: Mapping[str, float]) -> Finding:
    severity = round(float(rng.uniform(0.1, 1.0)), 3)
    trunk = trunk_of(measures)
    if kind == "liver-lesion":
        place = trunk.organs.at(rng.uniform(45, 92), rng.uniform(-30, 34), rng.uniform(25, 75))
        size, side, site = 8 + 46 * severity, "right", "right lobe of the liver"
    else:
        side = "right" if rng.random() < 0.5 else "left"
        sign = 1 if side == "right" else -1
        centre, _ = kidney_place(trunk, sign)
        half = measures["kidney_length_mm"] / 2
        pole, up = ("upper", 1) if rng.random() < 0.5 else ("lower", -1)
        if kind == "kidney-cyst":
            size = 8 + 42 * severity
            place = (centre[0] + sign * 0.5 * half, centre[1], centre[2] + up * rng.uniform(0.2, 0.6) * half)
            site = f"{side} kidney, {pole} pole"
        else:
            size = 3 + 12 * severity
            place = (centre[0] - sign * 0.22 * half, centre[1] + 4, centre[2] + up * 0.22 * half)
            site = f"{side} kidney, {pole} calyx"
    x, y, z = (round(float(value), 2) for value in place)
    return Finding(kind, severity, (x, y, z), round(size, 2), side, site)


def build_abdomen(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """The abdomen of one person as tissues on a grid; arms are out of the picture."""
    measures, seed = anatomy.measures, anatomy.texture_seed
    canvas = Canvas(LOW_MM, HIGH_MM, spacing_mm)
    trunk, points, hole = paint_wall(canvas, measures, seed=seed)
    below = paint_lungs(canvas, trunk, points, hole)
    room = torch.maximum(hole, below)
    paint_gut(canvas, trunk, measures, seed=seed)
    paint_liver(canvas, trunk, measures, room, seed=seed)
    paint_solid(canvas, trunk, measures, room, seed=seed)
    paint_kidneys(canvas, trunk, measures)
    paint_vessels(canvas, trunk, measures)
    paint_bones(canvas, trunk)
    _paint_findings(canvas, trunk, anatomy.findings, seed=seed)
    return canvas.body()


def _paint_findings(canvas: Canvas, trunk: Trunk, findings: Sequence[Finding], *, seed: int) -> None:
    del trunk
    for finding in findings:
        radius = finding.size_mm / 2
        ball = ellipsoid(finding.centre_mm, (radius, radius * 0.94, radius * 0.9))
        if finding.kind == "liver-lesion":
            ball = wavy(ball, amplitude_mm=0.05 * radius, wavelength_mm=1.6 * radius, seed=seed + 20)
            covered = canvas.cover(ball)
            if covered is None:
                continue
            window, share = covered
            share = share * canvas.truth["liver"][window].clamp(0, 1)
            canvas.pour("carcinoma", window, share * (0.5 + 0.45 * finding.severity))
            kept = canvas.truth.setdefault(finding.kind, torch.zeros(canvas.shape))
            kept[window] = torch.maximum(kept[window], share)
        else:
            tissue = "water" if finding.kind == "kidney-cyst" else "calcification"
            canvas.paint(tissue, ball)
            canvas.mark(finding.kind, ball)


ABDOMEN = Region(
    name="abdomen",
    draw=draw_abdomen,
    build=build_abdomen,
    kinds=KINDS,
    organs=ORGANS,
    centre_mm=(0.0, 0.0, 0.0),
    field_of_view_mm=(380.0, 290.0, 240.0),
    plane="axial",
    protocols=("T2w", "T1w", "Dixon-water", "Dixon-fat", "Dixon-opposed"),
    modalities=("CT", "MR", "US"),
)
