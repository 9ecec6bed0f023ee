"""Ready-made cohorts of body regions in several MR sequences: joints, spine, limbs, organs, and several at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from radfoundry.records import InputError
from radfoundry.simulate.anatomy.regions import REGIONS, Anatomy, Region, draw_anatomy, region
from radfoundry.simulate.body import Body
from radfoundry.simulate.cases import SimulatedCase
from radfoundry.simulate.exams import Patient, Scene, assemble
from radfoundry.simulate.options import CohortOptions
from radfoundry.simulate.region_course import course, fat_percent, is_malignant, with_enhancement
from radfoundry.simulate.region_words import history_of, statements_of
from radfoundry.simulate.sites import IN_PLANE, Part

SEXES = {"prostate": "M", "breast": "F"}
COARSEST_MM, FINEST_MM = 4.0, 0.5  # limits of the grid a region is built on


@dataclass(frozen=True, kw_only=True)
class RegionMultisequence(CohortOptions):
    """Any body region of `anatomy.regions.REGIONS` in several MR sequences, some patients with findings.

    `regions` are the regions there may be and `parts` how many of them each patient is examined in; `findings` are
    the kinds the diseased may have (all that the region knows unless given) and `most` how many of them at once.
    Sequences are the region's own unless given. All other options are those of `options.CohortOptions`.
    """

    regions: Sequence[str] = ("knee",)
    parts: int = 1
    findings: Sequence[str] = ()
    most: int = 2
    name: str = "region-multisequence"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "regions", (self.regions,) if isinstance(self.regions, str) else tuple(self.regions))
        object.__setattr__(self, "findings", tuple(self.findings))
        unknown = [name for name in self.regions if name not in REGIONS]
        if unknown or not self.regions:
            raise InputError(f"unknown regions {', '.join(unknown) or '(none)'}", remedy=f"known: {', '.join(REGIONS)}")
        if not 1 <= self.parts <= len(self.regions) or self.most < 1:
            raise InputError(
                f"{self.parts} parts of {len(self.regions)} regions with up to {self.most} findings",
                remedy="give parts from 1 to the number of regions and most of at least 1",
            )
        known = {kind for name in self.regions for kind in region(name).kinds} if self.findings else set()
        missing = sorted(set(self.findings) - known)
        if missing:
            raise InputError(f"no region here has {', '.join(missing)}", remedy=f"known: {', '.join(sorted(known))}")

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient: one or more regions, findings or none, every sequence on one scanner or on all."""
        return assemble(self, self._draw, case=case, seed=seed)

    def _draw(self, rng: np.random.Generator, rate: float, days: np.ndarray) -> Patient:
        age = round(float(rng.uniform(20, 85)), 1)
        drawn_sex = "F" if rng.random() < 0.5 else "M"
        sex = SEXES.get(self.regions[0], drawn_sex) if len(self.regions) == 1 else drawn_sex
        possible = [name for name in self.regions if SEXES.get(name, sex) == sex] or list(self.regions)
        chosen = rng.permutation(possible)[: self.parts].tolist()
        drawn = [self._anatomy(name, age, sex, rate, rng) for name in chosen]
        later = [course(item, days, response=self.response, rng=rng) for item in drawn]
        spacings = [grid_mm(region(name), self.size) for name in chosen]
        bodies = [
            [built(anatomy, spacing_mm=spacing) for anatomy, spacing in zip(visit, spacings, strict=True)]
            for visit in zip(*later, strict=True)
        ]
        labels = _labels(drawn, bodies[0])
        for number, (visit, seen) in enumerate(
            zip(list(zip(*later, strict=True))[1:], bodies[1:], strict=True), start=2
        ):
            labels |= {f"{key}_{number}": value for key, value in _sizes(visit, seen).items()}
        scenes = [
            [self._scene(item, body) for item, body in zip(visit, seen, strict=True)]
            for visit, seen in zip(zip(*later, strict=True), bodies, strict=True)
        ]
        findings = [finding for item in drawn for finding in item.findings]
        volume = float(labels["lesion_volume_ml"])
        return Patient(
            age,
            sex,
            bool(findings),
            scenes,
            labels,
            [statement for item in drawn for statement in statements_of(item, region(item.region).kinds)],
            history=history_of(chosen[0], age, sex),
            conspicuity=volume,
            hazard=0.25 * (age - 52) / 10 + sum(finding.severity for finding in findings) * 0.4,
            known={"anatomy": [_plain(item) for item in drawn], "days": [int(day) for day in days]},
        )

    def _anatomy(self, name: str, age: float, sex: str, rate: float, rng: np.random.Generator) -> Anatomy:
        kinds = [kind for kind in region(name).kinds if not self.findings or kind in self.findings]
        diseased = rng.random() < rate
        count = int(rng.integers(1, self.most + 1))
        given = tuple(rng.permutation(kinds)[:count].tolist()) if diseased and kinds else ()
        return draw_anatomy(name, rng=rng, age_years=age, sex=sex, findings=given)

    def _scene(self, anatomy: Anatomy, body: Body) -> Scene:
        chosen = region(anatomy.region)
        shown = ("lesion", *(kind for kind in chosen.kinds if kind in body.truth))
        return Scene(_constant(body), part_of(chosen), self.sequences or chosen.protocols, shown, chosen.organs)


def _constant(body: Body) -> Callable[[], Body]:
    return lambda: body


def built(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """A region with its findings as truth: each kind by its name, and `lesion` for all of them together."""
    body = region(anatomy.region).build(anatomy, spacing_mm=spacing_mm)
    body = with_enhancement(body, anatomy)
    found = [body.truth[item.kind] for item in anatomy.findings if item.kind in body.truth]
    lesion = torch.stack(found).amax(dim=0) if found else torch.zeros(body.shape)
    return replace(body, truth={**body.truth, "lesion": lesion.clamp(0, 1)})


def grid_mm(chosen: Region, size: str) -> float:
    """The grid a region is built on: as fine as its images are in the plane."""
    wanted = part_of(chosen).reach_mm * sum(IN_PLANE[size]) / 2
    return float(np.clip(round(wanted * 4) / 4, FINEST_MM, COARSEST_MM))


def part_of(chosen: Region) -> Part:
    """How a region is named in headers and where its slices are laid."""
    words = chosen.name.replace("-", " ")
    short = {"cervical spine": "CSPINE", "thoracic spine": "TSPINE", "lumbar spine": "LSPINE", "rectum": "PELVIS"}
    part = short.get(words, words.replace(" ", "").upper())
    return Part(part, f"MRI {words}", chosen.centre_mm, chosen.field_of_view_mm, chosen.plane)


def _labels(drawn: Sequence[Anatomy], bodies: Sequence[Body]) -> dict[str, Any]:
    """What is true of a patient, one value a column; several regions share the columns of disease."""
    findings = [finding for item in drawn for finding in item.findings]
    worst = max(findings, key=lambda item: item.severity, default=None)
    labels: dict[str, Any] = {
        "region": "+".join(item.region for item in drawn),
        "age_years": drawn[0].age_years,
        "sex": drawn[0].sex,
        "lesion_present": int(worst is not None),
        "lesion_kind": worst.kind if worst else "none",
        "lesion_side": worst.side if worst else "none",
        "lesion_site": worst.site if worst else "none",
        "lesion_severity": round(worst.severity, 3) if worst else 0.0,
        "lesion_count": len(findings),
        "lesion_volume_ml": 0.0,
    }
    for item in drawn:
        for kind in region(item.region).kinds:
            severities = [finding.severity for finding in item.findings if finding.kind == kind]
            labels[kind.replace("-", "_")] = round(max(severities, default=0.0), 3)
        if item.region == "breast":
            labels["malignant"] = int(any(is_malignant(finding) for finding in item.findings))
        labels |= {name: round(float(value), 4) for name, value in item.measures.items()}
    return labels | _sizes(drawn, bodies)


def _sizes(drawn: Sequence[Anatomy], bodies: Sequence[Body]) -> dict[str, Any]:
    """Volumes of what was found, and of muscle with its fat where there is muscle to measure."""
    sizes: dict[str, Any] = {
        "lesion_volume_ml": round(sum(float(body.truth["lesion"].sum()) * body.voxel_ml for body in bodies), 3)
    }
    for item, body in zip(drawn, bodies, strict=True):
        if item.region == "thigh":
            sizes |= fat_percent(body)
    return sizes


def _plain(anatomy: Anatomy) -> dict[str, Any]:
    findings = [
        {
            "kind": item.kind,
            "severity": round(item.severity, 4),
            "centre_mm": [round(value, 2) for value in item.centre_mm],
            "size_mm": round(item.size_mm, 2),
            "side": item.side,
            "site": item.site,
        }
        for item in anatomy.findings
    ]
    measures: Mapping[str, float] = {name: round(float(value), 5) for name, value in anatomy.measures.items()}
    return {"region": anatomy.region, "measures": dict(measures), "findings": findings}


def _preset(name: str, *regions: str, **options: Any) -> Callable[..., RegionMultisequence]:
    made = functools.partial(RegionMultisequence, name=name, regions=regions, **options)
    functools.update_wrapper(made, RegionMultisequence, assigned=("__doc__",), updated=())
    return made


knee_mri = _preset("knee-mri", "knee")
hip_mri = _preset("hip-mri", "hip")
wrist_mri = _preset("wrist-mri", "wrist")
elbow_mri = _preset("elbow-mri", "elbow")
cervical_spine_mri = _preset("cervical-spine-mri", "cervical-spine", sequences=("T1w", "T2w", "STIR"))
thoracic_spine_mri = _preset("thoracic-spine-mri", "thoracic-spine", sequences=("T1w", "T2w", "STIR"))
lumbar_spine_mri = _preset("lumbar-spine-mri", "lumbar-spine", sequences=("T1w", "T2w", "STIR"))
thigh_dixon = _preset("thigh-dixon", "thigh", sequences=("Dixon", "T1w"))
breast_mri = _preset("breast-mri", "breast", sequences=("T2w", "DWI", "dynamic"))
prostate_mri = _preset("prostate-mri", "prostate", sequences=("T2w", "DWI"))
rectum_mri = _preset("rectum-mri", "rectum", sequences=("T2w", "T2w@sagittal", "DWI"))
abdomen_mri = _preset("abdomen-mri", "abdomen", sequences=("T1w-gradient", "T2w", "DWI"))
chest_mri = _preset("chest-mri", "chest")
random_shapes_mri = _preset("random-shapes-mri", "random-shapes", sequences=("T1w", "T2w", "PDw"))
multi_region = _preset(
    "multi-region", *(name for name in REGIONS if name != "random-shapes"), sequences=("T1w", "T2w", "PDw")
)
