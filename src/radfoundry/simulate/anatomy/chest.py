"""The chest: drawn as numbers for one person, then built at any resolution with its findings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.chest_findings import apply_pleural, apply_to_lung, draw_findings, worked_on
from radfoundry.simulate.anatomy.chest_organs import (
    LOBES,
    LUNG_SHARE,
    inside_of,
    lung_trees,
    paint_organs,
    paint_trees,
)
from radfoundry.simulate.anatomy.chest_wall import paint_bones, paint_wall
from radfoundry.simulate.anatomy.regions import Anatomy, Region
from radfoundry.simulate.body import Body

LOW_MM, HIGH_MM = (-180.0, -140.0, -150.0), (180.0, 140.0, 150.0)
KINDS = (
    "nodule",
    "pleural-effusion",
    "pneumothorax",
    "consolidation",
    "atelectasis",
    "interstitial",
    "air-trapping",
    "cardiomegaly",
)
ORGANS = (
    *LOBES,
    "heart",
    "aorta",
    "pulmonary-artery",
    "trachea",
    "liver",
    "stomach",
    "spleen",
    "spine",
    "ribs",
    "sternum",
    "clavicles",
    "scapulae",
    "humeri",
    "breast-tissue",
)


def draw_chest(rng: np.random.Generator, *, age_years: float, sex: str, findings: tuple[str, ...] = ()) -> Anatomy:
    """Draw one person's chest: sizes by sex and age, then the findings and what they do to those sizes.

    Widths and depths after Bellemare 2003 (Am J Respir Crit Care Med 168:305) and Gayzik 2008 (Ann Biomed Eng
    36:1427), the aorta after Wolak 2008 (JACC Cardiovasc Imaging 1:200), the trachea after Breatnach 1984 (AJR
    142:903), the cardiothoracic ratio below 0.5 in health (Danzer 1919).
    """
    female = sex == "F"
    mean = (252.0, 188.0, 230.0) if female else (278.0, 206.0, 253.0)
    spread = rng.normal(0, 1, 8)
    measures = {
        "thorax_width_mm": mean[0] * (1 + 0.035 * spread[0]),
        "thorax_depth_mm": mean[1] * (1 + 0.045 * spread[1] + 0.0010 * (age_years - 50)),
        "thorax_height_mm": mean[2] * (1 + 0.03 * spread[2]),
        "subcutaneous_fat_mm": float(np.clip((11 if female else 8) + 3.5 * spread[3], 3, 24)),
        "cardiothoracic_ratio": float(np.clip(0.445 + 0.0006 * (age_years - 50) + 0.022 * spread[4], 0.38, 0.49)),
        "aorta_mm": (30 if female else 33) + 0.12 * (age_years - 50) + 1.8 * spread[5],
        "trachea_mm": (15 if female else 18) + 1.2 * spread[6],
        "breast_mm": float(np.clip(22 + 8 * spread[7], 8, 42)) if female else 0.0,
        "lung_tissue_share": LUNG_SHARE * float(rng.normal(1, 0.08)) * (1 - 0.002 * (age_years - 50)),
        "mediastinal_shift_mm": 0.0,
        "arm_lift_deg": 150.0,
        "upright": 0.0,
    }
    height = measures["thorax_height_mm"] / 253
    measures["right_dome_mm"] = height * float(rng.normal(-46, 5))
    measures["left_dome_mm"] = measures["right_dome_mm"] - float(rng.uniform(6, 16))
    found = draw_findings(rng, findings, measures)
    seed = int(rng.integers(2**31))
    return Anatomy("chest", age_years, sex, worked_on(measures, found), seed, found)


def build_chest(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """The chest of one person as tissues on a grid; about 2 s at 3 mm. Supine unless `upright` is 1."""
    measures: Mapping[str, float] = anatomy.measures
    canvas = Canvas(LOW_MM, HIGH_MM, spacing_mm)
    seed = anatomy.texture_seed
    frame, ring = paint_wall(canvas, measures, seed=seed)
    inside = inside_of(canvas, frame, measures, ring, seed=seed)
    paint_organs(canvas, inside, measures, seed=seed)
    apply_to_lung(canvas, inside, anatomy)
    paint_trees(canvas, inside, lung_trees(inside, measures, seed=seed))
    paint_bones(canvas, frame, measures)
    apply_pleural(canvas, inside, anatomy)
    return canvas.body()


CHEST = Region(
    name="chest",
    draw=draw_chest,
    build=build_chest,
    kinds=KINDS,
    organs=ORGANS,
    centre_mm=(0.0, 0.0, 0.0),
    field_of_view_mm=(360.0, 280.0, 300.0),
    plane="axial",
    protocols=("T1w", "T2w"),
    modalities=("CT", "CR", "DX", "MR"),
)
