"""What any image model must beat: a constant, the header alone, and a few classic measurements of the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from radfoundry.records import Case, Cohort, InputError, Series
from radfoundry.tasks import covariates, heads, questions
from radfoundry.tasks.examples import Examples
from radfoundry.tasks.radiomics import measured

MOST_WORDS = 12
HEADER_WORDS = ("manufacturer", "model", "view_position", "body_part", "convolution_kernel", "patient_position")
HEADER_NUMBERS = ("field_strength_t", "slice_thickness_mm", "tube_voltage_kv", "repetition_time_ms", "echo_time_ms")


@dataclass(frozen=True, eq=False)
class FittedConstant:
    """The same answer for everybody."""

    answer: np.ndarray
    held_out: np.ndarray | None

    def predict(self, rows: Examples) -> np.ndarray:
        """The constant, once per row."""
        return np.repeat(self.answer[None], len(rows), axis=0)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What describes this model."""
        return {"rung": "trivial"}, {"answer": np.atleast_1d(self.answer), "scalar": np.array([self.answer.ndim == 0])}


@dataclass(frozen=True)
class Constant:
    """The training patients' median, share, or shares of classes: an answer that never looks."""

    name: str = "trivial"

    def fit(self, rows: Examples, *, kind: str, classes: int) -> FittedConstant:
        """Remember what is usual."""
        if kind in ("multiclass", "ordinal"):
            counts = np.bincount(rows.answer.astype(int), minlength=max(2, classes)) + 0.5
            answer = counts / counts.sum()
        elif kind == "survival":
            answer = np.array(0.0)
        elif kind == "regression":
            answer = np.array(float(np.median(rows.answer)))
        else:
            answer = np.asarray(rows.answer, float).mean(axis=0)
        answer = np.asarray(answer, float)
        return FittedConstant(answer, np.repeat(answer[None], len(rows), axis=0))


@dataclass(frozen=True, eq=False)
class FittedMeasured:
    """A head on features that are not the encoder's."""

    name: str
    head: heads.FittedHead
    features: Callable[[Examples], np.ndarray]

    @property
    def held_out(self) -> np.ndarray | None:
        """Scores of the training rows from fits that had not seen them."""
        return self.head.held_out

    def predict(self, rows: Examples) -> np.ndarray:
        """Scores of rows."""
        return self.head.predict(self.features(rows))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What describes this model; only radiomics can be measured on new images alone."""
        if self.name != "radiomics":
            raise InputError(f"a {self.name} model cannot be kept as a predictor", remedy="use another rung")
        about = {"name": self.head.name, "kind": self.head.kind, "strength": self.head.strength}
        return {"rung": "radiomics", "head": about}, dict(self.head.arrays)


@dataclass(frozen=True, eq=False)
class Measured:
    """A head on other features than the encoder's: `features` gives (n, width) for rows."""

    name: str
    head: heads.Head
    features: Callable[[Examples], np.ndarray]
    views: Any = None

    def fit(self, rows: Examples, *, kind: str, classes: int) -> FittedMeasured:
        """Fit the head."""
        fitted = heads.fit(self.head, self.features(rows), rows.answer, rows.patient, kind=kind, classes=classes)
        return FittedMeasured(self.name, fitted, self.features)


class Radiomics:
    """Classic measurements of each series' image, taken once."""

    def __init__(self) -> None:
        self.kept: dict[str, np.ndarray] = {}

    def __call__(self, rows: Examples) -> np.ndarray:
        """(n, width) measurements of rows."""
        if rows.views is None:
            raise InputError("these rows came without their images", remedy="use rung=frozen")
        for key, row in zip(rows.series, rows.row, strict=True):
            if str(key) not in self.kept:
                self.kept[str(key)] = measured(rows.views.series[int(row)].load())
        return np.stack([self.kept[str(key)] for key in rows.series])


def header_features(
    cohort: Cohort, *, without: Sequence[str] = (), also: Sequence[str] = ()
) -> Callable[[Examples], np.ndarray]:
    """Age, sex, site, how many earlier exams, and how the image was acquired, as numbers; nothing of its pixels.

    `without` names facts that must not be used, above all the question's own target; `also` names labels (clinical
    covariates) that are used as well. Refuses a label that nobody has.
    """
    also = [name for name in also if name not in covariates.PERSONAL]  # age and sex are in the header
    for name in also:
        if all(case.labels.get(name) is None for case in cohort.cases):
            raise questions.no_label(cohort, where=f"covariate {name}", name=name)
    rows = {
        series.key: {name: value for name, value in _facts(case, series, also).items() if name not in without}
        for case in cohort.cases
        for series in case.series
    }
    return _as_features(rows)


def label_features(cohort: Cohort, names: Sequence[str]) -> Callable[[Examples], np.ndarray]:
    """Clinical covariates of each series' case as numbers, and nothing else; age and sex by their own names."""
    return _as_features(
        {
            series.key: {name: covariates.value_of(case, name) for name in names}
            for case in cohort.cases
            for series in case.series
        }
    )


def _as_features(rows: Mapping[str, Mapping[str, Any]]) -> Callable[[Examples], np.ndarray]:
    columns = _columns(list(rows.values()))

    def features(examples: Examples) -> np.ndarray:
        return np.array([[column(rows[str(key)]) for column in columns] for key in examples.series], float)

    return features


def _facts(case: Case, series: Series, also: Sequence[str] = ()) -> dict[str, Any]:
    acquisition = series.acquisition
    facts: dict[str, Any] = {"age_years": case.age_years, "sex": case.sex, "site": case.site, "visit": len(case.priors)}
    facts |= {name: getattr(acquisition, name) for name in (*HEADER_WORDS, *HEADER_NUMBERS)}
    facts |= {f"voxel {axis}": round(step, 3) for axis, step in zip("ijk", series.spacing_mm, strict=True)}
    facts |= {f"size {axis}": float(n) for axis, n in zip("ijk", series.shape[1:], strict=True)}
    return facts | {name: case.labels.get(name) for name in also}


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[Callable[[Mapping[str, Any]], float]]:
    """One column per number and per frequent word, and one for what is missing."""
    columns: list[Callable[[Mapping[str, Any]], float]] = [lambda row: 1.0]
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        if any(value is None for value in values):
            columns.append(lambda row, name=name: float(row[name] is None))
        known = [value for value in values if value is not None]
        if known and all(isinstance(value, (int, float)) for value in known):
            middle = float(np.median(known))
            columns.append(lambda row, name=name, middle=middle: middle if row[name] is None else float(row[name]))
            continue
        words, counts = np.unique([str(value) for value in known], return_counts=True)
        frequent = words[np.argsort(-counts, kind="stable")][:MOST_WORDS]
        columns += [lambda row, name=name, word=word: float(str(row[name]) == word) for word in frequent]
    return columns


def restore(about: Mapping[str, Any], arrays: dict[str, np.ndarray], _encoder: Any) -> FittedConstant | FittedMeasured:
    """The baseline that `state` described."""
    if about["rung"] == "trivial":
        answer = arrays["answer"]
        return FittedConstant(answer[0] if arrays["scalar"][0] else answer, None)
    head = heads.FittedHead(about["head"]["name"], about["head"]["kind"], float(about["head"]["strength"]), arrays)
    return FittedMeasured("radiomics", replace(head), Radiomics())
