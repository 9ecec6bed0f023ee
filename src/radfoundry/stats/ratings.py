"""Tables of measurements, one row a subject and one column a reader, checked before anything is computed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import InputError
from radfoundry.stats.inputs import finite_numbers


def complete_table(values: ArrayLike, *, columns: int = 2) -> tuple[np.ndarray, str]:
    """A (subjects, readers) table without missing values, and a note on the rows that were left out.

    Rows with a NaN are left out whole and counted in the note; a table of fewer than `columns` columns is refused.
    """
    table = np.asarray(values, float)
    if table.ndim != 2 or table.shape[1] < columns:
        raise InputError(
            f"the table has shape {table.shape}", remedy=f"give (subjects, readers) with at least {columns} readers"
        )
    if np.isinf(table).any():
        raise InputError("the table holds infinite values", remedy="drop these rows and say so")
    kept = ~np.isnan(table).any(axis=1)
    left_out = int((~kept).sum())
    return table[kept], f"{left_out} of {len(table)} subjects with missing values left out" if left_out else ""


def paired_columns(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two columns of finite numbers of the same subjects; unequal lengths are refused."""
    one, two = finite_numbers(first, "first"), finite_numbers(second, "second")
    if len(one) != len(two):
        raise InputError(f"{len(one)} first and {len(two)} second measurements", remedy="pair them by subject")
    return one, two


def two_way_squares(table: np.ndarray) -> tuple[float, float, float, float]:
    """Mean squares between subjects, within subjects, between readers, and of what is left over."""
    subjects, readers = table.shape
    grand = table.mean()
    between = readers * ((table.mean(axis=1) - grand) ** 2).sum()
    reader = subjects * ((table.mean(axis=0) - grand) ** 2).sum()
    total = ((table - grand) ** 2).sum()
    # Rounding must not turn perfect agreement into a negative sum of squares.
    rest = max(total - between - reader, 0.0)
    return (
        float(between / (subjects - 1)),
        float((reader + rest) / (subjects * (readers - 1))),
        float(reader / (readers - 1)),
        float(rest / ((subjects - 1) * (readers - 1))),
    )


def joined(*notes: str) -> str:
    """Several notes as one, without the empty ones."""
    return "; ".join(note for note in notes if note)
