"""Neck, chest and loin part of the spine: vertebrae, discs, canal and cord, and what goes wrong in them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

import numpy as np

from radfoundry.simulate.anatomy import bones, spine_column
from radfoundry.simulate.anatomy.frames import finished, stretched
from radfoundry.simulate.anatomy.limbs import marble
from radfoundry.simulate.anatomy.people import muscle_fat, severities, sized
from radfoundry.simulate.anatomy.regions import Anatomy, Finding, Region
from radfoundry.simulate.anatomy.spine_plans import CERVICAL_PLAN, LUMBAR_PLAN, PLANS, THORACIC_PLAN, Plan, at, column
from radfoundry.simulate.anatomy.spine_soft import surround
from radfoundry.simulate.body import Body

KINDS = ("disc-herniation", "disc-degeneration", "vertebral-fracture", "marrow-oedema")


def draw(
    plan: Plan,
    rng: np.random.Generator,
    *,
    age_years: float,
    sex: str,
    findings: tuple[str, ...] = (),
    severity: float | None = None,
) -> Anatomy:
    """A person's spine: sizes by sex, discs and marrow by age, and the named findings (`severity` 0 to 1).

    Fat of the marrow rises from about 35 to 60 % between 20 and 80 years, in women steeply after 50 (Kuhn 2012;
    Griffith 2012, J Magn Reson Imaging 36:225).
    """
    measures = sized(rng, plan.means, sex=sex)
    older = (age_years - 20) / 60
    late = 0.05 if sex == "F" and age_years > 52 else 0.0
    measures |= {
        "curve_share": round(float(np.clip(rng.normal(1.0, 0.15), 0.6, 1.4)), 3),
        "marrow_fat_fraction": round(float(np.clip(0.36 + 0.18 * older + late + rng.normal(0, 0.03), 0.25, 0.7)), 3),
        "muscle_fat_fraction": round(1.8 * muscle_fat(age_years, sex, rng), 4),
        "fat_mm": round(float(np.clip(rng.normal(15.0 if sex == "F" else 10.0, 3.0), 4, 26)), 2),
    }
    for level in plan.levels[:-1]:
        worn = float(np.clip(0.1 + 0.45 * older + rng.normal(0, 0.08), 0.02, 0.75))
        measures[f"dryness_below_{level}"] = round(worn, 3)
        measures[f"disc_share_below_{level}"] = round(1 - 0.12 * worn, 3)
    bad = severities(rng, findings, severity=severity)
    sites = {kind: str(rng.choice(plan.diseased[:-1])) for kind in KINDS}
    _afflict(measures, bad, sites)
    seed = int(rng.integers(2**31))
    made = tuple(_finding(plan, measures, kind, value, sites[kind]) for kind, value in bad.items())
    return Anatomy(plan.name, age_years, sex, measures, seed, made)


def _afflict(measures: dict[str, float], bad: Mapping[str, float], sites: Mapping[str, str]) -> None:
    """What the findings take from discs and bodies; vertebral fractures lose 15 to 55 % (Genant 1993, JBMR 8:1137)."""
    if "disc-degeneration" in bad:
        level, value = sites["disc-degeneration"], bad["disc-degeneration"]
        dry = measures[f"dryness_below_{level}"]
        measures[f"dryness_below_{level}"] = round(dry + (1 - dry) * (0.3 + 0.65 * value), 3)
        measures[f"disc_share_below_{level}"] = round(measures[f"disc_share_below_{level}"] * (1 - 0.55 * value), 3)
    if "disc-herniation" in bad:
        level, value = sites["disc-herniation"], bad["disc-herniation"]
        dry = measures[f"dryness_below_{level}"]
        measures[f"dryness_below_{level}"] = round(max(dry, 0.3 + 0.4 * value), 3)
        measures["herniation_mm"] = round((0.25 + 0.4 * value) * measures["canal_depth_mm"], 2)
    if "vertebral-fracture" in bad:
        level, value = sites["vertebral-fracture"], bad["vertebral-fracture"]
        measures[f"wedge_{level}"] = round(0.12 + 0.4 * value, 3)
        measures[f"dent_{level}"] = round(0.05 + 0.12 * value, 3)


def _finding(plan: Plan, measures: Mapping[str, float], kind: str, severity: float, level: str) -> Finding:
    vertebrae = column(plan, measures)
    above = next(one for one in vertebrae if one.level == level)
    below = vertebrae[plan.levels.index(level) + 1]
    name = f"{level}-{below.level}" if kind.startswith("disc") else level
    between = -above.height_mm / 2 - 0.45 * measures["disc_height_mm"]
    place, size = {
        "disc-herniation": ((0.0, -above.depth_mm / 2 - 2, between), measures.get("herniation_mm", 0.0)),
        "disc-degeneration": ((0.0, 0.0, between), above.width_mm),
        "vertebral-fracture": ((0.0, 2.0, 0.3 * above.height_mm), above.width_mm),
        "marrow-oedema": ((0.0, 2.0, 0.0), above.height_mm * (0.6 + 0.5 * severity)),
    }[kind]
    return Finding(kind, severity, at(above, place), round(size, 2), side="midline", site=name)


def build(plan: Plan, anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """The spine of one person as tissues, organs and findings."""
    measures, seed = anatomy.measures, anatomy.texture_seed
    bad = {finding.kind: finding for finding in anatomy.findings}
    vertebrae = column(plan, measures)
    canvas = stretched(plan.centre_mm, plan.field_mm, spacing_mm=spacing_mm, scale=1.0)
    surround(canvas, plan.name, vertebrae, fat_mm=measures["fat_mm"])
    spine_column.paint_discs(canvas, vertebrae, measures)
    spine_column.paint_bones(canvas, plan.name, vertebrae)
    spine_column.paint_canal(canvas, plan.name, vertebrae)
    if "disc-herniation" in bad:
        spine_column.paint_herniation(canvas, vertebrae, bad["disc-herniation"], measures)
    bones.colour_marrow(canvas, fat_fraction=measures["marrow_fat_fraction"], seed=seed)
    if "disc-degeneration" in bad:
        _mark_disc(canvas, vertebrae, bad["disc-degeneration"])
    if "vertebral-fracture" in bad:
        spine_column.paint_fracture(canvas, vertebrae, bad["vertebral-fracture"])
    if "marrow-oedema" in bad:
        patch = bad["marrow-oedema"]
        bones.oedema(canvas, patch.centre_mm, patch.size_mm / 2, patch.severity, seed=seed)
    bones.trabeculae(canvas, share=0.1 * (1 - 0.006 * max(0.0, anatomy.age_years - 30)), seed=seed)
    marble(canvas, fat_fraction=measures["muscle_fat_fraction"], seed=seed, streak_mm=5)
    return finished(canvas, scale=1.0)


def _mark_disc(canvas: spine_column.Canvas, vertebrae: list[spine_column.Vertebra], finding: Finding) -> None:
    """The truth of a degenerated disc: what was painted as disc between the two levels."""
    for above, below in itertools.pairwise(vertebrae):
        if finding.site == f"{above.level}-{below.level}":
            covered = canvas.cover(spine_column.between(above, below))
            if covered is not None:
                window, cover = covered
                bones.keep(canvas, finding.kind, window, cover * canvas.truth["discs"][window])


def _region(plan: Plan, organs: tuple[str, ...]) -> Region:
    return Region(
        plan.name,
        functools.partial(draw, plan),
        functools.partial(build, plan),
        KINDS,
        (*plan.shown, "discs", "spinal-fluid", "muscle", "subcutaneous-fat", *organs),
        plan.centre_mm,
        plan.field_mm,
        plane="sagittal",
        protocols=("T1w", "T2w", "STIR"),
        modalities=("MR", "CT", "DX"),
    )


CERVICAL = _region(CERVICAL_PLAN, ("cord",))
THORACIC = _region(THORACIC_PLAN, ("cord", "aorta", "lungs"))
LUMBAR = _region(LUMBAR_PLAN, ("cord", "aorta"))
__all__ = ["CERVICAL", "LUMBAR", "PLANS", "THORACIC", "build", "draw"]
