"""What a report on a body region says: one statement a finding, and why the patient came."""

from __future__ import annotations

from collections.abc import Sequence

from radfoundry.simulate.anatomy.regions import Anatomy
from radfoundry.simulate.words import PHRASES, Statement

# Findings that reports call by another name in some regions.
NAMES = {"nodule": "lung-nodule", "effusion": "joint-effusion", "interstitial": "interstitial-change"}
REASONS = {
    "knee": "Knee pain after sport",
    "hip": "Groin pain",
    "wrist": "Fall on the outstretched hand",
    "elbow": "Elbow pain",
    "thigh": "Muscle study",
    "breast": "Palpable lump",
    "prostate": "Raised PSA",
    "rectum": "Staging of rectal cancer",
    "abdomen": "Abnormal liver function",
    "chest": "Cough",
}


def statements_of(anatomy: Anatomy, kinds: Sequence[str]) -> list[Statement]:
    """One statement for every finding, and a denial of every kind that the region knows and the patient has not."""
    stated = []
    there = {item.kind for item in anatomy.findings}
    for item in anatomy.findings:
        side = item.side if item.side in ("left", "right") else ""
        stated.append(Statement(finding_name(item.kind), side=side, size_mm=_size(item.size_mm), site=item.site))
    stated += [Statement(finding_name(kind), "absent") for kind in kinds if kind not in there]
    return [item for number, item in enumerate(stated) if item not in stated[:number]]


def finding_name(kind: str) -> str:
    """The name under which the words for a kind of finding are kept."""
    return kind if kind in PHRASES else NAMES.get(kind, kind)


def _size(size_mm: float) -> float | None:
    return float(round(size_mm)) if size_mm >= 1 else None


def history_of(name: str, age_years: float, sex: str) -> str:
    """A line of clinical information."""
    reason = REASONS.get(name, "Back pain" if "spine" in name else "Study")
    return f"{'Woman' if sex == 'F' else 'Man'} of {int(age_years)} years. {reason}."
