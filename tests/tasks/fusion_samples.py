"""Exams of several sequences made as arrays: who has which, and where the answer lies."""

from types import SimpleNamespace

import numpy as np

from radfoundry.records import Acquisition, Case, Series
from radfoundry.tasks.examples import Examples

WIDTH = 6
SEQUENCES = ("DWI", "T1w", "T2w")


def answers_of(signal):
    return {
        "binary": (signal > 0).astype(int),
        "multiclass": np.digitize(signal, [-0.7, 0.7]),
        "ordinal": np.digitize(signal, [-0.7, 0.7]),
        "multilabel": np.column_stack([signal > 0, signal > 0.5]).astype(int),
        "regression": signal,
        "survival": np.column_stack([6 - signal, signal > -1]),
    }


def make_rows(kind="binary", *, patients=40, missing=0.2, seed=0, **facts):
    """Rows of exams with up to three sequences; DWI and T1w each hold half of the answer, T2w nothing.

    Every exam keeps at least one sequence; some have two series of one sequence.
    """
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(patients, 2))
    answer = answers_of(parts.sum(axis=1))[kind]
    series, features, owner, cases = [], [], [], {}
    for number in range(patients):
        there = [name for name in SEQUENCES if rng.random() >= missing] or ["T2w"]
        key = f"case{number:03d}"
        age = 50 + 10 * parts[number].sum() + rng.normal()
        cases[key] = Case(key, f"patient{number:03d}", age_years=float(age), sex="FM"[number % 2])
        for name in [*there, *(["DWI"] if "DWI" in there and number % 5 == 0 else [])]:
            place = {"DWI": 0, "T1w": 1}.get(name)
            seen = 0.3 * rng.normal(size=WIDTH)
            seen[0] += 0 if place is None else parts[number, place]
            plane = {"DWI": "axial", "T1w": "axial"}.get(name, "sagittal")
            made = Series(
                f"series{len(series):03d}",
                f"patient{number:03d}",
                key,
                Acquisition(modality="MR", laterality="LR"[len(series) % 2]),
                (1, 4, 4, 4),
                (1.0, 1.0, 1.0),
                sequence=name,
                plane=plane,
            )
            series.append(made)
            features.append(seen)
            owner.append(number)
    views = SimpleNamespace(series=tuple(series), cases=cases)
    owner = np.array(owner)
    return Examples(
        np.array(features),
        answer[owner],
        np.array([item.case for item in series]),
        np.array([item.patient for item in series]),
        np.full(len(series), "here"),
        np.arange(len(series)),
        np.array([item.key for item in series]),
        views,
    )
