"""Shares of cases with intervals that hold for few cases and for shares near 0 and 1, and for repeated patients."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtri

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import choice, clusters, interval_level, true_or_false

METHODS = ("wilson", "clopper-pearson")


def wilson_limits(hits: ArrayLike, total: ArrayLike, *, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score limits of a share, for numbers or arrays; NaN where the total is 0.

    Source: Wilson, J Am Stat Assoc 1927;22:209.

    >>> low, high = wilson_limits(121, 147)
    >>> round(float(low), 4), round(float(high), 4)
    (0.7535, 0.8763)
    """
    z = float(ndtri(0.5 + interval_level(level) / 2))
    k, n = np.asarray(hits, float), np.asarray(total, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = k / n
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        reach = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Rounding may leave 1e-17 where the limit is exactly 0 or 1.
    low = np.where(k == 0, 0.0, centre - reach)
    high = np.where(k == n, 1.0, centre + reach)
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def clopper_pearson_limits(hits: float, total: float, *, level: float = 0.95) -> tuple[float, float]:
    """The exact binomial limits, never too narrow and usually too wide; also for effective (not whole) counts.

    Source: Clopper & Pearson, Biometrika 1934;26:404.

    >>> [round(limit, 4) for limit in clopper_pearson_limits(0, 10)]
    [0.0, 0.3085]
    """
    tail = (1 - interval_level(level)) / 2
    if total <= 0:
        return math.nan, math.nan
    low = 0.0 if hits <= 0 else float(betaincinv(hits, total - hits + 1, tail))
    high = 1.0 if hits >= total else float(betaincinv(hits + 1, total - hits, 1 - tail))
    return low, high


def proportion(hits: int, total: int, *, level: float = 0.95, method: str = "wilson", name: str = "share") -> Estimate:
    """A share of independent cases with its interval; undefined (with the reason) when there is no case.

    >>> print(proportion(9, 10))
    0.90 (0.60-0.98)
    """
    choice(method, METHODS, "method")
    interval_level(level)
    if not 0 <= hits <= total:
        raise InputError(f"{hits} hits of {total} is impossible", remedy="give 0 <= hits <= total")
    title = {"wilson": "Wilson", "clopper-pearson": "Clopper-Pearson"}[method]
    if total == 0:
        return Estimate.undefined(f"no case to take the {name} of", method=title, level=level)
    if method == "wilson":
        low, high = (float(limit) for limit in wilson_limits(hits, total, level=level))
    else:
        low, high = clopper_pearson_limits(hits, total, level=level)
    return Estimate(hits / total, low, high, level=level, method=title, n=int(total))


def clustered_proportion(
    hit: ArrayLike, patient: ArrayLike, *, level: float = 0.95, method: str = "wilson", name: str = "share"
) -> Estimate:
    """A share of rows with an interval that knows which rows belong to one patient.

    The rows are worth fewer independent ones (effective number = rows / design effect, from the ratio estimator's
    variance over patients); the chosen interval is then taken at the effective counts. One row per patient
    gives the plain interval.

    Source: Rao & Scott, Biometrics 1992;48:577 (effective counts); Saha et al., Stat Med 2016;35:3107.

    >>> clustered_proportion([1, 1, 0, 1], ["a", "a", "b", "c"]).value
    0.75
    """
    choice(method, METHODS, "method")
    rows = true_or_false(hit, name)
    group, count = clusters(patient)
    if len(group) != len(rows):
        raise InputError(f"{len(rows)} rows but {len(group)} patients", remedy="give one patient per row")
    if count == len(rows) or len(rows) == 0:
        return proportion(int(rows.sum()), len(rows), level=level, method=method, name=name)
    share = float(rows.mean())
    effective = effective_rows(rows, group, count)
    low, high = limits_at(share, effective, level=level, method=method)
    title = {"wilson": "Wilson", "clopper-pearson": "Clopper-Pearson"}[method] + ", clustered by patient"
    note = f"{len(rows)} rows of {count} patients count as {effective:.0f}"
    return Estimate(share, low, high, level=level, method=title, n=len(rows), note=note)


def effective_rows(rows: np.ndarray, group: np.ndarray, count: int) -> float:
    """How many independent rows the clustered rows are worth: never more than the rows, never fewer than 1."""
    share = float(rows.mean())
    if share in (0.0, 1.0) or count < 2:
        # All alike says nothing about variance between patients, so only patients count.
        return float(count)
    residual = np.bincount(group, rows - share, count)
    variance = count / (count - 1) * float((residual**2).sum()) / len(rows) ** 2
    if variance <= 0:
        return float(len(rows))
    return float(np.clip(share * (1 - share) / variance, 1.0, len(rows)))


def limits_at(share: float, total: float, *, level: float, method: str) -> tuple[float, float]:
    """The limits of a share at a number of cases that need not be whole."""
    if method == "wilson":
        low, high = wilson_limits(share * total, total, level=level)
        return float(low), float(high)
    return clopper_pearson_limits(share * total, total, level=level)
