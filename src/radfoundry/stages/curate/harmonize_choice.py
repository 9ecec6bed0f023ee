"""What is harmonised: the series with their sites, who teaches, what is looked at, and what has to be left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from radfoundry.records import Cohort, InputError, Series
from radfoundry.stages.curate.settings import Config

if TYPE_CHECKING:
    from radfoundry.tasks.harmonized import Looking

COMBAT = "combat"


@dataclass(frozen=True)
class Chosen:
    """The series in question with the site of each, and those that may be learned from."""

    series: tuple[Series, ...]
    site: tuple[str, ...]
    teaching: tuple[Series, ...]
    notes: tuple[str, ...] = ()


def choose(cohort: Cohort, config: Config) -> Chosen:
    """The series asked for that state their site, and which of them teach."""
    from radfoundry.data.derived import fact_of
    from radfoundry.tasks.examples import matches

    wanted = {fact: [values] if isinstance(values, str) else list(values) for fact, values in config.on.items()}
    asked = [item for item in cohort.series if matches(item, wanted)]
    placed = [(item, site) for item in asked if (site := fact_of(item, config.by)) is not None]
    if not placed:
        raise InputError(
            f"none of {len(asked)} series states {config.by}" if asked else f"no series matches {wanted}",
            where=str(cohort.path),
            remedy="choose by=model or by=manufacturer, or other series with on.sequence=",
            finding="no-match",
        )
    notes = [f"{len(cohort.series) - len(asked)} of {len(cohort.series)} series were not asked for"]
    notes = notes if len(asked) < len(cohort.series) else []
    if len(placed) < len(asked):
        notes.append(f"{len(asked) - len(placed)} series do not state {config.by} and were left out")
    series = tuple(item for item, _ in placed)
    teaching = series
    if config.split is not None:
        training = {case.key for case in cohort.part(config.split, "train").cases}
        teaching = tuple(item for item in series if item.case in training)
    else:
        notes.append(
            "Learned from all patients: before testing anything on them, name a split and learn from its part train."
        )
    return Chosen(series, tuple(site for _, site in placed), teaching, tuple(notes))


def looking_of(config: Config) -> Looking:
    """The encoder with the part of the image that it is shown."""
    from radfoundry.nets import embedding
    from radfoundry.tasks.harmonized import Looking

    return Looking(embedding.open_encoder(config.encoder), config.crop_mm)


def covariates_of(cohort: Cohort, chosen: Chosen, names: Sequence[str]) -> np.ndarray:
    """Protected covariates `(n, q)` of the series' cases; refuses one that is missing or no number."""
    from radfoundry.tasks.questions import value_of

    cases = {case.key: case for case in cohort.cases}
    table = np.zeros((len(chosen.series), len(names)))
    for column, name in enumerate(names):
        for row, series in enumerate(chosen.series):
            value = value_of(cases[series.case], name)
            value = {"F": 0.0, "M": 1.0}.get(value, value) if isinstance(value, str) else value
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InputError(
                    f"{value!r} is no number" if value is not None else "no value",
                    where=f"covariate {name} of case {series.case}",
                    remedy="protect only labels that every case has as a number",
                    finding="covariate",
                )
            table[row, column] = float(value)
    return table
