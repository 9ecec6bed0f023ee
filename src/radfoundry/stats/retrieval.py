"""How often the right item is among the nearest: recall at k with its interval, ties counted fairly."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.stats.bootstrap import bootstrap, bootstrap_difference
from radfoundry.stats.inputs import clusters, interval_level
from radfoundry.stats.proportions import effective_rows, limits_at
from radfoundry.stats.weighted import weighted_mean

TIE = 1e-6
MEAN_HIT = weighted_mean("recall", lambda data: data.score)


def hits(likeness: ArrayLike, *, nearest: int) -> np.ndarray:
    """`(N,)` the chance that each row's own column (the diagonal) is among its `nearest` columns.

    0 or 1, and a share where other columns are exactly as near: ties are broken by lot, so that features that say
    nothing give chance and not success.

    >>> hits(np.zeros((4, 4)), nearest=1).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    table = _square(likeness)
    if nearest < 1:
        raise InputError(f"{nearest} nearest", remedy="give at least 1")
    own = table.diagonal()[:, None]
    above = (table > own + TIE).sum(axis=1)
    alike = (np.abs(table - own) <= TIE).sum(axis=1)
    return np.clip((nearest - above) / alike, 0.0, 1.0)


def ranks(likeness: ArrayLike) -> np.ndarray:
    """`(N,)` the place of each row's own column, 1 for the nearest; ties get the mean of their places.

    >>> ranks([[0.9, 0.1], [0.8, 0.2]]).tolist()
    [1.0, 2.0]
    """
    table = _square(likeness)
    own = table.diagonal()[:, None]
    above = (table > own + TIE).sum(axis=1)
    return above + ((np.abs(table - own) <= TIE).sum(axis=1) + 1) / 2


def recall(hit: ArrayLike, patient: ArrayLike, *, level: float = 0.95, name: str = "recall") -> Estimate:
    """The mean of `hits` with Wilson's interval at the number of independent rows, rows of one patient together.

    The rows share their candidates; that dependence is small and not in the interval.

    >>> print(recall([1, 1, 0, 1, 0, 1], list("abcdef")))
    0.67 (0.30-0.90)
    """
    interval_level(level)
    rows = np.asarray(hit, float)
    group, count = clusters(patient)
    if len(group) != len(rows):
        raise InputError(f"{len(rows)} rows but {len(group)} patients", remedy="give one patient per row")
    if len(rows) == 0:
        return Estimate.undefined(f"no case to take the {name} of", method="Wilson")
    share = float(rows.mean())
    effective = float(len(rows)) if count == len(rows) else effective_rows(rows, group, count)
    low, high = limits_at(share, effective, level=level, method="wilson")
    title = "Wilson" if count == len(rows) else "Wilson, clustered by patient"
    return Estimate(share, low, high, level=level, method=title, n=len(rows))


def over_chance(estimate: Estimate, *, nearest: int) -> Estimate:
    """A recall in units of what guessing gives among as many candidates as there are rows."""
    chance = min(1.0, nearest / max(1, estimate.n))
    return Estimate(
        estimate.value / chance,
        estimate.low / chance,
        estimate.high / chance,
        level=estimate.level,
        method=estimate.method,
        n=estimate.n,
        note=f"chance is {chance:.3f}: {nearest} of {estimate.n}",
    )


def mean_of(values: ArrayLike, patient: ArrayLike, *, rng: int = 0) -> Estimate:
    """The mean of one value a row, with a bootstrap over patients."""
    return bootstrap(MEAN_HIT, _table(values, patient), rng=rng)


def difference(first: ArrayLike, second: ArrayLike, patient: ArrayLike, *, rng: int = 0) -> Estimate:
    """Mean of one value a row minus that of another of the same rows, drawing patients together."""
    return bootstrap_difference(MEAN_HIT, _table(first, patient), _table(second, patient), rng=rng)


def _table(values: ArrayLike, patient: ArrayLike) -> Predictions:
    rows = np.asarray(values, float)
    return Predictions.of(np.zeros(len(rows), int), rows, patient=np.asarray(patient))


def _square(likeness: ArrayLike) -> np.ndarray:
    table = np.asarray(likeness, float)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise InputError(f"likeness of shape {table.shape}", remedy="give as many columns as rows, own on the diagonal")
    if not np.isfinite(table).all():
        raise InputError("likeness holds NaN or infinite numbers", remedy="look at the features")
    return table
