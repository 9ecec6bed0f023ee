"""What each exam adds to a measure, as a table of a run: so that two runs on the same exams can be paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from radfoundry import runs
from radfoundry.records import Estimate, InputError
from radfoundry.stats.bootstrap import draw_weights
from radfoundry.stats.comparisons import mean_difference

NAME = "per-case.csv"
DRAWS = 2000
METHOD = "paired bootstrap by patient, percentile"


@dataclass(frozen=True)
class Row:
    """One exam's part of a measure that is the sum of `top` over the sum of `bottom`; `sign` -1: lower is better."""

    measure: str
    case: str
    patient: str
    top: float
    bottom: float = 1.0
    sign: int = 1


def write(rows: Sequence[Row], folder: Path) -> None:
    """The rows as a table of the run."""
    import pandas as pd

    with runs.atomic(folder / NAME) as partial:
        pd.DataFrame([asdict(row) for row in rows]).to_csv(partial, index=False, float_format="%.9g")


def read(folder: str | Path) -> list[Row]:
    """The rows that a run wrote; refuses a run without."""
    import pandas as pd

    path = Path(folder) / NAME
    try:
        table = pd.read_csv(path, dtype={"measure": str, "case": str, "patient": str})
        return [Row(*values) for values in table[list(Row.__dataclass_fields__)].itertuples(index=False)]
    except FileNotFoundError:
        raise InputError(
            "has no numbers of single exams", where=str(folder), remedy="give finished runs of adapt", finding="no-rows"
        ) from None
    except (KeyError, ValueError):
        raise InputError("is no table of single exams", where=str(path), finding="damaged") from None


def paired(one: Sequence[Row], other: Sequence[Row], *, seed: int = 0) -> dict[str, Estimate]:
    """For every measure of both: one minus the other on the exams of both, paired by patient; positive is better.

    Means have Student's interval, ratios of sums (such as F1) one from drawing patients. Refuses runs that
    share no exam in any measure.

    >>> first = [Row("dice", "a", "a", 0.8), Row("dice", "b", "b", 0.9)]
    >>> print(paired(first, [Row("dice", "a", "a", 0.7), Row("dice", "b", "b", 0.6)])["dice"])
    0.20 (-1.07 to 1.47)
    """
    found: dict[str, Estimate] = {}
    for name in dict.fromkeys(row.measure for row in one):
        first, second = ({row.case: row for row in rows if row.measure == name} for rows in (one, other))
        cases = sorted(set(first) & set(second))
        if cases:
            found[name] = _difference([first[case] for case in cases], [second[case] for case in cases], seed)
    if not found:
        raise InputError("the two runs share no exam", remedy="give runs on the same cohort with the same folds")
    return found


def _difference(one: Sequence[Row], other: Sequence[Row], seed: int) -> Estimate:
    patient = np.array([row.patient for row in one])
    if all(row.bottom == 1 for row in (*one, *other)):
        # A plain mean: Student's interval stays honest with the few exams that outlines and registrations have.
        gaps = np.array([row.sign * (row.top - twin.top) for row, twin in zip(one, other, strict=True)])
        known = np.isfinite(gaps)
        if not known.any():
            return Estimate.undefined("nothing to count", n=len(gaps), method="paired t")
        return mean_difference(gaps[known], np.zeros(int(known.sum())), patient=patient[known])
    weights = np.vstack([np.ones(len(one)), draw_weights(patient, draws=DRAWS, rng=seed)])
    first, second = (_ratio(rows, weights) for rows in (one, other))
    drawn = one[0].sign * (first - second)
    value, rest = float(drawn[0]), drawn[1:][np.isfinite(drawn[1:])]
    count = len(np.unique(patient))
    if not np.isfinite(value):
        return Estimate.undefined("nothing to count", n=count, method=METHOD)
    if len(rest) < DRAWS / 2:
        return Estimate(value, n=count, method=METHOD, note="too few exams for an interval")
    low, high = np.quantile(rest, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n=count, method=METHOD)


def _ratio(rows: Sequence[Row], weights: np.ndarray) -> np.ndarray:
    """The sum of tops over the sum of bottoms in each draw; exams without a number do not count."""
    top, bottom = (np.array([getattr(row, name) for row in rows], float) for name in ("top", "bottom"))
    known = np.isfinite(top) & np.isfinite(bottom)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights[:, known] @ top[known]) / (weights[:, known] @ bottom[known])
