"""What becomes of brain lesions between visits: tumours grow or shrink, clots dissolve, plaques are added."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from radfoundry.simulate.lesions import Lesion, draw_blob
from radfoundry.simulate.subject import Subject, white_matter_mm
from radfoundry.simulate.time import grown_volume_ml

DOUBLING_DAYS = (70.0, 320.0)  # gliomas: Stensjøen et al. 2015, Neuro Oncol 17:1402, and slower ones
CLOT_DAYS = 35.0  # over which two thirds of a clot dissolve
NEW_PLAQUES_A_YEAR = 2.0


def course(subject: Subject, days: np.ndarray, *, response: float, rng: np.random.Generator) -> list[Subject]:
    """The same person on each of the days, the first being day 0.

    Tumours follow `time.grown_volume_ml` with a doubling time of 70 to 320 days; `response` is the share of cells that
    treatment from day 0 kills. Clots dissolve and their shift goes back with them, infarcts stay, and new
    demyelinating plaques come twice a year.
    """
    doubling = float(np.exp(rng.uniform(*np.log(DOUBLING_DAYS))))
    plaques = any(lesion.kind == "demyelination" for lesion in subject.findings)
    seen, new = [subject], 0
    arrivals = np.sort(rng.uniform(0, max(float(days[-1]), 1.0), 40)) if len(days) > 1 else np.zeros(0)
    arrivals = arrivals[: int(rng.poisson(NEW_PLAQUES_A_YEAR * float(days[-1]) / 365))] if plaques else arrivals[:0]
    added = [draw_blob("demyelination", white_matter_mm(), rng, radius_mm=(3.0, 7.0)) for _ in arrivals]
    for day in days[1:]:
        new = int((arrivals <= day).sum())
        aged = [_aged(lesion, float(day), doubling, response) for lesion in subject.lesions]
        fresh = [replace(plaque, enhancing=True) for plaque in added[:new]]
        seen.append(replace(subject, lesions=(*aged, *fresh)))
    return seen


def _aged(lesion: Lesion, day: float, doubling_days: float, response: float) -> Lesion:
    if lesion.kind == "tumour":
        start = max(volume_ml(lesion), 0.05)
        limit = max(250.0, 2 * start)
        grown = grown_volume_ml(start, np.array([day]), doubling_days=doubling_days, limit_ml=limit, response=response)
        factor = float(grown[0]) / start
    elif lesion.kind == "haemorrhage":
        factor = max(float(np.exp(-day / CLOT_DAYS)), 0.02)
    else:
        return lesion
    x, y, z = (radius * factor ** (1 / 3) for radius in lesion.radii_mm)
    shift = lesion.shift_mm * min(factor, 1.0) if lesion.kind == "haemorrhage" else lesion.shift_mm
    return replace(lesion, radii_mm=(x, y, z), shift_mm=shift)


def volume_ml(lesion: Lesion) -> float:
    """The volume of a lesion's ellipsoid."""
    return 4 / 3 * np.pi * float(np.prod(lesion.radii_mm)) / 1000
