"""What every simulated cohort in the registry must do: whole patients, truth on the images' grids, the same again."""

import importlib
import inspect
import math

import numpy as np
import pytest

from radfoundry import registry
from radfoundry.simulate.anatomy.regions import REGIONS, region
from radfoundry.simulate.region_words import finding_name
from radfoundry.simulate.vocabulary import PHRASES

FAST = ("random-shapes-mri", "elbow-mri")  # with one sequence; all others are slow


def smallest(name):
    """The options that make the smallest diseased patient, of those that the cohort has."""
    known = inspect.signature(registry.resolve("cohorts", name)).parameters
    wanted = {"size": "small", "lesion_rate": 1.0} | ({"sequences": ["T1w"]} if name in FAST else {})
    return {key: value for key, value in wanted.items() if key in known}


def made(name, case=0):
    return registry.build("cohorts", name, **smallest(name)).simulate(case, seed=1)


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in registry.COHORTS]
)
def test_keeps_the_contract(name):
    patient = made(name)
    assert patient.series and patient.person.patient_id and patient.report.text
    for series in patient.series:
        array = series.volume.array
        assert np.isfinite(array).all() and array.std() > 0, series.name
        assert series.acquisition.modality and series.site
        assert all(math.isfinite(value) for value in series.degradations.values())
        for key, mask in series.truth.items():
            assert mask.geometry.matches(series.volume.geometry), key
            assert np.isfinite(mask.array).all()
    for span in patient.report.spans:
        assert patient.report.text[span.start : span.end].lower() in [words.lower() for words in PHRASES[span.finding]]
    assert patient.labels and all(isinstance(value, (str, int, float)) for value in patient.labels.values())
    again = made(name)
    assert again.labels == patient.labels and again.report == patient.report
    for one, other in zip(patient.series, again.series, strict=True):
        assert np.array_equal(one.volume.array, other.volume.array) and one.acquisition == other.acquisition


@pytest.mark.parametrize("name", REGIONS)
def test_every_finding_of_a_region_has_words(name):
    assert [kind for kind in region(name).kinds if finding_name(kind) not in PHRASES] == []


def test_every_entry_leads_to_a_builder():
    for name, target in registry.COHORTS.items():
        module, _, attribute = target.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute)), name
