"""Do two sets of embeddings come from one source? Kernel and classifier tests, permuting patients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import Seed, at_least, clusters, generator


def mmd_test(
    reference: ArrayLike,
    current: ArrayLike,
    *,
    patients: tuple[ArrayLike, ArrayLike] | None = None,
    permutations: int = 500,
    rng: Seed = 0,
) -> Estimate:
    """Maximum mean discrepancy of two sets of embeddings with a permutation p-value; above 0 they differ.

    Gaussian kernel with the median distance as width. The value has no interval; p is for one common source.

    Args:
        reference, current: (n, width) embeddings.
        patients: names of the rows' patients in both sets; patients are permuted whole.
        permutations: random regroupings.
        rng: seed or generator.

    Source: Gretton et al., J Mach Learn Res 2012;13:723.
    """
    rows, group, first = _stacked(reference, current, patients)
    squared = _squared_distances(rows)
    upper = squared[np.triu_indices(len(rows), 1)]
    middle = float(np.median(upper[upper > 0])) if (upper > 0).any() else 0.0
    if middle == 0:
        return Estimate.undefined("all embeddings are identical", n=len(rows), method="MMD")
    kernel = np.exp(-squared / middle)

    def discrepancy(sides: np.ndarray) -> np.ndarray:
        one = sides.astype(float)
        other = 1 - one
        m, n = one.sum(axis=1), other.sum(axis=1)
        within = np.einsum("pi,pi->p", one @ kernel, one) - m, np.einsum("pi,pi->p", other @ kernel, other) - n
        between = np.einsum("pi,pi->p", one @ kernel, other)
        return within[0] / (m * (m - 1)) + within[1] / (n * (n - 1)) - 2 * between / (m * n)

    return _permuted(discrepancy, group, first, permutations=permutations, rng=rng, method="MMD, Gaussian kernel")


def classifier_test(
    reference: ArrayLike,
    current: ArrayLike,
    *,
    patients: tuple[ArrayLike, ArrayLike] | None = None,
    permutations: int = 300,
    rng: Seed = 0,
) -> Estimate:
    """How well a linear classifier tells new embeddings from old ones: AUROC on held-out rows, 0.5 when it cannot.

    Ridge classifier, five folds between patients; p from permuting which patients are new. An AUROC near 0.5 with
    few patients is no proof of sameness.

    Args:
        reference, current: (n, width) embeddings.
        patients: names of the rows' patients in both sets.
        permutations: random regroupings.
        rng: seed or generator.

    Source: Lopez-Paz & Oquab, ICLR 2017 (classifier two-sample tests).
    """
    rows, group, first = _stacked(reference, current, patients)
    source = generator(rng)
    spread = rows.std(axis=0)
    scaled = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    folds = source.permutation(group.max() + 1)[group] % 5
    # Ridge as strong as the data are wide keeps wide embeddings of few patients from being told apart by heart.
    gram = scaled @ scaled.T / scaled.shape[1]
    hat = gram @ np.linalg.inv(gram + np.eye(len(rows)))
    parts = []
    for fold in range(5):
        rows_in = np.flatnonzero(folds == fold)
        if len(rows_in):
            parts.append((rows_in, np.linalg.inv(np.eye(len(rows_in)) - hat[np.ix_(rows_in, rows_in)])))

    def separability(sides: np.ndarray) -> np.ndarray:
        label = sides.astype(float) - sides.mean(axis=1, keepdims=True)
        residual = label - label @ hat
        areas, counts = np.zeros(len(sides)), np.zeros(len(sides))
        for rows_in, solve in parts:
            # The held-out prediction of a linear fit, without refitting.
            held = label[:, rows_in] - residual[:, rows_in] @ solve
            area, pairs = _areas(held, sides[:, rows_in])
            areas, counts = areas + area * pairs, counts + pairs
        return np.divide(areas, counts, out=np.full(len(sides), 0.5), where=counts > 0)

    return _permuted(
        separability, group, first, permutations=permutations, rng=source, method="classifier two-sample, AUROC"
    )


def _areas(score: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC of each row's scores for its own sides, and its number of pairs; ties are as good as impossible here."""
    order = np.argsort(np.argsort(score, axis=1), axis=1) + 1.0
    ones = side.sum(axis=1).astype(float)
    pairs = ones * (side.shape[1] - ones)
    above = (order * side).sum(axis=1) - ones * (ones + 1) / 2
    return np.divide(above, pairs, out=np.zeros(len(score)), where=pairs > 0), pairs


def _stacked(
    reference: ArrayLike, current: ArrayLike, patients: tuple[ArrayLike, ArrayLike] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All rows, the patient of each (never shared between the sets), and which patients are current."""
    sides = [np.asarray(side, dtype=float) for side in (reference, current)]
    if any(side.ndim != 2 for side in sides) or sides[0].shape[1] != sides[1].shape[1]:
        raise InputError(f"embeddings {sides[0].shape} and {sides[1].shape}", remedy="give (n, width) of one width")
    if not all(np.isfinite(side).all() for side in sides):
        raise InputError("embeddings hold NaN or infinity", remedy="drop those rows and say so")
    names = [np.arange(len(side)) for side in sides] if patients is None else [np.asarray(item) for item in patients]
    groups = [clusters(name)[0] for name in names]
    if any(len(group) != len(side) for group, side in zip(groups, sides, strict=True)):
        raise InputError("patients do not fit the rows", remedy="give one patient per row of each set")
    counts = [int(group.max()) + 1 if len(group) else 0 for group in groups]
    if min(counts) < 5:
        raise InputError(f"{counts[0]} and {counts[1]} patients", remedy="give at least five patients on each side")
    group = np.concatenate([groups[0], groups[1] + counts[0]])
    return np.concatenate(sides), group, np.arange(sum(counts)) >= counts[0]


def _squared_distances(rows: np.ndarray) -> np.ndarray:
    square = (rows**2).sum(axis=1)
    return np.maximum(square[:, None] + square[None, :] - 2 * rows @ rows.T, 0.0)


def _permuted(
    statistic: Callable[[np.ndarray], np.ndarray],
    group: np.ndarray,
    first: np.ndarray,
    *,
    permutations: int,
    rng: Seed,
    method: str,
) -> Estimate:
    """The statistic of the true sides, with the share of regroupings that reach it."""
    source = generator(rng)
    count = at_least(permutations, 50, "permutations")
    orders = source.permuted(np.broadcast_to(first, (count, len(first))), axis=1)
    value = float(statistic(first[group][None])[0])
    chance = np.concatenate([statistic(block[:, group]) for block in np.array_split(orders, max(1, count // 100))])
    p_value = (1 + int((chance >= value - 1e-12).sum())) / (count + 1)
    note = f"{count} regroupings of patients; p for one common source; a test statistic, so without interval"
    return Estimate(value, method=method, n=len(group), note=note, p_value=p_value)
