"""What every body region offers: draw a person's measures and findings, then build them at a resolution."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from radfoundry.records import InputError
from radfoundry.simulate.body import Body

REGIONS: Mapping[str, str] = {
    "cervical-spine": "radfoundry.simulate.anatomy.spine:CERVICAL",
    "thoracic-spine": "radfoundry.simulate.anatomy.spine:THORACIC",
    "lumbar-spine": "radfoundry.simulate.anatomy.spine:LUMBAR",
    "knee": "radfoundry.simulate.anatomy.knee:KNEE",
    "hip": "radfoundry.simulate.anatomy.hip:HIP",
    "wrist": "radfoundry.simulate.anatomy.wrist:WRIST",
    "elbow": "radfoundry.simulate.anatomy.elbow:ELBOW",
    "thigh": "radfoundry.simulate.anatomy.thigh:THIGH",
    "breast": "radfoundry.simulate.anatomy.breast:BREAST",
    "prostate": "radfoundry.simulate.anatomy.prostate:PROSTATE",
    "rectum": "radfoundry.simulate.anatomy.rectum:RECTUM",
    "abdomen": "radfoundry.simulate.anatomy.abdomen:ABDOMEN",
    "chest": "radfoundry.simulate.anatomy.chest:CHEST",
    "random-shapes": "radfoundry.simulate.anatomy.random_shapes:RANDOM_SHAPES",
}


@dataclass(frozen=True)
class Finding:
    """One thing to be found: what, how bad (0 to 1), where, and how large.

    `site` is the place in words (a level, a lobe, a zone); the mask is the body's truth of the same name as `kind`.
    """

    kind: str
    severity: float
    centre_mm: tuple[float, float, float]
    size_mm: float
    side: str = "none"
    site: str = ""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One person's region as numbers: everything that does not depend on the scanner or the resolution.

    `measures` holds every drawn size by a name with its unit (`medial_joint_space_mm`).
    """

    region: str
    age_years: float
    sex: str
    measures: Mapping[str, float]
    texture_seed: int
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Region:
    """A body region that can be simulated.

    `draw(rng, age_years=, sex=, findings=)` draws a person; `findings` names the kinds to give (an empty tuple:
    healthy). `build(anatomy, spacing_mm=)` makes the tissues and the truth: organs and findings by name.
    `kinds` are the findings it knows. The slab that covers it is `centre_mm` and `field_of_view_mm`
    (right-left, front-back, up-down).
    """

    name: str
    draw: Callable[..., Anatomy]
    build: Callable[..., Body]
    kinds: tuple[str, ...]
    organs: tuple[str, ...]
    centre_mm: tuple[float, float, float]
    field_of_view_mm: tuple[float, float, float]
    plane: str = "axial"
    protocols: tuple[str, ...] = ("T1w", "T2w")
    modalities: tuple[str, ...] = field(default=("MR",))


def region(name: str) -> Region:
    """The region of that name; an unknown one names what there is."""
    if name not in REGIONS:
        raise InputError(f"unknown region {name!r}", remedy=f"one of {', '.join(REGIONS)}", finding="unknown-name")
    module, _, attribute = REGIONS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def draw_anatomy(
    name: str,
    *,
    rng: np.random.Generator,
    age_years: float | None = None,
    sex: str | None = None,
    findings: tuple[str, ...] = (),
) -> Anatomy:
    """A person's region drawn at random: adult of either sex unless told, with the named findings.

    Refuses findings that the region does not know.
    """
    chosen = region(name)
    unknown = [kind for kind in findings if kind not in chosen.kinds]
    if unknown:
        raise InputError(
            f"the {name} has no finding {', '.join(unknown)}", remedy=f"it knows: {', '.join(chosen.kinds) or 'none'}"
        )
    age = round(float(rng.uniform(20, 85)), 1) if age_years is None else age_years
    gender = sex or ("F" if rng.random() < 0.5 else "M")
    return chosen.draw(rng, age_years=age, sex=gender, findings=findings)
