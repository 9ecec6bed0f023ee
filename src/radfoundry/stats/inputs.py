"""What every statistic does first: accept predictions or plain arrays, and refuse what cannot be judged."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import InputError, Predictions

Seed = int | np.random.Generator


def as_predictions(
    data: Predictions | ArrayLike,
    score: ArrayLike | None = None,
    *,
    patient: ArrayLike | None = None,
    site: ArrayLike | None = None,
) -> Predictions:
    """Turn targets and scores into predictions, or pass predictions through.

    Args:
        data: predictions, or the targets as (n,) or (n, classes).
        score: the scores beside the targets; refused next to predictions, needed otherwise.
        patient: (n,) names of patients; rows of one patient are never treated as independent.
        site: (n,) names of sites.

    >>> as_predictions([0, 1], [0.2, 0.9]).score.tolist()
    [0.2, 0.9]
    """
    if isinstance(data, Predictions):
        if score is not None or patient is not None or site is not None:
            raise InputError("predictions and separate columns were both given", remedy="give one or the other")
        found = data
    elif score is None:
        raise InputError("targets came without scores", remedy="give Predictions, or targets and scores")
    else:
        columns = {"patient": patient, "site": site}
        given = {name: np.asarray(column) for name, column in columns.items() if column is not None}
        found = Predictions.of(np.asarray(data), np.asarray(score), **given)
    if len(found) == 0:
        raise InputError("no rows", remedy="give at least one case")
    return found


def binary_columns(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Truth as (n,) booleans and score as (n,) floats; refuses targets other than 0/1 and scores that are not finite.

    >>> binary_columns(as_predictions([0, 1], [0.2, 0.9]))[0].tolist()
    [False, True]
    """
    return true_or_false(predictions.target, "target"), finite_numbers(predictions.score, "score")


def true_or_false(column: ArrayLike, name: str) -> np.ndarray:
    """A column of 0/1 or booleans as (n,) booleans; anything else is refused by name."""
    values = one_column(column, name)
    if values.dtype.kind == "b":
        return values
    known = values.dtype.kind in "iuf" and bool(np.isin(values, (0, 1)).all())
    if not known:
        shown = ", ".join(str(value) for value in np.unique(values)[:5])
        raise InputError(f"{name} must be 0 or 1, found {shown}", remedy="map the labels to 0 (without) and 1 (with)")
    return values.astype(bool)


def finite_numbers(column: ArrayLike, name: str) -> np.ndarray:
    """A column of finite numbers as (n,) floats; text, NaN and infinities are refused by name."""
    values = one_column(column, name)
    if values.dtype.kind not in "biuf":
        raise InputError(f"{name} must hold numbers, found {values.dtype}", remedy="convert it to numbers")
    numbers = values.astype(float)
    broken = int((~np.isfinite(numbers)).sum())
    if broken:
        raise InputError(f"{broken} of {len(numbers)} rows of {name} are not finite", remedy="drop them and say so")
    return numbers


def one_column(column: ArrayLike, name: str) -> np.ndarray:
    """A column as an (n,) array; (n, 1) is flattened, wider ones are refused."""
    values = np.asarray(column)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise InputError(f"{name} has shape {values.shape}", remedy="give one number per case")
    return values


def one_class_note(truth: np.ndarray) -> str:
    """Why two classes cannot be compared, or an empty string when both are there."""
    positives = int(truth.sum())
    if positives == 0:
        return f"no positive case among {len(truth)}"
    return f"no negative case among {len(truth)}" if positives == len(truth) else ""


def clusters(patient: ArrayLike) -> tuple[np.ndarray, int]:
    """The number of each row's patient (0, 1, ... in order of name) and how many patients there are."""
    names, index = np.unique(np.asarray(patient), return_inverse=True)
    return index.reshape(-1), len(names)


def same_cases(first: Predictions, second: Predictions) -> None:
    """Refuse a paired comparison of two predictions that are not of the same cases in the same order."""
    if len(first) != len(second):
        raise InputError(
            f"the first predictor has {len(first)} rows, the second {len(second)}",
            remedy="pair by case, or paired=False",
        )
    if not np.array_equal(first.case, second.case) or not np.array_equal(first.patient, second.patient):
        raise InputError("the two predictors list different cases", remedy="sort both by case, or paired=False")
    if not np.array_equal(first.target, second.target):
        raise InputError("the two predictors have different targets", remedy="judge both against one truth")


def interval_level(level: float) -> float:
    """The confidence level, refused unless strictly between 0 and 1.

    >>> interval_level(0.9)
    0.9
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level}", remedy="give a share between 0 and 1, for example 0.95")
    return float(level)


def generator(rng: Seed) -> np.random.Generator:
    """A random generator from a seed, or the generator given."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def at_least(value: int, least: int, name: str) -> int:
    """A whole number, refused when smaller than `least`."""
    if int(value) != value or value < least:
        raise InputError(f"{name} is {value}", remedy=f"give a whole number of at least {least}")
    return int(value)


def choice(value: str, known: tuple[str, ...] | list[str], name: str) -> str:
    """One of the known words; others are refused with the list."""
    if value not in known:
        raise InputError(f"{name} is {value!r}", remedy=f"choose one of {', '.join(known)}")
    return value
