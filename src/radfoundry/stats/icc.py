"""Intraclass correlation: how much of the spread between measurements lies between patients, in all six forms."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri, fdtrc, fdtri

from radfoundry.records import Estimate
from radfoundry.stats.inputs import choice, interval_level
from radfoundry.stats.ratings import complete_table, joined, two_way_squares

INTERVALS = ("generalised", "satterthwaite")
POWER = 13
FORMS = ("ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(1,k)", "ICC(2,k)", "ICC(3,k)")


def icc(values: ArrayLike, *, form: str = "ICC(2,1)", level: float = 0.95, interval: str = "generalised") -> Estimate:
    """How well readers, or repeated scans, agree on a measurement: 1 is perfect, 0 is chance.

    Args:
        values: (subjects, readers); subjects with a missing value are left out and counted in the note.
        form: "ICC(1,1)" every subject has its own, unnamed readers; "ICC(2,1)" the same readers, a sample of all
            readers, and their bias counts (absolute agreement); "ICC(3,1)" exactly these readers, bias removed
            (consistency). "k" in place of the last 1 is the reliability of the mean of the readers.
        level: confidence level.
        interval: of the second form; the others have an exact one from the F distribution. "generalised" holds 95 %
            however many readers and subjects there are; "satterthwaite" is what R's psych and SPSS print, and holds
            only 78 % with 3 readers of 1,000 subjects (docs/statistics-agreement.md).

    The p-value is for "no difference between subjects". Undefined (NaN) with fewer than two subjects or without any
    spread. With two or three readers a sample of readers says little about all readers: the interval shows it.

    Sources: Shrout & Fleiss 1979, Psychol Bull 86:420; McGraw & Wong 1996, Psychol Methods 1:30; generalised
    interval: Tian & Cappelleri 2004, J Biopharm Stat 14:871.

    >>> print(icc([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]))
    0.29 (0.03-0.75)
    """
    return _estimates(values, (choice(form, FORMS, "form"),), level=level, interval=interval)[form]


def icc_forms(values: ArrayLike, *, level: float = 0.95, interval: str = "generalised") -> dict[str, Estimate]:
    """All six forms of `icc` of one table, by name."""
    return _estimates(values, FORMS, level=level, interval=interval)


def _estimates(values: ArrayLike, forms: tuple[str, ...], *, level: float, interval: str) -> dict[str, Estimate]:
    """The forms asked for, by name."""
    second = _generalised if choice(interval, INTERVALS, "interval") == "generalised" else _agreement
    table, note = complete_table(values)
    subjects, readers = table.shape
    tail = (1 - interval_level(level)) / 2
    reason = "fewer than two subjects" if subjects < 2 else "all values are equal" if np.ptp(table) == 0 else ""
    if reason:
        return {form: Estimate.undefined(reason, n=subjects, method=form, level=level) for form in forms}
    squares = two_way_squares(table)
    found = {}
    for form in forms:
        numbers = {"1": _one_way, "2": second, "3": _consistency}[form[4]](squares, (subjects, readers), tail)
        value, low, high, p_value = numbers if form.endswith("1)") else _of_mean(numbers, readers)
        kind = f"{form}, {f'{interval} interval' if form[4] == '2' else 'F interval'}"
        found[form] = (
            Estimate(value, level=level, method=form, n=subjects, note=joined(note, "no disagreement at all"))
            if math.isnan(low)
            else Estimate(value, low, high, level, kind, subjects, note, p_value)
        )
    return found


Numbers = tuple[float, float, float, float]


def _ratio_limits(ratio: float, degrees: tuple[float, float], readers: int, tail: float) -> Numbers:
    """Value and limits of (F - 1) / (F + k - 1), and the p-value of F."""
    first, second = degrees
    low = ratio / float(fdtri(first, second, 1 - tail))
    high = ratio * float(fdtri(second, first, 1 - tail))
    value, lower, upper = ((f - 1) / (f + readers - 1) for f in (ratio, low, high))
    return value, lower, upper, float(fdtrc(first, second, ratio))


def _one_way(squares: Numbers, shape: tuple[int, int], tail: float) -> Numbers:
    between, within = squares[:2]
    subjects, readers = shape
    if within == 0:
        return 1.0, math.nan, math.nan, 0.0
    return _ratio_limits(between / within, (subjects - 1, subjects * (readers - 1)), readers, tail)


def _consistency(squares: Numbers, shape: tuple[int, int], tail: float) -> Numbers:
    between, rest = squares[0], squares[3]
    subjects, readers = shape
    if rest == 0:
        return 1.0, math.nan, math.nan, 0.0
    return _ratio_limits(between / rest, (subjects - 1, (subjects - 1) * (readers - 1)), readers, tail)


def _agreement(squares: Numbers, shape: tuple[int, int], tail: float) -> Numbers:
    """The two-way random form: its error mixes two mean squares, so its degrees of freedom are approximate."""
    between, _, reader, rest = squares
    n, k = shape
    value = (between - rest) / (between + (k - 1) * rest + k * (reader - rest) / n)
    if rest == 0:
        return value, math.nan, math.nan, 0.0
    ratio = reader / rest
    spread = n * (1 + (k - 1) * value) - k * value
    degrees = (k - 1) * (n - 1) * (k * value * ratio + spread) ** 2
    degrees /= (n - 1) * (k * value * ratio) ** 2 + spread**2
    upper = float(fdtri(n - 1, degrees, 1 - tail))
    lower = float(fdtri(degrees, n - 1, 1 - tail))
    error = k * reader + (k * n - k - n) * rest
    low = n * (between - upper * rest) / (upper * error + n * between)
    high = n * (lower * between - rest) / (error + n * lower * between)
    p_value = float(fdtrc(n - 1, (n - 1) * (k - 1), between / rest))
    return value, low, high, p_value


def _generalised(squares: Numbers, shape: tuple[int, int], tail: float) -> Numbers:
    """The two-way random form with its generalised interval: each mean square is divided by its own chi-squared."""
    value, low, high, p_value = _agreement(squares, shape, tail)
    if math.isnan(low):
        return value, low, high, p_value
    between, _, reader, rest = squares
    n, k = shape
    of_subjects, of_readers, of_rest = _chi_squared(n, k)
    error = rest * (n - 1) * (k - 1) / of_rest
    subject = (between * (n - 1) / of_subjects - error) / k
    total = subject + (reader * (k - 1) / of_readers - error) / n + error
    low, high = (float(limit) for limit in np.quantile(subject / total, [tail, 1 - tail]))
    return value, low, high, p_value


@lru_cache(maxsize=32)
def _chi_squared(subjects: int, readers: int) -> np.ndarray:
    """(3, points) chi-squared numbers of subjects, readers and rest, spread evenly over their joint distribution.

    Sobol's points always are the same, so the same table always has the same interval; 8,192 of them place a limit to
    within 0.001 of where endless draws would.
    """
    from scipy.stats.qmc import Sobol

    # The first point of the plain sequence is 0, which no chi-squared number has: half a step keeps all inside.
    even = Sobol(3, scramble=False).random_base2(POWER).T + 0.5 / 2**POWER
    degrees = np.array([subjects - 1, readers - 1, (subjects - 1) * (readers - 1)])
    return chdtri(degrees[:, None], even)


def _of_mean(numbers: Numbers, readers: int) -> Numbers:
    """The same for the mean of k readers (Spearman-Brown)."""

    def stepped(value: float) -> float:
        return value * readers / (1 + value * (readers - 1))

    value, low, high, p_value = numbers
    return stepped(value), stepped(low), stepped(high), p_value
