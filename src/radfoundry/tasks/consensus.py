"""One outline from several of the same image: by vote, or by STAPLE."""

from __future__ import annotations

import numpy as np

from radfoundry.records import InputError

FUSIONS = ("majority", "staple")
MOST_ROUNDS = 100


def fused(drawn: np.ndarray, labels: int, *, by: str) -> np.ndarray:
    """One label map (I, J, K) from several (annotators, I, J, K) with labels 0 to `labels`.

    `majority`: the label most annotators gave, of equal votes the lowest label, so that a tie with the background is
    background. `staple`: each structure's probability by STAPLE, the label with the highest one above one half.
    A structure nobody drew stays undrawn; two annotators are refused by STAPLE's own logic being undecided only where
    they differ.

    Source: Warfield, Zou and Wells, IEEE Trans Med Imaging 23:903, 2004 (SimpleITK's implementation).

    >>> fused(np.array([[[[0, 1]]], [[[0, 1]]], [[[1, 1]]]], np.uint8), 1, by="majority").tolist()
    [[[0, 1]]]
    """
    if by not in FUSIONS:
        raise InputError(f"cannot fuse masks by {by!r}", remedy=f"use {' or '.join(FUSIONS)}")
    if len(drawn) == 1:
        return drawn[0].astype(np.uint8)
    if by == "majority":
        votes = np.stack([(drawn == label).sum(axis=0) for label in range(labels + 1)])
        return votes.argmax(axis=0).astype(np.uint8)
    shares = np.stack([staple((drawn == label).astype(np.uint8)) for label in range(1, labels + 1)])
    best = shares.argmax(axis=0)
    return np.where(shares.max(axis=0) > 0.5, best + 1, 0).astype(np.uint8)


def staple(drawn: np.ndarray) -> np.ndarray:
    """(I, J, K) probability that a voxel truly belongs to a structure, from (annotators, I, J, K) zeros and ones."""
    import SimpleITK

    if not drawn.any():
        return np.zeros(drawn.shape[1:])
    if (drawn == drawn[:1]).all():
        return drawn[0].astype(float)
    images = [SimpleITK.GetImageFromArray(np.ascontiguousarray(part)) for part in drawn]
    rule = SimpleITK.STAPLEImageFilter()
    rule.SetForegroundValue(1)
    rule.SetMaximumIterations(MOST_ROUNDS)
    return SimpleITK.GetArrayFromImage(rule.Execute(images))
