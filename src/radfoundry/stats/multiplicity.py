"""Adjusting p-values when several questions were asked of the same data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import choice

METHODS = ("holm", "benjamini-hochberg", "bonferroni")


def adjust(p_values: ArrayLike, *, method: str = "holm") -> np.ndarray:
    """P-values made larger for having asked several questions; NaN (no test done) stays NaN and is not counted.

    Args:
        p_values: (k,) p-values.
        method: "holm" or "bonferroni" (chance of any false claim) or "benjamini-hochberg" (share of false claims).

    Sources: Holm, Scand J Stat 1979;6:65; Benjamini & Hochberg, J R Stat Soc B 1995;57:289.

    >>> adjust([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    choice(method, METHODS, "method")
    values = np.asarray(p_values, float)
    known = ~np.isnan(values)
    if values.ndim != 1 or ((values[known] < 0) | (values[known] > 1)).any():
        raise InputError("p-values must be a list of numbers between 0 and 1", remedy="give one per question")
    order = np.argsort(values[known], kind="stable")
    ordered, count = values[known][order], int(known.sum())
    rank = np.arange(1, count + 1)
    if method == "holm":
        changed = np.maximum.accumulate(ordered * (count - rank + 1))
    elif method == "bonferroni":
        changed = ordered * count
    else:
        changed = np.minimum.accumulate((ordered * count / rank)[::-1])[::-1]
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(changed, 1.0)
    result = np.full(values.shape, np.nan)
    result[known] = adjusted
    return result


def adjust_estimates(estimates: Mapping[str, Estimate], *, method: str = "holm") -> dict[str, Estimate]:
    """The same estimates with adjusted p-values, saying so in the note; intervals stay as they are.

    >>> tests = {"a": Estimate(0.1, p_value=0.01), "b": Estimate(0.1, p_value=0.04)}
    >>> adjust_estimates(tests)["a"].p_value
    0.02
    """
    raw = [np.nan if estimate.p_value is None else estimate.p_value for estimate in estimates.values()]
    asked = int((~np.isnan(raw)).sum())
    changed = {}
    for (name, estimate), p_value in zip(estimates.items(), adjust(raw, method=method), strict=True):
        if np.isnan(p_value):
            changed[name] = estimate
            continue
        note = f"p {method} over {asked}, unadjusted {estimate.p_value:.3g}"
        note = "; ".join(part for part in (estimate.note, note) if part)
        changed[name] = replace(estimate, p_value=float(p_value), note=note)
    return changed
