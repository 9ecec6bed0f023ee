"""The question `point`: where in the image is the finding that a report names?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from radfoundry.records import Estimate, InputError, Predictions, Task
from radfoundry.simulate.lesions import KINDS
from radfoundry.stats import auc, retrieval
from radfoundry.tasks.in_words import KIND, Asked
from radfoundry.tasks.retrieval import Found

SHARE = 0.25
LEAST_LESION_VOXELS = 8.0


def build() -> Task:
    """Where is the finding: does the place that looks most like its name hold it (the pointing game)?"""
    return Task("point", "lesion", KIND, metrics=("pointing-hit",), about="Where is the finding that is named?")


def measure(asked: Asked, *, seed: int = 0) -> Found:
    """The share of findings whose place is pointed at, what guessing gives, and how well places tell presence.

    A place is right when it holds at least a quarter of the lesion (or the most of it). Where the model learned
    concepts of places they point, else gradient times token of the whole image's likeness does. `concept-auroc` is
    the mean over kinds of lesion of the AUROC of the strongest place. Simulated studies only: they have the truth.
    """
    if asked.images is None or asked.lesion is None:
        raise InputError("nobody marked where the findings are", remedy="set cohort=simulated")
    kinds = [kind for kind in KINDS if kind in asked.findings]
    maps = _maps(asked, kinds)
    held = held_by(asked.lesion.numpy(), maps.shape[2:])
    rows, columns = np.nonzero(np.stack([asked.findings[kind] == 1 for kind in kinds], axis=1))
    seen = asked.lesion.flatten(1).sum(dim=1).numpy()[rows] >= LEAST_LESION_VOXELS
    rows, columns = rows[seen], columns[seen]
    if not len(rows):
        raise InputError("no study shows a lesion", remedy="ask more studies or raise lesion_rate")
    hit = pointed(maps[rows, columns], held[rows])
    chance = held[rows].reshape(len(rows), -1).mean(axis=1)
    patient = asked.patient[rows]
    found = {
        "pointing-hit": retrieval.recall(hit, patient, name="pointing-hit"),
        "pointing-chance": retrieval.mean_of(chance, patient, rng=seed),
        "pointing-over-chance": retrieval.difference(hit, chance, patient, rng=seed),
    }
    told = {"pointing-hit": hit}
    areas = {kind: _area(asked, kind, maps[:, place]) for place, kind in enumerate(kinds)}
    found |= {f"concept-auroc-{kind}": area for kind, area in areas.items()}
    return Found(found, told, patient)


def _maps(asked: Asked, kinds: list[str]) -> np.ndarray:
    """`(N, kinds, i, j, k)`: how much each place looks like each kind of lesion, the mean over its synonyms."""
    from radfoundry.simulate.vocabulary import PHRASES

    if asked.model.side.sizes.local:
        phrases = [phrase for kind in kinds for phrase in PHRASES[kind]]
        found = asked.model.places(asked.images, phrases)
        owner = np.repeat(np.arange(len(kinds)), [len(PHRASES[kind]) for kind in kinds])
        return np.stack([found[:, owner == place].mean(dim=1).numpy() for place in range(len(kinds))], axis=1)
    asked.model.encoder.requires_grad_(True)
    return np.stack(
        [asked.model.relevance(asked.images, f"FINDINGS: There is a {PHRASES[kind][0]}.").numpy() for kind in kinds],
        axis=1,
    )


def held_by(lesion: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """`(N, i, j, k)` booleans: which places hold at least a quarter of the lesion, or the most of it.

    >>> held_by(np.eye(4)[None, :, :, None].repeat(4, axis=3), (2, 2, 2))[0, :, :, 0].astype(int).tolist()
    [[1, 0], [0, 1]]
    """
    summed = lesion.astype(float)
    for axis, cells in enumerate(grid, start=1):
        size = summed.shape[axis]
        inside = np.arange(size) * cells // size == np.arange(cells)[:, None]
        summed = np.moveaxis(np.tensordot(summed, inside.astype(float), axes=([axis], [1])), -1, axis)
    most = summed.max(axis=(1, 2, 3), keepdims=True)
    total = summed.sum(axis=(1, 2, 3), keepdims=True)
    return (summed > 0) & ((summed >= SHARE * total) | (summed == most))


def pointed(maps: np.ndarray, held: np.ndarray) -> np.ndarray:
    """`(N,)` whether the strongest place is one that holds the lesion; equally strong places are drawn by lot."""
    flat, right = maps.reshape(len(maps), -1), held.reshape(len(held), -1)
    best = flat >= flat.max(axis=1, keepdims=True) - retrieval.TIE * 1e-3
    return (best & right).sum(axis=1) / best.sum(axis=1)


def _area(asked: Asked, kind: str, maps: np.ndarray) -> Estimate:
    truth = asked.findings[kind]
    if len(set(truth.tolist())) < 2:
        return Estimate.undefined("only one class is there", n=len(truth))
    score = maps.reshape(len(maps), -1).max(axis=1)
    return auc.auroc(Predictions.of(truth.astype(int), score, patient=asked.patient))


def difference(first: Found, second: Found, *, seed: int = 0) -> Mapping[str, Estimate]:
    """How much more often the first model points at the lesion, finding by finding."""
    hit = retrieval.difference(first.rows["pointing-hit"], second.rows["pointing-hit"], first.patient, rng=seed)
    return {"pointing-hit": hit}
