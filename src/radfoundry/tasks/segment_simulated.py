"""A cohort of simulated exams with true masks, held in memory: for recipes and trials that need no files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.records import Acquisition, Case, Cohort, InputError, Series
from radfoundry.tasks.segment import whole
from radfoundry.volume import Geometry, Volume

NAME = "simulated"
TRUTHS = ("organs", "tissues", "lesion")


def cohort(asked: Mapping[str, Any], *, seed: int) -> Cohort:
    """Exams of a simulated cohort (`name`, with `cases`, its own options and `truth`) as a cohort.

    `truth` is organs (default), tissues or lesion: what the masks outline. Every grid of an exam has one mask. The
    patients of another seed are others. Refuses an unknown name, fewer than four cases and truths that nobody has.
    """
    options = dict(asked)
    name, truth = str(options.pop("name", "")), str(options.pop("truth", TRUTHS[0]))
    cases = whole(options.pop("cases", 16), name="task.simulate.cases", least=4)
    if truth not in TRUTHS:
        raise InputError(f"truth={truth!r}", where="task.simulate", remedy=f"one of {', '.join(TRUTHS)}")
    preset = registry.build("cohorts", name, **{"tissues": truth != "lesion", **options})
    made = [exam for case in range(cases) for exam in _exams(preset.simulate(case, seed=seed), truth)]
    if not any(series.acquisition.modality == "SEG" for case in made for series in case.series):
        raise InputError(f"{name} has no {truth} to outline", where="task.simulate", remedy="choose another truth")
    mark = runs.digest([name, cases, truth, options, seed])
    return Cohort(tuple(made), fingerprint=f"simulated-{mark}", provenance={"simulated": name})


def _exams(made: Any, truth: str) -> list[Case]:
    """One case an exam, in order; later ones know the earlier."""
    patient = str(made.person.patient_id)
    groups: dict[int, list[Series]] = {}
    drawn_on: dict[int, list[Geometry]] = {}
    for number, item in enumerate(made.series):
        key = f"{patient}-{item.exam}-{number}"
        case = f"{patient}-{item.exam}"
        facts = {"patient": patient, "case": case, "site": item.site}
        found = groups.setdefault(item.exam, [])
        found.append(_held(key, item.volume, item.acquisition, item.name, facts))
        mask = item.truth.get(truth)
        known = drawn_on.setdefault(item.exam, [])
        if mask is not None and not any(item.volume.geometry.matches(grid) for grid in known):
            known.append(item.volume.geometry)
            values = (np.asarray(mask.array[0]) >= 0.5) if mask.units == "share" else mask.array[0]
            if values.any():
                drawn = Volume.of(values.astype(np.uint8), item.volume.affine)
                found.append(_held(f"{key}-mask", drawn, Acquisition(modality="SEG"), "mask", facts))
    keys = [f"{patient}-{exam}" for exam in sorted(groups)]
    return [
        Case(
            key=key,
            patient=patient,
            series=tuple(groups[exam]),
            site=made.site,
            age_years=made.person.age_years,
            sex=made.person.sex,
            date=f"visit {exam:03d}",
            priors=tuple(keys[:place]),
        )
        for place, (exam, key) in enumerate(zip(sorted(groups), keys, strict=True))
    ]


def _held(key: str, volume: Volume, acquisition: Acquisition, name: str, facts: Mapping[str, Any]) -> Series:
    return Series(
        key=key,
        patient=facts["patient"],
        case=facts["case"],
        acquisition=acquisition,
        shape=volume.array.shape,
        spacing_mm=volume.spacing_mm,
        site=facts["site"],
        sequence=name,
        content=key,
        loader=lambda _series: volume,
    )
