"""What all joints share: drawing a person's measures and findings from a plan of the joint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from radfoundry.simulate.anatomy import bones
from radfoundry.simulate.anatomy.bones import Bone, Break
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.frames import placed
from radfoundry.simulate.anatomy.people import muscle_fat, severities, sized
from radfoundry.simulate.anatomy.regions import Anatomy, Finding
from radfoundry.simulate.anatomy.shapes import Point


@dataclass(frozen=True)
class JointPlan:
    """A joint in numbers, at scale 1 on the right side.

    `means` are (woman's, man's) sizes; `scale` names the one that stretches everything and the size it has at scale
    1. `sites` gives for each finding the places where it may be and how large it is there (in mm) at severity 1.
    """

    name: str
    means: Mapping[str, tuple[float, float]]
    scale: tuple[str, float]
    fractures: Mapping[str, Break]
    sites: Mapping[str, Mapping[str, tuple[Point, float]]]
    fat_mm: tuple[float, float]
    space: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The findings this joint knows."""
        return ("fracture", *self.sites)

    def size(self, measures: Mapping[str, float]) -> float:
        """How much larger than scale 1 a person's joint is."""
        return measures[self.scale[0]] / self.scale[1]

    def draw(
        self,
        rng: np.random.Generator,
        *,
        age_years: float,
        sex: str,
        findings: tuple[str, ...] = (),
        severity: float | None = None,
    ) -> Anatomy:
        """A person's joint: sizes by sex, wear and muscle by age, and the named findings (`severity` 0 to 1)."""
        measures = sized(rng, self.means, sex=sex)
        left = bool(rng.random() < 0.5)
        measures |= {
            "left": float(left),
            "muscle_fat_fraction": muscle_fat(age_years, sex, rng),
            "fat_mm": round(float(max(1.0, rng.normal(self.fat_mm[0 if sex == "F" else 1], 0.15 * self.fat_mm[0]))), 2),
        }
        bad = severities(rng, findings, severity=severity)
        chosen = {"fracture": str(rng.choice(list(self.fractures)))}
        chosen |= {kind: str(rng.choice(list(places))) for kind, places in self.sites.items()}
        if self.space:
            worn, narrow = 1 - 0.002 * max(0.0, age_years - 30), bad.get("joint-narrowing", 0.0)
            measures["kl_grade"] = float(min(4, 1 + int(narrow * 4))) if narrow else 0.0
            measures[self.space] = round(measures[self.space] * worn * (1 - 0.88 * narrow), 3)
        seed, scale = int(rng.integers(2**31)), self.size(measures)
        made = tuple(
            placed(self._finding(kind, value, chosen[kind]), scale=scale, left=left) for kind, value in bad.items()
        )
        return Anatomy(self.name, age_years, sex, measures, seed, made)

    def _finding(self, kind: str, severity: float, site: str) -> Finding:
        if kind == "fracture":
            plane = self.fractures[site]
            return Finding(kind, severity, plane.point_mm, plane.reach_mm, site=site)
        centre, size = self.sites[kind][site]
        return Finding(kind, severity, centre, size * (0.4 + 0.6 * severity), site=site)

    def paint_bones(self, canvas: Canvas, parts: Mapping[str, Bone], bad: Mapping[str, Finding]) -> None:
        """All bones, one of them broken where there is a fracture."""
        plane = self.fractures[bad["fracture"].site] if "fracture" in bad else None
        for name, bone in parts.items():
            if plane is None or plane.bone != name:
                bones.paint_bone(canvas, bone)
                continue
            severity = bad["fracture"].severity
            bones.paint_bone(canvas, bones.break_bone(bone, plane, severity))
            bones.bleed(canvas, bone, plane, severity)

    def paint_oedema(self, canvas: Canvas, anatomy: Anatomy, bad: Mapping[str, Finding]) -> None:
        """The patch of marrow oedema, where there is one."""
        if "marrow-oedema" in bad:
            patch = bad["marrow-oedema"]
            centre, _ = self.sites["marrow-oedema"][patch.site]
            radius = patch.size_mm / 2 / self.size(anatomy.measures)
            bones.oedema(canvas, centre, radius, patch.severity, seed=anatomy.texture_seed)


def worst(bad: Mapping[str, Finding], kind: str) -> float:
    """How bad a finding is; 0 where it is not there."""
    return bad[kind].severity if kind in bad else 0.0


def whole(canvas: Canvas) -> tuple[slice, slice, slice]:
    """The window that holds all of a canvas."""
    i, j, k = canvas.shape
    return (slice(0, i), slice(0, j), slice(0, k))
