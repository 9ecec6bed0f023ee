"""Invented people: names, numbers and dates that look real in a header, so that hiding them is put to the test."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import numpy as np

FAMILY = ("Amsel", "Birkholm", "Castellane", "Dunmore", "Eskildsen", "Farrow", "Grunwald", "Hathersage", "Iversen")
FAMILY += ("Jarnefelt", "Kestrel", "Lindqvist", "Marchetti", "Norwood", "Okonjo", "Pellerin", "Quist", "Rosenthal")
WOMEN = ("Agnes", "Beatriz", "Clara", "Dagny", "Elin", "Farida", "Greta", "Hana", "Ilse", "Johanna", "Kirsten", "Lucia")
MEN = ("Anton", "Bruno", "Carl", "Dario", "Emil", "Faisal", "Gustav", "Henrik", "Ivan", "Jonas", "Klaus", "Leo")
FIRST_DAY = datetime.date(2019, 1, 2)
LAST_DAY = datetime.date(2024, 12, 20)


@dataclass(frozen=True, slots=True)
class Person:
    """Who a scan belongs to; dates are `YYYYMMDD` as DICOM writes them. Nobody real."""

    patient_id: str
    name: str
    sex: str
    age_years: float
    birth_date: str
    study_date: str
    accession: str


def draw_date(rng: np.random.Generator) -> str:
    """The day of an examination, `YYYYMMDD`, any day of six years."""
    return (FIRST_DAY + datetime.timedelta(days=int(rng.integers((LAST_DAY - FIRST_DAY).days)))).strftime("%Y%m%d")


def later(date: str, days: float) -> str:
    """A date `YYYYMMDD` some days after another.

    >>> later("20231230", 3)
    '20240102'
    """
    return (datetime.datetime.strptime(date, "%Y%m%d") + datetime.timedelta(days=round(days))).strftime("%Y%m%d")


def draw_person(case: int, *, age_years: float, sex: str, rng: np.random.Generator, study_date: str = "") -> Person:
    """An invented person of a given age and sex; the patient number is unique to the case."""
    first = (WOMEN if sex == "F" else MEN)[int(rng.integers(12))]
    family = FAMILY[int(rng.integers(len(FAMILY)))]
    study = datetime.datetime.strptime(study_date or draw_date(rng), "%Y%m%d").date()
    birth = study - datetime.timedelta(days=round(age_years * 365.25))
    return Person(
        patient_id=f"RF{case:06d}-{int(rng.integers(1000, 9999))}",
        name=f"{family}^{first}",
        sex=sex,
        age_years=age_years,
        birth_date=birth.strftime("%Y%m%d"),
        study_date=study.strftime("%Y%m%d"),
        accession=f"A{int(rng.integers(10**7, 10**8))}",
    )
