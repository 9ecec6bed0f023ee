"""How sizes differ between people: by sex, by age, and at random, and how bad their findings are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def sized(
    rng: np.random.Generator, means: Mapping[str, tuple[float, float]], *, sex: str, spread: float = 0.05
) -> dict[str, float]:
    """Sizes drawn around (woman's, man's) means: people differ as a whole, and each size a little on its own.

    Two thirds of the variance of `spread` (a coefficient of variation) is shared by all sizes of a person.
    """
    whole = rng.normal(0, spread * 0.8165)
    column = 0 if sex == "F" else 1
    return {
        name: round(float(pair[column] * np.clip(1 + whole + rng.normal(0, spread * 0.577), 0.8, 1.2)), 3)
        for name, pair in means.items()
    }


def severities(rng: np.random.Generator, kinds: tuple[str, ...], *, severity: float | None) -> dict[str, float]:
    """How bad each finding is, 0.25 to 1 at random, or as told."""
    drawn = {kind: round(float(rng.uniform(0.25, 1.0)), 3) for kind in kinds}
    return drawn if severity is None else dict.fromkeys(kinds, severity)


def muscle_fat(age_years: float, sex: str, rng: np.random.Generator) -> float:
    """The proton-density fat fraction of muscle: some 3 % in young men to 10 % and more in old women.

    After Grimm et al. 2018, J Cachexia Sarcopenia Muscle 9:1093 (whole thigh, 20 to 80 years).
    """
    mean = 0.032 + 0.0007 * (age_years - 20) + (0.012 if sex == "F" else 0.0)
    return round(float(np.clip(mean * np.exp(rng.normal(0, 0.2)), 0.015, 0.3)), 4)
