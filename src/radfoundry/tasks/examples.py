"""Rows that teach or are asked: one per series, with its features, its case's answer, whose it is and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from radfoundry import registry
from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Acquisition, InputError, Predictions, Series

Wanted = Mapping[str, Sequence[str]]


@dataclass(frozen=True, eq=False)
class Examples:
    """One row per series. `row` is its place in the table of features, by which `views` finds its image.

    features (n, width); answer (n,) or (n, parts); case, patient, site, series (n,).
    """

    features: np.ndarray
    answer: np.ndarray
    case: np.ndarray
    patient: np.ndarray
    site: np.ndarray
    row: np.ndarray
    series: np.ndarray
    views: Any = None

    def __len__(self) -> int:
        return len(self.case)

    def take(self, keep: np.ndarray) -> Examples:
        """The rows named by a boolean mask or an index array."""
        names = ("features", "answer", "case", "patient", "site", "row", "series")
        return replace(self, **{name: getattr(self, name)[keep] for name in names})


class Fitted(Protocol):
    """Something that has learned: it scores rows, and remembers what held-out training rows scored."""

    @property
    def held_out(self) -> np.ndarray | None:
        """Scores of the training rows from fits that had not seen them."""
        ...

    def predict(self, rows: Examples) -> np.ndarray:
        """Scores of rows, as `head_answers.answer` describes them."""
        ...


class Learner(Protocol):
    """Something that learns from rows: a head on pooled features, an adapter, a whole encoder, or nothing at all."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    def fit(self, rows: Examples, *, kind: str, classes: int) -> Fitted:
        """Learn the answers of these rows."""
        ...


def examples(
    embeddings: Embeddings, truth: Mapping[str, Any], wanted: Wanted, *, name: str = "series", views: Any = None
) -> Examples:
    """The series that match and whose case has an answer; refused when there is none."""
    keep = [index for index, series in enumerate(embeddings.series) if series.case in truth and matches(series, wanted)]
    if not keep:
        raise no_match(embeddings.series, wanted, where=name)
    chosen = [embeddings.series[index] for index in keep]
    return Examples(
        features=embeddings.vectors[keep].astype(float),
        answer=np.array([truth[series.case] for series in chosen]),
        case=np.array([series.case for series in chosen]),
        patient=np.array([series.patient for series in chosen]),
        site=np.array([series.site or "unknown" for series in chosen]),
        row=np.array(keep),
        series=np.array([series.key for series in chosen]),
        views=views,
    )


def matches(series: Series, wanted: Wanted) -> bool:
    """Whether a series has one of the wanted values for every fact named (sequence, plane, site or a header field)."""
    for fact, values in wanted.items():
        found = fact_of(series, fact)
        if found is None or str(found) not in [str(value) for value in values]:
            return False
    return True


def no_match(series: Iterable[Series], wanted: Wanted, *, where: str) -> InputError:
    """The error for facts that no series with an answer has: each asked for, with those that are there."""
    there = list(series)
    asked = " and ".join(f"{fact} {' or '.join(map(str, values))}" for fact, values in wanted.items())
    said = []
    for fact in wanted:
        found = Counter("not stated" if fact_of(one, fact) is None else str(fact_of(one, fact)) for one in there)
        said.append(
            f"{fact} here: {registry.listed((f'{name} ({count})' for name, count in found.most_common()), most=12)}"
        )
    return InputError(
        f"no series with an answer has {asked or 'what is asked for'}",
        where=where,
        remedy="; ".join(said) or "label the cases of these series",
        finding="no-match",
    )


def fact_of(series: Series, fact: str) -> Any:
    """What a series says of one fact; refused when series have no such fact."""
    if hasattr(series, fact):
        return getattr(series, fact)
    if hasattr(series.acquisition, fact):
        return getattr(series.acquisition, fact)
    known = ("sequence", "plane", "site", *Acquisition.__dataclass_fields__)
    raise registry.unknown("fact of a series", fact, known)


def by_case(scored: Sequence[tuple[Examples, np.ndarray]]) -> Predictions:
    """One row per case: the mean of its series' scores, in order of the case's name."""
    case = np.concatenate([rows.case for rows, _ in scored])
    score = np.concatenate([values for _, values in scored])
    names, first, group = np.unique(case, return_index=True, return_inverse=True)
    total = np.zeros((len(names), *score.shape[1:]))
    np.add.at(total, group, score)
    counts = np.bincount(group).reshape(-1, *[1] * (score.ndim - 1))
    column = {
        name: np.concatenate([getattr(rows, name) for rows, _ in scored])[first]
        for name in ("answer", "patient", "site")
    }
    return Predictions(names, column["patient"], column["answer"], total / counts, column["site"])
