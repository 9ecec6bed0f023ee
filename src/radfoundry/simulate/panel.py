"""People who score image quality: how much each fault matters to them depends on what the image is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from radfoundry.records import InputError
from radfoundry.simulate.cases import SimulatedSeries
from radfoundry.simulate.degrade import KINDS, Strengths

PURPOSES = ("reading", "measuring")
BEST = 100.0
# The strength of each fault that takes the score from 100 to 37. Readers see through shading and are disturbed by
# noise; whoever measures volumes by machine minds shading, thick slices and small shifts of edges.
HALTS: Mapping[str, Mapping[str, float]] = {
    "reading": {
        "noise": 0.12, "motion_mm": 6.0, "ghosting": 0.5, "spikes": 5.0, "aliasing": 0.5, "blur": 0.7,
        "shading": 1.6, "thickening": 6.0, "clipping": 0.25,
    },
    "measuring": {
        "noise": 0.35, "motion_mm": 3.5, "ghosting": 0.4, "spikes": 4.0, "aliasing": 0.35, "blur": 0.6,
        "shading": 0.5, "thickening": 2.0, "clipping": 0.3,
    },
}  # fmt: skip
# What matters more (below 1) or less in one sequence than in others.
BY_SEQUENCE: Mapping[str, Mapping[str, float]] = {
    "T1w": {"noise": 0.8, "shading": 0.8},
    "T2w": {"noise": 1.4, "motion_mm": 0.8},
    "FLAIR": {"ghosting": 0.7, "thickening": 1.4},
    "PDw": {"noise": 1.2},
}


def true_score(strengths: Strengths, *, purpose: str, sequence: str | None = None) -> float:
    """What an endless panel would say, 0 to 100: `100 exp(-harm)`, harm being the sum of every fault over its halt.

    >>> round(true_score(Strengths(noise=0.12), purpose="reading"), 1)
    36.8
    """
    if purpose not in HALTS:
        raise InputError(f"nobody scores images for {purpose!r}", remedy=f"one of {', '.join(PURPOSES)}")
    change = BY_SEQUENCE.get(sequence or "", {})
    halts = np.array([HALTS[purpose][kind] * change.get(kind, 1.0) for kind in KINDS])
    return float(BEST * np.exp(-(strengths.vector() / halts).sum()))


def opinion(score: float, *, raters: int, rng: np.random.Generator, spread: float = 8.0) -> float:
    """The mean of so many raters' scores of one scan, each off by a deviation of `spread`, kept within 0 to 100."""
    if raters < 1:
        raise InputError(f"{raters} raters score nothing", remedy="ask at least one")
    said = np.clip(score + rng.normal(0, spread, raters), 0, BEST)
    return round(float(said.mean()), 2)


def opinions(series: Sequence[SimulatedSeries], *, raters: int, rng: np.random.Generator) -> dict[str, float]:
    """Labels of one patient: for every purpose what the panel says of each series of the first exam, by its name."""
    said = {}
    for item in series:
        if item.exam != 1:
            continue
        known = {kind: float(item.degradations.get(kind, 0.0)) for kind in KINDS}
        for purpose in PURPOSES:
            score = true_score(Strengths(**known), purpose=purpose, sequence=item.name.partition("-")[0])
            said[f"{purpose}_{item.name}"] = opinion(score, raters=raters, rng=rng)
    return said
